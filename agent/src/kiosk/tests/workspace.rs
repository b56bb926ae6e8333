//! Stories at an enrolled device's screen: real taps, a real mirror, a real outbox.

use argon2::password_hash::PasswordHasher as _;
use argon2::{Argon2, Params, PasswordHash};
use carepost_agent_core::session::SessionPolicy;
use carepost_protocol::audit::{AuditAction, AuditEvent};
use carepost_protocol::badge::{self, Uid};
use carepost_protocol::change::{Change, Lane};
use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{
    AssignmentId, BadgeId, DeviceId, FacilityId, IncarnationId, OrganizationId, RecordId, UserId,
};
use carepost_protocol::record::{BadgeDocument, Collection, UserDocument};
use carepost_protocol::role::Role;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::pull::{Cursor, Line, PageEnd};
use carepost_protocol::wire::push::PushBatch;
use serde::Serialize;

use super::super::router;
use super::*;
use crate::badge::BadgeEvent;
use crate::clock::Clock;
use crate::device;
use crate::identity::DeviceKey;
use crate::mirror::tests::put as put_version;
use crate::mirror::{DEFAULT_CACHE_KIB, Mirror, MirrorOpening, Page};
use crate::outbox::{Binding, Outbox, OutboxOpening, Shape};
use crate::sqlite::FileKey;
use crate::workspace::view::{NotSaved, Refused, SessionKey, Who};
use crate::workspace::{Workspace, WorkspaceParts};

mod admission;
mod conflicts;
mod counted;
mod durable;
mod finding;
mod forms;
mod leaving;
mod measures;
mod needs;
mod older;
mod refused;
mod renewal;
mod repeated;
mod reviews;
mod shown;
mod stands;
mod times;
mod twins;
mod unfinished;
mod versions;

const ORGANIZATION: OrganizationId = OrganizationId::from_bytes([1; 16]);
const FACILITY: FacilityId = FacilityId::from_bytes([2; 16]);
const BADGE_KEY: [u8; 32] = [5; 32];
const PIN: &str = "482913";
const ANNA: u8 = 21;
const BEN: u8 = 22;
const AUDITOR: u8 = 23;
const STRANGER: u8 = 99;

/// A device in a facility with three people and the residents of [`residents`].
struct Device {
    directory: tempfile::TempDir,
    agent: Arc<device::Device>,
    workspace: Arc<Workspace>,
    pages: Router,
}

/// A form as a browser holds it.
struct OpenForm {
    path: String,
    screen: String,
    token: String,
    version: String,
    html: String,
}

impl OpenForm {
    fn of(path: &str, html: String) -> Self {
        let hidden = |name: &str| {
            let begin = format!(r#"name="{name}" value=""#);
            let rest = html.split(&begin).nth(1).unwrap_or_else(|| panic!("no {name} in {html}"));
            rest.split('"').next().unwrap().to_owned()
        };
        let (screen, token) = (hidden("_screen"), hidden("_token"));
        // A review has none.
        let version = if html.contains("_version") { hidden("_version") } else { String::new() };
        Self { path: path.to_owned(), screen, token, version, html }
    }

    fn with(&self, answers: &str) -> String {
        format!("_screen={}&_token={}&_version={}&{answers}", self.screen, self.token, self.version)
    }
}

const ANSWERS: &str = "taken_at=2026-05-01T14:30&pulse=72&position=Sitting";

impl Device {
    fn new() -> Self {
        Self::with_head(100)
    }

    /// A device that has all up to 100 of a feed with that head.
    fn with_head(head: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = FileKey::from_bytes([9; 32]);
        let (mirror, _) = Mirror::open(&MirrorOpening {
            path: &directory.path().join("mirror.db"),
            key: &key,
            facility: (ORGANIZATION, FACILITY),
            cache_kib: DEFAULT_CACHE_KIB,
        })
        .unwrap();
        let page = first_page();
        let cursor = Cursor { epoch: 1, seq: 100 };
        mirror.apply(&page, &PageEnd::new(cursor, head, Timestamp::EPOCH)).unwrap();
        let clock = Arc::new(Clock::new(None));
        let grant = grant();
        let outbox = Outbox::open(OutboxOpening {
            path: &directory.path().join("outbox.db"),
            key: &key,
            binding: Binding::from(&grant),
            device_key: Arc::new(DeviceKey::generate().unwrap()),
            max_mib: 64,
            now: clock.now(),
            is_begun: false,
            runs: true,
        })
        .unwrap();
        let workspace = Arc::new(Workspace::new(WorkspaceParts {
            grant,
            badge_key: BADGE_KEY.into(),
            mirror: Arc::new(mirror),
            outbox: Arc::new(outbox),
            policy: SessionPolicy { same_badge_quiet: Duration::ZERO, ..SessionPolicy::default() },
            clock: Arc::clone(&clock),
        }));
        let enrolled = device::State::Enrolled(Arc::clone(&workspace));
        let agent = Arc::new(device::Device::new(enrolled, ReaderState::Ready, clock));
        let pages = router(Arc::clone(&agent), config());
        Self { directory, agent, workspace, pages }
    }

    fn tap(&self, who: u8) {
        let presented = BadgeEvent::Presented { reader: "reader".into(), uid: uid(who), atr: vec![] };
        for event in [presented, BadgeEvent::Removed { reader: "reader".into() }] {
            let _ = self.agent.on_badge(&event);
        }
    }

    /// Taps, types the PIN where it is asked for, and is in.
    fn sign_in(&self, who: u8) -> SessionKey {
        self.tap(who);
        if let Screen::PinPad(pad) = self.agent.screen() {
            self.agent.enter_pin(pad.attempt, PIN.into());
        }
        let Screen::Open(open) = self.agent.screen() else { panic!("{:?}", self.agent.screen()) };
        assert_eq!(open.display_name, name(who));
        SessionKey::of(open.session)
    }

    async fn form(&self, resident: u8) -> OpenForm {
        let path = chart(resident);
        let answer = open(&self.pages, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        OpenForm::of(&path, answer.body)
    }

    async fn send(&self, form: &OpenForm, answers: &str) -> Answer {
        post(&self.pages, &form.path, &form.with(answers)).await
    }

    async fn keep(&self, form: &OpenForm, answers: &str) -> Answer {
        post(&self.pages, &format!("{}/draft", form.path), &form.with(answers)).await
    }

    fn lane<T: serde::de::DeserializeOwned>(&self, lane: Lane) -> Vec<T> {
        let Some(batch) = self
            .workspace
            .outbox()
            .batch(lane, Shape::Plain { changes: 10_000, bytes: 100_000_000 })
            .unwrap()
        else {
            return Vec::new();
        };
        let batch: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        batch.changes.iter().map(|change| serde_json::from_str(change.get()).unwrap()).collect()
    }

    /// The key of the screen, as its pages carry it.
    fn screen_key(&self) -> String {
        super::super::renderers::shell::screen_key(&self.agent.screen())
    }

    fn entries(&self) -> Vec<Change> {
        self.lane(Lane::Care)
    }

    /// The audit events about health data: action, whether it was done, and on what.
    fn accesses(&self) -> Vec<(AuditAction, bool, Option<String>)> {
        let events: Vec<AuditEvent> = self.lane(Lane::Audit);
        let accesses = events.into_iter().filter(|event| event.endpoint.is_some());
        accesses.map(|event| (event.action, event.success, event.resource_id)).collect()
    }

    fn outbox_file(&self) -> rusqlite::Connection {
        let file = rusqlite::Connection::open(self.directory.path().join("outbox.db")).unwrap();
        file.query_row(&format!("PRAGMA key = \"x'{}'\"", "09".repeat(32)), [], |_| Ok(())).unwrap();
        file
    }

    /// The outbox's file takes no entry from now on, or takes them again.
    fn break_disk(&self, broken: bool) {
        self.break_table("entries", broken);
    }

    fn break_table(&self, table: &str, broken: bool) {
        let told = if broken {
            format!(
                "CREATE TRIGGER no_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        } else {
            format!("DROP TRIGGER IF EXISTS no_{table}")
        };
        self.outbox_file().execute_batch(&told).unwrap();
    }
}

fn name(who: u8) -> &'static str {
    match who {
        ANNA => "Anna Field",
        BEN => "Ben Harbor",
        _ => "Cora Auditor",
    }
}

fn uid(who: u8) -> Uid {
    Uid::from_bytes(&[4, who, who, who, who, who, who]).unwrap()
}

fn patient(n: u8) -> PatientId {
    resident(n, "", "").id
}

fn vitals(n: u8) -> Form {
    Form::Chart(patient(n), "vitals".to_owned())
}

fn chart(n: u8) -> String {
    format!("/residents/{}/chart/vitals", patient(n))
}

fn grant() -> Grant {
    Grant {
        device_id: DeviceId::from_bytes([3; 16]),
        assignment_id: AssignmentId::from_bytes([8; 16]),
        organization_id: ORGANIZATION,
        facility_id: FACILITY,
        facility_name: "Riverside".into(),
        device_name: "Hall".into(),
        device_type: DeviceType::RaspberryPi,
        badge_key: "05".repeat(32),
        recovery_recipient: "age1".into(),
        server_time: Timestamp::EPOCH,
    }
}

fn first_page() -> Page {
    let mut page = Page::default();
    let hasher = Argon2::from(Params::new(8, 1, 1, None).unwrap());
    let hash: PasswordHash = hasher.hash_password_with_salt(PIN.as_bytes(), &[7; 16]).unwrap();
    let verifier = hash.to_string();
    for (who, role) in [(ANNA, Role::Rn), (BEN, Role::Rn), (AUDITOR, Role::Auditor)] {
        let id = UserId::from_bytes([who; 16]);
        let user = UserDocument {
            id,
            display_name: name(who).into(),
            role,
            pin_verifier: Some(verifier.clone()),
            pin_exposed_at: None,
            session_timeout_minutes: 30,
            is_active: true,
        };
        put(&mut page, Collection::Users, id, &user);
        let badge = BadgeDocument {
            id: BadgeId::from_bytes([who; 16]),
            user_id: id,
            lookup: badge::lookup(&BADGE_KEY, &uid(who)),
            is_active: true,
        };
        put(&mut page, Collection::Badges, badge.id, &badge);
    }
    for resident in residents().residents.into_iter().map(|resident| resident.document) {
        put(&mut page, Collection::Patients, resident.id, &resident);
    }
    put(&mut page, Collection::Workflows, every_type().id, &every_type());
    page
}

fn put(page: &mut Page, collection: Collection, id: impl std::fmt::Display, body: &impl Serialize) {
    put_version(page, collection, id, 1, body);
}

#[tokio::test]
async fn a_pin_in_the_digits_of_any_keyboard_is_the_same_pin() {
    for nought in ['０', '٠', '०'] {
        let device = Device::new();
        device.tap(ANNA);
        let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
        let digit = |c| char::from_u32(u32::from(c) - u32::from('0') + u32::from(nought)).unwrap();
        let typed: String = PIN.chars().map(digit).collect();
        post(&device.pages, "/pin", &format!("attempt={}&pin={typed}", pad.attempt)).await;
        assert!(matches!(device.agent.screen(), Screen::Open(_)), "{typed}: {:?}", device.agent.screen());
    }
}

#[tokio::test]
async fn what_cannot_be_a_pin_is_said_and_never_counts_as_a_wrong_one() {
    let device = Device::new();
    device.tap(ANNA);
    for typed in ["", "48291", "48291a", "abcdef", "4829134829134", "%00", "482913+482913"] {
        let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
        post(&device.pages, "/pin", &format!("attempt={}&pin={typed}", pad.attempt)).await;
        let page = open(&device.pages, "/").await.body;
        assert!(page.contains("A PIN has 6 to 12 digits") && !page.contains("wrong"), "{typed}: {page}");
    }
    let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
    post(&device.pages, "/pin", &format!("attempt={}&pin=111111", pad.attempt)).await;
    let page = open(&device.pages, "/").await.body;
    assert!(page.contains("That PIN is wrong"), "a guess is one, however simple: {page}");
    device.sign_in(ANNA);
}

#[tokio::test]
async fn what_anna_sends_never_becomes_bens() {
    let device = Device::new();
    let annas = device.sign_in(ANNA);
    let form = device.form(4).await;
    device.sign_in(BEN);
    let answer = device.send(&form, ANSWERS).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"));
    // Nor when the tap falls between the pages' look at the screen and the workspace's.
    let answers = [("pulse".to_owned(), "72".to_owned())];
    let saved = device.workspace.forms().save(&annas, &vitals(4), "t", &answers);
    assert_eq!(saved, Err(NotSaved::Refused(Refused::Locked)));
    assert_eq!(device.workspace.forms().open(&annas, &vitals(4), &[]).unwrap_err().why, Refused::Locked);
    assert_eq!(
        device.workspace.resident(&annas, patient(4), Shown::of(None, None, None)).unwrap_err(),
        Refused::Locked
    );
    assert_eq!(device.workspace.residents(&annas, &Who::Here).unwrap_err(), Refused::Locked);
    assert_eq!(device.entries(), []);
}

#[tokio::test]
async fn what_anna_typed_waits_for_her_when_ben_takes_over() {
    for by_save in [false, true] {
        let device = Device::new();
        device.sign_in(ANNA);
        let form = device.form(4).await;
        device.sign_in(BEN);
        if by_save {
            assert_eq!(device.send(&form, "pulse=91").await.header("location"), "/");
        } else {
            assert_eq!(device.keep(&form, "pulse=91").await.status, StatusCode::NO_CONTENT);
        }
        let bens = device.form(4).await;
        assert!(!bens.html.contains(r#"value="91""#), "Ben sees none of it: {}", bens.html);
        let late = device.keep(&form, "pulse=55").await;
        assert_eq!(late.status, StatusCode::CONFLICT, "another form was shown since");
        device.sign_in(ANNA);
        let again = device.form(4).await;
        assert!(again.html.contains(r#"value="91""#), "by save: {by_save}: {}", again.html);
        assert_eq!(device.entries(), []);
    }
}

#[tokio::test]
async fn what_was_typed_is_kept_when_the_screen_locks() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.agent.lock();
    assert_eq!(device.keep(&form, "pulse=91").await.status, StatusCode::NO_CONTENT);
    let other = OpenForm { path: chart(2), ..form };
    assert_eq!(device.keep(&other, "pulse=91").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_was_typed_long_after_the_lock_is_nobodys() {
    for (seconds, status) in [(50, StatusCode::NO_CONTENT), (61, StatusCode::CONFLICT)] {
        let device = Device::new();
        device.sign_in(ANNA);
        let form = device.form(4).await;
        device.agent.lock();
        device.workspace.forms().locked_earlier(Duration::from_secs(seconds));
        // Ben's sign-in ends Anna's session; the time runs from the first lock on.
        device.sign_in(BEN);
        assert_eq!(device.keep(&form, "pulse=91").await.status, status, "{seconds} s later");
    }
}

#[tokio::test]
async fn a_draft_is_one_answer_to_each_question_about_somebody_who_is_here() {
    let device = Device::new();
    let annas = device.sign_in(ANNA);
    let form = device.form(4).await;
    assert_eq!(device.keep(&form, "pulse=90&pulse=91&made_up=1").await.status, StatusCode::NO_CONTENT);
    let kept = device.workspace.outbox().draft(UserId::from_bytes([ANNA; 16]), patient(4), "vitals").unwrap();
    let answers = [("pulse", "91"), ("_version", "1")].map(|(key, text)| (key.to_owned(), text.to_owned()));
    assert_eq!(kept, Some(answers.to_vec()));
    let nobody = OpenForm { path: chart(77), ..form };
    assert_eq!(device.keep(&nobody, "pulse=90").await.status, StatusCode::NOT_FOUND);
    let long = [("notes".to_owned(), "x".repeat(300_000))];
    assert_eq!(device.workspace.forms().keep_draft(&annas, &vitals(4), &long, None), Err(Refused::TooLong));
    let auditors = device.sign_in(AUDITOR);
    assert_eq!(
        device.workspace.forms().keep_draft(&auditors, &vitals(4), &[], None),
        Err(Refused::NotAllowed)
    );
}

#[tokio::test]
async fn an_unclear_save_is_repeated_and_never_doubled() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let faulty = device.send(&form, "pulse=7200").await;
    assert_eq!(faulty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(OpenForm::of(&form.path, faulty.body).token, form.token);
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    // As if the answer had been lost: the same answers again are the same entry, others are refused.
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    let other = device.send(&form, &ANSWERS.replace("72", "73")).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(other.body.contains("This form was saved before with other values"), "{}", other.body);
    assert!(other.body.contains(r#"value="73""#), "what was typed stays");
    assert_eq!(device.entries().len(), 1);
    assert_eq!(device.agent.status().storage_trouble, None, "the device is well");
}

#[tokio::test]
async fn trouble_with_the_disk_goes_with_the_first_write_that_works() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.break_disk(true);
    let answer = device.send(&form, ANSWERS).await;
    assert_eq!(answer.status, StatusCode::INSUFFICIENT_STORAGE);
    assert!(answer.body.contains("This device cannot save"), "{}", answer.body);
    assert_eq!(OpenForm::of(&form.path, answer.body).token, form.token);
    assert!(!device.workspace.audit_trail().retry(), "still broken");
    assert!(device.agent.status().storage_trouble.is_some());
    assert_eq!(
        device.workspace.audit_trail().trouble(),
        device.agent.status().storage_trouble,
        "the server hears the same"
    );
    device.break_disk(false);
    assert!(device.workspace.audit_trail().retry());
    assert_eq!(
        (device.agent.status().storage_trouble, device.workspace.audit_trail().trouble()),
        (None, None)
    );
    assert!(!device.workspace.audit_trail().retry(), "nothing waits any more");
    assert!(device.accesses().contains(&(AuditAction::Create, false, None)), "{:?}", device.accesses());
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    assert_eq!(device.entries().len(), 1);
}

#[tokio::test]
async fn how_many_audit_events_were_lost_is_written_down_once() {
    let device = Device::new();
    let annas = device.sign_in(ANNA);
    device.break_disk(true);
    for n in [1, 2].into_iter().cycle().take(1_007) {
        device.workspace.resident(&annas, patient(n), Shown::of(None, None, None)).unwrap();
    }
    device.break_disk(false);
    assert!(device.workspace.audit_trail().retry());
    device.workspace.resident(&annas, patient(4), Shown::of(None, None, None)).unwrap();
    let events: Vec<AuditEvent> = device.lane(Lane::Audit);
    let lost: Vec<_> = events.iter().filter_map(|event| event.details.get("lost")).collect();
    assert_eq!(lost, [&json!(7)]);
    assert_eq!(device.accesses().len(), 1_001);
}

#[tokio::test]
async fn a_page_that_stays_is_one_read_and_coming_back_is_another() {
    let device = Device::new();
    device.sign_in(ANNA);
    for n in [1, 1, 2, 1, 1] {
        open(&device.pages, &format!("/residents/{}", patient(n))).await;
    }
    let read = |n| (AuditAction::View, true, Some(patient(n).to_string()));
    assert_eq!(device.accesses(), [read(1), read(2), read(1)]);
}

#[tokio::test]
async fn refused_reads_are_written_down() {
    let device = Device::new();
    device.sign_in(ANNA);
    let answer = open(&device.pages, &format!("/residents/{}", patient(77))).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    device.sign_in(AUDITOR);
    for uri in ["/".to_owned(), format!("/residents/{}", patient(1)), chart(1)] {
        assert_eq!(open(&device.pages, &uri).await.status, StatusCode::FORBIDDEN, "{uri}");
    }
    let refused = |n: Option<u8>| (AuditAction::View, false, n.map(|n| patient(n).to_string()));
    assert_eq!(device.accesses(), [refused(Some(77)), refused(None), refused(Some(1)), refused(Some(1))]);
}

#[tokio::test]
async fn the_audit_event_of_an_entry_names_its_record() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.send(&form, ANSWERS).await;
    let entries = device.entries();
    let incarnation: IncarnationId = device.workspace.outbox().incarnation();
    let record = RecordId::of_create(incarnation, 1, entries[0].recorded_at).to_string();
    assert_eq!(device.accesses().last(), Some(&(AuditAction::Create, true, Some(record))));
    let events: Vec<AuditEvent> = device.lane(Lane::Audit);
    let made = events.iter().find(|event| event.action == AuditAction::Create).unwrap();
    let who = (made.user_id, made.session_id, made.patient_id);
    assert_eq!(who, (Some(entries[0].actor), Some(entries[0].session), Some(patient(4))));
    assert!(made.ip_address.is_some() && made.user_agent.is_some(), "{made:?}");
}

#[tokio::test]
async fn a_refused_tap_on_an_open_screen_is_said() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.tap(STRANGER);
    for uri in ["/", "/status"] {
        let shown = open(&device.pages, uri).await;
        assert!(shown.body.contains("This badge is not known here"), "{uri}: {}", shown.body);
        assert!(shown.body.contains("Anna Field"), "nobody was signed out");
    }
}

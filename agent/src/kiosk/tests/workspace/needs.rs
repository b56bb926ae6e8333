//! What needs a person: rejected entries, corrections, residents.

use carepost_protocol::change::{ChangeKind, Verdict};
use carepost_protocol::record::{PatientDocument, RecordDocument, UserDocument};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::push::{PushReceipt, Rejection, RejectionCode, VerdictRun};
use carepost_protocol::workflow::FieldError;
use serde_json::Value;

use super::*;

impl Device {
    /// The server answers everything that waits: the named numbers are rejected so.
    pub(super) fn settle(&self, rejected: &[(u64, RejectionCode)]) {
        let shape = Shape::Plain { changes: 1_000, bytes: 1_000_000 };
        let batch = self.workspace.outbox().batch(Lane::Care, shape).unwrap().unwrap();
        let sent: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        let last = sent.first_n + sent.changes.len() as u64 - 1;
        let run = |n| {
            let code = rejected.iter().find(|(number, _)| *number == n).map(|(_, code)| *code);
            VerdictRun {
                n,
                count: 1,
                verdict: if code.is_some() { Verdict::Rejected } else { Verdict::Applied },
                seq: code.is_none().then_some(200 + n),
                reason: code.map(|code| Rejection {
                    code,
                    detail: "an answer breaks the form's rules".into(),
                    errors: vec![FieldError { field: "pulse".into(), detail: "too high".into() }],
                }),
            }
        };
        let receipt = PushReceipt {
            verdicts: (sent.first_n..=last).map(run).collect(),
            next_n: last + 1,
            durable_through: None,
            server_time: Timestamp::EPOCH,
        };
        self.workspace.outbox().settle(&batch.sent, &receipt).unwrap();
    }

    pub(super) fn bring(
        &self,
        seq: u64,
        collection: Collection,
        id: impl std::fmt::Display,
        body: &impl Serialize,
    ) {
        let mut page = Page::default();
        put(&mut page, collection, id, body);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    pub(super) async fn open_form(&self, path: &str) -> OpenForm {
        let answer = open(&self.pages, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        OpenForm::of(path, answer.body)
    }

    pub(super) async fn shown(&self, path: &str) -> String {
        let answer = open(&self.pages, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }
}

pub(super) fn by(who: u8) -> UserId {
    UserId::from_bytes([who; 16])
}

pub(super) fn record(n: u8, who: u8, made: &str, pulse: u8, amends: Option<u8>) -> RecordDocument {
    let values: Value = json!({"pulse": pulse, "position": "Sitting", "taken_at": "2026-05-01T14:30"});
    RecordDocument {
        id: RecordId::from_bytes([n; 16]),
        patient_id: patient(4),
        workflow: "vitals".into(),
        schema_version: 1,
        recorded_by: by(who),
        recorded_at: at(made),
        clock_quality: ClockQuality::Synced,
        values: values.as_object().unwrap().clone(),
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        amends: amends.map(|n| RecordId::from_bytes([n; 16])),
    }
}

pub(super) fn field<'a>(html: &'a str, name: &str) -> &'a str {
    let begin = format!(r#"name="{name}""#);
    let tag = html.split(&begin).nth(1).unwrap_or_else(|| panic!("no {name} in {html}"));
    tag.split(r#"value=""#).nth(1).unwrap().split('"').next().unwrap()
}

/// What a hidden field holds, as a browser sends it back.
pub(super) fn hidden(html: &str, name: &str) -> String {
    let value = field(html, name).replace("&#34;", "\"").replace("&quot;", "\"").replace("&#39;", "'");
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_rejected_entry_is_corrected_by_whoever_made_it() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.send(&form, ANSWERS).await;
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    device.sign_in(BEN);
    let bens = device.shown("/rejected").await;
    for words in [
        "Vital signs",
        "Mary Smith",
        "· Anna Field",
        "72 bpm",
        "Pulse: too high",
        "Anna Field has to correct",
    ] {
        assert!(bens.contains(words), "{words} is missing in {bens}");
    }
    assert!(bens.contains(r#"<a href="/rejected""#), "the status line leads here: {bens}");
    assert!(!bens.contains(r#"href="/rejected/1""#), "it is not Ben's to correct: {bens}");
    assert_eq!(open(&device.pages, "/rejected/1").await.status, StatusCode::FORBIDDEN);
    device.sign_in(ANNA);
    let annas = device.shown("/rejected").await;
    assert!(annas.contains(r#"href="/rejected/1""#), "{annas}");
    let again = device.open_form("/rejected/1").await;
    assert_eq!(field(&again.html, "pulse"), "72", "what was saved is filled in");
    assert!(
        again.html.contains("too high") && again.html.contains("The server rejected this"),
        "{}",
        again.html
    );
    let saved = device.send(&again, &ANSWERS.replace("72", "75")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entries = device.entries();
    let corrected = entries.last().unwrap();
    assert_eq!((corrected.supersedes, corrected.kind), (Some(1), ChangeKind::Create));
    assert!(corrected.record.is_some(), "it keeps the record's id");
    assert_eq!(corrected.fields["pulse"], 75);
    assert!(!device.shown("/rejected").await.contains("Vital signs"), "nothing is left to do");
    assert_eq!(open(&device.pages, "/rejected/1").await.status, StatusCode::NOT_FOUND);
    assert!(device.accesses().contains(&(AuditAction::View, true, None)), "reading it is written down");
    device.agent.lock();
    let locked = open(&device.pages, "/rejected").await;
    assert_eq!(locked.header("location"), "/", "nobody reads it on a locked screen");
}

#[tokio::test]
async fn nobody_waits_for_the_correction_of_somebody_who_cannot_sign_in_any_more() {
    let device = Device::new();
    device.sign_in(BEN);
    device.send(&device.form(4).await, ANSWERS).await;
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    device.sign_in(ANNA);
    let shown = device.shown("/rejected").await;
    assert!(shown.contains("Ben Harbor has to correct it"), "{shown}");
    let ben = device.workspace.mirror().user(by(BEN)).unwrap().unwrap();
    device.bring(101, Collection::Users, ben.id, &UserDocument { is_active: false, ..ben });
    let shown = device.shown("/rejected").await;
    assert!(shown.contains("An administrator has to look at it"), "{shown}");
    assert!(shown.contains("· Ben Harbor") && !shown.contains("has to correct it"), "{shown}");
}

#[tokio::test]
async fn whoever_is_not_here_while_the_staff_is_loading_may_still_correct_it() {
    let device = Device::with_head(102);
    device.sign_in(BEN);
    device.send(&device.form(4).await, ANSWERS).await;
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    device.sign_in(ANNA);
    let mut page = Page::default();
    let line = Line {
        collection: Some(Collection::Users.name().into()),
        id: Some(by(BEN).to_string().into()),
        seq: Some(101),
        deleted: true,
        ..Line::default()
    };
    page.push(&line).unwrap();
    let arrives = |page: &Page, seq| {
        let end = PageEnd::new(Cursor { epoch: 1, seq }, 102, Timestamp::EPOCH);
        device.workspace.mirror().apply(page, &end).unwrap();
    };
    arrives(&page, 101);
    let shown = device.shown("/rejected").await;
    assert!(shown.contains("Somebody whose name is still loading has to correct it"), "{shown}");
    arrives(&Page::default(), 102);
    let shown = device.shown("/rejected").await;
    assert!(shown.contains("An administrator has to look at it"), "{shown}");
}

#[tokio::test]
async fn an_entry_is_corrected_beside_what_was_charted() {
    let device = Device::new();
    device.bring(
        101,
        Collection::Records,
        RecordId::from_bytes([31; 16]),
        &record(31, BEN, "2026-05-01T14:10:00Z", 72, None),
    );
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let path = format!("{page}/correct/{}", RecordId::from_bytes([31; 16]));
    assert!(device.shown(&page).await.contains(&format!(r#"href="{path}""#)));
    let form = device.open_form(&path).await;
    assert_eq!(field(&form.html, "pulse"), "72");
    // What is typed for a correction is no draft of a new entry.
    assert_eq!(device.keep(&form, "pulse=99").await.status, StatusCode::NO_CONTENT);
    assert!(!device.form(4).await.html.contains(r#"value="99""#));
    let form = device.open_form(&path).await;
    assert_eq!(field(&form.html, "pulse"), "99");
    assert!(form.html.contains("You correct an entry by Ben"), "{}", form.html);
    let unsaid = device.send(&form, &ANSWERS.replace("72", "78")).await;
    assert_eq!(unsaid.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unsaid.body.contains("Reason for the correction: this is required"), "{}", unsaid.body);
    let saved = device.send(&form, &format!("{}&_reason=Read+anew", ANSWERS.replace("72", "78"))).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entries = device.entries();
    assert_eq!(
        (entries[0].kind, entries[0].record, entries[0].reason.as_deref()),
        (ChangeKind::Amend, Some(RecordId::from_bytes([31; 16])), Some("Read anew"))
    );
    let shown = device.shown(&page).await;
    let (counts, earlier) = shown.split_once("1 earlier version").unwrap();
    assert!(
        counts.contains("78 bpm")
            && counts.contains("by Anna Field")
            && counts.contains("Charted by Ben")
            && counts.contains("Saved here"),
        "{counts}"
    );
    assert!(earlier.contains("72 bpm") && !counts.contains("72 bpm"), "{shown}");
    assert_eq!(field(&device.open_form(&path).await.html, "pulse"), "72", "the draft went with the save");
    // Somebody else's correction, side by side.
    device.bring(
        102,
        Collection::Records,
        RecordId::from_bytes([32; 16]),
        &record(32, BEN, "2026-05-01T14:20:00Z", 70, Some(31)),
    );
    let shown = device.shown(&page).await;
    let (counts, _) = shown.split_once("1 earlier version").unwrap();
    assert!(
        counts.contains("side by side") && counts.contains("78 bpm") && counts.contains("70 bpm"),
        "{counts}"
    );
    let other = format!("/residents/{}/correct/{}", patient(2), RecordId::from_bytes([31; 16]));
    assert_eq!(open(&device.pages, &other).await.status, StatusCode::NOT_FOUND, "it is about somebody else");
}

#[tokio::test]
async fn a_resident_is_admitted_and_charted_on_at_once() {
    let device = Device::new();
    device.sign_in(ANNA);
    assert!(device.shown("/").await.contains(r#"href="/admit""#));
    let form = device.open_form("/admit").await;
    let faulty =
        device.send(&form, "name=&room=a+room+with+a+long+name+indeed&date_of_birth=1941-13-50").await;
    assert_eq!(faulty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        faulty.body.contains("Name: this is required")
            && !faulty.body.contains("Name is required")
            && faulty.body.contains("there is no month 13"),
        "{}",
        faulty.body
    );
    assert!(
        faulty.body.contains("this is 30 characters long: give at most 20 characters"),
        "{}",
        faulty.body
    );
    assert!(form.html.contains("Such as 03/15/1941"), "{}", form.html);
    for birth in ["2099-01-01", "1066-10-14", "0000-01-01"] {
        let wrong = device.send(&form, &format!("name=Nora+New&date_of_birth={birth}")).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{birth}");
    }
    let saved = device.send(&form, "name=+Nora%09New%0D%0A&room=112&date_of_birth=03%2F15%2F1941&mrn=").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entries = device.entries();
    assert_eq!((entries[0].kind, entries[0].collection), (ChangeKind::Create, Collection::Patients));
    let fields = json!({"name": "Nora New", "room": "112", "date_of_birth": "1941-03-15"});
    assert_eq!(Value::from(entries[0].fields.clone()), fields);
    let list = device.shown("/").await;
    assert!(list.contains("Nora New") && list.contains("Saved here"), "{list}");
    let form = device.open_form("/admit").await;
    let wrong = device.send(&form, "name=Olga+New&medicare=1EG4TE5").await;
    assert!(wrong.body.contains("is no Medicare number"), "{}", wrong.body);
    let saved = device.send(&form, "name=Olga+New&medicare=1eg4te5mk73").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let admitted = device.entries().pop().unwrap().fields;
    assert_eq!(Value::from(admitted), json!({"name": "Olga New", "medicare": "1EG4-TE5-MK73"}));
    let page = saved.header("location").split('?').next().unwrap().to_owned();
    let vitals = device.open_form(&format!("{page}/chart/vitals")).await;
    assert_eq!(device.send(&vitals, ANSWERS).await.status, StatusCode::SEE_OTHER);
    let olga: PatientId = page.trim_start_matches("/residents/").parse().unwrap();
    assert_eq!(device.entries().pop().unwrap().patient, Some(olga));
    assert!(device.shown(&page).await.contains("72 bpm"));
    device.sign_in(AUDITOR);
    assert_eq!(open(&device.pages, "/admit").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_what_was_changed_about_a_resident_is_an_edit() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let form = device.open_form(&path).await;
    let kept = |html: &str, room: &str| {
        let value = |name: &str| field(html, name).replace(' ', "+");
        let (name, born, mrn) = (value("name"), value("date_of_birth"), value("mrn"));
        let seen = hidden(html, "_seen");
        format!("_seen={seen}&name={name}&room={room}&date_of_birth={born}&mrn={mrn}")
    };
    assert_eq!(field(&form.html, "date_of_birth"), "03/05/1934", "as every page shows it");
    let nothing = device.send(&form, &kept(&form.html, "104")).await;
    assert!(nothing.body.contains("Nothing was changed"), "{}", nothing.body);
    // Meanwhile somebody else renames her: that is not undone.
    let renamed = PatientDocument { name: "Mary Jones".into(), ..resident(4, "", "104") };
    device.bring(101, Collection::Patients, patient(4), &renamed);
    assert_eq!(device.send(&form, &kept(&form.html, "108")).await.status, StatusCode::SEE_OTHER);
    let edit = device.entries().pop().unwrap();
    assert_eq!(
        (edit.kind, edit.record, edit.base_seq),
        (ChangeKind::Patch, Some(patient(4).into()), Some(1))
    );
    assert_eq!(Value::from(edit.fields), json!({"room": "108"}));
    let shown = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(shown.contains("Mary Jones") && shown.contains("108") && shown.contains("Saved here"), "{shown}");
    let form = device.open_form(&path).await;
    assert_eq!(device.send(&form, &kept(&form.html, "")).await.status, StatusCode::SEE_OTHER);
    let edit = device.entries().pop().unwrap();
    assert_eq!(Value::from(edit.fields), json!({"room": null}));
}

#[tokio::test]
async fn a_birthday_of_before_that_would_be_taken_no_more_keeps_nobody_from_moving() {
    let device = Device::new();
    let born =
        PatientDocument { date_of_birth: Some("1066-10-14".into()), ..resident(4, "Mary Smith", "104") };
    device.bring(101, Collection::Patients, patient(4), &born);
    device.sign_in(ANNA);
    let form = device.open_form(&format!("/residents/{}/edit", patient(4))).await;
    let seen = hidden(&form.html, "_seen");
    let moved =
        |born: &str| format!("_seen={seen}&name=Mary+Smith&room=108&date_of_birth={born}&mrn=GY-0004");
    let wrong = device.send(&form, &moved("1067-10-14")).await;
    assert!(wrong.body.contains("nobody is older than 130 years"), "{}", wrong.body);
    let shown = field(&form.html, "date_of_birth");
    assert_eq!(shown, "10/14/1066");
    assert_eq!(device.send(&form, &moved(shown)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"room": "108"}));
    // What is known in part is shown in part, and read back as the same.
    for (room, known, shown) in [("109", "1934", "1934"), ("110", "1934-03", "03/1934")] {
        let born = PatientDocument { date_of_birth: Some(known.into()), ..born.clone() };
        device.bring(102, Collection::Patients, patient(4), &born);
        let form = device.open_form(&format!("/residents/{}/edit", patient(4))).await;
        assert_eq!(field(&form.html, "date_of_birth"), shown);
        let seen = hidden(&form.html, "_seen");
        let answers = format!("_seen={seen}&name=Mary+Smith&room={room}&date_of_birth={shown}&mrn=GY-0004");
        assert_eq!(device.send(&form, &answers).await.status, StatusCode::SEE_OTHER);
        assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"room": room}), "{known}");
    }
}

//! Entries that are on the server alone: asked for, shown, corrected, and missed in words.

use carepost_protocol::change::ChangeKind;
use carepost_protocol::record::RecordDocument;
use carepost_protocol::wire::older::{Cut, OlderPlace, OlderRecords};
use carepost_protocol::wire::pull::Archived;
use serde_json::value::RawValue;

use super::*;
use crate::workspace::view::Missed;

const MADE: &str = "2026-01-20T08:00:00Z";

fn record(n: u8, who: u8, pulse: u8, amends: Option<u8>) -> RecordDocument {
    let values = json!({"taken_at": "2026-01-20T08:00", "pulse": pulse, "position": "Sitting"});
    RecordDocument {
        patient_id: patient(who),
        values: values.as_object().unwrap().clone(),
        ..needs::record(n, ANNA, MADE, pulse, amends)
    }
}

fn place() -> OlderPlace {
    OlderPlace { before: at(MADE), before_record: RecordId::from_bytes([41; 16]) }
}

/// A page as the server sends it.
fn sent(found: &OlderRecords<impl Serialize>) -> OlderRecords<Box<RawValue>> {
    serde_json::from_str(&serde_json::to_string(found).unwrap()).unwrap()
}

fn older() -> String {
    format!("/residents/{}/older", patient(4))
}

impl Device {
    /// Records have left the server's feed.
    fn archived(&self) {
        let mut end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
        end.archived = Some(Archived { through: 90, before: at("2026-01-31T10:00:00Z") });
        self.workspace.mirror().apply(&Page::default(), &end).unwrap();
    }

    /// Opens a page of older entries while the server answers that.
    async fn older(
        &self,
        path: &str,
        answer: Result<OlderRecords<impl Serialize>, Missed>,
    ) -> (Answer, Option<OlderPlace>) {
        self.agent.set_link(true, Timestamp::EPOCH);
        let server = async {
            let question = self.workspace.until_asked().await;
            assert_eq!(question.patient, patient(4));
            let after = question.after;
            question.answer(answer.map(|found| sent(&found)));
            after
        };
        tokio::join!(open(&self.pages, path), server)
    }
}

#[tokio::test]
async fn a_residents_page_says_where_older_entries_are() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}", patient(4));
    assert!(!open(&device.pages, &path).await.body.contains("older"), "nothing has left yet");
    device.archived();
    let page = open(&device.pages, &path).await.body;
    assert!(page.contains("Entries from before 01/31/2026 are kept on the server."), "{page}");
    assert!(page.contains(&format!("href=\"{}\"", older())), "{page}");
}

/// Whoever scrolls back finds no hole between what a page shows and what the server keeps.
#[tokio::test]
async fn all_that_the_device_has_comes_before_what_only_the_server_has() {
    let device = Device::new();
    device.sign_in(ANNA);
    let mut page = Page::default();
    for n in 0..60_u8 {
        let made = at(MADE).after(Duration::from_secs(60 * u64::from(n)));
        let one = RecordDocument { recorded_at: made, ..record(n, 4, 100 + n, None) };
        put(&mut page, Collection::Records, one.id, &one);
    }
    let mut end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, at("2026-05-01T14:10:00Z"));
    end.archived = Some(Archived { through: 0, before: at("2026-01-31T10:00:00Z") });
    device.workspace.mirror().apply(&page, &end).unwrap();
    let path = format!("/residents/{}", patient(4));
    let first = open(&device.pages, &path).await.body;
    assert!(first.contains("110 bpm") && !first.contains("109 bpm"), "{first}");
    assert!(first.contains("Show more entries") && !first.contains("kept on the server"), "{first}");
    let all = open(&device.pages, &format!("{path}?entries=200")).await.body;
    assert!(all.contains("100 bpm") && !all.contains("Show more entries"), "{all}");
    assert!(all.contains("kept on the server"), "{all}");
}

#[tokio::test]
async fn older_entries_are_asked_of_the_server_page_by_page_and_written_down_as_read() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.archived();
    let records = vec![record(40, 4, 91, None), record(42, 4, 92, Some(40)), record(41, 4, 61, None)];
    let found = OlderRecords { records, next: Some(place()), ..OlderRecords::default() };
    let (page, after) = device.older(&older(), Ok(found)).await;
    assert_eq!((page.status, after), (StatusCode::OK, None), "{}", page.body);
    for part in ["92 bpm", "61 bpm", "1 earlier version", "not kept on this device", "Anna Field"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let next = page.body.split("id=\"older\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let next = next.replace("&#38;", "&").replace("&amp;", "&");
    let (page, after) = device.older(&next, Ok(OlderRecords::<RecordDocument>::default())).await;
    assert_eq!(after, Some(place()));
    assert!(page.body.contains("There are no older entries."), "{}", page.body);
    let read = (AuditAction::View, true, Some(patient(4).to_string()));
    assert_eq!(device.accesses(), [read]);
    // What the server sent is in no file, and what is somebody else's is not shown.
    assert_eq!(
        device.workspace.mirror().version(Collection::Records, RecordId::from_bytes([40; 16])).unwrap(),
        None
    );
    let stranger = OlderRecords { records: vec![record(50, 2, 199, None)], ..OlderRecords::default() };
    let (page, _) = device.older(&older(), Ok(stranger)).await;
    assert!(!page.body.contains("199 bpm"), "{}", page.body);
}

/// What stands on a page of one older entry that was corrected 25 times: what counts, and the versions before.
async fn of_one(device: &Device, first_sent: u8, cut: Vec<Cut>) -> (String, String) {
    // The latest first, as the server sends them.
    let chain = (first_sent..=25).rev().map(|n| record(40 + n, 4, 60 + n, Some(39 + n)));
    let records = [record(40, 4, 60, None)].into_iter().chain(chain).collect();
    let (page, _) = device.older(&older(), Ok(OlderRecords { records, cut, next: None })).await;
    let (counts, before) = page.body.split_once("<details").unwrap();
    (counts.to_owned(), before.to_owned())
}

#[tokio::test]
async fn of_twenty_five_corrections_of_an_older_entry_the_last_counts_whatever_is_left_out_between() {
    let device = Device::new();
    device.sign_in(ANNA);
    let id = |n: u8| RecordId::from_bytes([n; 16]);
    let cut = vec![Cut { record: id(40), corrected: vec![id(45)] }];
    for (first_sent, cut, versions) in [(1, Vec::new(), 25), (6, cut, 20)] {
        let is_cut = !cut.is_empty();
        let (counts, before) = of_one(&device, first_sent, cut).await;
        assert!(counts.contains("85 bpm"), "{counts}");
        assert_eq!(counts.matches(r#"class="version""#).count(), 1, "nothing else counts: {counts}");
        assert!(before.contains(&format!("{versions} earlier versions")) && before.contains("60 bpm"));
        assert_eq!(before.matches(r#"class="version""#).count(), versions, "{before}");
        assert_eq!(counts.contains("Corrected more often than a kiosk looks at"), is_cut, "{counts}");
    }
    // A server from before does not say it: what it sent of the chain is one entry all the same.
    let (counts, before) = of_one(&device, 6, Vec::new()).await;
    assert!(counts.contains("85 bpm") && before.contains("19 earlier versions"), "{counts}{before}");
}

#[tokio::test]
async fn an_older_entry_that_is_not_understood_is_counted_and_those_beside_and_behind_it_are_shown() {
    let device = Device::new();
    device.sign_in(ANNA);
    let stranger = json!({"id": 7, "values": "those of another version"});
    let records = vec![json!(record(40, 4, 91, None)), stranger.clone(), json!(record(41, 4, 61, None))];
    let (page, _) =
        device.older(&older(), Ok(OlderRecords { records, next: Some(place()), cut: Vec::new() })).await;
    let words = "1 item on the server cannot be shown here, or is shown in an older version.";
    for part in ["91 bpm", "61 bpm", words, "Look it up on another device", "Show older entries"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let (page, _) = device
        .older(&older(), Ok(OlderRecords { records: vec![stranger], cut: Vec::new(), next: None }))
        .await;
    assert!(page.body.contains(words) && !page.body.contains("There are no older entries"), "{}", page.body);
    let known = OlderRecords { records: vec![record(40, 4, 91, None)], cut: Vec::new(), next: None };
    let (page, _) = device.older(&older(), Ok(known)).await;
    assert!(page.body.contains("91 bpm") && !page.body.contains("cannot be shown here"), "{}", page.body);
}

#[tokio::test]
async fn an_older_entry_can_be_corrected_from_the_page_that_shows_it() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/correct/{}", patient(4), RecordId::from_bytes([40; 16]));
    assert_eq!(open(&device.pages, &path).await.status, StatusCode::NOT_FOUND);
    let found = OlderRecords { records: vec![record(40, 4, 91, None)], ..OlderRecords::default() };
    let (page, _) = device.older(&older(), Ok(found.clone())).await;
    assert!(page.body.contains(&format!("href=\"{path}\"")), "{}", page.body);
    // What was typed waits as a draft, and is found again with the entry.
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    assert!(form.html.contains(r#"value="91""#), "{}", form.html);
    assert_eq!(device.keep(&form, "pulse=88").await.status, StatusCode::NO_CONTENT);
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    assert!(form.html.contains(r#"value="88""#), "{}", form.html);
    let saved = device.send(&form, &format!("{ANSWERS}&_reason=Misread")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entries = device.entries();
    assert_eq!(
        (entries[0].kind, entries[0].record, entries[0].patient),
        (ChangeKind::Amend, Some(RecordId::from_bytes([40; 16])), Some(patient(4)))
    );
    // Until the server has it, it is laid over what the server shows.
    let (page, _) = device.older(&older(), Ok(found)).await;
    let (corrected, earlier) = page.body.split_once("1 earlier version").unwrap();
    assert!(corrected.contains("72 bpm") && earlier.contains("91 bpm"), "{}", page.body);
}

#[tokio::test]
async fn what_was_struck_out_further_back_is_shown_as_far_as_it_is_here() {
    let device = Device::new();
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let strike = |n: u8| format!("{page}/strike/{}", RecordId::from_bytes([n; 16]));
    // Behind the first fifty.
    for n in 1..=60_u8 {
        let made = at(MADE).after(Duration::from_secs(60 * u64::from(n)));
        let one = RecordDocument { recorded_at: made, ..record(n, 4, 100 + n, None) };
        device.bring(100 + u64::from(n), Collection::Records, one.id, &one);
    }
    let struck = device.send(&device.open_form(&strike(1)).await, "_reason=Misread").await;
    assert_eq!(struck.status, StatusCode::SEE_OTHER, "{}", struck.body);
    let shown = device.shown(&page).await;
    let (_, struck) = shown.split_once("Struck out by Anna Field").unwrap();
    assert!(struck.contains("101 bpm") && struck.contains("Put back"), "{shown}");
    // On the server alone: as long as it was shown a moment ago, and not any more.
    let device = Device::new();
    device.sign_in(ANNA);
    device.archived();
    let found = OlderRecords { records: vec![record(90, 4, 91, None)], ..OlderRecords::default() };
    device.older(&older(), Ok(found)).await;
    device.send(&device.open_form(&strike(90)).await, "_reason=Misread").await;
    let shown = device.shown(&page).await;
    assert!(shown.contains("91 bpm"), "{shown}");
    device.agent.lock();
    device.sign_in(ANNA);
    let shown = device.shown(&page).await;
    assert!(shown.contains("What was struck out is not here: look at the older entries."), "{shown}");
    assert!(!shown.contains("91 bpm") && !shown.contains("Nothing was filled in"), "{shown}");
}

/// It was there for the eyes of that session, and as this device might see it then.
#[tokio::test]
async fn what_the_server_showed_goes_with_the_session_the_lock_and_the_copy() {
    type Leaving = (&'static str, fn(&Device));
    let leaves: [Leaving; 4] = [
        ("the lock", |device| device.agent.lock()),
        ("the own badge", |device| device.tap(ANNA)),
        ("another's session", |device| drop(device.sign_in(BEN))),
        ("a copy that begins anew", |device| device.workspace.refetch().unwrap()),
    ];
    let path = format!("/residents/{}/correct/{}", patient(4), RecordId::from_bytes([40; 16]));
    for (what, leave) in leaves {
        let device = Device::new();
        device.sign_in(ANNA);
        let found = OlderRecords { records: vec![record(40, 4, 91, None)], ..OlderRecords::default() };
        device.older(&older(), Ok(found)).await;
        assert_eq!(open(&device.pages, &path).await.status, StatusCode::OK);
        leave(&device);
        if !matches!(device.agent.screen(), Screen::Open(_)) {
            device.sign_in(ANNA);
        }
        assert_eq!(open(&device.pages, &path).await.status, StatusCode::NOT_FOUND, "it outlasts {what}");
    }
}

#[tokio::test]
async fn what_the_server_does_not_say_is_said_in_words() {
    let device = Device::new();
    device.sign_in(ANNA);
    let says = |page: &Answer, words: &str| {
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(page.body.contains(words) && page.body.contains("Try again"), "{words}: {}", page.body);
    };
    let page = open(&device.pages, &older()).await;
    says(&page, "The server is not reached now.");
    device.agent.set_link(true, Timestamp::EPOCH);
    // Nobody answers: the page does not wait for long, and no question is kept.
    let page = open(&device.pages, &older()).await;
    says(&page, "The server has not answered in time.");
    let refused = Err::<OlderRecords, _>(Missed::NotShown("wait a minute".to_owned()));
    let (page, _) = device.older(&older(), refused).await;
    says(&page, "wait a minute.");
    assert_eq!(device.accesses(), [], "nothing was read");
}

#[tokio::test]
async fn who_may_not_read_here_is_not_shown_what_came_meanwhile() {
    let device = Device::new();
    let annas = device.sign_in(ANNA);
    device.agent.set_link(true, Timestamp::EPOCH);
    let asked = device.agent.ask_older(&annas, patient(4), None).unwrap();
    let question = device.workspace.until_asked().await;
    let bens = device.sign_in(BEN);
    question.answer(Ok(sent(&OlderRecords {
        records: vec![record(40, 4, 91, None)],
        cut: Vec::new(),
        next: None,
    })));
    let answer = asked.answer().await;
    assert_eq!(device.workspace.older(&annas, patient(4), answer).unwrap_err(), Refused::Locked);
    assert_eq!(device.agent.ask_older(&annas, patient(4), None).unwrap_err(), Refused::Locked);
    let nobody = device.agent.ask_older(&bens, PatientId::from_bytes([9; 16]), None);
    assert_eq!(nobody.unwrap_err(), Refused::NoSuchResident);
    // No more than a few wait at a time.
    let asked: Vec<_> = (0..5).map(|_| device.agent.ask_older(&bens, patient(4), None).unwrap()).collect();
    let last = asked.into_iter().last().unwrap();
    assert_eq!(last.answer().await.unwrap_err(), Missed::TooLate);
}

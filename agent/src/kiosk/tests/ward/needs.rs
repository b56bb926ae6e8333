//! What needs a person: refused entries, corrections, residents, reviews.

use carepost_protocol::change::{ChangeKind, Verdict};
use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{
    DisputedField, PatientDocument, RecordDocument, ReviewDocument, ReviewKind, SavedValue,
};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::push::{PushReceipt, Rejection, RejectionCode, VerdictRun};
use carepost_protocol::workflow::FieldError;
use serde_json::Value;

use super::*;

impl Device {
    /// The server answers everything that waits: the named numbers are refused so.
    fn settle(&self, refused: &[(u64, RejectionCode)]) {
        let shape = Shape::Plain { changes: 1_000, bytes: 1_000_000 };
        let batch = self.ward.outbox().batch(Lane::Care, shape).unwrap().unwrap();
        let sent: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        let last = sent.first_n + sent.changes.len() as u64 - 1;
        let run = |n| {
            let code = refused.iter().find(|(number, _)| *number == n).map(|(_, code)| *code);
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
        self.ward.outbox().settle(&batch.sent, &receipt).unwrap();
    }

    fn bring(&self, seq: u64, collection: Collection, id: impl std::fmt::Display, body: &impl Serialize) {
        let mut page = Page::default();
        put(&mut page, collection, id, body);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.ward.mirror().apply(&page, &end).unwrap();
    }

    async fn sheet(&self, path: &str) -> Sheet {
        let answer = open(&self.pages, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        Sheet::of(path, answer.body)
    }

    async fn shown(&self, path: &str) -> String {
        let answer = open(&self.pages, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }
}

fn by(who: u8) -> UserId {
    UserId::from_bytes([who; 16])
}

fn record(n: u8, who: u8, made: &str, pulse: u8, amends: Option<u8>) -> RecordDocument {
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

fn field<'a>(html: &'a str, name: &str) -> &'a str {
    let begin = format!(r#"name="{name}""#);
    let tag = html.split(&begin).nth(1).unwrap_or_else(|| panic!("no {name} in {html}"));
    tag.split(r#"value=""#).nth(1).unwrap().split('"').next().unwrap()
}

/// What a hidden field holds, as a browser sends it back.
fn hidden(html: &str, name: &str) -> String {
    let value = field(html, name).replace("&#34;", "\"").replace("&quot;", "\"").replace("&#39;", "'");
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_refused_entry_is_corrected_by_whoever_made_it() {
    let device = Device::new();
    device.sign_in(ANNA);
    let sheet = device.form(4).await;
    device.send(&sheet, ANSWERS).await;
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    device.sign_in(BEN);
    let bens = device.shown("/attention").await;
    for words in
        ["Vital signs", "Mary Smith", "A. F.", "72 bpm", "Pulse: too high", "Anna Field has to correct"]
    {
        assert!(bens.contains(words), "{words} is missing in {bens}");
    }
    assert!(bens.contains(r#"<a href="/attention""#), "the status line leads here: {bens}");
    assert!(!bens.contains(r#"href="/attention/1""#), "it is not Ben's to correct: {bens}");
    assert_eq!(open(&device.pages, "/attention/1").await.status, StatusCode::FORBIDDEN);
    device.sign_in(ANNA);
    let annas = device.shown("/attention").await;
    assert!(annas.contains(r#"href="/attention/1""#), "{annas}");
    let again = device.sheet("/attention/1").await;
    assert_eq!(field(&again.html, "pulse"), "72", "what was saved is filled in");
    assert!(
        again.html.contains("too high") && again.html.contains("The server refused this"),
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
    assert!(!device.shown("/attention").await.contains("Vital signs"), "nothing is left to do");
    assert_eq!(open(&device.pages, "/attention/1").await.status, StatusCode::NOT_FOUND);
    assert!(device.accesses().contains(&(AuditAction::View, true, None)), "reading it is written down");
    device.desk.lock();
    let locked = open(&device.pages, "/attention").await;
    assert_eq!(locked.header("location"), "/", "nobody reads it on a locked screen");
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
    let sheet = device.sheet(&path).await;
    assert_eq!(field(&sheet.html, "pulse"), "72");
    // What is typed for a correction is no draft of a new entry.
    assert_eq!(device.keep(&sheet, "pulse=99").await.status, StatusCode::NO_CONTENT);
    assert!(!device.form(4).await.html.contains(r#"value="99""#));
    let sheet = device.sheet(&path).await;
    assert_eq!(field(&sheet.html, "pulse"), "99");
    assert!(sheet.html.contains("You correct an entry by Ben"), "{}", sheet.html);
    let unsaid = device.send(&sheet, &ANSWERS.replace("72", "78")).await;
    assert_eq!(unsaid.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unsaid.body.contains("Reason for the correction is required"), "{}", unsaid.body);
    let saved = device.send(&sheet, &format!("{}&_reason=Read+anew", ANSWERS.replace("72", "78"))).await;
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
            && counts.contains("entry by Ben")
            && counts.contains("Saved here"),
        "{counts}"
    );
    assert!(earlier.contains("72 bpm") && !counts.contains("72 bpm"), "{shown}");
    assert_eq!(field(&device.sheet(&path).await.html, "pulse"), "72", "the draft went with the save");
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
    let sheet = device.sheet("/admit").await;
    let faulty =
        device.send(&sheet, "name=&room=a+room+with+a+long+name+indeed&date_of_birth=1941-13-50").await;
    assert_eq!(faulty.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        faulty.body.contains("Name is required") && faulty.body.contains("there is no month 13"),
        "{}",
        faulty.body
    );
    assert!(faulty.body.contains("at most 20 characters"), "{}", faulty.body);
    for birth in ["2099-01-01", "1066-10-14", "0000-01-01"] {
        let wrong = device.send(&sheet, &format!("name=Nora+New&date_of_birth={birth}")).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{birth}");
    }
    let saved =
        device.send(&sheet, "name=+Nora%09New%0D%0A&room=112&date_of_birth=03%2F15%2F1941&mrn=").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entries = device.entries();
    assert_eq!((entries[0].kind, entries[0].collection), (ChangeKind::Create, Collection::Patients));
    let fields = json!({"name": "Nora New", "room": "112", "date_of_birth": "1941-03-15"});
    assert_eq!(Value::from(entries[0].fields.clone()), fields);
    let list = device.shown("/").await;
    assert!(list.contains("Nora New") && list.contains("Saved here"), "{list}");
    let page = saved.header("location").split('?').next().unwrap().to_owned();
    let vitals = device.sheet(&format!("{page}/chart/vitals")).await;
    assert_eq!(device.send(&vitals, ANSWERS).await.status, StatusCode::SEE_OTHER);
    let nora: PatientId = page.trim_start_matches("/residents/").parse().unwrap();
    assert_eq!(device.entries()[1].patient, Some(nora));
    assert!(device.shown(&page).await.contains("72 bpm"));
    device.sign_in(AUDITOR);
    assert_eq!(open(&device.pages, "/admit").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_what_was_changed_about_a_resident_is_an_edit() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let sheet = device.sheet(&path).await;
    let kept = |html: &str, room: &str| {
        let value = |name: &str| field(html, name).replace(' ', "+");
        let (name, born, mrn) = (value("name"), value("date_of_birth"), value("mrn"));
        let seen = hidden(html, "_seen");
        format!("_seen={seen}&name={name}&room={room}&date_of_birth={born}&mrn={mrn}")
    };
    let nothing = device.send(&sheet, &kept(&sheet.html, "104")).await;
    assert!(nothing.body.contains("Nothing was changed"), "{}", nothing.body);
    // Meanwhile somebody else renames her: that is not undone.
    let renamed = PatientDocument { name: "Mary Jones".into(), ..resident(4, "", "104") };
    device.bring(101, Collection::Patients, patient(4), &renamed);
    assert_eq!(device.send(&sheet, &kept(&sheet.html, "108")).await.status, StatusCode::SEE_OTHER);
    let edit = device.entries().pop().unwrap();
    assert_eq!(
        (edit.kind, edit.record, edit.base_seq),
        (ChangeKind::Patch, Some(patient(4).into()), Some(1))
    );
    assert_eq!(Value::from(edit.fields), json!({"room": "108"}));
    let shown = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(shown.contains("Mary Jones") && shown.contains("108") && shown.contains("Saved here"), "{shown}");
    let sheet = device.sheet(&path).await;
    assert_eq!(device.send(&sheet, &kept(&sheet.html, "")).await.status, StatusCode::SEE_OTHER);
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
    let sheet = device.sheet(&format!("/residents/{}/edit", patient(4))).await;
    let seen = hidden(&sheet.html, "_seen");
    let moved =
        |born: &str| format!("_seen={seen}&name=Mary+Smith&room=108&date_of_birth={born}&mrn=GY-0004");
    let wrong = device.send(&sheet, &moved("1067-10-14")).await;
    assert!(wrong.body.contains("nobody is older than 130 years"), "{}", wrong.body);
    assert_eq!(device.send(&sheet, &moved("1066-10-14")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"room": "108"}));
}

#[tokio::test]
async fn a_conflict_is_decided_and_goes_through_the_outbox() {
    let device = Device::new();
    let id = ReviewId::from_bytes([41; 16]);
    let value = |room: &str, who, stands| SavedValue {
        value: room.into(),
        by: Some(by(who)),
        at: at("2026-05-01T14:10:00Z"),
        stands,
    };
    let review = ReviewDocument {
        id,
        kind: ReviewKind::Conflict,
        patient_id: patient(4),
        collection: Collection::Patients,
        record: patient(4).into(),
        fields: vec![DisputedField {
            field: "room".into(),
            values: vec![value("104", ANNA, false), value("108", BEN, true)],
            more: 1_188,
        }],
        others: Vec::new(),
        more: 0,
        opened_at: at("2026-05-01T14:12:00Z"),
        resolved: None,
    };
    device.bring(101, Collection::Reviews, id, &review);
    device.sign_in(ANNA);
    let shown = device.shown("/").await;
    assert!(shown.contains("1 entry needs a look") && shown.contains(r#"href="/reviews""#), "{shown}");
    let path = format!("/reviews/{id}");
    let sheet = Sheet::of(&path, device.shown("/reviews").await);
    for words in ["Mary Smith", "A. F.", "B. H.", "shown now", "which is right?", "And 1188 more"] {
        assert!(sheet.html.contains(words), "{words} is missing in {}", sheet.html);
    }
    let base = hidden(&sheet.html, "_base");
    let open_still = device.send(&sheet, &format!("_base={base}")).await;
    assert_eq!(open_still.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(open_still.body.contains("Choose which is right for Room"), "{}", open_still.body);
    let stale = device.send(&sheet, "_base=77&room=0").await;
    assert!(stale.body.contains("This has changed since"), "{}", stale.body);
    let closed = device.send(&sheet, &format!("_base={base}&room=0")).await;
    assert_eq!(closed.status, StatusCode::SEE_OTHER, "{}", closed.body);
    let change = device.entries().pop().unwrap();
    assert_eq!(
        (change.kind, change.collection, change.record),
        (ChangeKind::Patch, Collection::Reviews, Some(id.into()))
    );
    assert_eq!(Value::from(change.fields), json!({"room": "104"}));
    assert!(device.shown("/reviews").await.contains("Nothing needs a look now"));
    assert_eq!(device.desk.status().reviews, 0);
    device.sign_in(AUDITOR);
    assert_eq!(open(&device.pages, "/reviews").await.status, StatusCode::FORBIDDEN);
}

/// A review of whether the first of those is one of the others.
fn duplicate(n: u8, last: u8, others: &[u8]) -> ReviewDocument {
    ReviewDocument {
        id: ReviewId::from_bytes([n; 16]),
        kind: ReviewKind::Duplicate,
        patient_id: patient(last),
        collection: Collection::Patients,
        record: patient(last).into(),
        fields: Vec::new(),
        others: others.iter().map(|n| patient(*n).into()).collect(),
        more: 0,
        opened_at: at("2026-05-01T14:12:00Z"),
        resolved: None,
    }
}

#[tokio::test]
async fn two_who_are_one_person_are_one_at_once_with_all_that_was_charted() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2]);
    device.bring(101, Collection::Reviews, review.id, &review);
    let charted = record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
    device.bring(102, Collection::Records, charted.id, &charted);
    device.sign_in(ANNA);
    let vitals = device.form(2).await;
    device.send(&vitals, &ANSWERS.replace("72", "81")).await;
    let path = format!("/reviews/{}", review.id);
    let sheet = Sheet::of(&path, device.shown("/reviews").await);
    for words in [
        "Is this one person?",
        "Mary Smith",
        "Admitted last",
        "John Smith",
        "Same person",
        "Two different people",
    ] {
        assert!(sheet.html.contains(words), "{words} is missing in {}", sheet.html);
    }
    let base = hidden(&sheet.html, "_base");
    let nobody = device.send(&sheet, &format!("_base={base}&same_person={}", patient(3))).await;
    assert!(nobody.body.contains("Say whether they are one person"), "{}", nobody.body);
    let joined = device.send(&sheet, &format!("_base={base}&same_person={}", patient(2))).await;
    let page = format!("/residents/{}", patient(2));
    assert_eq!(joined.header("location"), format!("{page}?saved=joined"), "{}", joined.body);
    let fields = Value::from(device.entries().pop().unwrap().fields);
    let named = json!({"same_person": true, "replaced": patient(4), "replaced_by": patient(2)});
    assert_eq!(fields, named, "both live here: who was admitted first stays");
    let shown = device.shown(joined.header("location")).await;
    for words in ["one person now", "Also admitted as <b>Mary Smith</b>", "room 104", "72 bpm", "81 bpm"] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    let list = device.shown("/").await;
    assert!(list.contains("John Smith") && !list.contains("Mary Smith"), "{list}");
    // Whoever follows an older link is on the same page, and what was charted can be corrected there.
    let older = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(older.contains("John Smith") && older.contains(&format!("{page}/chart/vitals")), "{older}");
    let correct = format!("/residents/{}/correct/{}", patient(4), charted.id);
    assert!(older.contains(&correct), "{older}");
    assert_eq!(field(&device.sheet(&correct).await.html, "pulse"), "72");
    // And so once the server says it.
    let gone = PatientDocument {
        replaced_by: Some(patient(2)),
        is_active: false,
        ..resident(4, "Mary Smith", "104")
    };
    let stays = PatientDocument { replaces: vec![patient(4)], ..resident(2, "John Smith", "102") };
    device.settle(&[]);
    device.bring(300, Collection::Patients, gone.id, &gone);
    device.bring(300, Collection::Patients, stays.id, &stays);
    let shown = device.shown(&page).await;
    assert!(shown.contains("Also admitted as") && shown.contains("72 bpm"), "{shown}");
    assert!(!device.shown("/?discharged=1").await.contains("Mary Smith"), "nobody readmits her");
}

#[tokio::test]
async fn who_is_in_care_stays_of_two_who_are_one_person() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2, 3]);
    let gone = PatientDocument { is_active: false, ..resident(2, "John Smith", "102") };
    device.bring(101, Collection::Reviews, review.id, &review);
    device.bring(102, Collection::Patients, gone.id, &gone);
    device.sign_in(ANNA);
    let path = format!("/reviews/{}", review.id);
    let sheet = Sheet::of(&path, device.shown("/reviews").await);
    assert!(sheet.html.contains("None of these") && sheet.html.contains("Discharged"), "{}", sheet.html);
    let base = hidden(&sheet.html, "_base");
    let joined = device.send(&sheet, &format!("_base={base}&same_person={}", patient(2))).await;
    assert_eq!(joined.header("location"), format!("/residents/{}?saved=joined", patient(4)));
    assert!(device.shown("/").await.contains("Mary Smith"));
}

/// Whose place another took, as the server says it.
fn replaced(device: &Device, goes: &PatientDocument, stays: &PatientDocument) {
    let gone = PatientDocument { replaced_by: Some(stays.id), is_active: false, ..goes.clone() };
    let replaces = [goes.id].into_iter().chain(goes.replaces.iter().copied()).collect();
    let stays = PatientDocument { replaces, ..stays.clone() };
    device.bring(103, Collection::Patients, gone.id, &gone);
    device.bring(104, Collection::Patients, stays.id, &stays);
}

#[tokio::test]
async fn what_an_earlier_join_brought_stays_while_a_later_one_waits() {
    let device = Device::new();
    let (maria, mary) = (resident(3, "Maria Ortega", "103"), resident(4, "Mary Smith", "104"));
    let (first, then) = (duplicate(42, 4, &[2]), duplicate(43, 2, &[1]));
    for review in [&first, &then] {
        device.bring(101, Collection::Reviews, review.id, review);
    }
    let charted =
        RecordDocument { patient_id: maria.id, ..record(31, BEN, "2026-05-01T14:10:00Z", 72, None) };
    device.bring(102, Collection::Records, charted.id, &charted);
    replaced(&device, &maria, &mary);
    device.sign_in(ANNA);
    for (review, stays) in [(&first, 2), (&then, 1)] {
        let sheet = Sheet::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
        let base = device.ward.mirror().version(Collection::Reviews, review.id.into()).unwrap().unwrap();
        device.send(&sheet, &format!("_base={base}&same_person={}", patient(stays))).await;
        let shown = device.shown(&format!("/residents/{}", patient(stays))).await;
        for words in ["<b>Mary Smith</b>", "<b>Maria Ortega</b>", "72 bpm"] {
            assert_eq!(shown.matches(words).count(), 1, "{words}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_review_asks_about_whoever_took_the_place_since_and_about_nobody_twice() {
    let device = Device::new();
    let (john, maria) = (resident(2, "John Smith", "102"), resident(3, "Maria Ortega", "103"));
    let review = duplicate(42, 4, &[2, 3]);
    device.bring(101, Collection::Reviews, review.id, &review);
    replaced(&device, &john, &maria);
    device.sign_in(ANNA);
    let sheet = Sheet::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    assert!(!sheet.html.contains("John Smith"), "{}", sheet.html);
    assert_eq!(sheet.html.matches("<h3>Maria Ortega</h3>").count(), 1, "{}", sheet.html);
    let base = hidden(&sheet.html, "_base");
    let joined = device.send(&sheet, &format!("_base={base}&same_person={}", patient(3))).await;
    let fields = Value::from(device.entries().pop().unwrap().fields);
    let named = json!({"same_person": true, "replaced": patient(4), "replaced_by": patient(2)});
    assert_eq!(fields, named, "both live here, though John Smith was admitted once too often");
    let shown = device.shown(joined.header("location")).await;
    assert!(shown.contains("one person now") && shown.contains("<b>Mary Smith</b>"), "{shown}");
}

#[tokio::test]
async fn a_review_of_two_who_became_one_since_asks_about_nobody() {
    let device = Device::new();
    let (john, mary) = (resident(2, "John Smith", "102"), resident(4, "Mary Smith", "104"));
    let review = duplicate(42, 4, &[2]);
    device.bring(101, Collection::Reviews, review.id, &review);
    replaced(&device, &mary, &john);
    device.sign_in(ANNA);
    let shown = device.shown("/reviews").await;
    assert!(shown.contains("Nobody is left to ask about"), "{shown}");
    assert!(!shown.contains("Mary Smith") && !shown.contains("Same person</button>"), "{shown}");
}

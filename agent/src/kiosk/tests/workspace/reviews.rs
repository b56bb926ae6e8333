//! What is decided at the screen: corrections side by side, and whether two are one person.

use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{
    DisputedField, PatientDocument, RecordDocument, Resolved, ReviewDocument, ReviewKind, SavedValue,
};
use serde_json::Value;

use super::needs::{by, field, hidden, record};
use super::*;

/// A review of the corrections of an entry of Mary Smith's.
pub(super) fn corrections(n: u8, of: u8, others: &[u8]) -> ReviewDocument {
    ReviewDocument {
        id: ReviewId::from_bytes([n; 16]),
        kind: ReviewKind::Amendments,
        patient_id: patient(4),
        collection: Collection::Records,
        record: RecordId::from_bytes([of; 16]),
        fields: Vec::new(),
        others: others.iter().map(|n| RecordId::from_bytes([*n; 16])).collect(),
        more: 0,
        opened_at: at("2026-05-01T14:25:00Z"),
        resolved: None,
    }
}

#[tokio::test]
async fn corrections_that_were_looked_at_say_by_whom_and_one_of_them_is_struck_out_from_there() {
    let device = Device::new();
    let review = corrections(44, 31, &[32, 33]);
    // Ben did all of it, on two kiosks.
    for (n, minute, pulse, of) in [(31, 10, 72, None), (32, 20, 70, Some(31)), (33, 21, 79, Some(31))] {
        let record = record(n, BEN, &format!("2026-05-01T14:{minute}:00Z"), pulse, of);
        device.bring(101, Collection::Records, record.id, &record);
    }
    device.bring(102, Collection::Reviews, review.id, &review);
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let side_by_side = "Corrected more than once, side by side, by Ben Harbor. All of it stands";
    let shown = device.shown(&page).await;
    assert!(shown.contains(side_by_side) && !shown.contains("Looked at by"), "{shown}");
    // What still stands can be corrected or struck out from there; the first version cannot.
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    let link =
        |what: &str, n: u8| format!("/residents/{}/{what}/{}", patient(4), RecordId::from_bytes([n; 16]));
    for words in ["One entry was corrected more than once", &link("correct", 32), &link("strike", 33)] {
        assert!(form.html.contains(words), "{words} is missing in {}", form.html);
    }
    assert!(!form.html.contains(&link("correct", 31)), "{}", form.html);
    let seen = device.send(&form, &format!("_base={}", hidden(&form.html, "_base"))).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.body);
    // At once, and once the server says so.
    let looked = "Looked at by <b>Anna Field</b>";
    let shown = device.shown(&page).await;
    assert!(shown.contains(side_by_side) && shown.contains(looked), "{shown}");
    let resolved = Some(Resolved { by: by(ANNA), at: at("2026-05-01T14:30:00Z") });
    device.settle(&[]);
    let closed = ReviewDocument { resolved, ..review.clone() };
    device.bring(300, Collection::Reviews, review.id, &closed);
    let shown = device.shown(&page).await;
    assert!(shown.contains(side_by_side) && shown.contains(looked), "{shown}");
    // Another one that came since was looked at by nobody.
    let late = record(34, ANNA, "2026-05-01T14:40:00Z", 90, Some(31));
    device.bring(301, Collection::Records, late.id, &late);
    let again = ReviewDocument { resolved: None, ..corrections(45, 31, &[32, 33, 34]) };
    device.bring(302, Collection::Reviews, again.id, &again);
    let shown = device.shown(&page).await;
    assert!(shown.contains("by Anna Field, Ben Harbor. All") && !shown.contains(looked), "{shown}");
    // Struck out, they stand no more, and what is left is what counts.
    for n in [33, 34] {
        let path = link("strike", n);
        let strike = OpenForm::of(&path, open(&device.pages, &path).await.body);
        let struck = device.send(&strike, "_reason=Read+wrong").await;
        assert_eq!(struck.status, StatusCode::SEE_OTHER, "{}", struck.body);
    }
    let shown = device.shown(&page).await;
    assert!(!shown.contains("side by side") && shown.contains("70 bpm"), "{shown}");
}

impl Device {
    /// One with an entry of Mary Smith's, and these after it.
    fn with_corrections(corrections: &[RecordDocument]) -> Self {
        let device = Self::new();
        let first = record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
        for (seq, record) in (101..).zip([&first].into_iter().chain(corrections)) {
            device.bring(seq, Collection::Records, record.id, record);
        }
        device.sign_in(ANNA);
        device
    }
}

fn struck(n: u8, who: u8) -> RecordDocument {
    RecordDocument {
        entered_in_error: true,
        values: serde_json::Map::new(),
        ..record(n, who, "2026-05-01T14:20:00Z", 0, Some(31))
    }
}

#[tokio::test]
async fn what_two_struck_out_is_over_and_a_correction_beside_a_strike_stands_once_somebody_has_looked() {
    let page = format!("/residents/{}", patient(4));
    let device = Device::with_corrections(&[struck(32, BEN), struck(33, ANNA)]);
    let shown = device.shown(&page).await;
    assert!(!shown.contains("side by side"), "nothing of it stands: {shown}");

    let corrected = record(33, ANNA, "2026-05-01T14:21:00Z", 70, Some(31));
    let device = Device::with_corrections(&[struck(32, BEN), corrected]);
    let review = corrections(44, 31, &[32, 33]);
    device.bring(110, Collection::Reviews, review.id, &review);
    let both = "Struck out by Ben Harbor and corrected by Anna Field, side by side.";
    let shown = device.shown(&page).await;
    assert!(shown.contains(both) && !shown.contains("All of it stands"), "{shown}");
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    let seen = device.send(&form, &format!("_base={}", hidden(&form.html, "_base"))).await;
    assert_eq!(seen.status, StatusCode::SEE_OTHER, "{}", seen.body);
    let shown = device.shown(&page).await;
    assert!(!shown.contains("side by side") && shown.contains("70 bpm"), "{shown}");
    // What came before the look reached the server is in the review, and was looked at by nobody.
    let late = record(34, ANNA, "2026-05-01T14:19:00Z", 90, Some(31));
    device.bring(111, Collection::Records, late.id, &late);
    let mut changed = Page::default();
    put_version(&mut changed, Collection::Reviews, review.id, 112, &corrections(44, 31, &[32, 33, 34]));
    let end = PageEnd::new(Cursor { epoch: 1, seq: 112 }, 112, Timestamp::EPOCH);
    device.workspace.mirror().apply(&changed, &end).unwrap();
    let shown = device.shown(&page).await;
    assert!(shown.contains(both) && !shown.contains("Looked at by"), "{shown}");
}

#[tokio::test]
async fn a_review_shows_what_was_struck_out_and_it_is_put_back_from_there() {
    let corrected = record(33, ANNA, "2026-05-01T14:21:00Z", 70, Some(31));
    let device = Device::with_corrections(&[struck(32, BEN), corrected.clone()]);
    let review = corrections(44, 31, &[32, 33]);
    device.bring(110, Collection::Reviews, review.id, &review);
    let back = format!("/residents/{}/correct/{}", patient(4), RecordId::from_bytes([32; 16]));
    let shown = device.shown("/reviews").await;
    let (_, strike) = shown.split_once("Struck out by Ben Harbor").unwrap();
    let (strike, _) = strike.split_once("70 bpm").unwrap();
    for words in ["<del>", "72 bpm", &format!(r#"href="{back}">Put back"#)] {
        assert!(strike.contains(words), "{words} is missing in {shown}");
    }
    assert_eq!(shown.matches("Charted by Ben Harbor").count(), 2, "{shown}");
    assert!(!shown.contains("Nothing was filled in"), "{shown}");
    assert_eq!(field(&device.open_form(&back).await.html, "pulse"), "72");

    // What it struck is not on this device: it does not say that there was nothing, and offers no way to it.
    let device = Device::new();
    for (seq, one) in (101..).zip([&struck(32, BEN), &corrected]) {
        device.bring(seq, Collection::Records, one.id, one);
    }
    device.bring(110, Collection::Reviews, review.id, &review);
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    for shown in [device.shown("/reviews").await, device.shown(&page).await] {
        assert!(shown.contains("What was struck out is not here: look at the older entries."), "{shown}");
        for none in ["Nothing was filled in", "Put back", r#"<p class="acts"></p>"#] {
            assert!(!shown.contains(none), "{none} is on {shown}");
        }
    }
}

#[tokio::test]
async fn a_look_counts_for_the_corrections_that_it_was_at_and_until_somebody_is_asked_again() {
    let page = format!("/residents/{}", patient(4));
    let beside = [(32, "20", 70), (33, "21", 79)]
        .map(|(n, minute, pulse)| record(n, BEN, &format!("2026-05-01T14:{minute}:00Z"), pulse, Some(31)));
    let device = Device::with_corrections(&beside);
    let resolved = Some(Resolved { by: by(ANNA), at: at("2026-05-01T14:30:00Z") });
    let looked = "Looked at by <b>Anna Field</b>";
    for (seq, others, is_looked_at) in [(110, [32, 35], false), (111, [32, 33], true)] {
        let closed = ReviewDocument { resolved, ..corrections(44, 31, &others) };
        device.bring(seq, Collection::Reviews, closed.id, &closed);
        let shown = device.shown(&page).await;
        assert_eq!(shown.contains(looked), is_looked_at, "{others:?}: {shown}");
    }
    let again = corrections(45, 31, &[32, 33]);
    device.bring(112, Collection::Reviews, again.id, &again);
    let shown = device.shown(&page).await;
    assert!(shown.contains("side by side") && !shown.contains(looked), "{shown}");
}

#[tokio::test]
async fn a_number_that_is_anothers_is_asked_about_before_it_is_chosen() {
    let device = Device::new();
    let value = |mrn: &str, stands| SavedValue {
        value: mrn.into(),
        by: Some(by(BEN)),
        at: at("2026-05-01T14:10:00Z"),
        stands,
    };
    let review = ReviewDocument {
        kind: ReviewKind::Conflict,
        fields: vec![DisputedField {
            field: "mrn".into(),
            values: vec![value("gy 0002", false), value("GY-0004", true)],
            more: 0,
        }],
        ..duplicate(46, 4, &[])
    };
    device.bring(101, Collection::Reviews, review.id, &review);
    device.sign_in(ANNA);
    let path = format!("/reviews/{}", review.id);
    let form = OpenForm::of(&path, device.shown("/reviews").await);
    let base = hidden(&form.html, "_base");
    let asked = device.send(&form, &format!("_base={base}&mrn=0")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    for words in ["The MRN that you chose is John Smith", "GY-0002", "Save with this MRN"] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert_eq!(device.entries(), [], "asking does nothing");
    let read = (AuditAction::View, true, Some(patient(2).to_string()));
    assert!(device.accesses().contains(&read), "who was shown is written down");
    let fields = super::leaving::fields(&asked.body, &path);
    let saved = post(&device.pages, &path, &fields).await;
    assert_eq!(saved.header("location"), "/reviews?saved=1", "{}", saved.body);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"mrn": "gy 0002"}));
}

/// A review of whether the first of those is one of the others.
pub(super) fn duplicate(n: u8, last: u8, others: &[u8]) -> ReviewDocument {
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
    let form = OpenForm::of(&path, device.shown("/reviews").await);
    for words in [
        "Is this one person?",
        "Mary Smith",
        "Admitted last",
        "John Smith",
        "Same person",
        "Two different people",
    ] {
        assert!(form.html.contains(words), "{words} is missing in {}", form.html);
    }
    let base = hidden(&form.html, "_base");
    let nobody = device.send(&form, &format!("_base={base}&same_person={}", patient(3))).await;
    assert!(nobody.body.contains("Say whether they are one person"), "{}", nobody.body);
    let joined = device.send(&form, &format!("_base={base}&same_person={}", patient(2))).await;
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
    assert_eq!(field(&device.open_form(&correct).await.html, "pulse"), "72");
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
    let form = OpenForm::of(&path, device.shown("/reviews").await);
    assert!(form.html.contains("None of these") && form.html.contains("Discharged"), "{}", form.html);
    let base = hidden(&form.html, "_base");
    let joined = device.send(&form, &format!("_base={base}&same_person={}", patient(2))).await;
    assert_eq!(joined.header("location"), format!("/residents/{}?saved=joined", patient(4)));
    assert!(device.shown("/").await.contains("Mary Smith"));
}

/// Whose place another took, as the server says it.
pub(super) fn replaced(device: &Device, goes: &PatientDocument, stays: &PatientDocument) {
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
        let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
        let base = device.workspace.mirror().version(Collection::Reviews, review.id.into()).unwrap().unwrap();
        device.send(&form, &format!("_base={base}&same_person={}", patient(stays))).await;
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
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    assert!(!form.html.contains("John Smith"), "{}", form.html);
    assert_eq!(form.html.matches("<h3>Maria Ortega</h3>").count(), 1, "{}", form.html);
    let base = hidden(&form.html, "_base");
    let joined = device.send(&form, &format!("_base={base}&same_person={}", patient(3))).await;
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

#[tokio::test]
async fn that_two_are_one_person_is_asked_with_both_side_by_side() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2]);
    device.bring(101, Collection::Reviews, review.id, &review);
    device.sign_in(ANNA);
    let list = device.shown("/reviews").await;
    let path = format!("/reviews/{}/same/{}", review.id, patient(2));
    assert!(list.contains(&format!(r#"href="{path}""#)), "one touch asks: {list}");
    assert!(!list.contains(r#"name="same_person" value="0"#), "and joins nobody: {list}");
    let asked = device.shown(&path).await;
    for words in [
        "Are they one person?",
        "Mary Smith",
        "John Smith",
        "03/05/1934",
        "03/03/1932",
        "GY-0004",
        "GY-0002",
        "104",
        "102",
        "Only the office can part them again",
        "John Smith, room 102, stays in the list of residents",
    ] {
        assert!(asked.contains(words), "{words} is missing in {asked}");
    }
    let row = |label: &str| {
        let row = asked.split("<tr").find(|row| row.contains(&format!(">{label}"))).unwrap();
        row.contains("differs")
    };
    assert_eq!(["Name", "Born", "MRN", "Room", "In care"].map(row), [true, true, true, true, false]);
    assert_eq!(device.entries(), [], "asking does nothing");
    let form = OpenForm::of(&format!("/reviews/{}", review.id), asked);
    let (base, other) = (hidden(&form.html, "_base"), hidden(&form.html, "same_person"));
    let joined = device.send(&form, &format!("_base={base}&same_person={other}")).await;
    assert_eq!(joined.header("location"), format!("/residents/{}?saved=joined", patient(2)));
    assert_eq!(open(&device.pages, &path).await.status, StatusCode::NOT_FOUND, "it is decided");
    device.sign_in(AUDITOR);
    assert_eq!(open(&device.pages, &path).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn two_different_people_do_not_keep_one_number() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2]);
    let john = PatientDocument { mrn: "gy-0004".into(), ..resident(2, "John Smith", "102") };
    device.bring(101, Collection::Reviews, review.id, &review);
    device.bring(102, Collection::Patients, john.id, &john);
    device.sign_in(ANNA);
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    let edit = |n: u8| format!("/residents/{}/edit", patient(n));
    for words in ["one number is one person", &edit(4), &edit(2)] {
        assert!(form.html.contains(words), "{words} is missing in {}", form.html);
    }
    let base = hidden(&form.html, "_base");
    let two = format!("_base={base}&same_person=no");
    let refused = device.send(&form, &two).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("John Smith has the MRN GY-0004 too"), "{}", refused.body);
    assert_eq!(device.entries(), [], "the question stays open");
    // Once either has another number, or none, they are two.
    let form = OpenForm::of(&edit(2), device.shown(&edit(2)).await);
    let answers = super::leaving::fields(&form.html, &edit(2)).replace("mrn=%67%79%2D%30%30%30%34", "mrn=");
    assert_eq!(post(&device.pages, &edit(2), &answers).await.status, StatusCode::SEE_OTHER);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"mrn": null}));
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    assert!(!form.html.contains("one number is one person"), "{}", form.html);
    let decided = device.send(&form, &two).await;
    assert_eq!(decided.header("location"), "/reviews?saved=1", "{}", decided.body);
}

#[tokio::test]
async fn each_number_that_two_have_both_is_named() {
    let device = Device::new();
    let medicare = Some("1EG4-TE5-MK73".to_owned());
    let review = duplicate(42, 4, &[2]);
    let mary = PatientDocument { medicare: medicare.clone(), ..resident(4, "Mary Smith", "104") };
    let john = PatientDocument { mrn: "gy-0004".into(), medicare, ..resident(2, "John Smith", "102") };
    device.bring(101, Collection::Reviews, review.id, &review);
    for (seq, one) in (102..).zip([&mary, &john]) {
        device.bring(seq, Collection::Patients, one.id, one);
    }
    device.sign_in(ANNA);
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    for words in ["They have one MRN,", "They have one Medicare number,"] {
        assert!(form.html.contains(words), "{words} is missing in {}", form.html);
    }
    let base = hidden(&form.html, "_base");
    let refused = device.send(&form, &format!("_base={base}&same_person=no")).await;
    let both = "John Smith has the MRN GY-0004 and the Medicare number 1EG4-TE5-MK73 too";
    assert!(refused.body.contains(both), "{}", refused.body);
}

#[tokio::test]
async fn the_number_of_somebody_who_was_replaced_keeps_nobody_from_being_two() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2]);
    let mary = PatientDocument { mrn: "GY-0003".into(), ..resident(4, "Mary Smith", "104") };
    device.bring(101, Collection::Reviews, review.id, &review);
    device.bring(102, Collection::Patients, mary.id, &mary);
    replaced(&device, &resident(3, "Maria Ortega", "103"), &resident(2, "John Smith", "102"));
    device.sign_in(ANNA);
    let form = OpenForm::of(&format!("/reviews/{}", review.id), device.shown("/reviews").await);
    let base = hidden(&form.html, "_base");
    let decided = device.send(&form, &format!("_base={base}&same_person=no")).await;
    assert_eq!(decided.header("location"), "/reviews?saved=1", "{}", decided.body);
}

#[tokio::test]
async fn of_two_who_have_left_nobody_is_said_to_be_in_care() {
    let device = Device::new();
    let review = duplicate(42, 4, &[2]);
    device.bring(101, Collection::Reviews, review.id, &review);
    for (n, name, room) in [(2, "John Smith", "102"), (4, "Mary Smith", "104")] {
        let gone = PatientDocument { is_active: false, ..resident(n, name, room) };
        device.bring(102, Collection::Patients, gone.id, &gone);
    }
    device.sign_in(ANNA);
    let list = device.shown("/reviews").await;
    assert!(!list.contains("stays in the list of residents"), "{list}");
    let asked = device.shown(&format!("/reviews/{}/same/{}", review.id, patient(2))).await;
    assert!(asked.contains("John Smith, room 102, is the one who is kept"), "{asked}");
    assert!(!asked.contains("stays in the list of residents"), "{asked}");
}

#[tokio::test]
async fn a_birthday_in_dispute_reads_as_on_every_page() {
    let device = Device::new();
    let value = |born: &str| SavedValue {
        value: born.into(),
        by: Some(by(ANNA)),
        at: at("2026-05-01T14:10:00Z"),
        stands: false,
    };
    let review = ReviewDocument {
        kind: ReviewKind::Conflict,
        fields: vec![DisputedField {
            field: "date_of_birth".into(),
            values: vec![value("1934-03-05"), value("1934")],
            more: 0,
        }],
        others: Vec::new(),
        ..duplicate(42, 4, &[])
    };
    device.bring(101, Collection::Reviews, review.id, &review);
    device.sign_in(ANNA);
    let shown = device.shown("/reviews").await;
    assert!(shown.contains("<b>03/05/1934</b>") && shown.contains("<b>1934</b>"), "{shown}");
}

//! Two values that were saved of one field: said until it is decided at the screen which is right.

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{DisputedField, ReviewDocument, ReviewKind, SavedValue};
use serde_json::Value;

use super::needs::{by, hidden};
use super::*;

fn saved(value: &str, who: u8, when: &str) -> SavedValue {
    SavedValue { value: value.into(), by: Some(by(who)), at: at(when), stands: false }
}

/// Two values of a field, of which the last stands.
fn disputed(field: &str, [first, last]: [SavedValue; 2]) -> DisputedField {
    DisputedField {
        field: field.to_owned(),
        values: vec![first, SavedValue { stands: true, ..last }],
        more: 0,
    }
}

/// A review of what was saved about Mary Smith.
fn conflict(id: ReviewId, fields: Vec<DisputedField>) -> ReviewDocument {
    ReviewDocument {
        id,
        kind: ReviewKind::Conflict,
        patient_id: patient(4),
        collection: Collection::Patients,
        record: patient(4).into(),
        fields,
        others: Vec::new(),
        more: 0,
        opened_at: at("2026-05-01T14:12:00Z"),
        resolved: None,
    }
}

#[tokio::test]
async fn what_was_chosen_stays_when_not_all_is_and_one_persons_two_values_are_told_to_the_second() {
    let device = Device::new();
    let id = ReviewId::from_bytes([41; 16]);
    let room = [saved("104", ANNA, "2026-05-01T14:10:07Z"), saved("108", ANNA, "2026-05-01T14:10:41Z")];
    let name =
        [saved("Mary Smith", ANNA, "2026-05-01T14:10:00Z"), saved("May Smith", BEN, "2026-05-01T14:10:00Z")];
    let review = conflict(id, vec![disputed("room", room), disputed("name", name)]);
    device.bring(101, Collection::Reviews, id, &review);
    device.sign_in(ANNA);
    let form = OpenForm::of(&format!("/reviews/{id}"), device.shown("/reviews").await);
    assert!(!form.html.contains(" checked"), "{}", form.html);
    for second in [":10:07 ", ":10:41 "] {
        assert!(form.html.contains(second), "{second} is missing in {}", form.html);
    }
    assert!(!form.html.contains(":10:00 "), "two people are told apart by name: {}", form.html);
    let base = hidden(&form.html, "_base");
    let refused = device.send(&form, &format!("_base={base}&room=1")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("Choose which is right for Name"), "{}", refused.body);
    assert!(refused.body.contains(r#"name="room" value="1" checked"#), "{}", refused.body);
    assert_eq!(refused.body.matches(" checked").count(), 1);
}

#[tokio::test]
async fn a_conflict_is_decided_and_goes_through_the_outbox() {
    let device = Device::new();
    let id = ReviewId::from_bytes([41; 16]);
    let room = [saved("104", ANNA, "2026-05-01T14:10:00Z"), saved("108", BEN, "2026-05-01T14:10:00Z")];
    let review = conflict(id, vec![DisputedField { more: 1_188, ..disputed("room", room) }]);
    device.bring(101, Collection::Reviews, id, &review);
    device.sign_in(ANNA);
    let shown = device.shown("/").await;
    assert!(shown.contains("1 question needs a look") && shown.contains(r#"href="/reviews""#), "{shown}");
    // Until then it is said beside the resident.
    let page = format!("/residents/{}", patient(4));
    assert!(shown.contains("Room: two versions"), "{shown}");
    let told = device.shown(&page).await;
    assert!(told.contains("Room: two versions") && told.contains("Decide which is right"), "{told}");
    let path = format!("/reviews/{id}");
    let form = OpenForm::of(&path, device.shown("/reviews").await);
    for words in [
        "Mary Smith",
        "<small>Anna Field ·",
        "<small>Ben Harbor ·",
        "shown now",
        "which is right?",
        "And 1188 more",
    ] {
        assert!(form.html.contains(words), "{words} is missing in {}", form.html);
    }
    let base = hidden(&form.html, "_base");
    let open_still = device.send(&form, &format!("_base={base}")).await;
    assert_eq!(open_still.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(open_still.body.contains("Choose which is right for Room"), "{}", open_still.body);
    let stale = device.send(&form, "_base=77&room=0").await;
    assert!(stale.body.contains("This has changed since"), "{}", stale.body);
    let closed = device.send(&form, &format!("_base={base}&room=0")).await;
    assert_eq!(closed.status, StatusCode::SEE_OTHER, "{}", closed.body);
    let change = device.entries().pop().unwrap();
    assert_eq!(
        (change.kind, change.collection, change.record),
        (ChangeKind::Patch, Collection::Reviews, Some(id.into()))
    );
    assert_eq!(Value::from(change.fields), json!({"room": "104"}));
    assert!(device.shown("/reviews").await.contains("Nothing needs a look now"));
    assert!(!device.shown("/").await.contains("two versions"));
    assert!(!device.shown(&page).await.contains("two versions"));
    assert_eq!(device.agent.status().reviews, 0);
    // What is disputed since is asked about, and that while the decision waits: it closes no more than was shown.
    let name =
        [saved("Mary Smith", ANNA, "2026-05-01T14:20:00Z"), saved("May Smith", BEN, "2026-05-01T14:21:00Z")];
    let fields = [review.fields, vec![disputed("name", name)]].concat();
    let mut changed = Page::default();
    put_version(&mut changed, Collection::Reviews, id, 102, &conflict(id, fields));
    let end = PageEnd::new(Cursor { epoch: 1, seq: 102 }, 102, Timestamp::EPOCH);
    device.workspace.mirror().apply(&changed, &end).unwrap();
    assert!(device.shown("/reviews").await.contains("May Smith"));
    assert!(device.shown(&page).await.contains("two versions"));
    assert_eq!(device.agent.status().reviews, 1);
    device.sign_in(AUDITOR);
    assert_eq!(open(&device.pages, "/reviews").await.status, StatusCode::FORBIDDEN);
}

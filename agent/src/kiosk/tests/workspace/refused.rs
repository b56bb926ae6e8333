//! What was typed outlives whatever refuses its save: it is its typist's, who alone sees and discards it.

use carepost_protocol::record::UserDocument;

use super::needs::{by, field, hidden};
use super::*;

impl Device {
    /// The office gives somebody who is at the screen another role.
    fn becomes(&self, seq: u64, who: u8, role: Role) {
        let known = self.workspace.mirror().user(by(who)).unwrap().unwrap();
        self.bring(seq, Collection::Users, known.id, &UserDocument { role, ..known });
        self.workspace.members_changed();
    }

    /// The server takes a resident from this device.
    fn takes_away(&self, seq: u64, resident: PatientId) {
        let mut page = Page::default();
        let line = Line {
            collection: Some(Collection::Patients.name().into()),
            id: Some(resident.to_string().into()),
            seq: Some(seq),
            deleted: true,
            ..Line::default()
        };
        page.push(&line).unwrap();
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    async fn discard(&self, sheet: &Sheet) -> Answer {
        post(&self.pages, &format!("{}/discard", sheet.path), &format!("_screen={}", sheet.screen)).await
    }
}

fn says(page: &str, all: &[&str]) {
    for words in all {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
}

#[tokio::test]
async fn what_was_typed_before_a_role_became_narrower_is_kept_and_shown_with_why() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let sheet = device.sheet(&path).await;
    let seen = hidden(&sheet.html, "_seen");
    device.becomes(101, ANNA, Role::Caregiver);
    let answers = format!("_seen={seen}&name=Mary+Smyth&room=104&date_of_birth=03/05/1934&mrn=GY-0004");
    let refused = device.send(&sheet, &answers).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let shown = ["<dd>Mary Smyth</dd>", "Your role does not allow this", "kept here until you discard it"];
    says(&refused.body, &shown);
    assert_eq!(device.entries(), []);
    // It is on her list, and opens as what it is.
    says(&device.shown("/").await, &["Not finished", "Edit resident · Mary Smith", &path]);
    let again = open(&device.pages, &path).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    says(&again.body, &shown);
    // A role that reads no resident is told nothing of any, and keeps what she typed herself.
    device.becomes(102, ANNA, Role::Family);
    let start = open(&device.pages, "/").await;
    assert_eq!(start.status, StatusCode::FORBIDDEN);
    says(&start.body, &["Not finished", "Edit resident", &path]);
    assert!(!start.body.contains("Mary"), "{}", start.body);
    says(&open(&device.pages, &path).await.body, &shown);
    // With her role it is the form again.
    device.becomes(103, ANNA, Role::Rn);
    let begun = device.sheet(&path).await;
    assert_eq!(field(&begun.html, "name"), "Mary Smyth");
    assert_eq!(device.send(&begun, &answers).await.status, StatusCode::SEE_OTHER);
    assert!(!device.shown("/").await.contains("Not finished"));
}

#[tokio::test]
async fn what_was_typed_about_a_resident_who_is_here_no_more_is_its_typists_alone() {
    let device = Device::new();
    device.sign_in(ANNA);
    let sheet = device.form(4).await;
    device.takes_away(101, patient(4));
    let refused = device.send(&sheet, ANSWERS).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let shown = ["<dd>72</dd>", "There is no such resident here", "kept here until you discard it"];
    says(&refused.body, &shown);
    device.agent.lock();
    device.tap(ANNA);
    assert_eq!(open(&device.pages, "/").await.header("location"), chart(4), "she is led back to it");
    says(&open(&device.pages, &chart(4)).await.body, &shown);
    let listed = ["Not finished", "Vital signs · a resident who is not here any more", &chart(4)];
    says(&device.shown("/").await, &listed);

    device.sign_in(BEN);
    assert!(!device.shown("/").await.contains("Not finished"));
    let bens = open(&device.pages, &chart(4)).await;
    assert!(bens.status == StatusCode::NOT_FOUND && !bens.body.contains("<dd>"), "{}", bens.body);
    // He has begun nothing there, and begins nothing.
    let late = device.keep(&Sheet { screen: device.screen_key(), ..sheet }, ANSWERS).await;
    assert_eq!(late.status, StatusCode::NOT_FOUND, "{}", late.body);

    device.sign_in(ANNA);
    let mine = Sheet {
        path: chart(4),
        screen: device.screen_key(),
        token: String::new(),
        version: String::new(),
        html: String::new(),
    };
    assert_eq!(device.discard(&mine).await.status, StatusCode::SEE_OTHER);
    let list = device.shown("/").await;
    assert!(!list.contains("Not finished") && list.contains("Discarded: Vital signs"), "{list}");
    post(&device.pages, &format!("{}/undo", mine.path), &format!("_screen={}", mine.screen)).await;
    says(&device.shown("/").await, &listed);
    assert_eq!(device.entries(), []);
}

#[tokio::test]
async fn a_correction_is_asked_about_what_it_changes_alone() {
    let mut form = every_type();
    let visit = json!({"key": "visit", "label": "Next visit", "type": "datetime", "expects": "future",
        "display_order": 11});
    form.fields.push(serde_json::from_value(visit).unwrap());
    let device = Device::new();
    device.bring(101, Collection::Workflows, form.id, &form);
    let mut charted = super::needs::record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("visit".into(), json!("2026-05-10T09:00-05:00"));
    charted.values.insert("temperature".into(), json!(112.0));
    charted.confirmed = vec!["temperature".into()];
    device.bring(102, Collection::Records, charted.id, &charted);
    let clock = device.agent.clock();
    let _floor = clock.compared(at("2026-06-28T14:42:00Z"), clock.monotonic());
    device.sign_in(ANNA);
    let path = format!("/residents/{}/correct/{}", patient(4), charted.id);
    let sheet = device.sheet(&path).await;
    let (taken_at, visit) = (field(&sheet.html, "taken_at"), field(&sheet.html, "visit"));
    assert_eq!(field(&sheet.html, "temperature"), "112", "no point says nothing");
    let answers = |pulse: u8, temperature: &str, visit: &str| {
        format!(
            "taken_at={taken_at}&pulse={pulse}&position=Sitting&temperature={temperature}&visit={visit}&_reason=Read+anew"
        )
    };
    let asked = device.send(&sheet, &answers(74, "113", "2026-05-11T09:00")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    says(&asked.body, &["Temperature 113", "2026-05-11 09:00 is in the past"]);
    let saved = device.send(&sheet, &answers(74, "112", visit)).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let change = device.entries().pop().unwrap();
    assert_eq!(change.fields["pulse"], 74);
    let mut confirmed = change.confirmed;
    confirmed.sort();
    assert_eq!(confirmed, ["temperature", "visit"], "it is not flagged as what nobody looked at");
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("<dd>112 °F") && !page.contains("112.0"), "{page}");
}

//! What was typed outlives whatever refuses its save: it is its typist's, who alone sees and discards it.

use carepost_protocol::record::UserDocument;

use super::needs::{by, field, hidden};
use super::reviews::{corrections, duplicate};
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

    async fn discard(&self, form: &OpenForm) -> Answer {
        post(&self.pages, &format!("{}/discard", form.path), &format!("_screen={}", form.screen)).await
    }
}

fn says(page: &str, all: &[&str]) {
    for words in all {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
}

/// What the form of [`resident`] 4 fills in itself.
fn hides(page: &str) {
    for filled_in in ["GY-0004", "03/05/1934", "1934-03-05", "<dd>104</dd>", "Mary Smith"] {
        assert!(!page.contains(filled_in), "{filled_in} is on {page}");
    }
}

#[tokio::test]
async fn what_was_typed_before_a_role_became_narrower_is_kept_and_shown_with_why() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let form = device.open_form(&path).await;
    let seen = hidden(&form.html, "_seen");
    device.becomes(101, ANNA, Role::Caregiver);
    let answers = format!("_seen={seen}&name=Mary+Smyth&room=104&date_of_birth=03/05/1934&mrn=GY-0004");
    let refused = device.send(&form, &answers).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let shown = ["<dd>Mary Smyth</dd>", "Your role does not allow this", "kept here until you discard it"];
    says(&refused.body, &shown);
    hides(&refused.body);
    assert_eq!(device.entries(), []);
    // It is on her list, and opens as what it is.
    says(&device.shown("/").await, &["Not finished", "Edit resident · Mary Smith", &path]);
    let again = open(&device.pages, &path).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    says(&again.body, &shown);
    hides(&again.body);
    // A role that reads no resident is told nothing of any, and keeps what she typed herself.
    device.becomes(102, ANNA, Role::Family);
    let start = open(&device.pages, "/").await;
    assert_eq!(start.status, StatusCode::FORBIDDEN);
    says(&start.body, &["Not finished", "Edit resident", &path]);
    assert!(!start.body.contains("Mary"), "{}", start.body);
    let hers = open(&device.pages, &path).await.body;
    says(&hers, &shown);
    hides(&hers);
    // She drops it, and has it back; pressing that twice takes nothing from her.
    for _ in 0..2 {
        assert_eq!(device.discard(&form).await.header("location"), "/");
        let start = open(&device.pages, "/").await.body;
        says(&start, &["Discarded: Edit resident"]);
        assert!(!start.contains("Not finished") && !start.contains("Mary"), "{start}");
    }
    post(&device.pages, &format!("{path}/undo"), &format!("_screen={}", form.screen)).await;
    says(&open(&device.pages, &path).await.body, &shown);
    // With her role it is the form again.
    device.becomes(103, ANNA, Role::Rn);
    let begun = device.open_form(&path).await;
    assert_eq!((field(&begun.html, "name"), field(&begun.html, "mrn")), ("Mary Smyth", "GY-0004"));
    assert_eq!(device.send(&begun, &answers).await.status, StatusCode::SEE_OTHER);
    assert!(!device.shown("/").await.contains("Not finished"));
}

#[tokio::test]
async fn what_was_typed_about_a_resident_who_is_here_no_more_is_its_typists_alone() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.takes_away(101, patient(4));
    device.break_table("drafts", true);
    let refused = device.send(&form, ANSWERS).await.body;
    says(
        &refused,
        &["<dd>72</dd>", "There is no such resident here, and this device cannot save", "until it restarts"],
    );
    device.break_table("drafts", false);
    let refused = device.send(&form, ANSWERS).await;
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
    let late = device.keep(&OpenForm { screen: device.screen_key(), ..form }, ANSWERS).await;
    assert_eq!(late.status, StatusCode::NOT_FOUND, "{}", late.body);

    device.sign_in(ANNA);
    let mine = OpenForm {
        path: chart(4),
        screen: device.screen_key(),
        token: String::new(),
        version: String::new(),
        html: String::new(),
    };
    assert_eq!(device.discard(&mine).await.header("location"), "/", "her own page is not here");
    let list = device.shown("/").await;
    assert!(!list.contains("Not finished") && list.contains("Discarded: Vital signs"), "{list}");
    post(&device.pages, &format!("{}/undo", mine.path), &format!("_screen={}", mine.screen)).await;
    says(&device.shown("/").await, &listed);
    assert_eq!(device.entries(), []);
}

#[tokio::test]
async fn a_form_that_asks_nothing_is_refused_in_plain_words() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/discharge", patient(4));
    let form = device.open_form(&path).await;
    device.becomes(101, ANNA, Role::Caregiver);
    let refused = post(&device.pages, &path, &super::leaving::fields(&form.html, &path)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    says(&refused.body, &["Your role does not allow this"]);
    assert!(!refused.body.contains("what you typed") && !refused.body.contains("paper"), "{}", refused.body);
    assert!(!device.shown("/").await.contains("Not finished"));
}

#[tokio::test]
async fn what_may_have_been_saved_and_was_is_taken_as_saved_when_it_is_sent_again() {
    let device = Device::new();
    device.sign_in(ANNA);
    let other = device.form(2).await;
    assert_eq!(device.send(&other, ANSWERS).await.status, StatusCode::SEE_OTHER);
    let form = device.form(4).await;
    device.break_disk(true);
    let uncertain = device.send(&form, ANSWERS).await;
    asks_to_press_again(&uncertain);
    device.break_disk(false);
    // As if it had reached the disk all the same.
    let tokens = [&form.token, &other.token];
    device.outbox_file().execute("UPDATE entries SET form = ?1 WHERE form = ?2", tokens).unwrap();
    device.becomes(101, ANNA, Role::Family);
    let again = device.send(&form, ANSWERS).await;
    assert_eq!(again.header("location"), format!("/residents/{}?saved=1", patient(4)), "{}", again.body);
    assert_eq!(device.entries().len(), 1);
}

/// What may be saved is not said to be or not, and the page has the button that it names.
fn asks_to_press_again(uncertain: &Answer) {
    assert_eq!(uncertain.status, StatusCode::INSUFFICIENT_STORAGE);
    let certain = "It is not certain that this was saved";
    says(
        &uncertain.body,
        &[
            certain,
            "Press save again; it is never saved twice",
            "Save again</button>",
            "Begin nothing new here",
        ],
    );
    for other in ["Not saved", "is not saved", "Do not chart here", "Copy it to paper"] {
        assert!(!uncertain.body.contains(other), "{other} is on {}", uncertain.body);
    }
}

#[tokio::test]
async fn a_decision_that_may_have_been_saved_is_sent_again_as_it_was_and_saved_once() {
    for (review, answer) in [
        (duplicate(42, 4, &[2]), format!("same_person={}", patient(2))),
        (duplicate(42, 4, &[2]), "same_person=no".to_owned()),
        (corrections(44, 31, &[32, 33]), String::new()),
    ] {
        let device = Device::new();
        device.bring(101, Collection::Reviews, review.id, &review);
        device.sign_in(ANNA);
        let path = format!("/reviews/{}", review.id);
        let form = OpenForm::of(&path, device.shown("/reviews").await);
        let answers = format!("_base={}&{answer}", hidden(&form.html, "_base"));
        device.break_disk(true);
        let uncertain = device.send(&form, &answers).await;
        asks_to_press_again(&uncertain);
        device.break_disk(false);
        let again = super::leaving::fields(&uncertain.body, &path);
        for _ in 0..2 {
            let saved = post(&device.pages, &path, &again).await;
            assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
        }
        assert_eq!(device.entries().len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn what_may_have_been_saved_is_sent_again_also_where_its_form_does_not_open() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let rename = |from: &str, to: &str| {
        device.outbox_file().execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).unwrap();
    };
    rename("drafts", "unread");
    let uncertain = device.send(&form, ANSWERS).await;
    asks_to_press_again(&uncertain);
    says(&uncertain.body, &["This is what you typed", "<dd>72</dd>"]);
    rename("unread", "drafts");
    let again = super::leaving::fields(&uncertain.body, &form.path);
    for _ in 0..2 {
        let saved = post(&device.pages, &form.path, &again).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    }
    assert_eq!(device.entries().len(), 1);
}

#[tokio::test]
async fn what_was_confirmed_is_still_where_it_is_not_certain_that_it_was_saved() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = OpenForm::of("/admit", open(&device.pages, "/admit").await.body);
    let asked = device.send(&form, "name=Mary+Smith&room=112").await;
    let another = super::admission::confirmed(&asked.body);
    assert_eq!(another.len(), 1, "{}", asked.body);
    device.break_disk(true);
    let answered = format!("name=Mary+Smith&room=112&_confirmed={}", another[0]);
    let uncertain = device.send(&form, &answered).await;
    says(&uncertain.body, &["It is not certain that this was saved"]);
    assert_eq!(super::admission::confirmed(&uncertain.body), another, "{}", uncertain.body);
}

#[tokio::test]
async fn what_was_saved_and_cannot_be_compared_is_not_said_to_have_been_another() {
    let device = Device::new();
    device.sign_in(ANNA);
    let (form, other) = (device.form(4).await, device.form(2).await);
    for form in [&form, &other] {
        assert_eq!(device.send(form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    }
    device.becomes(101, ANNA, Role::Family);
    let again = device.send(&form, ANSWERS).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    says(&again.body, &["This form was saved already: look at the saved entry"]);
    assert!(!again.body.contains("other values"), "{}", again.body);
    // What was saved last can be, and was another.
    let differs = device.send(&other, &ANSWERS.replace("72", "73")).await;
    says(&differs.body, &["This form was saved before with other values"]);
}

#[tokio::test]
async fn what_nobody_confirmed_is_asked_about_also_where_a_correction_leaves_it() {
    let device = Device::new();
    // As an agent from before there were doubts charted it.
    let mut charted = super::needs::record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("temperature".into(), json!(112.0));
    device.bring(101, Collection::Records, charted.id, &charted);
    device.sign_in(ANNA);
    let path = format!("/residents/{}/correct/{}", patient(4), charted.id);
    let form = device.open_form(&path).await;
    let taken_at = field(&form.html, "taken_at");
    let answers = format!("taken_at={taken_at}&pulse=74&position=Sitting&temperature=112&_reason=Read+anew");
    let asked = device.send(&form, &answers).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    says(&asked.body, &["Temperature 112", "Save as it is"]);
    assert_eq!(device.entries(), []);
    let confirmed = hidden(&asked.body, "_confirmed");
    let saved = device.send(&form, &format!("{answers}&_confirmed={confirmed}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.entries().pop().unwrap().confirmed, ["temperature"]);
}

#[tokio::test]
async fn a_correction_is_asked_about_what_it_changes_alone() {
    let mut workflow = every_type();
    let visit = json!({"key": "visit", "label": "Next visit", "type": "datetime", "expects": "future",
        "display_order": 11});
    workflow.fields.push(serde_json::from_value(visit).unwrap());
    let device = Device::new();
    device.bring(101, Collection::Workflows, workflow.id, &workflow);
    let mut charted = super::needs::record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("visit".into(), json!("2026-05-10T09:00-05:00"));
    charted.values.insert("temperature".into(), json!(112.0));
    charted.confirmed = vec!["temperature".into()];
    device.bring(102, Collection::Records, charted.id, &charted);
    let clock = device.agent.clock();
    let _floor = clock.compared(at("2026-06-28T14:42:00Z"), clock.monotonic());
    device.sign_in(ANNA);
    let path = format!("/residents/{}/correct/{}", patient(4), charted.id);
    let form = device.open_form(&path).await;
    let (taken_at, visit) = (field(&form.html, "taken_at"), field(&form.html, "visit"));
    assert_eq!(field(&form.html, "temperature"), "112", "no point says nothing");
    let answers = |pulse: u8, temperature: &str, visit: &str| {
        format!(
            "taken_at={taken_at}&pulse={pulse}&position=Sitting&temperature={temperature}&visit={visit}&_reason=Read+anew"
        )
    };
    let asked = device.send(&form, &answers(74, "113", "2026-05-11T09:00")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    says(&asked.body, &["Temperature 113", "05/11/2026 09:00 is in the past"]);
    let saved = device.send(&form, &answers(74, "112", visit)).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let change = device.entries().pop().unwrap();
    assert_eq!(change.fields["pulse"], 74);
    let mut confirmed = change.confirmed;
    confirmed.sort();
    assert_eq!(confirmed, ["temperature", "visit"], "it is not flagged as what nobody looked at");
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("<dd>112 °F") && !page.contains("112.0"), "{page}");
}

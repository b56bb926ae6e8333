//! Somebody is admitted who may be here already: asked before anything is saved.

use carepost_protocol::wire::push::RejectionCode;

use super::leaving::fields;
use super::needs::hidden;
use super::reviews::replaced;
use super::*;

pub(super) fn confirmed(html: &str) -> Vec<String> {
    let values = html.split(r#"name="_confirmed" value=""#).skip(1);
    values.map(|rest| rest.split('"').next().unwrap().replace(' ', "+")).collect()
}

async fn admission(device: &Device) -> OpenForm {
    OpenForm::of("/admit", open(&device.pages, "/admit").await.body)
}

#[tokio::test]
async fn who_may_be_here_already_is_asked_about_before_anything_is_saved() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = admission(&device).await;
    let asked = device.send(&form, "name=SMITH,+M%C3%A1ry&room=112&date_of_birth=1934&mrn=").await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    for words in
        ["Not saved yet", "Mary Smith", "104", "03/05/1934", "GY-0004", "Same person", "Different person"]
    {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert!(!asked.body.contains("John Smith") && asked.body.contains(r#"value="112""#), "{}", asked.body);
    assert_eq!(device.entries(), []);
    let read = (AuditAction::View, true, Some(patient(4).to_string()));
    assert!(device.accesses().contains(&read), "who was shown is written down: {:?}", device.accesses());
    // Another person: the answer holds for whom was asked about.
    let again = OpenForm::of("/admit", asked.body);
    let another = confirmed(&again.html).join("&_confirmed=");
    let other = device.send(&again, &format!("name=John+Smith&room=112&_confirmed={another}")).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "that is yet somebody else");
    let saved = device.send(&again, &format!("name=Mary+Smith&room=112&_confirmed={another}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    // The server is told, so that it asks nobody about that again.
    let said = device.entries().pop().unwrap().confirmed;
    assert_eq!((said, device.entries().len()), (vec![format!("another person than {}", patient(4))], 1));
    // Who waits here counts as well.
    let form = admission(&device).await;
    let asked = device.send(&form, "name=Mary+Smith&room=113").await;
    assert_eq!(confirmed(&asked.body).len(), 2, "{}", asked.body);
    // And sent again, as if its answer had been lost, it is the same admission and no question about itself.
    for _ in 0..2 {
        assert_eq!(device.send(&form, "name=Nora+New&room=113").await.status, StatusCode::SEE_OTHER);
        assert_eq!(device.entries().len(), 2);
    }
}

#[tokio::test]
async fn the_same_person_is_opened_and_nobody_admitted() {
    let device = Device::new();
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let known = format!("/admit/known/{}", patient(4));
    let form = admission(&device).await;
    let answers = "name=mary+smith&room=104&date_of_birth=3%2F1934&mrn=gy+0004";
    let asked = device.send(&form, answers).await;
    assert!(asked.body.contains(&format!(r#"formaction="{known}""#)), "{}", asked.body);
    let opened = post(&device.pages, &known, &form.with(answers)).await;
    assert_eq!(opened.header("location"), format!("{page}?known=1"));
    let shown = open(&device.pages, opened.header("location")).await.body;
    assert!(shown.contains("Nobody new was admitted") && !shown.contains("Not finished"), "{shown}");
    // What was typed and is not known goes on to the edit, and is saved there or not at all.
    let answers = "name=Mary+Smith&room=112&date_of_birth=1934&mrn=GY-0004";
    device.send(&form, answers).await;
    let opened = post(&device.pages, &known, &form.with(answers)).await;
    assert_eq!(opened.header("location"), format!("{page}?known=news"));
    let shown = open(&device.pages, opened.header("location")).await.body;
    assert!(shown.contains("is kept below") && shown.contains(&format!("{page}/edit")), "{shown}");
    let edit = open(&device.pages, &format!("{page}/edit")).await.body;
    assert!(edit.contains(r#"value="112""#) && edit.contains(r#"value="03/05/1934""#), "{edit}");
    let list = open(&device.pages, "/").await.body;
    assert!(list.contains("Edit resident · Mary Smith") && !list.contains("/admit/discard"), "{list}");
    assert_eq!(device.entries(), [], "nothing was saved");
}

#[tokio::test]
async fn who_was_discharged_is_asked_about_too() {
    let device = Device::new();
    let mut page = Page::default();
    let gone = PatientDocument { is_active: false, ..resident(4, "Mary Smith", "104") };
    put(&mut page, Collection::Patients, gone.id, &gone);
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    let form = admission(&device).await;
    let asked = device.send(&form, "name=Mary+Smith").await;
    assert!(asked.body.contains("Discharged"), "{}", asked.body);
    let known = format!("/admit/known/{}", gone.id);
    let opened = post(&device.pages, &known, &form.with("name=Mary+Smith")).await;
    let shown = open(&device.pages, opened.header("location")).await.body;
    assert!(shown.contains("Nobody new was admitted") && shown.contains(">Readmit</a>"), "{shown}");
    assert_eq!(device.entries(), []);
}

#[tokio::test]
async fn a_number_is_the_same_whatever_dash_digits_and_width_it_is_typed_with() {
    let device = Device::new();
    device.sign_in(ANNA);
    for same in ["GY-0004", "gy 0004", "GY–0004", "ＧＹ－０００４", "GY − ٠٠٠٤"] {
        let asked = device.send(&admission(&device).await, &format!("name=Nora+New&mrn={same}")).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{same}");
        assert!(asked.body.contains("Mary Smith"), "{same}: {}", asked.body);
    }
    let other = device.send(&admission(&device).await, "name=Nora+New&mrn=GY-0-004").await;
    assert_eq!(other.status, StatusCode::SEE_OTHER, "{}", other.body);
}

#[tokio::test]
async fn what_says_that_there_is_no_number_is_asked_to_be_left_out() {
    let device = Device::new();
    device.sign_in(ANNA);
    for none in ["n/a", "Unknown", "-", "?", "TBD", "x"] {
        let asked = device.send(&admission(&device).await, &format!("name=Nora+New&mrn={none}")).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{none}");
        assert!(asked.body.contains("is no number: leave it empty"), "{none}: {}", asked.body);
    }
    let path = format!("/residents/{}/edit", patient(4));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let seen = hidden(&form.html, "_seen");
    let edit = format!("_seen={seen}&name=Mary+Smith&room=108&date_of_birth=03/05/1934&mrn=n/a");
    let asked = device.send(&form, &edit).await;
    assert!(asked.body.contains("is no number: leave it empty"), "{}", asked.body);
    assert_eq!(device.entries(), []);
    let saved = device.send(&admission(&device).await, "name=Nora+New&mrn=").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
}

#[tokio::test]
async fn an_edit_that_takes_anothers_number_asks_whose_it_is_before_it_is_saved() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let seen = hidden(&form.html, "_seen");
    let with =
        |mrn: &str| format!("_seen={seen}&name=Mary+Smith&room=108&date_of_birth=03/05/1934&mrn={mrn}");
    // However it is typed: capitals and blanks make no other number.
    let asked = device.send(&form, &with("%20gy-0002")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    for words in [
        "Not saved yet: who is this?",
        "This MRN is John Smith",
        "GY-0002",
        "102",
        "Save with this MRN",
        r#"value=" gy-0002""#,
    ] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    for words in ["admit again", "Different person", "Also admitted with"] {
        assert!(!asked.body.contains(words), "nobody is admitted here: {}", asked.body);
    }
    assert_eq!(device.entries(), []);
    let read = (AuditAction::View, true, Some(patient(2).to_string()));
    assert!(device.accesses().contains(&read), "who was shown is written down");
    assert!(open(&device.pages, &path).await.body.contains(r#"value=" gy-0002""#), "it is kept as a draft");
    // The answer is about whom it was asked about.
    let another = confirmed(&asked.body).join("&_confirmed=");
    let other = device.send(&form, &format!("{}&_confirmed={another}", with("GY-0003"))).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "that is yet somebody else's");
    let saved = device.send(&form, &format!("{}&_confirmed={another}", with("gy-0002"))).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.entries().pop().unwrap().fields["mrn"], "gy-0002");
    // Whoever moves her afterwards is not asked again, nor is her own number anybody else's.
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let moved = fields(&form.html, &path).replace("room=%31%30%38", "room=109");
    assert_eq!(post(&device.pages, &path, &moved).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_edit_that_makes_one_the_namesake_of_another_asks_who_it_is_and_no_other_edit_does() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(2));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let seen = hidden(&form.html, "_seen");
    let edit = format!("_seen={seen}&name=Smith,+Mary&room=102&date_of_birth=&mrn=GY-0002");
    let asked = device.send(&form, &edit).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    for words in [
        "Not saved yet: who is this?",
        "Somebody known here may be the same person",
        "GY-0004",
        "Different person: save",
        "May be the same person: save",
    ] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert!(!asked.body.contains("one number is one person") && device.entries().is_empty());
    // Where it may be, nobody is said to be another: the server then asks. It says nothing of a number.
    let same = confirmed(&asked.body).join("&_confirmed=");
    let numbered = format!("{}&_confirmed={same}", edit.replace("GY-0002", "GY-0003"));
    let asked = device.send(&form, &numbered).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    assert!(asked.body.contains("This MRN is Maria Ortega"), "{}", asked.body);
    let both = confirmed(&asked.body).join("&_confirmed=");
    assert_eq!(device.send(&form, &format!("{edit}&_confirmed={both}")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(device.entries().pop().unwrap().confirmed, [""; 0]);
    // Whoever moves her afterwards is not asked again.
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let moved = fields(&form.html, &path).replace("room=%31%30%32", "room=109");
    assert_eq!(post(&device.pages, &path, &moved).await.status, StatusCode::SEE_OTHER);
    let said = device.entries().pop().unwrap();
    assert_eq!((said.fields.len(), said.fields["room"].as_str()), (1, Some("109")));
}

#[tokio::test]
async fn whoever_is_asked_about_a_number_has_said_of_nobody_that_they_are_two() {
    let device = Device::new();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(2));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let seen = hidden(&form.html, "_seen");
    let edit = format!("_seen={seen}&name=Smith,+Mary&room=102&date_of_birth=&mrn=GY-0003");
    // Whose the number is, and then who it is.
    let asked = device.send(&form, &edit).await;
    assert!(
        asked.body.contains("This MRN is Maria Ortega") && !asked.body.contains("GY-0004"),
        "{}",
        asked.body
    );
    let number = confirmed(&asked.body).join("&_confirmed=");
    let asked = device.send(&form, &format!("{edit}&_confirmed={number}")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    assert!(
        asked.body.contains("GY-0004") && asked.body.contains("Different person: save"),
        "{}",
        asked.body
    );
    let mut another = confirmed(&asked.body);
    another.retain(|text| !text.starts_with("may+be"));
    let saved = device.send(&form, &format!("{edit}&_confirmed={}", another.join("&_confirmed="))).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let said = device.entries().pop().unwrap().confirmed;
    assert_eq!(said, [format!("another person than {}", patient(4))]);
}

#[tokio::test]
async fn an_admission_that_was_rejected_says_again_what_was_said() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = admission(&device).await;
    let asked = device.send(&form, "name=Mary+Smith&room=112").await;
    let another = confirmed(&asked.body).join("&_confirmed=");
    // What was said of a namesake is not said of a number that is hers.
    let numbered = format!("name=Mary+Smith&room=112&mrn=GY-0004&_confirmed={another}");
    let asked = device.send(&form, &numbered).await;
    assert!(asked.body.contains("This MRN is Mary Smith"), "{}", asked.body);
    let saved = device.send(&form, &format!("name=Mary+Smith&room=112&_confirmed={another}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    let rejected = device.open_form("/rejected/1").await;
    let saved = device.send(&rejected, "name=Mary+Smith&room=113").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let again = device.entries().pop().unwrap();
    assert_eq!((again.supersedes, &again.fields["room"]), (Some(1), &json!("113")));
    assert_eq!(again.confirmed, [format!("another person than {}", patient(4))]);
}

#[tokio::test]
async fn whose_number_it_is_is_said_and_a_medicare_number_is_one_persons_too() {
    let device = Device::new();
    let number = "1EG4-TE5-MK73";
    let john = PatientDocument { medicare: Some(number.into()), ..resident(2, "John Smith", "102") };
    let mut page = Page::default();
    put(&mut page, Collection::Patients, john.id, &john);
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    for (typed, whose) in [
        ("mrn=gy-0004", "This MRN is Mary Smith"),
        ("medicare=1eg4te5mk73", "This Medicare number is John Smith"),
    ] {
        let asked = device.send(&admission(&device).await, &format!("name=Nora+New&{typed}")).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}: {}", asked.body);
        // That it is the same person saves nothing; that it is another takes the number too.
        for words in [
            whose,
            "change it below, or take it out. Saved with it all the same, it opens a question",
            r#"<button class="care primary" formaction="/admit/known/"#,
            r#"<button class="care" id="another">"#,
        ] {
            assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
        }
    }
    // Where nobody has the number, nothing is said of it.
    let alike = device.send(&admission(&device).await, "name=Mary+Smith").await;
    assert!(!alike.body.contains("one number is one person"), "{}", alike.body);
    assert!(alike.body.contains(r#"<button class="care primary" id="another">"#), "{}", alike.body);
    let path = format!("/residents/{}/edit", patient(4));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let seen = hidden(&form.html, "_seen");
    let edit = format!(
        "_seen={seen}&name=Mary+Smith&room=104&date_of_birth=03/05/1934&mrn=GY-0004&medicare={number}"
    );
    let asked = device.send(&form, &edit).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    for words in ["This Medicare number is John Smith", "Save with this Medicare number"] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert_eq!(device.entries(), []);
    let another = confirmed(&asked.body).join("&_confirmed=");
    let saved = device.send(&form, &format!("{edit}&_confirmed={another}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.entries().pop().unwrap().fields["medicare"], number);
}

#[tokio::test]
async fn two_numbers_of_one_edit_are_each_said_to_be_whose_they_are() {
    let device = Device::new();
    let medicare = Some("1EG4-TE5-MK73".to_owned());
    let maria = PatientDocument { medicare, ..resident(3, "Maria Ortega", "103") };
    let mut page = Page::default();
    put(&mut page, Collection::Patients, maria.id, &maria);
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    for (mrn, whose) in [("GY-0002", "John Smith"), ("GY-0003", "Maria Ortega")] {
        let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
        let seen = hidden(&form.html, "_seen");
        let edit = format!(
            "_seen={seen}&name=Mary+Smith&room=104&date_of_birth=03/05/1934&mrn={mrn}&medicare=1EG4TE5MK73"
        );
        let asked = device.send(&form, &edit).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
        for words in [
            &format!("This MRN is {whose}"),
            "This Medicare number is Maria Ortega",
            "Save with this MRN and this Medicare number",
        ] {
            assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
        }
    }
}

#[tokio::test]
async fn a_number_of_somebody_who_was_replaced_is_said_to_be_theirs() {
    let device = Device::new();
    replaced(&device, &resident(3, "Maria Ortega", "103"), &resident(2, "John Smith", "102"));
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let answers = fields(&form.html, &path).replace("mrn=%47%59%2D%30%30%30%34", "mrn=GY-0003");
    let asked = post(&device.pages, &path, &answers).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    for words in ["This MRN is John Smith", "GY-0002", "Also admitted with this MRN"] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert!(!asked.body.contains("correct the other resident"), "his own is another: {}", asked.body);
}

#[tokio::test]
async fn a_birthday_changed_round_and_a_slip_in_the_name_are_asked_about() {
    let device = Device::new();
    // Mary Smith is born 03/05/1934.
    device.sign_in(ANNA);
    for same in [
        "name=Mary+Smith&date_of_birth=05/03/1934",
        "name=Mari+Smith&date_of_birth=03/05/1934",
        "name=Mari+Smith&date_of_birth=05/03/1934",
        "name=Mari+Smith&room=104",
        "name=Mari+Smith&date_of_birth=May+3,+1934",
    ] {
        let asked = device.send(&admission(&device).await, same).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{same}: {}", asked.body);
        assert!(
            asked.body.contains("GY-0004") && asked.body.contains("Same person"),
            "{same}: {}",
            asked.body
        );
    }
    let slip = "name=Mary+Smiht&date_of_birth=03/05/1934";
    assert!(device.send(&admission(&device).await, slip).await.body.contains("GY-0004"));
    let another = device.send(&admission(&device).await, "name=Mary+Smiht&date_of_birth=1934").await;
    assert_eq!(another.status, StatusCode::SEE_OTHER, "{}", another.body);
}

#[tokio::test]
async fn an_unlikely_birthday_is_asked_about_and_saved_as_confirmed_and_one_answer_takes_back_no_other() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = admission(&device).await;
    let year: u16 = device.agent.clock().now().to_string()[..4].parse().unwrap();
    let child = format!("01/01/{}", year - 3);
    let born = format!("name=Mary+Smith&mrn=GY-0004&date_of_birth={child}");
    let first = device.send(&form, &born).await;
    assert_eq!(first.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(first.body.contains("years old: check the year"), "{}", first.body);
    // Then who it may be, and then it is saved.
    let likely = confirmed(&first.body).join("&_confirmed=");
    let second = device.send(&form, &format!("{born}&_confirmed={likely}")).await;
    assert_eq!(second.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(second.body.contains("may be the same person"), "{}", second.body);
    let both = confirmed(&second.body);
    assert_eq!(both.len(), 3, "with the number: {}", second.body);
    let saved = device.send(&form, &format!("{born}&_confirmed={}", both.join("&_confirmed="))).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let another = format!("another person than {}", patient(4));
    assert_eq!(device.entries().pop().unwrap().confirmed, ["date_of_birth", another.as_str()]);
    // An edit asks as well, and not again about what stands.
    let path = format!("/residents/{}/edit", patient(2));
    let edit = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let answers = fields(&edit.html, &path);
    let known = "date_of_birth=%30%33%2F%30%33%2F%31%39%33%32";
    assert!(answers.contains(known), "{answers}");
    let asked = post(&device.pages, &path, &answers.replace(known, &format!("date_of_birth={child}"))).await;
    assert!(asked.body.contains("years old: check the year"), "{}", asked.body);
    assert_eq!(device.entries().len(), 1);
}

//! A device that is sent less than all: what is not sent is not none, and is never taken out here.

use serde_json::Value;

use super::leaving::fields;
use super::needs::{hidden, record};
use super::*;

impl Device {
    /// Its mode is this from now on: the server sends Mary Smith, and what was charted about her, as that shows her.
    fn narrowed(&self, sent: PhiMode) {
        let (name, room) = match sent {
            PhiMode::Full => ("Mary Smith", Some("104")),
            PhiMode::Minimal => ("M.S.", Some("104")),
            PhiMode::Free => ("GY-0004", None),
        };
        let mary = PatientDocument {
            mrn: String::new(),
            date_of_birth: None,
            room: room.map(str::to_owned),
            ..resident(4, name, "")
        };
        let mut charted = record(61, BEN, "2026-05-01T14:10:00Z", 72, None);
        charted.values.clear();
        let mut page = Page::default();
        put(&mut page, Collection::Patients, patient(4), &mary);
        put(&mut page, Collection::Records, charted.id, &charted);
        let cursor = Cursor { epoch: 1, seq: 101 };
        let end = PageEnd { phi_mode: Some(sent), ..PageEnd::new(cursor, 101, Timestamp::EPOCH) };
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    async fn page(&self, path: &str) -> Answer {
        open(&self.pages, path).await
    }
}

#[tokio::test]
async fn what_a_device_is_not_sent_is_not_on_the_form_and_is_never_taken_out_by_it() {
    let device = Device::new();
    device.narrowed(PhiMode::Minimal);
    device.sign_in(ANNA);
    let path = format!("/residents/{}/edit", patient(4));
    let html = device.page(&path).await.body;
    assert!(
        html.contains(
            "Not shown on this device, and left as they are: Name, Date of birth, MRN, Medicare number"
        ),
        "{html}"
    );
    for key in ["name", "date_of_birth", "mrn"] {
        assert!(!html.contains(&format!(r#"name="{key}""#)), "{key} is on {html}");
    }
    let form = OpenForm::of(&path, html);
    let seen = hidden(&form.html, "_seen");
    // A page from before, when all was sent, does not pass for an edit.
    let before = device.send(&form, &format!("_seen={seen}&room=105&name=M.S.&date_of_birth=&mrn=")).await;
    assert_eq!(before.status, StatusCode::UNPROCESSABLE_ENTITY);
    let why = "<b>This entry is not saved.</b> This form is not whole: open it again.";
    assert!(before.body.contains(why), "{}", before.body);
    assert_eq!(device.entries(), []);
    let saved = device.send(&form, &format!("_seen={seen}&room=105")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"room": "105"}));
    // Whoever was admitted here is known here, until the server sends less of them.
    let admission = device.open_form("/admit").await;
    device.send(&admission, "name=Nora+New&room=113").await;
    let here = device.page("/?q=nora").await.body;
    let nora = here.split("/residents/").nth(1).unwrap().split('"').next().unwrap();
    let edit = device.page(&format!("/residents/{nora}/edit")).await.body;
    assert!(edit.contains(r#"value="Nora New""#) && !edit.contains("not shown on this device"), "{edit}");
}

#[tokio::test]
async fn where_there_is_nothing_to_edit_residents_still_leave_and_come_back() {
    let device = Device::new();
    device.narrowed(PhiMode::Free);
    device.sign_in(ANNA);
    let page = format!("/residents/{}", patient(4));
    let shown = device.page(&page).await.body;
    assert!(shown.contains("GY-0004") && !shown.contains("Edit resident"), "{shown}");
    let refused = device.page(&format!("{page}/edit")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body.contains("is not shown on this device; edit it on one that"), "{}", refused.body);
    for (act, is_active) in [("discharge", false), ("readmit", true)] {
        let path = format!("{page}/{act}");
        let form = device.page(&path).await.body;
        assert!(!form.contains(r#"name="room""#), "{form}");
        let done = post(&device.pages, &path, &fields(&form, &path)).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
        assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({ "is_active": is_active }));
    }
}

#[tokio::test]
async fn pages_say_what_is_not_shown_instead_of_that_there_is_none() {
    for (sent, found_by) in [(PhiMode::Minimal, "nitials or room"), (PhiMode::Free, "ase number")] {
        let device = Device::new();
        device.narrowed(sent);
        device.sign_in(ANNA);
        let reviews = device.page("/reviews").await;
        assert_eq!(reviews.status, StatusCode::OK);
        assert!(reviews.body.contains("is not shown on this device"), "{}", reviews.body);
        assert!(!reviews.body.contains("Nothing needs a look"), "{}", reviews.body);
        let list = device.page("/").await.body;
        assert!(list.contains(found_by) && !list.contains("MRN"), "{list}");
        let nobody = device.page("/?q=zebra").await.body;
        assert!(nobody.contains("residents are found by") && !nobody.contains("MRN"), "{nobody}");
        let admission = device.page("/admit").await.body;
        assert!(admission.contains("cannot tell whether somebody is here already"), "{admission}");
        let page = format!("/residents/{}", patient(4));
        let chart = device.page(&page).await.body;
        assert!(chart.contains("What was charted is not shown on this device"), "{chart}");
        assert!(chart.contains("Correct it, or strike it out, on a device that shows it."), "{chart}");
        for act in ["correct", "strike"] {
            let refused = device.page(&format!("{page}/{act}/{}", RecordId::from_bytes([61; 16]))).await;
            assert_eq!(refused.status, StatusCode::CONFLICT);
            assert!(refused.body.contains("strike it out, on one that shows it"), "{}", refused.body);
        }
    }
    let device = Device::new();
    device.sign_in(ANNA);
    assert!(device.page("/reviews").await.body.contains("Nothing needs a look"));
    assert!(device.page("/").await.body.contains("Name, room or MRN"));
}

#[tokio::test]
async fn what_was_typed_about_somebody_known_is_kept_where_it_is_not_shown() {
    for (sent, is_full) in [(PhiMode::Minimal, false), (PhiMode::Free, false), (PhiMode::Minimal, true)] {
        let device = Device::new();
        device.narrowed(sent);
        device.sign_in(ANNA);
        device.break_table("drafts", is_full);
        let form = device.open_form("/admit").await;
        let answers = "name=Mary+Smith&room=104&date_of_birth=03%2F05%2F1934&mrn=GY-0044";
        let known = format!("/admit/known/{}", patient(4));
        let opened = post(&device.pages, &known, &form.with(answers)).await;
        let shown = device.page(opened.header("location")).await.body;
        assert!(shown.contains("Nobody new was admitted"), "{shown}");
        assert!(shown.contains("enter what is new on a device that shows it"), "{shown}");
        let kept = device.page("/admit").await.body;
        assert!(kept.contains(r#"value="Mary Smith""#) && kept.contains("GY-0044"), "{kept}");
        assert_eq!(device.entries(), []);
    }
}

/// The form on which Anna edits Mary Smith, who has moved, and what she typed into it while all of her was shown.
async fn edited() -> (Device, OpenForm, String) {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.open_form(&format!("/residents/{}/edit", patient(4))).await;
    let seen = hidden(&form.html, "_seen");
    let typed = format!("_seen={seen}&name=Mary+Smith&room=120&date_of_birth=03%2F05%2F1934&mrn=GY-0004");
    (device, form, typed)
}

#[tokio::test]
async fn what_was_typed_when_more_was_shown_is_kept_and_shows_no_more_than_is_shown_now() {
    let (device, form, typed) = edited().await;
    device.keep(&form, &typed).await;
    device.narrowed(PhiMode::Minimal);
    // What an open page follows says so, and the page leaves.
    assert!(form.html.contains(r#"data-shows="full""#), "{}", form.html);
    let status = device.page("/status").await.body;
    assert!(status.contains(r#"data-shows="minimal""#), "{status}");
    let html = device.page(&form.path).await.body;
    assert!(html.contains(r#"value="120""#), "{html}");
    for hidden in ["Mary", "1934", "GY-0004"] {
        assert!(!html.contains(hidden), "{hidden} is on {html}");
    }
    let saved = post(&device.pages, &form.path, &fields(&html, &form.path)).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(Value::from(device.entries().pop().unwrap().fields), json!({"room": "120"}));
}

#[tokio::test]
async fn of_what_is_not_shown_any_more_a_refused_save_shows_what_was_typed_alone() {
    let mut charted = record(61, BEN, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("notes".into(), json!("Fell in the bath."));
    let edit = "name=Mary+Smyth&room=104&date_of_birth=03%2F05%2F1934&mrn=GY-0004";
    let corrected =
        "taken_at=2026-05-01T14:30&pulse=78&position=Sitting&notes=Fell+in+the+bath.&_reason=Read+anew";
    for (act, answers, typed, filled_in) in [
        (
            "edit".to_owned(),
            edit,
            vec!["Mary Smyth"],
            vec!["Mary Smith", "GY-0004", "1934-03-05", "03/05/1934"],
        ),
        (
            format!("correct/{}", charted.id),
            corrected,
            vec!["78", "Read anew"],
            vec!["Fell", "Sitting", "2026-05-01T14:30"],
        ),
    ] {
        let device = Device::new();
        device.bring(101, Collection::Records, charted.id, &charted);
        device.sign_in(ANNA);
        let path = format!("/residents/{}/{act}", patient(4));
        let form = device.open_form(&path).await;
        let seen = if act == "edit" { hidden(&form.html, "_seen") } else { String::new() };
        device.narrowed(PhiMode::Free);
        let refused = device.send(&form, &format!("_seen={seen}&{answers}")).await;
        for answer in [refused, device.page(&path).await] {
            assert_eq!(answer.status, StatusCode::CONFLICT, "{act}: {}", answer.body);
            assert!(answer.body.contains("kept here until you discard it"), "{}", answer.body);
            for words in &typed {
                assert!(answer.body.contains(&format!("<dd>{words}</dd>")), "{words}: {}", answer.body);
            }
            for words in &filled_in {
                assert!(!answer.body.contains(words), "{words} is on {}", answer.body);
            }
        }
        assert_eq!(device.entries(), []);
    }
}

#[tokio::test]
async fn a_form_that_comes_back_carries_along_no_more_than_is_shown_now() {
    let (device, form, typed) = edited().await;
    device.narrowed(PhiMode::Minimal);
    let again = device.send(&form, &typed).await;
    assert!(again.body.contains(r#"value="120""#), "{}", again.body);
    for hidden in ["Mary", "1934-03-05", "03/05/1934", "GY-0004"] {
        assert!(!again.body.contains(hidden), "{hidden} is on {}", again.body);
    }
}

#[tokio::test]
async fn a_form_says_that_not_all_that_was_typed_is_shown_and_saved() {
    const HIDDEN: &str = "Not all that you typed is shown.";
    for (typed, is_hidden) in [("Mary+Smyth", true), ("Mary+Smith", false)] {
        let (device, form, answers) = edited().await;
        let answers = answers.replace("Mary+Smith", typed);
        device.keep(&form, &answers).await;
        assert!(!device.page(&form.path).await.body.contains(HIDDEN), "all is shown yet");
        device.narrowed(PhiMode::Minimal);
        let html = device.page(&form.path).await.body;
        assert_eq!(html.contains(HIDDEN), is_hidden, "{html}");
        assert_eq!(html.contains("Your answers are still here"), !is_hidden, "{html}");
        let again = device.send(&form, &answers).await.body;
        assert_eq!(again.contains(HIDDEN), is_hidden, "{again}");
        assert!(!again.contains("Smyth"), "{again}");
        // Who types on into what is asked here leaves the rest as it was.
        let narrow = device.open_form(&form.path).await;
        let room = format!("_seen={}&room=121", hidden(&narrow.html, "_seen"));
        assert_eq!(device.keep(&narrow, &room).await.status, StatusCode::NO_CONTENT);
        let html = device.page(&form.path).await.body;
        assert_eq!(html.contains(HIDDEN), is_hidden, "{html}");
        assert!(html.contains(r#"value="121""#) && !html.contains("Smyth"), "{html}");
        let refused = device.send(&narrow, &room.replace("121", &"1".repeat(1_000))).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.body.contains(HIDDEN), is_hidden, "{}", refused.body);
        // So does who discards it and thinks better of it.
        post(&device.pages, &format!("{}/discard", narrow.path), &narrow.with(&room)).await;
        post(&device.pages, &format!("{}/undo", narrow.path), &format!("_screen={}", narrow.screen)).await;
        device.narrowed(PhiMode::Full);
        let html = device.page(&form.path).await.body;
        assert!(html.contains(r#"value="121""#), "{html}");
        assert_eq!(html.contains(r#"value="Mary Smyth""#), is_hidden, "{html}");
    }
}

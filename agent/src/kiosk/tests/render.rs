//! Pages made of plain values: nothing hostile gets through, every type of field has its control.

use carepost_protocol::id::ReviewId;
use carepost_protocol::workflow::FieldError;

use super::super::renderers::form::{self, FormView};
use super::super::renderers::residents as of_residents;
use super::super::renderers::reviews;
use super::super::renderers::shell::{self as page, Shell};
use super::*;
use crate::workspace::view::{
    Beside, Disputed, Known, NotSaved, Question, Rejected, Review, Saved, Todo, Unfinished, Who,
};

async fn read(response: axum::response::Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn shell(status: &StatusLine) -> Shell {
    Shell::new(1, &open_screen("Mary Underwood"), status)
}

fn here(document: PatientDocument) -> Resident {
    Resident { document, mark: None }
}

async fn form(view: FormView) -> String {
    read(form::form(StatusCode::OK, shell(&calm()), view)).await
}

#[tokio::test]
async fn hostile_names_and_labels_stay_words() {
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut page = resident_page();
    page.resident.document.name = evil.to_owned();
    page.resident.document.room = Some(evil.to_owned());
    page.resident.document.mrn = evil.to_owned();
    Arc::make_mut(&mut page.workflows[0]).label = evil.to_owned();
    page.entries[0].counts[0].answered = Answered::With(vec![plain(evil, evil)]);
    page.entries[0].counts[0].author = evil.to_owned();
    page.entries[0].beside = Some(Beside {
        by: vec![evil.to_owned()],
        struck_by: vec![evil.to_owned()],
        looked: Some((evil.to_owned(), Timestamp::EPOCH)),
    });
    page.entries[1].counts[0].mark = Mark::Rejected(evil.to_owned());
    let mut asked = form_page(&[("pulse", evil), ("notes", evil), ("taken_at", evil)]);
    asked.resident.as_mut().unwrap().name = evil.to_owned();
    asked.form = Form::Chart(resident(4, "", "").id, evil.to_owned());
    asked.workflow.label = evil.to_owned();
    asked.workflow.key = "../\"evil".to_owned();
    for field in &mut asked.workflow.fields {
        field.label = evil.to_owned();
        field.unit = Some(evil.to_owned());
        field.options = field.options.iter().map(|_| evil.to_owned()).collect();
    }
    let faults = vec![FieldError { field: "pulse".to_owned(), detail: evil.to_owned() }];
    let mut list = residents();
    list.residents[1].document.name = evil.to_owned();
    list.discharged.push(here(resident(9, evil, evil)));
    let begun = Unfinished { form: Form::Admit, name: evil.to_owned(), resident: Some(evil.to_owned()) };
    list.begun = Begun { unfinished: vec![begun.clone()], more: true, dropped: Some(begun) };
    page.also.push(resident(9, evil, evil));
    page.readmission = Some((evil.to_owned(), vec![(evil.to_owned(), evil.to_owned())]));
    let screen = locked(Some(evil), Some(evil));
    let Screen::Locked(lock) = screen.clone() else { unreachable!() };
    let status = StatusLine { storage_trouble: Some(evil.to_owned()), ..calm() };
    let mut person = resident(4, evil, evil);
    person.mrn = evil.to_owned();
    let rejected = |todo| Rejected {
        n: 3,
        what: evil.to_owned(),
        resident: Some(person.clone()),
        at: at("2026-05-01T14:10:00Z"),
        author: evil.to_owned(),
        answers: vec![plain(evil, evil)],
        why: vec![evil.to_owned()],
        todo,
    };
    let entries = vec![rejected(Todo::Author(evil.to_owned())), rejected(Todo::Waits(evil.to_owned()))];
    let saved = Saved { words: evil.to_owned(), by: evil.to_owned(), at: Timestamp::EPOCH, stands: true };
    let field = Disputed { key: evil.to_owned(), label: evil.to_owned(), values: vec![saved], more: 3 };
    let review = |question| Review {
        id: ReviewId::from_bytes([7; 16]),
        base: 1,
        token: "t".to_owned(),
        resident: Some(person.clone()),
        opened_at: Timestamp::EPOCH,
        question,
        more: 3,
    };
    let reviews = vec![
        review(Question::Conflict(vec![field])),
        review(Question::Duplicate(vec![Known::beside(&person, person.clone())])),
        review(Question::Amendments(page.entries[0].counts.clone())),
        review(Question::Unknown),
    ];
    for html in [
        read(reviews::rejected(shell(&status), Part::of(entries, 0))).await,
        read(reviews::reviews(
            shell(&calm()),
            Part::of(reviews, 0),
            Some((NotSaved::NotTaken(evil.to_owned()), ReviewId::from_bytes([7; 16]), Vec::new())),
            false,
        ))
        .await,
        read(of_residents::resident(shell(&status), page, (Some(of_residents::Saved::Entry), None), None))
            .await,
        form(FormView::returned(asked.clone(), &NotSaved::Answers(faults))).await,
        form(FormView::returned(asked.clone(), &NotSaved::NotTaken(evil.to_owned()))).await,
        form(FormView::returned(
            asked.clone(),
            &NotSaved::Alike(vec![Known::beside(&person, resident(9, evil, evil))]),
        ))
        .await,
        read(reviews::number(
            shell(&calm()),
            ReviewId::from_bytes([7; 16]),
            evil.to_owned(),
            vec![(evil.to_owned(), evil.to_owned())],
            vec![Known::beside(&person, resident(9, evil, evil))],
        ))
        .await,
        read(of_residents::residents(shell(&calm()), list, Who::Found(evil.to_owned()), None)).await,
        read(page::locked(Shell::new(1, &screen, &calm()), lock)).await,
        read(form::rescue(
            StatusCode::OK,
            shell(&calm()),
            &[(evil.to_owned(), evil.to_owned())],
            evil,
            Some(&Form::Chart(resident(4, "", "").id, evil.to_owned())),
        ))
        .await,
        read(page::refusal(StatusCode::OK, evil)).await,
    ] {
        assert!(!html.contains("<img") && !html.contains("<script>"), "{html}");
        assert!(!html.contains("\"'>"), "an attribute was left: {html}");
        assert!(!html.contains("style=") && !html.contains("onclick"), "the policy forbids these: {html}");
    }
}

#[tokio::test]
async fn every_type_of_field_has_its_control() {
    let html =
        form(FormView::fresh(form_page(&[("oxygen", "yes"), ("position", "Standing"), ("pulse", "72")])))
            .await;
    for part in [
        r#"name="taken_at" type="text" inputmode="text""#,
        r#"name="pulse" type="text" inputmode="numeric" value="72" aria-required="true""#,
        "20 to 250 bpm",
        r#"<span class="unit">bpm</span>"#,
        r#"name="temperature" type="text" inputmode="decimal""#,
        r#"name="position" value="Standing" checked"#,
        r#"<select id="f4" name="arm""#,
        r#"name="oxygen" value="yes" checked"#,
        r#"name="oxygen" value="">"#,
        r#"name="seen_on" type="text" inputmode="text""#,
        r#"name="taken_by_device" type="text" inputmode="text""#,
        r#"<textarea id="f8" name="notes""#,
        r#"name="change" type="text" inputmode="text""#,
        r#"<span class="required">required</span>"#,
        r#"name="_token" value="0190a5e2""#,
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert!(!html.contains(r#"name="position" value="">"#), "a required choice cannot be left open");
}

#[tokio::test]
async fn wrong_answers_come_back_as_typed_with_the_fault_beside_them() {
    let typed = [
        ("pulse", "7 2"),
        ("taken_at", "yesterday at \"noon\""),
        ("notes", "line one\nline two"),
        ("arm", "F"),
    ];
    let faults = [
        ("pulse", "give a whole number"),
        ("temperature", "“seventy” is no part of a number"),
        ("position", "this is required"),
        ("ghost", "no such field"),
    ]
    .map(|(field, detail)| FieldError { field: field.to_owned(), detail: detail.to_owned() });
    let html = form(FormView::returned(form_page(&typed), &NotSaved::Answers(faults.to_vec()))).await;
    for part in [
        "4 answers need",
        r##"<a href="#f1">Pulse: give a whole number</a>"##,
        r#"value="7 2" aria-required="true" aria-invalid="true" aria-describedby="f1-hint f1-fault" autofocus>"#,
        r#"id="f1-fault""#,
        "<span>Give a whole number</span>",
        "<span>“seventy” is no part of a number</span>",
        "yesterday at &#34;noon&#34;",
        "line one\nline two</textarea>",
        r#"<option value="F" selected>"#,
        "ghost: no such field",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert_eq!(html.matches(" autofocus").count(), 1, "the cursor goes to the first wrong answer only");
}

#[tokio::test]
async fn a_full_disk_is_said_and_keeps_the_answers() {
    let words = "The disk is full. Write it on paper, use another device and call IT".to_owned();
    let html = form(FormView::returned(form_page(&[("pulse", "72")]), &NotSaved::NotTaken(words))).await;
    assert!(html.contains("This entry is not saved.") && html.contains("The disk is full"), "{html}");
    assert!(html.contains(r#"value="72""#));
}

#[tokio::test]
async fn a_locked_screen_says_what_to_do_and_nobodys_name_but_who_may_undo() {
    let screen = locked(Some("This badge is not known here."), Some("Mary U."));
    let Screen::Locked(lock) = screen.clone() else { unreachable!() };
    let html = read(page::locked(Shell::new(1, &screen, &offline()), lock)).await;
    for words in [
        "Golden Years ALF - Riverside",
        "Tap your badge",
        "not known here",
        "Undo lock for Mary U.",
        "(555) 010-0142",
    ] {
        assert!(html.contains(words), "{words} is missing in {html}");
    }
}

#[tokio::test]
async fn a_pin_pad_asks_for_one_try_of_one_person() {
    let screen = pin_pad(3, Some("Wrong PIN."));
    let Screen::PinPad(pad) = screen.clone() else { unreachable!() };
    let html = read(page::pin_pad(Shell::new(1, &screen, &calm()), pad)).await;
    for part in [
        "Mary Underwood",
        "Wrong PIN.",
        r#"name="attempt" value="3""#,
        r#"type="password""#,
        r#"data-digit="0""#,
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert!(!html.contains("http-equiv"), "nothing disturbs who types");
}

#[tokio::test]
async fn two_smiths_are_told_apart_and_a_long_list_has_letters() {
    let html = read(of_residents::residents(shell(&calm()), residents(), Who::Here, None)).await;
    assert_eq!(html.matches("2 named Smith").count(), 2);
    assert!(!html.contains("class=\"letters\""), "five residents need no letters");
    let mut many = residents();
    many.residents.extend((20..40).map(|n| here(resident(n, "Nowak, Ewa", "200"))));
    let html = read(of_residents::residents(shell(&calm()), many, Who::Here, Some('n'))).await;
    assert!(
        html.contains("Last names with S") && !html.contains("Mary Smith") && html.contains("Nowak, Ewa")
    );
}

#[tokio::test]
async fn a_list_that_is_still_loading_never_says_none() {
    let none = Residents { residents: Vec::new(), may_admit: false, complete: false, ..residents() };
    let html = read(of_residents::residents(shell(&calm()), none, Who::Here, None)).await;
    assert!(html.contains("Still loading") && !html.contains("no residents"), "{html}");
    let page =
        ResidentPage { entries: Vec::new(), workflows: Vec::new(), complete: false, ..resident_page() };
    let html = read(of_residents::resident(shell(&calm()), page, (None, None), None)).await;
    assert!(html.contains("Still loading") && !html.contains("Nothing has been charted"), "{html}");
}

#[tokio::test]
async fn marks_say_how_far_an_entry_has_come() {
    let html = read(of_residents::resident(
        shell(&offline()),
        resident_page(),
        (Some(of_residents::Saved::Entry), None),
        None,
    ))
    .await;
    for words in [
        "Internet down since",
        "12 entries waiting, oldest 4 min.",
        "<b>Saved here.</b>",
        "Rejected by the server: the form has changed since",
        "Sent</span>",
        "Mary Underwood",
    ] {
        assert!(html.contains(words), "{words} is missing in {html}");
    }
}

#[tokio::test]
async fn a_screen_about_to_lock_counts_down() {
    let Screen::Open(open) = open_screen("Mary Underwood") else { unreachable!() };
    let soon = Screen::Open(Open { locks_in: Some(Duration::from_secs(18)), ..open });
    let html = read(page::bare(Shell::new(1, &soon, &calm()))).await;
    for words in [r#"data-left="18">18 seconds<"#, "What you typed is kept", "is not on this device's disk"] {
        assert!(html.contains(words), "{words} is missing in {html}");
    }
    let Screen::Open(open) = open_screen("Mary Underwood") else { unreachable!() };
    let now = Screen::Open(Open { locks_in: Some(Duration::from_secs(1)), ..open });
    let html = read(page::bare(Shell::new(1, &now, &calm()))).await;
    assert!(html.contains(">1 second<"), "{html}");
    assert!(!read(page::bare(shell(&calm()))).await.contains("data-left"));
}

#[tokio::test]
async fn cards_that_say_the_same_are_told_apart_by_the_mrn_and_no_others() {
    let twin = PatientDocument { mrn: "GY-0099".to_owned(), ..resident(4, "Mary Smith", "104") };
    let mut list = residents();
    list.residents.push(Resident { document: twin, mark: None });
    let html = read(of_residents::residents(shell(&calm()), list, Who::Here, None)).await;
    assert!(html.contains("MRN GY-0004") && html.contains("MRN GY-0099"), "{html}");
    assert!(!html.contains("MRN GY-0002"), "{html}");
}

#[test]
fn a_screen_of_another_person_or_try_has_another_key() {
    let keys = [
        page::screen_key(&open_screen("Mary Underwood")),
        page::screen_key(&open_screen("Sam Okafor")),
        page::screen_key(&locked(None, None)),
        page::screen_key(&pin_pad(1, None)),
        page::screen_key(&pin_pad(2, None)),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(keys.iter().skip(at + 1).all(|other| other != key), "{key}");
        assert!(!key.contains("Mary"));
    }
}

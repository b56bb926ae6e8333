//! What was typed and not saved: it is where it was left, it shows, and it goes only when its typist says so.

use super::*;

impl Device {
    async fn list(&self) -> String {
        let mut answer = open(&self.pages, "/").await;
        if answer.status == StatusCode::SEE_OTHER {
            answer = open(&self.pages, "/").await;
        }
        answer.body
    }

    async fn page_of(&self, n: u8) -> String {
        open(&self.pages, &format!("/residents/{}", patient(n))).await.body
    }

    /// Presses a button of a page that only says for which session it was made.
    async fn press(&self, path: &str) -> Answer {
        let Screen::Open(opened) = self.agent.screen() else { panic!("nobody is signed in") };
        post(&self.pages, path, &format!("_screen={}", SessionKey::of(opened.session).as_str())).await
    }
}

/// Where the start page leads.
async fn lands_on(device: &Device) -> String {
    open(&device.pages, "/").await.header("location").to_owned()
}

#[tokio::test]
async fn whoever_comes_back_is_on_the_form_that_was_left() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    assert_eq!(device.keep(&form, "pulse=91").await.status, StatusCode::NO_CONTENT);
    device.tap(ANNA);
    device.agent.undo_lock();
    // What a script fetches to see what changed is nobody's coming back.
    let fetched = send(
        &device.pages,
        "GET",
        "/",
        &[("host", HOST), ("cookie", COOKIE), ("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "empty")],
        "",
    );
    assert_eq!(fetched.await.status, StatusCode::OK);
    assert_eq!(lands_on(&device).await, chart(4), "the lock was undone");
    assert!(device.form(4).await.html.contains(r#"value="91""#));
    device.agent.lock();
    device.tap(ANNA);
    assert_eq!(lands_on(&device).await, chart(4), "her own tap");
    // It locks again before the form is there.
    device.agent.lock();
    assert_eq!(open(&device.pages, &chart(4)).await.header("location"), "/");
    device.tap(ANNA);
    assert_eq!(lands_on(&device).await, chart(4), "she has not been there yet");
    device.form(4).await;
    assert_eq!(lands_on(&device).await, "", "from the form she goes where she likes");
    device.form(4).await;
    device.sign_in(BEN);
    assert_eq!(lands_on(&device).await, "", "it is not Ben's");
    device.form(2).await;
    device.sign_in(ANNA);
    assert_eq!(lands_on(&device).await, chart(4), "somebody was in between");
    device.form(4).await;
    device.page_of(4).await;
    device.agent.lock();
    device.tap(ANNA);
    assert_eq!(lands_on(&device).await, "", "she had left the form herself");
}

#[tokio::test]
async fn an_untouched_form_is_come_back_to_in_the_same_session_only() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.form(4).await;
    device.agent.lock();
    device.tap(ANNA);
    assert_eq!(lands_on(&device).await, chart(4));
    device.form(4).await;
    device.sign_in(BEN);
    device.sign_in(ANNA);
    assert_eq!(lands_on(&device).await, "");
}

#[tokio::test]
async fn what_is_not_finished_shows_to_its_typist_alone() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.keep(&form, "pulse=91").await;
    let admission = open(&device.pages, "/admit").await;
    let admission = OpenForm::of("/admit", admission.body);
    device.keep(&admission, "name=Nora+New").await;
    let list = device.list().await;
    for words in ["Not finished", "Vital signs · Mary Smith", &chart(4), "Admit a resident", "/admit/discard"]
    {
        assert!(list.contains(words), "{words} is missing in {list}");
    }
    let page = device.page_of(4).await;
    assert!(page.contains("Not finished") && page.contains(&format!("{}/discard", chart(4))), "{page}");
    assert!(!device.page_of(2).await.contains("Not finished"), "that is somebody else's page");
    device.sign_in(BEN);
    assert!(!device.list().await.contains("Not finished"));
    assert!(!device.page_of(4).await.contains("Not finished"));
    // As it was opened, or saved: nothing is unfinished.
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.keep(&form, "pulse=&position=").await;
    let admission = OpenForm::of("/admit", open(&device.pages, "/admit").await.body);
    device.send(&admission, "name=Nora+New").await;
    assert!(!device.list().await.contains("Not finished"));
    let edit = format!("/residents/{}/edit", patient(4));
    let shown = OpenForm::of(&edit, open(&device.pages, &edit).await.body);
    device.keep(&shown, "name=Mary+Smith&room=104&date_of_birth=03/05/1934&mrn=GY-0004").await;
    assert!(!device.list().await.contains("Not finished"));
}

#[tokio::test]
async fn a_list_of_unfinished_forms_says_that_more_is_kept_than_it_shows() {
    let device = Device::new();
    device.sign_in(ANNA);
    let outbox = device.workspace.outbox();
    let typed = [("pulse".to_owned(), "91".to_owned())];
    for n in 0..21 {
        assert!(!device.list().await.contains("More than these"), "{n}");
        outbox
            .put_draft(UserId::from_bytes([ANNA; 16]), patient(100 + n), "vitals", &typed, Timestamp::EPOCH)
            .unwrap();
    }
    let list = device.list().await;
    assert!(list.contains("continue-20") && !list.contains("continue-21"), "{list}");
    assert!(list.contains("More than these is kept for you"), "{list}");
    device.press(&format!("{}/discard", chart(100))).await;
    assert!(!device.list().await.contains("More than these"));
}

#[tokio::test]
async fn what_was_discarded_can_be_had_back() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    device.keep(&form, "pulse=91").await;
    assert!(device.form(4).await.html.contains(r#"formaction="/residents/"#));
    // From the form, with a word that was not kept yet.
    let discarded = post(&device.pages, &format!("{}/discard", form.path), &form.with("pulse=92")).await;
    assert_eq!(discarded.header("location"), format!("/residents/{}", patient(4)));
    let page = device.page_of(4).await;
    assert!(page.contains("Discarded: Vital signs") && !page.contains("Not finished"), "{page}");
    assert!(!device.form(4).await.html.contains(r#"value="92""#), "the form is empty");
    assert!(device.list().await.contains("Discarded: Vital signs · Mary Smith"));
    assert!(!device.page_of(2).await.contains("Discarded"));
    let undone = device.press(&format!("{}/undo", chart(4))).await;
    assert_eq!(undone.header("location"), chart(4));
    assert!(device.form(4).await.html.contains(r#"value="92""#));
    assert!(!device.page_of(4).await.contains("Discarded"));
    // From the resident's page: what is kept.
    device.press(&format!("{}/discard", chart(4))).await;
    assert!(!device.list().await.contains("Not finished"));
    device.press(&format!("{}/undo", chart(4))).await;
    assert!(device.form(4).await.html.contains(r#"value="92""#));
    // What she saves next is not in the way of an undo that nobody wants any more.
    device.press(&format!("{}/discard", chart(4))).await;
    device.send(&device.form(2).await, ANSWERS).await;
    assert!(!device.list().await.contains("Discarded"));
    let form = device.form(4).await;
    device.keep(&form, "pulse=92").await;
    device.press(&format!("{}/discard", chart(4))).await;
    device.sign_in(BEN);
    assert!(!device.list().await.contains("Discarded"), "that is Anna's to know");
    device.press(&format!("{}/undo", chart(4))).await;
    assert!(!device.form(4).await.html.contains(r#"value="92""#));
    device.sign_in(ANNA);
    device.press(&format!("{}/undo", chart(4))).await;
    assert!(!device.form(4).await.html.contains(r#"value="92""#), "it went with her session");
}

#[tokio::test]
async fn a_form_that_was_left_as_it_was_shown_is_nothing_to_discard() {
    let device = Device::new();
    let id = RecordId::from_bytes([31; 16]);
    let mut charted = super::needs::record(31, ANNA, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("taken_at".into(), json!("2026-05-01T14:30-05:00"));
    charted.values.insert("notes".into(), json!("Slept well.\nAte half."));
    device.bring(101, Collection::Records, id, &charted);
    device.sign_in(ANNA);
    let path = format!("/residents/{}/correct/{id}", patient(4));
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    // As a browser sends it: the time on the wall, and its own line breaks.
    let taken_at = super::needs::field(&form.html, "taken_at");
    let shown = format!("taken_at={taken_at}&pulse=72&position=Sitting&notes=Slept+well.%0D%0AAte+half.");
    let refused = device.send(&form, &shown).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "it asks for a reason");
    assert!(refused.body.contains(r#"/discard" hidden>"#), "{}", refused.body);
    // What is typed and taken back is gone, and the page is told.
    assert_eq!(device.keep(&form, &shown.replace("72", "99")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(device.keep(&form, &shown).await.status, StatusCode::RESET_CONTENT);
    assert!(!device.list().await.contains("Not finished"));
}

#[tokio::test]
async fn what_the_disk_does_not_take_is_there_again_and_the_form_says_where() {
    const UNWRITTEN: &str = "Not on this device's disk.";
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    assert_eq!(device.keep(&form, "pulse=91").await.status, StatusCode::NO_CONTENT);
    device.break_table("drafts", true);
    let other = device.form(2).await;
    for (form, typed) in [(&other, "pulse=80"), (&form, "pulse=92")] {
        let unwritten = device.keep(form, typed).await;
        assert_eq!(unwritten.status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(unwritten.body.starts_with("This device cannot save: "), "{}", unwritten.body);
        assert!(unwritten.body.contains("stays here only until it restarts"), "{}", unwritten.body);
    }
    let again = device.form(4).await.html;
    assert!(again.contains(r#"value="92""#) && again.contains(UNWRITTEN), "{again}");
    assert!(again.contains(" data-unwritten>"), "{again}");
    device.agent.lock();
    device.tap(ANNA);
    assert_eq!(lands_on(&device).await, chart(4));
    assert!(device.form(4).await.html.contains(r#"value="92""#), "the latest, not what was kept before");
    for n in [2, 4] {
        let page = device.page_of(n).await;
        assert_eq!(page.matches(&format!("{}/discard", chart(n))).count(), 1, "{page}");
    }
    device.sign_in(BEN);
    assert!(!device.form(4).await.html.contains(r#"value="92""#), "it is Anna's");
    let annas = device.sign_in(ANNA);

    // As soon as the disk takes it, it is a draft like any other.
    device.agent.tick();
    assert!(device.form(4).await.html.contains(UNWRITTEN));
    device.break_table("drafts", false);
    device.agent.tick();
    let kept = device.form(4).await.html;
    assert!(
        kept.contains(r#"value="92""#) && !kept.contains(UNWRITTEN) && !kept.contains("data-unwritten"),
        "{kept}"
    );
    let kept = device.workspace.outbox().draft(UserId::from_bytes([ANNA; 16]), patient(4), "vitals").unwrap();
    assert!(kept.is_some_and(|kept| kept.contains(&("pulse".to_owned(), "92".to_owned()))));

    // Nor is what may have been saved and was, although that was not certain.
    for (is_saved, locks) in [(false, false), (true, false), (false, true), (true, true)] {
        device.break_table("drafts", true);
        let (form, other) = (device.form(4).await, device.form(2).await);
        device.keep(&form, "pulse=95").await;
        device.break_disk(true);
        let uncertain = device.send(&form, ANSWERS).await;
        assert!(uncertain.body.contains("It is not certain that this was saved"), "{}", uncertain.body);
        device.break_disk(false);
        if locks {
            device.agent.lock();
            let typed = [("pulse".to_owned(), "95".to_owned())];
            let token = Some(form.token.clone());
            device.workspace.forms().keep_draft(&annas, &vitals(4), &typed, token).unwrap();
            device.sign_in(ANNA);
        }
        device.break_table("drafts", false);
        if is_saved {
            // As if it had reached the disk all the same.
            assert_eq!(device.send(&other, ANSWERS).await.status, StatusCode::SEE_OTHER);
            let tokens = [&form.token, &other.token];
            device.outbox_file().execute("UPDATE entries SET form = ?1 WHERE form = ?2", tokens).unwrap();
        }
        device.agent.tick();
        let html = device.form(4).await.html;
        assert_eq!(html.contains(r#"value="95""#), !is_saved, "{html}");
        post(&device.pages, &format!("{}/discard", form.path), &form.with("pulse=95")).await;
    }

    // What is discarded or saved is not in memory any more.
    device.break_table("drafts", true);
    let form = device.form(4).await;
    device.keep(&form, "pulse=93").await;
    post(&device.pages, &format!("{}/discard", form.path), &form.with("pulse=93")).await;
    assert!(!device.form(4).await.html.contains(r#"value="93""#));
    let form = device.form(4).await;
    device.keep(&form, "pulse=94").await;
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    assert!(!device.form(4).await.html.contains("You began this earlier"));
    device.break_table("drafts", false);
    device.agent.tick();
    assert!(!device.form(4).await.html.contains("You began this earlier"), "nor kept after it was saved");
}

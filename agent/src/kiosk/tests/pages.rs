//! Pages over a desk.

use std::sync::Mutex;

use carepost_protocol::workflow::FieldError;
use tokio::sync::watch;

use super::super::{page, router};
use super::*;
use crate::desk::view::{EnrollStep, Enrolling, NotSaved, Refused};
use crate::desk::{Desk, Fixed};

fn desk(screen: Screen) -> Arc<Desk> {
    let fixed = Fixed {
        screen,
        status: offline(),
        residents: Ok(residents()),
        resident: Ok(resident_page()),
        form: Ok(form_page(&[])),
        save: Ok(()),
        asked: Vec::new(),
    };
    Arc::new(Desk { fixed: Mutex::new(fixed), bumps: watch::Sender::new(1) })
}

fn set(desk: &Desk, change: impl FnOnce(&mut Fixed)) {
    change(&mut desk.fixed.lock().unwrap());
}

fn asked(desk: &Desk) -> Vec<String> {
    std::mem::take(&mut desk.fixed.lock().unwrap().asked)
}

fn chart() -> String {
    format!("/residents/{}/chart/vitals", resident(4, "", "").id)
}

fn screen_of(name: &str) -> String {
    page::screen_key(&open_screen(name))
}

#[tokio::test]
async fn the_start_page_is_whatever_the_desk_shows() {
    let code = Screen::Enrolling(Enrolling {
        step: EnrollStep::Code {
            code: "BCDF-GHJK".parse().unwrap(),
            expires_at: at("2026-05-01T14:20:00Z"),
            possible_clone: true,
        },
        server: "https://carepost.example.test:8444".to_owned(),
        device_uuid: "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42".parse().unwrap(),
    });
    for (screen, words) in [
        (
            code,
            vec![
                "BCDF-GHJK",
                "another device with this hardware UUID",
                "0190a5e2-7c4d",
                "2026-05-01T14:20:00Z",
            ],
        ),
        (Screen::Revoked, vec!["no longer in use"]),
        (
            locked(Some("This badge is not known here."), Some("Mary U.")),
            vec![
                "Golden Years ALF - Riverside",
                "Tap your badge",
                "not known here",
                "Undo lock for Mary U.",
                "(555) 010-0142",
            ],
        ),
        (
            pin_pad(3, Some("Wrong PIN. 4 tries left.")),
            vec!["Mary Underwood", "Wrong PIN", r#"name="attempt" value="3""#],
        ),
        (open_screen("Mary Underwood"), vec!["Registered nurse", "Ada Lindqvist", "103", "Lock</button>"]),
    ] {
        let answer = open(&router(desk(screen), config()), "/").await;
        assert_eq!(answer.status, StatusCode::OK);
        for word in words {
            assert!(answer.body.contains(word), "{word} is missing in {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_locked_kiosk_shows_nobodys_pages() {
    for screen in [locked(None, None), pin_pad(1, None), Screen::Revoked] {
        let pages = router(desk(screen), config());
        for uri in [format!("/residents/{}", resident(4, "", "").id), chart()] {
            let answer = open(&pages, &uri).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"), "{uri}");
            assert!(answer.body.is_empty());
        }
        assert!(!open(&pages, "/").await.body.contains("Smith"));
        assert!(!open(&pages, "/status").await.body.contains("Smith"));
    }
}

#[tokio::test]
async fn a_saved_form_leads_to_the_resident_and_says_so() {
    let desk = desk(open_screen("Mary Underwood"));
    let pages = router(Arc::clone(&desk), config());
    let sent = format!("_screen={}&_token=t1&pulse=72&notes=two%20words", screen_of("Mary Underwood"));
    let answer = post(&pages, &chart(), &sent).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(asked(&desk), [r#"save vitals t1 [("pulse", "72"), ("notes", "two words")]"#]);
    let shown = open(&pages, answer.header("location")).await;
    assert!(shown.body.contains("<b>Saved here.</b>"));
}

#[tokio::test]
async fn a_form_of_somebody_else_is_neither_saved_nor_kept() {
    let desk = desk(open_screen("Sam Okafor"));
    let pages = router(Arc::clone(&desk), config());
    let sent = format!("_screen={}&_token=t1&pulse=72", screen_of("Mary Underwood"));
    let answer = post(&pages, &chart(), &sent).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"));
    let answer = post(&pages, &format!("{}/draft", chart()), &sent).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(asked(&desk).is_empty());
}

#[tokio::test]
async fn what_was_not_saved_comes_back() {
    let desk = desk(open_screen("Mary Underwood"));
    let pages = router(Arc::clone(&desk), config());
    let sent = format!("_screen={}&_token=t1&pulse=7+2&notes=kept", screen_of("Mary Underwood"));
    let fault = FieldError { field: "pulse".to_owned(), detail: "give a whole number".to_owned() };
    for (why, status, words) in [
        (NotSaved::Answers(vec![fault]), 422, "give a whole number"),
        (NotSaved::Storage("the disk is full".to_owned()), 507, "the disk is full"),
        (NotSaved::Refused(Refused::Storage("the file is damaged".to_owned())), 507, "the file is damaged"),
        (NotSaved::Refused(Refused::NotAllowed), 403, "your charge nurse"),
    ] {
        let intact = status != 403;
        set(&desk, |fixed| fixed.save = Err(why));
        let answer = post(&pages, &chart(), &sent).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.body.contains(words), "{}", answer.body);
        assert_eq!(answer.body.contains("value=\"7 2\"") && answer.body.contains("kept</textarea>"), intact);
    }
    set(&desk, |fixed| {
        fixed.save = Err(NotSaved::Storage("the disk is full".to_owned()));
        fixed.form = Err(Refused::Storage("the file is damaged".to_owned()));
    });
    let answer = post(&pages, &chart(), &sent).await;
    assert!(answer.body.contains("Copy it to paper") && answer.body.contains("7 2"), "{}", answer.body);
}

#[tokio::test]
async fn drafts_touches_pin_and_lock_reach_the_desk() {
    let desk = desk(open_screen("Mary Underwood"));
    let pages = router(Arc::clone(&desk), config());
    let draft = format!("_screen={}&_token=t1&pulse=7", screen_of("Mary Underwood"));
    for (uri, form, status, what) in [
        (format!("{}/draft", chart()), draft.as_str(), 204, r#"draft vitals [("pulse", "7")]"#),
        ("/touch".to_owned(), "", 204, "touched"),
        ("/pin".to_owned(), "attempt=2&pin=482913", 303, "pin 2 of 6 digits"),
        ("/pin/cancel".to_owned(), "", 303, "cancel_pin"),
        ("/lock".to_owned(), "", 303, "lock"),
        ("/lock/undo".to_owned(), "", 303, "undo_lock"),
    ] {
        let answer = post(&pages, &uri, form).await;
        assert_eq!(answer.status.as_u16(), status, "{uri}");
        assert!(!answer.header("location").contains("482913"));
        assert_eq!(asked(&desk), [what]);
    }
}

#[tokio::test]
async fn a_followed_link_is_a_touch_and_a_refresh_is_none() {
    let desk = desk(open_screen("Mary Underwood"));
    let pages = router(Arc::clone(&desk), config());
    open(&pages, "/").await;
    assert!(asked(&desk).is_empty());
    let headers = [("host", HOST), ("sec-fetch-site", "same-origin"), ("sec-fetch-user", "?1")];
    send(&pages, "GET", "/", &headers, "").await;
    assert_eq!(asked(&desk), ["touched"]);
    let headers = [
        ("host", HOST),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-user", "?1"),
    ];
    assert_eq!(send(&pages, "GET", "/", &headers, "").await.status, StatusCode::OK);
    assert!(asked(&desk).is_empty(), "another page's link keeps no session open");
}

#[tokio::test]
async fn an_open_page_hears_of_every_change() {
    use http_body_util::BodyExt;

    let desk = desk(open_screen("Mary Underwood"));
    let pages = router(Arc::clone(&desk), config());
    let request = Request::get("/events").header("host", HOST).body(Body::empty()).unwrap();
    let mut stream = pages.oneshot(request).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(first.contains(&screen_of("Mary Underwood")) && first.contains(r#""bump":1"#), "{first}");
    assert!(!first.contains("Mary"));
    set(&desk, |fixed| fixed.screen = locked(None, None));
    desk.bumps.send_replace(2);
    let next = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&next).contains(r#"{"screen":"locked","bump":2}"#), "{next:?}");
}

#[tokio::test]
async fn streams_are_few() {
    let pages = router(desk(locked(None, None)), config());
    let mut held = Vec::new();
    for _ in 0..super::super::STREAMS {
        let request = Request::get("/events").header("host", HOST).body(Body::empty()).unwrap();
        held.push(pages.clone().oneshot(request).await.unwrap());
    }
    assert!(held.iter().all(|response| response.status() == StatusCode::OK));
    assert_eq!(open(&pages, "/events").await.status, StatusCode::SERVICE_UNAVAILABLE);
    held.pop();
    let request = Request::get("/events").header("host", HOST).body(Body::empty()).unwrap();
    assert_eq!(pages.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

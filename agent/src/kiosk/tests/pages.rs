//! Pages of a device.

use carepost_agent_core::enrollment::EnrollmentView;
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::super::serve::Closing;
use super::super::{STREAMS, router};
use super::*;
use crate::clock::Clock;
use crate::device::{Device, State};
use crate::workspace::view::Enrolling;

fn device(state: State) -> Arc<Device> {
    Arc::new(Device::new(state, ReaderState::Ready, Arc::new(Clock::new(None))))
}

fn enrolling() -> State {
    State::Enrolling(Enrolling {
        step: EnrollmentView::Code {
            code: "BCDF-GHJK".parse().unwrap(),
            expires_at: at("2026-05-01T14:20:00Z"),
        },
        trouble: Some("The server is busy.".to_owned()),
        token_refused: None,
        server: "https://carepost.example.test:8444".to_owned(),
        device_uuid: "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42".parse().unwrap(),
    })
}

fn chart() -> String {
    format!("/residents/{}/chart/vitals", resident(4, "", "").id)
}

async fn listen(pages: &Router) -> axum::response::Response {
    let request =
        Request::get("/events").header("host", HOST).header("cookie", COOKIE).body(Body::empty()).unwrap();
    pages.clone().oneshot(request).await.unwrap()
}

async fn next(stream: &mut Body) -> String {
    let frame = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    String::from_utf8_lossy(&frame).into_owned()
}

#[tokio::test]
async fn a_page_that_listens_for_news_keeps_no_kiosk_from_ending() {
    let pages = router(device(enrolling()), config());
    let (close, closing) = watch::channel(false);
    let request = Request::get("/events").header("host", HOST).header("cookie", COOKIE);
    let request = request.extension(Closing(closing)).body(Body::empty()).unwrap();
    let mut stream = pages.oneshot(request).await.unwrap().into_body();
    assert!(next(&mut stream).await.contains("enrolling"));
    close.send_replace(true);
    assert!(stream.frame().await.is_none());
}

#[tokio::test]
async fn the_start_page_is_whatever_the_device_shows() {
    let device = device(enrolling());
    let pages = router(Arc::clone(&device), config());
    let shown = open(&pages, "/").await;
    assert_eq!(shown.status, StatusCode::OK);
    for words in ["BCDF-GHJK", "0190a5e2-7c4d", "2026-05-01T14:20:00.000Z"] {
        assert!(shown.body.contains(words), "{words} is missing in {}", shown.body);
    }
    assert!(
        !shown.body.contains("busy"),
        "the code stands, whatever became of the last question: {}",
        shown.body
    );
    device.enter(State::Revoked { trouble: None });
    let shown = open(&pages, "/").await;
    assert!(shown.body.contains("no longer in use") && !shown.body.contains("BCDF"), "{}", shown.body);
    let trouble = Some("enrollment: the disk is full: free some space".to_owned());
    device.enter(State::Revoked { trouble });
    let shown = open(&pages, "/").await.body;
    assert!(shown.contains("For IT: enrollment: the disk is full: free some space."), "{shown}");
    device.enter(State::Unopened { why: "mirror.db: the disk is full".to_owned(), phone: None });
    let shown = open(&pages, "/").await.body;
    for words in [
        "disk is full",
        "use another device. Call your facility",
        "goes on by itself",
        "may be on no other device: do not delete",
    ] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    assert!(!shown.contains("keep charting"), "{shown}");
    let phone = Some("+1 555 0100".to_owned());
    device.enter(State::Unopened { why: "outbox.db: damaged".to_owned(), phone });
    let shown = open(&pages, "/").await.body;
    assert!(shown.contains("For IT: outbox.db: damaged.") && !shown.contains("disk is full:"), "{shown}");
    assert!(shown.contains("use another device. Call +1 555 0100:"), "{shown}");
    assert!(shown.contains(r#"data-call="Call +1 555 0100""#), "for when nothing answers: {shown}");
    let status = open(&pages, "/status.json").await.body;
    assert!(status.contains(r#""storage_trouble":"outbox.db: damaged""#), "{status}");
    for unknown in ["waiting", "rejected", "link", "offline_since"] {
        assert!(!status.contains(unknown), "that is not known: {status}");
    }
}

#[tokio::test]
async fn a_device_that_is_approved_says_for_which_facility_and_the_digits_on_its_page_alone() {
    let State::Enrolling(shown) = enrolling() else { panic!("it is not enrolled") };
    let step = EnrollmentView::Confirm { facility_name: "Riverside".to_owned(), number: "47".to_owned() };
    let pages = router(device(State::Enrolling(Enrolling { step, ..shown })), config());
    assert!(open(&pages, "/").await.body.contains(">47<"));
    let status = open(&pages, "/status.json").await.body;
    assert!(
        status.contains(r#""state":"PENDING""#) && status.contains(r#""approved_for":"Riverside""#),
        "{status}"
    );
    assert!(!status.contains(r#""47""#), "{status}");
}

#[tokio::test]
async fn nobodys_pages_are_shown_while_nobody_is_signed_in() {
    for state in
        [enrolling(), State::Unopened { why: String::new(), phone: None }, State::Revoked { trouble: None }]
    {
        let pages = router(device(state), config());
        for uri in [format!("/residents/{}", resident(4, "", "").id), chart()] {
            let answer = open(&pages, &uri).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"), "{uri}");
            assert!(answer.body.is_empty());
        }
        let answer = post(&pages, &chart(), "_screen=open-0011&_token=t1&pulse=72").await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"));
        let answer = post(&pages, &format!("{}/draft", chart()), "_screen=open-0011&pulse=72").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.body.starts_with("Not kept: sign in"), "{}", answer.body);
    }
}

#[tokio::test]
async fn what_people_press_leads_back_to_the_start_and_tells_no_pin() {
    let pages = router(device(State::Revoked { trouble: None }), config());
    let presses = [("/pin", "attempt=2&pin=482913"), ("/pin/cancel", ""), ("/lock", ""), ("/lock/undo", "")];
    for (uri, form) in presses {
        let answer = post(&pages, uri, form).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/"), "{uri}");
        assert!(!answer.body.contains("482913"));
    }
    assert_eq!(post(&pages, "/touch", "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let pages = router(device(State::Revoked { trouble: None }), config());
    for (uri, words) in [("/residents/x", "no such resident"), ("/nowhere", "no such page")] {
        let answer = open(&pages, uri).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body.contains(words), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_open_page_hears_of_every_change() {
    let device = device(enrolling());
    let pages = router(Arc::clone(&device), config());
    let mut stream = listen(&pages).await.into_body();
    let first = next(&mut stream).await;
    assert!(first.contains(r#"{"screen":"enrolling","bump":0}"#), "{first}");
    device.enter(State::Revoked { trouble: None });
    let second = next(&mut stream).await;
    assert!(second.contains(r#"{"screen":"revoked","bump":1}"#), "{second}");
}

#[tokio::test]
async fn streams_are_few() {
    let pages = router(device(State::Revoked { trouble: None }), config());
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(listen(&pages).await);
    }
    assert!(held.iter().all(|response| response.status() == StatusCode::OK));
    assert_eq!(listen(&pages).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    held.pop();
    assert_eq!(listen(&pages).await.status(), StatusCode::OK);
}

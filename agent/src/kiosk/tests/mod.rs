//! The kiosk seen from a browser's side: requests in, pages out.

mod guard;
mod pages;
mod render;
mod serve;
mod workspace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use carepost_agent_core::session::Asked;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, RecordId, SessionId, WorkflowId};
use carepost_protocol::record::PatientDocument;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::ReaderState;
use carepost_protocol::workflow::Workflow;
use carepost_protocol::zone::Zone;
use serde_json::json;
use tower::ServiceExt;

use super::{Doorway, KioskConfig, Owner};
use crate::workspace::times::{TimeHere, Whose};
use crate::workspace::view::{
    Answered, Begun, Charted, Entry, Form, FormPage, Link, Locked, Mark, Open, Part, PinPad, Resident,
    ResidentPage, Residents, Screen, Shown, StatusLine, Twins,
};

const HOST: &str = "127.0.0.1:3002";
const COOKIE: &str = "carepost_3002=0707070707070707070707070707070707070707070707070707070707070707";

/// The browser's user.
const BROWSER: u32 = 1_000;
const START: &str = "5a5a";

fn config() -> KioskConfig {
    config_with(false)
}

/// With or without the start page's token demanded of the browser's own user.
fn config_with(demanded: bool) -> KioskConfig {
    config_at(SocketAddr::from(([127, 0, 0, 1], 3002)), demanded)
}

fn config_at(bound: SocketAddr, demanded: bool) -> KioskConfig {
    let page = "/run/carepost-kiosk/start.html".into();
    let doorway = Doorway { user: BROWSER, token: START.into(), page, demanded };
    KioskConfig::new(bound, Some("07".repeat(32).into()), doorway)
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends one request with exactly these headers, from a process of the browser's user.
async fn send(pages: &Router, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    send_as(Owner::User(BROWSER), pages, method, uri, headers, body).await
}

/// The same from somebody's process.
async fn send_as(
    owner: Owner,
    pages: &Router,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).extension(owner);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = pages.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Opens a page as the kiosk's own browser does.
async fn open(pages: &Router, uri: &str) -> Answer {
    send(pages, "GET", uri, &[("host", HOST), ("cookie", COOKIE), ("sec-fetch-site", "same-origin")], "")
        .await
}

/// Sends a form as the kiosk's own browser does.
async fn post(pages: &Router, uri: &str, form: &str) -> Answer {
    let headers = [
        ("host", HOST),
        ("cookie", COOKIE),
        ("origin", "http://127.0.0.1:3002"),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    send(pages, "POST", uri, &headers, form).await
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn calm() -> StatusLine {
    let time = TimeHere { zone: chicago(), whose: Whose::Facility };
    StatusLine::calm(Link::Online, crate::workspace::view::SyncView::default(), ReaderState::Ready, time)
}

fn chicago() -> Zone {
    Zone::named("America/Chicago").unwrap()
}

fn open_screen(name: &str) -> Screen {
    Screen::Open(Open {
        session: SessionId::new(
            Timestamp::EPOCH,
            name.bytes().cycle().take(10).collect::<Vec<_>>().try_into().unwrap(),
        ),
        display_name: name.to_owned(),
        role: "Registered nurse",
        locks_in: None,
        notice: None,
    })
}

fn locked(notice: Option<&str>, undo: Option<&str>) -> Screen {
    Screen::Locked(Locked {
        facility_name: "Golden Years ALF - Riverside".to_owned(),
        organization_name: "Golden Years".to_owned(),
        phone: Some("(555) 010-0142".to_owned()),
        notice: notice.map(str::to_owned),
        undo: undo.map(str::to_owned),
    })
}

fn pin_pad(attempt: u64, notice: Option<&str>) -> Screen {
    let notice = notice.map(str::to_owned);
    let (display_name, asked) = ("Mary Underwood".to_owned(), Asked::Pin);
    Screen::PinPad(PinPad { display_name, asked, attempt, notice, checking: false })
}

fn resident(n: u8, name: &str, room: &str) -> PatientDocument {
    PatientDocument {
        id: PatientId::new(at("2026-05-01T14:10:00Z"), [n; 10]),
        mrn: format!("GY-{n:04}"),
        name: name.to_owned(),
        date_of_birth: Some(format!("19{:02}-03-0{}", 30 + n % 20, 1 + n % 9)),
        room: Some(room.to_owned()),
        ..PatientDocument::new(PatientId::from_bytes([0; 16]))
    }
}

fn residents() -> Residents {
    let names = ["Ada Lindqvist", "John Smith", "Maria Ortega", "Mary Smith", "Walter Brandt"];
    let list = names.iter().zip(1..).map(|(name, n)| resident(n, name, &format!("{}", 100 + u32::from(n))));
    let list = list.map(|document| Resident { document, mark: None });
    Residents {
        residents: list.collect(),
        discharged: Vec::new(),
        contested: BTreeMap::new(),
        more: false,
        may_admit: true,
        complete: true,
        begun: Begun::default(),
    }
}

/// A workflow with a field of every type.
fn every_type() -> Workflow {
    let fields = json!([
        {"key": "taken_at", "label": "Taken at", "type": "datetime", "required": true, "display_order": 1},
        {"key": "pulse", "label": "Pulse", "type": "integer", "required": true, "unit": "bpm", "min": 20, "max": 250, "display_order": 2},
        {"key": "temperature", "label": "Temperature", "type": "number", "unit": "°F", "min": 85, "max": 110, "display_order": 3},
        {"key": "position", "label": "Position", "type": "select", "options": ["Sitting", "Standing", "Lying"], "required": true, "display_order": 4},
        {"key": "arm", "label": "Site", "type": "select", "options": ["A", "B", "C", "D", "E", "F"], "display_order": 5},
        {"key": "oxygen", "label": "On oxygen", "type": "boolean", "display_order": 6},
        {"key": "seen_on", "label": "Seen on", "type": "date", "display_order": 7},
        {"key": "taken_by_device", "label": "Device", "type": "string", "display_order": 8},
        {"key": "notes", "label": "Notes", "type": "string", "display_order": 9},
        {"key": "change", "label": "Change in weight", "type": "number", "min": -50, "max": 50, "display_order": 10}
    ]);
    Workflow {
        id: WorkflowId::new(at("2026-05-01T14:10:00Z"), [3; 10]),
        key: "vitals".to_owned(),
        label: "Vital signs".to_owned(),
        version: 1,
        enabled: true,
        fields: serde_json::from_value(fields).unwrap(),
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

fn form_page(answers: &[(&str, &str)]) -> FormPage {
    FormPage {
        strikes: None,
        puts_back: None,
        is_superseded: false,
        has_form: true,
        form: Form::Chart(resident(4, "", "").id, "vitals".to_owned()),
        resident: Some(resident(4, "Mary Smith", "104")),
        twins: Twins::default(),
        workflow: every_type(),
        answers: answers.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
        showed: Vec::new(),
        from_draft: false,
        is_unwritten: false,
        hides_typed: false,
        token: "0190a5e2".to_owned(),
        rejection: None,
        faults: Vec::new(),
        author: None,
        discharged: None,
        since: None,
        zone: chicago(),
        now: Timestamp::EPOCH,
        sent: PhiMode::Full,
    }
}

/// An answer that nobody has to see at once.
fn plain(label: &str, words: &str) -> crate::workspace::AnsweredField {
    crate::workspace::AnsweredField {
        label: label.to_owned(),
        words: words.to_owned(),
        is_critical: false,
        is_confirmed: false,
    }
}

fn resident_page() -> ResidentPage {
    let version = |mark, recorded_at: &str, author: &str| Entry {
        record: RecordId::new(at(recorded_at), [1; 10]),
        patient: resident(4, "", "").id,
        is_correction: false,
        charted: None,
        reason: None,
        is_struck: false,
        may_correct: true,
        has_form: true,
        workflow: "Vital signs".to_owned(),
        author: author.to_owned(),
        recorded_at: at(recorded_at),
        answered: Answered::With(
            [("Pulse", "72 bpm"), ("Temperature", "98.6 °F"), ("Position", "Sitting")]
                .map(|(label, value)| plain(label, value))
                .to_vec(),
        ),
        mark,
        became: None,
    };
    let entry = |mark, recorded_at: &str, author: &str| Charted {
        counts: vec![version(mark, recorded_at, author)],
        earlier: Vec::new(),
        left_out: 0,
        is_cut: false,
        beside: None,
    };
    ResidentPage {
        resident: Resident { document: resident(4, "Mary Smith", "104"), mark: None },
        twins: Twins::default(),
        also: Vec::new(),
        contested: Vec::new(),
        may_edit: true,
        workflows: vec![Arc::new(every_type())],
        entries: vec![
            entry(Mark::SavedHere, "2026-05-01T14:31:00Z", "Mary Underwood"),
            entry(
                Mark::Rejected("the form has changed since".to_owned()),
                "2026-05-01T10:05:00Z",
                "Sam Okafor",
            ),
            entry(Mark::Sent, "2026-04-30T22:40:00Z", "Sam Okafor"),
        ],
        complete: true,
        more_entries: None,
        more_versions: Shown::of(None, None, None).more_versions(),
        older_before: Some(at("2026-01-31T00:00:00Z")),
        readmission: None,
        begun: Begun::default(),
    }
}

fn offline() -> StatusLine {
    StatusLine {
        link: Link::Offline { since: at("2026-05-01T14:10:00Z") },
        waiting: 12,
        oldest_waiting: Some(Duration::from_secs(240)),
        ..calm()
    }
}

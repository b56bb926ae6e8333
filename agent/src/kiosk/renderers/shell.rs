//! The shell: what every page has around it, the pages of a screen on which nobody is signed in, and refusals.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use carepost_agent_core::enrollment::EnrollmentView;
use carepost_agent_core::session::Asked;
use carepost_protocol::day;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::PatientId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::{WallClock, Zone};

use super::words::{self, Moment, Sentence, Weight};
use crate::workspace::view::{
    Enrolling, Locked, NotSaved, Open, PinPad, Refused, Screen, SessionKey, StatusLine,
};

/// The device stopped in the middle of an answer; what it had made durable stands.
pub(crate) struct Fault;

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let words = "This device had a fault, so what you asked for may not be done. Look at the resident's \
                     entries before you try again. If this stays, use another device and call IT.";
        refusal(StatusCode::INTERNAL_SERVER_ERROR, words)
    }
}

/// Names a screen, so that a page notices when it has become another's. Says nothing about who it is.
pub(crate) fn screen_key(screen: &Screen) -> String {
    match screen {
        Screen::Enrolling(_) => "enrolling".to_owned(),
        Screen::Unopened => "unopened".to_owned(),
        Screen::Revoked => "revoked".to_owned(),
        Screen::Locked(_) => "locked".to_owned(),
        Screen::PinPad(pad) => format!("pin-{}", pad.attempt),
        Screen::Open(open) => SessionKey::of(open.session).as_str().to_owned(),
    }
}

/// What every page has around it.
pub(crate) struct Shell {
    pub(crate) key: String,
    pub(crate) bump: u64,
    pub(crate) status: Vec<Sentence>,
    pub(crate) who: Option<Open>,
    /// Seconds until the screen locks, while it warns.
    pub(crate) locks_in: Option<u64>,
    /// Whether the page's own part may be replaced while somebody looks at it.
    pub(crate) live: bool,
    /// How often a page without a script asks again, in seconds.
    pub(crate) refresh: Option<u32>,
    /// In which zone its times are.
    pub(crate) zone: Zone,
    /// Whom to call, also once nothing answers any more.
    pub(crate) call: String,
    /// How much of a resident is sent here.
    sent: PhiMode,
}

impl Shell {
    /// The shell of a screen that changes by itself.
    pub(crate) fn new(bump: u64, screen: &Screen, status: &StatusLine) -> Self {
        let zone = status.time.zone.clone();
        let (sentences, who) = match screen {
            // Where there is no facility, or none can be read, nothing is charted and nothing sent.
            Screen::Enrolling(_) => (Vec::new(), None),
            Screen::Unopened | Screen::Revoked => (words::storage(status), None),
            Screen::Locked(_) | Screen::PinPad(_) => {
                let mut sentences = words::status(status);
                sentences.iter_mut().for_each(|sentence| sentence.link = None);
                (sentences, None)
            }
            Screen::Open(open) => (words::status(status), Some(open.clone())),
        };
        let locks_in = who.as_ref().and_then(|open| open.locks_in).map(|left| left.as_secs());
        let refresh = Some(if who.is_some() { 15 } else { 5 });
        let (key, sent, call) = (screen_key(screen), status.sent, words::call(status.phone.as_deref()));
        Self { key, bump, status: sentences, who, locks_in, live: true, refresh, zone, call, sent }
    }

    /// Whether all that is known of residents is sent here; else what is not on a page is not none.
    pub(crate) fn shows_all(&self) -> bool {
        self.sent == PhiMode::Full
    }

    /// How much of a resident is sent here, as a page carries it.
    pub(crate) const fn sent_as(&self) -> &'static str {
        self.sent.name()
    }

    /// Whether anything can be edited of what is known of residents.
    pub(crate) fn shows_rooms(&self) -> bool {
        self.sent.shows("room")
    }

    /// What residents are found by.
    pub(crate) const fn found_by(&self) -> &'static str {
        match self.sent {
            PhiMode::Full => "name, room or MRN",
            PhiMode::Minimal => "initials or room",
            PhiMode::Free => "case number",
        }
    }

    /// The same, to stand alone.
    pub(crate) fn find_hint(&self) -> String {
        capital(self.found_by())
    }

    /// The shell of a page that must keep what is typed into it.
    pub(crate) fn held(self) -> Self {
        Self { live: false, refresh: None, ..self }
    }

    /// A time as this page shows it.
    pub(crate) fn time(&self, at: &Timestamp) -> Moment {
        Moment::new(*at, &self.zone)
    }

    /// The same where a minute does not tell it from another.
    pub(crate) fn to_the_second(&self, at: &Timestamp) -> String {
        let WallClock { day, time, of, .. } = self.zone.clock(*at);
        format!("{} {time} {of}", day::shown(&day))
    }
}

#[derive(Template)]
#[template(path = "enrolling.html")]
struct EnrollingPage<'a> {
    shell: Shell,
    enrolling: &'a Enrolling,
}

pub(crate) fn enrolling(shell: Shell, enrolling: &Enrolling) -> Response {
    answer(StatusCode::OK, &EnrollingPage { shell, enrolling })
}

#[derive(Template)]
#[template(path = "unopened.html")]
struct UnopenedPage {
    shell: Shell,
}

pub(crate) fn unopened(shell: Shell) -> Response {
    answer(StatusCode::OK, &UnopenedPage { shell })
}

#[derive(Template)]
#[template(path = "revoked.html")]
struct RevokedPage {
    shell: Shell,
}

pub(crate) fn revoked(shell: Shell) -> Response {
    answer(StatusCode::OK, &RevokedPage { shell })
}

#[derive(Template)]
#[template(path = "locked.html")]
struct LockedPage {
    shell: Shell,
    locked: Locked,
}

pub(crate) fn locked(shell: Shell, locked: Locked) -> Response {
    let refresh = Some(if locked.undo.is_some() { 2 } else { 5 });
    answer(StatusCode::OK, &LockedPage { shell: Shell { refresh, ..shell }, locked })
}

#[derive(Template)]
#[template(path = "pin.html")]
struct PinPage {
    shell: Shell,
    pad: PinPad,
}

pub(crate) fn pin_pad(shell: Shell, pad: PinPad) -> Response {
    // While a PIN is checked the page asks again; while one is typed nothing may disturb it.
    let shell = if pad.checking { Shell { refresh: Some(1), ..shell } } else { shell.held() };
    answer(StatusCode::OK, &PinPage { shell, pad })
}

#[derive(Template)]
#[template(path = "bare.html")]
struct BarePage {
    shell: Shell,
}

/// The shell alone, for pages that keep what is typed into them.
pub(crate) fn bare(shell: Shell) -> Response {
    answer(StatusCode::OK, &BarePage { shell: shell.held() })
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage<'a> {
    words: &'a str,
    /// Whose page tells more.
    resident: Option<PatientId>,
}

/// A refusal that shows nothing of what the kiosk knows.
pub(crate) fn refusal(status: StatusCode, words: &str) -> Response {
    answer(status, &RefusalPage { words, resident: None })
}

/// A refusal that a resident's page explains.
pub(crate) fn refusal_about(why: &Refused, resident: PatientId) -> Response {
    answer(status_of(why), &RefusalPage { words: &sentence(why), resident: Some(resident) })
}

pub(crate) const fn status_of(why: &Refused) -> StatusCode {
    match why {
        Refused::Locked => StatusCode::UNAUTHORIZED,
        Refused::NotAllowed | Refused::NotYours | Refused::NotTheirs => StatusCode::FORBIDDEN,
        Refused::NoSuchResident
        | Refused::NoSuchWorkflow
        | Refused::NoSuchRecord
        | Refused::NotRejected
        | Refused::NoSuchReview => StatusCode::NOT_FOUND,
        Refused::NotSent
        | Refused::NotShown
        | Refused::NoSuchVersion
        | Refused::BegunInAnother
        | Refused::Struck
        | Refused::InCare(_)
        | Refused::NotInCare(_) => StatusCode::CONFLICT,
        Refused::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::Storage(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}

pub(crate) const fn status_of_save(why: &NotSaved) -> StatusCode {
    match why {
        NotSaved::Refused(why) => status_of(why),
        NotSaved::Answers(_) | NotSaved::Doubts(_) | NotSaved::Alike(_) | NotSaved::NotTaken(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        NotSaved::CorrectedSince => StatusCode::CONFLICT,
        NotSaved::Storage(_) | NotSaved::Uncertain(_) => StatusCode::INSUFFICIENT_STORAGE,
    }
}

pub(crate) fn sentence(why: &Refused) -> String {
    format!("{}.", capital(&why.to_string()).trim_end_matches('.'))
}

/// The same words, to begin a sentence with.
pub(crate) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}

pub(crate) fn answer(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "This page is broken. Use another device and call IT.")
                .into_response()
        }
    }
}

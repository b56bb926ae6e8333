//! The pages people look at.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use carepost_protocol::id::PatientId;
use serde::Deserialize;

use super::Kiosk;
use super::form::{FormView, Returned};
use super::page::{self, Fault, Shell};
use crate::desk::view::{Open, Refused, Screen, SessionKey};

/// What the start page is asked for.
#[derive(Deserialize)]
pub(super) struct StartQuery {
    letter: Option<String>,
}

/// Whatever the kiosk shows now.
pub(super) async fn start(
    State(kiosk): State<Kiosk>,
    Query(query): Query<StartQuery>,
) -> Result<Response, Fault> {
    let (shell, screen) = shell(&kiosk).await?;
    Ok(match screen {
        Screen::Enrolling(enrolling) => page::enrolling(shell, &enrolling),
        Screen::Revoked => page::revoked(shell),
        Screen::Locked(locked) => page::locked(shell, locked),
        Screen::PinPad(pad) => page::pin_pad(shell, pad),
        Screen::Open(open) => match kiosk.ask(move |desk| desk.residents(&key_of(&open))).await? {
            Ok(residents) => {
                page::residents(shell, residents, query.letter.and_then(|text| text.chars().next()))
            }
            Err(refused @ (Refused::NotAllowed | Refused::Storage(_))) => page::open_refusal(shell, &refused),
            Err(why) => refused(&why),
        },
    })
}

/// The parts that every page shares, for a page whose own part must not be replaced.
pub(super) async fn status(State(kiosk): State<Kiosk>) -> Result<Response, Fault> {
    Ok(page::bare(shell(&kiosk).await?.0))
}

/// What the resident's page is asked for.
#[derive(Deserialize)]
pub(super) struct ResidentQuery {
    saved: Option<String>,
}

pub(super) async fn resident(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    Query(query): Query<ResidentQuery>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.resident(&on, id)).await? {
        Ok(resident) => page::resident(shell, resident, query.saved.is_some()),
        Err(why) => refused(&why),
    })
}

pub(super) async fn form(
    State(kiosk): State<Kiosk>,
    Path((id, workflow)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.form(&on, id, &workflow)).await? {
        Ok(form) => page::form(StatusCode::OK, shell, FormView::fresh(&form)),
        Err(why) => refused(&why),
    })
}

/// A form as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The session whose page it was sent from.
    pub(super) on: SessionKey,
    pub(super) token: String,
    pub(super) resident: PatientId,
    pub(super) workflow: String,
    pub(super) answers: Vec<(String, String)>,
}

/// The form as it was sent, with what stood in the way of saving it. It keeps its token: an entry that
/// was saved after all is not saved again.
pub(super) async fn form_again(
    kiosk: &Kiosk,
    sent: Sent,
    status: StatusCode,
    returned: Returned,
) -> Result<Response, Fault> {
    let shell = open_shell(kiosk).await?.filter(|(_, on)| *on == sent.on);
    let Some((shell, _)) = shell else { return to_draft(kiosk, sent).await };
    let asked = sent.clone();
    let form = kiosk.ask(move |desk| desk.form(&asked.on, asked.resident, &asked.workflow)).await?;
    Ok(match form {
        Ok(mut form) => {
            form.answers = sent.answers;
            if !sent.token.is_empty() {
                form.token = sent.token;
            }
            page::form(status, shell, FormView::again(&form, returned))
        }
        Err(Refused::Locked) => return to_draft(kiosk, sent).await,
        // Not even the form can be read: what was typed stays on the screen as plain words.
        Err(why) => {
            let words = returned.words().unwrap_or_else(|| page::sentence(&why));
            page::rescue(status, shell, &sent.answers, &words)
        }
    })
}

/// The screen is no longer that of the session that sent the form: what was typed waits for whoever
/// typed it, and nobody else sees it.
async fn to_draft(kiosk: &Kiosk, sent: Sent) -> Result<Response, Fault> {
    let Sent { on, resident, workflow, answers, .. } = sent;
    let kept = kiosk.ask(move |desk| desk.keep_draft(&on, resident, &workflow, &answers)).await?;
    if let Err(why) = kept {
        tracing::warn!(%why, "answers of a session that has left the screen are not kept");
    }
    Ok(to_start())
}

pub(super) async fn nowhere() -> Response {
    page::refusal(StatusCode::NOT_FOUND, "There is no such page here.")
}

/// A refusal as a page; a locked screen goes back to the start.
pub(super) fn refused(why: &Refused) -> Response {
    match why {
        Refused::Locked => to_start(),
        Refused::NotAllowed
        | Refused::NoSuchResident
        | Refused::NoSuchWorkflow
        | Refused::TooLong
        | Refused::Storage(_) => page::refusal(page::status_of(why), &page::sentence(why)),
    }
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_bytes!("assets/kiosk.css").as_slice())
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_bytes!("assets/kiosk.js").as_slice())
}

pub(super) async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_bytes!("assets/icon.svg").as_slice())
}

/// Sends a page that has become another screen's back to the start.
fn to_start() -> Response {
    Redirect::to("/").into_response()
}

/// The bump is read before the screen, so that a change in between is seen as one.
async fn shell(kiosk: &Kiosk) -> Result<(Shell, Screen), Fault> {
    kiosk
        .ask(|desk| {
            let bump = *desk.changes().borrow();
            let screen = desk.screen();
            (Shell::new(bump, &screen, &desk.status()), screen)
        })
        .await
}

/// The shell of an open session, with the key of the session that the page is made for.
async fn open_shell(kiosk: &Kiosk) -> Result<Option<(Shell, SessionKey)>, Fault> {
    Ok(match shell(kiosk).await? {
        (shell, Screen::Open(open)) => Some((shell, key_of(&open))),
        (_, Screen::Enrolling(_) | Screen::Revoked | Screen::Locked(_) | Screen::PinPad(_)) => None,
    })
}

fn key_of(open: &Open) -> SessionKey {
    SessionKey::of(open.session)
}

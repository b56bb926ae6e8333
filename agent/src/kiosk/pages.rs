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
use crate::desk::view::{Open, Refused, Screen};

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
    let (shell, screen) = shell(&kiosk);
    Ok(match screen {
        Screen::Enrolling(enrolling) => page::enrolling(shell, &enrolling),
        Screen::Revoked => page::revoked(shell),
        Screen::Locked(locked) => page::locked(shell, locked),
        Screen::PinPad(pad) => page::pin_pad(shell, pad),
        Screen::Open(_) => match kiosk.ask(crate::desk::Desk::residents).await? {
            Ok(residents) => {
                page::residents(shell, residents, query.letter.and_then(|text| text.chars().next()))
            }
            Err(refused @ (Refused::NotAllowed | Refused::Storage(_))) => page::open_refusal(shell, &refused),
            Err(refused) => page::refusal(page::status_of(&refused), &page::sentence(&refused)),
        },
    })
}

/// The parts that every page shares, for a page whose own part must not be replaced.
pub(super) async fn status(State(kiosk): State<Kiosk>) -> Response {
    page::bare(shell(&kiosk).0)
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
    let Some((shell, _)) = open_shell(&kiosk) else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.resident(id)).await? {
        Ok(resident) => page::resident(shell, resident, query.saved.is_some()),
        Err(why) => refused(&why),
    })
}

pub(super) async fn form(
    State(kiosk): State<Kiosk>,
    Path((id, workflow)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, _)) = open_shell(&kiosk) else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.form(id, &workflow)).await? {
        Ok(form) => page::form(StatusCode::OK, shell, FormView::fresh(&form)),
        Err(why) => refused(&why),
    })
}

/// The form as it was sent, with what stood in the way of saving it.
pub(super) async fn form_again(
    kiosk: &Kiosk,
    id: PatientId,
    workflow: String,
    answers: Vec<(String, String)>,
    status: StatusCode,
    returned: Returned,
) -> Result<Response, Fault> {
    let Some((shell, _)) = open_shell(kiosk) else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.form(id, &workflow)).await? {
        Ok(mut form) => {
            form.answers = answers;
            page::form(status, shell, FormView::again(&form, returned))
        }
        // Not even the form can be read: what was typed stays on the screen as plain words.
        Err(why) => {
            page::rescue(status, shell, &answers, &returned.words().unwrap_or_else(|| page::sentence(&why)))
        }
    })
}

pub(super) async fn nowhere() -> Response {
    page::refusal(StatusCode::NOT_FOUND, "There is no such page here.")
}

/// A refusal as a page; a locked screen goes back to the start.
pub(super) fn refused(why: &Refused) -> Response {
    match why {
        Refused::Locked => to_start(),
        Refused::NotAllowed | Refused::NoSuchResident | Refused::NoSuchWorkflow | Refused::Storage(_) => {
            page::refusal(page::status_of(why), &page::sentence(why))
        }
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
fn shell(kiosk: &Kiosk) -> (Shell, Screen) {
    let bump = *kiosk.desk.changes().borrow();
    let screen = kiosk.desk.screen();
    (Shell::new(bump, &screen, &kiosk.desk.status()), screen)
}

fn open_shell(kiosk: &Kiosk) -> Option<(Shell, Open)> {
    match shell(kiosk) {
        (shell, Screen::Open(open)) => Some((shell, open)),
        (_, Screen::Enrolling(_) | Screen::Revoked | Screen::Locked(_) | Screen::PinPad(_)) => None,
    }
}

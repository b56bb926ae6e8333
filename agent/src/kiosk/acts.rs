//! What people do on the pages. Each form carries the key of the screen it was shown on, so that
//! nothing is done under a name that is no longer the one on the screen.

use axum::Form as FormData;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use carepost_protocol::id::PatientId;
use carepost_protocol::pin;
use secrecy::SecretString;

use super::page::{self, Fault};
use super::pages::{self, Sent, Which};
use super::residents::Saved;
use super::{Kiosk, form, looks};
use crate::desk::view::{Form, Kept, NotSaved, Refused, Screen, SessionKey};

/// The answers of a form in the order they were sent.
type Answers = Vec<(String, String)>;

/// The form's own fields start so; a workflow's keys start with a letter.
const SCREEN: &str = "_screen";
const TOKEN: &str = "_token";

pub(super) async fn save(
    State(kiosk): State<Kiosk>,
    Which(form): Which,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let (shown_on, token) = (take(&mut sent, SCREEN), take(&mut sent, TOKEN));
    let sent = Sent { on: SessionKey::sent(shown_on), token, form, answers: sent };
    let asked = sent.clone();
    let saved =
        kiosk.ask(move |desk| desk.save(&asked.on, &asked.form, &asked.token, &asked.answers)).await?;
    let (status, not_saved) = match saved {
        Ok(Kept { about, is_critical }) => {
            let saved = match (is_critical, &sent.form) {
                (true, _) => Saved::Critical,
                (false, Form::Discharge(_)) => Saved::Discharged,
                (false, _) => Saved::Entry,
            };
            return Ok(pages::to_resident(about, "saved", &saved));
        }
        Err(NotSaved::Refused(Refused::Locked)) => return Ok(pages::to_start()),
        Err(NotSaved::Refused(why)) => {
            (page::status_of(&why), form::Returned::NotKept(page::capital(&why.to_string())))
        }
        Err(NotSaved::Answers(faults)) => (StatusCode::UNPROCESSABLE_ENTITY, form::Returned::Faults(faults)),
        Err(NotSaved::Doubts(doubts)) => (StatusCode::UNPROCESSABLE_ENTITY, form::Returned::Doubts(doubts)),
        Err(NotSaved::Alike(known)) => (StatusCode::UNPROCESSABLE_ENTITY, form::Returned::Alike(known)),
        Err(NotSaved::CorrectedSince) => (StatusCode::CONFLICT, form::Returned::CorrectedSince),
        Err(NotSaved::NotTaken(why)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, form::Returned::NotKept(page::capital(&why)))
        }
        Err(error @ NotSaved::Storage(_)) => {
            (StatusCode::INSUFFICIENT_STORAGE, form::Returned::NotKept(page::capital(&error.to_string())))
        }
        Err(error @ NotSaved::Uncertain(_)) => {
            (StatusCode::INSUFFICIENT_STORAGE, form::Returned::Uncertain(error.to_string()))
        }
    };
    pages::form_again(&kiosk, sent, status, not_saved).await
}

pub(super) async fn keep_draft(
    State(kiosk): State<Kiosk>,
    Which(form): Which,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let on = SessionKey::sent(take(&mut sent, SCREEN));
    take(&mut sent, TOKEN);
    let (kept, screen) = kiosk.ask(move |desk| (desk.keep_draft(&on, &form, &sent), desk.screen())).await?;
    Ok(match kept {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => StatusCode::RESET_CONTENT.into_response(),
        Err(Refused::Locked) if matches!(screen, Screen::Open(_)) => {
            (StatusCode::CONFLICT, "Not kept: somebody else is signed in.").into_response()
        }
        Err(refused) => (page::status_of(&refused), format!("Not kept: {refused}.")).into_response(),
    })
}

/// Whoever was to be admitted is known.
pub(super) async fn is_known(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse::<PatientId>() else { return Ok(pages::refused(&Refused::NoSuchResident)) };
    let on = SessionKey::sent(take(&mut sent, SCREEN));
    Ok(match kiosk.ask(move |desk| desk.is_known_as(&on, id, &sent)).await? {
        Ok(news) => pages::to_resident(id, "known", &news),
        Err(why) => pages::refused(&why),
    })
}

/// Drops what was typed into a form; the page that it leads to offers to undo that.
pub(super) async fn discard(
    State(kiosk): State<Kiosk>,
    Which(form): Which,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let on = SessionKey::sent(take(&mut sent, SCREEN));
    take(&mut sent, TOKEN);
    let about = form::about(&form);
    let dropped = kiosk.ask(move |desk| desk.drop_draft(&on, &form, &sent)).await?;
    Ok(match dropped {
        Ok(true) => Redirect::to(&about).into_response(),
        // The page of whom it is about may not open either.
        Ok(false) => pages::to_start(),
        Err(why) => pages::refused(&why),
    })
}

/// Puts back what was dropped.
pub(super) async fn undo_discard(
    State(kiosk): State<Kiosk>,
    Which(form): Which,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let on = SessionKey::sent(take(&mut sent, SCREEN));
    let path = form::path(&form);
    let undone = kiosk.ask(move |desk| desk.undo_drop(&on, &form)).await?;
    Ok(undone.map_or_else(|why| pages::refused(&why), |()| Redirect::to(&path).into_response()))
}

/// Closes a review.
pub(super) async fn close_review(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(pages::refused(&Refused::NoSuchReview)) };
    let (on, token) = (SessionKey::sent(take(&mut sent, SCREEN)), take(&mut sent, TOKEN));
    let asked = (on.clone(), token.clone(), sent.clone());
    let closed = kiosk.ask(move |desk| desk.close_review(&asked.0, id, &asked.1, &asked.2)).await?;
    let (status, words) = match closed {
        Ok(Some(one)) => return Ok(pages::to_resident(one, "saved", &Saved::Joined)),
        Ok(None) => return Ok(Redirect::to("/reviews?saved=1").into_response()),
        Err(NotSaved::Refused(refused)) => return Ok(pages::refused(&refused)),
        Err(NotSaved::Answers(faults) | NotSaved::Doubts(faults)) => {
            let words: Vec<String> = faults.into_iter().map(|fault| page::capital(&fault.detail)).collect();
            (StatusCode::UNPROCESSABLE_ENTITY, words.join(". "))
        }
        Err(NotSaved::Alike(known)) => {
            let shell = pages::open_shell(&kiosk).await?.filter(|(_, open)| *open == on);
            let asks = |(shell, _)| looks::number(shell, id, token, sent, &known);
            return Ok(shell.map_or_else(pages::to_start, asks));
        }
        Err(error @ (NotSaved::NotTaken(_) | NotSaved::CorrectedSince)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, page::capital(&error.to_string()))
        }
        Err(error @ (NotSaved::Storage(_) | NotSaved::Uncertain(_))) => {
            (StatusCode::INSUFFICIENT_STORAGE, error.to_string())
        }
    };
    pages::reviews_again(&kiosk, status, Some(words)).await
}

/// What the PIN pad sends.
#[derive(serde::Deserialize)]
pub(super) struct Pin {
    attempt: u64,
    pin: String,
}

pub(super) async fn enter_pin(
    State(kiosk): State<Kiosk>,
    FormData(sent): FormData<Pin>,
) -> Result<Redirect, Fault> {
    let pin = SecretString::from(pin::typed(&sent.pin));
    kiosk.ask(move |desk| desk.enter_pin(sent.attempt, pin)).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn cancel_pin(State(kiosk): State<Kiosk>) -> Result<Redirect, Fault> {
    kiosk.ask(crate::desk::Desk::cancel_pin).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn lock(State(kiosk): State<Kiosk>) -> Result<Redirect, Fault> {
    kiosk.ask(crate::desk::Desk::lock).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn undo_lock(State(kiosk): State<Kiosk>) -> Result<Redirect, Fault> {
    kiosk.ask(crate::desk::Desk::undo_lock).await?;
    Ok(Redirect::to("/"))
}

/// A revoked device enrolls anew. Whoever presses that can do no harm: an administrator has to let the device
/// in, and what was charted on it is set aside.
pub(super) async fn enroll_anew(State(kiosk): State<Kiosk>) -> Result<Redirect, Fault> {
    kiosk.ask(crate::desk::Desk::enroll_anew).await?;
    Ok(Redirect::to("/"))
}

pub(super) async fn touch(State(kiosk): State<Kiosk>) -> Result<StatusCode, Fault> {
    kiosk.ask(crate::desk::Desk::touched).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes one of the form's own fields out of what was sent; empty when it is missing.
fn take(sent: &mut Answers, name: &str) -> String {
    let at = sent.iter().position(|(key, _)| key == name);
    at.map(|at| sent.remove(at).1).unwrap_or_default()
}

//! Handlers: a request becomes a question to the workspace, and what that says is rendered.
//!
//! Each form and page carries the key of the screen on which it was shown, so that nothing is done under a name that is
//! no longer the one on the screen.

pub(super) mod actions;
pub(super) mod events;
pub(super) mod older;
pub(super) mod pages;
pub(super) mod status;

use axum::Form as FormData;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use carepost_protocol::id::{PatientId, RecordId};
use serde::Serialize;
use serde_json::json;

use super::Kiosk;
use super::renderers::form::{self, FormView, Retry};
use super::renderers::shell::{self as page, Fault, Shell};
use crate::workspace::view::{Answers, Draft, Form, NotOpened, NotSaved, Open, Refused, Screen, SessionKey};

/// The form that a path names.
pub(super) struct FormOf(pub(super) Form);

impl<S: Send + Sync> FromRequestParts<S> for FormOf {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = parts.uri.path().to_owned();
        let named =
            RawPathParams::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let value = |name: &str| named.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let patient = || value("id").and_then(|id| id.parse().ok()).ok_or(Refused::NoSuchResident);
        let about = |record: &str| -> Result<(PatientId, RecordId), Refused> {
            Ok((patient()?, record.parse().map_err(|_| Refused::NoSuchRecord)?))
        };
        let form = match (value("workflow"), value("record"), value("n")) {
            (Some(workflow), _, _) => patient().map(|id| Form::Chart(id, workflow.to_owned())),
            (None, Some(record), _) if path.contains("/strike/") => {
                about(record).map(|(id, record)| Form::Strike(id, record))
            }
            (None, Some(record), _) => about(record).map(|(id, record)| Form::Correct(id, record)),
            (None, None, Some(n)) => n.parse().map(Form::Resubmit).map_err(|_| Refused::NotRejected),
            (None, None, None) if path.starts_with("/admit") => Ok(Form::Admit),
            (None, None, None) if path.contains("/discharge") => patient().map(Form::Discharge),
            (None, None, None) if path.contains("/readmit") => patient().map(Form::Readmit),
            (None, None, None) => patient().map(Form::Edit),
        };
        form.map(Self).map_err(|why| refused(&why))
    }
}

/// The form's own fields start so; a workflow's keys start with a letter.
const SCREEN: &str = "_screen";
const TOKEN: &str = "_token";

/// A form as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The session whose page it was sent from.
    pub(super) on: SessionKey,
    pub(super) token: String,
    pub(super) form: Form,
    pub(super) answers: Answers,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let FormOf(form) = FormOf::from_request_parts(&mut parts, state).await?;
        let sent = FormData::<Answers>::from_request(Request::from_parts(parts, body), state).await;
        let FormData(mut answers) = sent.map_err(IntoResponse::into_response)?;
        let (on, token) = (SessionKey::sent(take(&mut answers, SCREEN)), take(&mut answers, TOKEN));
        Ok(Self { on, token, form, answers })
    }
}

/// Takes one of the form's own fields out of what was sent; empty when it is missing.
fn take(sent: &mut Answers, name: &str) -> String {
    let at = sent.iter().position(|(key, _)| key == name);
    at.map(|at| sent.remove(at).1).unwrap_or_default()
}

/// The form as it was sent, with what stood in the way of saving it. It keeps its token: an entry that
/// was saved after all is not saved again.
pub(super) async fn return_form(kiosk: &Kiosk, sent: Sent, not_saved: &NotSaved) -> Result<Response, Fault> {
    let status = page::status_of_save(not_saved);
    let shell = open_shell(kiosk).await?.filter(|(_, on)| *on == sent.on);
    let Some((shell, _)) = shell else { return to_draft(kiosk, sent, not_saved).await };
    let asked = sent.clone();
    let form =
        kiosk.work(move |workspace| workspace.forms().open(&asked.on, &asked.form, &asked.answers)).await?;
    Ok(match form {
        Ok(mut form) => {
            if !sent.token.is_empty() {
                form.token = sent.token;
            }
            form::form(status, shell, FormView::returned(form, not_saved))
        }
        Err(NotOpened { why: Refused::Locked, .. }) => return to_draft(kiosk, sent, not_saved).await,
        // Not even the form can be read: what was typed stays on the screen as plain words.
        Err(NotOpened { why, typed, is_kept }) => {
            let words = match not_saved {
                NotSaved::Answers(_)
                | NotSaved::Doubts(_)
                | NotSaved::Alike(_)
                | NotSaved::CorrectedSince => None,
                NotSaved::Uncertain(_) => {
                    let Sent { token, form, answers, .. } = sent;
                    let retry = Retry { path: form.path(), token, answers };
                    return Ok(form::uncertain(shell, not_saved, &typed, retry));
                }
                NotSaved::Refused(_) | NotSaved::NotTaken(_) | NotSaved::Storage(_) => {
                    Some(page::capital(&not_saved.to_string()))
                }
            };
            match words {
                None if typed.is_empty() => refused(&why),
                Some(words) if typed.is_empty() => {
                    page::refusal(status, &format!("{}.", words.trim_end_matches('.')))
                }
                words => {
                    let words = words.unwrap_or_else(|| page::capital(&why.to_string()));
                    form::rescue(status, shell, &typed, &words, is_kept.then_some(&sent.form))
                }
            }
        }
    })
}

/// The screen is no longer that of the session that sent the form: what was typed waits for whoever
/// typed it, and nobody else sees it.
async fn to_draft(kiosk: &Kiosk, sent: Sent, not_saved: &NotSaved) -> Result<Response, Fault> {
    let Sent { on, token, form, answers } = sent;
    let sent_as = matches!(not_saved, NotSaved::Uncertain(_)).then_some(token);
    let kept =
        kiosk.work(move |workspace| workspace.forms().keep_draft(&on, &form, &answers, sent_as)).await?;
    Ok(match told(kept) {
        Ok(_) => to_start(),
        Err((status, words)) => {
            tracing::warn!(%words, "answers of a session that has left the screen are not kept");
            page::refusal(status, &words)
        }
    })
}

/// How it went with a draft: one that is not on the disk says so itself.
pub(super) fn told(kept: Result<Draft, Refused>) -> Result<StatusCode, (StatusCode, String)> {
    match kept {
        Ok(Draft::Nothing) => Ok(StatusCode::RESET_CONTENT),
        Ok(Draft::OnDisk) => Ok(StatusCode::NO_CONTENT),
        Ok(Draft::InMemory(words)) => {
            let why = NotSaved::Storage(words);
            Err((page::status_of_save(&why), format!("{}.", page::capital(&why.to_string()))))
        }
        Err(why) => Err((page::status_of(&why), format!("Not kept: {why}."))),
    }
}

/// A refusal as a page; a locked screen goes back to the start.
pub(super) fn refused(why: &Refused) -> Response {
    match why {
        Refused::Locked => to_start(),
        Refused::InCare(id) | Refused::NotInCare(id) => page::refusal_about(why, *id),
        Refused::NotAllowed
        | Refused::NoSuchResident
        | Refused::NoSuchWorkflow
        | Refused::NoSuchRecord
        | Refused::NotRejected
        | Refused::NotYours
        | Refused::NotTheirs
        | Refused::NotSent
        | Refused::NotShown
        | Refused::NoSuchVersion
        | Refused::BegunInAnother
        | Refused::Struck
        | Refused::NoSuchReview
        | Refused::TooLong
        | Refused::Storage(_) => page::refusal(page::status_of(why), &page::sentence(why)),
    }
}

/// Sends to a resident's page, which says what was done.
pub(super) fn to_resident(id: PatientId, done: &str, what: &impl Serialize) -> Response {
    let what = json!(what);
    Redirect::to(&format!("/residents/{id}?{done}={}", what.as_str().unwrap_or_default())).into_response()
}

/// Sends a page that has become another screen's back to the start.
pub(super) fn to_start() -> Response {
    Redirect::to("/").into_response()
}

/// The bump is read before the screen, so that a change in between is seen as one.
async fn shell(kiosk: &Kiosk) -> Result<(Shell, Screen), Fault> {
    kiosk
        .ask(|device| {
            let bump = *device.changes().borrow();
            let screen = device.screen();
            (Shell::new(bump, &screen, &device.status()), screen)
        })
        .await
}

/// The shell of an open session, with the key of the session that the page is made for.
pub(super) async fn open_shell(kiosk: &Kiosk) -> Result<Option<(Shell, SessionKey)>, Fault> {
    Ok(match shell(kiosk).await? {
        (shell, Screen::Open(open)) => Some((shell, key_of(&open))),
        (
            _,
            Screen::Enrolling(_) | Screen::Unopened | Screen::Revoked | Screen::Locked(_) | Screen::PinPad(_),
        ) => None,
    })
}

fn key_of(open: &Open) -> SessionKey {
    SessionKey::of(open.session)
}

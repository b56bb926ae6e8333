//! Action handlers: what people do on the pages. Each asks the workspace, and goes on to the page that follows.

use axum::Form as FormData;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, post};
use carepost_protocol::id::{PatientId, ReviewId};
use carepost_protocol::pin;
use secrecy::SecretString;

use super::super::Kiosk;
use super::super::renderers::form::{self, Retry};
use super::super::renderers::residents::Saved;
use super::super::renderers::reviews;
use super::super::renderers::shell::Fault;
use super::pages::{self, SavedQuery};
use super::{
    Answers, SCREEN, Sent, TOKEN, open_shell, refused, return_form, take, to_resident, to_start, told,
};
use crate::device::Device;
use crate::workspace::view::{Form, Kept, NotSaved, Refused, Screen, SessionKey};

pub(crate) async fn save(State(kiosk): State<Kiosk>, sent: Sent) -> Result<Response, Fault> {
    let asked = sent.clone();
    let saved = kiosk
        .work(move |workspace| workspace.forms().save(&asked.on, &asked.form, &asked.token, &asked.answers));
    let saved = saved.await?;
    kiosk.device.changed();
    match saved {
        Ok(Kept { record, about, is_critical: true }) => {
            // The page names what is critical of it.
            Ok(Redirect::to(&format!("/residents/{about}?saved=critical&entry={record}")).into_response())
        }
        Ok(Kept { about, is_critical: false, .. }) => {
            let saved = match &sent.form {
                Form::Discharge(_) => Saved::Discharged,
                Form::Strike(_, _) => Saved::Struck,
                Form::Readmit(_) => Saved::Readmitted,
                Form::Admit => Saved::Admitted,
                Form::Edit(_) => Saved::Edited,
                Form::Chart(_, _) | Form::Correct(_, _) | Form::Resubmit(_) => Saved::Entry,
            };
            Ok(to_resident(about, "saved", &saved))
        }
        Err(NotSaved::Refused(Refused::Locked)) => Ok(to_start()),
        Err(why) => return_form(&kiosk, sent, &why).await,
    }
}

pub(crate) async fn keep_draft(State(kiosk): State<Kiosk>, sent: Sent) -> Result<Response, Fault> {
    let Sent { on, form, answers, .. } = sent;
    let kept = kiosk.work(move |workspace| workspace.forms().keep_draft(&on, &form, &answers, None)).await?;
    let screen = kiosk.ask(Device::screen).await?;
    Ok(match kept {
        Err(Refused::Locked) if matches!(screen, Screen::Open(_)) => {
            (StatusCode::CONFLICT, "Not kept: somebody else is signed in.").into_response()
        }
        kept => told(kept).into_response(),
    })
}

/// Whoever was to be admitted is known.
pub(crate) async fn is_known(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse::<PatientId>() else { return Ok(refused(&Refused::NoSuchResident)) };
    let on = SessionKey::sent(take(&mut sent, SCREEN));
    Ok(match kiosk.work(move |workspace| workspace.forms().is_known_as(&on, id, &sent)).await? {
        Ok(news) => to_resident(id, "known", &news),
        Err(why) => refused(&why),
    })
}

/// Drops what was typed into a form; the page that it leads to offers to undo that.
pub(crate) async fn discard(State(kiosk): State<Kiosk>, sent: Sent) -> Result<Response, Fault> {
    let Sent { on, form, answers, .. } = sent;
    let back = form.back();
    let dropped = kiosk.work(move |workspace| workspace.forms().drop_draft(&on, &form, &answers)).await?;
    Ok(match dropped {
        Ok(true) => Redirect::to(&back).into_response(),
        // The page of whom it is about may not open either.
        Ok(false) => to_start(),
        Err(why) => refused(&why),
    })
}

/// Puts back what was dropped.
pub(crate) async fn undo_discard(State(kiosk): State<Kiosk>, sent: Sent) -> Result<Response, Fault> {
    let Sent { on, form, .. } = sent;
    let path = form.path();
    let undone = kiosk.work(move |workspace| workspace.forms().undo_drop(&on, &form)).await?;
    Ok(undone.map_or_else(|why| refused(&why), |()| Redirect::to(&path).into_response()))
}

pub(crate) async fn close_review(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    FormData(mut sent): FormData<Answers>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse::<ReviewId>() else { return Ok(refused(&Refused::NoSuchReview)) };
    let (on, token) = (SessionKey::sent(take(&mut sent, SCREEN)), take(&mut sent, TOKEN));
    let asked = (on.clone(), token.clone(), sent.clone());
    let closed =
        kiosk.work(move |workspace| workspace.forms().close_review(&asked.0, id, &asked.1, &asked.2)).await?;
    kiosk.device.changed();
    let why = match closed {
        Ok(Some(one)) => return Ok(to_resident(one, "saved", &Saved::Joined)),
        Ok(None) => return Ok(Redirect::to("/reviews?saved=1").into_response()),
        Err(NotSaved::Refused(why)) => return Ok(refused(&why)),
        Err(why) => why,
    };
    if let NotSaved::Alike(_) | NotSaved::Uncertain(_) = &why {
        let shell = open_shell(&kiosk).await?.filter(|(_, open)| *open == on);
        let Some((shell, _)) = shell else { return Ok(to_start()) };
        if let NotSaved::Alike(known) = why {
            return Ok(reviews::number(shell, id, token, sent, known));
        }
        // What was decided may be off the list, and asked about on another page than that.
        let retry = Retry { path: format!("/reviews/{id}"), token, answers: sent };
        return Ok(form::uncertain(shell, &why, &[], retry));
    }
    pages::show_reviews(&kiosk, &SavedQuery::default(), Some((why, id, sent))).await
}

/// What the PIN pad sends.
#[derive(serde::Deserialize)]
pub(crate) struct Pin {
    attempt: u64,
    pin: String,
}

pub(crate) async fn enter_pin(
    State(kiosk): State<Kiosk>,
    FormData(sent): FormData<Pin>,
) -> Result<Redirect, Fault> {
    let pin = SecretString::from(pin::typed(&sent.pin));
    kiosk.ask(move |device| device.enter_pin(sent.attempt, pin)).await?;
    Ok(Redirect::to("/"))
}

/// A button that the device answers by itself; the first page shows what became of it.
pub(crate) fn press(button: fn(&Device)) -> MethodRouter<Kiosk> {
    post(move |State(kiosk): State<Kiosk>| async move {
        kiosk.ask(button).await?;
        Ok::<_, Fault>(Redirect::to("/"))
    })
}

pub(crate) async fn touch(State(kiosk): State<Kiosk>) -> Result<StatusCode, Fault> {
    kiosk.ask(Device::touched).await?;
    Ok(StatusCode::NO_CONTENT)
}

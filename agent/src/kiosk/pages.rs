//! The pages people look at.

use axum::extract::{FromRequestParts, Path, Query, RawPathParams, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use carepost_protocol::id::{PatientId, RecordId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::form::{self, FormView, Returned};
use super::looks;
use super::page::{self, Fault, Shell};
use super::residents::{self, Saved};
use super::{Kiosk, guard};
use crate::desk::News;
use crate::desk::view::{Form, NotOpened, Open, Refused, Screen, SessionKey, Shown, Who};

/// What the start page is asked for.
#[derive(Deserialize)]
pub(super) struct StartQuery {
    letter: Option<String>,
    /// Who is looked for.
    q: Option<String>,
    /// Set where those are asked for who were discharged.
    discharged: Option<String>,
}

impl StartQuery {
    fn who(&self) -> Who {
        match (&self.discharged, self.q.as_deref().and_then(Who::found)) {
            (_, Some(found)) => found,
            (Some(_), None) => Who::Discharged,
            (None, None) => Who::Here,
        }
    }
}

/// Whatever the kiosk shows now.
pub(super) async fn start(
    State(kiosk): State<Kiosk>,
    headers: HeaderMap,
    Query(query): Query<StartQuery>,
) -> Result<Response, Fault> {
    let (shell, screen) = shell(&kiosk).await?;
    Ok(match screen {
        Screen::Enrolling(enrolling) => page::enrolling(shell, &enrolling),
        Screen::Unopened => page::unopened(shell),
        Screen::Revoked => page::revoked(shell),
        Screen::Locked(locked) => page::locked(shell, locked),
        Screen::PinPad(pad) => page::pin_pad(shell, pad),
        Screen::Open(open) => {
            let on = key_of(&open);
            if let Some(left) = left_on(&kiosk, &headers, &on).await? {
                return Ok(left);
            }
            let who = query.who();
            let asked = (on.clone(), who.clone());
            match kiosk.ask(move |desk| desk.residents(&asked.0, &asked.1)).await? {
                Ok(residents) => {
                    let letter = query.letter.and_then(|text| text.chars().next());
                    residents::residents(shell, residents, who, letter)
                }
                Err(why @ (Refused::NotAllowed | Refused::Storage(_))) => {
                    let unfinished = kiosk.ask(move |desk| desk.unfinished(&on)).await?;
                    residents::refused(shell, &why, unfinished.unwrap_or_default())
                }
                Err(why) => refused(&why),
            }
        }
    })
}

/// Leads whoever comes back to the form on which they left.
async fn left_on(kiosk: &Kiosk, headers: &HeaderMap, on: &SessionKey) -> Result<Option<Response>, Fault> {
    if !guard::opens_a_page(headers) {
        return Ok(None);
    }
    let on = on.clone();
    let left = kiosk.ask(move |desk| desk.left_on(&on)).await?;
    Ok(left.map(|form| Redirect::to(&form::path(&form)).into_response()))
}

/// The parts that every page shares, for a page whose own part must not be replaced.
pub(super) async fn status(State(kiosk): State<Kiosk>) -> Result<Response, Fault> {
    Ok(page::bare(shell(&kiosk).await?.0))
}

/// What a page is asked for after something was saved, and which part of what it lists.
#[derive(Default, Deserialize)]
pub(super) struct SavedQuery {
    saved: Option<Saved>,
    /// Set where nobody was admitted, because this resident is known.
    known: Option<News>,
    /// After how many entries, how many are shown, and how many versions of each.
    after: Option<usize>,
    entries: Option<usize>,
    versions: Option<usize>,
}

pub(super) async fn resident(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let shown = Shown::of(query.after, query.entries, query.versions);
    Ok(match kiosk.ask(move |desk| desk.resident(&on, id, shown)).await? {
        Ok(resident) => residents::resident(shell, resident, query.saved, query.known),
        Err(why) => refused(&why),
    })
}

pub(super) async fn form(State(kiosk): State<Kiosk>, Which(form): Which) -> Result<Response, Fault> {
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let asked = (on.clone(), form.clone());
    let opened = kiosk.ask(move |desk| desk.form(&asked.0, &asked.1, &[])).await?;
    Ok(match opened {
        Ok(opened) => form::form(StatusCode::OK, shell, FormView::fresh(&opened)),
        Err(NotOpened { why, typed: Some(typed) }) => {
            let words = page::capital(&why.to_string());
            form::rescue(page::status_of(&why), shell, &typed, &words, Some(&form))
        }
        Err(NotOpened { why, typed: None }) => refused(&why),
    })
}

/// What the server refused of this device.
pub(super) async fn attention(
    State(kiosk): State<Kiosk>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.attention(&on, query.after.unwrap_or(0))).await? {
        Ok(part) => looks::attention(shell, part),
        Err(why) => refused(&why),
    })
}

/// What somebody has to look at.
pub(super) async fn reviews(
    State(kiosk): State<Kiosk>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    show_reviews(&kiosk, StatusCode::OK, None, &query).await
}

/// The same, with why a decision was not saved.
pub(super) async fn reviews_again(
    kiosk: &Kiosk,
    status: StatusCode,
    not_saved: Option<String>,
) -> Result<Response, Fault> {
    show_reviews(kiosk, status, not_saved, &SavedQuery::default()).await
}

/// Two residents whom a review asks about, before they are said to be one person.
pub(super) async fn join(
    State(kiosk): State<Kiosk>,
    Path((id, other)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let (Ok(id), Ok(other)) = (id.parse(), other.parse()) else { return Ok(refused(&Refused::NoSuchReview)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.join(&on, id, other)).await? {
        Ok(join) => looks::join(shell, &join),
        Err(why) => refused(&why),
    })
}

async fn show_reviews(
    kiosk: &Kiosk,
    status: StatusCode,
    not_saved: Option<String>,
    query: &SavedQuery,
) -> Result<Response, Fault> {
    let (saved, after) = (query.saved.is_some(), query.after.unwrap_or(0));
    let Some((shell, on)) = open_shell(kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.ask(move |desk| desk.reviews(&on, after)).await? {
        Ok(reviews) => looks::reviews(status, shell, reviews, not_saved, saved),
        Err(why) => refused(&why),
    })
}

/// Which form a path names.
pub(super) struct Which(pub(super) Form);

impl<S: Send + Sync> FromRequestParts<S> for Which {
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
            (None, None, Some(n)) => n.parse().map(Form::Again).map_err(|_| Refused::NotRefused),
            (None, None, None) if path.starts_with("/admit") => Ok(Form::Admit),
            (None, None, None) if path.contains("/discharge") => patient().map(Form::Discharge),
            (None, None, None) if path.contains("/readmit") => patient().map(Form::Readmit),
            (None, None, None) => patient().map(Form::Edit),
        };
        form.map(Self).map_err(|why| refused(&why))
    }
}

/// A form as it was sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The session whose page it was sent from.
    pub(super) on: SessionKey,
    pub(super) token: String,
    pub(super) form: Form,
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
    let form = kiosk.ask(move |desk| desk.form(&asked.on, &asked.form, &asked.answers)).await?;
    Ok(match form {
        Ok(mut form) => {
            form.answers = sent.answers;
            if !sent.token.is_empty() {
                form.token = sent.token;
            }
            form::form(status, shell, FormView::again(&form, returned))
        }
        Err(NotOpened { why: Refused::Locked, .. }) => return to_draft(kiosk, sent).await,
        // Not even the form can be read: what was typed stays on the screen as plain words.
        Err(NotOpened { why, typed }) => {
            let words = returned.words().unwrap_or_else(|| page::capital(&why.to_string()));
            form::rescue(status, shell, &sent.answers, &words, typed.map(|_| &sent.form))
        }
    })
}

/// The screen is no longer that of the session that sent the form: what was typed waits for whoever
/// typed it, and nobody else sees it.
async fn to_draft(kiosk: &Kiosk, sent: Sent) -> Result<Response, Fault> {
    let Sent { on, form, answers, .. } = sent;
    let kept = kiosk.ask(move |desk| desk.keep_draft(&on, &form, &answers)).await?;
    Ok(match kept {
        Ok(_) => to_start(),
        Err(why) => {
            tracing::warn!(%why, "answers of a session that has left the screen are not kept");
            page::refusal(page::status_of(&why), &format!("What you typed is not kept: {why}."))
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
        Refused::InCare(id) | Refused::NotInCare(id) => page::refusal_about(why, *id),
        Refused::NotAllowed
        | Refused::NoSuchResident
        | Refused::NoSuchWorkflow
        | Refused::NoSuchRecord
        | Refused::NotRefused
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

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_bytes!("assets/kiosk.css").as_slice())
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_bytes!("assets/kiosk.js").as_slice())
}

pub(super) async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_bytes!("assets/icon.svg").as_slice())
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
        .ask(|desk| {
            let bump = *desk.changes().borrow();
            let screen = desk.screen();
            (Shell::new(bump, &screen, &desk.status()), screen)
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

//! Page handlers: what people look at. Each asks the workspace and hands what it says to a renderer.

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use carepost_protocol::id::{RecordId, ReviewId};
use serde::Deserialize;

use super::super::renderers::form::{self, FormView};
use super::super::renderers::residents::{self, Saved};
use super::super::renderers::reviews;
use super::super::renderers::shell::{self as page, Fault};
use super::super::{Kiosk, guard};
use super::{Answers, FormOf, key_of, open_shell, refused, shell, to_start};
use crate::workspace::News;
use crate::workspace::view::{NotOpened, NotSaved, Refused, Screen, SessionKey, Shown, Who};

/// What the start page is asked for.
#[derive(Deserialize)]
pub(crate) struct StartQuery {
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
pub(crate) async fn start(
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
            match kiosk.work(move |workspace| workspace.residents(&asked.0, &asked.1)).await? {
                Ok(residents) => {
                    let letter = query.letter.and_then(|text| text.chars().next());
                    residents::residents(shell, residents, who, letter)
                }
                Err(why @ (Refused::NotAllowed | Refused::Storage(_))) => {
                    let begun = kiosk.work(move |workspace| workspace.forms().all_begun(&on)).await?;
                    residents::refused(shell, &why, begun.unwrap_or_default())
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
    let left = kiosk.ask(move |device| device.workspace()?.forms().left_on(&on)).await?;
    Ok(left.map(|form| Redirect::to(&form.path()).into_response()))
}

/// The parts that every page shares, for a page whose own part must not be replaced.
pub(crate) async fn status(State(kiosk): State<Kiosk>) -> Result<Response, Fault> {
    Ok(page::bare(shell(&kiosk).await?.0))
}

/// What a page is asked for after something was saved, and which part of what it lists.
#[derive(Default, Deserialize)]
pub(crate) struct SavedQuery {
    saved: Option<Saved>,
    /// What was saved, where that is critical.
    entry: Option<RecordId>,
    /// Set where nobody was admitted, because this resident is known.
    known: Option<News>,
    /// After how many entries, how many are shown, and how many versions of each.
    after: Option<usize>,
    entries: Option<usize>,
    versions: Option<usize>,
}

pub(crate) async fn resident(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let shown = Shown::of(query.after, query.entries, query.versions);
    Ok(match kiosk.work(move |workspace| workspace.resident(&on, id, shown)).await? {
        Ok(resident) => residents::resident(shell, resident, (query.saved, query.entry), query.known),
        Err(why) => refused(&why),
    })
}

pub(crate) async fn form(State(kiosk): State<Kiosk>, FormOf(form): FormOf) -> Result<Response, Fault> {
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let asked = (on.clone(), form.clone());
    let opened = kiosk.work(move |workspace| workspace.forms().open(&asked.0, &asked.1, &[])).await?;
    Ok(match opened {
        Ok(opened) => form::form(StatusCode::OK, shell, FormView::fresh(opened)),
        Err(NotOpened { why, typed, .. }) if typed.is_empty() => refused(&why),
        Err(NotOpened { why, typed, is_kept }) => {
            let words = page::capital(&why.to_string());
            form::rescue(page::status_of(&why), shell, &typed, &words, is_kept.then_some(&form))
        }
    })
}

/// What the server rejected of this device.
pub(crate) async fn rejected(
    State(kiosk): State<Kiosk>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.work(move |workspace| workspace.rejected(&on, query.after.unwrap_or(0))).await? {
        Ok(part) => reviews::rejected(shell, part),
        Err(why) => refused(&why),
    })
}

/// What somebody has to look at.
pub(crate) async fn reviews(
    State(kiosk): State<Kiosk>,
    Query(query): Query<SavedQuery>,
) -> Result<Response, Fault> {
    show_reviews(&kiosk, &query, None).await
}

/// Two residents whom a review asks about, before they are said to be one person.
pub(crate) async fn join(
    State(kiosk): State<Kiosk>,
    Path((id, other)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let (Ok(id), Ok(other)) = (id.parse(), other.parse()) else { return Ok(refused(&Refused::NoSuchReview)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.work(move |workspace| workspace.join(&on, id, other)).await? {
        Ok(join) => reviews::join(shell, &join),
        Err(why) => refused(&why),
    })
}

/// What somebody has to look at, with why a decision about which was not saved, and what was chosen.
pub(crate) async fn show_reviews(
    kiosk: &Kiosk,
    query: &SavedQuery,
    not_saved: Option<(NotSaved, ReviewId, Answers)>,
) -> Result<Response, Fault> {
    let (saved, after) = (query.saved.is_some(), query.after.unwrap_or(0));
    let Some((shell, on)) = open_shell(kiosk).await? else { return Ok(to_start()) };
    Ok(match kiosk.work(move |workspace| workspace.reviews(&on, after)).await? {
        Ok(part) => reviews::reviews(shell, part, not_saved, saved),
        Err(why) => refused(&why),
    })
}

pub(crate) async fn nowhere() -> Response {
    page::refusal(StatusCode::NOT_FOUND, "There is no such page here.")
}

pub(crate) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_bytes!("../assets/kiosk.css").as_slice())
}

pub(crate) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_bytes!("../assets/kiosk.js").as_slice())
}

pub(crate) async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_bytes!("../assets/icon.svg").as_slice())
}

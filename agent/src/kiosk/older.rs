//! The page of entries that are on the server alone. It is the one page that waits for the network, for a
//! few seconds at most.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::wire::older::{OlderPlace, OlderQuery};

use super::Kiosk;
use super::form::Person;
use super::page::{Fault, Shell, answer, capital};
use super::pages::{open_shell, refused, to_start};
use super::residents::ChartedView;
use super::words::Weight;
use crate::workspace::view::{Mark, OlderPage, Refused};

#[derive(Template)]
#[template(path = "older.html")]
struct OlderTemplate {
    shell: Shell,
    id: String,
    person: Person,
    entries: Vec<ChartedView>,
    /// Why nothing is shown.
    missed: Option<String>,
    /// The addresses of this page and of the next.
    here: String,
    next: Option<String>,
}

pub(super) async fn show(
    State(kiosk): State<Kiosk>,
    Path(id): Path<String>,
    Query(query): Query<OlderQuery>,
) -> Result<Response, Fault> {
    let Ok(id) = id.parse() else { return Ok(refused(&Refused::NoSuchResident)) };
    let Some((shell, on)) = open_shell(&kiosk).await? else { return Ok(to_start()) };
    let asker = on.clone();
    let answer = match kiosk.ask(move |device| device.ask_older(&asker, id, query.place())).await? {
        Ok(asked) => asked.answer().await,
        Err(why) => return Ok(refused(&why)),
    };
    Ok(match kiosk.work(move |workspace| workspace.older(&on, id, answer)).await? {
        Ok(page) => older(shell, page, query.place()),
        Err(why) => refused(&why),
    })
}

fn older(shell: Shell, page: OlderPage, at: Option<OlderPlace>) -> Response {
    let id = page.resident.id.to_string();
    let page = OlderTemplate {
        // It is not drawn again for every change: each time the server would be asked.
        shell: shell.held(),
        here: address(&id, at),
        next: page.next.map(|next| address(&id, Some(next))),
        id,
        person: Person::from(&page.resident),
        entries: page.entries.into_iter().map(|charted| ChartedView::of(charted, None)).collect(),
        missed: page.missed.map(|why| capital(&why.to_string()) + "."),
    };
    answer(StatusCode::OK, &page)
}

fn address(id: &str, at: Option<OlderPlace>) -> String {
    let place = at.map(|at| format!("?before={}&before_record={}", at.before, at.before_record));
    format!("/residents/{id}/older{}", place.unwrap_or_default())
}

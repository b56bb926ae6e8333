//! The page of entries that are on the server alone.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use carepost_protocol::id::PatientId;
use carepost_protocol::wire::older::OlderPlace;

use super::form::Person;
use super::shell::{Shell, answer, capital};
use super::words::{Weight, not_shown};
use crate::workspace::view::{Answered, Charted, Mark, OlderPage};

#[derive(Template)]
#[template(path = "older.html")]
struct OlderTemplate {
    shell: Shell,
    id: PatientId,
    person: Person,
    entries: Vec<Charted>,
    /// Where there are more versions of an entry: the server sends no more.
    more_versions: Option<String>,
    /// That some are left out.
    left_out: Option<String>,
    missed: Option<String>,
    /// The addresses of this page and of the next.
    here: String,
    next: Option<String>,
}

pub(crate) fn older(shell: Shell, page: OlderPage, at: Option<OlderPlace>) -> Response {
    let id = page.resident.id;
    let page = OlderTemplate {
        person: Person::among(&page.resident, page.twins, shell.shows_all()),
        // It is not drawn again for every change: each time the server would be asked.
        shell: shell.held(),
        here: address(id, at),
        next: page.next.map(|next| address(id, Some(next))),
        id,
        entries: page.entries,
        left_out: not_shown(page.left_out),
        more_versions: None,
        missed: page.missed.map(|why| capital(&why.to_string()) + "."),
    };
    answer(StatusCode::OK, &page)
}

fn address(id: PatientId, at: Option<OlderPlace>) -> String {
    let place = at.map(|at| format!("?before={}&before_record={}", at.before, at.before_record));
    format!("/residents/{id}/older{}", place.unwrap_or_default())
}

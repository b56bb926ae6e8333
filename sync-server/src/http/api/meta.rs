//! The server's endpoints about itself: its health, its API, its problems.

use axum::extract::State;
use carepost_host::files;
use carepost_protocol::text::sort_key;
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::{List, Paged};
use crate::app::App;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::http::extract::Id;
use crate::operations::paging::{Key, Which};
use crate::store::{SortKeys, StoreError};

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`: it answers, and its database answers and takes writes.
    status: &'static str,
    /// The server's version.
    version: &'static str,
    /// What somebody has to see to: that the server's certificate ends within 30 days, or its disk is nearly full.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Below so much room the database's disk is as good as full: the next backup or the next hour fills it.
const LOW: u64 = 64 * 1024 * 1024;
/// Below so much room somebody is told.
const SCARCE: u64 = 1024 * 1024 * 1024;

/// Whether the server and its database answer, and have room for what comes.
#[utoipa::path(get, path = "/api/v1/health", operation_id = "health", tag = "server", responses((status = 200, body = Health), (status = 503, body = Problem, description = "It cannot store anything: its disk is full, or nearly so")))]
pub async fn health(State(app): State<App>) -> Answer<axum::Json<Health>> {
    match app.store.system().health().await {
        // It was logged when the write failed: once, and not for whoever asks how the server is.
        Err(StoreError::Full) => return Err(Refusal::full()),
        healthy => healthy?,
    }
    // Where the file system does not say, the last write does.
    let disk = files::room(&app.config.state_dir).map_or(Ok(None), disk)?;
    let warnings: Vec<String> = app.certificate.warning(clock::now()).into_iter().chain(disk).collect();
    Ok(axum::Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
    }))
}

/// What to say of so much room, if anything.
fn disk(room: u64) -> Answer<Option<String>> {
    let words =
        format!("the database's disk has {} MiB left: free some space, or give it more", room / 1024 / 1024);
    match room {
        ..LOW => Err(Refusal::new(ProblemKind::Unavailable, words).retry_after(60)),
        LOW..SCARCE => Ok(Some(words)),
        SCARCE.. => Ok(None),
    }
}

/// A kind of problem, explained.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// The URI that problem documents name it by.
    #[serde(rename = "type")]
    uri: String,
    /// The kind in a few words.
    title: &'static str,
    /// The HTTP status it comes with.
    status: u16,
    /// What whoever meets it should do.
    help: &'static str,
}

fn explain(kind: ProblemKind) -> Explanation {
    Explanation { uri: kind.uri(), title: kind.title(), status: kind.status(), help: kind.help() }
}

/// Every kind of problem, by `status` or `title`, by pages.
#[utoipa::path(get, path = "/problems", operation_id = "list_problems", tag = "server", params(Which), responses((status = 200, body = List<Explanation>)))]
pub async fn list_problems(Paged(which, asked): Paged) -> Answer<axum::Json<List<Explanation>>> {
    let keys: &SortKeys<Key<ProblemKind>> =
        &[("status", |kind| kind.status().to_string()), ("title", |kind| sort_key(kind.title()))];
    asked.page(which.of(ProblemKind::ALL.to_vec(), |kind| kind.slug().to_owned(), keys)?, explain)
}

/// One kind of problem.
#[utoipa::path(get, path = "/problems/{problem}", operation_id = "explain_problem", tag = "server", params(("problem" = String, Path)), responses((status = 200, body = Explanation)))]
pub async fn explain_problem(Id(slug): Id<String>) -> Answer<axum::Json<Explanation>> {
    let kind = ProblemKind::ALL.iter().copied().find(|kind| kind.slug() == slug);
    kind.map(|kind| axum::Json(explain(kind))).ok_or_else(Refusal::not_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_nearly_full_is_said_and_one_that_is_as_good_as_full_is_no_health() {
        assert_eq!(disk(SCARCE).unwrap(), None);
        assert!(disk(SCARCE - 1).unwrap().is_some_and(|words| words.contains("1023 MiB left")));
        let full = disk(LOW - 1).unwrap_err();
        assert_eq!((full.kind(), full.problem().status), (Some(ProblemKind::Unavailable), 503));
    }
}

//! The server about itself: its health, its API, its problems.

use axum::extract::State;
use axum::response::IntoResponse;
use carepost_protocol::wire::problem::ProblemKind;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use super::List;
use crate::app::App;
use crate::body::Id;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::openapi::DOCUMENT;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`: it answers, and so does its database.
    status: &'static str,
    /// The server's version.
    version: &'static str,
    /// What somebody has to see to, such as that the server's certificate ends within 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Whether the server and its database answer.
#[utoipa::path(get, path = "/api/v1/health", operation_id = "health", tag = "server", responses((status = 200, body = Health)))]
pub async fn health(State(app): State<App>) -> Answer<axum::Json<Health>> {
    app.store.system().health().await?;
    Ok(axum::Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        warning: app.certificate.warning(clock::now()),
    }))
}

/// The OpenAPI document of this API.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "server", responses((status = 200, body = Object)))]
pub async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone())
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

/// Every kind of problem.
#[utoipa::path(get, path = "/problems", operation_id = "list_problems", tag = "server", responses((status = 200, body = List<Explanation>)))]
pub async fn list_problems() -> axum::Json<List<Explanation>> {
    axum::Json(List::of(ProblemKind::ALL.to_vec(), explain))
}

/// One kind of problem.
#[utoipa::path(get, path = "/problems/{problem}", operation_id = "explain_problem", tag = "server", params(("problem" = String, Path)), responses((status = 200, body = Explanation)))]
pub async fn explain_problem(Id(slug): Id<String>) -> Answer<axum::Json<Explanation>> {
    let kind = ProblemKind::ALL.iter().copied().find(|kind| kind.slug() == slug);
    kind.map(|kind| axum::Json(explain(kind))).ok_or_else(Refusal::not_found)
}

//! Query parameters: a route takes those that the API's description names, and refuses all others by name.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::workflow::FieldError;
use http::Uri;
use serde_json::Value;

use crate::error::{Answer, Refusal};

/// The names of what an operation takes in its query, by its description.
#[must_use]
pub fn taken(operation: &Value) -> Arc<[String]> {
    let all = operation.pointer("/parameters").and_then(Value::as_array);
    let of_query = all.into_iter().flatten().filter(|it| it.get("in").is_some_and(|place| place == "query"));
    of_query.filter_map(|it| Some(it.get("name")?.as_str()?.to_owned())).collect()
}

/// The layer of a route that takes no other parameters.
pub async fn layer(State(taken): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    match check(&taken, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// What a query gives, by name.
///
/// # Errors
/// `invalid` where it cannot be read.
pub fn given(uri: &Uri) -> Answer<Vec<(String, String)>> {
    let given = Query::try_from_uri(uri).map(|Query(given)| given);
    given.map_err(|_| Refusal::field("query", "it cannot be read: escape it as URLs are"))
}

fn check(taken: &[String], request: &Request) -> Answer<()> {
    let unknown =
        given(request.uri())?.into_iter().map(|(name, _)| name).filter(|name| !taken.contains(name));
    let words = if taken.is_empty() {
        "there is no such parameter; this endpoint takes none".to_owned()
    } else {
        format!("there is no such parameter; this endpoint takes {}", taken.join(", "))
    };
    let errors: Vec<_> = unknown.map(|field| FieldError { field, detail: words.clone() }).collect();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(errors)) }
}

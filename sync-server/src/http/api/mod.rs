//! The API: JSON in and JSON out, one file for each kind of thing. What it asks for is done by
//! [`crate::operations`].

pub mod audit_log;
pub mod badges;
pub mod changes;
pub mod devices;
pub mod enrollments;
pub mod facilities;
pub mod meta;
pub mod older;
pub mod organizations;
pub mod patients;
pub mod reviews;
pub mod sessions;
pub mod stream;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod users;
pub mod workflows;

use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Answer;
use crate::http::condition;
use crate::operations::paging;
use crate::store::{Listed, Version, Versioned};

/// A thing, tagged with its version (ETag).
pub struct Tagged<T>(Version, T);

impl<T> Tagged<T> {
    fn of<M: Versioned>(model: M, view: impl FnOnce(M) -> T) -> Self {
        Self(model.version(), view(model))
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let tag = condition::tag(self.0).map(|tag| [(ETAG, tag)]);
        (tag, axum::Json(self.1)).into_response()
    }
}

/// Several of a kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// Them.
    pub items: Vec<T>,
    /// What to ask for as `page` to go on. Without it, this is the end of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page of a list that says where the next one begins.
    fn page<U, P: Serialize>(listed: Listed<U, P>, view: impl FnMut(U) -> T) -> Answer<axum::Json<Self>> {
        let next = listed.next.as_ref().map(paging::written).transpose()?;
        Ok(axum::Json(Self { items: listed.items.into_iter().map(view).collect(), next }))
    }
}

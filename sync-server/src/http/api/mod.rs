//! The API: JSON in and JSON out, one file for each kind of thing. What it asks for is done by
//! [`crate::operations`].

pub mod audit_log;
pub mod badges;
pub mod changes;
pub mod devices;
pub mod enrollments;
pub mod facilities;
pub mod meta;
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

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::hex;
use http::header::ETAG;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Answer, Refusal};
use crate::http::extract::Params;
use crate::http::{condition, parameters};
use crate::operations::paging::{self, Which};
use crate::operations::person::Person;
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

/// Which page of a list is asked for, and what it is a page of.
pub struct Paged(Which, Asked);

/// Whose list is asked for, and what of it: the end of one page is where the next one of the same begins, and of nothing
/// else. It is a hash, so that no name is in it.
struct Asked(String);

impl<S: Send + Sync> FromRequestParts<S> for Paged {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let Params(mut which) = Params::<Which>::from_request_parts(parts, state).await?;
        let asked = Asked::of(parts)?;
        if let Some(page) = &mut which.page {
            *page = page.strip_prefix(&asked.0).ok_or_else(Which::no_page)?.to_owned();
        }
        Ok(Self(which, asked))
    }
}

impl Asked {
    fn of(parts: &Parts) -> Answer<Self> {
        // Of each version of the API.
        let path = parts.uri.path().trim_start_matches("/api").trim_start_matches("/v1");
        let whose = parts.extensions.get::<Person>().and_then(Person::tenant);
        let mut filters = parameters::given(&parts.uri)?;
        filters.retain(|(name, _)| !Which::PARAMETERS.contains(&name.as_str()));
        filters.sort();
        let text = serde_json::to_vec(&(whose, path, filters)).map_err(|fault| Refusal::internal(&fault))?;
        Ok(Self(hex(PayloadHash::of(&text).as_bytes().get(..8).unwrap_or_default())))
    }

    /// A page of it that says where the next one begins.
    fn page<U, P: Serialize, T>(
        &self,
        listed: Listed<U, P>,
        view: impl FnMut(U) -> T,
    ) -> Answer<axum::Json<List<T>>> {
        let next = listed.next.as_ref().map(paging::written).transpose()?;
        let next = next.map(|place| format!("{}{place}", self.0));
        Ok(axum::Json(List { items: listed.items.into_iter().map(view).collect(), next }))
    }
}

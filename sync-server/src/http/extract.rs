//! Extractors: ids in paths, and what a query asks for.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::Refusal;
use crate::http::json::in_words;

/// An id in a path. One that cannot be read is answered like one that is not there.
#[derive(Debug, Clone, Copy)]
pub struct Id<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let text =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| Refusal::not_found())?;
        text.parse().map(Self).map_err(|_| Refusal::not_found())
    }
}

/// The query of a URL; unknown parameters are refused by name.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(fault) => {
                let said = fault.body_text();
                let named = said.split_once("field `").and_then(|(_, rest)| rest.split('`').next());
                let words = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
                let at = words.split_once(": ").filter(|(field, _)| !field.contains(' '));
                let named = named.or_else(|| at.map(|(field, _)| field));
                let words = at.map_or(words, |(_, words)| words);
                Err(Refusal::field(named.unwrap_or("query"), in_words(words)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::role::Role;
    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;
    use crate::http::json::{NO_FIELD, WHOLE};

    #[tokio::test]
    async fn a_parameter_that_is_not_taken_is_told_in_words() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Asked {
            limit: Option<usize>,
            open: Option<bool>,
            user_id: Option<Uuid>,
            role: Option<Role>,
        }
        for (query, field, words) in [
            ("limit=abc", "limit", WHOLE),
            ("limit=-1", "limit", WHOLE),
            ("limit=", "limit", WHOLE),
            ("limit=99999999999999999999", "limit", WHOLE),
            ("open=maybe", "open", "give true or false"),
            ("user_id=abc", "user_id", "give a UUID such as"),
            ("role=nurse", "role", "give one of platform_admin"),
            ("colour=red", "colour", NO_FIELD),
            ("limit=1&limit=2", "limit", "it is given twice"),
        ] {
            let request = http::Request::get(format!("/x?{query}")).body(()).unwrap();
            let refused = Params::<Asked>::from_request_parts(&mut request.into_parts().0, &()).await;
            let refused = refused.unwrap_err();
            let error = refused.problem().errors.first().unwrap();
            assert_eq!(error.field, field, "{query}: {error:?}");
            assert!(error.detail.starts_with(words), "{query}: {error:?}");
        }
    }
}

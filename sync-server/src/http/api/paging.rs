//! Lists that are read by pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::List;
use crate::error::{Answer, Refusal};
use crate::store::Listed;

/// How many items a page has unless more or fewer are asked for.
const USUAL: usize = 200;
/// And at most.
const MOST: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The next page: `next` of the one before, as it is.
    pub page: Option<String>,
    /// At most so many; 200 unless given, 1,000 at most.
    pub limit: Option<usize>,
}

impl Which {
    /// After which place, and how many.
    pub(super) fn read<P: DeserializeOwned>(&self) -> Answer<(Option<P>, usize)> {
        Ok((place(self.page.as_deref())?, size(self.limit, USUAL)))
    }
}

/// How many items a page has where so many are asked for.
pub(super) fn size(asked: Option<usize>, usual: usize) -> usize {
    asked.unwrap_or(usual).clamp(1, MOST)
}

/// The place that the `page` of a query says: the store's, which nobody else reads.
pub(super) fn place<P: DeserializeOwned>(page: Option<&str>) -> Answer<Option<P>> {
    let Some(page) = page else { return Ok(None) };
    let json = URL_SAFE_NO_PAD.decode(page).ok();
    let place = json.and_then(|json| serde_json::from_slice(&json).ok());
    place.map(Some).ok_or_else(|| Refusal::field("page", "give `next` of the page before, as it is"))
}

impl<T> List<T> {
    /// A page of a list that says where the next one begins.
    pub(super) fn page<U, P: Serialize>(listed: Listed<U, P>, view: impl FnMut(U) -> T) -> Answer<Self> {
        let next = listed.next.map(|place| serde_json::to_vec(&place)).transpose();
        let next = next.map_err(|fault| Refusal::internal(&fault))?;
        let next = next.map(|json| URL_SAFE_NO_PAD.encode(json));
        Ok(Self { next, ..Self::of(listed.items, view) })
    }
}

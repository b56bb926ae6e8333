//! Lists that are read by pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::{Answer, Refusal};

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
    ///
    /// # Errors
    /// `invalid` for a place that is none.
    pub fn read<P: DeserializeOwned>(&self) -> Answer<(Option<P>, usize)> {
        Ok((place(self.page.as_deref())?, size(self.limit, USUAL)))
    }
}

/// How many items a page has where so many are asked for.
#[must_use]
pub fn size(asked: Option<usize>, usual: usize) -> usize {
    asked.unwrap_or(usual).clamp(1, MOST)
}

/// The place that the `page` of a query says: the store's, which nobody else reads.
///
/// # Errors
/// `invalid` where it is none.
pub fn place<P: DeserializeOwned>(page: Option<&str>) -> Answer<Option<P>> {
    let Some(page) = page else { return Ok(None) };
    let json = URL_SAFE_NO_PAD.decode(page).ok();
    let place = json.and_then(|json| serde_json::from_slice(&json).ok());
    place.map(Some).ok_or_else(|| Refusal::field("page", "give `next` of the page before, as it is"))
}

/// A place, as the `page` of the next query says it.
///
/// # Errors
/// When it cannot be written.
pub fn written(place: &impl Serialize) -> Answer<String> {
    let json = serde_json::to_vec(place).map_err(|fault| Refusal::internal(&fault))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

//! Paging: lists are read by pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::hex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::{Answer, Refusal};
use crate::store::Listed;

/// How many items a page has unless more or fewer are asked for.
const USUAL: usize = 200;
/// And at most.
const MOST: usize = 1_000;

/// A page of a list that is read whole.
pub type Page<T> = Listed<T, Anchor>;

/// A place in a list that is read whole: the item before it, and what that one was sorted by, which is no more
/// than to be recognized. It holds nobody's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor(String, String);

impl Anchor {
    /// Behind the item with that id, which is sorted by that key.
    #[must_use]
    pub fn behind(id: impl ToString, key: &str) -> Self {
        let id = id.to_string();
        let known = PayloadHash::of(format!("{id} {key}").as_bytes());
        Self(id, hex(known.as_bytes().get(..8).unwrap_or_default()))
    }
}

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
    /// `invalid` for a place that is none, and for more or fewer than a page may have.
    pub fn read<P: DeserializeOwned>(&self) -> Answer<(Option<P>, usize)> {
        let size = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&size) {
            return Err(Refusal::field("limit", format!("give 1 to {MOST}")));
        }
        let Some(page) = self.page.as_deref() else { return Ok((None, size)) };
        let json = URL_SAFE_NO_PAD.decode(page).ok();
        let place = json.and_then(|json| serde_json::from_slice(&json).ok());
        let place =
            place.ok_or_else(|| Refusal::field("page", "give `next` of the page before, as it is"))?;
        Ok((Some(place), size))
    }

    /// The page of a whole list, of those items that are wanted.
    ///
    /// # Errors
    /// `invalid` for a place that is none, or is not there any more.
    pub fn of<T>(
        &self,
        mut all: Vec<T>,
        anchor: impl Fn(&T) -> Anchor,
        wanted: impl Fn(&T) -> bool,
    ) -> Answer<Page<T>> {
        let (after, most) = self.read()?;
        if let Some(after) = after {
            let at = all.iter().position(|item| anchor(item) == after);
            let moved = "the list has changed there since; begin again without `page`";
            all.drain(..=at.ok_or_else(|| Refusal::field("page", moved))?);
        }
        all.retain(wanted);
        Ok(Listed::of(all, most, anchor))
    }
}

/// A place, as the `page` of the next query says it.
///
/// # Errors
/// When it cannot be written.
pub fn written(place: &impl Serialize) -> Answer<String> {
    let json = serde_json::to_vec(place).map_err(|fault| Refusal::internal(&fault))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

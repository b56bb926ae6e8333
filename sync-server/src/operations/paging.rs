//! Pagination: lists are read by pages, sorted by a key that the list allows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::error::{Answer, Refusal};
use crate::store::{Anchor, Listed, Paging, SortKeys};

/// How many items a page has unless more or fewer are asked for.
const USUAL: usize = 200;
/// And at most.
const MOST: usize = 1_000;

/// A page of a list that is sorted by a key of its own.
pub type Page<T> = Listed<T, Anchor>;

/// A key of a list that is read whole: what of an item is compared, byte for byte.
pub type Key<T> = fn(&T) -> String;

/// Which page of a list.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// By which of its keys, which its description names; `-` before one is from the last on.
    pub sort: Option<String>,
    /// The next page: `next` of the one before, as it is, with the same filters.
    pub page: Option<String>,
    /// At most so many; 200 unless given, 1,000 at most.
    pub limit: Option<usize>,
}

impl Which {
    /// The names of what it takes in a query.
    pub const PARAMETERS: [&str; 3] = ["sort", "page", "limit"];

    /// Where a page is none of the list that is asked for.
    #[must_use]
    pub fn no_page() -> Refusal {
        let words = "give `next` of the page before, as it is, for the same list and with the same filters; or begin \
                     again without `page`";
        Refusal::field("page", words)
    }

    /// After which place, and how many, of a list that has one order.
    ///
    /// # Errors
    /// `invalid` for another order, for a place that is none, and for more or fewer than a page may have.
    pub fn read<P: DeserializeOwned>(&self, order: &str) -> Answer<(Option<P>, usize)> {
        if self.sort.as_deref().is_some_and(|sort| sort != order) {
            return Err(Refusal::field("sort", format!("give {order}; this list has no other order")));
        }
        self.place()
    }

    /// The same, of a list that is sorted by a key of its own, which the store knows.
    ///
    /// # Errors
    /// `invalid` for a place that is none, and for more or fewer than a page may have.
    pub fn paging(self) -> Answer<Paging> {
        let (after, most) = self.place()?;
        Ok(Paging { sort: self.sort, after, most })
    }

    /// The page of a list that is read whole.
    ///
    /// # Errors
    /// As [`Self::paging`]; `invalid` for a key that is none, and for a place that is not there any more.
    pub fn of<T>(
        self,
        mut all: Vec<T>,
        id: impl Fn(&T) -> String,
        keys: &SortKeys<Key<T>>,
    ) -> Answer<Page<T>> {
        let asked = self.paging()?;
        let (key, is_reversed) = asked.order(keys)?;
        all.sort_by_cached_key(|item| (key(item), id(item)));
        if is_reversed {
            all.reverse();
        }
        let anchor = |item: &T| Anchor::behind(id(item), key(item).as_bytes(), is_reversed);
        if let Some(after) = &asked.after {
            let at = all.iter().position(|item| id(item) == after.id() && anchor(item) == *after);
            all.drain(..=at.ok_or_else(Anchor::gone)?);
        }
        Ok(Listed::of(all, asked.most, anchor))
    }

    fn place<P: DeserializeOwned>(&self) -> Answer<(Option<P>, usize)> {
        let size = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&size) {
            return Err(Refusal::field("limit", format!("give 1 to {MOST}")));
        }
        let Some(page) = self.page.as_deref() else { return Ok((None, size)) };
        let json = URL_SAFE_NO_PAD.decode(page).ok();
        let place = json.and_then(|json| serde_json::from_slice(&json).ok());
        Ok((Some(place.ok_or_else(Self::no_page)?), size))
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

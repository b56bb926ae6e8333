//! Pages of lists: which one is asked for, and what it holds.

use carepost_protocol::change::PayloadHash;
use carepost_protocol::hex::hex;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// A page of a list, and after which place the next one begins: the order is total, so that each item is on
/// one page however many share a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, P> {
    pub items: Vec<T>,
    /// The place of the last of them; none on the last page.
    pub next: Option<P>,
}

/// Which page of a list that is sorted by a key of its own.
#[derive(Debug, Clone, Default)]
pub struct Paging {
    /// By which key; its usual one unless given.
    pub sort: Option<String>,
    pub after: Option<Anchor>,
    pub most: usize,
}

/// A place in a sorted list: the item before it, and what that one was sorted by, which is no more than to be
/// recognized. It holds nobody's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor(String, String);

/// What a list may be sorted by: the name of each key, and the key. It is sorted by the first unless another is asked
/// for; `-` before a name is from the last on.
pub type SortKeys<K> = [(&'static str, K)];

impl<T, P> Listed<T, P> {
    /// A page of `most` items, of which one more was read where there is more.
    #[must_use]
    pub fn of(mut items: Vec<T>, most: usize, place: impl FnOnce(&T) -> P) -> Self {
        let more = items.len() > most;
        items.truncate(most);
        Self { next: items.last().filter(|_| more).map(place), items }
    }
}

impl Paging {
    /// The key of a list's that is asked for, and whether from the last on.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for one that is none of them.
    pub fn order<'k, K>(&self, keys: &'k SortKeys<K>) -> Result<(&'k K, bool), StoreError> {
        let usual = keys.first().map(|(usual, _)| *usual);
        let (name, is_reversed) = split(self.sort.as_deref().or(usual).unwrap_or_default());
        let found = keys.iter().find(|(known, _)| split(known).0 == name);
        let names = || keys.iter().map(|(known, _)| split(known).0).collect::<Vec<_>>().join(", ");
        let detail = || format!("give one of {}; with - before it, from the last on", names());
        let (_, key) = found.ok_or_else(|| StoreError::Invalid { field: "sort", detail: detail() })?;
        Ok((key, is_reversed))
    }
}

impl Anchor {
    /// Behind the item with that id, which is sorted by that key, from the last on or from the first.
    #[must_use]
    pub fn behind(id: impl ToString, key: &[u8], is_reversed: bool) -> Self {
        let id = id.to_string();
        let order: &[u8] = if is_reversed { b"-" } else { b" " };
        let known = PayloadHash::of(&[id.as_bytes(), order, key].concat());
        Self(id, hex(known.as_bytes().get(..8).unwrap_or_default()))
    }

    /// The id of the item.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }

    /// Where the item is not there any more, or is sorted by something else.
    #[must_use]
    pub fn gone() -> StoreError {
        let detail = "the list has changed there since, or is sorted otherwise; begin again without `page`";
        StoreError::Invalid { field: "page", detail: detail.to_owned() }
    }
}

/// The name of a key, and whether `-` stands before it.
fn split(name: &str) -> (&str, bool) {
    name.strip_prefix('-').map_or((name, false), |name| (name, true))
}

//! A page of a list.

/// A page of a list, and after which place the next one begins: the order is total, so that each item is on
/// one page however many share a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, P> {
    /// What is on it.
    pub items: Vec<T>,
    /// The place of the last of them; none on the last page.
    pub next: Option<P>,
}

impl<T, P> Listed<T, P> {
    /// A page of `most` items, of which one more was read where there is more.
    #[must_use]
    pub fn of(mut items: Vec<T>, most: usize, place: impl FnOnce(&T) -> P) -> Self {
        let more = items.len() > most;
        items.truncate(most);
        Self { next: items.last().filter(|_| more).map(place), items }
    }
}

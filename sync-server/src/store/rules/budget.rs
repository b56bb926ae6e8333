//! The document budget: how much a device has to hold is said long before it is refused as too much.

use super::view::View;
use crate::store::StoreError;
use crate::store::engine::{Tx, params};

/// From so many hundredths of the most on, a warning is given.
const WARNS_AT: u64 = 80;

/// How many documents the feed of the facility whose scope this is has in a view; none in one that no
/// device had yet.
pub(in crate::store) fn documents(tx: &Tx<'_>, view: View) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(coalesce(sum(count), 0) AS BIGINT) FROM digests WHERE view = ?1";
    Ok(tx.first::<u64>(sql, params![view.name()])?.unwrap_or(0))
}

/// What to say of a device that has to hold so many documents, and may hold so many; none while there is
/// room enough.
#[must_use]
pub fn warning(documents: u64, most: u64) -> Option<String> {
    let near = documents.saturating_mul(100) >= most.saturating_mul(WARNS_AT);
    near.then(|| {
        format!(
            "{documents} of at most {most} documents have to be held here; beyond that nothing new comes. \
             Shorten the window (`carepost-server facility record-days`), or raise max_documents under [sync] in \
             server.toml."
        )
    })
}

//! `GET /api/v1/sync/pull` and `GET /api/v1/sync/live`: documents come down.
//!
//! Both answer with NDJSON lines, zstd-compressed, flushed at the end of each page: documents, then
//! the page's end with the cursor to resume from. `pull` ends at the head of the feed; `live` stays
//! open, sends each page as it is committed and a keep-alive when nothing happens.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::Collection;
use crate::time::Timestamp;

/// The most documents in one page.
pub const MAX_PAGE_DOCUMENTS: usize = 2_000;
/// The longest line, in bytes; a peer that sends a longer one is broken.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Seconds between a live stream's keep-alives; a device that hears nothing for twice as long
/// connects anew.
pub const KEEP_ALIVE_SECONDS: u64 = 15;

/// A place in a facility's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cursor {
    /// Counts up whenever the server's past changed, as after a restored backup.
    pub epoch: u64,
    /// Everything up to here has been seen.
    pub seq: u64,
}

/// A line of the stream, told apart by which member it has: a document (`collection`, `id`, `seq` and
/// either `body` or `deleted`), the end of a page (`page`), or a keep-alive (`keep_alive`).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Line<'a> {
    /// The document's collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<Collection>,
    /// The document's id.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The document's place in the feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The document's latest version.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub body: Option<&'a RawValue>,
    /// The document is gone: a tombstone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// The end of a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageEnd>,
    /// Nothing happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
}

/// The end of a page: apply what came before it in one transaction, together with the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageEnd {
    /// Where the next request resumes.
    pub cursor: Cursor,
    /// The last `seq` of the feed when the page was read.
    pub head: u64,
    /// The server's clock.
    pub server_time: Timestamp,
}

impl PageEnd {
    /// Whether the device now has all there is.
    #[must_use]
    pub const fn reaches_head(&self) -> bool {
        self.cursor.seq >= self.head
    }
}

/// A live stream's sign of life. It counts as a successful sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeepAlive {
    /// The server's clock.
    pub server_time: Timestamp,
}

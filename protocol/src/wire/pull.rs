//! `GET /api/v1/sync/pull` and `GET /api/v1/sync/live`: documents come down.
//!
//! Both answer with NDJSON lines, zstd-compressed, flushed at the end of each page: documents, then
//! the page's end with the cursor to resume from. `pull` ends at the head of the feed; `live` stays
//! open, sends each page as it is committed and a keep-alive when nothing happens.
//!
//! The query says where the device stands ([`SyncPosition`]). With `refetch` the stream begins with the
//! named collections, whole, up to the cursor; then it goes on from there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::facility::PhiMode;
use crate::id::IncarnationId;
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

/// The query of `pull` and `live`: where the device stands. Without `epoch` and `seq` it has nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncPosition {
    /// The cursor's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The cursor's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The incarnation of its outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<IncarnationId>,
    /// The last number of that incarnation's care lane that the server has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub care: Option<u64>,
    /// The last number of its audit lane that the server has acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<u64>,
    /// The [proof](PageEnd::proof) that came with the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Whether the device has measured that what rests on it is encrypted: a facility may demand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The names of collections to be sent again from their beginning, with commas between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refetch: Option<String>,
}

impl SyncPosition {
    /// Where a mirror stands, and nothing of the outbox.
    #[must_use]
    pub fn at(cursor: Option<Cursor>) -> Self {
        let (epoch, seq) = (cursor.map(|cursor| cursor.epoch), cursor.map(|cursor| cursor.seq));
        Self { epoch, seq, ..Self::default() }
    }
}

/// A line of the stream, told apart by which member it has: a document (`collection`, `id`, `seq` and
/// either `body` or `deleted`), the end of a page (`page`), or a keep-alive (`keep_alive`).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Line<'a> {
    /// The name of the document's collection; one that this build does not know is left out.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub collection: Option<Cow<'a, str>>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PageEnd {
    /// Where the next request resumes.
    pub cursor: Cursor,
    /// The last `seq` of the feed when the page was read.
    pub head: u64,
    /// By this the server knows later that it gave the cursor: given back with it, it shows a server that
    /// was put back to an older state that it once was further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The server's clock.
    pub server_time: Timestamp,
    /// On a page that reaches the head: what the device's copy of each collection, by its name, should
    /// come to. The first such page of a stream names every collection, a later one those that moved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, Digest>,
    /// The names of the collections whose refetch ends with this page: what it did not bring is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refetched: Vec<String>,
    /// Which records have left the feed, once any has. A page that reaches the head counts the digests
    /// without them, and the device drops them when it applies that page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<Archived>,
    /// How much of a resident the device is sent, where that is not all: what is not sent is not none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phi_mode: Option<PhiMode>,
}

/// A mirror has a window: records that came longer ago are on the server alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Archived {
    /// Every record whose `seq` is at most this has left the feed.
    pub through: u64,
    /// They came to the server before this: for people, no clock is compared with it.
    pub before: Timestamp,
}

impl PageEnd {
    /// The end of a page that says nothing of digests.
    #[must_use]
    pub const fn new(cursor: Cursor, head: u64, server_time: Timestamp) -> Self {
        Self {
            cursor,
            head,
            proof: None,
            server_time,
            digests: BTreeMap::new(),
            refetched: Vec::new(),
            archived: None,
            phi_mode: None,
        }
    }

    /// Whether the device now has all there is.
    #[must_use]
    pub const fn reaches_head(&self) -> bool {
        self.cursor.seq >= self.head
    }
}

/// A live stream's sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeepAlive {
    /// The server's clock.
    pub server_time: Timestamp,
}

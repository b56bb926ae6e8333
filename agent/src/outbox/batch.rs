//! Batches: what waits in a lane, put together as it is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carepost_protocol::change::{Lane, Link, PayloadHash};
use carepost_protocol::hex::hex;
use carepost_protocol::wire::push::{Gap, Opaque, PushBatch};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;

use super::lineage::{Incarnation, Lineage};
use super::{Outbox, OutboxError, schema, signed, unsigned};

/// Room for a batch's members besides its changes.
const ENVELOPE_BYTES: usize = 1024;

/// How what waits is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// At most so many changes and about so many bytes, and never less than one change.
    Plain {
        /// The most changes.
        changes: usize,
        /// About the most bytes.
        bytes: usize,
    },
    /// The first change alone, not to be looked at: the server, or something on the way to it, breaks
    /// over it.
    Opaque {
        /// With its bytes, or as its hash alone.
        with_bytes: bool,
    },
}

/// Which entries a batch holds; what its receipt is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub lane: Lane,
    pub first_n: u64,
    pub count: u64,
}

/// A batch ready to be compressed and sent.
pub struct Batch {
    /// What it holds.
    pub sent: Sent,
    /// The JSON body, a [`PushBatch`].
    pub body: Vec<u8>,
}

/// Consecutive entries of one incarnation.
struct Collected {
    changes: Vec<Box<RawValue>>,
    head: Link,
    signature: [u8; 64],
}

impl Outbox {
    /// The next batch of a lane, from the first entry that the server has not acknowledged. It ends with
    /// the incarnation of the outbox that it began in, and before entries that are kept no longer. None when
    /// nothing waits.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn batch(&self, lane: Lane, shape: Shape) -> Result<Option<Batch>, OutboxError> {
        let connection = self.lock();
        let Some(first_n) = first_queued(&connection, lane)? else {
            return Ok(None);
        };
        let lineage = self.lineage(&connection)?;
        let (incarnation, last) = lineage.of(lane, first_n)?;
        let previous = lineage.link_before(&connection, lane, first_n)?;
        let previous = previous.ok_or(OutboxError::NotUnderstood("the link before what waits"))?;
        let (changes, bytes) = match shape {
            Shape::Plain { changes, bytes } => (changes.max(1), bytes),
            Shape::Opaque { .. } => (1, 0),
        };
        let collected = collect(&connection, lane, (first_n, last), changes, bytes)?;
        let collected = collected.ok_or(OutboxError::NotUnderstood("the first waiting entry"))?;
        let count = u64::try_from(collected.changes.len()).unwrap_or(u64::MAX);
        let opaque = match shape {
            Shape::Plain { .. } => None,
            Shape::Opaque { with_bytes } => collected.changes.first().map(|change| {
                let bytes = change.get().as_bytes();
                let encoded = with_bytes.then(|| STANDARD.encode(bytes));
                Opaque { sha256: PayloadHash::of(bytes), bytes: encoded }
            }),
        };
        let read = collected.changes.iter().filter(|_| opaque.is_none());
        let batch = PushBatch {
            lane,
            incarnation: incarnation.id,
            parent: incarnation.parent,
            first_n,
            previous,
            head: collected.head,
            signature: hex(&collected.signature),
            changes: read.map(AsRef::as_ref).collect(),
            gap: gap_before(&connection, incarnation, lane, first_n)?,
            opaque,
        };
        let body = serde_json::to_vec(&batch).map_err(|_| OutboxError::NotUnderstood("a batch"))?;
        Ok(Some(Batch { sent: Sent { lane, first_n, count }, body }))
    }

    pub(super) fn lineage(&self, connection: &Connection) -> Result<Lineage, OutboxError> {
        Lineage::read(connection, self.binding.device)
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body is health data.
        f.debug_struct("Batch").field("sent", &self.sent).field("bytes", &self.body.len()).finish()
    }
}

pub(super) fn first_queued(connection: &Connection, lane: Lane) -> Result<Option<u64>, OutboxError> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(n) FROM entries WHERE lane = ? AND state = 0")?
        .query_row([schema::number(lane)], |row| row.get(0))?;
    Ok(first.map(unsigned))
}

/// The number of the entry before this one that is kept; 0 when none is.
pub(super) fn kept_before(connection: &Connection, lane: Lane, n: u64) -> Result<u64, OutboxError> {
    let before: Option<i64> = connection
        .prepare_cached("SELECT n FROM entries WHERE lane = ? AND n < ? ORDER BY n DESC LIMIT 1")?
        .query_row(params![schema::number(lane), signed(n)], |row| row.get(0))
        .optional()?;
    Ok(before.map_or(0, unsigned))
}

/// What is missing before an entry that is sent: what the server was rewound to before, or never had,
/// and this device keeps no longer.
fn gap_before(
    connection: &Connection,
    incarnation: &Incarnation,
    lane: Lane,
    first_n: u64,
) -> Result<Option<Gap>, OutboxError> {
    let expects: Option<i64> = connection
        .prepare_cached("SELECT expects FROM lanes WHERE lane = ?")?
        .query_row([schema::number(lane)], |row| row.get(0))?;
    let before = kept_before(connection, lane, first_n)?;
    let whole = before + 1 == first_n;
    let to = first_n.saturating_sub(1);
    if to == incarnation.after(lane) && incarnation.parent.is_none() {
        // A chain without a parent that does not begin at 1.
        return Ok((to > 0).then_some(Gap { from: 1, to }));
    }
    // Without the server's word that it was rewound, nothing is lost to it.
    let from = expects.map(|expects| unsigned(expects).max(before + 1));
    Ok(from.filter(|from| !whole && *from < first_n).map(|from| Gap { from, to }))
}

fn collect(
    connection: &Connection,
    lane: Lane,
    (first_n, last): (u64, u64),
    max_changes: usize,
    max_bytes: usize,
) -> Result<Option<Collected>, OutboxError> {
    let mut statement = connection.prepare_cached(
        "SELECT n, payload, link, signature FROM entries WHERE lane = ? AND n BETWEEN ? AND ? ORDER BY n",
    )?;
    let mut rows = statement.query(params![schema::number(lane), signed(first_n), signed(last)])?;
    let mut collected: Option<Collected> = None;
    let mut bytes = ENVELOPE_BYTES;
    let mut expected = signed(first_n);
    while let Some(row) = rows.next()? {
        let payload = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
        let payload =
            std::str::from_utf8(payload).map_err(|_| OutboxError::NotUnderstood("a waiting entry"))?;
        bytes += payload.len() + 1;
        let room = match &collected {
            None => true,
            Some(collected) => collected.changes.len() < max_changes && bytes <= max_bytes,
        };
        if !room || row.get::<_, i64>(0)? != expected {
            break;
        }
        expected += 1;
        let change = RawValue::from_string(payload.to_owned())
            .map_err(|_| OutboxError::NotUnderstood("a waiting entry"))?;
        let (head, signature) = (Link::from_bytes(row.get(2)?), row.get(3)?);
        match &mut collected {
            None => collected = Some(Collected { changes: vec![change], head, signature }),
            Some(collected) => {
                collected.changes.push(change);
                collected.head = head;
                collected.signature = signature;
            }
        }
    }
    Ok(collected)
}

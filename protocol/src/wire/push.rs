//! `POST /api/v1/sync/push`: a batch of one lane's changes goes up.
//!
//! The body is JSON, zstd-compressed. The server recomputes the chain over the exact bytes of each
//! change, applies the batch durably, with a savepoint for each change, and answers with a verdict for
//! each.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::change::{Lane, Link, PayloadHash, Verdict};
use crate::id::IncarnationId;
use crate::time::Timestamp;
use crate::workflow::FieldError;

/// The most changes in one batch.
pub const MAX_CHANGES: usize = 1_000;
/// The most bytes of one batch before compression.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of one change. A change larger than this could never travel: it is refused where
/// it is made.
pub const MAX_CHANGE_BYTES: usize = 256 * 1024;

/// Consecutive changes of one lane, as a device sends them.
#[derive(Debug, Serialize, Deserialize)]
pub struct PushBatch<'a> {
    /// Which chain.
    pub lane: Lane,
    /// Which incarnation of the device's outbox.
    pub incarnation: IncarnationId,
    /// Where that incarnation forked from an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Fork>,
    /// The number of the first change.
    pub first_n: u64,
    /// The link before the first change.
    pub previous: Link,
    /// The link of the last change.
    pub head: Link,
    /// The device key's signature over `head` (ECDSA P-256 with SHA-256, fixed length, hexadecimal),
    /// made when the last change was written.
    pub signature: String,
    /// The changes, each exactly as it was hashed.
    #[serde(borrow)]
    pub changes: Vec<&'a RawValue>,
    /// Numbers before `first_n` that nobody holds any more: the server was rewound to before them, and
    /// the device has kept them no longer. `previous` is then taken as the device says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Stands for one change, number `first_n`, that the server or something on the way breaks over;
    /// `changes` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
}

/// Consecutive numbers of a lane whose changes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gap {
    /// The first number: the one that the server expects.
    pub from: u64,
    /// The last: the one before the batch's first.
    pub to: u64,
}

/// A change that is to be kept without being looked at. The server rejects it with
/// [`RejectionCode::Opaque`], and the chain goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Opaque {
    /// The SHA-256 of the change's exact bytes, in hexadecimal.
    pub sha256: PayloadHash,
    /// The bytes, in base64 with padding (RFC 4648, section 4); none when they do not get through even
    /// so. The device keeps them for export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

/// The point where an incarnation left an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fork {
    /// The earlier incarnation.
    pub incarnation: IncarnationId,
    /// The last number they share in the care lane.
    pub care: u64,
    /// The last number they share in the audit lane.
    pub audit: u64,
}

/// The server's receipt for a batch: what it names is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PushReceipt {
    /// One entry for each run of like verdicts, in order, together covering the batch.
    pub verdicts: Vec<VerdictRun>,
    /// The number the server expects next in this lane.
    pub next_n: u64,
    /// The last number of this lane that a verified backup holds; none before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_through: Option<u64>,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// The same verdict for consecutive changes, whose `seq`s are consecutive too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VerdictRun {
    /// The first change's number.
    pub n: u64,
    /// How many changes.
    pub count: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// The first change's `seq` in the facility's feed; none when nothing entered the feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Why a change was rejected. A rejected change has a run of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Rejection>,
}

/// Why the server rejected a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rejection {
    /// A word for programs.
    pub code: RejectionCode,
    /// A sentence for people: what is wrong and what to do.
    pub detail: String,
    /// The fields that broke the schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// Why the server rejected a change, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// It is not a change of this protocol.
    Malformed,
    /// A field breaks its workflow's schema.
    BreaksSchema,
    /// It names a workflow, schema version or patient that the facility never had.
    UnknownTarget,
    /// Its actor had no authority for it when it was made.
    NotAuthorized,
    /// It was made under an assignment that is not this device's.
    WrongAssignment,
    /// This server does not take that kind of change for that collection.
    Unsupported,
    /// It is about something that an earlier change would have made, and that one was rejected.
    #[serde(rename = "depends_on_refused")]
    DependsOnRejected,
    /// It says that it takes the place of another, which is not a rejected change of its own actor in the
    /// same chain, or has been settled since.
    NotSuperseding,
    /// What it would make is more than a document may have ([`crate::record::MAX_DOCUMENT_BYTES`]).
    TooLarge,
    /// The server, or something on the way to it, breaks over it: it is kept unread.
    Opaque,
    /// A reason that this build does not know; the detail says it in words.
    #[serde(other)]
    Unknown,
}

impl PushReceipt {
    /// Adds the receipt for what came after.
    pub fn go_on(&mut self, next: Self) {
        next.verdicts.into_iter().for_each(|run| join(&mut self.verdicts, run));
        *self = Self { verdicts: std::mem::take(&mut self.verdicts), ..next };
    }
}

/// Adds one change's verdict to the runs of a receipt.
pub fn append(
    runs: &mut Vec<VerdictRun>,
    n: u64,
    verdict: Verdict,
    seq: Option<u64>,
    reason: Option<Rejection>,
) {
    join(runs, VerdictRun { n, count: 1, verdict, seq, reason });
}

/// Adds a run, to the last one where that goes on.
fn join(runs: &mut Vec<VerdictRun>, next: VerdictRun) {
    if let Some(last) = runs.last_mut() {
        let seq_continues = match (last.seq, next.seq) {
            (Some(first), Some(seq)) => first + last.count == seq,
            (None, None) => true,
            _ => false,
        };
        let continues = last.n + last.count == next.n && last.verdict == next.verdict && seq_continues;
        if continues && last.reason.is_none() && next.reason.is_none() {
            last.count += next.count;
            return;
        }
    }
    runs.push(next);
}

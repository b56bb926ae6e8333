//! Push: takes what devices push, checks the chain, judges each change, keeps all of it.

mod chain;
mod judge;
mod lineage;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, Lane, Link, PayloadHash};
use carepost_protocol::id::{BootId, DeviceId, IncarnationId};
use carepost_protocol::wire::push::{
    Fork, Gap, MAX_CHANGE_BYTES, MAX_CHANGES, Opaque, PushBatch, PushReceipt, Rejection, RejectionCode,
    append,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::store::engine::{Tx, params};
use crate::store::{DeviceIdentity, StoreError};
use chain::ChainEnd;
use judge::Judge;

pub(in crate::store) use chain::expects;
#[cfg(test)]
pub(in crate::store) use judge::LOOK_UPS;
pub(in crate::store) use judge::{Followed, discard, follow, retry};
pub(in crate::store) use lineage::{Chain, fork_of, link_at};

type Result<T> = std::result::Result<T, StoreError>;

/// How many changes one transaction takes of a batch at most; fewer when it has had its time.
const PORTION: usize = 500;
/// The largest number that a device may give, far from where a column would overflow.
const MAX_N: u64 = u64::MAX / 4;

/// A batch whose own arithmetic and signature hold.
pub struct Batch {
    device: DeviceId,
    key: Vec<u8>,
    boot: Option<BootId>,
    lane: Lane,
    incarnation: IncarnationId,
    parent: Option<Fork>,
    first_n: u64,
    previous: Link,
    signature: [u8; 64],
    entries: Vec<Entry>,
    gap: Option<Gap>,
}

struct Entry {
    /// The exact bytes; none when they did not get through.
    payload: Option<Box<[u8]>>,
    hash: PayloadHash,
    link: Link,
    content: Content,
}

/// What a payload says, or why it says nothing.
enum Content {
    Care(Box<Change>),
    Audit(Box<AuditEvent>),
    Unreadable(Rejection),
}

impl Batch {
    /// Recomputes the links, and checks that the device signed the last: megabytes of hashing and
    /// parsing, which want a blocking thread.
    ///
    /// # Errors
    /// [`StoreError::BadSignature`]; [`StoreError::Invalid`] when the batch contradicts itself.
    pub fn check(device: &DeviceIdentity, boot: Option<BootId>, batch: &PushBatch<'_>) -> Result<Self> {
        check_numbers(batch)?;
        let mut link = batch.previous;
        let mut entries = Vec::with_capacity(batch.changes.len());
        for (n, payload) in (batch.first_n..).zip(&batch.changes) {
            let payload = payload.get();
            let hash = PayloadHash::of(payload.as_bytes());
            link = link.next(n, &hash);
            let content = read(batch.lane, payload);
            entries.push(Entry { payload: Some(payload.as_bytes().into()), hash, link, content });
        }
        if let Some(opaque) = &batch.opaque {
            link = link.next(batch.first_n, &opaque.sha256);
            entries.push(Entry {
                payload: unpack(opaque)?,
                hash: opaque.sha256,
                link,
                content: Content::Unreadable(reject(
                    RejectionCode::Opaque,
                    "it could not be sent in the open and was kept unread; export it, and chart it anew",
                )),
            });
        }
        if link != batch.head {
            return Err(invalid(
                "head",
                "the head is not the link of the last change sent; send the batch again",
            ));
        }
        let signature = signature_of(&batch.signature).ok_or(StoreError::BadSignature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &device.public_key)
            .verify(batch.head.as_bytes(), &signature)
            .map_err(|_| StoreError::BadSignature)?;
        Ok(Self {
            device: device.device,
            key: device.public_key.clone(),
            boot,
            lane: batch.lane,
            incarnation: batch.incarnation,
            parent: batch.parent,
            first_n: batch.first_n,
            previous: batch.previous,
            signature,
            entries,
            gap: batch.gap,
        })
    }
}

impl Batch {
    /// What is left after so many entries were taken.
    fn go_on(mut self, taken: usize) -> Option<Self> {
        let entries = self.entries.split_off(taken.min(self.entries.len()));
        let last = self.entries.last().filter(|_| !entries.is_empty())?;
        self.previous = last.link;
        self.first_n += u64::try_from(taken).unwrap_or(0);
        Some(Self { entries, gap: None, ..self })
    }
}

fn invalid(field: &'static str, detail: &str) -> StoreError {
    StoreError::Invalid { field, detail: detail.to_owned() }
}

/// What a batch says about itself has to fit together before anything is computed from it.
fn check_numbers(batch: &PushBatch<'_>) -> Result<()> {
    if batch.changes.len() > MAX_CHANGES {
        return Err(invalid("changes", "send at most 1000 changes at once"));
    }
    if batch.first_n == 0 || batch.first_n > MAX_N {
        return Err(invalid("first_n", "changes are counted from 1"));
    }
    if batch.opaque.is_some() && !batch.changes.is_empty() {
        return Err(invalid("opaque", "it stands for one change alone; send no changes with it"));
    }
    if let Some(fork) = &batch.parent
        && (fork.care > MAX_N || fork.audit > MAX_N)
    {
        return Err(invalid("parent", "a fork's numbers are those of changes"));
    }
    if let Some(gap) = &batch.gap {
        let ends_before = gap.to.checked_add(1) == Some(batch.first_n);
        if gap.from == 0 || gap.from > gap.to || !ends_before {
            return Err(invalid("gap", "it ends before the batch's first change, and is not empty"));
        }
        if batch.changes.is_empty() && batch.opaque.is_none() {
            return Err(invalid("gap", "send it with the change that comes after it"));
        }
    }
    Ok(())
}

/// The bytes of an opaque change, where they got through.
fn unpack(opaque: &Opaque) -> Result<Option<Box<[u8]>>> {
    let Some(text) = &opaque.bytes else { return Ok(None) };
    // The text is measured before it is read: 4 characters stand for 3 bytes.
    if text.len() > MAX_CHANGE_BYTES.div_ceil(3) * 4 {
        return Err(invalid("opaque", "the change is larger than any may be; send it without its bytes"));
    }
    let bytes = STANDARD.decode(text).map_err(|_| invalid("opaque", "the bytes are not base64"))?;
    if PayloadHash::of(&bytes) != opaque.sha256 {
        return Err(invalid("opaque", "the bytes are not those of the hash; send it without them"));
    }
    Ok(Some(bytes.into_boxed_slice()))
}

fn signature_of(text: &str) -> Option<[u8; 64]> {
    let mut signature = [0; 64];
    if text.len() != 128 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in signature.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(signature)
}

fn read(lane: Lane, payload: &str) -> Content {
    if payload.len() > MAX_CHANGE_BYTES {
        return Content::Unreadable(reject(RejectionCode::Malformed, "the entry is larger than any may be"));
    }
    let content = match lane {
        Lane::Care => serde_json::from_str(payload).map(|change| Content::Care(Box::new(change))),
        Lane::Audit => serde_json::from_str(payload).map(|event| Content::Audit(Box::new(event))),
    };
    content.unwrap_or_else(|error| {
        Content::Unreadable(reject(
            RejectionCode::Malformed,
            format!(
                "the server cannot read this entry ({error}); export it, and update the server or device"
            ),
        ))
    })
}

fn reject(code: RejectionCode, detail: impl Into<String>) -> Rejection {
    Rejection { code, detail: detail.into(), errors: Vec::new() }
}

/// What one transaction took of a batch.
pub(in crate::store) struct Taken {
    pub(in crate::store) receipt: PushReceipt,
    /// By how many documents the feed has grown.
    pub(in crate::store) documents: u64,
    /// What is left, which is a batch of its own.
    pub(in crate::store) rest: Option<Batch>,
}

/// Applies a batch, as much of it as one transaction may take. What is committed is whole: the chain's head is the last entry that was taken, each
/// with its verdict, so that whoever breaks off goes on from there.
pub(in crate::store) fn apply(tx: &Tx<'_>, batch: Batch) -> Result<Taken> {
    // A device that two claim to be goes on pushing: nothing that anybody charted may be lost to that.
    let live =
        "SELECT 1 FROM devices WHERE id = ?1 AND state IN ('ACTIVE', 'QUARANTINED') AND public_key = ?2";
    if tx.first::<i64>(live, params![batch.device, batch.key])?.is_none() {
        return Err(StoreError::DeviceRevoked);
    }
    let mut chain = ChainEnd::open(tx, &batch)?;
    chain.pass_gap(tx, &batch)?;
    let mut verdicts = Vec::new();
    let known = chain.overlap(tx, &batch, &mut verdicts)?;
    let mut next_n = chain.next_n;
    let (mut taken, mut documents) = (known, 0);
    if batch.entries.len() > known {
        let mut judge = Judge::open(tx, &batch)?;
        for entry in batch.entries.iter().skip(known).take(PORTION) {
            let (verdict, seq, reason) = judge.take(tx, next_n, entry)?;
            append(&mut verdicts, next_n, verdict, seq, reason);
            next_n += 1;
            taken += 1;
            if tx.is_spent() {
                break;
            }
        }
        documents = judge.feed.grown();
        judge.feed.close(tx)?;
        chain.advance(tx, &batch, taken, next_n)?;
    }
    let durable_through = chain.durable_through(tx)?;
    let receipt = PushReceipt { verdicts, next_n, durable_through, server_time: tx.now() };
    Ok(Taken { receipt, documents, rest: batch.go_on(taken) })
}

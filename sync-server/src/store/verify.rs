//! Verification: every device's chains are recomputed from what is stored: whoever edits, drops, swaps or cuts off
//! rows behind the server's back cannot make the links fit, nor sign a head that does.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use carepost_protocol::change::{Lane, Link, PayloadHash};
use carepost_protocol::id::{DeviceId, IncarnationId};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Serialize;

use super::backup::facilities;
use super::engine::{self, AccessScope, FromValue, Tx, Value, params};
use super::row::{Stored, row, sql};
use super::rules::push::{Chain, fork_of, link_at};
use super::{Ambient, DatabaseKey, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// The most faults that are told one by one.
const MOST_FAULTS: usize = 1_000;

/// What was found of the devices' chains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// How many lanes of incarnations were looked at.
    pub chains: u64,
    pub entries: u64,
    /// How many of these have no payload any more, or never had: their hashes keep the chain.
    pub without_payload: u64,
    /// Numbers that devices and server lost together, and wrote down as lost.
    pub gaps: Vec<Missing>,
    /// What does not fit, the first thousand of it.
    pub faults: Vec<Fault>,
    /// How many faults there are in all.
    pub fault_count: u64,
}

impl Verified {
    /// Whether every chain is whole, but for the gaps that were written down.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.fault_count == 0
    }
}

/// Consecutive numbers of a lane that are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub device: DeviceId,
    /// In which incarnation of its outbox.
    pub incarnation: IncarnationId,
    pub lane: Lane,
    pub from: u64,
    pub to: u64,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub device: DeviceId,
    /// In which incarnation of its outbox.
    pub incarnation: IncarnationId,
    pub lane: Lane,
    pub n: u64,
    pub what: What,
}

/// What does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The payload is not the one whose hash is in the chain.
    Payload,
    /// The link does not follow from the one before it.
    Link,
    /// Numbers before this one are missing, and not written down as lost.
    Missing,
    /// The number is the parent's: the incarnation began after it.
    BelowFork,
    /// The chain ends elsewhere than its head says.
    Head,
    /// The device did not sign the head.
    Signature,
    /// The incarnation is not among the device's.
    UnknownIncarnation,
}

impl What {
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Payload => "the payload is not the one whose hash is in the chain",
            Self::Link => "the link does not follow from the one before it",
            Self::Missing => "numbers before this one are missing, and not written down as lost",
            Self::BelowFork => "the number is the parent's: the incarnation began after it",
            Self::Head => "the chain ends elsewhere than its head says",
            Self::Signature => "the device did not sign the head",
            Self::UnknownIncarnation => "the incarnation is not among the device's",
        }
    }
}

/// Recomputes every chain of the database at `path`. A server may run on it: what is looked at is as it was
/// at one moment, and nobody waits. Blocks.
///
/// # Errors
/// When the database cannot be read.
pub fn verify(path: &Path, key: &DatabaseKey, ambient: &Ambient) -> Result<Verified> {
    engine::observed(path, key, ambient, |tx| {
        let mut found = Verified::default();
        for scope in facilities(tx)? {
            tx.within(AccessScope::Facility(scope), |tx| verify_facility(tx, &mut found))?;
        }
        Ok(found)
    })
}

row! {
    /// A chain's end, as the device signed it.
    struct Head {
        next_n: u64 = "next_n" by Number::get,
        link: Link = "head",
        signature: Vec<u8>,
        /// The number that the signature is of, while a batch is taken in portions; none is the last.
        signed_n: Option<i64>,
    }
}

/// A number as the file has it, whoever wrote it: one below zero is no entry's, and reads as 0, which is none's either.
struct Number(u64);

impl Number {
    const fn get(self) -> u64 {
        self.0
    }
}

impl FromValue<'_> for Number {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).map(|number| Self(u64::try_from(number).unwrap_or(0)))
    }
}

type Heads = HashMap<(DeviceId, IncarnationId, Lane), Head>;

fn verify_facility(tx: &Tx<'_>, found: &mut Verified) -> Result<()> {
    let keys: HashMap<DeviceId, Option<Vec<u8>>> = tx
        .all::<(DeviceId, Option<Vec<u8>>)>("SELECT id, public_key FROM devices", params![])?
        .into_iter()
        .collect();
    let heads = heads(tx)?;
    let known = "SELECT device_id, id FROM incarnations ORDER BY device_id, first_seen_at, id";
    let known: Vec<(DeviceId, IncarnationId)> = tx.all(known, params![])?;
    for (device, incarnation) in known {
        for lane in Lane::ALL {
            let head = heads.get(&(device, incarnation, lane));
            let public = keys.get(&device).and_then(Option::as_deref);
            let mut walk = Walk { chain: Chain { device, incarnation, lane }, found };
            walk.run(tx, head, public)?;
        }
    }
    orphans(tx, found)
}

fn heads(tx: &Tx<'_>) -> Result<Heads> {
    let sql = sql!("SELECT device_id, incarnation_id, lane, ", Head::COLUMNS, " FROM chain_heads");
    let heads: Vec<(DeviceId, IncarnationId, String, Head)> = tx.all(sql, params![])?;
    // Of a lane that there is not, nothing can be recomputed: its rows are missing in the one that they were of.
    let known = |(device, incarnation, name, head): (_, _, String, _)| {
        let lane = Lane::ALL.into_iter().find(|lane| lane.name() == name)?;
        Some(((device, incarnation, lane), head))
    };
    Ok(heads.into_iter().filter_map(known).collect())
}

/// Rows under an incarnation that the device does not have.
fn orphans(tx: &Tx<'_>, found: &mut Verified) -> Result<()> {
    let sql = "SELECT device_id, incarnation_id, lane, min(n) FROM changes AS c
        WHERE NOT EXISTS (SELECT 1 FROM incarnations AS i WHERE i.device_id = c.device_id AND i.id = c.incarnation_id)
        GROUP BY device_id, incarnation_id, lane";
    let rows: Vec<(DeviceId, IncarnationId, String, Number)> = tx.all(sql, params![])?;
    for (device, incarnation, lane, Number(n)) in rows {
        let lane = if lane == Lane::Audit.name() { Lane::Audit } else { Lane::Care };
        let chain = Chain { device, incarnation, lane };
        Walk { chain, found }.fault(n, What::UnknownIncarnation);
    }
    Ok(())
}

/// One chain, from its start to its head.
struct Walk<'a> {
    chain: Chain,
    found: &'a mut Verified,
}

/// How far a walk has come.
struct Place {
    next_n: u64,
    /// The link before the next entry; none where it cannot be known.
    link: Option<Link>,
}

impl Walk<'_> {
    fn run(&mut self, tx: &Tx<'_>, head: Option<&Head>, public: Option<&[u8]>) -> Result<()> {
        let fork = fork_of(tx, self.chain)?;
        let mut place = Place { next_n: fork + 1, link: link_at(tx, self.chain, fork)? };
        let mut gaps = self.gaps(tx)?.into_iter().peekable();
        let sql = "SELECT n, payload, payload_sha256, link FROM changes
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 ORDER BY n";
        let mut any = false;
        let chain = self.chain;
        tx.each(sql, &chain.key(), |row| {
            any = true;
            let (Number(n), payload, hash, stored): (_, Option<&[u8]>, _, _) = row.read()?;
            if n <= fork {
                self.fault(n, What::BelowFork);
                return Ok(ControlFlow::Continue(()));
            }
            if let Some((missing, link)) = gaps.next_if(|(missing, _)| missing.to < n)
                && missing.from <= place.next_n
            {
                place = Place { next_n: missing.to + 1, link: Some(link) };
                self.found.gaps.push(missing);
            }
            self.step(n, payload, hash, stored, &mut place);
            Ok(ControlFlow::Continue(()))
        })?;
        if any || head.is_some() {
            self.found.chains += 1;
            self.end(tx, &place, head, public)?;
        }
        Ok(())
    }

    fn step(&mut self, n: u64, payload: Option<&[u8]>, hash: PayloadHash, link: Link, place: &mut Place) {
        self.found.entries += 1;
        match payload {
            Some(payload) if PayloadHash::of(payload) != hash => self.fault(n, What::Payload),
            Some(_) => {}
            None => self.found.without_payload += 1,
        }
        if n != place.next_n {
            self.fault(n, What::Missing);
        } else if place.link.is_none_or(|before| before.next(n, &hash) != link) {
            self.fault(n, What::Link);
        }
        // From here on by what is stored, so that one fault is told once.
        *place = Place { next_n: n + 1, link: Some(link) };
    }

    fn end(&mut self, tx: &Tx<'_>, place: &Place, head: Option<&Head>, public: Option<&[u8]>) -> Result<()> {
        let Some(head) = head else {
            self.fault(place.next_n, What::Head);
            return Ok(());
        };
        if head.next_n != place.next_n || Some(head.link) != place.link {
            self.fault(head.next_n.max(place.next_n), What::Head);
        }
        let signed = match head.signed_n {
            None => Some(head.link),
            // The server or the device broke off within the chain's first batch: nothing is signed yet.
            Some(0) => return Ok(()),
            Some(n) => u64::try_from(n).ok().map(|n| link_at(tx, self.chain, n)).transpose()?.flatten(),
        };
        let is_signed = public.zip(signed).is_some_and(|(key, link)| {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
            key.verify(link.as_bytes(), &head.signature).is_ok()
        });
        if !is_signed {
            let last = || head.next_n.saturating_sub(1);
            let n = head.signed_n.map_or_else(last, |n| u64::try_from(n).unwrap_or(0));
            self.fault(n, What::Signature);
        }
        Ok(())
    }

    fn gaps(&self, tx: &Tx<'_>) -> Result<Vec<(Missing, Link)>> {
        let Chain { device, incarnation, lane } = self.chain;
        let sql = "SELECT from_n, to_n, link FROM gaps
            WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 ORDER BY from_n";
        let gaps: Vec<(Number, Number, Link)> = tx.all(sql, &self.chain.key())?;
        let missing =
            |(Number(from), Number(to), link)| (Missing { device, incarnation, lane, from, to }, link);
        Ok(gaps.into_iter().map(missing).collect())
    }

    fn fault(&mut self, n: u64, what: What) {
        let Chain { device, incarnation, lane } = self.chain;
        self.found.fault_count += 1;
        if self.found.faults.len() < MOST_FAULTS {
            self.found.faults.push(Fault { device, incarnation, lane, n, what });
        }
    }
}

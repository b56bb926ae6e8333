//! Badge keys. A card's id is never stored: only its HMAC under the facility's badge key, which is what a
//! reader's device computes too. When a device is lost that had the key, another is laid over it: what is
//! stored of each badge becomes its own HMAC under that, so that no card has to be tapped for it (ADR 8). A new
//! key is told in the feed before the badges are keyed anew behind it, some in each commit.

use carepost_protocol::badge::lay_over;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{BadgeId, FacilityId};
use carepost_protocol::record::{BadgeDocument, BadgeKeysDocument, Collection};
use zeroize::Zeroizing;

use super::feed_writer::FeedEnd;
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::{Stored, sql};
use crate::store::{Badge, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A badge, and what readers know it by.
macro_rules! with_lookup {
    ($from:literal) => {
        sql!("SELECT ", Badge::COLUMNS, ", lookup FROM ", $from)
    };
}

/// Puts a badge at the end of the feed of the facility whose scope this is, known by all keys that are told there; of
/// one that is gone the tombstone.
pub(in crate::store) fn renew(tx: &Tx<'_>, feed: &mut FeedEnd, keys: &BadgeKeys, id: BadgeId) -> Result<()> {
    let found = tx.first::<(Badge, String)>(with_lookup!("badges WHERE id = ?1"), params![id])?;
    let body = match found {
        Some((badge, before)) => {
            let sql = "SELECT seq FROM documents WHERE collection = 'badges' AND id = ?1";
            let lookup = keys.renewed(before, tx.first(sql, params![id])?, keys.told);
            tx.execute("UPDATE badges SET lookup = ?2 WHERE id = ?1", params![id, lookup])?;
            Some(json(&document(&badge, &lookup))?)
        }
        None => None,
    };
    feed.put(tx, Collection::Badges, id.as_bytes(), None, body.as_deref()).map(drop)
}

fn document(badge: &Badge, lookup: &str) -> BadgeDocument {
    BadgeDocument {
        id: badge.id,
        user_id: badge.user_id,
        lookup: lookup.to_owned(),
        is_active: badge.is_active,
    }
}

/// Lays a new key over a facility's badge keys. Its feed does not tell it yet, and no badge is known by it.
pub(in crate::store) fn lay_key(tx: &Tx<'_>, facility: FacilityId) -> Result<Zeroizing<[u8; 32]>> {
    let mut layers = keys(tx, facility)?.layers;
    let layer = Zeroizing::new(tx.random::<32>()?);
    layers.push(layer.clone());
    let layers = Zeroizing::new(layers.iter().flat_map(|key| **key).collect::<Vec<u8>>());
    tx.execute("UPDATE facilities SET badge_layers = ?2 WHERE id = ?1", params![facility, *layers])?;
    Ok(layer)
}

/// Puts one more of a facility's badge keys into its feed.
pub(in crate::store) fn tell_next(tx: &Tx<'_>, feed: &mut FeedEnd, keys: &BadgeKeys) -> Result<()> {
    tell(tx, feed, keys, keys.told.saturating_add(1))
}

fn tell(tx: &Tx<'_>, feed: &mut FeedEnd, keys: &BadgeKeys, told: usize) -> Result<()> {
    let body = json(&keys.document(told))?;
    feed.put(tx, Collection::Facilities, BadgeKeysDocument::ID.as_bytes(), None, Some(&body)).map(drop)
}

/// Lays a new key over a facility's badge keys, and keys every badge of it anew at once, the revoked ones too: they go
/// on to be refused by name. For a database that is put back, whose badges are known by all keys before.
pub(in crate::store) fn rekey(tx: &Tx<'_>, facility: FacilityId) -> Result<()> {
    let layer = lay_key(tx, facility)?;
    for (badge, lookup) in of_facility(tx, facility)? {
        let sql = "UPDATE badges SET lookup = ?2 WHERE id = ?1";
        tx.execute(sql, params![badge.id, lay_over(&layer, &lookup)])?;
    }
    Ok(())
}

/// Puts all of a facility's badge keys into its feed, and behind them its badges, which are known by all of them.
pub(in crate::store) fn publish_all(tx: &Tx<'_>, facility: FacilityId) -> Result<()> {
    let (keys, badges) = (keys(tx, facility)?, of_facility(tx, facility)?);
    tx.within_facility(facility, |tx| {
        let mut feed = FeedEnd::open(tx)?;
        if !keys.layers.is_empty() {
            tell(tx, &mut feed, &keys, keys.layers.len())?;
        }
        for (badge, lookup) in &badges {
            let body = json(&document(badge, lookup))?;
            feed.put(tx, Collection::Badges, badge.id.as_bytes(), None, Some(&body))?;
        }
        feed.close(tx)
    })
}

fn of_facility(tx: &Tx<'_>, facility: FacilityId) -> Result<Vec<(Badge, String)>> {
    tx.all(with_lookup!("badges WHERE facility_id = ?1"), params![facility])
}

pub(in crate::store) fn keys(tx: &Tx<'_>, facility: FacilityId) -> Result<BadgeKeys> {
    let sql = "SELECT badge_key, badge_layers FROM facilities WHERE id = ?1";
    let found = tx.first::<(_, Vec<u8>)>(sql, params![facility])?;
    let (first, layers) = found.ok_or(StoreError::NotFound("facility"))?;
    let layers = Zeroizing::new(layers);
    let layers = layers.chunks(32).map(|key| key.try_into().map(Zeroizing::new));
    let layers = layers.collect::<std::result::Result<_, _>>();
    let layers = layers.map_err(|_| StoreError::Unreadable("facilities"))?;
    let sql = "SELECT seq, body FROM documents WHERE collection = 'facilities' AND id = ?1";
    let told =
        tx.within_facility(facility, |tx| tx.first::<(u64, String)>(sql, params![BadgeKeysDocument::ID]))?;
    let (place, told) = match told {
        Some((place, body)) => (place, told_by(&Zeroizing::new(body))?),
        None => (0, 0),
    };
    Ok(BadgeKeys { first: Zeroizing::new(first), layers, told, place })
}

fn told_by(body: &str) -> Result<usize> {
    let document = serde_json::from_str::<BadgeKeysDocument>(body);
    Ok(document.map_err(|_| StoreError::Unreadable("documents"))?.keys.len())
}

/// A facility's first badge key, and those that were laid over it since.
pub(in crate::store) struct BadgeKeys {
    pub(in crate::store) first: Zeroizing<[u8; 32]>,
    layers: Vec<Zeroizing<[u8; 32]>>,
    /// How many of those its feed tells.
    pub(in crate::store) told: usize,
    /// Where in the feed they stand. A badge behind them is known by all that are told, one before them by all but the
    /// last.
    pub(in crate::store) place: u64,
}

impl BadgeKeys {
    /// Whether the feed tells all of them.
    pub(in crate::store) fn all_told(&self) -> bool {
        self.told >= self.layers.len()
    }

    /// What the lookup of a badge, whose document has a place in the feed or none yet, comes to under so many keys.
    pub(in crate::store) fn renewed(&self, lookup: String, place: Option<u64>, under: usize) -> String {
        let is_before = place.is_some_and(|place| place < self.place);
        self.over(lookup, self.told.saturating_sub(usize::from(is_before)), under)
    }

    /// What a lookup under some of the keys comes to under more of them.
    pub(in crate::store) fn over(&self, lookup: String, from: usize, to: usize) -> String {
        let layers = self.layers.iter().take(to).skip(from);
        layers.fold(lookup, |lookup, key| lay_over(key, &lookup))
    }

    pub(in crate::store) fn document(&self, told: usize) -> BadgeKeysDocument {
        let keys = self.layers.iter().take(told).map(|key| hex(key.as_slice())).collect();
        BadgeKeysDocument { id: BadgeKeysDocument::ID, keys }
    }
}

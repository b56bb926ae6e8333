//! Revocations: who and what may sign nobody in any more is told with a heartbeat's answer, so that no feed can hold
//! it up. Where each facility's staff and badges last changed is kept in memory, and a device that knows as much
//! costs one look at it.

use carepost_protocol::id::{BadgeId, FacilityId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::{Heartbeat, MAX_REVOKED, Revocation, Revoked};
use carepost_protocol::wire::pull::Cursor;
use serde::Deserialize;

use super::feed_writer::head;
use crate::store::cache::Cache;
use crate::store::engine::{FromValue, Tx, Value, params};
use crate::store::{DeviceIdentity, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many documents of each kind one answer looks at: who still works is among them too.
const LOOKED_AT: u32 = 1_000;

/// Where the feeds of facilities last said something of staff or badges, or their epochs were raised.
pub(in crate::store) type StaffMoves = Cache<FacilityId, Cursor>;

/// How far a device knows what the feed said of staff and badges, as it says, where the feed's end is `last`. Whoever
/// stepped over some of that, or has another copy of it, does not know it by the mirror, however far that is.
pub(in crate::store) fn known(device: &DeviceIdentity, beat: &Heartbeat, last: Cursor) -> u64 {
    let over = beat.mirror.stepped_over.iter().map(|over| &over.collection);
    let blind = over
        .chain(&beat.mirror.differs)
        .any(|name| [Collection::Users, Collection::Badges].iter().any(|staff| staff.name() == name));
    let mirror = beat.cursor.filter(|_| !blind);
    // A place of another epoch is nowhere: everything is told.
    let in_epoch = |cursor: &Cursor| cursor.epoch == last.epoch.saturating_add(device.view_changes());
    let known = [mirror, beat.revocations].into_iter().flatten().filter(in_epoch);
    known.map(|cursor| cursor.seq).max().unwrap_or(0)
}

/// Staff, then badges. Each by an index of its own that has the collection in it: SQLite would rather walk
/// the whole feed than use one that has not.
pub(in crate::store) const LAST: [&str; 2] = [
    "SELECT seq FROM documents WHERE collection = 'users' ORDER BY seq DESC LIMIT 1",
    "SELECT seq FROM documents WHERE collection = 'badges' ORDER BY seq DESC LIMIT 1",
];
pub(in crate::store) const SINCE: [&str; 2] = [
    "SELECT seq, id, body FROM documents WHERE collection = 'users' AND seq > ?1 ORDER BY seq LIMIT ?2",
    "SELECT seq, id, body FROM documents WHERE collection = 'badges' AND seq > ?1 ORDER BY seq LIMIT ?2",
];

pub(in crate::store) fn last_move(tx: &Tx<'_>) -> Result<Cursor> {
    let mut last = Cursor { seq: 0, ..head(tx)? };
    for sql in LAST {
        last.seq = last.seq.max(tx.first::<u64>(sql, params![])?.unwrap_or(0));
    }
    Ok(last)
}

/// What a document of staff or a badge says, by its place in the feed.
type FeedRow = (u64, [u8; 16], Option<Active>);

/// What every document of staff and badges says. One who left the facility, or a badge that was taken off it, has
/// none any more.
#[derive(Deserialize)]
struct Active {
    is_active: bool,
}

impl FromValue<'_> for Active {
    fn from_value(value: Value<'_>) -> Option<Self> {
        serde_json::from_str(&String::from_value(value)?).ok()
    }
}

/// What was revoked after a place in the feed.
pub(in crate::store) fn revoked_since(tx: &Tx<'_>, since: u64) -> Result<Revoked> {
    let mut revoked = Revoked { users: Vec::new(), badges: Vec::new(), through: head(tx)?, more: false };
    let mut rows = Vec::new();
    for (collection, sql) in [Collection::Users, Collection::Badges].into_iter().zip(SINCE) {
        let of_one: Vec<FeedRow> = tx.all(sql, params![since, LOOKED_AT])?;
        if let Some((last, ..)) = of_one.last().filter(|_| of_one.len() >= LOOKED_AT as usize) {
            (revoked.through.seq, revoked.more) = (revoked.through.seq.min(*last), true);
        }
        rows.extend(of_one.into_iter().map(|(seq, id, standing)| {
            (seq, collection, id, standing.is_some_and(|standing| standing.is_active))
        }));
    }
    rows.retain(|(seq, _, _, is_active)| !is_active && *seq <= revoked.through.seq);
    rows.sort_unstable();
    if let Some((last, ..)) = rows.get(MAX_REVOKED.saturating_sub(1)).filter(|_| rows.len() > MAX_REVOKED) {
        (revoked.through.seq, revoked.more) = (*last, true);
    }
    for (seq, collection, id, _) in rows.into_iter().take(MAX_REVOKED) {
        if collection == Collection::Users {
            revoked.users.push(Revocation { id: UserId::from_bytes(id), seq });
        } else {
            revoked.badges.push(Revocation { id: BadgeId::from_bytes(id), seq });
        }
    }
    Ok(revoked)
}

//! Who and what may sign nobody in any more: told with a heartbeat's answer, so that no feed can hold it
//! up. Where each facility's staff and badges last changed is kept in memory, and a device that knows as
//! much costs one look at it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::FacilityId;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::{Heartbeat, MAX_REVOKED, Revocation, Revoked};
use carepost_protocol::wire::pull::Cursor;
use rusqlite::{Row, params};
use serde::Deserialize;

use super::column::{count, count_at, id_at};
use super::engine::{Reach, Tx};
use super::{DeviceIdentity, FacilityStore, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How many documents one answer looks at: an unchanged member of staff is among them too.
const LOOKED_AT: u32 = 1_000;

/// Where the feeds of facilities last said something of staff or badges.
#[derive(Debug, Default)]
pub(super) struct StaffMoves {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what was forgotten: what was read before is not kept after.
    generation: u64,
    known: HashMap<FacilityId, Cursor>,
}

impl StaffMoves {
    /// Staff or badges of a facility were written, or its epoch raised.
    pub(super) fn forget(&self, facility: FacilityId) {
        let mut state = self.locked();
        state.generation = state.generation.wrapping_add(1);
        state.known.remove(&facility);
    }

    fn find(&self, facility: FacilityId) -> std::result::Result<Cursor, u64> {
        let state = self.locked();
        state.known.get(&facility).copied().ok_or(state.generation)
    }

    fn keep(&self, facility: FacilityId, last: Cursor, generation: u64) {
        let mut state = self.locked();
        if state.generation == generation {
            state.known.insert(facility, last);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half-written: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FacilityStore {
    /// What was revoked after what a device knows by its mirror, or by earlier answers; none where staff
    /// and badges have not changed since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked(&self, device: &DeviceIdentity, beat: &Heartbeat) -> Result<Option<Revoked>> {
        let (facility, moves) = (self.scope.facility(), &self.store.inner.staff_moves);
        let last = match moves.find(facility) {
            Ok(last) => last,
            Err(generation) => {
                let last = self.store.read(Reach::Facility(self.scope), last_move).await?;
                moves.keep(facility, last, generation);
                last
            }
        };
        let view_changes = device.view_changes();
        // A place of another epoch is nowhere: everything is told.
        let in_epoch = |cursor: &Cursor| cursor.epoch == last.epoch.saturating_add(view_changes);
        let known = [beat.cursor, beat.revocations].into_iter().flatten().filter(in_epoch);
        let since = known.map(|cursor| cursor.seq).max().unwrap_or(0);
        if since >= last.seq {
            return Ok(None);
        }
        let mut revoked =
            self.store.read(Reach::Facility(self.scope), move |tx| revoked_since(tx, since)).await?;
        revoked.through.epoch = revoked.through.epoch.saturating_add(view_changes);
        Ok(Some(revoked))
    }
}

/// By an index of its own, like [`SINCE`]; without a range SQLite would walk all of the feed.
pub(super) const LAST: &str = "SELECT seq FROM documents
    WHERE collection IN ('users', 'badges') AND seq > 0 ORDER BY seq DESC LIMIT 1";
pub(super) const SINCE: &str = "SELECT collection, id, seq, body FROM documents
    WHERE collection IN ('users', 'badges') AND seq > ?1 ORDER BY seq LIMIT ?2";

fn last_move(tx: &Tx<'_>) -> Result<Cursor> {
    let seq = tx.first(LAST, [], |row| count_at(row, 0))?.unwrap_or(0);
    Ok(Cursor { seq, ..head(tx)? })
}

fn head(tx: &Tx<'_>) -> Result<Cursor> {
    let read = |row: &Row<'_>| Ok(Cursor { epoch: count_at(row, 0)?, seq: count_at(row, 1)? });
    tx.first("SELECT epoch, seq FROM feeds", [], read)?.ok_or(StoreError::NotFound("facility"))
}

fn revoked_since(tx: &Tx<'_>, since: u64) -> Result<Revoked> {
    /// What every document of staff and badges says.
    #[derive(Deserialize)]
    struct Standing {
        is_active: bool,
    }
    let mut revoked = Revoked { users: Vec::new(), badges: Vec::new(), through: head(tx)?, more: false };
    let mut statement = tx.prepare(SINCE)?;
    let mut rows = statement.query(params![count(since), LOOKED_AT])?;
    let (mut looked, mut named) = (0, 0);
    while let Some(row) = rows.next()? {
        let seq = count_at(row, 2)?;
        looked += 1;
        let unreadable = |_| StoreError::Unreadable("documents");
        let body = row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        // One who left the facility, or a badge that was taken off it, has no document any more.
        let standing: Option<Standing> = body.map(serde_json::from_str).transpose().map_err(unreadable)?;
        if !standing.is_some_and(|standing| standing.is_active) {
            named += 1;
            if row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? == Collection::Users.name() {
                revoked.users.push(Revocation { id: id_at(row, 1)?, seq });
            } else {
                revoked.badges.push(Revocation { id: id_at(row, 1)?, seq });
            }
        }
        if looked == LOOKED_AT || named == MAX_REVOKED {
            revoked.through.seq = seq;
            revoked.more = true;
            break;
        }
    }
    Ok(revoked)
}

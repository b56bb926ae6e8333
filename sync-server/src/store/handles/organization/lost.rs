//! A device is lost: what it held of its facility is worth nothing to a thief from now on. The PINs that it held have
//! to be replaced, and the facility's badges are known by another key (ADR 8).
//!
//! The report lays a new key over the others, and what follows is done in portions, by whoever comes next. A key that
//! the facility's feed does not tell yet says that PINs may have to be marked; a badge that stands before the keys in
//! the feed is to be keyed anew. One loss is done with before the next key is told. Whoever left the facility is in no
//! scope of it any more: who reports the loss marks those, or reports it again.

use std::sync::Arc;

use carepost_protocol::id::{BadgeId, DeviceId, FacilityId, UserId};
use carepost_protocol::pin;
use carepost_protocol::record::{Collection, UserDocument};
use carepost_protocol::time::Timestamp;

use super::{OrganizationStore, Result, Tx};
use crate::store::engine::params;
use crate::store::rules::badge_keys::{BadgeKeys, keys, lay_key, renew, tell_next};
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::user::{document, publish};
use crate::store::{Device, Exposed};

/// How many PINs and badges one commit takes at most; fewer when it has had its time.
const PORTION: usize = 200;

/// The badges that stand in the feed before a place, those that are gone too: each is moved behind it.
pub(in crate::store) const BADGES_BEFORE: &str =
    "SELECT id FROM documents WHERE collection = 'badges' AND seq < ?1 ORDER BY seq LIMIT ?2";
/// The users, as far as the scope reaches, who left a device's facility while it had the device, and whose PIN is still
/// one that was there. That the device heard of it says nothing: a thief may have read before.
pub(in crate::store) const LEFT: &str =
    "SELECT users.id, users.pin_set_at FROM assignments AS a CROSS JOIN users
    WHERE a.device_id = ?1 AND users.facility_id IS DISTINCT FROM a.facility_id
        AND users.pin_verifier IS NOT NULL AND users.pin_exposed_at IS NULL
        AND EXISTS (SELECT 1 FROM user_terms AS t
            WHERE t.user_id = users.id AND t.facility_id = a.facility_id
                AND t.until_at > a.from_at AND t.from_at <= coalesce(a.until_at, t.from_at)
                AND coalesce(users.pin_set_at, t.from_at) <= t.until_at
                AND coalesce(users.pin_set_at, t.from_at) <= coalesce(a.until_at, t.until_at))";
/// The users of a facility whose PINs are not marked.
pub(in crate::store) const UNMARKED: &str = "SELECT id FROM users
    WHERE facility_id = ?1 AND pin_verifier IS NOT NULL AND pin_exposed_at IS NULL
    ORDER BY sort_key, id LIMIT ?2";
/// Those whose PINs a thief has known since a time, behind a place in their order.
pub(in crate::store) const EXPOSED: &str = "SELECT sort_key, id FROM users
    WHERE facility_id = ?1 AND pin_exposed_at <= ?2 AND pin_verifier IS NOT NULL AND (sort_key, id) > (?3, ?4)
    ORDER BY sort_key, id LIMIT ?5";

/// What is still to be done for the lost devices of a facility.
pub(in crate::store) struct Unfinished {
    pub(in crate::store) lookups: Vec<(BadgeId, String)>,
    pub(in crate::store) pins: Vec<UserId>,
}

/// Who left a facility, and when their PIN was set.
type Left = (UserId, Option<Timestamp>);

impl OrganizationStore {
    /// Whose PINs a device held who left its facility since. The writer waits for none of it.
    pub(super) async fn who_left(&self, device: DeviceId) -> Result<Vec<Left>> {
        self.read(move |tx| tx.all(LEFT, params![device])).await
    }

    /// All that follows the report, which stands where this fails. Whoever leaves from then on is marked then.
    pub(super) async fn replace_what_it_held(&self, device: &Device) {
        let undone = "PINs that a lost device held of who left its facility are not all marked: report the device \
                      as lost again";
        match self.who_left(device.id).await {
            Ok(left) => {
                let left: Arc<[Left]> = left.into();
                self.in_portions(undone, move |tx, done| mark_some(tx, &left, done.unwrap_or(0))).await;
            }
            Err(fault) => {
                let organization = self.scope.organization();
                tracing::warn!(%organization, %fault, "{undone}");
            }
        }
        let facility = device.facility_id;
        let rest = move |tx: &Tx<'_>, _: Option<()>| Ok(tx.within_facility(facility, go_on)?.then_some(()));
        let undone = "what a lost device held is not all replaced: that goes on when a device of its facility is \
                      heard, or the lost one is reported again";
        self.in_portions(undone, rest).await;
    }
}

/// Marks some PINs, behind as many as are done, but none that was set since; gives how many are done then, while there
/// may be more.
fn mark_some(tx: &Tx<'_>, left: &[Left], mut done: usize) -> Result<Option<usize>> {
    let is_the_same = "SELECT 1 FROM users WHERE id = ?1 AND pin_set_at IS NOT DISTINCT FROM ?2";
    for &(id, set_at) in left.iter().skip(done).take(PORTION) {
        if tx.exists(is_the_same, params![id, set_at])? {
            mark(tx, id)?;
            publish(tx, id)?;
        }
        done += 1;
        if tx.is_spent() {
            break;
        }
    }
    Ok(Some(done).filter(|done| *done < left.len()))
}

/// Begins it: a key is laid over. All else is [`go_on`]'s, and to mark so many who left. Gives what it will come to.
pub(in crate::store) fn begin(tx: &Tx<'_>, facility: FacilityId, left: usize) -> Result<Exposed> {
    lay_key(tx, facility)?;
    let here = "SELECT (SELECT count(*) FROM badges WHERE facility_id = ?1), (SELECT count(*) FROM users
        WHERE facility_id = ?1 AND pin_verifier IS NOT NULL AND pin_exposed_at IS NULL)";
    let (badges, pins) = tx.first::<(u64, u64)>(here, params![facility])?.unwrap_or_default();
    Ok(Exposed { pins: pins.saturating_add(u64::try_from(left).unwrap_or(u64::MAX)), badges })
}

/// Does a portion of it in the facility whose scope this is: marks PINs, then tells the next key, then keys the badges
/// that stand before it. Whether there may be more.
pub(in crate::store) fn go_on(tx: &Tx<'_>) -> Result<bool> {
    go_on_until(tx, || tx.is_spent())
}

/// Does all of it, however long the transaction takes: that of a restore, for which nobody waits.
pub(in crate::store) fn finish(tx: &Tx<'_>) -> Result<()> {
    while go_on_until(tx, || false)? {}
    Ok(())
}

fn go_on_until(tx: &Tx<'_>, is_over: impl Fn() -> bool) -> Result<bool> {
    let facility = tx.facility_scope()?.facility();
    let keys = keys(tx, facility)?;
    let mut feed = FeedEnd::open(tx)?;
    let has_more = portion(tx, facility, &keys, &mut feed, is_over)?;
    feed.close(tx)?;
    Ok(has_more)
}

fn portion(
    tx: &Tx<'_>,
    facility: FacilityId,
    keys: &BadgeKeys,
    feed: &mut FeedEnd,
    is_over: impl Fn() -> bool,
) -> Result<bool> {
    let mut left = PORTION;
    for id in tx.all::<BadgeId>(BADGES_BEFORE, params![keys.place, PORTION])? {
        renew(tx, feed, keys, id)?;
        left -= 1;
        if left == 0 || is_over() {
            return Ok(true);
        }
    }
    if keys.all_told() {
        return Ok(false);
    }
    for id in tx.all::<UserId>(UNMARKED, params![facility, left])? {
        mark(tx, id)?;
        tell(tx, feed, id)?;
        left -= 1;
        if left == 0 || is_over() {
            return Ok(true);
        }
    }
    tell_next(tx, feed, keys)?;
    Ok(true)
}

/// What [`go_on`] would still do in a facility.
pub(in crate::store) fn unfinished(tx: &Tx<'_>, facility: FacilityId) -> Result<Unfinished> {
    let keys = keys(tx, facility)?;
    tx.within_facility(facility, |tx| {
        let sql = "SELECT id, lookup, (SELECT d.seq FROM documents AS d
            WHERE d.collection = 'badges' AND d.id = badges.id) FROM badges";
        let badges: Vec<(BadgeId, String, Option<u64>)> = tx.all(sql, params![])?;
        let will_be = |(id, lookup, place)| (id, keys.renewed(lookup, place, usize::MAX));
        let lookups = badges.into_iter().map(will_be).collect();
        let most = if keys.all_told() { 0 } else { u32::MAX };
        Ok(Unfinished { lookups, pins: tx.all(UNMARKED, params![facility, most])? })
    })
}

/// Marks the PIN of a user who leaves a facility before [`go_on`] has come to it.
pub(super) fn mark_who_leaves(tx: &Tx<'_>, id: UserId, facility: FacilityId) -> Result<()> {
    if keys(tx, facility)?.all_told() { Ok(()) } else { mark(tx, id) }
}

/// Takes PINs that a thief has known for too long out of the feed of the facility whose scope this is, a portion at a
/// time: those of users behind that one, in the order of their names. Gives the last to whom it came, if any.
pub(in crate::store) fn withhold_expired_pins(
    tx: &Tx<'_>,
    after: Option<(Vec<u8>, UserId)>,
) -> Result<Option<(Vec<u8>, UserId)>> {
    let (facility, since) = (tx.facility_scope()?.facility(), tx.now().before(pin::EXPOSED_FOR).as_millis());
    let (name, id) = after.unwrap_or((Vec::new(), UserId::from_bytes([0; 16])));
    let exposed = tx.all::<(Vec<u8>, UserId)>(EXPOSED, params![facility, since, name, id, PORTION])?;
    let sent = "SELECT body FROM documents WHERE collection = 'users' AND id = ?1 AND body IS NOT NULL";
    let mut last = None;
    let mut feed = FeedEnd::open(tx)?;
    for (name, id) in exposed {
        let document = tx.first::<UserDocument>(sent, params![id])?;
        if document.is_some_and(|user| user.pin_verifier.is_some()) {
            tell(tx, &mut feed, id)?;
        }
        last = Some((name, id));
        if tx.is_spent() {
            break;
        }
    }
    feed.close(tx)?;
    Ok(last)
}

fn mark(tx: &Tx<'_>, id: UserId) -> Result<()> {
    let sql = "UPDATE users SET pin_exposed_at = ?2
        WHERE id = ?1 AND pin_verifier IS NOT NULL AND pin_exposed_at IS NULL";
    tx.execute(sql, params![id, tx.now()]).map(drop)
}

/// Tells the devices of the facility whose scope this is what is known of a user of it.
fn tell(tx: &Tx<'_>, feed: &mut FeedEnd, id: UserId) -> Result<()> {
    let (_, body) = document(tx, id)?;
    feed.put(tx, Collection::Users, id.as_bytes(), None, Some(&body)).map(drop)
}

//! Badges. A card's id is never stored: only its HMAC under the facility's badge key, which is what a
//! reader's device computes too. When a device is lost that had the key, another is laid over it: what is
//! stored of each badge becomes its own HMAC under that, so that no card has to be tapped for it (ADR 8). A new
//! key is told in the feed before the badges are keyed anew behind it, some in each commit.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::badge::{Uid, UidError, check, lay_over, layered, lookup};
use carepost_protocol::device::DeviceState;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{BadgeId, DeviceId, FacilityId, UserId};
use carepost_protocol::record::{BadgeDocument, BadgeKeysDocument, Collection};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{TAP_LASTS, UnknownTap};
use zeroize::Zeroizing;

use super::{Noted, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::Badge;
use crate::store::column::json;
use crate::store::engine::params;
use crate::store::row::{Stored, select, sql};
use crate::store::rules::feed_writer::{FeedEnd, put};

/// A badge, and what readers know it by.
macro_rules! with_lookup {
    ($from:literal) => {
        sql!("SELECT ", Badge::COLUMNS, ", lookup FROM ", $from)
    };
}

impl OrganizationStore {
    /// A user's badges, latest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user.
    pub async fn badges(&self, user: UserId) -> Result<Vec<Badge>> {
        self.read(move |tx| {
            super::users::user(tx, user)?;
            let of_user = select!(Badge, "badges WHERE user_id = ?1 ORDER BY created_at DESC, id DESC");
            tx.all(of_user, params![user])
        })
        .await
    }

    /// One badge.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn badge(&self, id: BadgeId) -> Result<Badge> {
        self.read(move |tx| badge(tx, id)).await
    }
}

impl Noted {
    /// Issues the card with this id to a user, for the readers of the user's home facility. A card whose
    /// badge was revoked may be issued again, to anybody.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user, [`StoreError::Issued`] when the card is somebody's
    /// badge, [`StoreError::Invalid`] for a user without a home facility, for what is no card's id and for a card
    /// that draws a new id for each tap.
    pub async fn issue_badge(self, user: UserId, uid: &[u8]) -> Result<Badge> {
        let fault = |fault: UidError| invalid("uid", &fault.to_string());
        check(uid).map_err(fault)?;
        let (uid, by) = (Uid::from_bytes(uid).map_err(fault)?, self.event.user_id);
        self.write(move |tx| {
            let facility = home_of(tx, user)?;
            let keys = keys(tx, facility)?;
            issue(tx, (user, facility), &keys, lookup(&keys.first, &uid), by)
        })
        .await
    }

    /// Issues the card that a device saw last, and knows nobody by, to a user of its facility: its id was never
    /// here. `card` says which card was meant, as the audit log masks it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user and the device, [`StoreError::Invalid`] when no such card was there
    /// within [`TAP_LASTS`], when it was another, and for a user of another facility; [`StoreError::Changed`] for the
    /// device; else as [`Self::issue_badge`].
    pub async fn issue_tapped_badge(self, user: UserId, device: DeviceId, card: String) -> Result<Badge> {
        let (device, by) = (self.registry.device(device).await?, self.event.user_id);
        let expected = self.expected.clone();
        self.write(move |tx| {
            expected.check(&super::devices::device(tx, device.id)?)?;
            let facility = home_of(tx, user)?;
            if facility != device.facility_id {
                return Err(invalid(
                    "device_id",
                    "this device is not of the user's home facility: tap it there",
                ));
            }
            let fresh =
                |at: &Timestamp| device.state == DeviceState::Active && tx.now().since(*at) <= TAP_LASTS;
            let tapped = device.unknown_tap.filter(|(_, at)| fresh(at)).map(|(lookup, _)| lookup);
            let first = tapped.ok_or_else(|| {
                let detail =
                    "no unknown card was there within fifteen minutes: tap it, and try again in a moment";
                invalid("device_id", detail)
            })?;
            if UnknownTap::masked(&first) != card {
                return Err(invalid("card", "another card was tapped there since: look at the device again"));
            }
            issue(tx, (user, facility), &keys(tx, facility)?, first, by)
        })
        .await
    }

    /// Revokes a badge. Twice is fine.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`].
    pub async fn revoke_badge(self, id: BadgeId) -> Result<Badge> {
        let expected = self.expected.clone();
        self.write(move |tx| {
            let found = badge(tx, id)?;
            expected.check(&found)?;
            if found.is_active {
                tx.execute("UPDATE badges SET is_active = 0 WHERE id = ?1", params![id])?;
                publish(tx, &found)?;
            }
            badge(tx, id)
        })
        .await
    }
}

impl Subject for Badge {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.facility_id = Some(self.facility_id);
        event.details.insert("user".to_owned(), self.user_id.to_string().into());
        event.details.insert("badge".to_owned(), self.card.as_str().into());
    }
}

fn badge(tx: &Tx<'_>, id: BadgeId) -> Result<Badge> {
    tx.first(select!(Badge, "badges WHERE id = ?1"), params![id])?.ok_or(StoreError::NotFound("badge"))
}

fn invalid(field: &'static str, detail: &str) -> StoreError {
    StoreError::Invalid { field, detail: detail.to_owned() }
}

fn home_of(tx: &Tx<'_>, user: UserId) -> Result<FacilityId> {
    let facility = super::users::user(tx, user)?.facility_id;
    facility.ok_or_else(|| {
        invalid("user_id", "this user has no home facility whose readers would know the badge")
    })
}

fn issue(
    tx: &Tx<'_>,
    (user, facility): (UserId, FacilityId),
    keys: &BadgeKeys,
    first: String,
    by: Option<UserId>,
) -> Result<Badge> {
    // A badge that is not keyed anew yet is found by what it was known by before.
    for lookup in layered(&first, &keys.document(keys.told).keys) {
        let holder = tx.first::<Badge>(
            select!(Badge, "badges WHERE facility_id = ?1 AND lookup = ?2"),
            params![facility, lookup],
        )?;
        match holder {
            Some(badge) if badge.is_active => return Err(StoreError::Issued(badge.user_id)),
            Some(revoked) => remove(tx, &revoked)?,
            None => {}
        }
    }
    let now = tx.now();
    let lookup = keys.over(first, 0, keys.told);
    let name = by.map(|by| tx.first("SELECT username FROM users WHERE id = ?1", params![by]));
    let badge = Badge {
        id: BadgeId::new(now, tx.random()?),
        user_id: user,
        facility_id: facility,
        card: UnknownTap::masked(&lookup),
        is_active: true,
        created_at: now,
        issued_by: name.transpose()?.flatten(),
    };
    tx.execute(
        "INSERT INTO badges (id, facility_id, user_id, lookup, is_active, created_at, issued_by)
            VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)",
        params![badge.id, facility, user, lookup, now, by],
    )?;
    publish(tx, &badge)?;
    Ok(badge)
}

/// Takes every badge of a user out of the registry and off the devices.
pub(super) fn remove_all(tx: &Tx<'_>, user: UserId) -> Result<()> {
    let of_user = select!(Badge, "badges WHERE user_id = ?1");
    tx.all::<Badge>(of_user, params![user])?.iter().try_for_each(|badge| remove(tx, badge))
}

/// Takes one badge out likewise.
pub(in crate::store) fn remove_by_id(tx: &Tx<'_>, id: BadgeId) -> Result<()> {
    remove(tx, &badge(tx, id)?)
}

fn remove(tx: &Tx<'_>, badge: &Badge) -> Result<()> {
    tx.execute("DELETE FROM badges WHERE id = ?1", params![badge.id])?;
    tx.within_facility(badge.facility_id, |tx| put(tx, Collection::Badges, badge.id.as_bytes(), None, None))
}

fn publish(tx: &Tx<'_>, badge: &Badge) -> Result<()> {
    let keys = keys(tx, badge.facility_id)?;
    tx.within_facility(badge.facility_id, |tx| {
        let mut feed = FeedEnd::open(tx)?;
        renew(tx, &mut feed, &keys, badge.id)?;
        feed.close(tx)
    })
}

/// Puts a badge at the end of the feed of the facility whose scope this is, known by all keys that are told there; of
/// one that is gone the tombstone.
pub(super) fn renew(tx: &Tx<'_>, feed: &mut FeedEnd, keys: &BadgeKeys, id: BadgeId) -> Result<()> {
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
pub(super) fn lay_key(tx: &Tx<'_>, facility: FacilityId) -> Result<Zeroizing<[u8; 32]>> {
    let mut layers = keys(tx, facility)?.layers;
    let layer = Zeroizing::new(tx.random::<32>()?);
    layers.push(layer.clone());
    let layers = Zeroizing::new(layers.iter().flat_map(|key| **key).collect::<Vec<u8>>());
    tx.execute("UPDATE facilities SET badge_layers = ?2 WHERE id = ?1", params![facility, *layers])?;
    Ok(layer)
}

/// Puts one more of a facility's badge keys into its feed.
pub(super) fn tell_next(tx: &Tx<'_>, feed: &mut FeedEnd, keys: &BadgeKeys) -> Result<()> {
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

pub(super) fn keys(tx: &Tx<'_>, facility: FacilityId) -> Result<BadgeKeys> {
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
pub(super) struct BadgeKeys {
    first: Zeroizing<[u8; 32]>,
    layers: Vec<Zeroizing<[u8; 32]>>,
    /// How many of those its feed tells.
    told: usize,
    /// Where in the feed they stand. A badge behind them is known by all that are told, one before them by all but the
    /// last.
    pub(super) place: u64,
}

impl BadgeKeys {
    /// Whether the feed tells all of them.
    pub(super) fn all_told(&self) -> bool {
        self.told >= self.layers.len()
    }

    /// What the lookup of a badge, whose document has a place in the feed or none yet, comes to under so many keys.
    pub(super) fn renewed(&self, lookup: String, place: Option<u64>, under: usize) -> String {
        let is_before = place.is_some_and(|place| place < self.place);
        self.over(lookup, self.told.saturating_sub(usize::from(is_before)), under)
    }

    /// What a lookup under some of the keys comes to under more of them.
    fn over(&self, lookup: String, from: usize, to: usize) -> String {
        let layers = self.layers.iter().take(to).skip(from);
        layers.fold(lookup, |lookup, key| lay_over(key, &lookup))
    }

    fn document(&self, told: usize) -> BadgeKeysDocument {
        let keys = self.layers.iter().take(told).map(|key| hex(key.as_slice())).collect();
        BadgeKeysDocument { id: BadgeKeysDocument::ID, keys }
    }
}

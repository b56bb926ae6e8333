//! Badges. A card's id is never stored: only its HMAC under the facility's badge key, which is what a
//! reader's device computes too. When a device is lost that had the key, another is laid over it: what is
//! stored of each badge becomes its own HMAC under that, so that no card has to be tapped for it (ADR 8).

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::badge::{Uid, UidError, check, lay_over, lookup};
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
        self.read(move |tx| Ok(badge(tx, id)?.0)).await
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
            let lookup = keys(tx, facility)?.lookup(&uid);
            issue(tx, (user, facility), &lookup, by)
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
            let lookup = keys(tx, facility)?.over(first);
            issue(tx, (user, facility), &lookup, by)
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
            let (mut badge, lookup) = badge(tx, id)?;
            expected.check(&badge)?;
            if badge.is_active {
                badge.is_active = false;
                tx.execute("UPDATE badges SET is_active = 0 WHERE id = ?1", params![id])?;
                publish(tx, &badge, &lookup)?;
            }
            Ok(badge)
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

/// A badge, and what readers know it by.
fn badge(tx: &Tx<'_>, id: BadgeId) -> Result<(Badge, String)> {
    tx.first(with_lookup!("badges WHERE id = ?1"), params![id])?.ok_or(StoreError::NotFound("badge"))
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
    lookup: &str,
    by: Option<UserId>,
) -> Result<Badge> {
    let holder = tx.first::<Badge>(
        select!(Badge, "badges WHERE facility_id = ?1 AND lookup = ?2"),
        params![facility, lookup],
    )?;
    match holder {
        Some(badge) if badge.is_active => return Err(StoreError::Issued(badge.user_id)),
        Some(revoked) => remove(tx, &revoked)?,
        None => {}
    }
    let now = tx.now();
    let name = by.map(|by| tx.first("SELECT username FROM users WHERE id = ?1", params![by]));
    let badge = Badge {
        id: BadgeId::new(now, tx.random()?),
        user_id: user,
        facility_id: facility,
        card: UnknownTap::masked(lookup),
        is_active: true,
        created_at: now,
        issued_by: name.transpose()?.flatten(),
    };
    tx.execute(
        "INSERT INTO badges (id, facility_id, user_id, lookup, is_active, created_at, issued_by)
            VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)",
        params![badge.id, facility, user, lookup, now, by],
    )?;
    publish(tx, &badge, lookup)?;
    Ok(badge)
}

/// Takes every badge of a user out of the registry and off the devices.
pub(super) fn remove_all(tx: &Tx<'_>, user: UserId) -> Result<()> {
    let of_user = select!(Badge, "badges WHERE user_id = ?1");
    tx.all::<Badge>(of_user, params![user])?.iter().try_for_each(|badge| remove(tx, badge))
}

/// Takes one badge out likewise.
pub(in crate::store) fn remove_by_id(tx: &Tx<'_>, id: BadgeId) -> Result<()> {
    remove(tx, &badge(tx, id)?.0)
}

fn remove(tx: &Tx<'_>, badge: &Badge) -> Result<()> {
    tx.execute("DELETE FROM badges WHERE id = ?1", params![badge.id])?;
    tx.within_facility(badge.facility_id, |tx| put(tx, Collection::Badges, badge.id.as_bytes(), None, None))
}

fn publish(tx: &Tx<'_>, badge: &Badge, lookup: &str) -> Result<()> {
    let body = json(&document(badge, lookup))?;
    tx.within_facility(badge.facility_id, |tx| {
        put(tx, Collection::Badges, badge.id.as_bytes(), None, Some(&body))
    })
}

fn document(badge: &Badge, lookup: &str) -> BadgeDocument {
    BadgeDocument {
        id: badge.id,
        user_id: badge.user_id,
        lookup: lookup.to_owned(),
        is_active: badge.is_active,
    }
}

/// Lays a new key over a facility's badge keys, and keys every badge of it anew, the revoked ones too: they
/// go on to be refused by name. Gives how many.
pub(in crate::store) fn rekey(tx: &Tx<'_>, facility: FacilityId) -> Result<u64> {
    let mut keys = keys(tx, facility)?;
    let layer = Zeroizing::new(tx.random::<32>()?);
    keys.layers.push(layer.clone());
    let layers = Zeroizing::new(keys.layers.iter().flat_map(|key| **key).collect::<Vec<u8>>());
    let sql = "UPDATE facilities SET badge_layers = ?2 WHERE id = ?1";
    tx.execute(sql, params![facility, *layers])?;
    let badges = of_facility(tx, facility)?;
    for (badge, lookup) in &badges {
        let sql = "UPDATE badges SET lookup = ?2 WHERE id = ?1";
        tx.execute(sql, params![badge.id, lay_over(&layer, lookup)])?;
    }
    publish_all(tx, facility)?;
    Ok(u64::try_from(badges.len()).unwrap_or(u64::MAX))
}

/// Puts a facility's badge keys into its feed, and behind them its badges, which are known by them.
pub(in crate::store) fn publish_all(tx: &Tx<'_>, facility: FacilityId) -> Result<()> {
    let (keys, badges) = (keys(tx, facility)?, of_facility(tx, facility)?);
    tx.within_facility(facility, |tx| {
        let mut feed = FeedEnd::open(tx)?;
        if !keys.layers.is_empty() {
            let keys = json(&keys.document())?;
            feed.put(tx, Collection::Facilities, BadgeKeysDocument::ID.as_bytes(), None, Some(&keys))?;
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

fn keys(tx: &Tx<'_>, facility: FacilityId) -> Result<BadgeKeys> {
    let sql = "SELECT badge_key, badge_layers FROM facilities WHERE id = ?1";
    let found = tx.first::<(_, Vec<u8>)>(sql, params![facility])?;
    let (first, layers) = found.ok_or(StoreError::NotFound("facility"))?;
    let layers = Zeroizing::new(layers);
    let layers = layers.chunks(32).map(|key| key.try_into().map(Zeroizing::new));
    let layers = layers.collect::<std::result::Result<_, _>>();
    let layers = layers.map_err(|_| StoreError::Unreadable("facilities"))?;
    Ok(BadgeKeys { first: Zeroizing::new(first), layers })
}

/// A facility's first badge key, and those that were laid over it since.
struct BadgeKeys {
    first: Zeroizing<[u8; 32]>,
    layers: Vec<Zeroizing<[u8; 32]>>,
}

impl BadgeKeys {
    /// By what readers know a card: its lookup under the first key, with the other keys laid over it.
    fn lookup(&self, uid: &Uid) -> String {
        self.over(lookup(&self.first, uid))
    }

    /// The same with what stands under the first key.
    fn over(&self, first: String) -> String {
        self.layers.iter().fold(first, |lookup, key| lay_over(key, &lookup))
    }

    fn document(&self) -> BadgeKeysDocument {
        let keys = self.layers.iter().map(|key| hex(key.as_slice())).collect();
        BadgeKeysDocument { id: BadgeKeysDocument::ID, keys }
    }
}

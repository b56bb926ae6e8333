//! Badges: which card is whose. What a card is known by is `rules::badge_keys`'s.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::badge::{Uid, UidError, check, layered, lookup};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{BadgeId, DeviceId, FacilityId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{TAP_LASTS, UnknownTap};

use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::Badge;
use crate::store::engine::params;
use crate::store::row::{insert_into, select};
use crate::store::rules::badge_keys::{BadgeKeys, keys, renew};
use crate::store::rules::feed_writer::{FeedEnd, put};
use crate::store::rules::user;

/// How many badges a user may have, those that were revoked among them: all go at once when the user moves.
pub(in crate::store) const MAX_BADGES: u64 = 50;

impl OrganizationStore {
    /// A user's badges, latest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user.
    pub async fn badges(&self, user: UserId) -> Result<Vec<Badge>> {
        self.read(move |tx| {
            user::user(tx, user)?;
            let of_user = select!(Badge, "badges WHERE user_id = ?1 ORDER BY created_at DESC, id DESC");
            tx.all(of_user, params![user])
        })
        .await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn badge(&self, id: BadgeId) -> Result<Badge> {
        self.read(move |tx| badge(tx, id)).await
    }
}

impl AuditedWrite {
    /// Issues the card with this id to a user, for the readers of the user's home facility. A card whose
    /// badge was revoked may be issued again, to anybody.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the user, [`StoreError::Issued`] when the card is somebody's
    /// badge, [`StoreError::Invalid`] for a user without a home facility or with as many badges in use as anybody may
    /// have, for what is no card's id and for a card that draws a new id for each tap.
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
    let facility = user::user(tx, user)?.facility_id;
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
    make_room(tx, user)?;
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
    insert_into!(tx, "badges" {
        id: badge.id,
        facility_id: facility,
        user_id: user,
        lookup: lookup,
        is_active: true,
        created_at: now,
        issued_by: by,
    })?;
    publish(tx, &badge)?;
    Ok(badge)
}

/// Of as many badges as a user may have, the oldest that was revoked goes: the card is one that nobody knows then, and
/// whose it was is in the audit log.
fn make_room(tx: &Tx<'_>, user: UserId) -> Result<()> {
    let all = tx.first::<u64>("SELECT count(*) FROM badges WHERE user_id = ?1", params![user])?.unwrap_or(0);
    let beyond = (all + 1).saturating_sub(MAX_BADGES).min(MAX_BADGES);
    let revoked =
        select!(Badge, "badges WHERE user_id = ?1 AND is_active = 0 ORDER BY created_at, id LIMIT ?2");
    let oldest = tx.all::<Badge>(revoked, params![user, beyond])?;
    if beyond > 0 && oldest.is_empty() {
        return Err(invalid(
            "user_id",
            "this user has 50 badges in use, as many as there may be: revoke one first",
        ));
    }
    oldest.iter().try_for_each(|badge| remove(tx, badge))
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

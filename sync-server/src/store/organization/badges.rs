//! Badges. A card's id is never stored: only its HMAC under the facility's badge key, which is what a
//! reader's device computes too.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{BadgeId, UserId};
use carepost_protocol::record::{BadgeDocument, Collection};
use rusqlite::{Row, params};
use zeroize::Zeroizing;

use super::super::Badge;
use super::super::column::{id_at, json, time_at};
use super::super::publish::put;
use super::{Noted, OrganizationStore, Result, StoreError, Subject, Tx};

macro_rules! badge_columns {
    () => {
        "SELECT id, user_id, facility_id, is_active, created_at, lookup FROM badges "
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
            let of_user = concat!(badge_columns!(), "WHERE user_id = ?1 ORDER BY created_at DESC");
            tx.all(of_user, [user.as_bytes()], badge_row)
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
    /// [`StoreError::NotFound`] for the user, [`StoreError::Conflict`] when the card is somebody's
    /// badge, [`StoreError::Invalid`] for a user without a home facility and for a card that draws a new
    /// id for each tap.
    pub async fn issue_badge(self, user: UserId, uid: &[u8]) -> Result<Badge> {
        let uid = Zeroizing::new(uid.to_vec());
        self.write(move |tx| issue(tx, user, &uid)).await
    }

    /// Revokes a badge. Twice is fine.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_badge(self, id: BadgeId) -> Result<Badge> {
        self.write(move |tx| {
            let (mut badge, lookup) = badge(tx, id)?;
            if badge.is_active {
                badge.is_active = false;
                tx.execute("UPDATE badges SET is_active = 0 WHERE id = ?1", [id.as_bytes()])?;
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
    }
}

/// A badge, and what readers know it by.
fn badge(tx: &Tx<'_>, id: BadgeId) -> Result<(Badge, String)> {
    let by_id = concat!(badge_columns!(), "WHERE id = ?1");
    let read = |row: &Row<'_>| Ok((badge_row(row)?, row.get::<_, String>(5)?));
    tx.first(by_id, [id.as_bytes()], read)?.ok_or(StoreError::NotFound("badge"))
}

fn issue(tx: &Tx<'_>, user: UserId, uid: &[u8]) -> Result<Badge> {
    let invalid = |field, detail: &str| StoreError::Invalid { field, detail: detail.to_owned() };
    let facility = super::users::user(tx, user)?.facility_id;
    let facility = facility.ok_or_else(|| {
        invalid("user_id", "this user has no home facility whose readers would know the badge")
    })?;
    if !matches!(uid.len(), 4..=10) {
        return Err(invalid("uid", "a card's id has 4 to 10 bytes: give it as hexadecimal digits"));
    }
    if uid.len() == 4 && uid.first() == Some(&0x08) {
        return Err(invalid("uid", "this card draws a new id for each tap, so nobody could be known by it"));
    }
    let key: Option<[u8; 32]> =
        tx.first("SELECT badge_key FROM facilities WHERE id = ?1", [facility.as_bytes()], |row| row.get(0))?;
    let lookup = lookup(&Zeroizing::new(key.ok_or(StoreError::NotFound("facility"))?), uid);
    let holder = tx.first(
        concat!(badge_columns!(), "WHERE facility_id = ?1 AND lookup = ?2"),
        params![facility.as_bytes(), lookup],
        badge_row,
    )?;
    match holder {
        Some(badge) if badge.is_active => return Err(StoreError::Conflict("badge")),
        Some(revoked) => remove(tx, &revoked)?,
        None => {}
    }
    let now = tx.now();
    let badge = Badge {
        id: BadgeId::new(now, tx.random()?),
        user_id: user,
        facility_id: facility,
        is_active: true,
        created_at: now,
    };
    tx.execute(
        "INSERT INTO badges (id, facility_id, user_id, lookup, is_active, created_at)
            VALUES (?1, ?2, ?3, ?4, 1, ?5)",
        params![badge.id.as_bytes(), facility.as_bytes(), user.as_bytes(), lookup, now.as_millis()],
    )?;
    publish(tx, &badge, &lookup)?;
    Ok(badge)
}

/// Takes every badge of a user out of the registry and off the devices.
pub(super) fn remove_all(tx: &Tx<'_>, user: UserId) -> Result<()> {
    let of_user = concat!(badge_columns!(), "WHERE user_id = ?1");
    tx.all(of_user, [user.as_bytes()], badge_row)?.iter().try_for_each(|badge| remove(tx, badge))
}

fn remove(tx: &Tx<'_>, badge: &Badge) -> Result<()> {
    tx.execute("DELETE FROM badges WHERE id = ?1", [badge.id.as_bytes()])?;
    tx.within_facility(badge.facility_id, |tx| put(tx, Collection::Badges, badge.id.as_bytes(), None, None))
}

fn publish(tx: &Tx<'_>, badge: &Badge, lookup: &str) -> Result<()> {
    let document = BadgeDocument {
        id: badge.id,
        user_id: badge.user_id,
        lookup: lookup.to_owned(),
        is_active: badge.is_active,
    };
    let body = json(&document)?;
    tx.within_facility(badge.facility_id, |tx| {
        put(tx, Collection::Badges, badge.id.as_bytes(), None, Some(&body))
    })
}

/// HMAC-SHA256 under the facility's key over `uid:` and the id's bytes in upper-case hexadecimal.
fn lookup(key: &[u8; 32], uid: &[u8]) -> String {
    let mut text = Zeroizing::new(String::with_capacity(4 + 2 * uid.len()));
    text.push_str("uid:");
    uid.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    ring::hmac::sign(&key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn badge_row(row: &Row<'_>) -> rusqlite::Result<Badge> {
    Ok(Badge {
        id: id_at(row, 0)?,
        user_id: id_at(row, 1)?,
        facility_id: id_at(row, 2)?,
        is_active: row.get(3)?,
        created_at: time_at(row, 4)?,
    })
}

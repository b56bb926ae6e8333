//! The sign-in lock: failures are counted by name and network, whether anybody has the name or not, so that a lock
//! neither tells which names there are nor keeps somebody out whom others attack.
//!
//! Five failures in a row lock a name for the network they came from (S0-49). Who guesses from many networks
//! is stopped by the count of all: it locks the name everywhere but where its owner signed in of late.

use std::path::Path;
use std::time::Duration;

use carepost_protocol::audit::{AuditEvent, AuditEventType};
use carepost_protocol::id::{OrganizationId, UserId};
use carepost_protocol::text::fold;
use carepost_protocol::time::Timestamp;
use serde_json::json as object;

use super::audit;
use crate::scope::OrganizationScope;
use crate::store::engine::{self, AccessScope, Tx, params};
use crate::store::row::{insert_into, row, select};
use crate::store::{Ambient, DatabaseKey, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Failures in a row, from one network, that lock (S0-49).
const MAX_FAILURES: u32 = 5;
/// For how long they lock; as long apart, failures do not add up.
const LOCK: Duration = Duration::from_secs(30 * 60);
/// Failures within an hour, from anywhere, that lock: ten networks' worth. With the lock they leave a
/// password of twelve characters a thousand guesses a day.
const MAX_ANYWHERE: u32 = 50;
/// Within which they count together.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// For how long a network from which somebody signed in is known to be the user's.
const KNOWN: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The most networks that are known to be a user's.
const MAX_KNOWN: i64 = 8;
/// About the most counts that are kept of failures; the oldest are forgotten first.
pub(in crate::store) const MOST: u32 = 20_000;
/// One failure in so many makes room: it walks all that is kept, and each adds two at the most.
const MAKES_ROOM: u8 = 64;
/// How many counts are forgotten at once at the most, so that other writers do not wait for long.
pub(in crate::store) const FORGOTTEN: u32 = 1_000;
/// The network that stands for all of them.
const ANYWHERE: &str = "";

/// As whom somebody wants to sign in, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    place: String,
    organization: Option<OrganizationId>,
    name: String,
    network: String,
}

impl Login {
    /// A user of an organization, under this name.
    #[must_use]
    pub fn of_organization(organization: OrganizationId, name: &str, network: String) -> Self {
        Self { place: organization.to_string(), organization: Some(organization), name: fold(name), network }
    }

    /// A platform administrator, under this name.
    #[must_use]
    pub fn of_platform(name: &str, network: String) -> Self {
        Self { place: "platform".to_owned(), organization: None, name: fold(name), network }
    }

    /// Somebody of an organization that there is not.
    #[must_use]
    pub fn of_nowhere(place: &str, name: &str, network: String) -> Self {
        Self { place: format!("nowhere {place}"), organization: None, name: fold(name), network }
    }

    /// The name, as names are compared.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

row! {
    /// One count of failures.
    struct Failures {
        counted: u32 = "failures",
        /// The last of them; of those from anywhere, the first.
        at: Timestamp = "failed_at",
        locked_until: Option<Timestamp>,
        /// When somebody signed in from there.
        good_at: Option<Timestamp>,
    }
}

impl Failures {
    fn lock(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| *until > now)
    }
}

/// By an index of its own.
pub(in crate::store) const GOOD: &str =
    "SELECT organization_id FROM system_sign_ins WHERE network = ?1 AND good_at > ?2
    ORDER BY good_at LIMIT 1";

/// Whose the login's network is known to be, none of the platform's: of those who signed in from there of late, under
/// whatever name, the one whose sign-in is longest ago, so that who comes to a network makes it nobody else's. System
/// access, as all of this.
pub(in crate::store) fn known_to(tx: &Tx<'_>, login: &Login) -> Result<Option<Option<OrganizationId>>> {
    let since = tx.now().before(KNOWN).as_millis();
    tx.first::<Option<_>>(GOOD, params![login.network, since])
}

/// Until when nobody may sign in under that name from there.
pub(in crate::store) fn locked(tx: &Tx<'_>, login: &Login) -> Result<Option<Timestamp>> {
    let now = tx.now();
    let own = failures(tx, login, &login.network)?;
    let lock = own.as_ref().and_then(|own| own.lock(now));
    let is_known = own.and_then(|own| own.good_at).is_some_and(|at| now.since(at) < KNOWN);
    if lock.is_some() || is_known {
        return Ok(lock);
    }
    Ok(failures(tx, login, ANYWHERE)?.and_then(|all| all.lock(now)))
}

/// Counts a failure, unless the name is locked there; gives until when it is locked now. Tries that were let
/// through to the check together are told the same, whichever was the fifth. The event is written when this
/// one locks.
pub(in crate::store) fn failed(
    tx: &Tx<'_>,
    login: &Login,
    locks: Option<AuditEvent>,
) -> Result<Option<Timestamp>> {
    let before = locked(tx, login)?;
    if before.is_some() {
        return Ok(before);
    }
    make_room(tx)?;
    let now = tx.now();
    let own = failures(tx, login, &login.network)?.filter(|own| own.at.after(LOCK) > now);
    let own = count(tx, login, &login.network, now, own.map_or(0, |own| own.counted), MAX_FAILURES)?;
    let all = failures(tx, login, ANYWHERE)?.filter(|all| all.at.after(HOUR) > now);
    let (since, counted) = all.map_or((now, 0), |all| (all.at, all.counted));
    let all = count(tx, login, ANYWHERE, since, counted, MAX_ANYWHERE)?;
    let until = all.or(own);
    if let (Some(until), Some(mut event)) = (until, locks) {
        event.details.insert("locked_until".to_owned(), object!(until));
        event.details.insert("everywhere".to_owned(), object!(all.is_some()));
        audit::append(tx, &[event])?;
    }
    Ok(until)
}

/// Counts one more; those that locked are used up.
fn count(
    tx: &Tx<'_>,
    login: &Login,
    network: &str,
    at: Timestamp,
    before: u32,
    most: u32,
) -> Result<Option<Timestamp>> {
    let counted = before.saturating_add(1);
    let until = (counted >= most).then(|| tx.now().after(LOCK));
    let kept = if until.is_some() { 0 } else { counted };
    let changed = "UPDATE system_sign_ins SET failures = ?4, failed_at = ?5,
            locked_until = coalesce(?6, locked_until)
        WHERE place = ?1 AND name = ?2 AND network = ?3";
    let lock = until.map(Timestamp::as_millis);
    let row = params![login.place, login.name, network, kept, at, lock];
    if tx.execute(changed, row)? == 0 {
        insert(tx, login, network, (kept, at, until), None)?;
    }
    Ok(until)
}

/// Somebody signed in: the failures from there are forgotten, and it is known as a place of the user's.
pub(in crate::store) fn succeeded(tx: &Tx<'_>, login: &Login) -> Result<()> {
    let now = tx.now();
    let changed = "UPDATE system_sign_ins SET failures = 0, locked_until = NULL, good_at = ?4
        WHERE place = ?1 AND name = ?2 AND network = ?3";
    if tx.execute(changed, params![login.place, login.name, login.network, now])? == 0 {
        insert(tx, login, &login.network, (0, now, None), Some(now))?;
    }
    let too_many = "DELETE FROM system_sign_ins WHERE place = ?1 AND name = ?2 AND good_at < (
        SELECT good_at FROM system_sign_ins WHERE place = ?1 AND name = ?2 AND good_at IS NOT NULL
            ORDER BY good_at DESC LIMIT 1 OFFSET ?3)";
    tx.execute(too_many, params![login.place, login.name, MAX_KNOWN - 1]).map(drop)
}

fn insert(
    tx: &Tx<'_>,
    login: &Login,
    network: &str,
    (failures, at, until): (u32, Timestamp, Option<Timestamp>),
    good_at: Option<Timestamp>,
) -> Result<()> {
    insert_into!(tx, "system_sign_ins" {
        place: login.place,
        name: login.name,
        network: network,
        id: tx.random::<16>()?,
        organization_id: login.organization,
        failures: failures,
        failed_at: at,
        locked_until: until,
        good_at: good_at,
    })
    .map(drop)
}

/// When the latest was of those that there is no room for. By an index of its own, as [`OLDEST`].
pub(in crate::store) const BEYOND: &str = "SELECT failed_at FROM system_sign_ins
    WHERE good_at IS NULL AND failed_at >= ?1 ORDER BY failed_at DESC LIMIT 1 OFFSET ?2";
/// What is over, and of what is not, what there is no room for.
pub(in crate::store) const OLDEST: &str = "SELECT place, name, network FROM system_sign_ins
    WHERE good_at IS NULL AND failed_at < ?1 AND (failed_at <= ?2 OR coalesce(locked_until, 0) <= ?3)
    ORDER BY failed_at LIMIT ?4";

/// Forgets what counts no more, and when there is much all the same, what is the oldest: now and then, and
/// some at a time.
fn make_room(tx: &Tx<'_>) -> Result<()> {
    let [drawn] = tx.random::<1>()?;
    if !drawn.is_multiple_of(MAKES_ROOM) {
        return Ok(());
    }
    let (now, hour_ago) = (tx.now().as_millis(), tx.now().before(HOUR).as_millis());
    let beyond = tx.first::<i64>(BEYOND, params![hour_ago, MOST])?.unwrap_or(i64::MIN);
    let oldest = params![hour_ago.max(beyond.saturating_add(1)), beyond, now, FORGOTTEN];
    let oldest: Vec<(String, String, String)> = tx.all(OLDEST, oldest)?;
    for (place, name, network) in oldest {
        let sql = "DELETE FROM system_sign_ins WHERE place = ?1 AND name = ?2 AND network = ?3";
        tx.execute(sql, params![place, name, network])?;
    }
    Ok(())
}

fn failures(tx: &Tx<'_>, login: &Login, network: &str) -> Result<Option<Failures>> {
    let sql = select!(Failures, "system_sign_ins WHERE place = ?1 AND name = ?2 AND network = ?3");
    tx.first(sql, params![login.place, login.name, network])
}

/// Lets a user, or a platform administrator, sign in again at once from everywhere, whoever was locked by how
/// many failures. The server may run: it finds the locks gone. `by` says who did it, for the audit log. Gives
/// how many locks there were. Blocks.
///
/// # Errors
/// [`StoreError::NotFound`] for the organization (by slug or id) or the user.
pub fn unlock(
    path: &Path,
    key: &DatabaseKey,
    ambient: &Ambient,
    organization: Option<&str>,
    username: &str,
    by: serde_json::Value,
) -> Result<u64> {
    engine::beside(path, key, ambient, |tx| unlock_within(tx, organization, username, by))
}

fn unlock_within(
    tx: &Tx<'_>,
    organization: Option<&str>,
    username: &str,
    by: serde_json::Value,
) -> Result<u64> {
    let everywhere = String::new();
    let (login, user) = match organization {
        None => {
            let sql = "SELECT id FROM system_platform_admins WHERE username_key = ?1";
            let user: Option<UserId> = tx.first(sql, params![fold(username)])?;
            (Login::of_platform(username, everywhere), user)
        }
        Some(named) => {
            let named = fold(named);
            let id = named.parse::<OrganizationId>().ok().map(|id| *id.as_bytes());
            let sql = "SELECT id FROM system_organizations WHERE slug = ?1 OR id = ?2";
            let organization = tx.first::<OrganizationId>(sql, params![named, id])?;
            let organization = organization.ok_or(StoreError::NotFound("organization"))?;
            let sql = "SELECT id FROM system_users WHERE organization_id = ?1 AND username_key = ?2";
            let key = params![organization, fold(username)];
            let user: Option<UserId> = tx.first(sql, key)?;
            (Login::of_organization(organization, username, everywhere), user)
        }
    };
    let user = user.ok_or(StoreError::NotFound("user"))?;
    let locks = "SELECT count(*) FROM system_sign_ins WHERE place = ?1 AND name = ?2 AND locked_until > ?3";
    let key = params![login.place, login.name, tx.now()];
    let locks = tx.first::<u64>(locks, key)?.unwrap_or(0);
    let forget =
        "UPDATE system_sign_ins SET failures = 0, locked_until = NULL WHERE place = ?1 AND name = ?2";
    tx.execute(forget, params![login.place, login.name])?;
    let details = object!({"username": username, "user": user, "locks": locks, "by": by});
    let noted = |tx: &Tx<'_>| audit::noticed(tx, AuditEventType::Login, "unlock", None, details);
    match login.organization {
        Some(organization) => {
            tx.within(AccessScope::Organization(OrganizationScope::of_founding(organization)), noted)?;
        }
        None => noted(tx)?,
    }
    Ok(locks)
}

/// Forgets who failed, and from where somebody signed in: the password is another. Organization access.
pub(in crate::store) fn forget(tx: &Tx<'_>, username: &str) -> Result<()> {
    tx.execute("DELETE FROM sign_ins WHERE name = ?1", params![fold(username)]).map(drop)
}

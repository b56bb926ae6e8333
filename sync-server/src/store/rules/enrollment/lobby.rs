//! The rows of the lobby: who waits, under which code, and who makes room.

use std::time::Duration;

use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{DeviceUuid, EnrollmentId, FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::{EnrollRequest, UserCode};

use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::{Whole, insert, row, select};
use crate::store::{PresentedKey, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How long a code or a claim stands.
pub(super) const CODE_LIFE: Duration = Duration::from_secs(10 * 60);
/// How many devices may wait at once, all over the server.
pub(in crate::store) const MAX_WAITING: u64 = 10_000;
/// How many of them from one network, with those that ask no more.
pub(in crate::store) const MAX_OF_NETWORK: u64 = 200;
/// How many leave a full lobby at once: to find out who has the most, all who wait are looked at, and the writer does
/// not do that for each that comes. Of those that ask no more as many are forgotten, so that nobody waits for long.
const LEAVE_AT_ONCE: u32 = 100;
/// How long a device that asks no more is remembered after its code ran out.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

row! {
    /// A row of the lobby.
    pub(super) struct Lobby {
        pub(super) id: EnrollmentId,
        pub(super) key_sha256: [u8; 32],
        pub(super) public_key: Vec<u8>,
        pub(super) device_uuid: DeviceUuid,
        pub(super) mac_addresses: Vec<String>,
        pub(super) hostname: String,
        pub(super) agent_version: String,
        pub(super) user_code: String,
        pub(super) expires_at: Timestamp,
        pub(super) network: String,
        pub(super) organization: Option<OrganizationId> = "organization_id",
        pub(super) facility: Option<FacilityId> = "facility_id",
        pub(super) name: Option<String>,
        pub(super) device_type: Option<DeviceType>,
        pub(super) number: Option<String>,
        pub(super) tries: u32,
    } whole
}

/// Whoever waits with that key. System access.
pub(super) fn by_key(tx: &Tx<'_>, key_sha256: &[u8; 32]) -> Result<Option<Lobby>> {
    tx.first(select!(Lobby, "system_enrollments WHERE key_sha256 = ?1"), params![key_sha256])
}

/// Whoever shows that code. System access.
pub(super) fn by_code(tx: &Tx<'_>, code: &UserCode) -> Result<Option<Lobby>> {
    tx.first(select!(Lobby, "system_enrollments WHERE user_code = ?1"), params![code.as_str()])
}

/// Whoever the organization has claimed under that id. Organization access.
pub(super) fn by_id(tx: &Tx<'_>, id: EnrollmentId) -> Result<Option<Lobby>> {
    tx.first(select!(Lobby, "enrollments WHERE id = ?1"), params![id])
}

/// Lets a key in that nobody knows. System access.
pub(super) fn enter(tx: &Tx<'_>, key: &PresentedKey, request: &EnrollRequest) -> Result<Lobby> {
    make_room(tx, &key.network)?;
    let row = Lobby {
        id: EnrollmentId::new(tx.now(), tx.random()?),
        key_sha256: key.sha256,
        public_key: key.point.clone(),
        device_uuid: request.device_uuid,
        mac_addresses: request.mac_addresses.clone(),
        hostname: request.hostname.clone(),
        agent_version: request.agent_version.clone(),
        user_code: new_code(tx)?,
        expires_at: tx.now().after(CODE_LIFE),
        network: key.network.clone(),
        organization: None,
        facility: None,
        name: None,
        device_type: None,
        number: None,
        tries: 0,
    };
    tx.execute(insert!(Lobby, "system_enrollments"), &row.values())?;
    Ok(row)
}

/// How many of a network wait, and nobody has typed their code.
pub(in crate::store) const OF_NETWORK: &str =
    "SELECT count(*) FROM system_enrollments WHERE organization_id IS NULL AND network = ?1";
/// Whose code runs out first of those.
pub(in crate::store) const OLDEST_OF_NETWORK: &str = "SELECT key_sha256 FROM system_enrollments
    WHERE organization_id IS NULL AND network = ?1 ORDER BY expires_at LIMIT 1";

/// The oldest of the network that has the most, of what is then left the same again, and so on: whose place it is,
/// counted from the newest of its network.
const CROWD: &str = "SELECT key_sha256 FROM (SELECT key_sha256, expires_at,
        row_number() OVER (PARTITION BY network ORDER BY expires_at DESC) AS place
        FROM system_enrollments WHERE organization_id IS NULL) AS waiting
    ORDER BY place DESC, expires_at LIMIT ?1";

/// Forgets who has not asked for long. When the lobby is full all the same, the one leaves whose code ran out
/// first: a device that still asks has a code that stands. Where every code stands, it is the oldest of the
/// networks that have the most, some at once, and so it is the oldest of a network that has all that one may have.
/// Whose code was typed stays.
fn make_room(tx: &Tx<'_>, network: &str) -> Result<()> {
    let forgotten =
        "DELETE FROM system_enrollments WHERE key_sha256 IN (SELECT key_sha256 FROM system_enrollments
        WHERE expires_at < ?1 ORDER BY expires_at LIMIT ?2)";
    tx.execute(forgotten, params![tx.now().before(FORGET_AFTER), LEAVE_AT_ONCE])?;
    let of_network = tx.first::<u64>(OF_NETWORK, params![network])?;
    if of_network.unwrap_or(0) >= MAX_OF_NETWORK {
        let oldest: Option<[u8; 32]> = tx.first(OLDEST_OF_NETWORK, params![network])?;
        return oldest.map_or(Ok(()), |oldest| leave(tx, &oldest));
    }
    let waiting = tx.first::<u64>("SELECT count(*) FROM system_enrollments", params![])?;
    if waiting.unwrap_or(0) < MAX_WAITING {
        return Ok(());
    }
    let lapsed =
        "SELECT key_sha256 FROM system_enrollments WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 1";
    let mut leaving: Vec<[u8; 32]> = tx.first(lapsed, params![tx.now()])?.into_iter().collect();
    if leaving.is_empty() {
        leaving = tx.all(CROWD, params![LEAVE_AT_ONCE])?;
    }
    if leaving.is_empty() {
        return Err(StoreError::TooManyTries { until: tx.now().after(CODE_LIFE) });
    }
    leaving.iter().try_for_each(|key| leave(tx, key))
}

pub(super) fn leave(tx: &Tx<'_>, key_sha256: &[u8; 32]) -> Result<()> {
    tx.execute("DELETE FROM system_enrollments WHERE key_sha256 = ?1", params![key_sha256]).map(drop)
}

/// Back to waiting, under a new code and nobody's claim.
pub(super) fn anew(tx: &Tx<'_>, row: Lobby) -> Result<Lobby> {
    Ok(Lobby {
        user_code: new_code(tx)?,
        expires_at: tx.now().after(CODE_LIFE),
        organization: None,
        facility: None,
        name: None,
        device_type: None,
        number: None,
        tries: 0,
        ..row
    })
}

fn new_code(tx: &Tx<'_>) -> Result<String> {
    loop {
        let Some(code) = UserCode::new(&tx.random()?) else { continue };
        let taken =
            tx.first::<i64>("SELECT 1 FROM system_enrollments WHERE user_code = ?1", params![code.as_str()])?;
        if taken.is_none() {
            return Ok(code.as_str().to_owned());
        }
    }
}

pub(super) fn write(tx: &Tx<'_>, row: &Lobby) -> Result<()> {
    tx.execute(
        "UPDATE system_enrollments SET device_uuid = ?2, mac_addresses = ?3, hostname = ?4, agent_version = ?5,
            user_code = ?6, expires_at = ?7, organization_id = ?8, facility_id = ?9, name = ?10,
            device_type = ?11, number = ?12, tries = ?13 WHERE key_sha256 = ?1",
        params![
            row.key_sha256,
            row.device_uuid,
            json(&row.mac_addresses)?,
            row.hostname,
            row.agent_version,
            row.user_code,
            row.expires_at,
            row.organization,
            row.facility,
            row.name,
            row.device_type,
            row.number,
            row.tries,
        ],
    )
    .map(drop)
}

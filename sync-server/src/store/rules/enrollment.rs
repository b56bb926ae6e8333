//! The lobby: how a device without a tenant comes to one.
//!
//! A waiting device belongs to nobody, so these steps cross scopes: an administrator's claim finds a
//! row of the lobby by the code typed, and takes it into the administrator's tenant. Each step is
//! idempotent, and each is one transaction: power loss in the middle resumes.

pub(in crate::store) mod key;
mod lobby;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::device::{DeviceState, DeviceType};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{
    AssignmentId, DeviceId, DeviceUuid, EnrollmentId, FacilityId, OrganizationId, UserId,
};
use carepost_protocol::text::fold;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, Grant, UserCode};

use crate::scope::OrganizationScope;
use crate::store::column::json;
use crate::store::crossing::Crossing;
use crate::store::engine::{AccessScope, Tx, params};
use crate::store::row::{Stored, insert_into, row, select, sql};
use crate::store::{Claim, Device, PresentedKey, StoreError, Waiting};
use lobby::{CODE_LIFE, Lobby};
#[cfg(test)]
pub(in crate::store) use lobby::{MAX_OF_NETWORK, MAX_WAITING, OF_NETWORK, OLDEST_OF_NETWORK};

type Result<T> = std::result::Result<T, StoreError>;

const LOBBY: AccessScope = AccessScope::System(Crossing::Lobby(key::KEY));

/// How many devices in use a facility has: what concerns each of them is done in one go.
pub(in crate::store) const MAX_DEVICES: usize = 1_000;
/// A facility's devices that are in use.
pub(in crate::store) const IN_USE: &str =
    "SELECT id FROM devices WHERE facility_id = ?1 AND state <> 'REVOKED'";
/// The names of a facility's devices in use, but of one.
pub(in crate::store) const OTHERS: &str = "SELECT name FROM devices
    WHERE facility_id = ?1 AND id IS DISTINCT FROM ?2 AND state <> 'REVOKED'";
/// How many wrong tries are taken.
const MAX_TRIES: u32 = 5;
/// Seconds between a waiting device's requests.
const WAITING_INTERVAL: u32 = 2;
/// Seconds between the requests of one whose number is being confirmed.
const CONFIRMING_INTERVAL: u32 = 1;

/// Wrong codes and wrong numbers, counted per user: five in ten minutes, then neither is taken until
/// those are over.
#[derive(Debug, Default)]
pub(in crate::store) struct CodeAttempts(Mutex<HashMap<UserId, (u32, Timestamp)>>);

impl CodeAttempts {
    /// Whether this user may try a code or a number now.
    pub(in crate::store) fn check(&self, by: UserId, now: Timestamp) -> Result<()> {
        let mut counts = self.locked();
        counts.retain(|_, (_, until)| *until > now);
        match counts.get(&by) {
            Some((count, until)) if *count >= MAX_TRIES => Err(StoreError::TooManyTries { until: *until }),
            _ => Ok(()),
        }
    }

    /// Counts a wrong code or number.
    pub(in crate::store) fn failed(&self, by: UserId, now: Timestamp) {
        let mut counts = self.locked();
        let (count, _) = counts.entry(by).or_insert((0, now.after(CODE_LIFE)));
        *count = count.saturating_add(1);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<UserId, (u32, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a device's enrollment stands, if nothing has to be written to say so. System access.
pub(in crate::store) fn state(
    tx: &Tx<'_>,
    key: &PresentedKey,
    request: &EnrollRequest,
) -> Result<Option<EnrollResponse>> {
    if let Some(grant) = grant_of(tx, &key.sha256)? {
        return Ok(Some(EnrollResponse::Active { grant }));
    }
    let Some(row) = lobby::by_key(tx, &key.sha256)? else { return Ok(None) };
    let same = row.device_uuid == request.device_uuid
        && row.mac_addresses == request.mac_addresses
        && row.hostname == request.hostname;
    if !same || row.expires_at <= tx.now() {
        return Ok(None);
    }
    response(tx, &row).map(Some)
}

/// Whether a key is known already: as a device's, or in the lobby. System access.
pub(in crate::store) fn knows(tx: &Tx<'_>, key_sha256: &[u8; 32]) -> Result<bool> {
    let sql = "SELECT 1 FROM system_devices WHERE key_sha256 = ?1
        UNION ALL SELECT 1 FROM system_enrollments WHERE key_sha256 = ?1";
    tx.exists(sql, params![key_sha256])
}

/// Lets a device into the lobby, or in at once with the token of an expected device. System access.
pub(in crate::store) fn enroll(
    tx: &Tx<'_>,
    key: &PresentedKey,
    request: &EnrollRequest,
    token_sha256: Option<&[u8; 32]>,
) -> Result<EnrollResponse> {
    if let Some(grant) = grant_of(tx, &key.sha256)? {
        return Ok(EnrollResponse::Active { grant });
    }
    if let Some(token) = token_sha256 {
        redeem(tx, key, request, token)?;
        let grant = grant_of(tx, &key.sha256)?.ok_or(StoreError::Unreadable("devices"))?;
        return Ok(EnrollResponse::Active { grant });
    }
    let Some(row) = lobby::by_key(tx, &key.sha256)? else {
        return response(tx, &lobby::enter(tx, key, request)?);
    };
    let lapsed = row.expires_at <= tx.now();
    // An administrator approved what the device said then, not what it says now.
    let another = row.organization.is_some() && row.device_uuid != request.device_uuid;
    let row = Lobby {
        device_uuid: request.device_uuid,
        mac_addresses: request.mac_addresses.clone(),
        hostname: request.hostname.clone(),
        agent_version: request.agent_version.clone(),
        ..row
    };
    let row = if lapsed || another { lobby::anew(tx, row)? } else { row };
    lobby::write(tx, &row)?;
    response(tx, &row)
}

fn response(tx: &Tx<'_>, row: &Lobby) -> Result<EnrollResponse> {
    if let (Some(organization), Some(facility), Some(number)) = (row.organization, row.facility, &row.number)
    {
        let facility_name = tx.first(
            "SELECT name FROM system_facilities WHERE organization_id = ?1 AND id = ?2",
            params![organization, facility],
        )?;
        return Ok(EnrollResponse::Confirming {
            enrollment_id: row.id,
            facility_name: facility_name.ok_or(StoreError::Unreadable("enrollments"))?,
            number: number.clone(),
            interval: CONFIRMING_INTERVAL,
        });
    }
    Ok(EnrollResponse::Pending {
        enrollment_id: row.id,
        user_code: row.user_code.parse().map_err(|_| StoreError::Unreadable("enrollments"))?,
        expires_at: row.expires_at,
        // Whoever makes a key can ask with any UUID. What the server knows of that hardware is told to
        // the organization that has it, once one of its administrators has claimed the device.
        interval: WAITING_INTERVAL,
    })
}

row! {
    impl Grant {
        device_id = "d.id",
        assignment_id = "a.id",
        organization_id = "d.organization_id",
        facility_id = "d.facility_id",
        facility_name = "f.name",
        device_name = "d.name",
        device_type = "d.device_type",
        badge_key = "f.badge_key" by hexadecimal,
        recovery_recipient = "o.recovery_recipient",
        server_time = "CAST(?2 AS BIGINT)",
    }
}

fn hexadecimal(key: [u8; 32]) -> String {
    hex(&key)
}

/// Everything a device needs to work, when its key is an ACTIVE device's.
fn grant_of(tx: &Tx<'_>, key_sha256: &[u8; 32]) -> Result<Option<Grant>> {
    let state = "SELECT state FROM system_devices WHERE key_sha256 = ?1";
    match tx.first(state, params![key_sha256])? {
        None => return Ok(None),
        Some(DeviceState::Active) => {}
        Some(_) => return Err(StoreError::DeviceRevoked),
    }
    let sql = select!(
        Grant,
        "system_devices AS d
        JOIN system_organizations AS o ON o.id = d.organization_id
        JOIN system_facilities AS f ON f.organization_id = d.organization_id AND f.id = d.facility_id
        LEFT JOIN system_assignments AS a
            ON a.organization_id = d.organization_id AND a.device_id = d.id AND a.until_at IS NULL
        WHERE d.key_sha256 = ?1"
    );
    tx.first(sql, params![key_sha256, tx.now()])
}

row! {
    /// The device that is expected with this one-time token.
    pub(in crate::store) struct Expected {
        organization: OrganizationId = "organization_id",
        facility: FacilityId = "facility_id",
        device: DeviceId = "id",
        uuid: Option<DeviceUuid> = "device_uuid",
    }
}

/// Who is expected with this token, if it is one that stands. System access.
pub(in crate::store) fn expected(tx: &Tx<'_>, token: &[u8; 32]) -> Result<Expected> {
    let invalid = |detail: String| StoreError::Invalid { field: "token", detail };
    let sql =
        sql!("SELECT ", Expected::COLUMNS, ", token_expires_at FROM system_devices WHERE token_sha256 = ?1");
    let found: Option<(Expected, Option<Timestamp>)> = tx.first(sql, params![token])?;
    let unknown = || invalid("this token is unknown or was used already; ask for another".to_owned());
    let (expected, until) = found.ok_or_else(unknown)?;
    match until {
        Some(until) if until > tx.now() => Ok(expected),
        _ => Err(invalid(
            "this token has run out: have the device's pairing code approved instead, or deactivate the expected \
             device and register it again for another token"
                .to_owned(),
        )),
    }
}

/// Lets the expected device in whose one-time token this is.
fn redeem(tx: &Tx<'_>, key: &PresentedKey, request: &EnrollRequest, token: &[u8; 32]) -> Result<()> {
    let Expected { organization, facility, device, uuid } = expected(tx, token)?;
    if uuid.is_some_and(|uuid| uuid != request.device_uuid) {
        let detail = "this token was made for other hardware; register this device".to_owned();
        return Err(StoreError::Invalid { field: "device_uuid", detail });
    }
    let scope = OrganizationScope::of_token(organization, facility);
    // A token is worth a place of its own: the lobby may be full.
    let newcomer = Newcomer {
        key_sha256: &key.sha256,
        public_key: &key.point,
        device_uuid: request.device_uuid,
        mac_addresses: &request.mac_addresses,
        agent_version: &request.agent_version,
    };
    tx.within(AccessScope::Organization(scope), |tx| activate(tx, &newcomer, device, facility))?;
    lobby::leave(tx, &key.sha256)
}

/// What a device is registered with when it is let in.
struct Newcomer<'a> {
    key_sha256: &'a [u8; 32],
    public_key: &'a [u8],
    device_uuid: DeviceUuid,
    mac_addresses: &'a [String],
    agent_version: &'a str,
}

/// Makes a registered device ACTIVE under the newcomer's key.
fn activate(tx: &Tx<'_>, newcomer: &Newcomer<'_>, device: DeviceId, facility: FacilityId) -> Result<()> {
    tx.execute(
        "UPDATE devices SET state = 'ACTIVE', device_uuid = ?2, mac_addresses = ?3, key_sha256 = ?4,
            public_key = ?5, agent_version = ?6, token_sha256 = NULL, token_expires_at = NULL WHERE id = ?1",
        params![
            device,
            newcomer.device_uuid,
            json(&newcomer.mac_addresses)?,
            newcomer.key_sha256,
            newcomer.public_key,
            newcomer.agent_version,
        ],
    )?;
    assign(tx, device, facility).map(drop)
}

/// Takes the device that shows this code into the scope's tenant, and says what the scope knows of its
/// hardware. Organization access.
pub(in crate::store) fn claim(tx: &Tx<'_>, code: &UserCode, claim: &Claim) -> Result<Waiting> {
    let AccessScope::Organization(scope) = tx.access() else { return Err(StoreError::NotFound("facility")) };
    let facility =
        tx.first::<FacilityId>("SELECT id FROM facilities WHERE id = ?1", params![claim.facility_id])?;
    let facility = facility.ok_or(StoreError::NotFound("facility"))?;
    let [drawn] = tx.random::<1>()?;
    let row = tx.within(LOBBY, |tx| {
        let found = lobby::by_code(tx, code)?;
        let free = |row: &Lobby| {
            row.expires_at > tx.now() && row.organization.is_none_or(|owner| owner == scope.organization())
        };
        let row = found.filter(free).ok_or(StoreError::WrongCode)?;
        // The number that was read out for one facility lets nothing into another, so each approval draws one anew. The
        // tries stay counted: five wrong numbers are the end of a code, however often it is typed.
        let mut others = (10..100).map(|n: u8| n.to_string()).filter(|n| row.number.as_ref() != Some(n));
        let number = others.nth(usize::from(drawn) * 89 / 256);
        let row = Lobby {
            organization: Some(scope.organization()),
            facility: Some(facility),
            name: Some(claim.name.clone()),
            device_type: Some(claim.device_type),
            number,
            expires_at: tx.now().after(CODE_LIFE),
            ..row
        };
        lobby::write(tx, &row)?;
        Ok(row)
    })?;
    let known = may_enter(tx, row.device_uuid, facility, &claim.name)?;
    Ok(Waiting {
        id: row.id,
        expected: known.as_ref().is_some_and(|known| !known.has_key),
        hardware_of: known.filter(|known| known.has_key).map(|known| known.name),
        device_uuid: row.device_uuid,
        mac_addresses: row.mac_addresses,
        hostname: row.hostname,
    })
}

/// Enrolls a claimed device when the number is the one it shows; none when it is another. Organization
/// access.
pub(in crate::store) fn confirm(tx: &Tx<'_>, id: EnrollmentId, number: &str) -> Result<Option<DeviceId>> {
    let row = lobby::by_id(tx, id)?.filter(|row| row.expires_at > tx.now());
    let row = row.ok_or(StoreError::NotFound("waiting device"))?;
    let (Some(facility), Some(expected)) = (row.facility, row.number.as_deref()) else {
        return Err(StoreError::NotFound("waiting device"));
    };
    if number.trim() != expected {
        let tries = row.tries.saturating_add(1);
        let row = Lobby { tries, ..row };
        tx.within(LOBBY, |tx| {
            let row = if tries >= MAX_TRIES { lobby::anew(tx, row)? } else { row };
            lobby::write(tx, &row)
        })?;
        return Ok(None);
    }
    let device = registered(tx, &row, facility)?;
    let newcomer = Newcomer {
        key_sha256: &row.key_sha256,
        public_key: &row.public_key,
        device_uuid: row.device_uuid,
        mac_addresses: &row.mac_addresses,
        agent_version: &row.agent_version,
    };
    activate(tx, &newcomer, device, facility)?;
    tx.execute("DELETE FROM enrollments WHERE id = ?1", params![id])?;
    Ok(Some(device))
}

/// A facility has room for another device while there are not too many in use; those that are its own already stay.
pub(in crate::store) fn has_room(tx: &Tx<'_>, facility: FacilityId, own: Option<DeviceId>) -> Result<()> {
    let devices: Vec<DeviceId> = tx.all(IN_USE, params![facility])?;
    if devices.len() < MAX_DEVICES || own.is_some_and(|own| devices.contains(&own)) {
        return Ok(());
    }
    let detail =
        format!("it has {MAX_DEVICES} devices, the most of one: deactivate those that are out of use");
    Err(StoreError::Invalid { field: "facility_id", detail })
}

/// People tell a facility's devices apart by their names: no two that are in use read the same. Those that did before
/// this was asked keep theirs.
pub(in crate::store) fn be_told_apart(
    tx: &Tx<'_>,
    facility: FacilityId,
    name: &str,
    own: Option<DeviceId>,
) -> Result<()> {
    let others: Vec<String> = tx.all(OTHERS, params![facility, own])?;
    let is_taken = others.iter().any(|other| fold(other) == fold(name));
    if is_taken { Err(StoreError::Conflict("device_name")) } else { Ok(()) }
}

row! {
    /// The device in use that has some hardware: one without a key is expected.
    struct OnHardware {
        device: DeviceId = "id",
        has_key: bool = "key_sha256 IS NOT NULL",
        name: String,
    }
}

/// Which device in use has that hardware, where a facility has room for it and no other device of that name.
fn may_enter(tx: &Tx<'_>, uuid: DeviceUuid, facility: FacilityId, name: &str) -> Result<Option<OnHardware>> {
    let sql = select!(OnHardware, "devices WHERE device_uuid = ?1 AND state <> 'REVOKED'");
    let known: Option<OnHardware> = tx.first(sql, params![uuid])?;
    let own = known.as_ref().map(|known| known.device);
    has_room(tx, facility, own)?;
    be_told_apart(tx, facility, name, own)?;
    Ok(known)
}

/// The device's row: the one that expected this hardware, else a new one.
fn registered(tx: &Tx<'_>, row: &Lobby, facility: FacilityId) -> Result<DeviceId> {
    let (Some(name), Some(device_type)) = (&row.name, &row.device_type) else {
        return Err(StoreError::Unreadable("enrollments"));
    };
    let known = may_enter(tx, row.device_uuid, facility, name)?;
    if let Some(OnHardware { device: id, has_key: false, .. }) = known {
        tx.execute(
            "UPDATE devices SET facility_id = ?2, name = ?3, device_type = ?4 WHERE id = ?1",
            params![id, facility, name, device_type],
        )?;
        return Ok(id);
    }
    register(tx, (facility, name), *device_type, Some(row.device_uuid), None)
}

/// Adds the row of a device that has no key yet: one that is expected with the token that lets it in until then, or one
/// that waits to be let in.
pub(in crate::store) fn register(
    tx: &Tx<'_>,
    (facility, name): (FacilityId, &str),
    device_type: DeviceType,
    device_uuid: Option<DeviceUuid>,
    token: Option<([u8; 32], Timestamp)>,
) -> Result<DeviceId> {
    let id = DeviceId::new(tx.now(), tx.random()?);
    let (token_sha256, token_expires_at) = token.unzip();
    insert_into!(tx, "devices" {
        id: id,
        facility_id: facility,
        name: name,
        device_type: device_type,
        state: if token.is_some() { DeviceState::Expected } else { DeviceState::Pending },
        device_uuid: device_uuid,
        mac_addresses: "[]",
        token_sha256: token_sha256,
        token_expires_at: token_expires_at,
        waiting: 0_u64,
        rejected = "wedged": 0_u64,
        cursor_refused: false,
        created_at: tx.now(),
    })?;
    Ok(id)
}

/// Says of a device whether another key that claims its hardware waits in the lobby: claimed by nobody
/// yet, or by the device's own organization. Organization access.
pub(in crate::store) fn mark_clone(tx: &Tx<'_>, mut device: Device) -> Result<Device> {
    let AccessScope::Organization(scope) = tx.access() else { return Err(StoreError::NotFound("device")) };
    if let (Some(uuid), Some(_)) = (device.device_uuid, &device.key_sha256) {
        let sql = "SELECT 1 FROM system_enrollments WHERE device_uuid = ?1 AND expires_at > ?2
            AND (organization_id IS NULL OR organization_id = ?3)";
        device.possible_clone = tx.within(LOBBY, |tx| {
            let owner = scope.organization();
            let params = params![uuid, tx.now(), owner];
            tx.exists(sql, params)
        })?;
    }
    Ok(device)
}

/// Binds a device to a facility from now on.
fn assign(tx: &Tx<'_>, device: DeviceId, facility: FacilityId) -> Result<AssignmentId> {
    let id = AssignmentId::new(tx.now(), tx.random()?);
    tx.execute(
        "INSERT INTO assignments (id, facility_id, device_id, from_at) VALUES (?1, ?2, ?3, ?4)",
        params![id, facility, device, tx.now()],
    )?;
    Ok(id)
}

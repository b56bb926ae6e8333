//! Devices, from the lobby on.

use carepost_protocol::device::{Deactivation, DeviceState, DeviceType, SyncFacts};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{AssignmentId, DeviceId, DeviceUuid, EnrollmentId, FacilityId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState, SteppedOver};
use carepost_protocol::wire::pull::Cursor;
use serde::Serialize;

use crate::store::row::row;
use crate::store::version::{Version, Versioned};

row! {
    /// A device as an administrator sees it, its latest heartbeat included.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Device {
        pub id: DeviceId,
        pub facility_id: FacilityId,
        pub name: String,
        pub device_type: DeviceType,
        /// How much of a resident it is sent; none is as the facility says.
        pub phi_mode: Option<PhiMode>,
        pub state: DeviceState,
        pub device_uuid: Option<DeviceUuid>,
        pub mac_addresses: Vec<String>,
        /// Its binding to the facility; none before it was enrolled and after it was deactivated.
        pub assignment: Option<AssignmentId>
            = "(SELECT id FROM assignments WHERE device_id = devices.id AND until_at IS NULL)",
        /// SHA-256 of its public key (SPKI), in hexadecimal.
        pub key_sha256: Option<String> = "key_sha256" by hexadecimal,
        pub agent_version: Option<String>,
        pub last_seen: Option<Timestamp>,
        /// What [`carepost_protocol::device::sync_status`] takes.
        pub sync: SyncFacts
            = "last_sync, oldest_waiting, wedged, cursor_refused, differs, stepped_over, no_progress, cannot_save,
                state, encryption, (SELECT require_encryption FROM facilities WHERE id = devices.facility_id)"
            by sync_facts,
        /// Changes that wait on the device, as of the last heartbeat.
        pub waiting: u64,
        pub cursor: Option<Cursor> = "cursor_epoch, cursor_seq" by cursor,
        pub reader: Option<ReaderState>,
        /// Whether it says that what rests on it is encrypted.
        pub encrypted: Option<bool>,
        /// What it measured of that; none where it does not say.
        pub encryption: Option<Encryption>,
        pub require_encryption: bool
            = "(SELECT require_encryption FROM facilities WHERE id = devices.facility_id)",
        /// Why it cannot save what is charted on it, or may not for long, in its own words.
        pub cannot_save: Option<String>,
        /// How far its clock is ahead of the server's, in milliseconds.
        pub clock_skew_ms: Option<i64>,
        /// The names of the collections of its copy that were found to differ and are not mended yet.
        pub differs: Vec<String>,
        pub refetches: u64,
        /// The documents that it could not take, and went on without.
        pub stepped_over: Vec<SteppedOver>,
        /// For how many seconds nothing has moved, though something waits.
        pub no_progress: Option<u64>,
        pub quarantine: Option<String>,
        pub deactivation: Option<Deactivation>,
        /// When it last went on under a new incarnation, from an older state of itself.
        pub rolled_back_at: Option<Timestamp>,
        /// Until when it may enroll with its token; none once it has, or when it has none.
        pub token_expires_at: Option<Timestamp>,
        pub created_at: Timestamp,
    } and {
        /// Whether another key that claims the same hardware waits in the lobby.
        pub possible_clone: bool,
        /// Why its copy does not go on, in its own words. In memory alone.
        pub copy_trouble: Option<String>,
        /// The last card there that was nobody's badge: by what it would be known, and when it was there. In memory
        /// alone.
        pub unknown_tap: Option<(String, Timestamp)>,
        pub documents: u64,
    }
}

fn hexadecimal(key: Option<[u8; 32]>) -> Option<String> {
    key.map(|key| hex(&key))
}

fn cursor((epoch, seq): (Option<u64>, Option<u64>)) -> Option<Cursor> {
    epoch.zip(seq).map(|(epoch, seq)| Cursor { epoch, seq })
}

/// When it last synced, what waits and what it says of its copy; why it cannot save; where it stands; and what it
/// and its facility say of encryption.
type Facts = (
    (Option<Timestamp>, Option<Timestamp>, u64, bool),
    (Vec<String>, Vec<SteppedOver>, Option<u64>, Option<String>),
    (DeviceState, Option<Encryption>, bool),
);

fn sync_facts((synced, copy, encrypted): Facts) -> SyncFacts {
    let (last_sync, oldest_waiting, rejected, cursor_refused) = synced;
    let (differs, stepped_over, no_progress, cannot_save) = copy;
    let (state, encryption, is_required) = encrypted;
    SyncFacts {
        last_sync,
        oldest_waiting,
        rejected,
        cursor_refused,
        mirror_differs: !differs.is_empty(),
        stepped_over: !stepped_over.is_empty(),
        no_progress: no_progress.is_some(),
        silent: false,
        revoked: state == DeviceState::Revoked,
        cannot_save: cannot_save.is_some(),
        copy_trouble: false,
        quarantined: state == DeviceState::Quarantined,
        not_encrypted: is_refused_as_exposed(state, is_required, encryption.as_ref()),
    }
}

/// Whether it is sent nothing because its facility demands encryption, and it does not say that it has it.
pub(in crate::store) fn is_refused_as_exposed(
    state: DeviceState,
    required: bool,
    encryption: Option<&Encryption>,
) -> bool {
    state == DeviceState::Active && required && !encryption.is_some_and(Encryption::is_complete)
}

/// A device that was deactivated, and what that set off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deactivated {
    pub device: Device,
    /// What it held that counts as known to a thief from now on; none unless it was just lost.
    pub exposed: Option<Exposed>,
}

/// What a lost device held of its facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Exposed {
    /// How many PINs have to be replaced.
    pub pins: u64,
    /// How many badges are known by another key from now on. They work on without being tapped again.
    pub badges: u64,
}

impl Versioned for Device {
    fn version(&self) -> Version {
        Version::of(&(self.id, &self.name, self.device_type, self.phi_mode, self.state, self.deactivation))
    }
}

impl Versioned for Deactivated {
    fn version(&self) -> Version {
        self.device.version()
    }
}

/// A device registered before it is seen (S1-59).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    pub facility_id: FacilityId,
    pub name: String,
    pub device_type: DeviceType,
    pub device_uuid: Option<DeviceUuid>,
    /// SHA-256 of the one-time token it may enroll with.
    pub token_sha256: [u8; 32],
}

/// What an administrator changes of a device; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePatch {
    pub name: Option<String>,
    pub device_type: Option<DeviceType>,
    /// How much of a resident it is sent; `Some(None)` is as the facility says.
    pub phi_mode: Option<Option<PhiMode>>,
}

/// The key of the connection over which a device asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub sha256: [u8; 32],
    /// The point itself: 65 bytes, uncompressed (04 || x || y).
    pub point: Vec<u8>,
    pub network: String,
}

/// What an administrator says of a device whose code was read off it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub facility_id: FacilityId,
    pub name: String,
    pub device_type: DeviceType,
}

/// A waiting device whose code an administrator entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub id: EnrollmentId,
    pub device_uuid: DeviceUuid,
    pub mac_addresses: Vec<String>,
    pub hostname: String,
    /// Whether an administrator of the same organization registered that hardware beforehand.
    pub expected: bool,
    /// The name of the device in use of the same organization that has that hardware, with another key.
    pub hardware_of: Option<String>,
}

//! Fixtures: what an organization of invented people is made from, for tests of the server here and in other crates
//! (feature `testing`).

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot begin fails")]

use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::time::Instant;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::device::DeviceType;
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{DeviceUuid, FacilityId, OrganizationId, SessionId, UserId, WorkflowId};
use carepost_protocol::role::{Actor, Role};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, Grant};
use carepost_protocol::workflow::{Field, Workflow};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::Value;

#[cfg(test)]
use crate::clock;
use crate::scope::OrganizationScope;
#[cfg(test)]
use crate::store::{Ambient, DatabaseKey};
use crate::store::{
    DeviceIdentity, NewDevice, NewFacility, NewOrganization, NewPatient, NewUser, OrganizationType,
    PresentedKey, Store, StoreError,
};

/// A random source that draws the same bytes in each run, from a number on.
pub fn counted(from: u64) -> impl Fn(&mut [u8]) -> bool + Send + Sync + 'static {
    let drawn = AtomicU64::new(from);
    move |bytes| {
        for chunk in bytes.chunks_mut(32) {
            let hash = PayloadHash::of(&drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            chunk.copy_from_slice(&hash.as_bytes()[..chunk.len()]);
        }
        true
    }
}

/// An empty store, in a folder of its own.
#[cfg(test)]
pub fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, key) = (folder.path().join("server.db"), DatabaseKey::new([7; 32]));
    let store = Store::open(&path, &key, Ambient::new(clock::now, clock::fill)).expect("a store");
    (folder, store)
}

/// Waits for work that may take long; a write of somebody else's has to be answered before that is done.
#[cfg(test)]
pub async fn is_answered_meanwhile<T>(store: &Store, long: impl Future<Output = T>) -> T {
    let system = store.system();
    let other = async {
        system.purge_idempotency_keys().await.expect("a write");
        Instant::now()
    };
    let ((done, ended), answered) = tokio::join!(async { (long.await, Instant::now()) }, other);
    assert!(answered < ended, "it waited for all of it");
    done
}

/// The scope of an administrator of an organization, or of one facility of it.
#[must_use]
pub fn administrator(organization: OrganizationId, limit: Option<FacilityId>) -> OrganizationScope {
    let actor = Actor {
        user: UserId::new(Timestamp::EPOCH, [1; 10]),
        session: SessionId::new(Timestamp::EPOCH, [1; 10]),
        role: if limit.is_some() { Role::FacilityAdmin } else { Role::OrgAdmin },
        organization: Some(organization),
        facility: limit,
    };
    OrganizationScope::of_actor(&actor).expect("an administrator has a scope")
}

/// A company of assisted living.
#[must_use]
pub fn organization(name: &str, slug: &str) -> NewOrganization {
    NewOrganization {
        name: name.to_owned(),
        slug: slug.to_owned(),
        organization_type: OrganizationType::AlfOperator,
        npi: None,
        address: None,
        contact: None,
        recovery_recipient: "age1example".to_owned(),
    }
}

/// A house of 48 beds.
#[must_use]
pub fn facility(name: &str) -> NewFacility {
    NewFacility {
        name: name.to_owned(),
        facility_type: FacilityType::Alf,
        licensed_beds: Some(48),
        current_census: 44,
        phone: None,
        phi_mode: PhiMode::Full,
        require_encryption: false,
        time_zone: None,
        address: None,
        units: Units::default(),
    }
}

/// Somebody whose password nobody knows.
#[must_use]
pub fn user(username: &str, role: Role, facility_id: Option<FacilityId>) -> NewUser {
    NewUser {
        facility_id,
        username: username.to_owned(),
        email: None,
        display_name: format!("{username} Example"),
        role,
        employee_id: None,
        session_timeout_minutes: 30,
        password_hash: Some("$argon2id$invented".to_owned()),
        pin_verifier: None,
    }
}

/// A resident, of these fields.
#[must_use]
pub fn patient<'a>(
    facility_id: FacilityId,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> NewPatient {
    let fields = fields.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect();
    NewPatient { facility_id, fields }
}

/// A form of one question.
#[must_use]
pub fn workflow(key: &str, label: &str, question: Field) -> Workflow {
    Workflow {
        id: WorkflowId::new(Timestamp::EPOCH, [0; 10]),
        key: key.to_owned(),
        label: label.to_owned(),
        version: 0,
        enabled: true,
        fields: vec![question],
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

/// A kiosk that is expected with a token.
#[must_use]
pub fn device(
    facility_id: FacilityId,
    name: &str,
    device_uuid: Option<DeviceUuid>,
    token_sha256: [u8; 32],
) -> NewDevice {
    NewDevice {
        facility_id,
        name: name.to_owned(),
        device_type: DeviceType::RaspberryPi,
        device_uuid,
        token_sha256,
    }
}

/// A device's key, new.
#[must_use]
pub fn key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("its pair")
}

/// A key, as a connection shows it.
#[must_use]
pub fn presented(key: &EcdsaKeyPair) -> PresentedKey {
    let point = key.public_key().as_ref().to_vec();
    PresentedKey { sha256: *PayloadHash::of(&point).as_bytes(), point, network: "192.0.2.1".to_owned() }
}

/// What a kiosk says of itself when it asks to be let in.
#[must_use]
pub fn enroll_request(device_uuid: DeviceUuid) -> EnrollRequest {
    EnrollRequest {
        device_uuid,
        mac_addresses: vec!["02:00:5e:10:00:01".to_owned()],
        hostname: "hall-kiosk".to_owned(),
        agent_version: "0.1.0".to_owned(),
        token: None,
    }
}

/// Lets a device in that is expected with this token.
///
/// # Errors
/// What the store says.
pub async fn enroll(
    store: &Store,
    key: PresentedKey,
    hardware: DeviceUuid,
    token_sha256: [u8; 32],
) -> Result<(DeviceIdentity, Grant), StoreError> {
    let (system, sha256) = (store.system(), key.sha256);
    match system.enroll(key, enroll_request(hardware), Some(token_sha256)).await? {
        EnrollResponse::Active { grant } => {
            let identity = system.device_by_key(sha256).await?;
            Ok((identity.ok_or(StoreError::NotFound("device"))?, grant))
        }
        EnrollResponse::Pending { .. } | EnrollResponse::Confirming { .. } => {
            Err(StoreError::NotFound("device"))
        }
    }
}

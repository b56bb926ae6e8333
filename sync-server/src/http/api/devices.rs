//! Devices as administrators know them (S1-46 to S1-51, S1-59 to S1-64).

use axum::extract::State;
use carepost_protocol::device::{
    Deactivation, DeviceState, DeviceType, SyncFacts, SyncReason, SyncStatus, is_online, sync_reasons,
    sync_status,
};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{DeviceId, DeviceUuid, FacilityId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Exposure, ReaderState, SteppedOver, TAP_LASTS, UnknownTap};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, Paged, Tagged};
use crate::app::App;
use crate::clock;
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::operations::devices::{self, RegisterDevice, UpdateDevice, WithdrawDevice};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::{Deactivated, Device, Exposed, Stays, Withdrawal, warning};
use crate::text::counted;

/// Why a device is deactivated.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DeactivateDevice {
    /// `lost` (or `stolen`) when somebody may have it who should not; `retired` unless given.
    #[serde(default)]
    reason: Deactivation,
}

/// What was taken out of what a device sent, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub struct WithdrawalView {
    /// Entries that it charted: struck out, and no longer on the devices.
    records: u64,
    /// Residents whom it admitted: discharged, and no longer on the devices.
    residents: u64,
    /// What was rejected and that somebody would have had to look at: discarded.
    rejected: u64,
    /// Of entries and residents, those that stay, because others corrected them, charted about them or decided about them since. A
    /// preview does not look.
    left: u64,
    /// Its edits of residents, which stay.
    edits: u64,
    /// Its decisions about reviews, which stay.
    decisions: u64,
    /// The PINs that were chosen on it, which stay.
    pins: u64,
    /// What stays, of all these: the first 100, latest first. A preview names none.
    stays: Vec<Stays>,
    /// Whether there may be more to do: ask again.
    more: bool,
}

/// A device that was deactivated, and what that set off.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeactivatedDevice {
    #[serde(flatten)]
    device: DeviceView,
    /// What it held that a thief may know; absent unless it was just lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed: Option<Exposed>,
}

/// A device and how it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeviceView {
    id: DeviceId,
    facility_id: FacilityId,
    device_name: String,
    device_type: DeviceType,
    /// How much of a resident it is sent; null is as the facility says.
    phi_mode: Option<PhiMode>,
    state: DeviceState,
    /// Whether it may work: ACTIVE.
    is_active: bool,
    /// The label read off its hardware; null until it enrolls, where it was registered without.
    device_uuid: Option<DeviceUuid>,
    /// The addresses of its network interfaces.
    mac_addresses: Vec<String>,
    /// SHA-256 of its public key, in hexadecimal.
    key_sha256: Option<String>,
    /// Whether another key that claims the same hardware waits in the lobby.
    possible_clone: bool,
    agent_version: Option<String>,
    /// Whether its last heartbeat is at most five minutes old (S1-29), and it was not deactivated since.
    is_online: bool,
    /// The last heartbeat, on the server's clock.
    last_seen: Option<Timestamp>,
    /// How well its copy and the server's agree (S1-30); never SYNCED while it is not online.
    sync_status: SyncStatus,
    /// Every reason why it is not SYNCED, the gravest first.
    sync_reasons: Vec<SyncReason>,
    /// The same in words, and whether it sends unusually much.
    sync_reason: Option<String>,
    /// The last sync that succeeded.
    last_sync: Option<Timestamp>,
    /// Changes that wait on the device, as of its last heartbeat.
    waiting: u64,
    /// Changes the server rejected, which a person must look at.
    rejected: u64,
    /// Why it cannot save what is charted on it, or may not for long, in its own words.
    cannot_save: Option<String>,
    /// Why its copy does not go on, in its own words.
    copy_trouble: Option<String>,
    reader: Option<ReaderState>,
    /// The last card there that was nobody's badge, for fifteen minutes: it can be issued without its number.
    unknown_tap: Option<TapView>,
    /// Whether it says that what rests on it is encrypted (S1-26).
    encrypted: Option<bool>,
    /// What it measured that is not; null where it does not say.
    exposed: Option<Vec<ExposureView>>,
    /// Whether its facility demands encryption (S1-64).
    require_encryption: bool,
    /// How far its clock is ahead of the server's, in milliseconds.
    clock_skew_ms: Option<i64>,
    /// The names of the collections of its copy that were found to differ and are not mended yet.
    differs: Vec<String>,
    /// How often it had to fetch a collection again because it differed.
    refetches: u64,
    /// The documents that it could not take, and went on without.
    stepped_over: Vec<SteppedOver>,
    /// For how many seconds nothing has moved, though the device reaches the server and something waits.
    no_progress: Option<u64>,
    /// Since when it sends unusually much, as far as this server has seen since it started.
    unusual_since: Option<Timestamp>,
    /// How many documents it has to hold, as of now.
    documents: u64,
    /// How many it may have to hold: beyond that it is refused.
    max_documents: u64,
    /// What to do when it comes near to that.
    warning: Option<String>,
    quarantine_reason: Option<String>,
    deactivation_reason: Option<Deactivation>,
    /// When it last went on from an older state of itself: a restored image, or a card that lost writes.
    rolled_back_at: Option<Timestamp>,
    /// Until when it may enroll with its one-time token.
    token_expires_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// Something on a device that rests in the clear, or could be read by others.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExposureView {
    #[serde(flatten)]
    exposure: Exposure,
    /// What is wrong and what to do about it.
    words: String,
}

/// A card at a device that was nobody's badge.
#[derive(Debug, Serialize, ToSchema)]
pub struct TapView {
    /// Which, as the audit log masks it.
    card: String,
    /// When, on the server's clock.
    at: Timestamp,
}

impl From<(String, Timestamp)> for TapView {
    fn from((lookup, at): (String, Timestamp)) -> Self {
        Self { card: UnknownTap::masked(&lookup), at }
    }
}

/// A device that was just registered, with what is shown only now.
#[derive(Serialize, ToSchema)]
pub struct RegisteredDevice {
    #[serde(flatten)]
    device: DeviceView,
    /// The one-time token for `carepost-agent enroll --token`, until `token_expires_at`. The server does not
    /// keep it.
    token: String,
}

/// A facility's devices, by `name`, `created_at` or `last_seen`, by pages.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}/devices", operation_id = "list_devices", tag = "devices", security(("session" = [])), params(("facility_id" = FacilityId, Path), Which), responses((status = 200, body = List<DeviceView>)))]
pub async fn list_devices(
    State(app): State<App>,
    person: Person,
    Id(facility): Id<FacilityId>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<DeviceView>>> {
    asked.page(devices::list(&person, facility, which).await?, |device| view(&app, device))
}

/// Registers a device before it is seen; it enrolls with the token, or waits in the lobby as expected.
#[utoipa::path(post, path = "/api/v1/devices", operation_id = "register_device", tag = "devices", security(("session" = [])), request_body = RegisterDevice, responses((status = 201, body = RegisteredDevice)))]
pub async fn register_device(
    State(app): State<App>,
    person: Person,
    Json(asked, _share): Json<RegisterDevice>,
) -> Answer<(StatusCode, Tagged<RegisteredDevice>)> {
    let (device, token) = devices::register(&person, asked).await?;
    let shown = |device| RegisteredDevice { device: view(&app, device), token };
    Ok((StatusCode::CREATED, Tagged::of(device, shown)))
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{device_id}", operation_id = "show_device", tag = "devices", security(("session" = [])), params(("device_id" = DeviceId, Path)), responses((status = 200, body = DeviceView)))]
pub async fn show_device(
    State(app): State<App>,
    person: Person,
    Id(id): Id<DeviceId>,
) -> Answer<Tagged<DeviceView>> {
    Ok(Tagged::of(devices::show(&person, id).await?, |it| view(&app, it)))
}

/// Changes a device.
#[utoipa::path(put, path = "/api/v1/devices/{device_id}", operation_id = "update_device", tag = "devices", security(("session" = [])), params(("device_id" = DeviceId, Path)), request_body = UpdateDevice, responses((status = 200, body = DeviceView)))]
pub async fn update_device(
    State(app): State<App>,
    person: Person,
    Id(id): Id<DeviceId>,
    Json(asked, _share): Json<UpdateDevice>,
) -> Answer<Tagged<DeviceView>> {
    Ok(Tagged::of(devices::update(&person, id, asked).await?, |it| view(&app, it)))
}

/// Deactivates a device: its key is refused from now on, and its streams are closed. When it is lost, the PINs
/// that it held have to be replaced at the next sign-in, and its facility's badges are known by another key
/// from now on; they work on.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/deactivate", operation_id = "deactivate_device", tag = "devices", security(("session" = [])), params(("device_id" = DeviceId, Path)), request_body = DeactivateDevice, responses((status = 200, body = DeactivatedDevice)))]
pub async fn deactivate_device(
    State(app): State<App>,
    person: Person,
    Id(id): Id<DeviceId>,
    asked: Option<Json<DeactivateDevice>>,
) -> Answer<Tagged<DeactivatedDevice>> {
    let why = asked.as_ref().map(|Json(asked, _)| asked.reason).unwrap_or_default();
    let shown = |Deactivated { device, exposed }| DeactivatedDevice { device: view(&app, device), exposed };
    Ok(Tagged::of(devices::deactivate(&person, id, why).await?, shown))
}

/// Takes out again what a deactivated device sent since a moment: its entries are struck out, the residents whom it
/// admitted are discharged, and both leave the devices. Nothing is deleted. It goes on for some seconds, and then says
/// whether there is more.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/withdraw", operation_id = "withdraw_device", tag = "devices", security(("session" = [])), params(("device_id" = DeviceId, Path)), request_body = WithdrawDevice, responses((status = 200, body = WithdrawalView)))]
pub async fn withdraw_device(
    person: Person,
    Id(id): Id<DeviceId>,
    Json(asked, _share): Json<WithdrawDevice>,
) -> Answer<axum::Json<WithdrawalView>> {
    let Withdrawal { records, residents, rejected, left, edits, decisions, pins, stays, more } =
        devices::withdraw(&person, id, asked).await?;
    Ok(axum::Json(WithdrawalView { records, residents, rejected, left, edits, decisions, pins, stays, more }))
}

/// Releases a quarantined device, once its second copy is off: it is served again, and whoever speaks
/// next is the device.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/release", operation_id = "release_device", tag = "devices", security(("session" = [])), params(("device_id" = DeviceId, Path)), responses((status = 200, body = DeviceView)))]
pub async fn release_device(
    State(app): State<App>,
    person: Person,
    Id(id): Id<DeviceId>,
) -> Answer<Tagged<DeviceView>> {
    Ok(Tagged::of(devices::release(&person, id).await?, |it| view(&app, it)))
}

/// A device as of now.
pub(super) fn view(app: &App, it: Device) -> DeviceView {
    let now = clock::now();
    let thresholds = app.config.thresholds();
    let online = it.state != DeviceState::Revoked && is_online(it.last_seen, now);
    let silent = it.state != DeviceState::Revoked && it.last_seen.is_some() && !online;
    let facts = SyncFacts { silent, ..it.sync };
    let reasons = sync_reasons(&facts, now, &thresholds);
    let unusual_since = app.quotas.unusual_since(it.id);
    DeviceView {
        is_active: it.state == DeviceState::Active,
        is_online: online,
        sync_status: sync_status(&facts, now, &thresholds),
        sync_reason: words(&reasons, &it, unusual_since, now),
        unusual_since,
        sync_reasons: reasons,
        last_sync: it.sync.last_sync,
        rejected: it.sync.rejected,
        id: it.id,
        facility_id: it.facility_id,
        device_name: it.name,
        device_type: it.device_type,
        phi_mode: it.phi_mode,
        state: it.state,
        device_uuid: it.device_uuid,
        mac_addresses: it.mac_addresses,
        key_sha256: it.key_sha256,
        possible_clone: it.possible_clone,
        agent_version: it.agent_version,
        last_seen: it.last_seen,
        waiting: it.waiting,
        cannot_save: it.cannot_save,
        copy_trouble: it.copy_trouble,
        reader: it.reader,
        unknown_tap: it.unknown_tap.filter(|(_, at)| now.since(*at) <= TAP_LASTS).map(TapView::from),
        encrypted: it.encrypted,
        exposed: it.encryption.map(|encryption| exposed(encryption.exposed)),
        require_encryption: it.require_encryption,
        clock_skew_ms: it.clock_skew_ms,
        differs: it.differs,
        refetches: it.refetches,
        stepped_over: it.stepped_over,
        no_progress: it.no_progress,
        documents: it.documents,
        max_documents: app.config.sync.max_documents,
        warning: warning(it.documents, app.config.sync.max_documents),
        quarantine_reason: it.quarantine,
        deactivation_reason: it.deactivation,
        rolled_back_at: it.rolled_back_at,
        token_expires_at: it.token_expires_at,
        created_at: it.created_at,
    }
}

fn exposed(exposed: Vec<Exposure>) -> Vec<ExposureView> {
    exposed.into_iter().map(|it| ExposureView { words: it.words(), exposure: it }).collect()
}

/// The reasons as an administrator reads them.
fn words(
    reasons: &[SyncReason],
    device: &Device,
    unusual_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<String> {
    let mut words: Vec<String> = reasons.iter().map(|reason| in_words(*reason, device, now)).collect();
    words.extend(unusual_since.map(|since| format!("It sends unusually much since {since}.")));
    (!words.is_empty()).then(|| words.join(" "))
}

fn in_words(reason: SyncReason, device: &Device, now: Timestamp) -> String {
    let in_minutes = |seconds: u64| counted(seconds / 60, "minute", "minutes");
    let minutes = |since: Option<Timestamp>| in_minutes(since.map_or(0, |since| now.since(since).as_secs()));
    match reason {
        SyncReason::Revoked => {
            "REVOKED: it was deactivated, and its key is refused. It can enroll anew: by the button on its page, or \
             `carepost-agent enroll`."
                .to_owned()
        }
        SyncReason::CannotSave => format!(
            "CANNOT SAVE, or may not for long ({}). Look at its disk: `carepost-agent doctor` says what is wrong \
             with it.",
            device.cannot_save.as_deref().unwrap_or_default()
        ),
        SyncReason::NeverSynced => "No sync has succeeded yet.".to_owned(),
        SyncReason::RejectedChanges => {
            let (one, several) = ("entry was rejected and waits", "entries were rejected and wait");
            format!("{} for a person.", counted(device.sync.rejected, one, several))
        }
        SyncReason::CursorRefused => {
            "Its copy is of another past of this server and is fetched anew.".to_owned()
        }
        SyncReason::CopyTrouble => {
            let why = device.copy_trouble.as_deref().unwrap_or_default();
            format!("NOTHING NEW ARRIVES at it ({why}). What is charted on it is saved and sent.")
        }
        SyncReason::MirrorDiffers => {
            let names = device.differs.join(", ");
            format!("Its copy of {names} was found to differ and is fetched again.")
        }
        SyncReason::DocumentsSteppedOver => {
            let over = device.stepped_over.iter();
            let over: Vec<_> =
                over.map(|it| format!("{} of {} ({})", it.count, it.collection, it.reason.words())).collect();
            format!("It cannot take some documents and went on without them: {}.", over.join(", "))
        }
        SyncReason::NoProgress => {
            let waited = in_minutes(device.no_progress.unwrap_or(0));
            format!("Nothing has moved for {waited}, though it reaches the server.")
        }
        SyncReason::Quarantined if device.quarantine.as_deref() == Some("restored") => {
            "The server was restored, and cannot know whether this device was deactivated since: see that it is \
             where it belongs, then release or deactivate it."
                .to_owned()
        }
        SyncReason::Quarantined => {
            "Two copies of it are at work: find the one that should not be, then release or deactivate it."
                .to_owned()
        }
        SyncReason::NotEncrypted => not_encrypted(device),
        SyncReason::NotHeard => {
            // Where the outbox does not open, as many as when it did.
            let count = |waiting| counted(waiting, "entry or audit event", "entries and audit events");
            let waited = match (&device.cannot_save, device.waiting) {
                (Some(_), 0) => "it had trouble with saving".to_owned(),
                (Some(_), waiting) => format!("it had trouble with saving, and {} had waited on it", count(waiting)),
                (None, 0) => "nothing waited on it".to_owned(),
                (None, waiting) => format!("{} waited on it", count(waiting)),
            };
            let heard = minutes(device.last_seen);
            format!("NOT HEARD for {heard}: how it is now is not known. Then {waited}.")
        }
        SyncReason::NoRecentSync => {
            format!("The last sync was {} ago.", minutes(device.sync.last_sync))
        }
        SyncReason::OldChangesWaiting => {
            format!("The oldest entry waits {}.", minutes(device.sync.oldest_waiting))
        }
    }
}

fn not_encrypted(device: &Device) -> String {
    let why = match &device.encryption {
        Some(encryption) => encryption.exposed.iter().map(Exposure::words).collect::<Vec<_>>().join("; "),
        None => "its agent does not say whether it is encrypted: update the agent".to_owned(),
    };
    format!("Its facility demands encryption, and it is sent nothing: {why}.")
}

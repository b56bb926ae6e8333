//! Rejected and flagged changes: what devices sent that somebody has to look at, those that do not stand and those
//! that stand with a flag.

use axum::Extension;
use axum::extract::{FromRequestParts, Path};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carepost_protocol::change::{ChangeKind, PayloadHash};
use carepost_protocol::id::{DeviceId, FacilityId, IncarnationId, PatientId, RecordId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::heartbeat::{ChangeName, Settlement};
use carepost_protocol::wire::push::Rejection;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{List, Paged, Tagged};
use crate::error::{Answer, Refusal};
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::http::idempotency::Residents;
use crate::operations::changes;
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::{KeptChange, Reconsidered};

/// A care change as the server keeps it; what the server could not read of it is absent.
#[derive(Serialize, ToSchema)]
pub struct ChangeView {
    /// The device that made it.
    device_id: DeviceId,
    /// In which incarnation of its outbox.
    incarnation_id: IncarnationId,
    /// Its number there.
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ChangeKind>,
    /// To a document of which collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<Collection>,
    /// Which document.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_id: Option<RecordId>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<PatientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    /// Which form was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    /// When it was made, on the device's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Timestamp>,
    /// How far that clock could be believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_quality: Option<ClockQuality>,
    /// When it came.
    received_at: Timestamp,
    /// Why it was rejected, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Why it was rejected, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Rejection>,
    /// What somebody should look at, though it stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
    /// The number of the rejected change whose place it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<u64>,
    /// Its place in the facility's feed, where it entered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// How it was settled; absent while it waits for somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement: Option<Settlement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_reason: Option<String>,
    /// The hash of its exact bytes.
    sha256: PayloadHash,
}

/// A change with its payload, for looking at and for keeping.
#[derive(Serialize, ToSchema)]
pub struct ExportedChange {
    /// What is known of it.
    #[serde(flatten)]
    change: ChangeView,
    /// What the device sent, to the byte; without the verifier of a PIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    payload: Option<Box<RawValue>>,
    /// The same in base64, where it is no JSON. Both are absent when the server never got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// What came of judging a rejected change again.
#[derive(Serialize, ToSchema)]
pub struct ReconsideredChange {
    /// The change as it is now.
    #[serde(flatten)]
    change: ChangeView,
    /// How many that had depended on it stand now as well.
    followed: u64,
}

/// Why a change is discarded.
#[derive(Deserialize, ToSchema)]
pub struct DiscardChange {
    /// In words, for whoever asks later; no health data.
    reason: String,
}

impl ChangeView {
    /// Only who may read patients gets to see one.
    fn of(_: &Permit<ReadPatients>, it: KeptChange) -> Self {
        Self {
            device_id: it.device,
            incarnation_id: it.incarnation,
            n: it.n,
            kind: it.kind,
            collection: it.collection,
            record_id: it.record,
            patient_id: it.patient,
            user_id: it.actor,
            workflow: it.workflow,
            recorded_at: it.recorded_at,
            clock_quality: it.clock_quality,
            received_at: it.received_at,
            detail: it.reason.as_ref().map(|reason| reason.detail.clone()),
            reason: it.reason,
            flags: it.flags,
            supersedes: it.supersedes,
            seq: it.seq,
            settlement: it.settlement,
            settled_at: it.settled_at,
            settled_by: it.settled_by,
            settled_reason: it.settled_reason,
            sha256: it.sha256,
        }
    }
}

impl ExportedChange {
    fn of(change: ChangeView, payload: Option<Vec<u8>>) -> Self {
        let text = payload.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        // Trimmed JSON only: what is written as it is must be what it was, to the byte.
        let raw = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        let raw = raw.filter(|raw| Some(raw.get()) == text);
        let payload_base64 = payload.filter(|_| raw.is_none()).map(|bytes| STANDARD.encode(bytes));
        Self { change, payload: raw, payload_base64 }
    }
}

/// A change's name in a path. One that cannot be read is answered like one that is not there.
pub struct ChangePath {
    device: DeviceId,
    name: ChangeName,
}

impl<S: Send + Sync> FromRequestParts<S> for ChangePath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<(String, String, String)>::from_request_parts(parts, state).await;
        let Path((device, incarnation, n)) = path.map_err(|_| Refusal::not_found())?;
        let none = |_| Refusal::not_found();
        Ok(Self {
            device: device.parse().map_err(none)?,
            name: ChangeName {
                incarnation: incarnation.parse().map_err(none)?,
                n: n.parse().map_err(|_| Refusal::not_found())?,
            },
        })
    }
}

/// The changes of a facility's devices that were rejected and wait for somebody, latest first (`-received_at`), by pages.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}/rejected-changes", operation_id = "list_rejected_changes", tag = "changes", security(("session" = [])), params(("facility_id" = FacilityId, Path), Which), responses((status = 200, body = List<ChangeView>)))]
pub async fn list_rejected_changes(
    person: Person,
    Id(facility): Id<FacilityId>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<ChangeView>>> {
    let (permit, found) = changes::rejected(&person, facility, &which).await?;
    asked.page(found, |change| ChangeView::of(&permit, change))
}

/// The changes of a facility's devices that stand and that somebody should look at, latest first (`-received_at`), by
/// pages.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}/flagged-changes", operation_id = "list_flagged_changes", tag = "changes", security(("session" = [])), params(("facility_id" = FacilityId, Path), Which), responses((status = 200, body = List<ChangeView>)))]
pub async fn list_flagged_changes(
    person: Person,
    Id(facility): Id<FacilityId>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<ChangeView>>> {
    let (permit, found) = changes::flagged(&person, facility, &which).await?;
    asked.page(found, |change| ChangeView::of(&permit, change))
}

/// A change with its exact payload, whatever became of it: rejected, or standing with a flag or without. A PIN's verifier
/// is shown to nobody.
#[utoipa::path(get, path = "/api/v1/devices/{device_id}/changes/{incarnation_id}/{n}", operation_id = "export_change", tag = "changes", security(("session" = [])), params(("device_id" = DeviceId, Path), ("incarnation_id" = IncarnationId, Path), ("n" = u64, Path)), responses((status = 200, body = ExportedChange)))]
pub async fn export_change(
    person: Person,
    ChangePath { device, name }: ChangePath,
) -> Answer<Tagged<ExportedChange>> {
    let (permit, (change, payload)) = changes::export(&person, device, name).await?;
    Ok(Tagged::of(change, |change| ExportedChange::of(ChangeView::of(&permit, change), payload)))
}

/// Judges a rejected change again, as of when it was made: the server may be newer, or somebody may have
/// put right what was wrong. What was rejected because it depended on it follows.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/rejected-changes/{incarnation_id}/{n}/retry", operation_id = "retry_rejected_change", tag = "changes", security(("session" = [])), params(("device_id" = DeviceId, Path), ("incarnation_id" = IncarnationId, Path), ("n" = u64, Path)), responses((status = 200, body = ReconsideredChange)))]
pub async fn retry_rejected_change(
    person: Person,
    ChangePath { device, name }: ChangePath,
) -> Answer<(Extension<Residents>, Tagged<ReconsideredChange>)> {
    let (permit, done) = changes::retry(&person, device, name).await?;
    Ok(reconsidered(&permit, done))
}

/// Settles a rejected change for good: it will not stand.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/rejected-changes/{incarnation_id}/{n}/discard", operation_id = "discard_rejected_change", tag = "changes", security(("session" = [])), params(("device_id" = DeviceId, Path), ("incarnation_id" = IncarnationId, Path), ("n" = u64, Path)), request_body = DiscardChange, responses((status = 200, body = ReconsideredChange)))]
pub async fn discard_rejected_change(
    person: Person,
    ChangePath { device, name }: ChangePath,
    Json(asked, _share): Json<DiscardChange>,
) -> Answer<(Extension<Residents>, Tagged<ReconsideredChange>)> {
    let (permit, done) = changes::discard(&person, device, name, asked.reason).await?;
    Ok(reconsidered(&permit, done))
}

fn reconsidered(
    permit: &Permit<ReadPatients>,
    it: Reconsidered,
) -> (Extension<Residents>, Tagged<ReconsideredChange>) {
    let shown = Residents(it.change.patient.map(|patient| (patient, it.facility)).into_iter().collect());
    let view = |it: Reconsidered| ReconsideredChange {
        followed: it.followed,
        change: ChangeView::of(permit, it.change),
    };
    (Extension(shown), Tagged::of(it, view))
}

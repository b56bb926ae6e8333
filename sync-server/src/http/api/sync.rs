//! Enrollment, heartbeat, push and older records: what devices send and ask for, one message at a time.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use carepost_protocol::id::{DeviceId, PatientId};
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};
use carepost_protocol::wire::heartbeat::{Heartbeat, HeartbeatReply};
use carepost_protocol::wire::older::{OlderQuery, OlderRecords};
use carepost_protocol::wire::problem::Problem;
use carepost_protocol::wire::push::{MAX_BYTES, PushReceipt};
use serde_json::value::RawValue;

use crate::app::App;
use crate::audit::Client;
use crate::error::Answer;
use crate::http::body::{self, Tolerant};
use crate::http::encoding::Encoding;
use crate::http::extract::{Id, Params};
use crate::operations::authenticated_device::AuthenticatedDevice;
use crate::operations::{enrollments, sync};
use crate::quota::Share;
use crate::tls::PeerKey;

/// The most bytes of a compressed push.
const MAX_COMPRESSED: usize = 2 * 1024 * 1024;
/// The most bytes of one that is not: the changes, and what a batch says besides.
const MAX_PLAIN: usize = MAX_BYTES + 64 * 1024;

/// Asks to be let in, again and again until it is; the key is the connection's.
#[utoipa::path(post, path = "/api/v1/enroll", operation_id = "enroll", tag = "sync", request_body = EnrollRequest,
    responses((status = 200, body = EnrollResponse), (status = 401, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn enroll(
    State(app): State<App>,
    client: Client,
    Extension(key): Extension<PeerKey>,
    Tolerant(request, _share): Tolerant<EnrollRequest>,
) -> Answer<axum::Json<EnrollResponse>> {
    Ok(axum::Json(enrollments::enroll(&app, &client, &key, request).await?))
}

/// Says that the device lives and how it is (S1-50).
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/heartbeat", operation_id = "heartbeat", tag = "sync",
    params(("device_id" = DeviceId, Path)), request_body = Heartbeat,
    responses((status = 200, body = HeartbeatReply), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn heartbeat(
    Id(id): Id<DeviceId>,
    device: AuthenticatedDevice,
    request: Request,
) -> Answer<axum::Json<HeartbeatReply>> {
    let _turn = sync::may_beat(&device, id).await?;
    let Tolerant(beat, _share) = Tolerant::from_request(request, &device.app).await?;
    Ok(axum::Json(sync::heartbeat(device, beat).await?))
}

/// Takes a batch of one lane's changes: a verdict for each, once all of it is durable.
#[utoipa::path(post, path = "/api/v1/sync/push", operation_id = "push", tag = "sync",
    request_body(content = Object, description = "A batch: lane, incarnation, first_n, previous, head, signature and changes; JSON, with or without Content-Encoding: gzip, or zstd (one frame)"),
    responses((status = 200, body = PushReceipt), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 413, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn push(device: AuthenticatedDevice, request: Request) -> Answer<axum::Json<PushReceipt>> {
    let encoding = body::packing(request.headers())?;
    let mut pushing = sync::may_push(device).await?;
    match read(request, encoding, &mut pushing.share).await {
        Ok(bytes) => Ok(axum::Json(pushing.take(bytes).await?)),
        Err(refusal) => Err(pushing.unread(refusal).await),
    }
}

/// A page of a resident's records that have left the feed, as the device may see them.
#[utoipa::path(get, path = "/api/v1/sync/patients/{patient_id}/older-records", operation_id = "older_records", tag = "sync",
    params(("patient_id" = PatientId, Path),
        ("before" = Option<String>, Query, description = "With before_record: the place at which the page before ended"),
        ("before_record" = Option<String>, Query)),
    responses((status = 200, body = Object, description = "Records, and where the next page begins"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn older_records(
    Id(patient): Id<PatientId>,
    device: AuthenticatedDevice,
    Params(asked): Params<OlderQuery>,
) -> Answer<axum::Json<OlderRecords<Box<RawValue>>>> {
    Ok(axum::Json(sync::older_records(&device, patient, asked).await?))
}

/// The bytes of a batch as it is.
async fn read(request: Request, encoding: Encoding, share: &mut Share) -> Answer<Bytes> {
    let limit = if encoding == Encoding::Identity { MAX_PLAIN } else { MAX_COMPRESSED };
    let packed = body::read(request.into_body(), limit, share).await?;
    body::unpacked(packed, encoding, MAX_PLAIN, share).await
}

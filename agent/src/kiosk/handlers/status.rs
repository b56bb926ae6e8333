//! `/status.json`: how the agent is, for `carepost-agent status`. It names nobody and no resident, so
//! any program on the device may read it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::super::Kiosk;
use super::super::renderers::shell::Fault;
use super::super::renderers::words::{call, copy_trouble, not_trusted, time_zone};
use crate::workspace::view::{Enrolling, Link, Screen, Sending};
use carepost_agent_core::enrollment::EnrollmentView;
use carepost_agent_core::sync::{Distrust, Hold};
use carepost_protocol::device::DeviceState;
use carepost_protocol::record::Collection;
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::enroll::UserCode;
use carepost_protocol::wire::heartbeat::{Encryption, Exposure, ReaderState, SteppedOver};

#[derive(Serialize)]
pub(crate) struct Status {
    state: DeviceState,
    /// None where the device's key is refused, and then no link is any good, or where its files do not open, and it is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'static str>,
    /// What an administrator types to let the device in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pairing_code: Option<UserCode>,
    /// For which facility it was approved, until that is confirmed. The digits are for whoever sees the page: any
    /// program that had both could have the device confirmed elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_for: Option<String>,
    /// Why the server refused the token that the device was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offline_since: Option<Timestamp>,
    /// What is wrong with the link that no cable mends, and whom to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_trouble: Option<String>,
    /// How far the time that entries are given can be believed.
    clock_quality: ClockQuality,
    /// None where that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_waiting_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<u64>,
    loading: bool,
    /// The collections whose copy differs from the server's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differs: Vec<Collection>,
    /// The documents that could not be taken, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stepped_over: Vec<SteppedOver>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending: Option<String>,
    /// What waits is sent slowly, because this device sent more than it may.
    slowed: bool,
    quarantined: bool,
    /// Whether all that rests on this device is encrypted; none before that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    /// What is not, and what to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exposed: Vec<String>,
    /// The facility demands encryption and this device does not have it: it receives nothing new.
    must_encrypt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_progress_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_trouble: Option<String>,
    /// What is wrong with the outbox's file, though what is charted is saved and sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_trouble: Option<String>,
    /// Why nothing new arrives here, though what is charted is saved and sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_trouble: Option<String>,
    reader: ReaderState,
    /// In which zone times are shown; none where it has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// Why it is not the facility's, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone_trouble: Option<String>,
    version: &'static str,
}

pub(crate) async fn json(State(kiosk): State<Kiosk>) -> Result<Json<Status>, Fault> {
    let (screen, line, clock_quality) =
        kiosk.ask(|device| (device.screen(), device.status(), device.clock_quality())).await?;
    let is_read = !matches!(screen, Screen::Unopened);
    let (state, step, token_refused) = match screen {
        Screen::Enrolling(Enrolling { step, token_refused, .. }) => {
            (DeviceState::Pending, Some(step), token_refused)
        }
        Screen::Revoked => (DeviceState::Revoked, None, None),
        Screen::Unopened | Screen::Locked(_) | Screen::PinPad(_) | Screen::Open(_) => {
            (DeviceState::Active, None, None)
        }
    };
    let (pairing_code, approved_for) = match step {
        Some(EnrollmentView::Code { code, .. }) => (Some(code), None),
        Some(EnrollmentView::Confirm { facility_name, .. }) => (None, Some(facility_name)),
        Some(EnrollmentView::Asking | EnrollmentView::Enrolled | EnrollmentView::Revoked) | None => {
            (None, None)
        }
    };
    let (link, offline_since) = match line.link {
        _ if state == DeviceState::Revoked || !is_read => (None, None),
        Link::Online => (Some("ONLINE"), None),
        Link::Offline { since } => {
            let link = match line.sync.distrust {
                Some(Distrust::Theirs | Distrust::Blind) => "NOT_TRUSTED",
                Some(Distrust::Ours) => "NOT_ACCEPTED",
                Some(Distrust::Stranger) => "NOT_THE_SERVER",
                None => "OFFLINE",
            };
            (Some(link), Some(since))
        }
    };
    let copy_trouble = copy_trouble(&line);
    Ok(Json(Status {
        state,
        link,
        pairing_code,
        approved_for,
        token_refused,
        offline_since,
        link_trouble: line
            .sync
            .distrust
            .filter(|_| offline_since.is_some())
            .map(|whose| format!("{}. {}", not_trusted(whose), call(line.phone.as_deref()))),
        clock_quality,
        waiting: is_read.then_some(line.waiting),
        oldest_waiting_seconds: line.oldest_waiting.map(|waited| waited.as_secs()),
        rejected: is_read.then_some(line.rejected),
        loading: line.loading,
        differs: line.differs,
        stepped_over: line.stepped_over,
        loaded_percent: line.sync.loaded.filter(|_| line.loading),
        sending: line.sync.sending.map(|Sending { sent, total }| format!("{sent} of {total}")),
        slowed: line.sync.slowed,
        quarantined: line.sync.held == Some(Hold::Quarantined),
        encrypted: line.encryption.as_ref().map(Encryption::is_complete),
        exposed: line.encryption.iter().flat_map(|it| &it.exposed).map(Exposure::words).collect(),
        must_encrypt: line.sync.held == Some(Hold::NotEncrypted),
        no_progress_seconds: line.sync.still.map(|still| still.as_secs()),
        storage_trouble: line.storage_trouble,
        outbox_trouble: line.outbox_trouble,
        copy_trouble,
        reader: line.reader,
        time_zone: line.time.zone.name().map(str::to_owned),
        time_zone_trouble: time_zone(&line.time),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

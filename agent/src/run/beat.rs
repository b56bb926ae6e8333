//! What a heartbeat says of this device.

use std::time::Duration;

use carepost_protocol::change::Lane;
use carepost_protocol::wire::heartbeat::{Heartbeat, MAX_REFUSED, QueueState};

use super::opened::Opened;
use crate::desk::{Desk, Ward};

/// How this device is. Nothing has moved for `still`, if that is long.
pub(super) fn describe(opened: &Opened, desk: &Desk, ward: &Ward, still: Option<Duration>) -> Heartbeat {
    let clock = &opened.clock;
    let counts = ward.outbox().counts().unwrap_or_default();
    let refused = ward.outbox().wedged(MAX_REFUSED).unwrap_or_default();
    Heartbeat {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock.monotonic().saturating_sub(opened.started).as_secs(),
        device_time: clock.uncorrected(),
        clock_quality: clock.stamp().1,
        mac_addresses: opened.factors.mac_addresses().to_vec(),
        encrypted: true,
        reader: desk.reader(),
        incarnation: ward.outbox().incarnation(),
        queue: QueueState {
            care: counts.care,
            audit: counts.audit,
            wedged: counts.wedged + desk.sync().stuck,
            oldest_age: counts.oldest.map(|made| clock.now().since(made).as_secs()),
        },
        cursor: ward.mirror().cursor().ok().flatten(),
        active_user: ward.active_user(),
        mirror: ward.mirror().agreement().unwrap_or_default(),
        revocations: ward.mirror().heard().ok().flatten(),
        no_progress: still.map(|still| still.as_secs()),
        refused: refused.iter().filter(|it| it.lane == Lane::Care).map(|it| it.name).collect(),
    }
}

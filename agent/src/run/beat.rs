//! What a heartbeat says of this device: nothing that was not measured for it.

use std::time::Duration;

use anyhow::Context as _;
use carepost_protocol::change::Lane;
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, MAX_REFUSED, MirrorState, QueueState};

use super::opened::Opened;
use crate::desk::{Desk, Ward};
use crate::identity::factors::mac_addresses;
use crate::outbox::Outbox;

/// How this device is. Nothing has moved for `still`, if that is long.
///
/// # Errors
/// When one of its files cannot be read: rather than that nothing waits and nothing differs, it says nothing.
pub(super) fn describe(
    opened: &Opened,
    desk: &Desk,
    ward: &Ward,
    still: Option<Duration>,
) -> anyhow::Result<Heartbeat> {
    let said = of_outbox(opened, desk, ward.outbox())?;
    let sync = desk.sync();
    Ok(Heartbeat {
        queue: QueueState { wedged: said.queue.wedged + sync.stuck, ..said.queue },
        cursor: ward.mirror().cursor().context("where the mirror stands cannot be read")?,
        active_user: ward.active_user(),
        mirror: ward.mirror().agreement().context("how the mirror agrees cannot be read")?,
        revocations: ward.mirror().heard().context("what was revoked cannot be read")?,
        no_progress: still.map(|still| still.as_secs()),
        cannot_save: ward.trouble(),
        copy_trouble: sync.copy.map(|trouble| trouble.words()),
        unknown_tap: ward.unknown_tap(),
        ..said
    })
}

/// The same of a device without its copy.
///
/// # Errors
/// When the outbox cannot be read.
pub(super) fn of_outbox(opened: &Opened, desk: &Desk, outbox: &Outbox) -> anyhow::Result<Heartbeat> {
    let clock = &opened.clock;
    let counts = outbox.counts().context("what waits cannot be counted")?;
    let refused = outbox.wedged(MAX_REFUSED).context("what was refused cannot be read")?;
    let encryption = measured(opened, desk);
    Ok(Heartbeat {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: clock.monotonic().saturating_sub(opened.started).as_secs(),
        device_time: clock.uncorrected(),
        clock_quality: clock.stamp().1,
        mac_addresses: mac_addresses(&opened.root),
        encrypted: encryption.is_complete(),
        encryption: Some(encryption),
        reader: desk.reader(),
        incarnation: outbox.incarnation(),
        queue: QueueState {
            care: counts.care,
            audit: counts.audit,
            wedged: counts.wedged,
            oldest_age: counts.oldest.map(|made| clock.now().since(made).as_secs()),
        },
        cursor: None,
        active_user: None,
        mirror: MirrorState::default(),
        revocations: None,
        no_progress: None,
        cannot_save: None,
        copy_trouble: None,
        unknown_tap: None,
        refused: refused.iter().filter(|it| it.lane == Lane::Care).map(|it| it.name).collect(),
    })
}

/// What of this device rests in the clear now; the kiosk is told, and the log when it is news.
pub(super) fn measured(opened: &Opened, desk: &Desk) -> Encryption {
    let encryption = opened.encryption();
    if desk.set_encryption(encryption.clone()) {
        for exposure in &encryption.exposed {
            tracing::warn!("not encrypted: {}", exposure.words());
        }
    }
    encryption
}

//! Devices: their types, and states that are functions of times and counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What kind of device it is (S1-19 to S1-23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeviceType {
    /// Wall kiosk.
    RaspberryPi,
    /// Carried by a nurse.
    Tablet,
    /// Case manager's laptop.
    Laptop,
    /// Med room or nurse station.
    Workstation,
    /// A reader without a screen.
    #[serde(alias = "TYPE_BADGE_READER")]
    BadgeReader,
}

/// Where a device stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeviceState {
    /// Registered by an administrator, not seen yet (S1-59).
    Expected,
    /// Waiting in the lobby for an administrator.
    Pending,
    /// Enrolled and working.
    Active,
    /// Two devices claim to be this one: it may push, not pull.
    Quarantined,
    /// Its key is refused.
    Revoked,
}

/// Why a device was deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Deactivation {
    /// Nobody knows where it is, or somebody has it who should not: what it held counts as known.
    #[serde(alias = "stolen")]
    Lost,
    /// It is out of use, and in hand.
    #[default]
    Retired,
    /// Another stands in its place, and it is in hand.
    Replaced,
}

/// A device is online while its last heartbeat is at most this old (S1-29).
pub const ONLINE_WITHIN: Duration = Duration::from_secs(300);

/// Whether a device last seen then is online now: true at exactly 300 s (S1-29).
#[must_use]
pub fn is_online(last_seen: Option<Timestamp>, now: Timestamp) -> bool {
    last_seen.is_some_and(|seen| now.since(seen) <= ONLINE_WITHIN)
}

/// How well a device's copy and the server's agree (S1-30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncStatus {
    /// Nothing waits for long, and the last sync is recent.
    Synced,
    /// The last sync, or the oldest waiting change, is older than the staleness threshold; or it is not online, so
    /// that how it is now is not known.
    Stale,
    /// Something needs a person.
    OutOfSync,
    /// No sync has succeeded yet.
    NeverSynced,
}

/// What the server knows of a device's sync, on the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncFacts {
    /// The latest moment up to which the device says that it has applied everything.
    pub last_sync: Option<Timestamp>,
    /// When the oldest change still waiting on the device was made.
    pub oldest_waiting: Option<Timestamp>,
    /// Changes the server rejected, which a person must look at.
    pub rejected: u64,
    /// The device's cursor is one the server no longer serves.
    pub cursor_refused: bool,
    /// A collection of the device's mirror was found to differ and is not mended yet.
    pub mirror_differs: bool,
    /// The device could not take a document, and went on without it.
    pub stepped_over: bool,
    /// Nothing moves, though the device reaches the server and something waits.
    pub no_progress: bool,
    /// It was heard once, and is not online now.
    pub silent: bool,
    /// Its key is refused for good.
    pub revoked: bool,
    /// Nothing that is charted on it can be saved.
    pub cannot_save: bool,
    /// Its copy does not go on, and it says why.
    pub copy_trouble: bool,
    /// Two copies of the device claim to be it.
    pub quarantined: bool,
    /// Its facility demands encryption, and it is not encrypted or does not say.
    pub not_encrypted: bool,
}

/// Why a device is not SYNCED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SyncReason {
    /// An administrator deactivated it, and its key is refused for good.
    Revoked,
    /// Nothing that is charted on it can be saved: its disk is full or broken.
    CannotSave,
    /// No sync has succeeded yet.
    NeverSynced,
    /// The server rejected changes, which a person must look at.
    RejectedChanges,
    /// The device's cursor is one the server no longer serves.
    CursorRefused,
    /// The device's copy does not go on, and it says why: its disk is nearly full, or the server does not send it.
    CopyTrouble,
    /// The device's copy was found to differ from the server's; it is being fetched again.
    MirrorDiffers,
    /// The device could not take a document, and went on without it: it shows an older version, or none.
    DocumentsSteppedOver,
    /// Nothing moves, though the device reaches the server and something waits.
    NoProgress,
    /// Two copies of the device claim to be it: it may push, not pull.
    Quarantined,
    /// Its facility demands encryption, and it is not encrypted or does not say: it may push, not pull.
    NotEncrypted,
    /// It is not heard any more: how it is since is not known.
    NotHeard,
    /// The last sync is too long ago.
    NoRecentSync,
    /// A change has waited too long on the device.
    OldChangesWaiting,
}

/// When a sync counts as old. The defaults are the product's; a server may set its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncThresholds {
    /// Past this, STALE.
    pub stale_after: Duration,
    /// Past this without a sync, OUT_OF_SYNC.
    pub out_of_sync_after: Duration,
}

impl Default for SyncThresholds {
    fn default() -> Self {
        Self { stale_after: Duration::from_mins(15), out_of_sync_after: Duration::from_hours(24) }
    }
}

/// The sync state of a device (S1-30).
#[must_use]
pub fn sync_status(facts: &SyncFacts, now: Timestamp, thresholds: &SyncThresholds) -> SyncStatus {
    let worst = sync_reasons(facts, now, thresholds).into_iter().map(|reason| match reason {
        SyncReason::NeverSynced => (3, SyncStatus::NeverSynced),
        SyncReason::Revoked
        | SyncReason::CannotSave
        | SyncReason::RejectedChanges
        | SyncReason::CursorRefused
        | SyncReason::CopyTrouble
        | SyncReason::MirrorDiffers
        | SyncReason::DocumentsSteppedOver
        | SyncReason::NoProgress
        | SyncReason::Quarantined
        | SyncReason::NotEncrypted => (2, SyncStatus::OutOfSync),
        SyncReason::NoRecentSync if since_sync(facts, now) > thresholds.out_of_sync_after => {
            (2, SyncStatus::OutOfSync)
        }
        SyncReason::NotHeard | SyncReason::NoRecentSync | SyncReason::OldChangesWaiting => {
            (1, SyncStatus::Stale)
        }
    });
    worst.max_by_key(|(rank, _)| *rank).map_or(SyncStatus::Synced, |(_, status)| status)
}

/// Every reason why a device is not SYNCED, the gravest first.
#[must_use]
pub fn sync_reasons(facts: &SyncFacts, now: Timestamp, thresholds: &SyncThresholds) -> Vec<SyncReason> {
    let waited = facts.oldest_waiting.map_or(Duration::ZERO, |made| now.since(made));
    let too_long_ago = facts.last_sync.is_some() && since_sync(facts, now) > thresholds.stale_after;
    let holds = [
        (facts.revoked, SyncReason::Revoked),
        (facts.cannot_save, SyncReason::CannotSave),
        (facts.last_sync.is_none(), SyncReason::NeverSynced),
        (facts.quarantined, SyncReason::Quarantined),
        (facts.not_encrypted, SyncReason::NotEncrypted),
        (facts.rejected > 0, SyncReason::RejectedChanges),
        (facts.cursor_refused, SyncReason::CursorRefused),
        (facts.copy_trouble, SyncReason::CopyTrouble),
        (facts.mirror_differs, SyncReason::MirrorDiffers),
        (facts.stepped_over, SyncReason::DocumentsSteppedOver),
        (facts.no_progress, SyncReason::NoProgress),
        (facts.silent, SyncReason::NotHeard),
        (too_long_ago, SyncReason::NoRecentSync),
        (waited > thresholds.stale_after, SyncReason::OldChangesWaiting),
    ];
    holds.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
}

fn since_sync(facts: &SyncFacts, now: Timestamp) -> Duration {
    facts.last_sync.map_or(Duration::ZERO, |last| now.since(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn online_means_at_most_three_hundred_seconds() {
        assert!(!is_online(None, at(0)));
        assert!(is_online(Some(at(0)), at(300)));
        assert!(!is_online(Some(at(0)), at(300).plus_millis(1)));
        assert!(is_online(Some(at(10)), at(0)), "a beat from a server clock since set back still counts");
    }

    #[test]
    fn the_four_sync_states() {
        let thresholds = SyncThresholds::default();
        let synced = SyncFacts { last_sync: Some(at(0)), ..SyncFacts::default() };
        let status = |facts: SyncFacts, now| sync_status(&facts, at(now), &thresholds);
        assert_eq!(status(SyncFacts::default(), 0), SyncStatus::NeverSynced);
        assert_eq!(status(SyncFacts { rejected: 1, ..SyncFacts::default() }, 0), SyncStatus::NeverSynced);
        assert_eq!(status(synced, 900), SyncStatus::Synced);
        assert_eq!(status(synced, 901), SyncStatus::Stale);
        assert_eq!(status(synced, 86_400), SyncStatus::Stale);
        assert_eq!(status(synced, 86_401), SyncStatus::OutOfSync);
        assert_eq!(status(SyncFacts { rejected: 1, ..synced }, 1), SyncStatus::OutOfSync);
        for broken in [
            SyncFacts { cursor_refused: true, ..synced },
            SyncFacts { mirror_differs: true, ..synced },
            SyncFacts { stepped_over: true, ..synced },
            SyncFacts { no_progress: true, ..synced },
            SyncFacts { revoked: true, ..synced },
            SyncFacts { cannot_save: true, ..synced },
            SyncFacts { copy_trouble: true, ..synced },
            SyncFacts { quarantined: true, ..synced },
            SyncFacts { not_encrypted: true, ..synced },
        ] {
            assert_eq!(status(broken, 1), SyncStatus::OutOfSync);
        }
        assert_eq!(status(SyncFacts { silent: true, ..synced }, 1), SyncStatus::Stale);
        assert_eq!(status(SyncFacts { silent: true, cannot_save: true, ..synced }, 1), SyncStatus::OutOfSync);
        let waiting = SyncFacts { last_sync: Some(at(950)), oldest_waiting: Some(at(0)), ..synced };
        assert_eq!(status(waiting, 951), SyncStatus::Stale);
        assert_eq!(status(SyncFacts { oldest_waiting: Some(at(51)), ..waiting }, 951), SyncStatus::Synced);
        let broken = SyncFacts { rejected: 2, mirror_differs: true, ..waiting };
        assert_eq!(
            sync_reasons(&broken, at(951), &thresholds),
            [SyncReason::RejectedChanges, SyncReason::MirrorDiffers, SyncReason::OldChangesWaiting]
        );
        assert!(sync_reasons(&synced, at(900), &thresholds).is_empty());
    }
}

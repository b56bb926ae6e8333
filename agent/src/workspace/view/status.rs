//! The line at the top of every screen: whether the server is reached, and how the sync is.

use std::time::Duration;

use carepost_agent_core::sync::{Distrust, Hold};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Encryption, ReaderState, SteppedOver};
use carepost_protocol::wire::push::MAX_CHANGES;

use crate::mirror::RESERVE_MIB;
use crate::workspace::times::TimeHere;

/// What the line at the top of every screen says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLine {
    /// Whether the server is reached.
    pub link: Link,
    /// Entries not yet at the server.
    pub waiting: u64,
    /// How long the oldest of them has waited.
    pub oldest_waiting: Option<Duration>,
    /// Entries that the server rejected and a person must look at.
    pub rejected: u64,
    /// Reviews that are open, for whoever is signed in and may close them, as far as they are counted.
    pub reviews: u64,
    /// The first copy of the facility's data is still on its way.
    pub loading: bool,
    /// The collections whose copy differs from the server's: they are being fetched again.
    pub differs: Vec<Collection>,
    /// The documents that could not be taken, by collection and reason.
    pub stepped_over: Vec<SteppedOver>,
    pub sync: SyncView,
    /// The device cannot save; why, in words.
    pub storage_trouble: Option<String>,
    /// What is wrong with the outbox's file, in words, though it takes what is saved.
    pub outbox_trouble: Option<String>,
    /// Whom to call when this device cannot help; of the facility.
    pub phone: Option<String>,
    pub reader: ReaderState,
    /// What of this device rests in the clear; none before it was measured.
    pub encryption: Option<Encryption>,
    /// In which zone times are shown.
    pub time: TimeHere,
    /// How much of a resident is sent here.
    pub sent: PhiMode,
}

impl StatusLine {
    /// That of a device on which nothing waits and nothing is wrong, as far as is known.
    pub(crate) const fn calm(link: Link, sync: SyncView, reader: ReaderState, time: TimeHere) -> Self {
        Self {
            link,
            waiting: 0,
            oldest_waiting: None,
            rejected: 0,
            reviews: 0,
            loading: false,
            differs: Vec::new(),
            stepped_over: Vec::new(),
            sync,
            storage_trouble: None,
            outbox_trouble: None,
            phone: None,
            reader,
            encryption: None,
            time,
            sent: PhiMode::Full,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncView {
    /// Lanes whose first waiting entry the server does not take: each needs a person.
    pub stuck: u64,
    /// What keeps this device and its server apart, though something answers.
    pub distrust: Option<Distrust>,
    /// Why the copy does not go on, though the server answers.
    pub copy: Option<CopyTrouble>,
    /// Why it sends and receives nothing new, if it does not.
    pub held: Option<Hold>,
    /// For how long nothing has moved, though the server is reached, where that is long.
    pub still: Option<Duration>,
    /// What waits is sent slowly, because this device sent more than it may.
    pub slowed: bool,
    /// A long queue on its way.
    pub sending: Option<Sending>,
    /// How many hundredths of the facility's records are here, while they are loading.
    pub loaded: Option<u8>,
}

impl SyncView {
    /// How much of the feed is here; none at its head.
    #[must_use]
    pub fn loaded(seq: u64, head: u64) -> Option<u8> {
        let percent = u128::from(seq) * 100 / u128::from(head.max(1));
        u8::try_from(percent).ok().filter(|percent| *percent < 100)
    }
}

/// Why a copy does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyTrouble {
    /// What is left of the disk is kept for what is charted here.
    NoRoom,
    /// The server does not send it; its words say why.
    Refused(String),
}

impl CopyTrouble {
    /// In words that other words may follow.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::NoRoom => format!(
                "the disk is nearly full, and what is left is kept for what is charted here: nothing new is copied \
                 until {RESERVE_MIB} MiB are free. Free some space"
            ),
            Self::Refused(why) => format!("the server does not send the copy: {}", why.trim_end_matches('.')),
        }
    }
}

/// How much of a long queue is at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// So many entries.
    pub sent: u64,
    /// Of so many.
    pub total: u64,
}

impl Sending {
    /// None for a queue that is gone in a moment: one batch.
    #[must_use]
    pub const fn of(sent: u64, left: u64) -> Option<Self> {
        let total = sent.saturating_add(left);
        if left > 0 && total > MAX_CHANGES as u64 { Some(Self { sent, total }) } else { None }
    }
}

/// Whether the server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Online,
    Offline { since: Timestamp },
}

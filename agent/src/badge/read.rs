//! Reading one badge, to show what it is: `carepost-agent badge read`.

use std::time::Duration;

use carepost_protocol::badge::Uid;
use carepost_protocol::wire::heartbeat::ReaderState;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::{BadgeEvent, Unreadable};

/// What may be shown of a badge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub reader: String,
    /// First and last byte of its UID.
    pub masked_uid: String,
    /// How many bytes its UID has.
    pub uid_length: usize,
    /// Its answer to reset in hex.
    pub atr: String,
    /// Whether it gives another UID each time and so can be nobody's badge.
    pub random: bool,
}

/// Why no badge was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// None was laid down in time.
    #[error("no badge was tapped in time: run this again and lay a badge on the reader")]
    NoBadge,
    /// One was, but could not be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// There is no reader to tap on.
    #[error("no badge reader is connected: plug one in and check that `pcsc_scan` sees it")]
    NoReader,
    /// The service that drives readers does not answer.
    #[error("the service that drives badge readers does not answer: install or start pcscd")]
    NoService,
}

/// Waits for one badge from a started source. A badge that cannot be read is given more tries until `patience`
/// ends; then the answer is why the last one failed.
pub async fn read_one(events: &mut Receiver<BadgeEvent>, patience: Duration) -> Result<Reading, ReadError> {
    let deadline = Instant::now() + patience;
    let mut last = ReadError::NoBadge;
    loop {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(BadgeEvent::Presented { reader, uid, atr })) => return Ok(reading(reader, &uid, &atr)),
            Ok(Some(BadgeEvent::Unreadable { why, .. })) => last = ReadError::Unreadable(why),
            Ok(Some(BadgeEvent::Reader(ReaderState::Ready))) => last = ReadError::NoBadge,
            Ok(Some(BadgeEvent::Reader(ReaderState::ServiceDown))) => last = ReadError::NoService,
            Ok(Some(BadgeEvent::Reader(ReaderState::Missing | ReaderState::None))) => {
                last = ReadError::NoReader
            }
            Ok(Some(BadgeEvent::Removed { .. })) => {}
            Ok(None) | Err(_) => return Err(last),
        }
    }
}

fn reading(reader: String, uid: &Uid, atr: &[u8]) -> Reading {
    Reading {
        reader,
        masked_uid: uid.masked(),
        uid_length: uid.as_bytes().len(),
        atr: atr.iter().map(|byte| format!("{byte:02X}")).collect(),
        random: uid.is_random(),
    }
}

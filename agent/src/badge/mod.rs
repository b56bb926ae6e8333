//! Badges: where they are tapped, and what a tap says.
//!
//! A [`Source`] runs on threads of its own and sends [`BadgeEvent`]s into one bounded channel: [`pcsc`] for
//! readers that pcscd drives, [`scripted`] for demos and tests. A UID identifies and proves nothing, so it
//! never leaves this room in clear: others get its keyed hash
//! ([`carepost_protocol::badge`]).
//!
//! When the channel is full the source's threads wait: a tap is never dropped unseen, and what happens on a
//! reader meanwhile is what the reader itself remembers, its last state. No backlog of old taps builds up.

pub mod pcsc;
pub mod read;
pub mod scripted;
mod signal;
#[cfg(test)]
mod tests;

use carepost_protocol::badge::Uid;
use carepost_protocol::wire::heartbeat::ReaderState;

/// How many events may wait for the agent's loop.
pub const QUEUE: usize = 32;

/// What happened on a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadgeEvent {
    /// A badge was laid on a reader and gave its UID.
    Presented {
        reader: String,
        uid: Uid,
        /// Its answer to reset, which tells the kind of card.
        atr: Vec<u8>,
    },
    /// The badge was taken away, or its reader was.
    Removed { reader: String },
    /// Something was laid on a reader that could not be read.
    Unreadable { reader: String, why: Unreadable },
    /// The readers' state changed.
    Reader(ReaderState),
}

/// Why a badge could not be read; the text tells its holder what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It was gone before it had answered.
    #[error("the badge was taken away too soon: hold it still for a moment longer")]
    PulledAway,
    /// It lay there before the reader was watched; a badge left behind never signs anyone in.
    #[error("a badge was lying on the reader already: take it off and tap again")]
    LyingThere,
    /// It does not power up, or as nothing that is known.
    #[error("the card does not answer the reader: use a work badge, or have this one replaced")]
    Mute,
    /// It refused to give its UID, with this status word.
    #[error(
        "the card refused to give its number (status {0:04X}): use a work badge, or have this one replaced"
    )]
    Refused(u16),
    /// Its answer has not the form of a UID.
    #[error("the card's answer makes no sense ({0} bytes): tap again, or have the badge replaced")]
    Malformed(usize),
    /// It has not answered for so long that the reader is taken for stuck.
    #[error("the card does not stop answering: take it off; if that does not help, unplug the reader")]
    Hung,
    /// The reader or its driver failed.
    #[error("the reader failed ({0}): tap again; if that does not help, unplug it and plug it in")]
    Failed(String),
}

/// What a reader tells the person who tapped, by light and sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// Green, one beep.
    Accept,
    /// Red, three beeps.
    Deny,
}

/// Where badges come from.
///
/// Starting one takes the channel that it sends into; dropping it stops it without waiting.
pub trait Source: Send {
    /// Tells by light and sound, best effort: many readers have neither. Never waits.
    fn signal(&self, reader: &str, feedback: Feedback);

    /// Stops the source's threads and waits a moment for them. It blocks: not for async code.
    fn stop(self: Box<Self>) -> Stopped;
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every thread has returned.
    Cleanly,
    /// A thread is held by a stuck reader or service; it ends with the process.
    Stuck,
}

/// Which readers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Real ones only.
    RealOnly,
    /// Virtual ones too: demos and tests.
    VirtualToo,
}

impl Admission {
    /// Whether badges of this reader count. Virtual readers are told by their names: the project's own
    /// driver's and vsmartcard's. Who can install a driver under another name is root here already.
    pub fn admits(self, reader: &str) -> bool {
        match self {
            Admission::VirtualToo => true,
            Admission::RealOnly => !VIRTUAL.iter().any(|name| reader.starts_with(name)),
        }
    }
}

const VIRTUAL: [&str; 2] = ["Carepost Virtual Reader", "Virtual PCD"];

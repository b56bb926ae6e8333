//! The commit listener: at each commit what is remembered outside of the database is forgotten, live streams are
//! woken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carepost_protocol::time::Timestamp;

use super::engine::{Committed, Event};
use super::identities::Identities;
use super::rules::revoked::StaffMoves;
use crate::feed::Feeds;

/// Passes a commit on, before whoever asked for the writes is answered.
#[derive(Debug)]
pub(super) struct CommitListener {
    pub(super) feeds: Arc<Feeds>,
    pub(super) identities: Arc<Identities>,
    pub(super) staff_moves: Arc<StaffMoves>,
    pub(super) fullness: Arc<Fullness>,
}

impl CommitListener {
    /// What is remembered is forgotten also after a commit that failed: it may have become durable all the same.
    /// Streams are told of nothing that is not.
    pub(super) fn hear(&self, group: &Committed) {
        if let Some(at) = group.was_full {
            self.fullness.note(at);
        }
        if group.identities_moved {
            self.identities.forget_all();
        }
        for event in &group.events {
            if let Event::StaffMoved(facility) = event {
                self.staff_moves.forget(facility);
            }
        }
        for event in group.events.iter().filter(|_| group.is_durable) {
            match *event {
                Event::Moved(facility, seq) => self.feeds.moved(facility, seq),
                Event::Refused(device) => self.feeds.refused(device),
                Event::StaffMoved(_) => {}
            }
        }
    }
}

/// When a write last failed for want of room.
#[derive(Debug, Default)]
pub(super) struct Fullness(Mutex<Option<Timestamp>>);

impl Fullness {
    fn note(&self, at: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether that is less than a while ago: then the next write fails too, as far as anybody knows.
    pub(super) fn within(&self, a_while: Duration, now: Timestamp) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last <= now && now.since(last) < a_while)
    }
}

//! Last-seen versions: up to where in a facility's feed somebody has seen a resident, as of the last time that the
//! resident was shown alone, in a session. It is what an edit goes by that names no version: what others wrote of the
//! same field since is not overwritten unseen, but kept in a review, as between devices.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::{PatientId, SessionId};

/// How many are remembered, of all sessions; beyond it the older half is forgotten. Whose look is forgotten counts as
/// having seen all, as who never looked does.
const MOST: usize = 10_000;

/// What was shown since the server started.
#[derive(Debug, Default)]
pub struct LastSeen(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    looks: HashMap<(SessionId, PatientId), Look>,
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    seq: u64,
    /// Which look it was, of all.
    count: usize,
}

impl LastSeen {
    /// A resident is shown, as of a place in the feed.
    pub fn keep(&self, session: SessionId, patient: PatientId, seq: u64) {
        let mut kept = self.kept();
        kept.count += 1;
        let count = kept.count;
        if kept.looks.len() >= MOST {
            kept.looks.retain(|_, look| look.count + MOST / 2 > count);
        }
        kept.looks.insert((session, patient), Look { seq, count });
    }

    /// Up to where a resident was seen, if that is known.
    #[must_use]
    pub fn seen(&self, session: SessionId, patient: PatientId) -> Option<u64> {
        self.kept().looks.get(&(session, patient)).map(|look| look.seq)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn the_latest_looks_are_known_and_no_more_than_so_many() {
        let shown = LastSeen::default();
        let session = SessionId::new(Timestamp::EPOCH, [1; 10]);
        let patient = |n: usize| PatientId::new(Timestamp::from_millis(i64::try_from(n).unwrap()), [2; 10]);
        for n in 0..3 * MOST {
            shown.keep(session, patient(n), 7);
            shown.keep(session, patient(0), n as u64);
        }
        assert!(shown.kept().looks.len() <= MOST);
        assert_eq!(shown.seen(session, patient(0)), Some(3 * MOST as u64 - 1));
        assert_eq!(shown.seen(session, patient(3 * MOST - 1)), Some(7));
        assert_eq!(shown.seen(session, patient(1)), None);
    }
}

//! Last-seen versions: up to where in a facility's feed somebody has seen a resident, as of the last time that the
//! resident was shown alone, in a session. It is what an edit goes by that names no version: what others wrote of the
//! same field since is not overwritten unseen, but kept in a review, as between devices.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::{PatientId, SessionId};

/// How many are remembered of one session; beyond it its older half is forgotten. Whose look is forgotten counts as
/// having seen all, as who never looked does.
const MOST: usize = 256;
/// Of how many sessions; beyond it the half that looked longest ago is forgotten.
const SESSIONS: usize = 2_000;

/// What was shown since the server started.
#[derive(Debug, Default)]
pub struct LastSeen(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    sessions: HashMap<SessionId, Looks>,
    /// How many looks there were, of all sessions.
    count: usize,
}

/// What one session looked at.
#[derive(Debug, Default)]
struct Looks {
    of: HashMap<PatientId, Look>,
    /// Which look was its latest, of all sessions.
    latest: usize,
    /// How many looks there were, of this session.
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    seq: u64,
    /// Which look it was, of its session.
    count: usize,
}

impl LastSeen {
    /// A resident is shown, as of a place in the feed.
    pub fn keep(&self, session: SessionId, patient: PatientId, seq: u64) {
        let mut kept = self.kept();
        kept.count += 1;
        let latest = kept.count;
        if kept.sessions.len() >= SESSIONS && !kept.sessions.contains_key(&session) {
            kept.forget_sessions();
        }
        let looks = kept.sessions.entry(session).or_default();
        looks.latest = latest;
        looks.keep(patient, seq);
    }

    /// Up to where a resident was seen, if that is known.
    #[must_use]
    pub fn seen(&self, session: SessionId, patient: PatientId) -> Option<u64> {
        self.kept().sessions.get(&session)?.of.get(&patient).map(|look| look.seq)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_sessions(&mut self) {
        let mut latest: Vec<usize> = self.sessions.values().map(|looks| looks.latest).collect();
        let (_, middle, _) = latest.select_nth_unstable(SESSIONS / 2);
        let middle = *middle;
        self.sessions.retain(|_, looks| looks.latest > middle);
    }
}

impl Looks {
    fn keep(&mut self, patient: PatientId, seq: u64) {
        self.count += 1;
        let count = self.count;
        if self.of.len() >= MOST && !self.of.contains_key(&patient) {
            self.of.retain(|_, look| look.count + MOST / 2 > count);
        }
        self.of.insert(patient, Look { seq, count });
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::time::Timestamp;

    use super::*;

    fn session(n: usize) -> SessionId {
        SessionId::new(Timestamp::from_millis(i64::try_from(n).unwrap()), [1; 10])
    }

    fn patient(n: usize) -> PatientId {
        PatientId::new(Timestamp::from_millis(i64::try_from(n).unwrap()), [2; 10])
    }

    #[test]
    fn who_looks_at_many_forgets_their_own_oldest_and_nobody_elses() {
        let seen = LastSeen::default();
        seen.keep(session(0), patient(1), 5);
        for n in 0..20_000 {
            seen.keep(session(1), patient(n), 7);
            seen.keep(session(1), patient(0), n as u64);
        }
        assert!(seen.kept().sessions[&session(1)].of.len() <= MOST);
        assert_eq!(seen.seen(session(1), patient(0)), Some(19_999));
        assert_eq!(seen.seen(session(1), patient(19_999)), Some(7));
        assert_eq!(seen.seen(session(1), patient(1)), None);
        assert_eq!(seen.seen(session(0), patient(1)), Some(5));
    }

    #[test]
    fn the_sessions_that_looked_last_are_known_and_no_more_than_so_many() {
        let seen = LastSeen::default();
        for n in 1..3 * SESSIONS {
            seen.keep(session(n), patient(1), 7);
            seen.keep(session(0), patient(1), n as u64);
        }
        assert!(seen.kept().sessions.len() <= SESSIONS);
        assert_eq!(seen.seen(session(0), patient(1)), Some(3 * SESSIONS as u64 - 1));
        assert_eq!(seen.seen(session(3 * SESSIONS - 1), patient(1)), Some(7));
        assert_eq!(seen.seen(session(1), patient(1)), None);
    }
}

//! Counts failed tries by who cannot be counted in the database: networks, and keys of the lobby.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_protocol::time::Timestamp;

use crate::clock;
use crate::error::{Answer, Refusal};

/// The most keys that are remembered; beyond it the oldest are forgotten.
const MOST: usize = 10_000;

/// How many tries are allowed, and for how long a key that used them up is locked.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// So many failures lock.
    pub failures: u32,
    /// For so long, counted from the last failure; earlier failures are forgotten after as long.
    pub lock: Duration,
}

/// The failures of one server since it started.
#[derive(Debug, Default)]
pub struct Tries(Mutex<HashMap<String, Tried>>);

/// What is remembered of a key.
#[derive(Debug)]
struct Tried {
    failures: u32,
    last: Timestamp,
}

impl Tries {
    /// Until when the key is locked, if it is.
    #[must_use]
    pub fn locked(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        self.tries().get(key)?.locked(limit, now)
    }

    /// Counts a failure, unless the key is locked already; gives until when the key is locked now, if it
    /// is.
    pub fn fail(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let mut tries = self.tries();
        let tried = entry(&mut tries, key, now);
        let locked = tried.locked(limit, now);
        if locked.is_some() {
            return locked;
        }
        if tried.last.after(limit.lock) <= now {
            tried.failures = 0;
        }
        tried.failures = tried.failures.saturating_add(1);
        tried.last = now;
        tried.locked(limit, now)
    }

    /// Takes one of the tries that a key has, of what is not a failure but costs something.
    ///
    /// # Errors
    /// `too-many-tries`, with why.
    pub fn take(&self, key: &str, limit: Limit, why: &str) -> Answer<()> {
        let now = clock::now();
        if let Some(until) = self.locked(key, limit, now) {
            return Err(Refusal::too_many_tries(why, until));
        }
        self.fail(key, limit, now);
        Ok(())
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tried {
    fn locked(&self, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let until = self.last.after(limit.lock);
        (self.failures >= limit.failures && until > now).then_some(until)
    }
}

fn entry<'a>(tries: &'a mut HashMap<String, Tried>, key: &str, now: Timestamp) -> &'a mut Tried {
    if tries.len() >= MOST && !tries.contains_key(key) {
        let oldest = tries.iter().min_by_key(|(_, tried)| tried.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            tries.remove(&oldest);
        }
    }
    tries.entry(key.to_owned()).or_insert(Tried { failures: 0, last: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_lock_and_time_unlocks() {
        let limit = Limit { failures: 5, lock: Duration::from_secs(60) };
        let tries = Tries::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for second in 0..4 {
            assert_eq!(tries.fail("a", limit, at(second)), None);
            assert_eq!(tries.locked("a", limit, at(second)), None);
        }
        assert_eq!(tries.fail("a", limit, at(4)), Some(at(64)));
        assert_eq!(tries.locked("a", limit, at(63)), Some(at(64)));
        assert_eq!(tries.locked("b", limit, at(63)), None);
        assert_eq!(tries.locked("a", limit, at(64)), None);
        assert_eq!(tries.fail("a", limit, at(64)), None, "earlier failures are forgotten");
    }
}

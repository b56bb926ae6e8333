//! The rate limit in memory: failed attempts, and what costs something, by who cannot be counted in the database
//! (networks, keys of the lobby, devices). Who has used up an allowance is locked out for a while; a restart forgets
//! all of it.

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
pub struct RateLimiter(Mutex<HashMap<String, Failures>>);

/// What is remembered of a key.
#[derive(Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl RateLimiter {
    /// Until when the key is locked, if it is.
    #[must_use]
    pub fn locked(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        self.keys().get(key)?.locked(limit, now)
    }

    /// Counts a failure, unless the key is locked already; gives until when the key is locked now, if it
    /// is.
    pub fn fail(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let mut keys = self.keys();
        let failures = entry(&mut keys, key, now);
        let locked = failures.locked(limit, now);
        if locked.is_some() {
            return locked;
        }
        if failures.last.after(limit.lock) <= now {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.locked(limit, now)
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

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn locked(&self, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let until = self.last.after(limit.lock);
        (self.count >= limit.failures && until > now).then_some(until)
    }
}

fn entry<'a>(keys: &'a mut HashMap<String, Failures>, key: &str, now: Timestamp) -> &'a mut Failures {
    if keys.len() >= MOST && !keys.contains_key(key) {
        let oldest = keys.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            keys.remove(&oldest);
        }
    }
    keys.entry(key.to_owned()).or_insert(Failures { count: 0, last: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_lock_and_time_unlocks() {
        let limit = Limit { failures: 5, lock: Duration::from_secs(60) };
        let limiter = RateLimiter::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for second in 0..4 {
            assert_eq!(limiter.fail("a", limit, at(second)), None);
            assert_eq!(limiter.locked("a", limit, at(second)), None);
        }
        assert_eq!(limiter.fail("a", limit, at(4)), Some(at(64)));
        assert_eq!(limiter.locked("a", limit, at(63)), Some(at(64)));
        assert_eq!(limiter.locked("b", limit, at(63)), None);
        assert_eq!(limiter.locked("a", limit, at(64)), None);
        assert_eq!(limiter.fail("a", limit, at(64)), None, "earlier failures are forgotten");
    }
}

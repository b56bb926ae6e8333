//! Counts failed tries by whoever cannot be counted in the database: addresses, and names that do
//! not exist (so that a lock does not tell which names do).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carepost_protocol::time::Timestamp;

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
pub struct Tries(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Tries {
    /// Until when the key is locked, if it is.
    #[must_use]
    pub fn locked(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, last) = tries.get(key)?;
        let until = last.after(limit.lock);
        (*failures >= limit.failures && until > now).then_some(until)
    }

    /// Counts a failure; gives until when the key is locked by it, if it is.
    pub fn fail(&self, key: &str, limit: Limit, now: Timestamp) -> Option<Timestamp> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= MOST && !tries.contains_key(key) {
            let oldest = tries.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                tries.remove(&oldest);
            }
        }
        let entry = tries.entry(key.to_owned()).or_insert((0, now));
        if entry.1.after(limit.lock) <= now {
            entry.0 = 0;
        }
        *entry = (entry.0.saturating_add(1), now);
        (entry.0 >= limit.failures).then(|| now.after(limit.lock))
    }
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

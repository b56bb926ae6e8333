//! The request rate: a person may ask so many times in a minute, and as many at once, and so may a network of which
//! nobody is known. Devices have their quotas.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::wire::problem::ProblemKind;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::{Answer, Refusal};
use crate::quota::Asker;

/// Beyond so many who ask, those are forgotten whose minute is over; beyond so many tokens, all are.
const MOST: usize = 10_000;

/// Who asked how much of late.
#[derive(Debug)]
pub struct RequestRate {
    asked: DefaultKeyedRateLimiter<Asker>,
    /// The hashes of tokens that were somebody's when they were last looked up. Any other may be a guess.
    known: Mutex<HashSet<[u8; 32]>>,
}

impl RequestRate {
    /// One that lets each ask so often in a minute.
    #[must_use]
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { asked: RateLimiter::keyed(Quota::per_minute(per_minute)), known: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// `over-quota`, with when to come again.
    pub fn take(&self, by: Asker) -> Answer<()> {
        if self.asked.len() > MOST {
            self.asked.retain_recent();
        }
        self.asked.check_key(&by).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let who = if matches!(by, Asker::Address(_)) { "Your network asks" } else { "You ask" };
            let words = format!(
                "{who} faster than the server's configuration allows (requests_per_minute): try again in {wait} s."
            );
            Refusal::new(ProblemKind::OverQuota, words).retry_after(wait)
        })
    }

    /// Whether a token was somebody's when it was last looked up.
    #[must_use]
    pub fn knows(&self, token: &[u8; 32]) -> bool {
        self.known().contains(token)
    }

    /// Keeps whether a token is somebody's.
    pub fn looked_up(&self, token: [u8; 32], is_somebodys: bool) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        if is_somebodys {
            known.insert(token)
        } else {
            known.remove(&token)
        };
    }

    fn known(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use carepost_protocol::id::UserId;
    use carepost_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn one_who_asks_too_fast_is_told_when_to_come_again_and_holds_up_nobody_else() {
        let person = |n: u8| Asker::Person(UserId::new(Timestamp::EPOCH, [n; 10]), None);
        let network = |n: u8| Asker::Address(Ipv4Addr::new(192, 0, 2, n).into());
        let rate = RequestRate::new(NonZeroU32::MIN.saturating_add(1));
        for (one, other) in [(person(1), person(2)), (network(1), network(2))] {
            rate.take(one).unwrap();
            rate.take(one).unwrap();
            let refused = rate.take(one).unwrap_err();
            assert_eq!((refused.kind(), refused.problem().status), (Some(ProblemKind::OverQuota), 429));
            assert!(refused.comes_back_in().is_some_and(|wait| (1..=31).contains(&wait)), "{refused:?}");
            rate.take(other).unwrap();
        }
    }

    #[test]
    fn tokens_are_known_as_long_as_they_are_somebodys_and_never_more_than_so_many() {
        let rate = RequestRate::new(NonZeroU32::MIN);
        rate.looked_up([1; 32], true);
        assert_eq!([[1; 32], [2; 32]].map(|token| rate.knows(&token)), [true, false]);
        rate.looked_up([1; 32], false);
        assert!(!rate.knows(&[1; 32]), "it is nobody's any more");
        for n in 0..2 * MOST {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&n.to_be_bytes());
            rate.looked_up(token, true);
            assert!(rate.knows(&token) && rate.known().len() <= MOST);
        }
    }
}

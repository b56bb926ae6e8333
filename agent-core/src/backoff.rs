//! Backoff: how long to wait before trying again.

use std::time::Duration;

/// Nothing that is tried again waits longer than this.
pub const LONGEST: Duration = Duration::from_mins(5);

/// Exponential waits with jitter: each is drawn from the upper half of a span that doubles from the
/// first wait up to [`LONGEST`], so that a building full of kiosks does not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that begin with a span of `first`.
    #[must_use]
    pub const fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next(&mut self, random: u64) -> Duration {
        let span = self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = span / 2;
        half + fraction_of(half, random)
    }

    /// It worked: the next failure waits briefly again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A part of a duration as large as `random` is in its range.
pub(crate) fn fraction_of(whole: Duration, random: u64) -> Duration {
    let nanos = whole.as_nanos().saturating_mul(u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let waits: Vec<u64> = (0..11).map(|_| backoff.next(0).as_millis() as u64).collect();
        assert_eq!(waits[..4], [500, 1_000, 2_000, 4_000]);
        assert_eq!(waits[9..], [150_000, 150_000]);
        backoff.reset();
        assert!(backoff.next(u64::MAX) < Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_nothing_and_never_longer_than_the_cap(draws in prop::collection::vec(any::<u64>(), 1..100)) {
            let mut backoff = Backoff::new(Duration::from_secs(1));
            for draw in draws {
                let wait = backoff.next(draw);
                prop_assert!(wait >= Duration::from_millis(500) && wait <= LONGEST);
            }
        }
    }
}

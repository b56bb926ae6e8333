//! The process's one clock and one source of randomness; everything else takes time and random
//! bytes as arguments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use carepost_protocol::id::AuditId;
use carepost_protocol::time::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The id of an audit event of this server: of those of one moment, one that is made later sorts behind.
#[must_use]
pub fn audit_id(now: Timestamp, random: [u8; 5]) -> AuditId {
    static MADE: AtomicU64 = AtomicU64::new(0);
    AuditId::numbered(now, MADE.fetch_add(1, Ordering::Relaxed), random)
}

/// Whether so much time has passed since, or the clock was set back to before that: nobody waits until it has caught
/// up.
#[must_use]
pub fn is_over(since: Timestamp, a_while: Duration, now: Timestamp) -> bool {
    now < since || now.since(since) >= a_while
}

/// Fresh random bytes from the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Every token and id would be predictable from here on: nothing may be answered any more.
        std::process::abort();
    }
    bytes
}

/// Fills a slice with random bytes: whether it could.
#[must_use]
pub fn fill(bytes: &mut [u8]) -> bool {
    SystemRandom::new().fill(bytes).is_ok()
}

//! The process's one clock: corrected wall time, monotonic time, and the one random source beside it.
//!
//! What is believed, and why, is decided in [`carepost_agent_core::clock`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carepost_agent_core::clock::{CertificateTime, Clock as Decisions};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::zone::Zone;
use jiff::tz::TimeZone;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    decisions: Mutex<Decisions>,
}

impl Clock {
    /// The clock at the start of a run, with the floor that was persisted.
    #[must_use]
    pub fn new(kept_floor: Option<Timestamp>) -> Self {
        Self { decisions: Mutex::new(Decisions::new(kept_floor, monotonic())) }
    }

    /// The corrected time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.stamp().0
    }

    /// The corrected time, and how far it can be believed: of one moment.
    #[must_use]
    pub fn stamp(&self) -> (Timestamp, ClockQuality) {
        self.decide(|decisions| decisions.now(device_time(), monotonic()))
    }

    /// What the device's own clock says, right or wrong: to be shown and reported, and nothing else.
    #[must_use]
    pub fn uncorrected(&self) -> Timestamp {
        device_time()
    }

    /// The device's own time zone; UTC where it has none.
    #[must_use]
    pub fn zone(&self) -> Zone {
        TimeZone::try_system().map_or(Zone::UTC, Zone::from)
    }

    /// The latest time that the server ever attested: what is this old is so by any clock.
    #[must_use]
    pub fn floor(&self) -> Option<Timestamp> {
        self.decide(|decisions| decisions.floor())
    }

    /// When to judge the dates in the server's certificate.
    #[must_use]
    pub fn certificate_time(&self) -> CertificateTime {
        self.decide(|decisions| decisions.certificate_time(device_time(), monotonic()))
    }

    /// Time since the device was switched on; it goes on while the device sleeps.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        monotonic()
    }

    /// The server answered a request that was sent at `sent` on monotonic time. Returns the floor to
    /// persist, when it is time to.
    #[must_use]
    pub fn compared(&self, server: Timestamp, sent: Duration) -> Option<Timestamp> {
        self.decide(|decisions| decisions.compared(server, sent, monotonic()))
    }

    /// The server said its time. Returns the floor to persist, when it is time to.
    #[must_use]
    pub fn heard(&self, server: Timestamp) -> Option<Timestamp> {
        self.decide(|decisions| decisions.heard(server))
    }

    /// Random bytes from the operating system.
    ///
    /// # Panics
    /// Never on Linux, whose random source cannot fail once the system is up; without one, no key and
    /// no id could be trusted.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }

    #[must_use]
    pub fn random_u64(&self) -> u64 {
        u64::from_ne_bytes(self.random())
    }

    fn decide<T>(&self, decide: impl FnOnce(&mut Decisions) -> T) -> T {
        decide(&mut self.decisions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the device's own clock says.
fn device_time() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}

/// `CLOCK_BOOTTIME`: what `Instant` would give stands still while a tablet sleeps, and with it every
/// idle time.
fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

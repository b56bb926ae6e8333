//! What time it is, as far as a device can know.
//!
//! Only the server's time is believed. Once it has been heard in this run, time is that moment carried
//! on by monotonic time, whatever the device's own clock does. Before that it is the device's clock,
//! but never earlier than the persisted floor, and the floor only ever rises to a time that the server
//! attested: neither a stopped clock nor one set years ahead leaves a trace.
//!
//! Corrected time does not run backwards within a run, with one exception: a device whose own clock was
//! ahead when the run began steps back once the server has said so ([`STEP`]); smaller corrections hold
//! time still until it has caught up.
//!
//! Monotonic time here should go on while the device sleeps (`CLOCK_BOOTTIME` on Linux).

use std::time::Duration;

use carepost_protocol::time::{ClockQuality, Timestamp};

/// Time ahead of the server's by more than this is stepped back, not held.
pub const STEP: Duration = Duration::from_secs(2);
/// The floor is persisted anew only when it rose by this much: keep-alives must not wear out a card.
pub const FLOOR_STEP: Duration = Duration::from_secs(60);
/// A crystal may drift by one part in this many: how fast an old comparison loses its worth.
const DRIFT: u32 = 5_000;

/// The device's clock, corrected.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Duration,
    floor: Option<Timestamp>,
    kept_floor: Option<Timestamp>,
    anchor: Option<Anchor>,
    last: Option<Timestamp>,
}

/// A comparison with the server's clock.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    server: Timestamp,
    monotonic: Duration,
    /// By how much it may be off.
    uncertainty: Duration,
}

impl Anchor {
    fn at(&self, monotonic: Duration) -> Timestamp {
        self.server.after(monotonic.saturating_sub(self.monotonic))
    }
}

impl Clock {
    /// The clock at the start of a run, with the floor that was persisted.
    #[must_use]
    pub const fn new(kept_floor: Option<Timestamp>, monotonic: Duration) -> Self {
        Self { started: monotonic, floor: kept_floor, kept_floor, anchor: None, last: None }
    }

    /// The corrected time, and how far it can be believed. `device` is what the device's own clock
    /// says.
    pub fn now(&mut self, device: Timestamp, monotonic: Duration) -> (Timestamp, ClockQuality) {
        let (time, quality) = match (self.anchor, self.floor) {
            (Some(anchor), _) => (anchor.at(monotonic), ClockQuality::Synced),
            (None, Some(floor)) => {
                let least = floor.after(monotonic.saturating_sub(self.started));
                (device.max(least), ClockQuality::Estimated)
            }
            (None, None) => (device, ClockQuality::Unset),
        };
        let time = self.floor.map_or(time, |floor| time.max(floor));
        let time = self.last.map_or(time, |last| time.max(last));
        self.last = Some(time);
        (time, quality)
    }

    /// The server answered a request with its time: sent and received at these monotonic moments.
    /// Returns the floor to persist, when it is time to.
    pub fn compared(&mut self, server: Timestamp, sent: Duration, received: Duration) -> Option<Timestamp> {
        let uncertainty = received.saturating_sub(sent) / 2;
        let worn = self.anchor.map(|anchor| {
            anchor.uncertainty.saturating_add(received.saturating_sub(anchor.monotonic) / DRIFT)
        });
        if worn.is_none_or(|worn| uncertainty <= worn) {
            let server = server.after(uncertainty);
            self.anchor = Some(Anchor { server, monotonic: received, uncertainty });
            if self.last.is_some_and(|last| last.since(server) > STEP) {
                self.last = None;
            }
        }
        self.heard(server)
    }

    /// The server said its time, but nobody knows how long the word travelled (a page, a keep-alive):
    /// it raises the floor. Returns the floor to persist, when it is time to.
    pub fn heard(&mut self, server: Timestamp) -> Option<Timestamp> {
        if self.floor.is_none_or(|floor| floor < server) {
            self.floor = Some(server);
        }
        let due = self.kept_floor.is_none_or(|kept| server.since(kept) >= FLOOR_STEP);
        if due {
            self.kept_floor = self.floor;
        }
        self.floor.filter(|_| due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn run(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pi_without_a_clock_goes_on_from_the_floor() {
        let mut clock = Clock::new(Some(wall(1_000_000)), run(5));
        assert_eq!(clock.now(wall(0), run(65)), (wall(1_000_060), ClockQuality::Estimated));
        assert_eq!(clock.now(wall(2_000_000), run(66)), (wall(2_000_000), ClockQuality::Estimated));
    }

    #[test]
    fn a_device_that_never_met_the_server_says_so() {
        let mut clock = Clock::new(None, run(0));
        assert_eq!(clock.now(wall(7), run(1)), (wall(7), ClockQuality::Unset));
    }

    #[test]
    fn once_compared_the_devices_own_clock_does_not_matter() {
        let mut clock = Clock::new(None, run(0));
        assert_eq!(clock.compared(wall(5_000), run(10), run(12)), Some(wall(5_000)));
        assert_eq!(clock.now(wall(99_999), run(12)), (wall(5_001), ClockQuality::Synced));
        assert_eq!(clock.now(wall(0), run(112)), (wall(5_101), ClockQuality::Synced));
    }

    #[test]
    fn a_clock_set_years_ahead_steps_back_when_the_server_speaks() {
        let mut clock = Clock::new(Some(wall(1_000)), run(0));
        assert_eq!(clock.now(wall(9_000_000), run(1)).0, wall(9_000_000));
        clock.compared(wall(2_000), run(2), run(2));
        assert_eq!(clock.now(wall(9_000_000), run(3)), (wall(2_001), ClockQuality::Synced));
    }

    #[test]
    fn a_slow_answer_does_not_replace_a_quick_one_until_that_has_aged() {
        let mut clock = Clock::new(None, run(0));
        clock.compared(wall(1_000), run(0), run(0));
        clock.compared(wall(1_061), run(60), run(64));
        assert_eq!(clock.now(wall(0), run(64)).0, wall(1_064));
        clock.compared(wall(30_000), run(29_000), run(29_004));
        assert_eq!(clock.now(wall(0), run(29_004)).0, wall(30_002));
    }

    #[test]
    fn the_floor_is_persisted_a_minute_apart() {
        let mut clock = Clock::new(Some(wall(1_000)), run(0));
        assert_eq!(clock.heard(wall(1_059)), None);
        assert_eq!(clock.heard(wall(1_060)), Some(wall(1_060)));
        assert_eq!(clock.heard(wall(500)), None, "an older word changes nothing");
        assert_eq!(clock.heard(wall(1_119)), None);
    }

    proptest! {
        #[test]
        fn time_is_never_before_the_floor_nor_backwards_beyond_a_step(
            steps in prop::collection::vec((0..4_000_i64, 0..100_u64, 0..3_u8), 1..60)
        ) {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            let mut floor = wall(1_000);
            let (mut monotonic, mut last, mut stepped) = (run(0), None::<Timestamp>, false);
            for (seconds, wait, what) in steps {
                monotonic += run(wait);
                if what > 0 {
                    let kept = if what == 1 { clock.heard(wall(seconds)) } else {
                        stepped = true;
                        clock.compared(wall(seconds), monotonic, monotonic)
                    };
                    floor = floor.max(wall(seconds));
                    prop_assert!(kept.is_none_or(|kept| kept == floor));
                }
                let (time, _) = clock.now(wall(seconds), monotonic);
                prop_assert!(time >= floor);
                prop_assert!(stepped || last.is_none_or(|last| time >= last));
                (last, stepped) = (Some(time), false);
            }
        }
    }
}

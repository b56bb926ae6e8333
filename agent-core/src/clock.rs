//! The device's clock: what time it is, as far as a device can know.
//!
//! Only the server's time is believed. Once it has been heard in this run, time is that moment carried
//! on by monotonic time, whatever the device's own clock does. Before that it is the device's clock, if
//! it says what can be ([`EARLIEST`], [`LATEST`], [`AHEAD`]), and else the persisted floor carried on.
//! Time is never before the floor, and the floor only ever rises to a time that the server attested:
//! neither a stopped clock nor one set years ahead leaves a trace.
//!
//! Corrected time does not run backwards within a run, with one exception: what was ahead by more than
//! [`STEP`] steps back, once the server has said so or, until it has, the device's own clock was set
//! back. Smaller corrections hold time still until it has caught up.
//!
//! Monotonic time here should go on while the device sleeps (`CLOCK_BOOTTIME` on Linux).

use std::time::Duration;

use carepost_protocol::time::{ClockQuality, Timestamp};

/// Time ahead of the server's by more than this is stepped back, not held.
pub const STEP: Duration = Duration::from_secs(2);
/// The floor is persisted anew only when it rose by this much: keep-alives must not wear out a card.
pub const FLOOR_STEP: Duration = Duration::from_secs(60);
/// 2026-01-01: no clock that is right says less to this program.
pub const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// 2056-01-01: nobody is believed who says more, not even a server. Clocks that lost their battery like
/// to say 2069, 2099 or 2106, and a floor that once stood there would stand there for good.
pub const LATEST: Timestamp = Timestamp::from_millis(2_713_910_400_000);
/// A device's own clock that is further than this ahead of the floor is not believed: no device that
/// is in use is away from its server for five years.
pub const AHEAD: Duration = Duration::from_hours(5 * 365 * 24);
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

/// When the dates in a server's certificate are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateTime {
    /// Exactly then: time was compared with the server's in this run.
    At(Timestamp),
    /// It is then or later, nobody knows how much. What is valid from a later moment on is taken to be
    /// valid by now; what ended before this has ended.
    NotBefore(Timestamp),
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
    pub fn new(kept_floor: Option<Timestamp>, monotonic: Duration) -> Self {
        let kept_floor = kept_floor.filter(|floor| can_be(*floor));
        Self { started: monotonic, floor: kept_floor, kept_floor, anchor: None, last: None }
    }

    /// The corrected time, and how far it can be believed. `device` is what the device's own clock
    /// says.
    pub fn now(&mut self, device: Timestamp, monotonic: Duration) -> (Timestamp, ClockQuality) {
        let (time, quality) = match (self.anchor, self.floor) {
            (Some(anchor), _) => (anchor.at(monotonic), ClockQuality::Synced),
            (None, Some(_)) => (self.guess(device, monotonic), ClockQuality::Estimated),
            (None, None) => (self.guess(device, monotonic), ClockQuality::Unset),
        };
        let time = self.floor.map_or(time, |floor| time.max(floor));
        let time = match self.last {
            Some(last) if last.since(time) <= STEP => time.max(last),
            // The device's own clock was set back, and nothing was compared yet.
            Some(_) | None => time,
        };
        self.last = Some(time);
        (time, quality)
    }

    /// When to judge the server's certificate. Until time was compared in this run, the device's own
    /// clock counts only on a device that never met its server, and there only if it says what can be:
    /// neither a stopped clock nor one set years ahead keeps a device from its server.
    pub fn certificate_time(&mut self, device: Timestamp, monotonic: Duration) -> CertificateTime {
        match (self.anchor, self.floor) {
            (Some(_), _) => CertificateTime::At(self.now(device, monotonic).0),
            (None, Some(floor)) => CertificateTime::NotBefore(floor),
            (None, None) => CertificateTime::NotBefore(self.believed(device).unwrap_or(EARLIEST)),
        }
    }

    /// The latest time that the server ever attested: what is this old is so by any clock.
    #[must_use]
    pub const fn floor(&self) -> Option<Timestamp> {
        self.floor
    }

    /// The server answered a request with its time: sent and received at these monotonic moments.
    /// Returns the floor to persist, when it is time to.
    pub fn compared(&mut self, server: Timestamp, sent: Duration, received: Duration) -> Option<Timestamp> {
        if !can_be(server) {
            return None;
        }
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
        if !can_be(server) {
            return None;
        }
        self.floor = self.floor.max(Some(server));
        let due = self.kept_floor.is_none_or(|kept| server.since(kept) >= FLOOR_STEP);
        if due {
            self.kept_floor = self.floor;
        }
        self.floor.filter(|_| due)
    }

    /// The time until it was compared.
    fn guess(&self, device: Timestamp, monotonic: Duration) -> Timestamp {
        let least = self.floor.unwrap_or(EARLIEST).after(monotonic.saturating_sub(self.started));
        self.believed(device).map_or(least, |device| device.max(least))
    }

    /// What the device's own clock says, if that can be.
    fn believed(&self, device: Timestamp) -> Option<Timestamp> {
        let near = self.floor.is_none_or(|floor| device <= floor.after(AHEAD));
        (near && can_be(device)).then_some(device)
    }
}

fn can_be(time: Timestamp) -> bool {
    (EARLIEST..=LATEST).contains(&time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds after 2026-05-01.
    fn wall(seconds: i64) -> Timestamp {
        "2026-05-01T00:00:00Z".parse::<Timestamp>().unwrap().plus_millis(seconds * 1000)
    }

    fn year(year: i32) -> Timestamp {
        format!("{year}-01-01T00:00:00Z").parse().unwrap()
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
    fn a_clock_that_says_what_cannot_be_is_not_believed() {
        assert_eq!((EARLIEST, LATEST), (year(2026), year(2056)));
        for absurd in [Timestamp::EPOCH, Timestamp::from_millis(i64::MIN), year(2000), year(2099)] {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            assert_eq!(clock.now(absurd, run(10)), (wall(1_010), ClockQuality::Estimated), "{absurd}");
            let mut clock = Clock::new(None, run(0));
            assert_eq!(
                clock.now(absurd, run(10)),
                (EARLIEST.after(run(10)), ClockQuality::Unset),
                "{absurd}"
            );
        }
        let mut clock = Clock::new(Some(wall(0)), run(0));
        assert_eq!(clock.now(year(2030), run(1)).0, year(2030), "four years away are believed");
        assert_eq!(clock.now(year(2032), run(2)).0, wall(2), "six are not");
    }

    #[test]
    fn a_server_that_says_what_cannot_be_raises_no_floor() {
        for absurd in [Timestamp::EPOCH, year(2099)] {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            assert_eq!(clock.compared(absurd, run(1), run(1)), None);
            assert_eq!(clock.heard(absurd), None);
            assert_eq!(clock.now(wall(0), run(2)), (wall(1_002), ClockQuality::Estimated));
        }
    }

    #[test]
    fn a_kept_floor_that_cannot_be_is_forgotten() {
        let mut clock = Clock::new(Some(year(2099)), run(0));
        assert_eq!(clock.now(wall(5), run(1)), (wall(5), ClockQuality::Unset));
        assert_eq!(clock.compared(wall(9), run(2), run(2)), Some(wall(9)));
    }

    #[test]
    fn a_clock_that_jumps_ahead_and_back_again_leaves_no_trace() {
        let mut clock = Clock::new(Some(wall(1_000)), run(0));
        assert_eq!(clock.now(wall(5_000), run(10)).0, wall(5_000));
        assert_eq!(clock.now(wall(90_000), run(20)).0, wall(90_000));
        assert_eq!(clock.now(wall(5_020), run(30)).0, wall(5_020));
        assert_eq!(clock.now(wall(5_019), run(31)).0, wall(5_020), "a small step holds");
        assert_eq!(clock.now(Timestamp::EPOCH, run(40)).0, wall(1_040), "the floor, carried on");
        clock.compared(wall(5_050), run(50), run(50));
        for device in [wall(0), wall(90_000), year(2099)] {
            assert_eq!(clock.now(device, run(60)), (wall(5_060), ClockQuality::Synced));
        }
    }

    #[test]
    fn certificates_are_judged_by_the_floor_until_time_was_compared() {
        for device in [Timestamp::EPOCH, wall(5_000), year(2029), year(2099)] {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            assert_eq!(clock.certificate_time(device, run(9)), CertificateTime::NotBefore(wall(1_000)));
            clock.compared(wall(2_000), run(10), run(10));
            assert_eq!(clock.certificate_time(device, run(15)), CertificateTime::At(wall(2_005)));
        }
    }

    #[test]
    fn a_device_that_never_met_its_server_judges_certificates_by_its_clock_if_that_can_be() {
        for (device, judged) in
            [(Timestamp::EPOCH, EARLIEST), (year(2099), EARLIEST), (wall(5_000), wall(5_000))]
        {
            let mut clock = Clock::new(None, run(0));
            assert_eq!(clock.certificate_time(device, run(9)), CertificateTime::NotBefore(judged));
        }
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
    fn what_is_ahead_by_a_step_at_most_holds_until_time_has_caught_up() {
        for (server, second, two_later) in [(4_998, 5_000, 5_001), (4_997, 4_998, 5_000)] {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            assert_eq!(clock.now(wall(5_000), run(10)).0, wall(5_000));
            clock.compared(wall(server), run(10), run(10));
            assert_eq!(clock.now(wall(0), run(11)).0, wall(second), "{server}");
            assert_eq!(clock.now(wall(0), run(13)).0, wall(two_later), "{server}");
        }
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
        assert_eq!(clock.floor(), Some(wall(1_119)), "it rose all the same");
    }

    proptest! {
        #[test]
        fn time_is_never_before_the_floor_nor_backwards_beyond_a_step(
            steps in prop::collection::vec((0..4_000_i64, 0..100_u64, 0..3_u8), 1..60)
        ) {
            let mut clock = Clock::new(Some(wall(1_000)), run(0));
            let mut floor = wall(1_000);
            let (mut monotonic, mut last, mut stepped) = (run(0), None::<Timestamp>, false);
            let (mut compared, mut device) = (false, 0);
            for (seconds, wait, what) in steps {
                monotonic += run(wait);
                if what > 0 {
                    let kept = if what == 1 { clock.heard(wall(seconds)) } else {
                        (stepped, compared) = (true, true);
                        clock.compared(wall(seconds), monotonic, monotonic)
                    };
                    floor = floor.max(wall(seconds));
                    prop_assert!(kept.is_none_or(|kept| kept == floor));
                }
                let (time, _) = clock.now(wall(seconds), monotonic);
                prop_assert!(time >= floor);
                let set_back = !compared && device > seconds + 2;
                prop_assert!(stepped || set_back || last.is_none_or(|last| time >= last));
                device = seconds;
                (last, stepped) = (Some(time), false);
            }
        }
    }
}

//! The heartbeat timer (S1-50): a device says how it is every minute, give or take a tenth, and soon after something
//! worth telling. Heartbeats wait behind nothing: a week of changes to push delays none of them.

use std::time::Duration;

use crate::backoff::fraction_of;

/// The time between heartbeats (S1-28 counts five of them before a device is offline).
pub const INTERVAL: Duration = Duration::from_secs(60);
/// News does not make heartbeats come closer together than this.
pub const SPACING: Duration = Duration::from_secs(5);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatEvent {
    /// The agent started as, or became, an enrolled device.
    Started,
    /// Something worth telling: the reader left, a change rejected, somebody signed in.
    Changed,
    /// The heartbeat that was sent was answered, or failed.
    Done,
    /// Time passed; see [`Heart::next_deadline`].
    Tick,
    /// The device was revoked: no more heartbeats.
    Stopped,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatEffect {
    /// Send a heartbeat and answer with [`HeartbeatEvent::Done`].
    Send,
}

/// The machine.
#[derive(Debug, Clone, Default)]
pub struct Heart {
    due: Option<Duration>,
    sent: Option<Duration>,
    in_flight: bool,
}

impl Heart {
    /// Takes an event.
    pub fn on(&mut self, event: HeartbeatEvent, monotonic: Duration, random: u64) -> Option<HeartbeatEffect> {
        match event {
            HeartbeatEvent::Started => self.due = Some(monotonic),
            HeartbeatEvent::Changed => {
                let soon = self.sent.map_or(monotonic, |sent| sent.saturating_add(SPACING).max(monotonic));
                self.due = self.due.map(|due| due.min(soon));
            }
            HeartbeatEvent::Done => self.in_flight = false,
            HeartbeatEvent::Tick => {}
            HeartbeatEvent::Stopped => self.due = None,
        }
        let due = self.next_deadline().is_some_and(|due| due <= monotonic);
        due.then(|| {
            let tenth = INTERVAL / 10;
            self.due = Some(monotonic.saturating_add(INTERVAL - tenth) + fraction_of(tenth * 2, random));
            self.sent = Some(monotonic);
            self.in_flight = true;
            HeartbeatEffect::Send
        })
    }

    /// When to send the next [`HeartbeatEvent::Tick`]; none while one is on its way.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.due.filter(|_| !self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::HeartbeatEvent::{Changed, Done, Started, Stopped, Tick};
    use super::*;

    /// Each step is an event at a second; the answer is whether a heartbeat goes out.
    fn check(random: u64, steps: &[(HeartbeatEvent, u64, bool)]) {
        let mut heart = Heart::default();
        for (event, second, sends) in steps {
            let effect = heart.on(*event, Duration::from_secs(*second), random);
            assert_eq!(effect.is_some(), *sends, "{event:?} at {second} s");
        }
    }

    #[test]
    fn one_at_once_and_then_one_a_minute_give_or_take_a_tenth() {
        check(
            0,
            &[(Tick, 0, false), (Started, 1, true), (Done, 2, false), (Tick, 54, false), (Tick, 55, true)],
        );
        check(u64::MAX, &[(Started, 1, true), (Done, 2, false), (Tick, 66, false), (Tick, 67, true)]);
    }

    #[test]
    fn news_goes_out_soon_but_not_in_a_flood() {
        let news = [(Started, 1, true), (Done, 1, false), (Changed, 2, false), (Changed, 3, false)];
        check(
            0,
            &[&news[..], &[(Tick, 5, false), (Tick, 6, true), (Done, 6, false), (Changed, 30, true)]]
                .concat(),
        );
    }

    #[test]
    fn one_is_on_its_way_at_a_time() {
        check(0, &[(Started, 1, true), (Changed, 30, false), (Tick, 90, false), (Done, 95, true)]);
    }

    #[test]
    fn a_device_that_is_not_enrolled_or_is_revoked_is_silent() {
        check(0, &[(Changed, 1, false), (Tick, 90, false)]);
        check(
            0,
            &[
                (Started, 1, true),
                (Stopped, 2, false),
                (Done, 3, false),
                (Tick, 99, false),
                (Changed, 99, false),
            ],
        );
    }
}

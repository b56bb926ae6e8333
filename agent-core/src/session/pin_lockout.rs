//! The PIN lock-out: guessing costs a lock-out for each user, a pause for the device.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::id::UserId;
use carepost_protocol::time::Timestamp;

/// Wrong PINs of all users, within [`DEVICE_WINDOW`], that make the device pause.
pub const DEVICE_FAILURES: usize = 10;
/// See [`DEVICE_FAILURES`].
pub const DEVICE_WINDOW: Duration = Duration::from_mins(10);
/// For this long after the last of [`DEVICE_FAILURES`] wrong PINs no PIN pad opens, whoever's they
/// were. Badges within their grace period still work.
pub const DEVICE_PAUSE: Duration = Duration::from_mins(1);

/// Tells one PIN verifier from another, so that a replaced PIN ends the grace period and the lock-out of the old
/// one. It says nothing of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinMark([u8; 8]);

impl PinMark {
    /// The mark of a stored verifier: a part of its SHA-256.
    #[must_use]
    pub fn of(verifier: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *PayloadHash::of(verifier.as_bytes()).as_bytes();
        Self([a, b, c, d, e, f, g, h])
    }

    /// The mark that was stored as these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// As it is stored.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// A user's persisted failure counter.
///
/// Two clocks count a lock-out. It is persisted as a wall time. The first time a run of the agent
/// meets it, the rest of it (never more than the policy's 30 minutes) is put on monotonic time, and
/// only that counts from then on: setting the clock forward does not unlock, setting it back does not
/// hold anybody longer than 30 minutes of powered-on time. After a restart the persisted wall time
/// counts once more, since there is nothing else; whoever can set the clock *and* restart the agent
/// owns the device anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Wrong PINs since the last right one.
    pub failures: u32,
    /// Until when the user is locked out.
    pub locked_until: Option<Timestamp>,
    /// Which PIN those were guesses of; none where that is not known.
    pub pin: Option<PinMark>,
}

impl Throttle {
    /// What of it counts against a PIN: nothing of guesses of another. So one that the office sets opens at once,
    /// wherever the old one has locked its user out. All of it, while it is not known which PIN the user has: it starts
    /// no count anew.
    #[must_use]
    pub fn against(self, pin: Option<PinMark>) -> Self {
        let is_same = self.pin.is_none() || pin.is_none() || self.pin == pin;
        let counted = if is_same { self } else { Self::default() };
        Self { pin: pin.or(counted.pin), ..counted }
    }
}

#[derive(Debug, Clone)]
pub(super) struct PinLockout {
    max_failures: u32,
    lockout: Duration,
    /// Lock-outs this run has met: the persisted time that names each, and its end on monotonic time.
    met: BTreeMap<UserId, (Timestamp, Duration)>,
    /// When the last wrong PINs were typed, at most [`DEVICE_FAILURES`] of them.
    recent: VecDeque<Duration>,
}

impl PinLockout {
    pub(super) const fn new(max_failures: u32, lockout: Duration) -> Self {
        Self { max_failures, lockout, met: BTreeMap::new(), recent: VecDeque::new() }
    }

    /// How many wrong PINs are left before the lock-out.
    pub(super) fn tries_left(&self, failures: u32) -> u32 {
        self.max_failures.saturating_sub(failures)
    }

    /// How long the user is still locked out.
    pub(super) fn locked_for(
        &mut self,
        user: UserId,
        throttle: &Throttle,
        now: Timestamp,
        monotonic: Duration,
    ) -> Option<Duration> {
        let Some(until) = throttle.locked_until else {
            self.met.remove(&user);
            return None;
        };
        let known = self.met.get(&user).filter(|(name, _)| *name == until).map(|(_, end)| *end);
        let end = known.unwrap_or_else(|| {
            let end = monotonic.saturating_add(until.since(now).min(self.lockout));
            self.met.insert(user, (until, end));
            end
        });
        end.checked_sub(monotonic).filter(|rest| !rest.is_zero())
    }

    /// Counts a wrong PIN: what to persist.
    pub(super) fn wrong(
        &mut self,
        user: UserId,
        throttle: &Throttle,
        now: Timestamp,
        monotonic: Duration,
    ) -> Throttle {
        if self.recent.len() == DEVICE_FAILURES {
            self.recent.pop_front();
        }
        self.recent.push_back(monotonic);
        if self.locked_for(user, throttle, now, monotonic).is_some() {
            return Throttle { failures: throttle.failures.saturating_add(1), ..*throttle };
        }
        // A lock-out that is over has spent the failures that led to it.
        let spent = throttle.locked_until.is_some();
        let failures = if spent { 1 } else { throttle.failures.saturating_add(1) };
        if failures < self.max_failures {
            return Throttle { failures, locked_until: None, ..*throttle };
        }
        let until = now.after(self.lockout);
        self.met.insert(user, (until, monotonic.saturating_add(self.lockout)));
        Throttle { failures, locked_until: Some(until), ..*throttle }
    }

    /// How long the device still opens no PIN pad.
    pub(super) fn pauses_for(&self, monotonic: Duration) -> Option<Duration> {
        let (oldest, newest) = (self.recent.front()?, self.recent.back()?);
        let many = self.recent.len() == DEVICE_FAILURES && newest.saturating_sub(*oldest) <= DEVICE_WINDOW;
        let rest = newest.saturating_add(DEVICE_PAUSE).saturating_sub(monotonic);
        (many && !rest.is_zero()).then_some(rest)
    }
}

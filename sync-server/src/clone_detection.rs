//! Clone detection: tells a device that is there twice by what each request says of its sender, the process and the
//! incarnation of its outbox.
//!
//! A device is one process at a time, and that process has one outbox, whose incarnations come one after
//! another. A new process supersedes the one before it, a new incarnation the one before it. One that was
//! superseded and goes on speaking is a second copy of the device. What may come late from a process that
//! is gone is not: it was on its way when the power went, so it comes within a while, and over a
//! connection that was there already.
//!
//! Processes cost a copy nothing: it can be as many as it likes, and so push any other out of what is remembered of
//! a device. So a process says too whether it was answered before. One that was, and that is not known among others,
//! spoke before them and speaks after them, however many they were and however long each of them spoke.
//!
//! Only requests that carry the incarnation of the moment count for incarnations (heartbeats and
//! streams). A push names the one that its entries were made under, which may be a parent's.
//!
//! All of this is in memory: after a restart of the server whoever speaks first is the one, and a second
//! copy shows as soon as both have spoken again, or the other that was answered before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carepost_protocol::id::{BootId, DeviceId, IncarnationId};

/// For how long something may come late that was on its way when its sender was superseded.
const LATE: Duration = Duration::from_secs(120);
/// The most superseded processes, and incarnations, that are remembered of a device: all that may still be late of
/// one that ends as soon as it is started, every two seconds.
const MAX_OLDER: usize = 64;
/// The most devices that are remembered: who was silent the longest is forgotten first.
const MAX_DEVICES: usize = 65_536;

/// What a request says of who speaks.
#[derive(Debug, Clone, Copy)]
pub struct Sighting {
    pub boot: BootId,
    /// Whether the server has answered that process before, as it says.
    pub answered: bool,
    /// The incarnation of its outbox, where the request carries the one of the moment.
    pub incarnation: Option<IncarnationId>,
    /// When the connection began.
    pub connected: Instant,
}

/// What tells that a device is there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A process spoke again after another had spoken.
    Processes,
    /// One process spoke for an incarnation again after it had spoken for a newer one.
    Incarnations,
}

impl Evidence {
    /// Why the device is quarantined, for people.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Processes => {
                "Two processes speak as this device in turns: its files were copied to a second machine."
            }
            Self::Incarnations => {
                "One process speaks for two incarnations of its outbox in turns: the running machine was copied."
            }
        }
    }
}

/// Who speaks as each device, and who did.
#[derive(Debug, Default)]
pub struct CloneDetector {
    devices: Mutex<HashMap<DeviceId, History>>,
}

#[derive(Debug)]
struct History {
    processes: Succession<BootId>,
    /// Of the process that speaks now.
    incarnations: Option<Succession<IncarnationId>>,
    heard: Instant,
}

/// The one that speaks, and those that it superseded.
#[derive(Debug)]
struct Succession<T> {
    current: T,
    /// The latest last, each with when it was superseded.
    older: VecDeque<(T, Instant)>,
}

impl CloneDetector {
    /// Notes who spoke, and says whether that tells of a second copy.
    pub fn observe(&self, device: DeviceId, sighting: Sighting, now: Instant) -> Option<Evidence> {
        let mut devices = self.locked();
        if devices.len() >= MAX_DEVICES && !devices.contains_key(&device) {
            forget_the_quietest(&mut devices);
        }
        let new = || History { processes: Succession::of(sighting.boot), incarnations: None, heard: now };
        let history = devices.entry(device).or_insert_with(new);
        history.heard = now;
        history.note(sighting, now)
    }

    /// Forgets who spoke as a device: whoever speaks next is the one.
    pub fn forget(&self, device: DeviceId) {
        self.locked().remove(&device);
    }

    /// A panic elsewhere leaves no entry half-written that could do harm: at worst one is remembered less.
    fn locked(&self) -> MutexGuard<'_, HashMap<DeviceId, History>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn note(&mut self, sighting: Sighting, now: Instant) -> Option<Evidence> {
        if let Some(since) = self.processes.superseded(sighting.boot) {
            let late = sighting.connected <= since && now.saturating_duration_since(since) <= LATE;
            return (!late).then_some(Evidence::Processes);
        }
        if self.processes.current != sighting.boot {
            if sighting.answered {
                return Some(Evidence::Processes);
            }
            self.processes.supersede(sighting.boot, now);
            // An older incarnation of the outbox under a new process is a device that was put back, not a copy.
            self.incarnations = None;
        }
        let incarnation = sighting.incarnation?;
        let succession = self.incarnations.get_or_insert_with(|| Succession::of(incarnation));
        if let Some(since) = succession.superseded(incarnation) {
            // A process has several connections, and begins them when it likes.
            let late = now.saturating_duration_since(since) <= LATE;
            return (!late).then_some(Evidence::Incarnations);
        }
        if succession.current != incarnation {
            succession.supersede(incarnation, now);
        }
        None
    }
}

impl<T: Copy + PartialEq> Succession<T> {
    fn of(current: T) -> Self {
        Self { current, older: VecDeque::new() }
    }

    /// Since when it has been superseded; none when it is the current one, or was never heard.
    fn superseded(&self, it: T) -> Option<Instant> {
        self.older.iter().rev().find(|(older, _)| *older == it).map(|(_, since)| *since)
    }

    fn supersede(&mut self, by: T, now: Instant) {
        if self.older.len() >= MAX_OLDER {
            self.older.pop_front();
        }
        self.older.push_back((std::mem::replace(&mut self.current, by), now));
    }
}

fn forget_the_quietest(devices: &mut HashMap<DeviceId, History>) {
    let quietest = devices.iter().min_by_key(|(_, history)| history.heard).map(|(id, _)| *id);
    if let Some(id) = quietest {
        devices.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::time::Timestamp;

    use super::*;

    /// A clock, and a device whose detector are heard at its seconds.
    struct Scene {
        detector: CloneDetector,
        began: Instant,
    }

    fn device(n: u8) -> DeviceId {
        DeviceId::new(Timestamp::EPOCH, [n; 10])
    }

    fn boot(n: u8) -> BootId {
        BootId::new(Timestamp::EPOCH, [n; 10])
    }

    fn incarnation(n: u8) -> Option<IncarnationId> {
        Some(IncarnationId::new(Timestamp::EPOCH, [n; 10]))
    }

    impl Scene {
        fn new() -> Self {
            Self { detector: CloneDetector::default(), began: Instant::now() }
        }

        fn at(&self, second: u64) -> Instant {
            self.began + Duration::from_secs(second)
        }

        fn hear(
            &self,
            now: u64,
            n: u8,
            connected: u64,
            incarnation: Option<IncarnationId>,
        ) -> Option<Evidence> {
            let sighting =
                Sighting { boot: boot(n), answered: false, incarnation, connected: self.at(connected) };
            self.detector.observe(device(1), sighting, self.at(now))
        }

        /// A process that says that it was answered before.
        fn again(&self, now: u64, n: u8, connected: u64) -> Option<Evidence> {
            let connected = self.at(connected);
            let sighting = Sighting { boot: boot(n), answered: true, incarnation: None, connected };
            self.detector.observe(device(1), sighting, self.at(now))
        }

        /// A process without incarnations.
        fn process(&self, now: u64, n: u8, connected: u64) -> Option<Evidence> {
            self.hear(now, n, connected, None)
        }
    }

    #[test]
    fn what_a_process_sent_before_the_power_went_may_come_late() {
        let scene = Scene::new();
        assert_eq!(scene.process(10, 1, 0), None);
        assert_eq!(scene.process(20, 2, 15), None, "it starts again");
        for late in [20, 60, 140] {
            assert_eq!(scene.process(late, 1, 0), None, "over its old connection, at {late}");
            assert_eq!(scene.process(late, 2, 15), None);
        }
    }

    #[test]
    fn restarts_in_quick_succession_are_one_device() {
        let scene = Scene::new();
        for n in 0..100 {
            let second = u64::from(n);
            assert_eq!(scene.process(second, n, second), None);
            if n > 0 {
                assert_eq!(
                    scene.process(second, n - 1, second - 1),
                    None,
                    "the last words of the one before"
                );
            }
        }
    }

    #[test]
    fn of_a_device_that_ends_as_soon_as_it_is_started_all_that_may_be_late_is_known() {
        let scene = Scene::new();
        for n in 0..200 {
            let second = u64::from(n) * 2;
            assert_eq!(scene.process(second, n, second), None);
            assert_eq!(scene.again(second, n, second), None);
            if n >= 60 {
                assert_eq!(scene.again(second, n - 60, second - 120), None, "{n}");
            }
        }
    }

    #[test]
    fn however_many_processes_a_copy_invents_and_however_long_each_speaks_the_device_is_heard_again() {
        // At once; each for a minute; each for longer than the device did.
        for seconds in [0, 60, 7_200] {
            for connected in [0, u64::MAX] {
                let scene = Scene::new();
                assert_eq!(scene.process(0, 1, 0), None);
                assert_eq!(scene.again(3_600, 1, 0), None, "for an hour");
                let mut now = 3_600;
                for n in 2..=255 {
                    assert_eq!(scene.process(now, n, now), None);
                    now += seconds;
                    assert_eq!(scene.process(now, n, now), None);
                }
                let found = scene.again(now, 1, connected.min(now));
                assert_eq!(found, Some(Evidence::Processes), "{seconds} {connected}");
                assert_eq!(scene.again(now, 1, now), Some(Evidence::Processes), "however often it asks");
            }
        }
    }

    #[test]
    fn two_copies_that_both_speak_are_found() {
        let scene = Scene::new();
        assert_eq!(scene.process(10, 1, 0), None);
        assert_eq!(scene.process(20, 2, 15), None);
        assert_eq!(scene.process(30, 1, 25), Some(Evidence::Processes), "it made a connection since");
        assert_eq!(scene.process(30, 2, 15), None, "the newer is not blamed");
        assert_eq!(scene.process(40, 1, 25), Some(Evidence::Processes), "however often it asks");
    }

    #[test]
    fn a_copy_that_holds_on_to_its_old_connection_is_found_by_going_on() {
        let scene = Scene::new();
        assert_eq!(scene.process(10, 1, 0), None);
        assert_eq!(scene.process(20, 2, 15), None);
        for beat in [40, 100, 140] {
            assert_eq!(scene.process(beat, 1, 0), None);
        }
        assert_eq!(scene.process(141, 1, 0), Some(Evidence::Processes));
    }

    #[test]
    fn a_server_that_was_restarted_takes_whoever_speaks_first_and_finds_a_copy_again() {
        let (before, scene) = (Scene::new(), Scene::new());
        assert_eq!(before.process(10, 1, 0), None);
        assert_eq!(scene.process(20, 1, 20), None, "the same process, connected anew");
        assert_eq!(scene.process(80, 1, 20), None);
        assert_eq!(scene.process(90, 2, 90), None, "restarted a moment later");
        assert_eq!(scene.process(150, 2, 90), None);
        assert_eq!(scene.process(160, 1, 155), Some(Evidence::Processes));
    }

    #[test]
    fn after_a_restart_of_the_server_who_was_answered_before_is_the_one_unless_another_spoke_first() {
        let scene = Scene::new();
        assert_eq!(scene.again(10, 1, 10), None);
        assert_eq!(scene.process(20, 2, 20), None, "it starts again");
        let scene = Scene::new();
        assert_eq!(scene.process(10, 2, 10), None, "a copy, while the device is away");
        assert_eq!(scene.again(20, 1, 20), Some(Evidence::Processes));
    }

    #[test]
    fn a_heartbeat_on_its_way_while_the_outbox_forked_is_late_and_no_copy() {
        let scene = Scene::new();
        assert_eq!(scene.hear(10, 1, 0, incarnation(1)), None);
        assert_eq!(scene.hear(20, 1, 0, incarnation(2)), None, "forked");
        assert_eq!(scene.hear(20, 1, 0, incarnation(1)), None, "the heartbeat from before");
        assert_eq!(scene.hear(21, 1, 21, incarnation(1)), None, "and one over a connection of its own");
        for beat in (80..1_000).step_by(60) {
            assert_eq!(scene.hear(beat, 1, 0, incarnation(2)), None);
        }
    }

    #[test]
    fn a_copied_machine_speaks_for_two_incarnations_under_one_process_and_is_found() {
        let scene = Scene::new();
        assert_eq!(scene.hear(10, 1, 0, incarnation(1)), None);
        assert_eq!(scene.hear(20, 1, 15, incarnation(2)), None, "the copy forked");
        assert_eq!(scene.hear(70, 1, 0, incarnation(1)), None);
        assert_eq!(scene.hear(130, 1, 0, incarnation(1)), None);
        assert_eq!(scene.hear(190, 1, 0, incarnation(1)), Some(Evidence::Incarnations));
        assert_eq!(scene.process(190, 1, 0), None, "a push says nothing of incarnations");
    }

    #[test]
    fn a_device_put_back_speaks_for_its_older_incarnation_under_a_new_process() {
        let scene = Scene::new();
        assert_eq!(scene.hear(10, 1, 0, incarnation(1)), None);
        assert_eq!(scene.hear(20, 1, 0, incarnation(2)), None);
        assert_eq!(scene.hear(500, 2, 490, incarnation(1)), None, "the card lost the fork");
        assert_eq!(scene.hear(900, 2, 490, incarnation(1)), None);
        assert_eq!(scene.hear(910, 2, 490, incarnation(3)), None, "it forked again");
    }

    #[test]
    fn a_released_device_starts_afresh() {
        let scene = Scene::new();
        assert_eq!(scene.process(10, 1, 0), None);
        assert_eq!(scene.process(20, 2, 15), None);
        assert_eq!(scene.process(300, 1, 0), Some(Evidence::Processes));
        scene.detector.forget(device(1));
        assert_eq!(scene.process(301, 1, 0), None);
        assert_eq!(scene.process(302, 2, 15), None);
        assert_eq!(scene.process(500, 1, 0), Some(Evidence::Processes), "the second copy still runs");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scene = Scene::new();
        let speak = |n: usize, now| {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            let sighting =
                Sighting { boot: boot(1), answered: false, incarnation: None, connected: scene.at(0) };
            scene.detector.observe(DeviceId::new(Timestamp::EPOCH, bytes), sighting, scene.at(now))
        };
        for n in 0..MAX_DEVICES {
            speak(n, u64::from(n > 0));
        }
        speak(MAX_DEVICES, 2);
        assert_eq!(scene.detector.locked().len(), MAX_DEVICES);
        for n in 0..=255 {
            scene.hear(u64::from(n) + 10, n, 10, incarnation(n));
            scene.hear(u64::from(n) + 10, 255, 10, incarnation(n));
        }
        let devices = scene.detector.locked();
        let history = &devices[&device(1)];
        let incarnations = history.incarnations.as_ref().unwrap();
        assert!(history.processes.older.len() <= MAX_OLDER && incarnations.older.len() <= MAX_OLDER);
    }
}

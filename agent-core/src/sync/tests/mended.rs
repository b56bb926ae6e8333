//! Whatever goes wrong: once it is mended, everything arrives.

use proptest::prelude::*;

use super::*;

/// A device and a server that goes wrong in every way, and then is mended.
struct World {
    device: Device,
    waiting: [u64; 2],
    flying: [Option<u64>; 2],
    stream: Option<StreamId>,
    applying: bool,
    forking: bool,
}

impl World {
    fn take(&mut self, event: SyncEvent) {
        for effect in self.device.on(event) {
            match effect {
                SyncEffect::Push { lane, load } => {
                    let i = lane as usize;
                    assert_eq!(self.flying[i], None, "two pushes in a lane");
                    assert!(lane == Care || self.flying[0].is_none(), "audit beside care");
                    assert!(!self.forking, "a push while the outbox forks");
                    let most = match load {
                        Load::Changes(changes) => changes as u64,
                        Load::Opaque { .. } => 1,
                    };
                    assert!(most > 0);
                    self.flying[i] = Some(self.waiting[i].min(most));
                }
                SyncEffect::Fork { care, audit } => {
                    assert!(!self.forking && self.flying == [None; 2], "a fork under a push");
                    assert!(care.is_some() || audit.is_some());
                    self.forking = true;
                }
                SyncEffect::OpenStream { stream, .. } => {
                    assert!(self.stream.is_none() && !self.applying, "two streams");
                    self.stream = Some(stream);
                }
                SyncEffect::CloseStream(stream) => assert_eq!(self.stream.take(), Some(stream)),
                SyncEffect::ApplyPage => {
                    assert!(!self.applying, "two pages");
                    self.applying = true;
                }
                SyncEffect::Resend { .. } | SyncEffect::Stuck { .. } | SyncEffect::Refetch => {}
                SyncEffect::Stop => panic!("nobody revoked it"),
            }
        }
        let due = self.device.engine.next_deadline();
        assert!(due.is_none_or(|due| due > self.device.at), "a tick would spin");
        assert!(due.is_none_or(|due| due - self.device.at <= NO_PROGRESS), "a wait without a cap");
        let awaited = self.applying || self.forking || self.flying.iter().any(Option::is_some);
        assert!(due.is_some() || awaited, "nothing will ever wake it");
    }

    fn fork_ends(&mut self, well: bool) {
        if std::mem::take(&mut self.forking) {
            self.take(if well { SyncEvent::Forked } else { SyncEvent::ForkFailed });
        }
    }

    fn push_ends(&mut self, lane: Lane, trouble: Option<Trouble>) {
        let i = lane as usize;
        let Some(sent) = self.flying[i].take() else { return };
        match trouble {
            Some(trouble) => self.take(failed(lane, sent as usize, trouble)),
            None => {
                self.waiting[i] -= sent;
                let left = self.waiting[i];
                if sent == 0 {
                    // What was thought to wait did not.
                    return self.take(SyncEvent::NothingToPush(lane));
                }
                self.take(SyncEvent::Pushed { lane, left, level: left.is_multiple_of(2) });
            }
        }
    }

    fn stream_does(&mut self, what: usize, trouble: Option<Trouble>) {
        let Some(id) = self.stream else { return };
        if self.applying {
            self.applying = false;
            return self.take(if what == 0 { SyncEvent::PageFailed } else { applied(what as u64) });
        }
        match (what, trouble) {
            (_, Some(trouble)) => {
                self.stream = None;
                self.take(StreamFailed(id, trouble));
            }
            (0, None) => {
                self.stream = None;
                self.take(StreamEnded(id));
            }
            (1, None) => self.take(SyncEvent::PageReceived(id)),
            (_, None) => self.take(KeepAlive(id)),
        }
    }
}

fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    prop_oneof![
        Just(None),
        Just(Some(Trouble::Unreachable)),
        Just(Some(Trouble::Busy { retry_after: Some(Duration::from_secs(7)) })),
        Just(Some(Trouble::Broken)),
        Just(Some(Trouble::BatchRefused)),
        Just(Some(Trouble::ChainBroken { next_n: 1, shared_n: None })),
        (0..9_u64).prop_map(|n| Some(Trouble::ChainBroken { next_n: 9, shared_n: Some(n) })),
        Just(Some(Trouble::Held(Hold::Quarantined))),
        Just(Some(Trouble::CursorRefused { expects: Expects { care: Some(1), audit: Some(1) } })),
        Just(Some(REFUSED)),
        Just(Some(Trouble::NotAllowed)),
        Just(Some(Trouble::Local)),
    ]
}

proptest! {
    #[test]
    fn whatever_went_wrong_everything_arrives_once_it_is_mended(
        steps in prop::collection::vec((0..9_usize, 0..4_usize, trouble(), 0..40_000_u64), 1..150)
    ) {
        let (device, stream) = (Device::new(), None);
        let mut world = World { device, waiting: [0; 2], flying: [None; 2], stream, applying: false, forking: false };
        world.take(started());
        for (step, what, trouble, wait) in steps {
            match step {
                0 | 1 => {
                    let lane = if step == 0 { Care } else { Audit };
                    world.waiting[lane as usize] += what as u64 + 1;
                    world.take(Saved(lane));
                }
                2 => world.push_ends(Care, trouble),
                3 => world.push_ends(Audit, trouble),
                4 => world.stream_does(what, trouble),
                5 => world.take(match what {
                    0 => NetworkReturned,
                    1 => ServerHeard,
                    _ => SyncEvent::Held((what == 2).then_some(Hold::Quarantined)),
                }),
                6 => world.fork_ends(what > 0),
                _ => {
                    world.device.at += Duration::from_millis(wait);
                    world.take(SyncEvent::Tick);
                }
            }
        }
        // Mended: everything succeeds, and time passes at most to the next deadline.
        for _ in 0..200 {
            world.push_ends(Care, None);
            world.push_ends(Audit, None);
            world.fork_ends(true);
            world.stream_does(1, None);
            if let Some(due) = world.device.engine.next_deadline() {
                world.device.at = due.min(world.device.at + Duration::from_secs(15));
            }
            world.take(SyncEvent::Tick);
        }
        prop_assert_eq!(world.waiting, [0, 0]);
        prop_assert!(world.stream.is_some() && world.device.engine.held().is_none());
        prop_assert_eq!(world.device.engine.no_progress(world.device.at), None);
        let online = matches!(world.device.engine.link(), Link::Online { .. });
        prop_assert!(online);
        prop_assert_eq!((world.device.engine.stuck(Care), world.device.engine.stuck(Audit)), (None, None));
    }
}

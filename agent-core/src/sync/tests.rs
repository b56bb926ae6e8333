//! Stories of a device and its server. Draws are zero, so that a wait is exactly half its span: 0.5 s,
//! 1 s, 2 s and so on.

mod lanes;
mod mended;

use carepost_protocol::wire::problem::{Expects, Problem, ProblemKind};

use super::*;

const NINE: i64 = 1_777_626_000_000;

struct Device {
    engine: Engine,
    at: Duration,
}

impl Device {
    fn new() -> Self {
        Self { engine: Engine::default(), at: Duration::from_secs(100) }
    }

    /// A device whose stream is open and has reached the head.
    fn online() -> Self {
        let mut device = Self::new();
        device.check(started(), "open1@start");
        device.check(SyncEvent::StreamOpened(StreamId(1)), "");
        device.check(SyncEvent::PageReceived(StreamId(1)), "apply");
        device.check(applied(7), "");
        device
    }

    /// The same, with care under way.
    fn pushing() -> Self {
        let mut device = Self::online();
        device.check(Saved(Care), "push-care(1000)");
        device
    }

    fn on(&mut self, event: SyncEvent) -> Vec<SyncEffect> {
        let now = Timestamp::from_millis(NINE).after(self.at);
        self.engine.on(event, now, self.at, 0)
    }

    fn check(&mut self, event: SyncEvent, expected: &str) {
        let told = format!("{event:?}");
        let words: Vec<String> = self.on(event).iter().map(word).collect();
        assert_eq!(words.join(" "), expected, "{told}");
    }

    fn check_after(&mut self, millis: u64, expected: &str) {
        self.at += Duration::from_millis(millis);
        self.check(SyncEvent::Tick, expected);
    }
}

fn word(effect: &SyncEffect) -> String {
    match effect {
        SyncEffect::Push { lane, load: Load::Changes(changes) } => format!("push-{}({changes})", lane.name()),
        SyncEffect::Push { lane, load: Load::Opaque { with_bytes } } => {
            format!("push-{}({})", lane.name(), if *with_bytes { "unread" } else { "hash" })
        }
        SyncEffect::Fork { care, audit } => format!("fork({care:?}, {audit:?})"),
        SyncEffect::Resend { lane, next_n } => format!("resend-{}({next_n})", lane.name()),
        SyncEffect::Stuck { lane, why } => format!("stuck-{}({why:?})", lane.name()),
        SyncEffect::OpenStream { stream, cursor: None } => format!("open{}@start", stream.0),
        SyncEffect::OpenStream { stream, cursor: Some(cursor) } => format!("open{}@{}", stream.0, cursor.seq),
        SyncEffect::CloseStream(stream) => format!("close{}", stream.0),
        SyncEffect::ApplyPage => "apply".into(),
        SyncEffect::Refetch => "refetch".into(),
        SyncEffect::Stop => "stop".into(),
    }
}

const fn started() -> SyncEvent {
    SyncEvent::Started { cursor: None }
}

const fn applied(seq: u64) -> SyncEvent {
    SyncEvent::PageApplied { cursor: Cursor { epoch: 1, seq }, at_head: true }
}

const fn pushed(lane: Lane, left: u64) -> SyncEvent {
    SyncEvent::Pushed { lane, left, level: true }
}

const fn failed(lane: Lane, sent: usize, trouble: Trouble) -> SyncEvent {
    SyncEvent::PushFailed { lane, sent, trouble }
}

/// The cursor is refused, and nothing of the lanes is missing.
const REFUSED: Trouble = Trouble::CursorRefused { expects: Expects { care: None, audit: None } };

const fn broken(lane: Lane, next_n: u64, shared_n: Option<u64>) -> SyncEvent {
    failed(lane, 5, Trouble::ChainBroken { next_n, shared_n })
}

use Lane::{Audit, Care};
use SyncEvent::{KeepAlive, NetworkReturned, Saved, ServerHeard, StreamEnded, StreamFailed};

#[test]
fn a_mirror_that_wants_more_gets_a_new_stream() {
    let more = |seq| SyncEvent::MirrorWantsMore { cursor: Some(Cursor { epoch: 1, seq }) };
    let mut device = Device::online();
    device.check(more(7), "close1 open2@7");
    device.check(SyncEvent::StreamOpened(StreamId(2)), "");
    device.check(SyncEvent::PageReceived(StreamId(2)), "apply");
    device.check(more(7), "close2");
    device.check(applied(8), "open3@8");
    // Made anew: from the beginning.
    device.check(SyncEvent::MirrorWantsMore { cursor: None }, "close3 open4@start");
    // One that failed waits for its turn.
    device.check(StreamFailed(StreamId(4), Trouble::Broken), "");
    device.check(more(8), "");
    device.check_after(500, "open5@8");
}

#[test]
fn nothing_goes_before_the_device_is_enrolled() {
    let mut device = Device::new();
    device.check(Saved(Care), "");
    device.check_after(1_000_000, "");
    assert_eq!(device.engine.next_deadline(), None);
    device.check(started(), "push-care(1000) open1@start");
}

#[test]
fn a_save_goes_up_at_once_and_what_came_meanwhile_right_after() {
    let mut device = Device::pushing();
    device.check(Saved(Care), "");
    device.check(pushed(Care, 0), "push-care(1000)");
    device.check(SyncEvent::NothingToPush(Care), "");
    device.check(Saved(Care), "push-care(1000)");
    device.check(pushed(Care, 3), "push-care(1000)");
    device.check(pushed(Care, 0), "");
}

#[test]
fn audit_never_delays_care() {
    let mut device = Device::online();
    device.check(Saved(Audit), "push-audit(1000)");
    device.check(Saved(Care), "push-care(1000)");
    device.check(pushed(Audit, 5000), "");
    device.check(pushed(Care, 1), "push-care(1000)");
    device.check(pushed(Care, 0), "push-audit(1000)");
    device.check(Saved(Care), "push-care(1000)");
    device.check(failed(Care, 1, Trouble::Broken), "");
    device.check(pushed(Audit, 1), "push-audit(1000)");
}

#[test]
fn days_offline_are_waited_out_with_growing_patience() {
    let mut device = Device::online();
    device.check(StreamFailed(StreamId(1), Trouble::Unreachable), "");
    let Link::Offline { since } = device.engine.link() else { panic!("offline") };
    device.check(Saved(Care), "push-care(1000)");
    device.check(failed(Care, 1, Trouble::Unreachable), "");
    device.check(Saved(Care), "");
    device.check_after(500, "push-care(1000) open2@7");
    device.check(failed(Care, 2, Trouble::Unreachable), "");
    device.check(StreamFailed(StreamId(2), Trouble::Unreachable), "");
    for _ in 0..20 {
        let wait = device.engine.next_deadline().unwrap() - device.at;
        assert!(wait <= crate::backoff::LONGEST);
        device.at += wait;
        for effect in device.on(SyncEvent::Tick) {
            match effect {
                SyncEffect::Push { lane, .. } => drop(device.on(failed(lane, 2, Trouble::Unreachable))),
                SyncEffect::OpenStream { stream, .. } => {
                    drop(device.on(StreamFailed(stream, Trouble::Unreachable)));
                }
                other @ (SyncEffect::Resend { .. }
                | SyncEffect::Fork { .. }
                | SyncEffect::Stuck { .. }
                | SyncEffect::CloseStream(_)
                | SyncEffect::ApplyPage
                | SyncEffect::Refetch
                | SyncEffect::Stop) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(device.engine.link(), Link::Offline { since }, "since the first failure");
    let effects: Vec<String> = device.on(NetworkReturned).iter().map(word).collect();
    assert_eq!(effects.len(), 2, "both directions at once: {effects:?}");
}

#[test]
fn any_answer_ends_offline_and_brings_the_rest_back_at_once() {
    let mut device = Device::online();
    device.check(StreamFailed(StreamId(1), Trouble::Unreachable), "");
    device.check(ServerHeard, "open2@7");
    assert!(matches!(device.engine.link(), Link::Online { .. }));
}

#[test]
fn only_a_transport_error_means_offline() {
    for trouble in [
        Trouble::Busy { retry_after: None },
        Trouble::Broken,
        Trouble::BatchRefused,
        Trouble::NotAllowed,
        Trouble::Local,
        Trouble::ChainBroken { next_n: 1, shared_n: None },
        Trouble::ChainBroken { next_n: 9, shared_n: Some(4) },
        Trouble::Held(Hold::Quarantined),
        REFUSED,
    ] {
        let mut device = Device::online();
        device.on(Saved(Care));
        device.on(failed(Care, 1, trouble));
        device.on(StreamFailed(StreamId(1), trouble));
        assert!(matches!(device.engine.link(), Link::Online { .. }), "{trouble:?}");
    }
}

#[test]
fn a_silent_stream_is_given_up_after_two_keep_alives_but_not_while_a_page_is_applied() {
    let mut device = Device::online();
    device.check_after(29_999, "");
    device.check(KeepAlive(StreamId(1)), "");
    device.check_after(29_999, "");
    device.check_after(1, "close1");
    assert!(matches!(device.engine.link(), Link::Offline { .. }));
    device.check_after(500, "open2@7");
    device.check(SyncEvent::PageReceived(StreamId(2)), "apply");
    device.check_after(60_000, "");
    device.check(applied(9), "");
    device.check(StreamEnded(StreamId(2)), "");
    device.check_after(500, "open3@9");
}

#[test]
fn late_words_of_an_old_stream_are_not_believed() {
    let mut device = Device::online();
    device.check(StreamEnded(StreamId(1)), "");
    device.check_after(500, "open2@7");
    device.check(SyncEvent::PageReceived(StreamId(1)), "");
    device.check(StreamFailed(StreamId(1), Trouble::Unreachable), "");
    device.check(StreamEnded(StreamId(1)), "");
    assert!(matches!(device.engine.link(), Link::Online { .. }));
    device.check_after(500, "");
    device.check(SyncEvent::PageReceived(StreamId(2)), "apply");
}

#[test]
fn a_push_that_reaches_nobody_means_offline_unless_the_stream_is_open() {
    let mut device = Device::online();
    device.check(Saved(Care), "push-care(1000)");
    device.check(failed(Care, 1, Trouble::Unreachable), "");
    assert!(matches!(device.engine.link(), Link::Online { .. }), "its watchdog will say so");
    device.check(StreamEnded(StreamId(1)), "");
    device.check_after(500, "push-care(1000) open2@7");
    device.check(failed(Care, 1, Trouble::Unreachable), "");
    assert!(matches!(device.engine.link(), Link::Offline { .. }), "it is not open yet");
}

#[test]
fn a_page_that_cannot_be_kept_is_asked_for_again() {
    let mut device = Device::online();
    device.check(SyncEvent::PageReceived(StreamId(1)), "apply");
    device.check(SyncEvent::PageFailed, "close1");
    device.check_after(500, "open2@7");
}

#[test]
fn a_stream_that_ends_during_a_page_waits_for_the_page() {
    let mut device = Device::online();
    device.check(SyncEvent::PageReceived(StreamId(1)), "apply");
    device.check(StreamEnded(StreamId(1)), "");
    device.check_after(5_000, "");
    device.check(applied(8), "open2@8");
}

#[test]
fn a_refused_cursor_means_from_the_beginning_once() {
    let mut device = Device::online();
    device.check(StreamFailed(StreamId(1), REFUSED), "refetch open2@start");
    device.check(StreamFailed(StreamId(2), REFUSED), "");
    device.check_after(500, "open3@start");
}

#[test]
fn a_broken_chain_is_sent_again_from_where_the_server_says() {
    let mut device = Device::pushing();
    device.check(broken(Care, 3, None), "resend-care(3) push-care(1000)");
    device.check(pushed(Care, 1), "push-care(1000)");
    for n in [4, 5, 6, 7, 8, 9] {
        let again = format!("resend-care({n}) push-care(1000)");
        device.check(broken(Care, n, None), &again);
    }
    device.check(broken(Care, 10, None), "stuck-care(OtherHistory)");
    assert_eq!(device.engine.stuck(Care), Some(Stuck::OtherHistory));
    device.check(Saved(Care), "");
    device.check_after(299_999, "close1");
    device.check_after(1, "push-care(1000)");
}

#[test]
fn a_batch_too_large_is_halved_at_once() {
    let mut device = Device::pushing();
    device.check(failed(Care, 40, Trouble::BatchRefused), "push-care(20)");
    device.check(failed(Care, 20, Trouble::BatchRefused), "push-care(10)");
    device.check(pushed(Care, 30), "push-care(10)");
    device.check(failed(Care, 3, Trouble::BatchRefused), "push-care(1)");
}

#[test]
fn a_size_that_was_refused_is_not_tried_again_each_time() {
    let mut device = Device::pushing();
    device.check(failed(Care, 1_000, Trouble::BatchRefused), "push-care(500)");
    for _ in 0..16 {
        device.check(pushed(Care, 9_000), "push-care(500)");
    }
    device.check(pushed(Care, 9_000), "push-care(1000)");
    device.check(failed(Care, 1_000, Trouble::BatchRefused), "push-care(500)");
    device.check(pushed(Care, 9_000), "push-care(500)");
}

#[test]
fn what_is_refused_even_alone_goes_unread_and_the_rest_goes_on() {
    let mut device = Device::pushing();
    device.check(failed(Care, 2, Trouble::BatchRefused), "push-care(1)");
    let alone = failed(Care, 1, Trouble::BatchRefused);
    device.check(alone.clone(), "");
    device.check_after(500, "push-care(1)");
    device.check(KeepAlive(StreamId(1)), "");
    device.check(alone, "push-care(unread)");
    device.check(pushed(Care, 7), "push-care(2)");
    assert_eq!(device.engine.stuck(Care), None);
}

/// Breaks over one change until it is sent in another form, or given up.
fn break_over(device: &mut Device, form: &str, last: &str) {
    for wait in [500, 1_000, 2_000] {
        device.check(failed(Care, 1, Trouble::Broken), "");
        device.check_after(wait, &format!("push-care({form})"));
        device.check(KeepAlive(StreamId(1)), "");
    }
    device.check(failed(Care, 1, Trouble::Broken), last);
}

#[test]
fn what_breaks_the_server_even_unread_goes_as_its_hash_and_then_waits_for_a_person() {
    let mut device = Device::pushing();
    break_over(&mut device, "1000", "push-care(unread)");
    break_over(&mut device, "unread", "push-care(hash)");
    break_over(&mut device, "hash", "stuck-care(FirstChange)");
    device.check_after(299_999, "close1");
    device.check_after(1, "push-care(1000)");
    assert_eq!(device.engine.stuck(Care), Some(Stuck::FirstChange), "as it is, should the server be mended");
    device.check(pushed(Care, 0), "open2@7");
    assert_eq!(device.engine.stuck(Care), None);
}

#[test]
fn a_server_that_is_down_makes_nothing_opaque() {
    for trouble in [Trouble::Broken, Trouble::BatchRefused] {
        let mut device = Device::online();
        device.check(StreamFailed(StreamId(1), Trouble::Broken), "");
        device.check(Saved(Care), "push-care(1000)");
        for _ in 0..200 {
            device.on(failed(Care, 1, trouble));
            device.at = device.engine.next_deadline().unwrap();
            for effect in device.on(SyncEvent::Tick) {
                match effect {
                    SyncEffect::Push { load, .. } => assert!(matches!(load, Load::Changes(_)), "{load:?}"),
                    SyncEffect::OpenStream { stream, .. } => drop(device.on(StreamFailed(stream, trouble))),
                    other @ (SyncEffect::Resend { .. }
                    | SyncEffect::Fork { .. }
                    | SyncEffect::Stuck { .. }
                    | SyncEffect::CloseStream(_)
                    | SyncEffect::ApplyPage
                    | SyncEffect::Refetch
                    | SyncEffect::Stop) => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_rewound_server_gets_its_lanes_again_and_gives_everything_afresh() {
    let mut device = Device::online();
    let expects = Expects { care: Some(4), audit: Some(9) };
    let refused = StreamFailed(StreamId(1), Trouble::CursorRefused { expects });
    device.check(refused, "refetch resend-care(4) resend-audit(9) push-care(1000) open2@start");
    device.check(pushed(Care, 0), "push-audit(1000)");
}

#[test]
fn a_device_that_is_held_pushes_and_asks_now_and_then_whether_it_may_pull() {
    for hold in [Hold::Quarantined, Hold::NotEncrypted] {
        let mut device = Device::online();
        device.check(StreamFailed(StreamId(1), Trouble::Held(hold)), "");
        assert_eq!(device.engine.held(), Some(hold));
        device.check(Saved(Care), "push-care(1000)");
        device.check(pushed(Care, 0), "");
        device.check_after(179_999, "");
        device.check_after(1, "open2@7");
        device.check(StreamFailed(StreamId(2), Trouble::Held(hold)), "");
        device.check_after(20_000, "");
        device.check(SyncEvent::Held(Some(hold)), "");
        device.check(SyncEvent::Held(None), "open3@7");
        assert_eq!(device.engine.held(), None);
    }
}

#[test]
fn standing_still_for_ten_minutes_shows() {
    let still = |device: &Device| device.engine.no_progress(device.at).map(|still| still.as_secs());
    for lane in Lane::ALL {
        let mut device = Device::online();
        for _ in 0..100 {
            device.at += Duration::from_secs(15);
            device.check(KeepAlive(StreamId(1)), "");
        }
        assert_eq!(still(&device), None, "nothing to do is no failure");
        device.on(Saved(lane));
        for _ in 0..40 {
            assert_eq!(still(&device), None);
            device.on(failed(lane, 9, Trouble::NotAllowed));
            device.at += Duration::from_secs(15);
            device.on(KeepAlive(StreamId(1)));
        }
        assert_eq!(still(&device), Some(600));
        device.on(pushed(lane, 1));
        assert_eq!(still(&device), None, "it moves");
    }
    let mut device = Device::online();
    device.check(StreamFailed(StreamId(1), Trouble::NotAllowed), "");
    device.at += Duration::from_secs(600);
    assert_eq!(still(&device), Some(600), "the stream is part of it");
    let mut device = Device::online();
    device.check(StreamFailed(StreamId(1), Trouble::NotAllowed), "");
    for _ in 0..40 {
        device.at += Duration::from_secs(15);
        device.on(Saved(Care));
        device.on(pushed(Care, 0));
        // Whichever stream it tried meanwhile is refused as well.
        (1..100).for_each(|id| drop(device.on(StreamFailed(StreamId(id), Trouble::NotAllowed))));
    }
    assert_eq!(still(&device), Some(600), "what goes out does not hide that nothing comes in");
    // Each stream opens, and its page does not get into the mirror.
    let mut device = Device::online();
    for id in 1..=10 {
        device.on(SyncEvent::StreamOpened(StreamId(id)));
        device.on(SyncEvent::PageReceived(StreamId(id)));
        device.on(SyncEvent::PageFailed);
        device.at += Duration::from_secs(240);
        device.on(KeepAlive(StreamId(id)));
        device.on(SyncEvent::Tick);
    }
    assert!(still(&device).is_some_and(|still| still >= 1_800), "{:?}", still(&device));
    let mut device = Device::pushing();
    device.check(StreamFailed(StreamId(1), Trouble::Unreachable), "");
    device.on(failed(Care, 9, Trouble::Unreachable));
    device.at += Duration::from_secs(6_000);
    assert_eq!(still(&device), None, "offline is another matter");
    device.on(ServerHeard);
    assert_eq!(still(&device), None, "and the time offline does not count");
}

#[test]
fn the_engine_wakes_up_to_say_that_nothing_moves() {
    let mut device = Device::pushing();
    let due = device.engine.next_deadline().unwrap();
    assert_eq!(due, device.at + SILENCE, "the stream's silence comes first");
    for _ in 0..39 {
        device.at += Duration::from_secs(15);
        device.check(KeepAlive(StreamId(1)), "");
    }
    assert_eq!(device.engine.next_deadline(), Some(device.at + Duration::from_secs(15)));
    device.check_after(15_000, "");
    assert!(device.engine.no_progress(device.at).is_some());
    assert!(device.engine.next_deadline().unwrap() > device.at);
}

#[test]
fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let mut device = Device::pushing();
    device.check(failed(Care, 9, Trouble::Busy { retry_after: Some(Duration::from_secs(20)) }), "");
    assert_eq!(device.engine.next_deadline(), Some(device.at + Duration::from_secs(20)));
    device.check_after(19_999, "");
    device.check_after(1, "push-care(1000)");
}

#[test]
fn who_sent_too_much_waits_as_long_as_told_sends_as_much_as_before_and_suspects_no_change() {
    let mut device = Device::pushing();
    for _ in 0..50 {
        let problem = ProblemKind::OverQuota.because("it sent far more than it may");
        let trouble = Trouble::of(429, Some(&problem), Some(Duration::from_secs(300)));
        device.check(failed(Care, 1_000, trouble), "");
        for event in [Saved(Care), NetworkReturned, SyncEvent::ServerHeard, SyncEvent::Tick] {
            device.check(event, "");
        }
        for _ in 0..29 {
            device.check_after(10_000, "");
            device.check(KeepAlive(StreamId(1)), "");
        }
        assert!(device.engine.slowed());
        assert_eq!(device.engine.no_progress(device.at), None, "it is not ill");
        device.check_after(10_000, "push-care(1000)");
    }
    device.check(pushed(Care, 0), "");
    assert!(!device.engine.slowed());
}

#[test]
fn a_revoked_device_stops_for_good() {
    let mut device = Device::pushing();
    device.check(failed(Care, 1, Trouble::Revoked), "close1 stop");
    for event in [Saved(Care), NetworkReturned, started(), SyncEvent::Tick] {
        device.check(event, "");
    }
    assert!(matches!(device.engine.link(), Link::Revoked { .. }));
    assert_eq!(device.engine.next_deadline(), None);
}

#[test]
fn answers_are_sorted_by_consequence() {
    let problem = |kind: ProblemKind| kind.because("because");
    let of = |kind: ProblemKind| Trouble::of(kind.status(), Some(&problem(kind)), None);
    assert_eq!(of(ProblemKind::DeviceRevoked), Trouble::Revoked);
    assert_eq!(of(ProblemKind::CursorRefused), REFUSED);
    assert_eq!(of(ProblemKind::TooLarge), Trouble::BatchRefused);
    assert_eq!(of(ProblemKind::Unauthenticated), Trouble::NotAllowed);
    assert_eq!(of(ProblemKind::Unavailable), Trouble::Busy { retry_after: None });
    assert_eq!(of(ProblemKind::Internal), Trouble::Broken);
    let broken = Problem { next_n: Some(4), ..problem(ProblemKind::ChainBroken) };
    let behind = Trouble::ChainBroken { next_n: 4, shared_n: None };
    assert_eq!(Trouble::of(409, Some(&broken), None), behind);
    let parted = Problem { shared_n: Some(2), ..broken };
    let other = Trouble::ChainBroken { next_n: 4, shared_n: Some(2) };
    assert_eq!(Trouble::of(409, Some(&parted), None), other);
    let expects = Expects { care: Some(4), audit: None };
    let rewound = Problem { expects: Some(expects), ..problem(ProblemKind::CursorRefused) };
    assert_eq!(Trouble::of(410, Some(&rewound), None), Trouble::CursorRefused { expects });
    assert_eq!(Trouble::of(502, None, None), Trouble::Busy { retry_after: None }, "a proxy's own page");
}

//! The stories every source tells alike, and those of PC/SC alone.
//!
//! PC/SC is real: each story has a pcscd of its own with virtual readers (`carepost-reader`).
#![allow(clippy::wildcard_enum_match_arm, reason = "any other event is a failure, and is shown")]

use std::path::PathBuf;
use std::time::Duration;

use carepost_protocol::wire::heartbeat::ReaderState;
use carepost_reader::pcscd::{READER_NAME, alone};
use carepost_reader::{Manner, Pcscd, Reader};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, Receiver};

use super::pcsc::PcscSource;
use super::read::{ReadError, Reading, read_one};
use super::scripted::ScriptedSource;
use super::*;

const ANNA: &str = "04A1B2C3D4E5F6";
const BEN: &str = "0411223344";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A source, what it says, and the hands that tap on its two readers.
struct Stage {
    source: Box<dyn Source>,
    events: Receiver<BadgeEvent>,
    readers: Vec<Reader>,
    names: Vec<String>,
    runtime: Runtime,
}

impl Stage {
    fn over_pcsc(pcscd: &Pcscd) -> Stage {
        Stage::over_pcsc_admitting(pcscd, Admission::VirtualToo)
    }

    fn over_pcsc_admitting(pcscd: &Pcscd, admission: Admission) -> Stage {
        let (sender, events) = mpsc::channel(QUEUE);
        let source = Box::new(PcscSource::start(sender, admission).unwrap());
        let names = (0..2).map(|index| format!("{READER_NAME} {index}")).collect();
        Stage { source, events, readers: vec![pcscd.reader(0), pcscd.reader(1)], names, runtime: runtime() }
    }

    fn over_sockets(sockets: &[PathBuf]) -> Stage {
        let (sender, events) = mpsc::channel(QUEUE);
        let source = Box::new(ScriptedSource::start(sockets, sender).unwrap());
        let names = sockets.iter().map(|socket| socket.display().to_string()).collect();
        let readers = sockets.iter().map(Reader::at).collect();
        Stage { source, events, readers, names, runtime: runtime() }
    }

    fn next(&mut self) -> BadgeEvent {
        let next = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        self.runtime.block_on(next).expect("no event in time").expect("the source ended")
    }

    fn expect_state(&mut self, state: ReaderState) {
        assert_eq!(self.next(), BadgeEvent::Reader(state));
    }

    fn expect_presented(&mut self, index: usize, hex: &str) -> String {
        match self.next() {
            BadgeEvent::Presented { reader, uid, .. } => {
                assert_eq!(uid, Uid::from_hex(hex).unwrap());
                assert!(reader.starts_with(&self.names[index]), "{reader} is not {}", self.names[index]);
                reader
            }
            other => panic!("{other:?} instead of a badge on reader {index}"),
        }
    }

    fn expect_removed(&mut self, index: usize) {
        match self.next() {
            BadgeEvent::Removed { reader } => assert!(reader.starts_with(&self.names[index]), "{reader}"),
            other => panic!("{other:?} instead of a removal from reader {index}"),
        }
    }

    fn expect_unreadable(&mut self) -> Unreadable {
        match self.next() {
            BadgeEvent::Unreadable { why, .. } => why,
            other => panic!("{other:?} instead of an unreadable badge"),
        }
    }

    /// Lays a badge down and takes it away, both seen.
    fn tap(&mut self, index: usize, hex: &str) -> String {
        self.readers[index].present(hex).unwrap();
        let reader = self.expect_presented(index, hex);
        self.readers[index].remove().unwrap();
        self.expect_removed(index);
        reader
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Each story, told by both sources. It begins when the readers are ready.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod pcsc {
            $(#[test]
            fn $story() {
                super::alone(&super::path(module_path!(), stringify!($story)), 2, |pcscd| {
                    let mut stage = super::Stage::over_pcsc(pcscd);
                    stage.expect_state(super::ReaderState::Ready);
                    super::$story(stage);
                });
            })*
        }
        mod scripted {
            $(#[test]
            fn $story() {
                let folder = tempfile::tempdir().unwrap();
                let sockets = [folder.path().join("reader-0"), folder.path().join("reader-1")];
                let mut stage = super::Stage::over_sockets(&sockets);
                stage.expect_state(super::ReaderState::Ready);
                super::$story(stage);
            })*
        }
    };
}

/// A test's name as the test harness knows it: without the crate's.
fn path(module: &str, test: &str) -> String {
    let (_crate, inside) = module.split_once("::").unwrap();
    format!("{inside}::{test}")
}

stories!(
    a_tap_is_seen_coming_and_going,
    a_badge_laid_over_another_takes_its_place,
    two_readers_are_told_apart,
    quick_taps_are_not_missed,
    feedback_reaches_the_reader_that_was_tapped,
    readers_are_missing_when_all_are_unplugged,
    one_badge_is_read_and_shown_masked,
    a_stopped_source_says_no_more,
);

fn a_tap_is_seen_coming_and_going(mut stage: Stage) {
    stage.tap(0, ANNA);
    stage.tap(0, ANNA);
    stage.tap(0, BEN);
}

fn a_badge_laid_over_another_takes_its_place(mut stage: Stage) {
    stage.readers[0].present(ANNA).unwrap();
    stage.expect_presented(0, ANNA);
    stage.readers[0].present(BEN).unwrap();
    stage.expect_removed(0);
    stage.expect_presented(0, BEN);
}

fn two_readers_are_told_apart(mut stage: Stage) {
    stage.readers[0].present(ANNA).unwrap();
    stage.expect_presented(0, ANNA);
    stage.tap(1, BEN);
    stage.readers[0].remove().unwrap();
    stage.expect_removed(0);
}

/// Every tap of 10 ms gives a badge or, when the machine was too busy to ask it in time, says that it was pulled
/// away; none passes unseen.
fn quick_taps_are_not_missed(mut stage: Stage) {
    let (mut read, mut pulled) = (0, 0);
    for _tap in 0..20 {
        stage.readers[0].tap(ANNA, Duration::from_millis(10)).unwrap();
        let mut seen = false;
        while !seen {
            match stage.next() {
                BadgeEvent::Presented { .. } => {
                    read += 1;
                    stage.expect_removed(0);
                    seen = true;
                }
                BadgeEvent::Unreadable { why, .. } => {
                    assert_eq!(why, Unreadable::PulledAway);
                    pulled += 1;
                    seen = true;
                }
                // Follows a badge that was pulled away while it was asked.
                BadgeEvent::Removed { .. } => {}
                other @ BadgeEvent::Reader(_) => panic!("{other:?} instead of a tap"),
            }
        }
    }
    assert_eq!(read + pulled, 20);
    assert!(read >= 10, "only {read} of 20 taps were read");
}

fn feedback_reaches_the_reader_that_was_tapped(mut stage: Stage) {
    let reader = stage.tap(1, BEN);
    for feedback in [Feedback::Accept, Feedback::Deny] {
        let before = stage.readers[1].signals().unwrap().len();
        stage.source.signal(&reader, feedback);
        let deadline = std::time::Instant::now() + PATIENCE;
        while stage.readers[1].signals().unwrap().len() == before {
            assert!(std::time::Instant::now() < deadline, "{feedback:?} never came");
            std::thread::yield_now();
        }
        assert_eq!(stage.readers[1].signals().unwrap().last().unwrap(), &signal::command(feedback));
    }
    assert!(stage.readers[0].signals().unwrap().is_empty());
}

fn readers_are_missing_when_all_are_unplugged(mut stage: Stage) {
    stage.readers[0].unplug().unwrap();
    stage.tap(1, BEN);
    stage.readers[1].unplug().unwrap();
    stage.expect_state(ReaderState::Missing);
    stage.readers[0].plug().unwrap();
    stage.expect_state(ReaderState::Ready);
    stage.tap(0, ANNA);
}

fn one_badge_is_read_and_shown_masked(mut stage: Stage) {
    stage.readers[0].present(BEN).unwrap();
    let Reading { reader, masked_uid, uid_length, random, .. } =
        stage.runtime.block_on(read_one(&mut stage.events, PATIENCE)).unwrap();
    assert_eq!((masked_uid.as_str(), uid_length, random), ("04..44", 5, false));
    assert!(reader.starts_with(&stage.names[0]));
    let nothing = stage.runtime.block_on(read_one(&mut stage.events, Duration::from_millis(1)));
    assert_eq!(nothing, Err(ReadError::NoBadge));
}

fn a_stopped_source_says_no_more(mut stage: Stage) {
    stage.tap(0, ANNA);
    assert_eq!(stage.source.stop(), Stopped::Cleanly);
    assert_eq!(stage.runtime.block_on(stage.events.recv()), None);
}

mod pcsc_only {
    use super::*;

    /// A private pcscd with so many readers, for the story named.
    macro_rules! story {
        ($story:ident, $readers:expr, $told:expr) => {
            #[test]
            fn $story() {
                alone(&path(module_path!(), stringify!($story)), $readers, $told);
            }
        };
    }

    story!(a_killed_service_is_down_and_comes_back, 1, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Ready);
        for _time in 0..2 {
            stage.readers[0].present(ANNA).unwrap();
            stage.expect_presented(0, ANNA);
            pcscd.kill();
            // Which of two threads is told first is open.
            let mut first = [stage.next(), stage.next()];
            first.sort_by_key(|event| matches!(event, BadgeEvent::Reader(_)));
            assert!(matches!(first[0], BadgeEvent::Removed { .. }), "{first:?}");
            assert_eq!(first[1], BadgeEvent::Reader(ReaderState::ServiceDown));
            pcscd.restart().unwrap();
            stage.expect_state(ReaderState::Ready);
        }
        stage.tap(0, BEN);
    });

    story!(a_service_that_is_late_is_found, 1, |pcscd| {
        pcscd.kill();
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::ServiceDown);
        pcscd.restart().unwrap();
        stage.expect_state(ReaderState::Ready);
        stage.tap(0, ANNA);
    });

    story!(a_hung_service_is_down_until_it_answers, 1, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Ready);
        pcscd.freeze();
        stage.expect_state(ReaderState::ServiceDown);
        pcscd.thaw();
        stage.expect_state(ReaderState::Ready);
        stage.tap(0, ANNA);
    });

    story!(no_reader_is_missing_until_there_is_one, 0, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Missing);
        pcscd.restart_with(1).unwrap();
        loop {
            match stage.next() {
                BadgeEvent::Reader(ReaderState::Ready) => break,
                BadgeEvent::Reader(ReaderState::ServiceDown | ReaderState::Missing) => {}
                other => panic!("{other:?}"),
            }
        }
        stage.tap(0, ANNA);
    });

    story!(a_badge_left_lying_signs_nobody_in, 1, |pcscd| {
        pcscd.reader(0).present(ANNA).unwrap();
        let mut stage = Stage::over_pcsc(pcscd);
        let mut first = [stage.next(), stage.next()];
        first.sort_by_key(|event| matches!(event, BadgeEvent::Reader(_)));
        assert!(matches!(first[0], BadgeEvent::Unreadable { why: Unreadable::LyingThere, .. }), "{first:?}");
        assert_eq!(first[1], BadgeEvent::Reader(ReaderState::Ready));
        pcscd.reader(0).remove().unwrap();
        stage.expect_removed(0);
        stage.tap(0, ANNA);
    });

    story!(cards_that_answer_nonsense_are_unreadable_and_the_next_good_one_is_read, 1, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Ready);
        for (word, manner) in Manner::ALL {
            let expected: fn(&Unreadable) -> bool = match manner {
                // Told elsewhere.
                Manner::Good | Manner::Hang => continue,
                Manner::Refuse => |why| *why == Unreadable::Refused(0x6A81),
                Manner::Fail => |why| *why == Unreadable::Refused(0x6300),
                Manner::Empty | Manner::Pull => |why| *why == Unreadable::PulledAway,
                Manner::Mute | Manner::BadAtr => |why| *why == Unreadable::Mute,
                Manner::Silent => |why| matches!(why, Unreadable::Failed(_)),
                Manner::Short | Manner::Garbage | Manner::Oversize | Manner::Bare => {
                    |why| matches!(why, Unreadable::Malformed(_))
                }
            };
            stage.readers[0].behave(manner).unwrap();
            stage.readers[0].present(ANNA).unwrap();
            let why = stage.expect_unreadable();
            assert!(expected(&why), "{word}: {why:?}");
            stage.readers[0].remove().unwrap();
            stage.expect_removed(0);
            stage.readers[0].behave(Manner::Good).unwrap();
            stage.tap(0, BEN);
        }
    });

    story!(a_hung_card_holds_up_its_own_reader_only, 2, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Ready);
        stage.readers[0].behave(Manner::Hang).unwrap();
        stage.readers[0].present(ANNA).unwrap();
        for _tap in 0..5 {
            stage.tap(1, BEN);
        }
        assert_eq!(stage.expect_unreadable(), Unreadable::Hung);
        stage.tap(1, BEN);
        stage.readers[0].remove().unwrap();
        assert_eq!(stage.expect_unreadable(), Unreadable::PulledAway);
        stage.expect_removed(0);
        stage.readers[0].behave(Manner::Good).unwrap();
        stage.tap(0, ANNA);
    });

    story!(a_hung_card_that_is_pulled_away_is_told_once, 1, |pcscd| {
        let mut stage = Stage::over_pcsc(pcscd);
        stage.expect_state(ReaderState::Ready);
        // A count of 0 says nothing to libpcsclite: the first card has to be seen while it lies there.
        stage.tap(0, BEN);
        for _time in 0..30 {
            stage.readers[0].behave(Manner::Hang).unwrap();
            stage.readers[0].present(ANNA).unwrap();
            stage.readers[0].remove().unwrap();
            // Mute it is when it was gone before it was powered up.
            let why = stage.expect_unreadable();
            assert!(matches!(why, Unreadable::PulledAway | Unreadable::Mute), "{why:?}");
            stage.readers[0].behave(Manner::Good).unwrap();
            stage.readers[0].present(BEN).unwrap();
            match stage.next() {
                // It was seen lying there.
                BadgeEvent::Removed { .. } => drop(stage.expect_presented(0, BEN)),
                BadgeEvent::Presented { .. } => {}
                told => panic!("{told:?}: it was told already"),
            }
            stage.readers[0].remove().unwrap();
            stage.expect_removed(0);
        }
    });

    story!(virtual_readers_do_not_count_outside_demo_mode, 1, |pcscd| {
        let mut stage = Stage::over_pcsc_admitting(pcscd, Admission::RealOnly);
        stage.expect_state(ReaderState::Missing);
        assert!(!Admission::RealOnly.admits("Carepost Virtual Reader 0 00 00"));
        assert!(!Admission::RealOnly.admits("Virtual PCD 00 00"));
        assert!(Admission::RealOnly.admits("ACS ACR122U PICC Interface 00 00"));
    });
}

//! Power cuts under the server's store.

use std::path::Path;

use carepost_protocol::change::Verdict;
use carepost_vfs::{Recording, Watch};

use crate::cuts::{cut, directory, tell};
use crate::server::{Kiosk, found, from_the_beginning, is_sound, open, verdicts, wait};

/// How many changes each push has, and how many pushes there are.
const BATCH: u64 = 7;
const PUSHES: u64 = 24;
const CHANGES: u64 = BATCH * PUSHES;

struct Story {
    recording: Recording,
    kiosk: Kiosk,
    enrolled: usize,
    pushes: Vec<Push>,
}

struct Push {
    begun: usize,
    answered: usize,
    seqs: Vec<u64>,
}

#[test]
fn no_power_cut_loses_a_push_or_turns_the_feed_back() {
    let story = Story::of(|_| {});
    let tally = cut(&story.recording, 50, |moment, found| story.loses(moment, found));
    tell("store", &tally);
    assert_eq!(tally.lost, 0, "{tally:?}");
}

/// The control: were a commit not synced, the same story would lose pushes; and this would see it.
#[test]
fn without_a_sync_for_each_push_power_cuts_lose_pushes() {
    let story = Story::of(Watch::weaken);
    let tally = cut(&story.recording, 10, |moment, found| story.loses(moment, found));
    tell("store with synchronous=NORMAL", &tally);
    assert!(tally.lost > 0, "{tally:?}");
}

#[test]
fn a_migration_that_the_power_cut_off_is_made_again() {
    let place = directory();
    let watch = Watch::over(place.path());
    drop(open(place.path()).unwrap());
    let tally = cut(&watch.recording(), 30, |_, cut_off| {
        let store = open(cut_off).unwrap();
        wait(found(&store)).unwrap();
        drop(store);
        assert!(is_sound(cut_off));
        false
    });
    tell("migration", &tally);
}

impl Story {
    fn of(prepare: impl FnOnce(&Watch)) -> Self {
        let place = directory();
        let watch = Watch::over(place.path());
        prepare(&watch);
        let mut store = open(place.path()).unwrap();
        let kiosk = wait(Kiosk::enroll(&store, CHANGES.try_into().unwrap()));
        let enrolled = watch.moment();
        let mut pushes = Vec::new();
        for first in (1..=CHANGES).step_by(BATCH as usize) {
            if pushes.len() % 9 == 8 {
                drop(store);
                store = open(place.path()).unwrap();
            }
            let begun = watch.moment();
            let receipt = wait(kiosk.push(&store, first, first + BATCH - 1)).unwrap();
            let seqs = verdicts(&receipt).into_iter().map(|(_, seq)| seq).collect();
            pushes.push(Push { begun, answered: watch.moment(), seqs });
        }
        drop(store);
        Self { recording: watch.recording(), kiosk, enrolled, pushes }
    }

    /// Whether something that was answered before the cut is missing. Whatever else is wrong fails.
    fn loses(&self, moment: usize, found: &Path) -> bool {
        let store = open(found).unwrap();
        let lost = wait(async {
            if moment < self.enrolled || !self.kiosk.is_known(&store).await {
                return moment >= self.enrolled;
            }
            let feed = store.facility(self.kiosk.facility());
            let head = feed.page(from_the_beginning(1)).await.unwrap().end.head;
            // As a device that does not know what was taken: all of it at once, from the first.
            let verdicts = verdicts(&self.kiosk.push(&store, 1, CHANGES).await.unwrap());
            let known = verdicts.iter().take_while(|(verdict, _)| *verdict == Verdict::Duplicate).count();
            assert!(
                verdicts[known..].iter().all(|(verdict, _)| *verdict == Verdict::Applied),
                "{verdicts:?}"
            );
            assert_eq!(known % BATCH as usize, 0, "a push is there whole or not at all");
            let seqs = self.pushes.iter().flat_map(|push| &push.seqs);
            assert!(seqs.zip(&verdicts[..known]).all(|(was, (_, is))| was == is), "{verdicts:?}");
            assert!(verdicts[known..].iter().all(|(_, seq)| *seq > head), "{verdicts:?} after {head}");
            let begun = self.pushes.iter().filter(|push| push.begun < moment).count();
            assert!(known <= begun * BATCH as usize, "{known} changes of {begun} pushes");
            let answered = self.pushes.iter().take_while(|push| push.answered <= moment);
            let last = answered.clone().last().map_or(0, |push| *push.seqs.last().unwrap());
            known < answered.count() * BATCH as usize || head < last
        });
        drop(store);
        assert!(is_sound(found));
        lost
    }
}

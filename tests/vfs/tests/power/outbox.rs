//! Power cuts under the outbox.

use std::path::Path;

use carepost_agent::outbox::{Outbox, Shape};
use carepost_protocol::change::Lane;
use carepost_protocol::id::IncarnationId;
use carepost_vfs::{Dice, Disk, Fault, Outcome, Recording, Trouble, Watch};

use crate::cuts::{cut, directory, tell};
use crate::device::{Device, WEEK, at, audit, entries, receipt, save};

/// A stretch of the recording: begun at the first moment, answered at the second.
type Span = (usize, usize);

/// What was asked of an outbox, and when it was answered.
#[derive(Default)]
struct Story {
    recording: Recording,
    opened: Option<(usize, IncarnationId)>,
    /// In the order of their numbers.
    saves: Vec<Save>,
    /// Up to which number the server has them.
    settles: Vec<(Span, u64)>,
    /// Up to which number they are no longer kept.
    prunes: Vec<(Span, u64)>,
}

struct Save {
    span: Span,
    /// The audit lane's head afterwards.
    audit: u64,
    length: usize,
}

#[test]
fn no_power_cut_loses_a_save_or_breaks_the_chain() {
    let device = Device::new();
    let story = Story::of(&device, Watch::over);
    let tally = cut(&story.recording, 200, |moment, found| story.loses(&device, moment, found));
    tell("outbox", &tally);
    assert_eq!(tally.lost, 0, "{tally:?}");
}

/// The control: were a commit not synced, the same story would lose entries; and this would see it.
#[test]
fn without_a_sync_for_each_save_power_cuts_lose_saves() {
    let device = Device::new();
    let weakened = |directory: &Path| {
        let watch = Watch::over(directory);
        watch.weaken();
        watch
    };
    let story = Story::of(&device, weakened);
    let tally = cut(&story.recording, 25, |moment, found| story.loses(&device, moment, found));
    tell("outbox with synchronous=NORMAL", &tally);
    assert!(tally.lost > 0, "{tally:?}");
}

/// A process that could not sync an entry is gone, and the next one finds the entry in the system's memory
/// only. Pressing again answers that it is saved: so by then it is.
#[test]
fn what_was_found_behind_a_failed_sync_is_written_before_it_is_answered_for() {
    let device = Device::new();
    let found_unsynced = (0..30).filter(|after| {
        let place = directory();
        let watch = Watch::over(place.path());
        let outbox = device.open(place.path()).unwrap();
        save(&outbox, &form(1), 200).unwrap();
        watch.fail(Fault { trouble: Trouble::Broken, after: *after, lasting: true });
        let failed = save(&outbox, &form(2), 200).is_err();
        drop(outbox);
        watch.mend();
        let outbox = device.open(place.path()).unwrap();
        let found = outbox.head(Lane::Care).unwrap().0 == 2;
        (1..=3).for_each(|n| assert_eq!(save(&outbox, &form(n), 200).unwrap().n, n));

        let (recording, cut) = (watch.recording(), directory());
        let mut disk = Disk::new(&recording);
        disk.advance(recording.len());
        disk.cut(Outcome::Dropped, &mut Dice::new(0), cut.path()).unwrap();
        let outbox = device.open(cut.path()).unwrap();
        assert_eq!(outbox.head(Lane::Care).unwrap().0, 3, "after {after} operations");
        entries(cut.path(), outbox.incarnation());
        failed && found
    });
    assert!(found_unsynced.count() > 0, "no save failed and was found all the same");
}

impl Story {
    /// Short lives with receipts and pruning, then a long one in which the WAL is folded back and
    /// begins anew.
    fn of(device: &Device, watch: impl FnOnce(&Path) -> Watch) -> Self {
        let place = directory();
        let watch = watch(place.path());
        let mut story = Self::default();
        for life in 0..4 {
            let outbox = device.open(place.path()).unwrap();
            story.opened.get_or_insert((watch.moment(), outbox.incarnation()));
            for _ in 0..6 {
                story.save(&outbox, &watch, 200 * (life + 1));
            }
            outbox.append_audit(&[audit(), audit()]).unwrap();
            story.settle(&outbox, &watch, 4);
            story.prune(&outbox, &watch);
            story.save(&outbox, &watch, 3_000);
        }
        let outbox = device.open(place.path()).unwrap();
        // While it is open the file grows when the WAL is folded back; then the WAL begins anew.
        let file = place.path().join("outbox.db");
        while std::fs::metadata(&file).unwrap().len() < 2 << 20 {
            story.save(&outbox, &watch, 24_000);
            story.settle(&outbox, &watch, 1);
        }
        for _ in 0..6 {
            story.save(&outbox, &watch, 500);
        }
        story.settle(&outbox, &watch, 3);
        drop(outbox);
        story.recording = watch.recording();
        story
    }

    fn save(&mut self, outbox: &Outbox, watch: &Watch, length: usize) {
        let begun = watch.moment();
        let n = self.saves.len() as u64 + 1;
        assert_eq!(save(outbox, &form(n), length).unwrap().n, n);
        let span = (begun, watch.moment());
        self.saves.push(Save { span, audit: outbox.head(Lane::Audit).unwrap().0, length });
    }

    fn settle(&mut self, outbox: &Outbox, watch: &Watch, changes: usize) {
        let batch = outbox.batch(Lane::Care, Shape::Plain { changes, bytes: usize::MAX }).unwrap().unwrap();
        let begun = watch.moment();
        outbox.settle(&batch.sent, &receipt(&batch.sent)).unwrap();
        self.settles.push(((begun, watch.moment()), batch.sent.first_n + batch.sent.count - 1));
    }

    fn prune(&mut self, outbox: &Outbox, watch: &Watch) {
        let begun = watch.moment();
        outbox.prune(u64::MAX, at(100 + WEEK)).unwrap();
        let last = self.settles.last().map_or(0, |(_, last)| *last);
        self.prunes.push(((begun, watch.moment()), last));
    }

    /// Whether something that was answered before the cut is missing. Whatever else is wrong fails.
    fn loses(&self, device: &Device, moment: usize, found: &Path) -> bool {
        let outbox = device.open(found).unwrap();
        let entries = entries(found, outbox.incarnation());
        let (there, _) = outbox.head(Lane::Care).unwrap();
        let first = self.opened.filter(|(at, _)| *at <= moment);
        let lost = first.is_some_and(|(_, incarnation)| incarnation != outbox.incarnation());

        let saves = (1..).zip(&self.saves).map(|(n, save)| (save.span, n));
        let (saved, tried) = reached(saves, moment);
        assert!(there <= tried, "{there} entries of {tried}");
        // A save and its audit are there together or not at all.
        let at_least = there.checked_sub(1).map_or(0, |last| self.saves[last as usize].audit);
        let below = self.saves.get(there as usize).map_or(u64::MAX, |next| next.audit);
        let (audits, _) = outbox.head(Lane::Audit).unwrap();
        assert!((at_least..below).contains(&audits), "{audits} audit events of {there} entries");

        // What is settled is the front part that receipts had reached; what is gone, that prunes had.
        let (settled, settling) = reached(self.settles.iter().copied(), moment);
        let (_, pruning) = reached(self.prunes.iter().copied(), moment);
        let done = (1..=there).rev().find(|n| entries.get(&(0, *n)).is_some_and(|(done, _)| *done));
        let done = done.unwrap_or(0);
        assert!(done <= settling, "{done} are settled, of {settling}");
        for n in 1..=there {
            match entries.get(&(0, n)) {
                None => assert!(n < pruning, "entry {n} of {there} is gone"),
                Some((is_done, text)) => {
                    assert_eq!(*is_done, n <= done, "entry {n}");
                    assert!(text.contains(&form(n)), "entry {n} is not what was saved");
                }
            }
        }
        self.go_on(&outbox, there);
        lost || there < saved || done < settled
    }

    /// The nurse, who saw no answer, presses again: once for the last that is there, twice for the next.
    fn go_on(&self, outbox: &Outbox, there: u64) {
        for n in [there, there + 1, there + 1] {
            let index = usize::try_from(n).unwrap().checked_sub(1);
            if let Some(before) = index.and_then(|index| self.saves.get(index)) {
                assert_eq!(save(outbox, &form(n), before.length).unwrap().n, n);
            }
        }
    }
}

/// The last that was answered before a moment, and the last that was begun.
fn reached(spans: impl Iterator<Item = (Span, u64)>, moment: usize) -> (u64, u64) {
    spans.fold((0, 0), |(answered, begun), ((from, to), last)| {
        (if to <= moment { last } else { answered }, if from < moment { last } else { begun })
    })
}

fn form(n: u64) -> String {
    format!("form {n:04}")
}

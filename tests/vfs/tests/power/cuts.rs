//! Cutting a recording at many moments.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use carepost_vfs::{Dice, Disk, Outcome, Recording};
use tempfile::TempDir;

/// What came of all the cuts of a recording.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many moments.
    pub cuts: usize,
    /// How many disks were found: some for each moment.
    pub outcomes: usize,
    /// On how many of them something acknowledged was missing.
    pub lost: usize,
}

/// A directory for files whose syncs cost nothing, where there is one.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.unwrap()
}

/// Cuts at `count` moments, half of them just before a sync, and hands each disk that may be found to
/// `check`, which says whether something acknowledged is missing.
pub fn cut(recording: &Recording, count: usize, check: impl Fn(usize, &Path) -> bool) -> Tally {
    let seed = of_environment("CAREPOST_SEED").unwrap_or(20_260_501);
    let mut dice = Dice::new(seed);
    let mut tally = Tally::default();
    let mut disk = Disk::new(recording);
    for moment in moments(recording, count, &mut dice) {
        disk.advance(moment);
        tally.cuts += 1;
        for outcome in Outcome::ALL {
            let found = directory();
            disk.cut(outcome, &mut dice, found.path()).unwrap();
            let lost = catch_unwind(AssertUnwindSafe(|| check(moment, found.path())));
            let of = recording.len();
            let Ok(lost) = lost else {
                panic!("CAREPOST_SEED={seed}: cut after {moment} of {of} operations, the rest {outcome:?}");
            };
            tally.outcomes += 1;
            tally.lost += usize::from(lost);
        }
    }
    tally
}

/// The figures of a run, where they are shown (`--nocapture`).
pub fn tell(what: &str, tally: &Tally) {
    println!("{what}: {} cuts, {} outcomes, {} lost", tally.cuts, tally.outcomes, tally.lost);
}

/// How many times as much as usual is to be tried.
pub fn times() -> usize {
    of_environment("CAREPOST_CUTS").map_or(1, |times| times.max(1).try_into().unwrap())
}

fn moments(recording: &Recording, count: usize, dice: &mut Dice) -> Vec<usize> {
    let count = count * times();
    let mut syncs: Vec<usize> = recording.before_syncs().collect();
    while syncs.len() > count / 2 {
        syncs.swap_remove(dice.below(syncs.len()));
    }
    let mut moments = std::collections::BTreeSet::from_iter(syncs);
    moments.insert(recording.len());
    while moments.len() < count.min(recording.len()) {
        moments.insert(dice.below(recording.len() + 1));
    }
    moments.into_iter().collect()
}

fn of_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

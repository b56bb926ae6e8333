//! A disk that fails: EIO and ENOSPC at each operation of a session, once or from then on.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use carepost_vfs::{Dice, Disk, Fault, Outcome, Trouble, Watch};

use crate::cuts::{directory, times};

/// A session of steps, each of which can be taken again when it failed.
pub trait Session {
    /// What a step answers when it fails.
    type Error: Debug;

    /// How many steps there are.
    fn steps(&self) -> usize;

    /// Takes a step, or the same one again.
    fn take(&mut self, step: usize) -> Result<(), Self::Error>;

    /// Whether the error says that the disk failed or is full, and nothing else.
    fn is_clear(&self, error: &Self::Error) -> bool;

    /// Closes its files.
    fn close(&mut self);

    /// Checks, on a disk that works, that each step was taken exactly once. After a power cut what is
    /// not promised to survive one may be missing.
    fn check(&self, place: &Path, after_cut: bool);
}

/// Of how many operations one fails, unless `CAREPOST_CUTS` asks for more.
const STRIDE: usize = 5;

/// Lets the operations of a session fail, one in each run, in each way.
pub fn operations_fail<S: Session>(what: &str, begin: impl Fn(&Path, Trouble) -> S) {
    let stride = STRIDE.div_ceil(times());
    let ways = [Trouble::Broken, Trouble::Full, Trouble::Unreadable];
    let ways = ways.into_iter().flat_map(|trouble| [(trouble, false), (trouble, true)]);
    for (way, (trouble, lasting)) in ways.enumerate() {
        let (mut runs, mut seen) = (0, 0);
        // Each way begins elsewhere, so that what one leaves out another has.
        for after in (way % stride..).step_by(stride) {
            let fault = Fault { trouble, after, lasting };
            let ran = catch_unwind(AssertUnwindSafe(|| run(&begin, fault)));
            let Ok((struck, errors)) = ran else { panic!("{what}: {fault:?}") };
            if !struck {
                break;
            }
            (runs, seen) = (runs + 1, seen + errors);
        }
        assert!(runs > 0 && seen > 0, "{trouble:?}: {runs} operations failed, and nobody heard of it");
        println!("{what}: {trouble:?}, lasting: {lasting}: {runs} operations failed, {seen} steps");
    }
}

/// Whether the fault struck, and how many steps failed.
fn run<S: Session>(begin: impl Fn(&Path, Trouble) -> S, fault: Fault) -> (bool, usize) {
    let place = directory();
    let mut session = begin(place.path(), fault.trouble);
    let watch = Watch::over(place.path());
    watch.fail(fault);
    let (mut struck, mut errors) = (false, 0);
    for step in 0..session.steps() {
        let Err(error) = session.take(step) else { continue };
        assert!(session.is_clear(&error), "step {step}: {error:?}");
        errors += 1;
        // A disk that stays broken says so again; a mended one takes the same step.
        if fault.lasting
            && let Err(error) = session.take(step)
        {
            assert!(session.is_clear(&error), "step {step}, again: {error:?}");
        }
        struck |= watch.mend();
        session.take(step).unwrap_or_else(|error| panic!("step {step}, with the disk mended: {error:?}"));
    }
    struck |= watch.mend();
    if fault.trouble == Trouble::Broken {
        // What a failed sync held is lost: none of it may have been answered for.
        let (recording, cut) = (watch.recording(), directory());
        let mut disk = Disk::new(&recording);
        disk.advance(recording.len());
        disk.cut(Outcome::Dropped, &mut Dice::new(0), cut.path()).unwrap();
        session.check(cut.path(), true);
    }
    session.close();
    session.check(place.path(), false);
    (struck, errors)
}

//! Five hundred simulated facilities (`make simulate` tells any number), and the faults that they find.

use carepost_tests::simulation::{Planted, Template, sweep, tell, workspace};

/// Seeds told on every run.
const SEEDS: u64 = 500;

#[test]
fn whatever_befalls_devices_and_network_nothing_saved_is_lost_or_doubled() {
    let template = Template::new().unwrap();
    let told = sweep(&template, 0..SEEDS, None).unwrap();
    assert_eq!(told.len() as u64, SEEDS);
    assert!(told.iter().map(|(_, story)| story.saved).sum::<usize>() > 5_000, "the stories are not empty");
    let wrong: Vec<_> = told.iter().filter(|(_, story)| !story.violations.is_empty()).collect();
    for (seed, story) in &wrong {
        eprintln!("seed {seed} (make simulate SEED={seed}): {:#?}", story.violations);
    }
    assert!(wrong.is_empty(), "{} of {SEEDS} stories went wrong", wrong.len());
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let template = Template::new().unwrap();
    let again = Template::new().unwrap();
    for seed in [3, 14, 159] {
        let (first, second) = (workspace().unwrap(), workspace().unwrap());
        let story = tell(&template, first.path(), seed, None, true).unwrap();
        let other = tell(&again, second.path(), seed, None, true).unwrap();
        assert_eq!(story.lines, other.lines, "seed {seed}");
        assert_eq!(story.trace, other.trace, "seed {seed}");
    }
}

#[test]
fn planted_faults_are_found() {
    let template = Template::new().unwrap();
    for planted in
        [Planted::AcknowledgesTooEarly, Planted::TakesSilenceForAReceipt, Planted::LosesPagesUnseen]
    {
        let told = sweep(&template, 0..20, Some(planted)).unwrap();
        let found = told.iter().filter(|(_, story)| !story.violations.is_empty()).count();
        assert!(found > 0, "twenty stories do not show {planted:?}");
    }
}

#[test]
fn lost_pages_are_found_by_the_digest_and_mended() {
    let template = Template::new().unwrap();
    let told = sweep(&template, 0..20, Some(Planted::LosesPages)).unwrap();
    for (seed, story) in &told {
        assert!(story.violations.is_empty(), "seed {seed}: {:#?}", story.violations);
    }
    assert!(told.iter().any(|(_, story)| story.differed > 0), "no story lost a page that mattered");
}

//! What pages and devices called saved, and whether the server has it: each entry once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// The entries that somebody was told are saved, by their notes, which nobody uses twice.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeSet<String>>);

/// What a look at the server found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Called saved, and not there.
    pub lost: Vec<String>,
    /// There more than once, whoever was told.
    pub doubled: Vec<String>,
}

impl Ledger {
    /// Writes down an entry that was called saved. Only the answer may do this: what was cut off before
    /// it may be there or not.
    pub fn saved(&self, note: &str) {
        self.lock().insert(note.to_owned());
    }

    /// How many were called saved so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Compares with the notes that are there.
    #[must_use]
    pub fn compare<'a>(&self, there: impl IntoIterator<Item = &'a String>) -> Findings {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for note in there {
            *counts.entry(note).or_default() += 1;
        }
        let saved = self.lock();
        let lost = saved.iter().filter(|note| !counts.contains_key(note.as_str()));
        let doubled = counts.iter().filter(|(_, count)| **count > 1).map(|(note, _)| (*note).to_owned());
        Findings { lost: lost.cloned().collect(), doubled: doubled.collect() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // Each change is one call: a panic elsewhere leaves nothing half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Findings {
    /// Whether every entry is there once.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

/// Entries that are numbered from 0 on, so many of them that names would be heavy.
#[derive(Debug, Clone)]
pub struct Tally {
    seen: Vec<u8>,
    strangers: usize,
}

impl Tally {
    /// None of `count` entries seen yet.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { seen: vec![0; count], strangers: 0 }
    }

    /// Counts an entry by its number; none, or a number too large, is a stranger.
    pub fn count(&mut self, number: Option<usize>) {
        match number.and_then(|number| self.seen.get_mut(number)) {
            Some(seen) => *seen = seen.saturating_add(1),
            None => self.strangers += 1,
        }
    }

    /// How many were never seen, how many more than once, and how many strangers there were.
    #[must_use]
    pub fn lost_doubled_strange(&self) -> (usize, usize, usize) {
        let count = |of: fn(u8) -> bool| self.seen.iter().filter(|seen| of(**seen)).count();
        (count(|seen| seen == 0), count(|seen| seen > 1), self.strangers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_twice_is_found() {
        let ledger = Ledger::default();
        ["a", "b", "c"].iter().for_each(|note| ledger.saved(note));
        let there = |notes: &[&str]| notes.iter().map(|note| (*note).to_owned()).collect::<Vec<_>>();
        assert!(ledger.compare(&there(&["c", "b", "a", "cut off before its answer"])).is_clean());
        let findings = ledger.compare(&there(&["a", "c", "c", "d", "d"]));
        assert_eq!(findings.lost, ["b"]);
        assert_eq!(findings.doubled, ["c", "d"]);
    }

    #[test]
    fn numbers_that_are_missing_twice_or_strange_are_counted() {
        let mut tally = Tally::new(4);
        [Some(0), Some(1), Some(1), Some(3), Some(4), None].into_iter().for_each(|n| tally.count(n));
        assert_eq!(tally.lost_doubled_strange(), (1, 1, 2));
    }
}

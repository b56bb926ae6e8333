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
}

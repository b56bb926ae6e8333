//! Amendments: a charted record is never edited. An amendment stands beside the record it corrects, and may be
//! corrected itself, so that records and amendments form trees. What counts is each tree's leaves: one, unless two
//! people corrected the same record without seeing each other's correction.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::RecordId;

/// A record with its corrections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The record as it was first charted.
    pub root: RecordId,
    /// What counts now, by id: the record itself, or the corrections that nobody has corrected.
    pub leaves: Vec<RecordId>,
    /// What was corrected of it, each with its corrections: more than one where they stand side by side.
    pub corrected: Vec<(RecordId, Vec<RecordId>)>,
}

/// How a set of records hangs together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Threads {
    /// Every tree, by the id of its root.
    pub threads: Vec<Thread>,
    /// Amendments of a record that is not among these, by id: held until it comes.
    pub held: Vec<RecordId>,
}

/// Puts records and what each amends together. The order they come in does not matter, nor does one
/// that comes twice.
#[must_use]
pub fn threads(records: impl IntoIterator<Item = (RecordId, Option<RecordId>)>) -> Threads {
    let parents: BTreeMap<RecordId, Option<RecordId>> = records.into_iter().collect();
    let mut children: BTreeMap<RecordId, Vec<RecordId>> = BTreeMap::new();
    for (id, amends) in &parents {
        if let Some(parent) = amends {
            children.entry(*parent).or_default().push(*id);
        }
    }
    let mut found = Threads::default();
    let mut reached = BTreeSet::new();
    for (root, _) in parents.iter().filter(|(_, amends)| amends.is_none()) {
        let (mut leaves, mut corrected) = (Vec::new(), Vec::new());
        let mut open = vec![*root];
        while let Some(id) = open.pop() {
            reached.insert(id);
            match children.remove(&id) {
                Some(amendments) => {
                    open.extend(&amendments);
                    corrected.push((id, amendments));
                }
                None => leaves.push(id),
            }
        }
        leaves.sort_unstable();
        found.threads.push(Thread { root: *root, leaves, corrected });
    }
    found.held = parents.into_keys().filter(|id| !reached.contains(id)).collect();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    fn id(n: u8) -> RecordId {
        RecordId::new(Timestamp::EPOCH, [n; 10])
    }

    fn check(records: &[(u8, Option<u8>)], expected: &[(u8, &[u8])], held: &[u8]) {
        let found = threads(records.iter().map(|(record, amends)| (id(*record), amends.map(id))));
        let expected: Vec<(RecordId, Vec<RecordId>)> = expected
            .iter()
            .map(|(root, leaves)| (id(*root), leaves.iter().copied().map(id).collect()))
            .collect();
        for thread in &found.threads {
            let corrected =
                thread.corrected.iter().flat_map(|(of, by)| by.iter().map(move |by| (*by, Some(*of))));
            let known = |link| records.iter().any(|(record, amends)| (id(*record), amends.map(id)) == link);
            assert!(corrected.clone().all(known), "{thread:?}");
        }
        let found_threads: Vec<_> =
            found.threads.into_iter().map(|thread| (thread.root, thread.leaves)).collect();
        assert_eq!(found_threads, expected);
        assert_eq!(found.held, held.iter().copied().map(id).collect::<Vec<_>>());
    }

    #[test]
    fn what_counts_is_the_latest_correction() {
        check(&[(1, None)], &[(1, &[1])], &[]);
        check(&[(1, None), (2, Some(1)), (3, Some(2)), (4, None)], &[(1, &[3]), (4, &[4])], &[]);
    }

    #[test]
    fn two_corrections_side_by_side_both_show() {
        check(&[(1, None), (2, Some(1)), (3, Some(1)), (4, Some(3))], &[(1, &[2, 4])], &[]);
    }

    #[test]
    fn a_correction_that_comes_before_its_record_is_held() {
        check(&[(2, Some(1)), (3, Some(2))], &[], &[2, 3]);
        check(&[(3, Some(2)), (2, Some(1)), (1, None)], &[(1, &[3])], &[]);
        check(&[(5, Some(5))], &[], &[5]);
    }

    proptest! {
        #[test]
        fn every_record_is_in_a_tree_or_held_however_they_arrive(
            amends in prop::collection::vec(prop::option::of(0..12_u8), 0..12), turn in any::<prop::sample::Index>()
        ) {
            let records: Vec<_> = (0..).zip(&amends).map(|(n, amends)| (id(n), amends.map(id))).collect();
            let found = threads(records.clone());
            let mut turned = records.clone();
            if !turned.is_empty() {
                let by = turn.index(turned.len());
                turned.rotate_left(by);
            }
            turned.extend(records.iter().copied());
            prop_assert_eq!(&threads(turned), &found);
            let roots = found.threads.iter().map(|thread| thread.root);
            let leaves = found.threads.iter().flat_map(|thread| thread.leaves.clone());
            let shown: BTreeSet<_> = roots.chain(leaves).chain(found.held.iter().copied()).collect();
            for (record, _) in &records {
                let corrected = records.iter().any(|(_, amends)| *amends == Some(*record));
                prop_assert!(corrected || shown.contains(record));
            }
        }
    }
}

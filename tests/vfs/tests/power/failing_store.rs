//! The disk fails under a server that takes what a device pushes.

use std::path::{Path, PathBuf};

use carepost_protocol::change::Verdict;
use carepost_server::store::{Store, StoreError};

use crate::cuts::directory;
use crate::faults::{Session, operations_fail};
use crate::server::{Kiosk, is_sound, open, verdicts, wait};

struct Serving<'a> {
    kiosk: &'a Kiosk,
    place: PathBuf,
    store: Option<Store>,
    /// Where in the feed each change was said to be.
    seqs: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Act {
    Open,
    /// From the first number up to the last.
    Push(u64, u64),
    Page,
}

const ACTS: &[Act] = &[
    Act::Open,
    Act::Push(1, 3),
    Act::Page,
    Act::Push(4, 6),
    Act::Push(7, 9),
    Act::Open,
    Act::Page,
    Act::Push(10, 12),
    Act::Page,
];

const CHANGES: u64 = 12;

#[test]
fn a_server_whose_disk_fails_takes_each_push_exactly_once() {
    let enrolled = directory();
    let store = open(enrolled.path()).unwrap();
    let kiosk = wait(Kiosk::enroll(&store, CHANGES.try_into().unwrap()));
    drop(store);
    let database = std::fs::read(enrolled.path().join("server.db")).unwrap();
    operations_fail("server", |place: &Path, _| {
        std::fs::write(place.join("server.db"), &database).unwrap();
        Serving { kiosk: &kiosk, place: place.to_owned(), store: None, seqs: Vec::new() }
    });
}

impl Session for Serving<'_> {
    type Error = StoreError;

    fn steps(&self) -> usize {
        ACTS.len()
    }

    fn take(&mut self, step: usize) -> Result<(), StoreError> {
        match ACTS[step] {
            Act::Open => {
                drop(self.store.take());
                self.store = Some(open(&self.place)?);
            }
            Act::Push(first, last) => {
                let verdicts = verdicts(&wait(self.kiosk.push(self.store(), first, last))?);
                self.seqs.extend(verdicts.into_iter().map(|(_, seq)| seq));
            }
            Act::Page => {
                let page = wait(self.store().facility(self.kiosk.facility()).page(None, 1_000))?;
                // Four documents of the registry come first, then each change's record, once.
                assert_eq!(page.lines.iter().filter(|byte| **byte == b'\n').count(), 4 + self.seqs.len() + 1);
                let head = self.seqs.last().copied();
                assert!(head.is_none_or(|head| page.end.head == head));
            }
        }
        Ok(())
    }

    fn is_clear(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Full | StoreError::NotDurable(_) | StoreError::Engine(_))
    }

    fn check(mut self) {
        drop(self.store.take());
        let store = open(&self.place).unwrap();
        let again = verdicts(&wait(self.kiosk.push(&store, 1, CHANGES)).unwrap());
        let wanted: Vec<_> = self.seqs.iter().map(|seq| (Verdict::Duplicate, *seq)).collect();
        assert_eq!(again, wanted);
        drop(store);
        assert!(is_sound(&self.place));
    }
}

impl Serving<'_> {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

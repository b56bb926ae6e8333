//! The disk fails under a server that takes what a device pushes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carepost_protocol::change::Verdict;
use carepost_server::store::{Login, NewSession, Store, StoreError};
use carepost_vfs::{Fault, Trouble, Watch};

use crate::cuts::directory;
use crate::device::at;
use crate::faults::{Session, operations_fail};
use crate::server::{Kiosk, event, found, from_the_beginning, is_sound, open, open_under, verdicts, wait};

struct Serving<'a> {
    kiosk: &'a Kiosk,
    place: PathBuf,
    store: Option<Store>,
    /// Where in the feed each change was said to be.
    seqs: Vec<u64>,
    trouble: Trouble,
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
    // Threads that close at the same time leave the WAL to whoever opens next.
    let files = ["server.db", "server.db-wal"].map(|name| (name, enrolled.path().join(name)));
    let files = files.map(|(name, path)| (name, std::fs::read(path).unwrap_or_default()));
    operations_fail("server", |place: &Path, trouble| {
        files.iter().for_each(|(name, content)| std::fs::write(place.join(name), content).unwrap());
        Serving { kiosk: &kiosk, place: place.to_owned(), store: None, seqs: Vec::new(), trouble }
    });
}

#[test]
fn whoever_is_signed_in_stays_so_while_the_disk_is_full() {
    let place = directory();
    let watch = Watch::over(place.path());
    let second = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&second);
    let store = open_under(place.path(), move || at(clock.load(Ordering::SeqCst))).unwrap();
    let (scope, _, user, _) = wait(found(&store)).unwrap();
    let (system, organization) = (store.system(), scope.organization());
    let login = Login::of_organization(organization, "nina", "192.0.2.1".to_owned());
    let token_sha256 = [9; 32];
    let new = NewSession { user, organization: Some(organization), token_sha256, expires_at: at(3_600) };
    wait(system.create_session(login, new, event())).unwrap();
    watch.fail(Fault { trouble: Trouble::Full, after: 0, lasting: true });
    second.store(120, Ordering::SeqCst);
    let session = wait(system.session(token_sha256));
    assert!(watch.mend(), "that somebody is active was to be written");
    assert!(matches!(session, Ok(Some(_))), "{session:?}");
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
                let page =
                    wait(self.store().facility(self.kiosk.facility()).page(from_the_beginning(1_000)))?;
                // Four documents of the registry come first, then each change's record, once.
                assert_eq!(page.lines.iter().filter(|byte| **byte == b'\n').count(), 4 + self.seqs.len() + 1);
                let head = self.seqs.last().copied();
                assert!(head.is_none_or(|head| page.end.head == head));
            }
        }
        Ok(())
    }

    fn is_clear(&self, error: &StoreError) -> bool {
        // What cannot be read cannot be told from what another key wrote.
        let unreadable = matches!(error, StoreError::WrongKey(_)) && self.trouble == Trouble::Unreadable;
        unreadable || matches!(error, StoreError::Full | StoreError::NotDurable(_) | StoreError::Engine(_))
    }

    fn close(&mut self) {
        drop(self.store.take());
    }

    fn check(&self, place: &Path, _: bool) {
        let store = open(place).unwrap();
        let again = verdicts(&wait(self.kiosk.push(&store, 1, CHANGES)).unwrap());
        let wanted: Vec<_> = self.seqs.iter().map(|seq| (Verdict::Duplicate, *seq)).collect();
        assert_eq!(again, wanted);
        drop(store);
        assert!(is_sound(place));
    }
}

impl Serving<'_> {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

//! The disk fails under a device that saves, pushes, pulls and prunes.

use std::path::{Path, PathBuf};

use carepost_agent::mirror::{Found, Mirror, MirrorError};
use carepost_agent::outbox::{Outbox, OutboxError, Shape};
use carepost_agent::sqlite::OpenError;
use carepost_protocol::change::Lane;
use carepost_protocol::id::IncarnationId;
use carepost_vfs::Trouble;

use crate::cuts::directory;
use crate::device::{Device, WEEK, at, audit, entries, receipt, save};
use crate::faults::{Session, operations_fail};
use crate::mirror::{self, Shown, Step};

/// How many forms are saved.
const FORMS: u64 = 6;

struct Sync<'a> {
    device: &'a Device,
    place: PathBuf,
    outbox: Option<Outbox>,
    /// What the outbox did since it was first opened.
    incarnation: Option<IncarnationId>,
    mirror: Option<Mirror>,
    pages: &'a [Step],
    /// What a mirror shows that took each page.
    wanted: &'a Shown,
    trouble: Trouble,
}

#[derive(Clone, Copy)]
enum Act {
    OpenOutbox,
    OpenMirror,
    Save(u64),
    Audit,
    /// The server's receipts for all up to this number.
    Settle(u64),
    Prune,
    Apply(usize),
}

const ACTS: &[Act] = &[
    Act::OpenOutbox,
    Act::Save(1),
    Act::Save(2),
    Act::OpenMirror,
    Act::Apply(0),
    Act::Save(3),
    Act::Audit,
    Act::Settle(2),
    Act::Apply(1),
    Act::OpenOutbox,
    Act::OpenMirror,
    Act::Save(4),
    Act::Settle(4),
    Act::Prune,
    Act::Save(5),
    Act::Apply(2),
    Act::Settle(5),
    Act::Save(6),
];

#[derive(Debug)]
enum SyncError {
    Outbox(OutboxError),
    Mirror(MirrorError),
}

#[test]
fn a_device_whose_disk_fails_saves_settles_and_pulls_exactly_once() {
    let device = Device::new();
    let pages = pages();
    let place = directory();
    let mut control = Some(mirror::open(place.path()).unwrap().0);
    pages.iter().for_each(|page| mirror::take(page, &mut control, place.path()).unwrap());
    let wanted = Shown::of(&control.unwrap());
    operations_fail("device", |place, trouble| Sync {
        device: &device,
        place: place.to_owned(),
        outbox: None,
        incarnation: None,
        mirror: None,
        pages: &pages,
        wanted: &wanted,
        trouble,
    });
}

impl Session for Sync<'_> {
    type Error = SyncError;

    fn steps(&self) -> usize {
        ACTS.len()
    }

    fn take(&mut self, step: usize) -> Result<(), SyncError> {
        match ACTS[step] {
            Act::OpenOutbox => {
                drop(self.outbox.take());
                let outbox = self.device.open(&self.place)?;
                let first = *self.incarnation.get_or_insert(outbox.incarnation());
                assert_eq!(outbox.incarnation(), first);
                self.outbox = Some(outbox);
            }
            Act::OpenMirror => {
                drop(self.mirror.take());
                let (mirror, found) = mirror::open(&self.place)?;
                // What of it cannot be read is as good as damaged: all of it is pulled again.
                assert!(found == Found::Intact || self.trouble == Trouble::Unreadable, "{found:?}");
                self.mirror = Some(mirror);
            }
            Act::Save(n) => {
                let saved = save(self.outbox(), &format!("form {n}"), 600)?;
                assert_eq!(saved.n, n);
            }
            Act::Audit => self.outbox().append_audit(&[audit()])?,
            Act::Settle(last) => {
                while let Some(batch) =
                    self.outbox().batch(Lane::Care, Shape::Plain { changes: 2, bytes: usize::MAX })?
                {
                    if batch.sent.first_n > last {
                        break;
                    }
                    self.outbox().settle(&batch.sent, &receipt(&batch.sent))?;
                }
            }
            Act::Prune => drop(self.outbox().prune(2, at(100 + WEEK))?),
            Act::Apply(last) => pull(&mut self.mirror, &self.pages[..=last], &self.place)?,
        }
        Ok(())
    }

    fn is_clear(&self, error: &SyncError) -> bool {
        match error {
            SyncError::Outbox(OutboxError::Full | OutboxError::WalFull { .. } | OutboxError::Sqlite(_))
            | SyncError::Outbox(OutboxError::Open(OpenError::Sqlite { .. } | OpenError::NoRoom { .. }))
            | SyncError::Mirror(MirrorError::Full | MirrorError::Sqlite(_))
            | SyncError::Mirror(MirrorError::Open(OpenError::Sqlite { .. } | OpenError::NoRoom { .. })) => {
                true
            }
            // What cannot be read cannot be told from what another key wrote.
            SyncError::Outbox(OutboxError::Open(OpenError::NotReadable { .. })) => {
                self.trouble == Trouble::Unreadable
            }
            SyncError::Outbox(_) | SyncError::Mirror(_) => false,
        }
    }

    fn close(&mut self) {
        drop((self.outbox.take(), self.mirror.take()));
    }

    fn check(&self, place: &Path, after_cut: bool) {
        let outbox = self.device.open(place).unwrap();
        assert_eq!(Some(outbox.incarnation()), self.incarnation);
        let entries = entries(place, outbox.incarnation());
        let care: Vec<_> =
            entries.range((0, 0)..(0, u64::MAX)).map(|((_, n), (done, _))| (*n, *done)).collect();
        assert_eq!(care, [(3, true), (4, true), (5, true), (FORMS, false)]);
        // Whoever presses again after an unclear answer leaves one audit event more.
        assert!(entries.range((1, 0)..(1, u64::MAX)).count() as u64 > FORMS);
        let (mirror, found) = mirror::open(place).unwrap();
        assert_eq!(found, Found::Intact);
        let mut mirror = Some(mirror);
        if after_cut {
            pull(&mut mirror, self.pages, place).unwrap();
        }
        assert_eq!(Shown::of(&mirror.unwrap()), *self.wanted);
    }
}

impl Sync<'_> {
    fn outbox(&self) -> &Outbox {
        self.outbox.as_ref().unwrap()
    }
}

/// Applies the pages that follow the cursor.
fn pull(mirror: &mut Option<Mirror>, pages: &[Step], place: &Path) -> Result<(), MirrorError> {
    let cursor = mirror.as_ref().map(Mirror::cursor).transpose()?.flatten();
    pages.iter().filter(|page| page.ends_after(cursor)).try_for_each(|page| mirror::take(page, mirror, place))
}

fn pages() -> Vec<Step> {
    let page = |number: u64| {
        let mut lines = String::new();
        (1..=8).for_each(|line| mirror::put(&mut lines, number * 8 + line, (number * 8 + line) as u8, 1));
        Step::Apply(mirror::page(&lines), Box::new(mirror::end(1, number * 8 + 8, 24)))
    };
    (0..3).map(page).collect()
}

impl From<OutboxError> for SyncError {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

impl From<MirrorError> for SyncError {
    fn from(error: MirrorError) -> Self {
        Self::Mirror(error)
    }
}

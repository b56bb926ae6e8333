//! What a disk could hold after a power cut.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use crate::Dice;
use crate::recording::{Event, Name, Recording};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is lost.
    Dropped,
    /// All of it is there, as a killed process leaves it.
    Kept,
    /// Each operation by itself is there or lost, later ones too where earlier ones are lost.
    Reordered,
    /// Each sector holds what one of the writes to it left there, or what was there before.
    Torn,
}

impl Outcome {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Kept, Self::Reordered, Self::Torn];
}

/// A disk on which a recording happens again, up to a moment.
#[derive(Debug)]
pub struct Disk<'a> {
    recording: &'a Recording,
    moment: usize,
    files: Vec<File<'a>>,
    names: BTreeMap<Name, usize>,
    synced_names: BTreeMap<Name, usize>,
    renamed: Vec<(Name, Option<usize>)>,
}

#[derive(Debug, Default)]
struct File<'a> {
    synced: Vec<u8>,
    since: Vec<Change<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Write(usize, &'a [u8]),
    Truncate(usize),
}

impl<'a> Disk<'a> {
    /// The disk before anything of the recording happened.
    #[must_use]
    pub fn new(recording: &'a Recording) -> Self {
        let mut disk = Self {
            recording,
            moment: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            renamed: Vec::new(),
        };
        for (name, content) in &recording.before {
            disk.names.insert(name.clone(), disk.files.len());
            disk.files.push(File { synced: content.clone(), since: Vec::new() });
        }
        disk.synced_names = disk.names.clone();
        disk
    }

    /// Lets operations happen until so many have; never back.
    pub fn advance(&mut self, moment: usize) {
        let recording = self.recording;
        let next = recording.events.get(self.moment..moment).unwrap_or_default();
        next.iter().for_each(|event| self.happen(event));
        self.moment = self.moment.max(moment);
    }

    /// Pulls the plug: leaves in an empty directory what is found afterwards.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn cut(&self, outcome: Outcome, dice: &mut Dice, into: &Path) -> io::Result<()> {
        // The file system's journal keeps changes of a directory in their order.
        let renamed = match outcome {
            Outcome::Dropped => 0,
            Outcome::Kept => self.renamed.len(),
            Outcome::Reordered | Outcome::Torn => dice.below(self.renamed.len() + 1),
        };
        let mut names = self.synced_names.clone();
        for (name, file) in self.renamed.iter().take(renamed) {
            match file {
                Some(file) => names.insert(name.clone(), *file),
                None => names.remove(name),
            };
        }
        for (name, file) in names {
            let content = self.files.get(file).map(|file| file.after(outcome, dice));
            std::fs::write(into.join(&*name), content.unwrap_or_default())?;
        }
        Ok(())
    }

    fn happen(&mut self, event: &'a Event) {
        match event {
            Event::Made(name) => {
                let file = self.files.len();
                self.files.push(File::default());
                self.names.insert(name.clone(), file);
                self.renamed.push((name.clone(), Some(file)));
            }
            Event::Wrote { file, offset, bytes } => self.change(file, Change::Write(*offset, bytes)),
            Event::Truncated { file, size } => self.change(file, Change::Truncate(*size)),
            Event::Synced { file, directory } => {
                if let Some(file) = self.file(file) {
                    let since = std::mem::take(&mut file.since);
                    since.into_iter().for_each(|change| change.apply(&mut file.synced));
                }
                if *directory {
                    self.sync_names();
                }
            }
            Event::NotSynced(file) => {
                if let Some(file) = self.file(file) {
                    file.since.clear();
                }
            }
            Event::Deleted { file, directory } => {
                self.names.remove(file);
                self.renamed.push((file.clone(), None));
                if *directory {
                    self.sync_names();
                }
            }
        }
    }

    fn sync_names(&mut self) {
        self.synced_names = self.names.clone();
        self.renamed.clear();
    }

    fn change(&mut self, file: &Name, change: Change<'a>) {
        if let Some(file) = self.file(file) {
            file.since.push(change);
        }
    }

    fn file(&mut self, name: &Name) -> Option<&mut File<'a>> {
        self.names.get(name).and_then(|file| self.files.get_mut(*file))
    }
}

impl File<'_> {
    fn after(&self, outcome: Outcome, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.synced.clone();
        match outcome {
            Outcome::Dropped => {}
            Outcome::Kept => self.since.iter().for_each(|change| change.apply(&mut content)),
            Outcome::Reordered => {
                let kept = self.since.iter().filter(|_| dice.coin());
                kept.for_each(|change| change.apply(&mut content));
            }
            Outcome::Torn => self.tear(&mut content, dice),
        }
        content
    }

    fn tear(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let mut writes: HashMap<usize, usize> = HashMap::new();
        for change in &self.since {
            change.sectors().for_each(|(sector, ..)| *writes.entry(sector).or_default() += 1);
        }
        // In the order of the sectors, so that a seed says the same each time.
        let mut writes: Vec<_> = writes.into_iter().collect();
        writes.sort_unstable();
        let mut reached: HashMap<usize, usize> =
            writes.into_iter().map(|(sector, count)| (sector, dice.below(count + 1))).collect();
        for change in &self.since {
            if let Change::Truncate(_) = change
                && dice.coin()
            {
                change.apply(content);
            }
            for (sector, offset, bytes) in change.sectors() {
                if let Some(left) = reached.get_mut(&sector).filter(|left| **left > 0) {
                    *left -= 1;
                    Change::Write(offset, bytes).apply(content);
                }
            }
        }
    }
}

impl<'a> Change<'a> {
    fn apply(&self, content: &mut Vec<u8>) {
        match *self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if let Some(place) = content.get_mut(offset..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Self::Truncate(size) => content.truncate(size),
        }
    }

    /// The parts of a write that lie in a sector each: which, from where, what.
    fn sectors(self) -> impl Iterator<Item = (usize, usize, &'a [u8])> {
        let (mut offset, mut rest) = match self {
            Self::Write(offset, bytes) => (offset, bytes),
            Self::Truncate(_) => (0, [].as_slice()),
        };
        std::iter::from_fn(move || {
            let (part, after) = rest.split_at_checked(SECTOR - offset % SECTOR).unwrap_or((rest, &[]));
            let found = (offset / SECTOR, offset, part);
            offset += part.len();
            rest = after;
            (!part.is_empty()).then_some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(file: &str, offset: usize, bytes: &[u8]) -> Event {
        Event::Wrote { file: file.into(), offset, bytes: bytes.into() }
    }

    fn synced(file: &str, directory: bool) -> Event {
        Event::Synced { file: file.into(), directory }
    }

    fn found(recording: &Recording, moment: usize, outcome: Outcome, seed: u64) -> Option<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(recording);
        disk.advance(moment);
        disk.cut(outcome, &mut Dice::new(seed), directory.path()).unwrap();
        std::fs::read(directory.path().join("a")).ok()
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_not_may_be() {
        let events =
            vec![Event::Made("a".into()), wrote("a", 0, b"one"), synced("a", true), wrote("a", 0, b"two")];
        let recording = Recording { events, ..Recording::default() };
        assert_eq!(found(&recording, 2, Outcome::Dropped, 1), None, "nor is its name");
        assert_eq!(found(&recording, 2, Outcome::Kept, 1).unwrap(), b"one");
        assert_eq!(found(&recording, 4, Outcome::Dropped, 1).unwrap(), b"one");
        assert_eq!(found(&recording, 4, Outcome::Kept, 1).unwrap(), b"two");
        for outcome in [Outcome::Reordered, Outcome::Torn] {
            let mut seen: Vec<_> = (0..40).map(|seed| found(&recording, 4, outcome, seed).unwrap()).collect();
            seen.sort();
            seen.dedup();
            assert_eq!(seen, [b"one", b"two"], "{outcome:?}");
        }
    }

    #[test]
    fn a_write_tears_between_sectors_and_never_within() {
        let events = vec![
            Event::Made("a".into()),
            wrote("a", 100, &[1; 1_000]),
            synced("a", true),
            wrote("a", 100, &[2; 1_000]),
        ];
        let recording = Recording { events, ..Recording::default() };
        let mut torn = 0;
        for seed in 0..40 {
            let content = found(&recording, 4, Outcome::Torn, seed).unwrap();
            let parts = [&content[100..512], &content[512..1024], &content[1024..1100]];
            assert!(parts.iter().all(|part| part.iter().all(|byte| *byte == part[0])));
            torn += usize::from(parts.iter().any(|part| part[0] != parts[0][0]));
        }
        assert!(torn > 10, "{torn}");
    }

    #[test]
    fn a_deleted_file_comes_back_until_its_directory_is_synced() {
        let deleted = |directory| Event::Deleted { file: "a".into(), directory };
        let of = |directory| Recording {
            before: BTreeMap::from([("a".into(), b"old".to_vec())]),
            events: vec![deleted(directory)],
        };
        assert_eq!(found(&of(false), 1, Outcome::Dropped, 1).unwrap(), b"old");
        assert_eq!(found(&of(false), 1, Outcome::Kept, 1), None);
        assert_eq!(found(&of(true), 1, Outcome::Dropped, 1), None);
    }

    #[test]
    fn what_a_failed_sync_held_is_lost_even_to_the_next_one() {
        let events = vec![
            Event::Made("a".into()),
            wrote("a", 0, b"one"),
            Event::NotSynced("a".into()),
            synced("a", true),
        ];
        let recording = Recording { events, ..Recording::default() };
        assert_eq!(found(&recording, 4, Outcome::Kept, 1).unwrap(), b"");
    }
}

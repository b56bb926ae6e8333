//! A server's feed, as far as a mirror sees it: latest versions, tombstones, digests and refetches.

use std::collections::BTreeMap;

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::wire::pull::Archived;

use super::*;

type Name = (Collection, [u8; 16]);

/// The feed. `sent` is what a stream carries: pages, each with its end.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) epoch: u64,
    pub(super) head: u64,
    /// Which records have left it.
    pub(super) archived: Option<Archived>,
    latest: BTreeMap<Name, (u64, Option<String>)>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { epoch: 1, head: 0, archived: None, latest: BTreeMap::new() }
    }

    /// One with so many patients and records of theirs.
    pub(super) fn of(patients: u8, records: u8) -> Self {
        let mut feed = Self::new();
        for number in 1..=patients {
            feed.put(Collection::Patients, number, &patient(number, &format!("Resident {number}"), None));
        }
        for number in 1..=records {
            feed.put(Collection::Records, number, &record(number, 1, number.into()));
        }
        feed
    }

    pub(super) fn put(&mut self, collection: Collection, number: u8, body: &impl Serialize) {
        self.head += 1;
        let body = serde_json::to_string(body).unwrap();
        self.latest.insert((collection, [number; 16]), (self.head, Some(body)));
    }

    /// Something that is no document of its collection.
    pub(super) fn spoil(&mut self, collection: Collection, number: u8) {
        self.put(collection, number, &serde_json::json!({"shape": "of the future"}));
    }

    pub(super) fn bury(&mut self, collection: Collection, number: u8) {
        if let Some(document) = self.latest.get_mut(&(collection, [number; 16])) {
            self.head += 1;
            *document = (self.head, None);
        }
    }

    /// The oldest records leave, so many of them; those with an even number have to stay and come again.
    pub(super) fn archive(&mut self, most: usize) {
        let records =
            self.latest.iter().filter(|((of, _), (_, body))| *of == Collection::Records && body.is_some());
        let mut oldest: Vec<_> = records.map(|(name, (seq, _))| (*seq, *name)).collect();
        oldest.sort_unstable();
        oldest.truncate(most);
        let Some((through, _)) = oldest.last().copied() else { return };
        for (_, name) in oldest {
            let document = self.latest.remove(&name).unwrap();
            if name.1[0].is_multiple_of(2) {
                self.head += 1;
                self.latest.insert(name, (self.head, document.1));
            }
        }
        self.head += 1;
        self.archived = Some(Archived { through, before: Timestamp::from_millis(1) });
    }

    /// The server's past changed: all is numbered anew.
    pub(super) fn raise_epoch(&mut self) {
        self.epoch += 1;
        self.archived = None;
        self.latest.retain(|_, (_, body)| body.is_some());
        self.head = 0;
        for (seq, _) in self.latest.values_mut() {
            self.head += 1;
            *seq = self.head;
        }
    }

    pub(super) fn digest(&self, of: Collection) -> Digest {
        let mut digest = Digest::default();
        for ((collection, id), (seq, body)) in &self.latest {
            if let (true, Some(body)) = (*collection == of, body) {
                digest.add(Element::of(*collection, id, *seq, body.as_bytes()));
            }
        }
        digest
    }

    /// The pages that a stream begins with, up to the head.
    pub(super) fn stream(&self, beginning: &Beginning, page_size: usize) -> Vec<(Page, PageEnd)> {
        let from =
            beginning.cursor.filter(|cursor| cursor.epoch == self.epoch).map_or(0, |cursor| cursor.seq);
        let mut pages = Vec::new();
        let asked = |name: &Name, seq: u64| seq <= from && beginning.refetch.contains(&name.0);
        let mut again: Vec<_> = self.latest.iter().filter(|(name, (seq, _))| asked(name, *seq)).collect();
        again.retain(|(_, (_, body))| body.is_some());
        if from > 0 && !beginning.refetch.is_empty() {
            for documents in again.chunks(page_size) {
                pages.push((page(documents), self.end(from)));
            }
            pages.push((Page::default(), self.end(from)));
            let names = beginning.refetch.iter().map(|collection| collection.name().to_owned());
            pages.last_mut().unwrap().1.refetched = names.collect();
        }
        let mut news: Vec<_> = self.latest.iter().filter(|(_, (seq, _))| *seq > from).collect();
        news.sort_by_key(|(_, (seq, _))| *seq);
        for documents in news.chunks(page_size) {
            let seq = documents.last().unwrap().1.0;
            pages.push((page(documents), self.end(seq)));
        }
        pages.push((Page::default(), self.end(self.head)));
        for (_, end) in pages.iter_mut().filter(|(_, end)| end.reaches_head()) {
            end.archived = self.archived;
            let digests = Collection::ALL.map(|of| (of.name().to_owned(), self.digest(of)));
            end.digests = digests.into_iter().collect();
            end.digests.insert("thoughts".to_owned(), Digest::default());
        }
        pages
    }

    /// Runs streams until one reaches the head and nothing more is to be fetched.
    pub(super) fn catch_up(&self, mirror: &Mirror) {
        for _ in 0..4 {
            let beginning = mirror.beginning().unwrap();
            for (page, end) in self.stream(&beginning, 3) {
                mirror.apply(&page, &end).unwrap();
            }
            if mirror.beginning().unwrap().refetch.is_empty() {
                return;
            }
        }
        panic!("it is fetched again without end");
    }

    /// Whether the mirror holds exactly the latest versions, and its digests say so.
    pub(super) fn assert_equal(&self, mirror: &Mirror) {
        let live = self.latest.iter().filter_map(|((collection, id), (seq, body))| {
            Some((schema::number(*collection), *id, signed(*seq), body.clone()?))
        });
        let expected: Vec<(i64, [u8; 16], i64, String)> = live.collect();
        let held = mirror.reading(|reader| {
            let mut statement = reader.prepare(
                "SELECT collection, id, seq, CAST(body AS TEXT) FROM documents ORDER BY collection, id",
            )?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let mut expected = expected;
        expected.sort();
        assert_eq!(held.unwrap(), expected);
        for copy in mirror.reading(copies::load).unwrap() {
            assert_eq!(copy.digest, self.digest(copy.collection), "{:?}", copy.collection);
        }
        assert_eq!(mirror.differing().unwrap(), []);
    }

    fn end(&self, seq: u64) -> PageEnd {
        end(self.epoch, seq, self.head)
    }
}

fn page(documents: &[(&Name, &(u64, Option<String>))]) -> Page {
    let mut page = Page::default();
    for ((collection, id), (seq, body)) in documents {
        let id = RecordId::from_bytes(*id);
        match body {
            Some(body) => {
                let body: Box<serde_json::value::RawValue> = serde_json::from_str(body).unwrap();
                put(&mut page, *collection, id, *seq, &body);
            }
            None => bury(&mut page, *collection, id, *seq),
        }
    }
    page
}

//! A page of the feed, checked line by line as it arrives, before any of it touches the file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use carepost_protocol::digest::Element;
use carepost_protocol::id::RecordId;
use carepost_protocol::record::{
    BadgeDocument, BadgeKeysDocument, Collection, FacilityDocument, PatientDocument, RecordDocument,
    ReviewDocument, UserDocument,
};
use carepost_protocol::wire::heartbeat::StepReason;
use carepost_protocol::wire::pull::{Line, MAX_PAGE_DOCUMENTS};
use carepost_protocol::workflow::Workflow;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::schema;

/// The most names of collections that a page brings and this build does not know.
const MAX_STRANGERS: usize = 32;
/// The longest such name.
const MAX_NAME: usize = 64;

/// Why a page is none. The peer is broken.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page has more documents than protocol v1 allows.
    #[error("a page of the feed has more than {MAX_PAGE_DOCUMENTS} documents")]
    TooMany,
}

/// The documents of one page. Collect lines until the page's end, then [`apply`](super::Mirror::apply)
/// and [`clear`](Self::clear) it; its memory is used again. A document that cannot be taken is stepped
/// over: it is named, and holds up none behind it.
#[derive(Default)]
pub struct Page {
    entries: Vec<Entry>,
    text: Vec<u8>,
    strangers: BTreeMap<String, u64>,
    nameless: u64,
}

struct Entry {
    collection: Collection,
    id: [u8; 16],
    seq: u64,
    what: What<Range<usize>>,
}

/// A document as it is written into the file.
pub(super) struct Document<'a> {
    pub(super) collection: Collection,
    pub(super) id: &'a [u8; 16],
    pub(super) seq: u64,
    pub(super) what: What<&'a [u8]>,
}

/// What a line says of a document.
#[derive(Clone)]
pub(super) enum What<B> {
    /// Its latest version: the exact bytes as sent, their part in the digest, and what it is found by.
    Is {
        body: B,
        element: Element,
        keys: Keys,
    },
    Gone,
    /// Its latest version cannot be taken.
    Over(Over),
}

/// A document that cannot be taken.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    pub reason: StepReason,
    pub bytes: u64,
    /// Its part in the digest, by which the copy is proven equal all the same; none where it is unknown.
    pub element: Option<Element>,
}

/// What a document is found by besides its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) patient: Option<[u8; 16]>,
    pub(super) recorded_at: Option<i64>,
    pub(super) lookup: Option<String>,
    pub(super) amends: Option<[u8; 16]>,
}

impl Keys {
    /// Reads the whole document: one that could not be read later would spoil every list that it is in.
    pub(super) fn of(collection: Collection, id: &[u8; 16], body: &[u8]) -> serde_json::Result<Self> {
        fn is<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<Keys> {
            serde_json::from_slice::<T>(body).map(|_| Keys::default())
        }
        match collection {
            Collection::Facilities if id == BadgeKeysDocument::ID.as_bytes() => is::<BadgeKeysDocument>(body),
            Collection::Facilities => is::<FacilityDocument>(body),
            Collection::Users => is::<UserDocument>(body),
            Collection::Workflows => is::<Workflow>(body),
            Collection::Patients => is::<PatientDocument>(body),
            Collection::Badges => {
                let badge: BadgeDocument = serde_json::from_slice(body)?;
                Ok(Self { lookup: Some(badge.lookup), ..Self::default() })
            }
            Collection::Records => {
                let record: RecordDocument<ReadableMap> = serde_json::from_slice(body)?;
                Ok(Self {
                    patient: Some(*record.patient_id.as_bytes()),
                    recorded_at: Some(record.recorded_at.as_millis()),
                    // What corrects itself corrects nothing: it is shown as any other.
                    amends: record.amends.map(|of| *of.as_bytes()).filter(|of| of != id),
                    lookup: None,
                })
            }
            Collection::Reviews => {
                let review: ReviewDocument = serde_json::from_slice(body)?;
                let (patient, lookup) = (*review.patient_id.as_bytes(), schema::lookup_of(&review));
                Ok(Self { patient: Some(patient), lookup, ..Self::default() })
            }
        }
    }
}

/// Answers that can be read, and are not kept: a first copy brings tens of thousands, and building each to drop it
/// took a fifth of its time.
struct ReadableMap;

impl<'de> Deserialize<'de> for ReadableMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading).map(|()| Self)
    }
}

/// Any JSON value that can be read.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading).map(|()| Self)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answers")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_entry::<Readable, Readable>()?.is_some() {}
        Ok(())
    }
}

impl Page {
    /// The documents of these lines, each ended by a line feed.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn from_lines(lines: &[u8]) -> Result<Self, PageError> {
        let mut page = Self::default();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => page.push(&line)?,
                Err(_) => page.nameless += 1,
            }
        }
        Ok(page)
    }

    /// Adds a document's line.
    ///
    /// # Errors
    /// See [`PageError`]; the page is then to be dropped.
    pub fn push(&mut self, line: &Line<'_>) -> Result<(), PageError> {
        let known = line.collection.as_deref().map(|name| Collection::from_name(name).ok_or(name));
        if let Some(Err(stranger)) = known {
            self.meet(stranger, line.seq.unwrap_or(0));
            return Ok(());
        }
        // Every document's id is a UUID; which kind does not matter here.
        let id = line.id.as_deref().and_then(|id| id.parse::<RecordId>().ok());
        let (Some(Ok(known)), Some(id), Some(seq)) = (known, id, line.seq) else {
            // Which document that was to be nobody knows: what is missing, the digest says.
            self.nameless += 1;
            return Ok(());
        };
        let what = match (line.body, line.deleted) {
            (Some(body), false) => self.is(known, id, seq, body.get().as_bytes()),
            (None, true) => What::Gone,
            (Some(_), true) | (None, false) => {
                What::Over(Over { reason: StepReason::NotUnderstood, bytes: 0, element: None })
            }
        };
        self.add(Entry { collection: known, id: *id.as_bytes(), seq, what })
    }

    /// Adds a document that the stream stepped over already.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn step_over(
        &mut self,
        collection: &str,
        id: RecordId,
        seq: u64,
        over: Over,
    ) -> Result<(), PageError> {
        let Some(known) = Collection::from_name(collection) else {
            self.meet(collection, seq);
            return Ok(());
        };
        self.add(Entry { collection: known, id: *id.as_bytes(), seq, what: What::Over(over) })
    }

    /// How many documents it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes of documents it brings.
    pub(super) const fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Empties it for the next page.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.strangers.clear();
        self.nameless = 0;
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        self.entries.iter().map(|Entry { collection, id, seq, what }| Document {
            collection: *collection,
            id,
            seq: *seq,
            what: match what {
                What::Is { body, element, keys } => What::Is {
                    body: self.text.get(body.clone()).unwrap_or_default(),
                    element: *element,
                    keys: keys.clone(),
                },
                What::Gone => What::Gone,
                What::Over(over) => What::Over(*over),
            },
        })
    }

    /// The collections that this build does not know, each with the last place of the feed that named it.
    pub(super) const fn strangers(&self) -> &BTreeMap<String, u64> {
        &self.strangers
    }

    /// How many lines named no document.
    pub(super) const fn nameless(&self) -> u64 {
        self.nameless
    }

    fn add(&mut self, entry: Entry) -> Result<(), PageError> {
        if self.entries.len() >= MAX_PAGE_DOCUMENTS {
            return Err(PageError::TooMany);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// A newer server's collection: nothing here could show it.
    fn meet(&mut self, collection: &str, seq: u64) {
        let name: String = collection.chars().take(MAX_NAME).collect();
        if self.strangers.len() < MAX_STRANGERS || self.strangers.contains_key(&name) {
            self.strangers.insert(name, seq);
        }
    }

    fn is(&mut self, collection: Collection, id: RecordId, seq: u64, body: &[u8]) -> What<Range<usize>> {
        let element = Element::of(collection, id.as_bytes(), seq, body);
        let Ok(keys) = Keys::of(collection, id.as_bytes(), body) else {
            let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            return What::Over(Over { reason: StepReason::NotUnderstood, bytes, element: Some(element) });
        };
        let start = self.text.len();
        self.text.extend_from_slice(body);
        What::Is { body: start..self.text.len(), element, keys }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies are health data.
        f.debug_struct("Page").field("documents", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_readable_exactly_when_they_can_be_read() {
        let record = |values: &str| {
            let id = "019a0000-0000-7000-8000-000000000001";
            format!(
                r#"{{"id":"{id}","patient_id":"{id}","workflow":"vitals","schema_version":1,"recorded_by":"{id}",
                "recorded_at":"2026-05-01T14:10:00Z","clock_quality":"synced","values":{values}}}"#
            )
        };
        let id = RecordId::from_bytes([1; 16]);
        for values in [
            "{}",
            r#"{"a":1,"b":-1.5,"c":null,"d":true,"e":["x",{"f":""}],"g":"\u00e9\n"}"#,
            "[]",
            "null",
            "7",
            r#""x""#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":[1,}"#,
            r#"{"a":{"b":1e400}}"#,
        ] {
            let body = record(values);
            let whole = serde_json::from_str::<RecordDocument>(&body).is_ok();
            let read = Keys::of(Collection::Records, id.as_bytes(), body.as_bytes()).is_ok();
            assert_eq!(read, whole, "{values}");
        }
    }
}

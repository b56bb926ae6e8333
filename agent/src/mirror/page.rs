//! A page of the feed, checked line by line as it arrives, before any of it touches the file.

use std::borrow::Cow;
use std::ops::Range;

use carepost_protocol::digest::Element;
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Line, MAX_PAGE_DOCUMENTS};
use serde::Deserialize;

/// Why a line does not belong in a page. The peer is broken or newer than this build.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A line is not of the stream's form.
    #[error("a line of the page is not of the stream's form: {0}; pull again")]
    NotALine(serde_json::Error),
    /// It has no collection, id or seq, or neither a body nor a tombstone.
    #[error("a line of the feed is not a document")]
    NotADocument,
    /// Its id is not a UUID.
    #[error("a document of the feed has the id {0:?}, which is not a UUID")]
    NotAnId(String),
    /// Its body lacks what its collection is looked up by.
    #[error("a document of {collection} lacks what it is found by: {source}")]
    NotUnderstood {
        /// The collection.
        collection: &'static str,
        /// What is missing.
        source: serde_json::Error,
    },
    /// The page has more documents than protocol v1 allows.
    #[error("a page of the feed has more than {MAX_PAGE_DOCUMENTS} documents")]
    TooMany,
}

/// The documents of one page. Collect lines until the page's end, then [`apply`](super::Mirror::apply)
/// and [`clear`](Self::clear) it; its memory is used again.
#[derive(Default)]
pub struct Page {
    entries: Vec<Entry>,
    text: Vec<u8>,
}

struct Entry {
    collection: Collection,
    id: [u8; 16],
    seq: u64,
    patient: Option<[u8; 16]>,
    recorded_at: Option<i64>,
    lookup: Option<Range<usize>>,
    body: Option<(Range<usize>, Element)>,
}

/// A document as it is written into the file.
pub(super) struct Document<'a> {
    pub(super) collection: Collection,
    pub(super) id: &'a [u8; 16],
    pub(super) seq: u64,
    pub(super) patient: Option<&'a [u8; 16]>,
    pub(super) recorded_at: Option<i64>,
    pub(super) lookup: Option<&'a str>,
    /// The exact bytes as sent, with their part in the digest; none when the document is gone.
    pub(super) body: Option<(&'a [u8], Element)>,
}

/// What a document is found by besides its id.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Keys<'a> {
    pub(super) patient: Option<[u8; 16]>,
    pub(super) recorded_at: Option<i64>,
    pub(super) lookup: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RecordKeys {
    patient_id: PatientId,
    recorded_at: Timestamp,
}

#[derive(Deserialize)]
struct ReviewKeys {
    patient_id: PatientId,
}

#[derive(Deserialize)]
struct BadgeKeys<'a> {
    #[serde(borrow)]
    lookup: Cow<'a, str>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(collection: Collection, body: &'a [u8]) -> serde_json::Result<Self> {
        Ok(match collection {
            Collection::Records => {
                let keys: RecordKeys = serde_json::from_slice(body)?;
                Self {
                    patient: Some(*keys.patient_id.as_bytes()),
                    recorded_at: Some(keys.recorded_at.as_millis()),
                    lookup: None,
                }
            }
            Collection::Reviews => {
                let keys: ReviewKeys = serde_json::from_slice(body)?;
                Self { patient: Some(*keys.patient_id.as_bytes()), ..Self::default() }
            }
            Collection::Badges => {
                let keys: BadgeKeys<'a> = serde_json::from_slice(body)?;
                Self { lookup: Some(keys.lookup), ..Self::default() }
            }
            Collection::Facilities | Collection::Users | Collection::Workflows | Collection::Patients => {
                Self::default()
            }
        })
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
            page.push(&serde_json::from_slice(line).map_err(PageError::NotALine)?)?;
        }
        Ok(page)
    }

    /// Adds a document's line.
    ///
    /// # Errors
    /// See [`PageError`]; the page is then to be dropped.
    pub fn push(&mut self, line: &Line<'_>) -> Result<(), PageError> {
        let (Some(collection), Some(id), Some(seq)) = (&line.collection, line.id.as_deref(), line.seq) else {
            return Err(PageError::NotADocument);
        };
        // A newer server's: nothing here could show it.
        let Some(collection) = Collection::from_name(collection) else { return Ok(()) };
        if self.entries.len() >= MAX_PAGE_DOCUMENTS {
            return Err(PageError::TooMany);
        }
        // Every document's id is a UUID; which kind does not matter here.
        let id: RecordId = id.parse().map_err(|_| PageError::NotAnId(id.to_owned()))?;
        let mut entry = Entry {
            collection,
            id: *id.as_bytes(),
            seq,
            patient: None,
            recorded_at: None,
            lookup: None,
            body: None,
        };
        match (line.body, line.deleted) {
            (Some(body), false) => self.take_body(&mut entry, body.get().as_bytes())?,
            (None, true) => {}
            (Some(_), true) | (None, false) => return Err(PageError::NotADocument),
        }
        self.entries.push(entry);
        Ok(())
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

    /// Empties it for the next page.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        let text = |range: &Range<usize>| self.text.get(range.clone());
        self.entries.iter().map(move |entry| Document {
            collection: entry.collection,
            id: &entry.id,
            seq: entry.seq,
            patient: entry.patient.as_ref(),
            recorded_at: entry.recorded_at,
            lookup: entry.lookup.as_ref().and_then(text).and_then(|text| std::str::from_utf8(text).ok()),
            body: entry.body.as_ref().and_then(|(range, element)| Some((text(range)?, *element))),
        })
    }

    fn take_body(&mut self, entry: &mut Entry, body: &[u8]) -> Result<(), PageError> {
        let collection = entry.collection.name();
        let not_understood = |source| PageError::NotUnderstood { collection, source };
        let keys = Keys::of(entry.collection, body).map_err(not_understood)?;
        entry.patient = keys.patient;
        entry.recorded_at = keys.recorded_at;
        entry.lookup = keys.lookup.map(|lookup| self.keep(lookup.as_bytes()));
        let element = Element::of(entry.collection, &entry.id, entry.seq, body);
        entry.body = Some((self.keep(body), element));
        Ok(())
    }

    fn keep(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        start..self.text.len()
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies are health data.
        f.debug_struct("Page").field("documents", &self.entries.len()).finish_non_exhaustive()
    }
}

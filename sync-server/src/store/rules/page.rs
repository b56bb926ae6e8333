//! The feed reader: reads a facility's feed, page by page, as a view shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use carepost_protocol::record::{BadgeKeysDocument, Collection};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Archived, Cursor, PageEnd};

use super::feed_writer::digests;
use super::sync_position::Prover;
use super::view::View;
use crate::store::column::json;
use crate::store::engine::{Params, Tx, params};
use crate::store::row::{row, select};
use crate::store::{Page, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// About how many bytes a page holds at most; the document that reaches it is still in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a page is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// What of the feed is sent.
    pub view: View,
    /// How often that was changed: a cursor's epoch is the feed's and this together, so that one from
    /// before a change is refused.
    pub view_changes: u64,
    /// How many documents the view may have.
    pub most_documents: u64,
    /// After which place; none is the beginning.
    pub after: Option<Cursor>,
    /// At most so many documents are read.
    pub limit: usize,
    /// Whether the asker was at the head before this page: then only the digests of what moved are told.
    pub was_at_head: bool,
}

/// What is asked for when collections are sent again from their beginning.
#[derive(Debug, Clone)]
pub struct RefetchRequest {
    pub collections: Vec<Collection>,
    /// Up to which place of the feed: the device's own, which stays where it is.
    pub cursor: Cursor,
    /// After which `seq` this page begins.
    pub after: u64,
    /// At most so many documents are sent.
    pub limit: usize,
    /// As in [`PageRequest::view`].
    pub view: View,
    /// As in [`PageRequest::view_changes`].
    pub view_changes: u64,
}

row! {
    /// Where a feed ends, and what was purged, counted and archived of it.
    struct Head {
        cursor: Cursor = "epoch, seq" by cursor,
        digested: u64,
        horizon: u64,
        archived: Option<Archived> = "archived, archived_before" by archived,
        /// The place that the latest archiving took.
        archived_seq: u64,
    }
}

fn cursor((epoch, seq): (u64, u64)) -> Cursor {
    Cursor { epoch, seq }
}

fn archived((through, before): (u64, Timestamp)) -> Option<Archived> {
    (through > 0).then_some(Archived { through, before })
}

impl Head {
    fn read(tx: &Tx<'_>, view_changes: u64) -> Result<Self> {
        let found: Option<Self> = tx.first(select!(Head, "feeds"), params![])?;
        let mut head = found.ok_or(StoreError::NotFound("facility"))?;
        head.cursor.epoch = head.cursor.epoch.saturating_add(view_changes);
        Ok(head)
    }

    /// The end of a view's page at `cursor`, with the proof of it: of the feed's own epoch, for a view may change.
    fn end(
        &self,
        tx: &Tx<'_>,
        (view, view_changes): (View, u64),
        cursor: Cursor,
        prover: &Prover,
    ) -> Result<PageEnd> {
        let own = Cursor { epoch: cursor.epoch.saturating_sub(view_changes), ..cursor };
        let proof = Some(prover.prove(tx.facility_scope()?.facility(), own));
        let phi_mode = view.phi_mode();
        Ok(PageEnd { proof, phi_mode, ..PageEnd::new(cursor, self.cursor.seq, tx.now()) })
    }

    fn check(&self, cursor: Cursor) -> Result<()> {
        let served = cursor.epoch == self.cursor.epoch && cursor.seq <= self.cursor.seq;
        if served { Ok(()) } else { Err(StoreError::CursorRefused { expects: None }) }
    }
}

/// Refuses a cursor from before tombstones that are gone.
pub(in crate::store) fn check_horizon(tx: &Tx<'_>, cursor: Cursor) -> Result<()> {
    if cursor.seq < Head::read(tx, 0)?.horizon {
        Err(StoreError::CursorRefused { expects: None })
    } else {
        Ok(())
    }
}

/// Whether a badge comes after a place and before the keys that it is known by: it is to be keyed anew.
pub(in crate::store) const COMES_BEFORE_KEYS: &str = "SELECT 1 FROM documents
    WHERE collection = 'badges' AND seq > ?1 AND seq < (
        SELECT seq FROM documents WHERE collection = 'facilities' AND id = ?2) ORDER BY seq LIMIT 1";

/// The next page of the feed; none when the view's digests have to be counted first, or badges keyed that would come
/// before their keys: a device that stopped between the two would know nobody by them.
pub(in crate::store) fn read(tx: &Tx<'_>, asked: &PageRequest, prover: &Prover) -> Result<Option<Page>> {
    let head = Head::read(tx, asked.view_changes)?;
    let after = asked.after.unwrap_or(Cursor { seq: 0, ..head.cursor });
    head.check(after)?;
    let keys = BadgeKeysDocument::ID;
    if head.digested & asked.view.bit() == 0 || tx.exists(COMES_BEFORE_KEYS, params![after.seq, keys])? {
        return Ok(None);
    }
    let known = digests(tx, asked.view)?;
    let documents = known.values().map(|digest| digest.count).sum();
    if documents > asked.most_documents {
        return Err(StoreError::OverBudget { documents, most: asked.most_documents });
    }
    let mut lines = Lines::new(asked.view);
    let sql = "SELECT collection, id, seq, body FROM documents WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let (last, full) = lines.fill(tx, sql, params![after.seq, asked.limit], after.seq, asked.limit)?;
    let seq = if full { last } else { head.cursor.seq };
    let mut end = head.end(tx, (asked.view, asked.view_changes), Cursor { seq, ..head.cursor }, prover)?;
    if end.reaches_head() {
        end.archived = head.archived;
        if after.seq < head.archived_seq && asked.view.shows(Collection::Records) {
            lines.moved.insert(Collection::Records);
        }
        let named = Collection::ALL.iter().filter(|name| !asked.was_at_head || lines.moved.contains(name));
        // A collection that the view hides, or that never had a document, comes to nothing.
        let told = named.map(|name| (name.name().to_owned(), known.get(name).copied().unwrap_or_default()));
        end.digests = told.collect();
    }
    lines.end(end).map(Some)
}

/// A page of what collections hold up to the device's cursor, and after which `seq` the next one begins;
/// the last names the collections.
pub(in crate::store) fn read_refetch(
    tx: &Tx<'_>,
    asked: &RefetchRequest,
    prover: &Prover,
) -> Result<(Page, u64)> {
    let head = Head::read(tx, asked.view_changes)?;
    head.check(asked.cursor)?;
    let [a, b, c, d, e, f, g] =
        Collection::ALL.map(|name| asked.collections.contains(&name).then_some(name.name()));
    let mut lines = Lines::new(asked.view);
    let sql =
        "SELECT collection, id, seq, body FROM documents WHERE seq > ?1 AND seq <= ?2 AND body IS NOT NULL
            AND collection IN (?3, ?4, ?5, ?6, ?7, ?8, ?9) ORDER BY seq LIMIT ?10";
    let params = params![asked.after, asked.cursor.seq, a, b, c, d, e, f, g, asked.limit];
    let (last, full) = lines.fill(tx, sql, params, asked.after, asked.limit)?;
    let mut end = head.end(tx, (asked.view, asked.view_changes), asked.cursor, prover)?;
    end.archived = head.archived.filter(|_| end.reaches_head());
    if !full {
        end.refetched = asked.collections.iter().map(|name| name.name().to_owned()).collect();
    }
    Ok((lines.end(end)?, last))
}

/// The lines of a page.
struct Lines {
    view: View,
    text: String,
    moved: BTreeSet<Collection>,
}

impl Lines {
    fn new(view: View) -> Self {
        Self { view, text: String::new(), moved: BTreeSet::new() }
    }

    /// Writes the documents that a statement finds until the page is full; gives the `seq` of the last, which is
    /// `after` where there is none, and whether there may be more.
    fn fill(
        &mut self,
        tx: &Tx<'_>,
        sql: &'static str,
        params: Params<'_>,
        after: u64,
        limit: usize,
    ) -> Result<(u64, bool)> {
        let (mut read, mut last, mut full) = (0, after, limit == 0);
        tx.each(sql, params, |row| {
            let (collection, id, seq, body) = row.read()?;
            self.write(collection, id, seq, body)?;
            last = seq;
            read += 1;
            full = read >= limit || self.text.len() >= PAGE_BYTES;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok((last, full))
    }

    /// A document's line, as [`carepost_protocol::wire::pull::Line`] writes it: the body goes as the view
    /// has it, in the full view without being read. Of one that the view does not send the device keeps no version
    /// from before either.
    fn write(&mut self, name: &str, id: [u8; 16], seq: u64, body: Option<&str>) -> Result<()> {
        let unreadable = || StoreError::Unreadable("documents");
        let collection = Collection::from_name(name).ok_or_else(unreadable)?;
        if !self.view.shows(collection) {
            return Ok(());
        }
        self.moved.insert(collection);
        let id = uuid::Uuid::from_bytes(id);
        let lines = &mut self.text;
        let written = match body.and_then(|body| self.view.body(collection, body)) {
            Some(body) => {
                writeln!(lines, r#"{{"collection":"{name}","id":"{id}","seq":{seq},"body":{body}}}"#)
            }
            None => writeln!(lines, r#"{{"collection":"{name}","id":"{id}","seq":{seq},"deleted":true}}"#),
        };
        written.map_err(|_| unreadable())
    }

    fn end(mut self, end: PageEnd) -> Result<Page> {
        self.text.push_str("{\"page\":");
        self.text.push_str(&json(&end)?);
        self.text.push_str("}\n");
        Ok(Page { lines: self.text.into_bytes(), end })
    }
}

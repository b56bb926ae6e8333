//! Reads a facility's feed, page by page, as a view shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use carepost_protocol::record::Collection;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use rusqlite::{Row, params};

use super::column::{count, count_at, json};
use super::engine::Tx;
use super::publish::digests;
use super::view::View;
use super::{Page, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// About how many bytes a page holds at most; the document that reaches it is still in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a page is asked for.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    /// As what the feed is to be seen.
    pub view: View,
    /// After which place; none is the beginning.
    pub after: Option<Cursor>,
    /// At most so many documents are read.
    pub limit: usize,
    /// Whether the asker was at the head before this page: then only the digests of what moved are told.
    pub was_at_head: bool,
}

/// The next page of the feed; none when the view's digests have to be counted first.
pub(super) fn read(tx: &Tx<'_>, asked: &PageRequest) -> Result<Option<Page>> {
    let sql = "SELECT epoch, seq, digested FROM feeds";
    let feed = tx.first(sql, [], |row| {
        Ok((Cursor { epoch: count_at(row, 0)?, seq: count_at(row, 1)? }, count_at(row, 2)?))
    })?;
    let (head, digested) = feed.ok_or(StoreError::NotFound("facility"))?;
    let after = asked.after.unwrap_or(Cursor { epoch: head.epoch, seq: 0 });
    if after.epoch != head.epoch || after.seq > head.seq {
        return Err(StoreError::CursorRefused);
    }
    if digested & asked.view.bit() == 0 {
        return Ok(None);
    }
    let mut lines = Lines { view: asked.view, text: String::new(), moved: BTreeSet::new() };
    let (mut read, mut last) = (0, after.seq);
    let mut statement =
        tx.prepare("SELECT collection, id, seq, body FROM documents WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows =
        statement.query(params![count(after.seq), i64::try_from(asked.limit).unwrap_or(i64::MAX)])?;
    let mut full = asked.limit == 0;
    while let Some(row) = rows.next()? {
        last = count_at(row, 2)?;
        lines.write(row, last)?;
        read += 1;
        if read >= asked.limit || lines.text.len() >= PAGE_BYTES {
            full = true;
            break;
        }
    }
    let seq = if full { last } else { head.seq };
    let mut end = PageEnd::new(Cursor { epoch: head.epoch, seq }, head.seq, tx.now());
    if end.reaches_head() {
        let known = digests(tx, asked.view)?;
        let named = Collection::ALL.iter().filter(|name| !asked.was_at_head || lines.moved.contains(name));
        // A collection that the view hides, or that never had a document, comes to nothing.
        let told = named.map(|name| (name.name().to_owned(), known.get(name).copied().unwrap_or_default()));
        end.digests = told.collect();
    }
    lines.end(end).map(Some)
}

/// The lines of a page.
struct Lines {
    view: View,
    text: String,
    moved: BTreeSet<Collection>,
}

impl Lines {
    /// A document's line, as [`carepost_protocol::wire::pull::Line`] writes it: the body goes as the view
    /// has it, in the full view without being read.
    fn write(&mut self, row: &Row<'_>, seq: u64) -> Result<()> {
        let unreadable = || StoreError::Unreadable("documents");
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let collection = Collection::from_name(name).ok_or_else(unreadable)?;
        if !self.view.shows(collection) {
            return Ok(());
        }
        self.moved.insert(collection);
        let id = uuid::Uuid::from_bytes(row.get(1)?);
        let lines = &mut self.text;
        let written = match row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)? {
            Some(body) => {
                let body = self.view.body(collection, body)?;
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

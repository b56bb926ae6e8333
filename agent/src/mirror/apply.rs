//! Applying a page. Rows, tombstones, digests and cursor are one transaction.

use std::sync::atomic::Ordering;

use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::copies::{self, Copy, Finding, FoundBy, pass_and_element};
use super::kept::Kept;
use super::page::What;
use super::stepped::{self, Passed};
use super::{
    FEW_BYTES, LAST_MIB, Mirror, MirrorError, Page, RESERVE_MIB, revoked, schema, signed, state, window,
};

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The mirror holds it, and the cursor is at its end.
    Advanced,
    /// It ends before the cursor: a late page, left out so that no row goes back in time.
    Behind,
}

/// What a page led to, most of it one that reached the head.
#[derive(Default)]
struct AtHead {
    swept: bool,
    differs: bool,
    mended: bool,
    /// Something was stepped over that was not before.
    news: bool,
}

impl Mirror {
    /// Applies a page. Applying it again is harmless. Where the page says what a collection should come
    /// to, the copy is compared ([`Mirror::untold`]).
    ///
    /// # Errors
    /// [`MirrorError::OtherEpoch`] when it does not belong to the mirror's epoch: then
    /// [`refetch`](Self::refetch). [`MirrorError::BegunAnew`] when the mirror was made anew since the
    /// page's stream began. [`MirrorError::NoRoom`] while less of the disk is free than what is charted may need.
    pub fn apply(&self, page: &Page, end: &PageEnd) -> Result<Applied, MirrorError> {
        let free_mib = self.free_mib();
        let written = self.writing(|writer| {
            if self.begun_anew.load(Ordering::Acquire) {
                return Err(MirrorError::BegunAnew);
            }
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(before) = state::cursor(&transaction)? {
                if end.cursor.epoch != before.epoch {
                    return Err(MirrorError::OtherEpoch { ours: before.epoch, theirs: end.cursor.epoch });
                }
                if end.cursor.seq < before.seq {
                    return Ok((Applied::Behind, AtHead::default()));
                }
            }
            let copies = copies::load(&transaction)?;
            if free_mib < leaves(page, &copies) {
                return Err(MirrorError::NoRoom);
            }
            let at_head = write(&transaction, page, end, copies)?;
            transaction.commit()?;
            if at_head.swept {
                writer.execute_batch("PRAGMA shrink_memory")?;
            }
            Ok((Applied::Advanced, at_head))
        });
        let may_differ = match &written {
            // A commit that failed may have come about.
            Err(_) => true,
            Ok((Applied::Behind, _)) => false,
            Ok((Applied::Advanced, at_head)) => at_head.swept || Kept::is_in(page),
        };
        if may_differ {
            self.kept.give_up();
        }
        let (applied, at_head) = written?;
        if at_head.differs {
            self.want_more();
        } else if at_head.mended || at_head.news {
            self.news.notify_one();
        }
        Ok(applied)
    }
}

/// How much of the disk has to be free for a page, in MiB. What only goes needs none.
fn leaves(page: &Page, copies: &[Copy]) -> u64 {
    match page.bytes() {
        0 => 0,
        bytes if bytes > FEW_BYTES && copies.iter().all(Copy::is_whole) => RESERVE_MIB,
        _ => LAST_MIB,
    }
}

fn write(
    connection: &Connection,
    page: &Page,
    end: &PageEnd,
    before: Vec<Copy>,
) -> Result<AtHead, MirrorError> {
    let mut copies = before.clone();
    // Nobody is but in bad times.
    let is_any_revoked = revoked::is_any(connection)?;
    let news = write_documents(connection, page, &mut copies, end, is_any_revoked)?;
    state::advance(connection, end)?;
    if end.reaches_head() {
        window::drop_archived(connection, &mut copies, end.archived)?;
    }
    let mut at_head = AtHead { news, ..AtHead::default() };
    for copy in &mut copies {
        if end.refetched.iter().any(|name| name == copy.collection.name()) {
            copy.brought = copy.pass;
        }
        if end.reaches_head() {
            at_head.swept |= sweep(connection, copy)?;
            compare(connection, copy, end, &mut at_head)?;
        }
    }
    for copy in copies.iter().filter(|copy| !before.contains(copy)) {
        copies::save(connection, copy)?;
    }
    if end.reaches_head() && is_any_revoked {
        revoked::forget_told(connection, &copies, end.cursor)?;
    }
    Ok(at_head)
}

/// Nothing was made after it came: what a clock that is ahead stamped sorts where it came, and does not
/// stay before all that is newer.
fn write_documents(
    connection: &Connection,
    page: &Page,
    copies: &mut [Copy],
    end: &PageEnd,
    lifts: bool,
) -> Result<bool, MirrorError> {
    let came = end.server_time.as_millis();
    let mut put_new = connection.prepare_cached(schema::PUT_NEW)?;
    let mut put_over = connection.prepare_cached(schema::PUT_OVER)?;
    let mut held = connection.prepare_cached(schema::HELD)?;
    let mut remove = connection.prepare_cached(schema::REMOVE)?;
    let mut passed = Passed::open(connection, page)?;
    for document in page.documents() {
        // Every collection is registered when the file is opened.
        let Some(copy) = copies.iter_mut().find(|copy| copy.collection == document.collection) else {
            continue;
        };
        let (collection, id, seq) = (document.collection, document.id, document.seq);
        let key = params![schema::number(collection), id];
        passed.take_back(copy, id)?;
        if lifts && !matches!(document.what, What::Over(_)) {
            revoked::lift(connection, collection, id, Cursor { seq, ..end.cursor })?;
        }
        let (body, element, keys) = match document.what {
            What::Is { body, element, keys } => (body, element, keys),
            What::Gone => {
                if let Some(gone) = remove.query_row(key, pass_and_element).optional()? {
                    copy.forget(gone);
                }
                continue;
            }
            What::Over(over) => {
                if let Some(outdated) = held.query_row(key, pass_and_element).optional()? {
                    copy.forget(outdated);
                }
                passed.step_over(copy, id, seq, &over)?;
                continue;
            }
        };
        let pass = copy.pass;
        // By place: SQLite would look each name up for each row.
        let row = params![
            schema::number(collection),
            id,
            signed(seq),
            pass,
            keys.patient,
            keys.recorded_at.map(|made| made.min(came)),
            keys.lookup,
            body,
            element.to_bytes(),
            keys.amends,
        ];
        // Most are new. Only one that is not costs two more statements.
        if put_new.execute(row)? == 0 {
            copy.forget(held.query_row(key, pass_and_element)?);
            put_over.execute(row)?;
        }
        copy.digest.add(element);
    }
    passed.meet(page)?;
    let_go(connection, page)?;
    Ok(passed.is_news)
}

/// What corrects a record that came is held no more. It costs a first copy nothing while nothing is.
fn let_go(connection: &Connection, page: &Page) -> Result<(), MirrorError> {
    if !connection.prepare_cached(schema::IS_ANY_HELD)?.query_row([], |row| row.get(0))? {
        return Ok(());
    }
    let mut let_go = connection.prepare_cached(schema::LET_GO)?;
    for document in page.documents().filter(|document| document.collection == Collection::Records) {
        if let What::Is { keys, .. } = document.what {
            let_go.execute(params![keys.patient, document.id])?;
        }
    }
    Ok(())
}

/// The device now has all there is: what a pass that ends here did not name is gone, and an empty list
/// means empty. Says whether a pass ends.
fn sweep(connection: &Connection, copy: &mut Copy) -> Result<bool, MirrorError> {
    let ends = copy.brought == copy.pass && !copy.is_whole();
    if ends {
        connection
            .prepare_cached(schema::SWEEP)?
            .execute(params![schema::number(copy.collection), copy.pass])?;
        stepped::sweep(connection, copy)?;
        copy.swept = copy.pass;
    }
    Ok(ends)
}

/// Compares a whole copy with what the server says it should come to.
fn compare(
    connection: &Connection,
    copy: &mut Copy,
    end: &PageEnd,
    at_head: &mut AtHead,
) -> Result<(), MirrorError> {
    let Some(theirs) = end.digests.get(copy.collection.name()).filter(|_| copy.is_whole()) else {
        return Ok(());
    };
    let (equal, known) = (copy.digest == *theirs, copy.differs_since.is_some());
    // What still differs is fetched again with patience.
    if equal != known {
        return Ok(());
    }
    copies::report(connection, &finding(copy, equal, end.server_time, theirs.count))?;
    if equal {
        copy.differs_since = None;
        at_head.mended = true;
    } else {
        copy.suspect(end.server_time);
        at_head.differs = true;
    }
    Ok(())
}

const fn finding(copy: &Copy, mended: bool, at: Timestamp, expected: u64) -> Finding {
    let (collection, held) = (copy.collection, copy.digest.count);
    Finding { collection, mended, at, found_by: FoundBy::Server, held, expected }
}

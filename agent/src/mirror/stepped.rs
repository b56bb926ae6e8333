//! Documents stepped over: what the agent could not take of the feed, and went on without. Each is counted, named,
//! and told.
//!
//! Its part in the digest counts as if it were here, so that the copy is still proven equal: to what was
//! sent, less what is named here. It is taken when it can be: a newer version comes by the feed, and a
//! newer agent has its collection sent again.

use std::collections::BTreeMap;

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::{StepReason, SteppedOver};
use rusqlite::{Connection, OptionalExtension, params};

use super::copies::{self, Copy, pass_and_element};
use super::page::Over;
use super::{Mirror, MirrorError, Page, schema, signed, state, unsigned};

/// The version of the agent that writes.
const AGENT: &str = env!("CARGO_PKG_VERSION");
/// The most collections that are told as unknown.
const MAX_STRANGERS: i64 = 32;

/// Documents that were stepped over and are not in the audit log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// Which, and why.
    pub what: SteppedOver,
    /// The first place of the feed of one of them.
    pub first_seq: u64,
    /// How many bytes the largest has.
    pub most_bytes: u64,
}

impl Mirror {
    /// What was stepped over, by collection and reason.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stepped_over(&self) -> Result<Vec<SteppedOver>, MirrorError> {
        self.reading(|reader| Ok(listed(reader, true)?.into_iter().map(|untold| untold.what).collect()))
    }

    /// What was stepped over and is not in the audit log yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn untold_steps(&self) -> Result<Vec<Untold>, MirrorError> {
        self.reading(|reader| listed(reader, false))
    }

    /// These are in the audit log.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn told_steps(&self, steps: &[Untold]) -> Result<(), MirrorError> {
        self.writing(|writer| {
            for Untold { what, .. } in steps {
                writer.execute(
                    "UPDATE stepped_over SET told = 1 WHERE collection = ? AND reason = ?",
                    params![what.collection, what.reason.name()],
                )?;
            }
            Ok(())
        })
    }
}

fn listed(connection: &Connection, told_too: bool) -> Result<Vec<Untold>, MirrorError> {
    let mut statement = connection.prepare_cached(
        "SELECT collection, reason, count(*), min(seq), max(bytes) FROM stepped_over WHERE ? OR told = 0
            GROUP BY collection, reason ORDER BY collection, reason",
    )?;
    let rows = statement.query_map([told_too], |row| {
        let reason = StepReason::from_name(&row.get::<_, String>(1)?);
        let what = SteppedOver { collection: row.get(0)?, reason, count: unsigned(row.get(2)?) };
        Ok(Untold { what, first_seq: unsigned(row.get(3)?), most_bytes: unsigned(row.get(4)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Steps over documents of one page.
pub(super) struct Passed<'a> {
    connection: &'a Connection,
    /// Whether there is, or may be, anything here.
    any: bool,
    /// What was here of the document before, and was told: its place in the feed.
    told: Option<i64>,
    /// Something was stepped over that is not in the audit log.
    pub(super) is_news: bool,
}

impl<'a> Passed<'a> {
    pub(super) fn open(connection: &'a Connection, page: &Page) -> Result<Self, MirrorError> {
        if page.nameless() > 0 {
            tracing::error!(lines = page.nameless(), "lines of the feed name no document: left out");
        }
        let any = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM stepped_over)")?
            .query_row([], |row| row.get(0))?;
        Ok(Self { connection, any, told: None, is_news: false })
    }

    /// Something newer came of a document.
    pub(super) fn take_back(&mut self, copy: &mut Copy, id: &[u8; 16]) -> Result<(), MirrorError> {
        self.told = None;
        if !self.any {
            return Ok(());
        }
        let found = self
            .connection
            .prepare_cached(
                "DELETE FROM stepped_over WHERE collection = ? AND id = ? RETURNING pass, element, seq, told",
            )?
            .query_row(params![copy.collection.name(), id], |row| {
                let told: bool = row.get(3)?;
                let seq: i64 = row.get(2)?;
                Ok(((row.get(0)?, row.get(1)?), told.then_some(seq)))
            })
            .optional()?;
        if let Some((gone, told)) = found {
            copy.forget(gone);
            self.told = told;
        }
        Ok(())
    }

    /// A document's latest version cannot be taken. After [`Self::take_back`].
    pub(super) fn step_over(
        &mut self,
        copy: &mut Copy,
        id: &[u8; 16],
        seq: u64,
        over: &Over,
    ) -> Result<(), MirrorError> {
        self.connection.prepare_cached(schema::OUTDATE)?.execute(params![
            copy.pass,
            schema::number(copy.collection),
            id
        ])?;
        let told = self.told == Some(signed(seq));
        self.insert(copy.collection.name(), id, (seq, copy.pass), over, told)?;
        if let Some(element) = over.element {
            copy.digest.add(element);
        }
        Ok(())
    }

    /// Names the collections of a page that this build does not know: each once, however much is in it.
    pub(super) fn meet(&mut self, page: &Page) -> Result<(), MirrorError> {
        for (name, seq) in page.strangers() {
            let known = "SELECT count(*), count(*) FILTER (WHERE collection = ?1) FROM stepped_over
                WHERE reason = ?2";
            let (all, here): (i64, i64) = self
                .connection
                .prepare_cached(known)?
                .query_row(params![name, StepReason::UnknownCollection.name()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            if here == 0 && all < MAX_STRANGERS {
                let over = Over { reason: StepReason::UnknownCollection, bytes: 0, element: None };
                self.insert(name, &[0; 16], (*seq, 0), &over, false)?;
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        collection: &str,
        id: &[u8; 16],
        (seq, pass): (u64, i64),
        over: &Over,
        told: bool,
    ) -> Result<(), MirrorError> {
        self.any = true;
        self.is_news |= !told;
        self.connection
            .prepare_cached(
                "INSERT INTO stepped_over (collection, id, seq, pass, element, reason, bytes, told)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                collection,
                id,
                signed(seq),
                pass,
                over.element.map(Element::to_bytes),
                over.reason.name(),
                signed(over.bytes),
                told
            ])?;
        Ok(())
    }
}

/// What a pass did not name goes when it ends.
pub(super) fn sweep(connection: &Connection, copy: &Copy) -> Result<(), MirrorError> {
    connection
        .prepare_cached("DELETE FROM stepped_over WHERE collection = ? AND pass <> ?")?
        .execute(params![copy.collection.name(), copy.pass])?;
    Ok(())
}

/// What has left the server's feed counts no more.
pub(super) fn drop_archived(
    connection: &Connection,
    copy: &mut Copy,
    through: u64,
) -> Result<(), MirrorError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM stepped_over WHERE collection = ? AND seq <= ? RETURNING pass, element",
    )?;
    let mut rows = statement.query(params![copy.collection.name(), signed(through)])?;
    while let Some(row) = rows.next()? {
        copy.forget(pass_and_element(row)?);
    }
    Ok(())
}

/// What the documents of a collection that were stepped over add to its digest.
pub(super) fn digest(connection: &Connection, copy: &Copy) -> Result<Digest, MirrorError> {
    let mut statement = connection.prepare_cached(
        "SELECT element FROM stepped_over WHERE collection = ? AND pass = ? AND element IS NOT NULL",
    )?;
    let mut rows = statement.query(params![copy.collection.name(), copy.pass])?;
    let mut digest = Digest::default();
    while let Some(row) = rows.next()? {
        digest.add(Element::from_bytes(row.get(0)?));
    }
    Ok(digest)
}

/// Whether a document's latest version was stepped over.
pub(super) fn is_over(
    connection: &Connection,
    collection: Collection,
    id: &[u8; 16],
) -> Result<bool, MirrorError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM stepped_over WHERE collection = ? AND id = ?)";
    Ok(connection.prepare_cached(sql)?.query_row(params![collection.name(), id], |row| row.get(0))?)
}

/// Everything is pulled again: what is unknown is met again.
pub(super) fn forget_strangers(connection: &Connection) -> Result<(), MirrorError> {
    let sql = "DELETE FROM stepped_over WHERE reason = ?";
    connection.execute(sql, [StepReason::UnknownCollection.name()])?;
    Ok(())
}

/// Another version of the agent opens the file: it may take what the last one could not, so those
/// collections are sent again. One that it knows now is fetched anyway.
pub(super) fn renew(connection: &Connection) -> Result<(), MirrorError> {
    let sql = "UPDATE state SET agent = ?1 WHERE agent IS NOT ?1";
    // Without a cursor everything is sent anyway, and nobody says that it was sent again.
    if connection.execute(sql, [AGENT])? == 0 || state::cursor(connection)?.is_none() {
        return Ok(());
    }
    let over: BTreeMap<String, bool> =
        listed(connection, true)?.into_iter().map(|step| (step.what.collection, true)).collect();
    for name in over.into_keys() {
        let Some(collection) = Collection::from_name(&name) else { continue };
        connection.execute(
            "DELETE FROM stepped_over WHERE collection = ? AND reason = ?",
            params![name, StepReason::UnknownCollection.name()],
        )?;
        copies::fetch_again(connection, collection)?;
    }
    Ok(())
}

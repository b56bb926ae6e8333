//! The copies: how that of each collection stands. A copy has a running digest, and is whole, or differs, by it.

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::MirrorState;
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::{Mirror, MirrorError, schema, signed, unsigned};

/// How a difference was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// The server's digest at the head of the feed.
    Server,
    /// The device's own check of its rows.
    Check,
}

/// A copy was found to differ, or is proven equal again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub collection: Collection,
    /// Proven equal again; otherwise found to differ.
    pub mended: bool,
    pub at: Timestamp,
    pub found_by: FoundBy,
    /// How many documents the device had.
    pub held: u64,
    /// How many it should have had.
    pub expected: u64,
}

/// A collection whose copy differs and is not mended yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differing {
    pub collection: Collection,
    /// Since when that is known.
    pub since: Timestamp,
}

/// One row of `collections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) collection: Collection,
    pub(super) pass: i64,
    pub(super) brought: i64,
    pub(super) swept: i64,
    pub(super) digest: Digest,
    pub(super) differs_since: Option<i64>,
    refetches: i64,
}

impl Copy {
    /// Whether every row is of the pass that ended last, so that the digest is the whole copy's.
    pub(super) const fn is_whole(&self) -> bool {
        self.swept == self.pass
    }

    /// A row of that pass came or goes.
    pub(super) const fn forget(&mut self, (pass, element): (i64, Option<[u8; 16]>)) {
        // What an earlier pass named is not in this one's digest.
        if let (true, Some(element)) = (pass == self.pass, element) {
            self.digest.remove(Element::from_bytes(element));
        }
    }

    /// Every document is to be named anew.
    fn begin_pass(&mut self) {
        self.pass += 1;
        self.digest = Digest::default();
    }

    /// The copy differs: it is to be fetched again.
    pub(super) fn suspect(&mut self, now: Timestamp) {
        self.differs_since = Some(now.as_millis());
        self.refetch();
    }

    fn refetch(&mut self) {
        self.refetches += 1;
        self.begin_pass();
    }
}

impl Mirror {
    /// The collections that differ from the server's and are not mended yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn differing(&self) -> Result<Vec<Differing>, MirrorError> {
        let copies = self.reading(load)?;
        let differing = copies.into_iter().filter_map(|copy| {
            let since = Timestamp::from_millis(copy.differs_since?);
            Some(Differing { collection: copy.collection, since })
        });
        Ok(differing.collect())
    }

    /// How well the mirror and the server's feed agree, for the heartbeat.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn agreement(&self) -> Result<MirrorState, MirrorError> {
        let copies = self.reading(load)?;
        let differs = copies.iter().filter(|copy| copy.differs_since.is_some());
        Ok(MirrorState {
            differs: differs.map(|copy| copy.collection.name().to_owned()).collect(),
            refetches: copies.iter().map(|copy| unsigned(copy.refetches)).sum(),
            stepped_over: self.stepped_over()?,
        })
    }

    /// Has what still differs after it was fetched again fetched once more; says whether anything is.
    /// Call it with growing patience.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn refetch_differing(&self) -> Result<bool, MirrorError> {
        let again = self.writing(|writer| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut again = false;
            for mut copy in load(&transaction)? {
                if copy.differs_since.is_some() && copy.is_whole() {
                    copy.refetch();
                    save(&transaction, &copy)?;
                    again = true;
                }
            }
            transaction.commit()?;
            Ok(again)
        })?;
        if again {
            self.want_more();
        }
        Ok(again)
    }

    /// What was found and is not in the audit log yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn untold(&self) -> Result<Vec<Finding>, MirrorError> {
        self.reading(|reader| {
            let mut statement = reader.prepare_cached(
                "SELECT collection, mended, at, found, held, expected FROM news ORDER BY at, mended",
            )?;
            let mut rows = statement.query([])?;
            let mut findings = Vec::new();
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(0)?;
                let Some(collection) = collection(number) else { continue };
                findings.push(Finding {
                    collection,
                    mended: row.get(1)?,
                    at: Timestamp::from_millis(row.get(2)?),
                    found_by: if row.get(3)? { FoundBy::Check } else { FoundBy::Server },
                    held: unsigned(row.get(4)?),
                    expected: unsigned(row.get(5)?),
                });
            }
            Ok(findings)
        })
    }

    /// These findings are in the audit log.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn told(&self, findings: &[Finding]) -> Result<(), MirrorError> {
        self.writing(|writer| {
            for finding in findings {
                writer.execute(
                    "DELETE FROM news WHERE collection = ? AND mended = ? AND at = ?",
                    params![schema::number(finding.collection), finding.mended, finding.at.as_millis()],
                )?;
            }
            Ok(())
        })
    }
}

/// Every collection's copy.
pub(super) fn load(connection: &Connection) -> Result<Vec<Copy>, MirrorError> {
    let mut statement = connection.prepare_cached(
        "SELECT collection, pass, brought, swept, count, sum, differs_since, refetches FROM collections",
    )?;
    let mut rows = statement.query([])?;
    let mut copies = Vec::with_capacity(Collection::ALL.len());
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        // A newer agent's collection.
        let Some(collection) = collection(number) else { continue };
        copies.push(Copy {
            collection,
            pass: row.get(1)?,
            brought: row.get(2)?,
            swept: row.get(3)?,
            digest: Digest::from_parts(unsigned(row.get(4)?), row.get(5)?),
            differs_since: row.get(6)?,
            refetches: row.get(7)?,
        });
    }
    Ok(copies)
}

pub(super) fn save(connection: &Connection, copy: &Copy) -> Result<(), MirrorError> {
    connection
        .prepare_cached(
            "UPDATE collections SET pass = ?, brought = ?, swept = ?, count = ?, sum = ?, differs_since = ?,
                refetches = ?
             WHERE collection = ?",
        )?
        .execute(params![
            copy.pass,
            copy.brought,
            copy.swept,
            signed(copy.digest.count),
            copy.digest.sum_bytes(),
            copy.differs_since,
            copy.refetches,
            schema::number(copy.collection)
        ])?;
    Ok(())
}

/// A collection is to be sent again: this agent may take more of it than the last one.
pub(super) fn fetch_again(connection: &Connection, collection: Collection) -> Result<(), MirrorError> {
    for mut copy in load(connection)?.into_iter().filter(|copy| copy.collection == collection) {
        copy.begin_pass();
        save(connection, &copy)?;
    }
    Ok(())
}

/// A pull from the beginning: nothing is here, so all up to it was named.
pub(super) fn begin_all(connection: &Connection) -> Result<(), MirrorError> {
    for mut copy in load(connection)? {
        copy.begin_pass();
        copy.brought = copy.pass;
        save(connection, &copy)?;
    }
    Ok(())
}

/// Keeps a finding until the audit log has it. There are at most two of a collection: when it differs
/// again before the first was written down, the later one stays.
pub(super) fn report(connection: &Connection, finding: &Finding) -> Result<(), MirrorError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO news (collection, mended, at, found, held, expected)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            schema::number(finding.collection),
            finding.mended,
            finding.at.as_millis(),
            finding.found_by == FoundBy::Check,
            signed(finding.held),
            signed(finding.expected)
        ])?;
    Ok(())
}

/// Of a row that goes: what [`Copy::forget`] takes.
pub(super) fn pass_and_element(row: &Row<'_>) -> rusqlite::Result<(i64, Option<[u8; 16]>)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn collection(number: i64) -> Option<Collection> {
    Collection::ALL.into_iter().find(|collection| schema::number(*collection) == number)
}

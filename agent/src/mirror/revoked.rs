//! Revocations ahead of the feed: users and badges that a heartbeat's answer named. Nobody signs in by them from the
//! moment that it is heard, until the feed says so too, or otherwise.

use carepost_protocol::id::{BadgeId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::Revoked;
use carepost_protocol::wire::pull::Cursor;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::copies::Copy;
use super::{Mirror, MirrorError, schema, signed, state, unsigned};

impl Mirror {
    /// Takes what a heartbeat's answer says is revoked. When this returns it is durable.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke(&self, revoked: &Revoked) -> Result<(), MirrorError> {
        let epoch = revoked.through.epoch;
        let users = revoked.users.iter().map(|it| (Collection::Users, *it.id.as_bytes(), it.seq));
        let badges = revoked.badges.iter().map(|it| (Collection::Badges, *it.id.as_bytes(), it.seq));
        self.writing(|writer| {
            // A page may be lost to a power cut, because the server gives it again; this has to hold while
            // nobody can be asked.
            writer.pragma_update(None, "synchronous", "FULL")?;
            let written = (|| {
                let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let feed = state::cursor(&transaction)?;
                for (collection, id, seq) in users.chain(badges) {
                    let here = version(&transaction, collection, &id)?;
                    let in_epoch = feed.is_some_and(|feed| feed.epoch == epoch);
                    if !(in_epoch && here.is_some_and(|here| here >= seq)) {
                        keep(&transaction, collection, &id, Cursor { epoch, seq })?;
                    }
                }
                transaction.execute(
                    "UPDATE state SET heard_epoch = ?, heard_seq = ?",
                    params![signed(epoch), signed(revoked.through.seq)],
                )?;
                Ok(transaction.commit()?)
            })();
            writer.pragma_update(None, "synchronous", "NORMAL")?;
            written
        })
    }

    /// Up to which place of the feed the server has said what is revoked.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn heard(&self) -> Result<Option<Cursor>, MirrorError> {
        self.reading(|reader| {
            let read = reader
                .prepare_cached("SELECT heard_epoch, heard_seq FROM state WHERE heard_epoch IS NOT NULL")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            Ok(read.map(|(epoch, seq): (i64, i64)| Cursor { epoch: unsigned(epoch), seq: unsigned(seq) }))
        })
    }
}

fn version(
    connection: &Connection,
    collection: Collection,
    id: &[u8; 16],
) -> Result<Option<u64>, MirrorError> {
    let sql = "SELECT seq FROM documents WHERE collection = ? AND id = ?";
    let key = params![schema::number(collection), id];
    let seq: Option<i64> = connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(seq.map(unsigned))
}

fn keep(
    connection: &Connection,
    collection: Collection,
    id: &[u8; 16],
    at: Cursor,
) -> Result<(), MirrorError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO revoked (collection, id, epoch, seq) VALUES (?, ?, ?, ?)")?
        .execute(params![schema::number(collection), id, signed(at.epoch), signed(at.seq)])?;
    Ok(())
}

/// Whether a member of staff is revoked ahead of the feed.
pub(super) fn is_user(connection: &Connection, id: UserId) -> Result<bool, MirrorError> {
    is(connection, Collection::Users, id.as_bytes())
}

pub(super) fn is_badge(connection: &Connection, id: BadgeId) -> Result<bool, MirrorError> {
    is(connection, Collection::Badges, id.as_bytes())
}

fn is(connection: &Connection, collection: Collection, id: &[u8; 16]) -> Result<bool, MirrorError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM revoked WHERE collection = ? AND id = ?)";
    Ok(connection
        .prepare_cached(sql)?
        .query_row(params![schema::number(collection), id], |row| row.get(0))?)
}

/// Whether anything is.
pub(super) fn is_any(connection: &Connection) -> Result<bool, MirrorError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM revoked)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The feed says itself how somebody stands by that place: it has the last word.
pub(super) fn lift(
    connection: &Connection,
    collection: Collection,
    id: &[u8; 16],
    at: Cursor,
) -> Result<(), MirrorError> {
    connection
        .prepare_cached(
            "DELETE FROM revoked WHERE collection = ?1 AND id = ?2
                AND (epoch < ?3 OR (epoch = ?3 AND seq <= ?4))",
        )?
        .execute(params![schema::number(collection), id, signed(at.epoch), signed(at.seq)])?;
    Ok(())
}

/// At the head of the feed all that it was ahead of is in the copy, except what was stepped over, and unless
/// the copy is known to differ.
pub(super) fn forget_told(connection: &Connection, copies: &[Copy], head: Cursor) -> Result<(), MirrorError> {
    for copy in copies.iter().filter(|copy| copy.is_whole() && copy.differs_since.is_none()) {
        if !matches!(copy.collection, Collection::Users | Collection::Badges) {
            continue;
        }
        connection
            .prepare_cached(
                "DELETE FROM revoked WHERE collection = ?1 AND (epoch < ?2 OR (epoch = ?2 AND seq <= ?3))
                    AND id NOT IN (SELECT id FROM stepped_over WHERE collection = ?4)",
            )?
            .execute(params![
                schema::number(copy.collection),
                signed(head.epoch),
                signed(head.seq),
                copy.collection.name()
            ])?;
    }
    Ok(())
}

//! The mirror's state: the cursor with the server's proof of it, and how much of a resident is here. It moves with the
//! rows, in one transaction.

use carepost_protocol::facility::PhiMode;
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use rusqlite::{Connection, OptionalExtension, params};

use super::{MirrorError, signed, unsigned};

/// Up to where the mirror is complete.
pub(super) fn cursor(connection: &Connection) -> Result<Option<Cursor>, MirrorError> {
    let row = connection
        .prepare_cached("SELECT epoch, seq FROM state WHERE epoch IS NOT NULL")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.map(|(epoch, seq): (i64, i64)| Cursor { epoch: unsigned(epoch), seq: unsigned(seq) }))
}

/// The server's proof of the cursor.
pub(super) fn proof(connection: &Connection) -> Result<Option<String>, MirrorError> {
    let sql = "SELECT proof FROM state WHERE epoch IS NOT NULL";
    let row = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(row.flatten())
}

/// How much of a resident is here. A server of before, which does not say, is taken to send all.
pub(super) fn phi_mode(connection: &Connection) -> Result<PhiMode, MirrorError> {
    let sql = "SELECT phi_mode FROM state";
    let kept: Option<String> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok([PhiMode::Minimal, PhiMode::Free]
        .into_iter()
        .find(|mode| kept.as_deref() == Some(mode.name()))
        .unwrap_or_default())
}

/// The mirror stands at the end of a page.
pub(super) fn advance(connection: &Connection, end: &PageEnd) -> Result<(), MirrorError> {
    let mode = mode_after(connection, end)?.name();
    connection
        .prepare_cached("UPDATE state SET epoch = ?, seq = ?, proof = ?, phi_mode = ?")?
        .execute(params![signed(end.cursor.epoch), signed(end.cursor.seq), end.proof, mode])?;
    Ok(())
}

/// How much of a resident is here after a page. What is sent no more is said at once, and what is sent again when all
/// of it is here.
fn mode_after(connection: &Connection, end: &PageEnd) -> Result<PhiMode, MirrorError> {
    let (before, now) = (phi_mode(connection)?, end.phi_mode.unwrap_or_default());
    Ok(if end.reaches_head() || now > before { now } else { before })
}

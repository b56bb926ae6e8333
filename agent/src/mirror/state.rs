//! The mirror's state: the cursor with the server's proof of it, and how much of a resident is here. It moves with the
//! rows, in one transaction.

use carepost_protocol::facility::PhiMode;
use carepost_protocol::record::{Collection, PatientDocument};
use carepost_protocol::wire::pull::{Cursor, PageEnd};
use rusqlite::{Connection, OptionalExtension, params};

use super::{MirrorError, schema, signed, unsigned};

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

/// How much of a resident is here.
pub(super) fn phi_mode(connection: &Connection) -> Result<PhiMode, MirrorError> {
    let sql = "SELECT phi_mode FROM state";
    let kept: Option<String> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok([PhiMode::Minimal, PhiMode::Free]
        .into_iter()
        .find(|mode| kept.as_deref() == Some(word(*mode)))
        .unwrap_or_default())
}

/// The mirror stands at the end of a page.
pub(super) fn advance(connection: &Connection, end: &PageEnd) -> Result<(), MirrorError> {
    let mode = word(mode_after(connection, end)?);
    connection
        .prepare_cached("UPDATE state SET epoch = ?, seq = ?, proof = ?, phi_mode = ?")?
        .execute(params![signed(end.cursor.epoch), signed(end.cursor.seq), end.proof, mode])?;
    Ok(())
}

/// How much of a resident is here after a page. What is sent no more is said at once, and what is sent again when all
/// of it is here.
fn mode_after(connection: &Connection, end: &PageEnd) -> Result<PhiMode, MirrorError> {
    let hidden = |mode: PhiMode| match mode {
        PhiMode::Full => 0,
        PhiMode::Minimal => 1,
        PhiMode::Free => 2,
    };
    let before = phi_mode(connection)?;
    Ok(match end.phi_mode {
        Some(now) if end.reaches_head() || hidden(now) > hidden(before) => now,
        // A server that sends all says nothing, and so does an earlier one, whatever it sends.
        None if end.reaches_head() => mode_of_residents(connection)?,
        Some(_) | None => before,
    })
}

/// How much of a resident is here by how all of them look. Where nothing is hidden the first one tells, most often.
fn mode_of_residents(connection: &Connection) -> Result<PhiMode, MirrorError> {
    let mut statement = connection.prepare_cached("SELECT body FROM documents WHERE collection = ?")?;
    let mut rows = statement.query([schema::number(Collection::Patients)])?;
    let mut found = None;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(0)?.as_bytes().map_err(rusqlite::Error::from)?;
        let Ok(resident) = serde_json::from_slice(body) else { continue };
        match mode_of(&resident) {
            PhiMode::Full => return Ok(PhiMode::Full),
            PhiMode::Minimal => found = Some(PhiMode::Minimal),
            PhiMode::Free => found = found.or(Some(PhiMode::Free)),
        }
    }
    Ok(found.unwrap_or_default())
}

/// Somebody may have neither number nor birthday yet; but initials, or a case number, are nobody's name.
fn mode_of(resident: &PatientDocument) -> PhiMode {
    let PatientDocument { mrn, date_of_birth, name, room, .. } = resident;
    let is_initials = name.split_inclusive('.').all(|part| part.ends_with('.') && part.chars().count() <= 2);
    let is_case = name.starts_with("Case ") || name.chars().any(|letter| letter.is_ascii_digit());
    if !mrn.is_empty() || date_of_birth.is_some() {
        PhiMode::Full
    } else if is_initials {
        PhiMode::Minimal
    } else if is_case && room.is_none() {
        PhiMode::Free
    } else {
        PhiMode::Full
    }
}

const fn word(mode: PhiMode) -> &'static str {
    match mode {
        PhiMode::Full => "full",
        PhiMode::Minimal => "minimal",
        PhiMode::Free => "free",
    }
}

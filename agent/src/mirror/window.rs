//! The window: records that came to the server longer ago are there alone.
//!
//! The server says which have left its feed by the last `seq` that did, with the page that reaches the head:
//! its digests are counted without them. What has to stay was put at the end of the feed again, and so has
//! come before that page ends. So both sides come to the same, whenever the device was here last and
//! whatever its clock says.

use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::Archived;
use rusqlite::{Connection, OptionalExtension, params};

use super::copies::{Copy, pass_and_element};
use super::{Mirror, MirrorError, schema, signed, stepped};

impl Mirror {
    /// Before when records have left the mirror, because they are old; none while none has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn archived_before(&self) -> Result<Option<Timestamp>, MirrorError> {
        self.reading(|reader| {
            let mut statement = reader
                .prepare_cached("SELECT archived_before FROM state WHERE archived_before IS NOT NULL")?;
            Ok(statement.query_row([], |row| row.get(0)).optional()?.map(Timestamp::from_millis))
        })
    }
}

/// Drops what has left the feed, at its head. Nothing that left by a mark comes again, so each is applied once.
pub(super) fn drop_archived(
    connection: &Connection,
    copies: &mut [Copy],
    archived: Option<Archived>,
) -> Result<(), MirrorError> {
    let (before, through) = archived.map(|mark| (mark.before.as_millis(), signed(mark.through))).unzip();
    let news = connection
        .prepare_cached(
            "UPDATE state SET archived_before = ?1, archived_through = ?2
                WHERE archived_before IS NOT ?1 OR archived_through IS NOT ?2",
        )?
        .execute([before, through])?;
    let Some(mark) = archived.filter(|_| news > 0) else { return Ok(()) };
    let Some(copy) = copies.iter_mut().find(|copy| copy.collection == Collection::Records) else {
        return Ok(());
    };
    stepped::drop_archived(connection, copy, mark.through)?;
    let mut statement = connection.prepare_cached(schema::DROP_ARCHIVED)?;
    let mut rows = statement.query(params![schema::number(Collection::Records), through])?;
    while let Some(row) = rows.next()? {
        copy.forget(pass_and_element(row)?);
    }
    Ok(())
}

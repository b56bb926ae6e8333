//! A patient's whole chart, by pages: the records of the feed, and then those that have left it.

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::time::Timestamp;
use rusqlite::{Params, Row, params};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::column::{count, count_at, id_at, limit, time_at};
use super::engine::Tx;
use super::listed::Listed;

type Result<T> = std::result::Result<T, StoreError>;

/// About how many bytes a page holds at most; the record that reaches it is still in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A place in a patient's chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChartPlace {
    /// In the feed, whose latest come first.
    Feed(u64),
    /// Among what has left it: when the record was made, and which it is.
    Archive(Timestamp, RecordId),
}

/// Without the first place, which is that of all, SQLite would rather walk the whole feed than use the index.
pub(super) const HELD: &str =
    "SELECT seq, body FROM documents WHERE patient_id = ?1 AND collection = 'records'
    AND body IS NOT NULL AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
pub(super) const ARCHIVED: &str = "SELECT id, body, made_at FROM archive
    WHERE patient_id = ?1 AND (made_at, id) < (?2, ?3) ORDER BY made_at DESC, id DESC LIMIT ?4";

/// The records after a place, or from the latest on: at most so many.
pub(super) fn page(
    tx: &Tx<'_>,
    patient: PatientId,
    after: Option<ChartPlace>,
    most: usize,
) -> Result<Listed<RecordDocument, ChartPlace>> {
    let patient = patient.as_bytes();
    let mut page = Filling { listed: Listed { items: Vec::new(), next: None }, last: None, bytes: 0, most };
    let (seq, made, id) = match after {
        None => (u64::MAX, i64::MAX, RecordId::from_bytes([0xff; 16])),
        Some(ChartPlace::Feed(seq)) => (seq, i64::MAX, RecordId::from_bytes([0xff; 16])),
        Some(ChartPlace::Archive(made, id)) => (0, made.as_millis(), id),
    };
    let key = params![patient, count(seq), limit(most + 1)];
    let all = page.take(tx, HELD, key, |row| Ok(ChartPlace::Feed(count_at(row, 0)?)))?;
    if all {
        let key = params![patient, made, id.as_bytes(), limit(most + 1)];
        page.take(tx, ARCHIVED, key, |row| Ok(ChartPlace::Archive(time_at(row, 2)?, id_at(row, 0)?)))?;
    }
    Ok(page.listed)
}

/// A page that is being filled.
struct Filling {
    listed: Listed<RecordDocument, ChartPlace>,
    last: Option<ChartPlace>,
    bytes: usize,
    most: usize,
}

impl Filling {
    /// Puts rows on the page as long as it has room; says whether it had for all.
    fn take(
        &mut self,
        tx: &Tx<'_>,
        sql: &'static str,
        key: impl Params,
        place: fn(&Row<'_>) -> rusqlite::Result<ChartPlace>,
    ) -> Result<bool> {
        let mut statement = tx.prepare(sql)?;
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            if self.listed.items.len() >= self.most || self.bytes >= PAGE_BYTES {
                self.listed.next = self.last;
                return Ok(false);
            }
            let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            self.bytes += body.len();
            self.last = Some(place(row)?);
            self.listed
                .items
                .push(serde_json::from_str(body).map_err(|_| StoreError::Unreadable("records"))?);
        }
        Ok(true)
    }
}

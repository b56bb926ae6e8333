//! A patient's whole chart, by pages: the records of the feed, and then those that have left it; and what corrects
//! what in it.

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::time::Timestamp;
use rusqlite::{Params, Row, params};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::column::{count, count_at, id_at, json_at, limit, time_at};
use super::engine::Tx;
use super::listed::Listed;

type Result<T> = std::result::Result<T, StoreError>;

/// About how many bytes a page holds at most; the record that reaches it is still in it.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Of corrections side by side, so many are looked at for what strikes out.
const MOST_BESIDE: usize = 10;

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

/// A record, wherever it is kept.
const RECORD: &str =
    "SELECT body FROM documents WHERE collection = 'records' AND id = ?1 AND body IS NOT NULL
    UNION ALL SELECT body FROM archive WHERE id = ?1 LIMIT 1";
/// Whether a change stands: it was taken at once and not withdrawn, or refused and applied later.
macro_rules! stands {
    () => {
        "((verdict <> 'rejected' AND settlement IS NULL) OR settlement = 'applied')"
    };
}
pub(super) use stands;

/// The corrections of one record that devices made and that stand, in the order in which they came.
pub(super) const CORRECTIONS: &str = concat!(
    "SELECT record_id FROM changes WHERE target_id = ?1 AND ",
    stands!(),
    " ORDER BY coalesce(settled_seq, seq) LIMIT ?2"
);

/// One record, whether devices still hold it or not.
pub(super) fn find(tx: &Tx<'_>, id: RecordId) -> Result<Option<RecordDocument>> {
    tx.first(RECORD, [id.as_bytes()], |row| json_at(row, 0))
}

/// The corrections of one record, the office's first, which is made only where there is none yet: about as many
/// as asked for.
pub(super) fn corrections(tx: &Tx<'_>, record: RecordId, most: usize) -> Result<Vec<RecordId>> {
    let of_office = "SELECT record_id FROM office_corrections WHERE target_id = ?1";
    let mut found: Vec<RecordId> = tx.all(of_office, [record.as_bytes()], |row| id_at(row, 0))?;
    found.extend(
        tx.all(CORRECTIONS, params![record.as_bytes(), limit(most)], |row| id_at::<RecordId>(row, 0))?,
    );
    Ok(found)
}

/// By what a record is struck out, where nobody has put it back since.
pub(super) fn struck_by(tx: &Tx<'_>, record: RecordId) -> Result<Option<RecordId>> {
    for correction in corrections(tx, record, MOST_BESIDE)? {
        let strikes = find(tx, correction)?.is_some_and(|it| it.entered_in_error);
        if strikes && corrections(tx, correction, 1)?.is_empty() {
            return Ok(Some(correction));
        }
    }
    Ok(None)
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

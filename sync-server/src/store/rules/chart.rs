//! The chart: all of a patient's, by pages, the records of the feed, and then those that have left it; and what
//! corrects what in it.

use std::cmp::Reverse;

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::patient;
use crate::store::StoreError;
use crate::store::engine::{Tx, params};

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
pub(in crate::store) const HELD: &str =
    "SELECT seq FROM documents WHERE patient_id = ?1 AND collection = 'records'
    AND body IS NOT NULL AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
pub(in crate::store) const ARCHIVED: &str = "SELECT made_at, id FROM archive
    WHERE patient_id = ?1 AND (made_at, id) < (?2, ?3) ORDER BY made_at DESC, id DESC LIMIT ?4";

/// A page of a chart.
#[derive(Debug)]
pub struct ChartPage {
    pub items: Vec<RecordDocument>,
    /// The place of the last that was looked at; none on the last page.
    pub next: Option<ChartPlace>,
    /// How many of it are not among them: another version left them, and this one cannot read them.
    pub left_out: usize,
}

/// The records after a place, or from the latest on, and those of whose place the patient took: at most so many. What
/// cannot be read here is counted: it holds up nothing behind it.
pub(in crate::store) fn page(
    tx: &Tx<'_>,
    patient: PatientId,
    after: Option<ChartPlace>,
    most: usize,
) -> Result<ChartPage> {
    let whose: Vec<PatientId> = patient::replaced(tx, patient)?.into_iter().chain([patient]).collect();
    let mut places = places(tx, &whose, after, most + 1)?;
    places.truncate(most + 1);
    let (mut page, mut last, mut bytes) = (ChartPage { items: Vec::new(), next: None, left_out: 0 }, None, 0);
    for (read, place) in places.into_iter().enumerate() {
        if read >= most || bytes >= PAGE_BYTES {
            page.next = last;
            break;
        }
        let body: Option<String> = match place {
            ChartPlace::Feed(seq) => tx.first(OF_FEED, params![seq])?,
            ChartPlace::Archive(_, id) => tx.first(OF_ARCHIVE, params![id])?,
        };
        let body = body.ok_or(StoreError::Unreadable("records"))?;
        bytes += body.len();
        match serde_json::from_str(&body) {
            Ok(record) => page.items.push(record),
            Err(_) => page.left_out += 1,
        }
        last = Some(place);
    }
    if page.left_out > 0 {
        let left_out = page.left_out;
        tracing::error!(%patient, left_out, "records of a chart cannot be read: the others are shown");
    }
    Ok(page)
}

const OF_FEED: &str = "SELECT body FROM documents WHERE seq = ?1";
const OF_ARCHIVE: &str = "SELECT body FROM archive WHERE id = ?1";

/// The next places in the charts of those who are one person, in their order: so many, where there are, or more.
fn places(
    tx: &Tx<'_>,
    whose: &[PatientId],
    after: Option<ChartPlace>,
    most: usize,
) -> Result<Vec<ChartPlace>> {
    let (mut held, mut archived) = (Vec::new(), Vec::new());
    if !matches!(after, Some(ChartPlace::Archive(..))) {
        let before = if let Some(ChartPlace::Feed(seq)) = after { seq } else { u64::MAX };
        for of in whose {
            let key = params![of, before, most];
            held.extend(tx.all::<u64>(HELD, key)?);
        }
    }
    if held.len() < most {
        let end = (Timestamp::from_millis(i64::MAX), RecordId::from_bytes([0xff; 16]));
        let (made, id) = if let Some(ChartPlace::Archive(made, id)) = after { (made, id) } else { end };
        for of in whose {
            let key = params![of, made, id, most];
            archived.extend(tx.all::<(Timestamp, _)>(ARCHIVED, key)?);
        }
    }
    held.sort_unstable_by_key(|seq| Reverse(*seq));
    archived.sort_unstable_by_key(|place| Reverse(*place));
    let archived = archived.into_iter().map(|(made, id)| ChartPlace::Archive(made, id));
    Ok(held.into_iter().map(ChartPlace::Feed).chain(archived).collect())
}

/// A record, wherever it is kept.
const RECORD: &str =
    "SELECT body FROM documents WHERE collection = 'records' AND id = ?1 AND body IS NOT NULL
    UNION ALL SELECT body FROM archive WHERE id = ?1 LIMIT 1";
/// Whether a change stands: it was taken at once and not withdrawn, or rejected and applied later.
macro_rules! stands {
    () => {
        "((verdict <> 'rejected' AND settlement IS NULL) OR settlement = 'applied')"
    };
}
pub(in crate::store) use stands;

/// The corrections of one record that devices made and that stand, in the order in which they came.
pub(in crate::store) const CORRECTIONS: &str = concat!(
    "SELECT record_id FROM changes WHERE target_id = ?1 AND ",
    stands!(),
    " ORDER BY coalesce(settled_seq, seq) LIMIT ?2"
);

/// One record, whether devices still hold it or not; none where it cannot be read here.
pub(in crate::store) fn find(tx: &Tx<'_>, id: RecordId) -> Result<Option<RecordDocument>> {
    let body: Option<String> = tx.first(RECORD, params![id])?;
    let found = body.as_deref().map(serde_json::from_str);
    if let Some(Err(_)) = found {
        tracing::error!(record = %id, "a record cannot be read: it is passed over");
    }
    Ok(found.and_then(|found| found.ok()))
}

/// What of a record tells whether it strikes out another, also where the rest cannot be read here.
#[derive(Deserialize)]
struct Strike {
    #[serde(default)]
    entered_in_error: bool,
}

/// The corrections of one record, the office's first, which is made only where there is none yet: about as many
/// as asked for.
pub(in crate::store) fn corrections(tx: &Tx<'_>, record: RecordId, most: usize) -> Result<Vec<RecordId>> {
    let of_office = "SELECT record_id FROM office_corrections WHERE target_id = ?1";
    let mut found: Vec<RecordId> = tx.all(of_office, params![record])?;
    found.extend(tx.all::<RecordId>(CORRECTIONS, params![record, most])?);
    Ok(found)
}

/// By what a record is struck out, where nobody has put it back since.
pub(in crate::store) fn struck_by(tx: &Tx<'_>, record: RecordId) -> Result<Option<RecordId>> {
    for correction in corrections(tx, record, MOST_BESIDE)? {
        let body: Option<String> = tx.first(RECORD, params![correction])?;
        let strike = body.and_then(|body| serde_json::from_str::<Strike>(&body).ok());
        if strike.is_some_and(|it| it.entered_in_error) && corrections(tx, correction, 1)?.is_empty() {
            return Ok(Some(correction));
        }
    }
    Ok(None)
}

//! Residents, as both devices and the office admit and edit one: the row, its document, who wrote which field last,
//! and who may be the same person.

use std::collections::BTreeMap;

use carepost_protocol::change::Origin;
use carepost_protocol::day;
use carepost_protocol::id::{DeviceId, IncarnationId, PatientId};
use carepost_protocol::merge::{Field, Mark};
use carepost_protocol::patient::{self as protocol, may_be_one, words_key};
use carepost_protocol::record::{Collection, MAX_COUNTED, MAX_REPLACED, PatientDocument, ReviewKind};
use carepost_protocol::text::{fold, name_key};
use carepost_protocol::time::Timestamp;
use serde_json::Value;

use super::feed_writer::FeedEnd;
use super::review::{self, About};
use super::sorted::{SortedList, sorted_list};
use crate::store::column::json;
use crate::store::engine::{Tx, params};
use crate::store::row::{Stored, insert_into, row, select, sql};
use crate::store::{Patient, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// A resident, and the place in the feed of the last edit; 0 where nobody has edited them since the admission.
impl Stored for (Patient, u64) {
    const COLUMNS: &'static str = sql!(
        Patient::COLUMNS,
        ", (SELECT coalesce(max(seq), 0) FROM marks
            WHERE marks.facility_id = patients.facility_id AND collection = 'patients' AND record_id = patients.id)"
    );
}

/// The list of them: in care or not (`?4`), where that is given.
pub(in crate::store) static LIST: SortedList<Patient> = sorted_list!(
    Patient,
    "patients",
    "(?4 IS NULL OR is_active = ?4) AND ",
    "facility_id = ?5 AND ",
    |patient| *patient.id.as_bytes()
);

/// The same, each with that place.
pub(in crate::store) static LIST_WITH_PLACES: SortedList<(Patient, u64)> = sorted_list!(
    (Patient, u64),
    "patients",
    "(?4 IS NULL OR is_active = ?4) AND ",
    "facility_id = ?5 AND ",
    |(patient, _)| *patient.id.as_bytes()
);

/// One resident of the scope.
pub(in crate::store) fn find(tx: &Tx<'_>, id: PatientId) -> Result<Option<Patient>> {
    tx.first(select!(Patient, "patients WHERE id = ?1"), params![id])
}

/// The same, with the place in the feed of the last edit.
pub(in crate::store) fn find_with_place(tx: &Tx<'_>, id: PatientId) -> Result<Option<(Patient, u64)>> {
    tx.first(select!((Patient, u64), "patients WHERE id = ?1"), params![id])
}

/// What of a resident is in no column of its own.
fn others(patient: &Patient) -> Result<String> {
    const COLUMNS: [&str; 5] = ["mrn", "name", "date_of_birth", "room", "is_active"];
    let mut values = patient.values();
    values.retain(|key, value| !COLUMNS.contains(&key.as_str()) && !value.is_null());
    json(&values)
}

/// Writes a new row. Without a link to another resident, the MRN has to be nobody else's.
pub(in crate::store) fn insert(
    tx: &Tx<'_>,
    patient: &Patient,
    duplicate_of: Option<PatientId>,
) -> Result<()> {
    insert_into!(tx, "patients" {
        id: patient.id,
        facility_id: patient.facility_id,
        mrn: patient.mrn,
        name: patient.name,
        date_of_birth: patient.date_of_birth,
        room: patient.room,
        is_active: patient.is_active,
        created_at: patient.created_at,
        duplicate_of: duplicate_of,
        mrn_key: MRN.key(patient),
        name_key: words_key(&patient.name),
        fields: others(patient)?,
        room_key: room_key(patient),
        medicare_key: MEDICARE.key(patient),
        sort_key: sort_key(patient),
    })
    .map(drop)
}

/// What a room is compared by; empty where there is none.
fn room_key(patient: &Patient) -> String {
    patient.room.as_deref().map(fold).unwrap_or_default()
}

/// What a patient's name sorts by.
fn sort_key(patient: &Patient) -> Vec<u8> {
    name_key(&patient.name).into_bytes()
}

/// Writes the row's fields. Who was [withdrawn](withdraw) has a number of theirs again once they are in care or are
/// given another.
pub(in crate::store) fn save(tx: &Tx<'_>, patient: &Patient) -> Result<()> {
    let had = if patient.is_active { None } else { find(tx, patient.id)? };
    let key = |number: Number| {
        let is_kept = had.as_ref().is_some_and(|had| number.is_same(had, patient));
        (!is_kept).then(|| number.key(patient))
    };
    tx.execute(
        "UPDATE patients SET mrn = ?2, name = ?3, date_of_birth = ?4, room = ?5, is_active = ?6, name_key = ?8,
            fields = ?9, room_key = ?10, sort_key = ?12, mrn_key = coalesce(?7, mrn_key), medicare_key = coalesce(?11, medicare_key)
            WHERE id = ?1",
        params![
            patient.id,
            patient.mrn,
            patient.name,
            patient.date_of_birth,
            patient.room,
            patient.is_active,
            key(MRN),
            words_key(&patient.name),
            others(patient)?,
            room_key(patient),
            key(MEDICARE),
            sort_key(patient),
        ],
    )
    .map(drop)
}

/// Links a resident to another who may be the same person, or to itself when the MRN is somebody's in
/// another facility; without a link the MRN has to be nobody else's.
pub(in crate::store) fn link(tx: &Tx<'_>, id: PatientId, duplicate_of: Option<PatientId>) -> Result<()> {
    let sql = "UPDATE patients SET duplicate_of = ?2 WHERE id = ?1";
    tx.execute(sql, params![id, duplicate_of]).map(drop)
}

/// Discharges somebody whom nobody admitted: they have nobody's number, and are nobody's namesake until their row is
/// [saved](save) again.
pub(in crate::store) fn withdraw(tx: &Tx<'_>, id: PatientId) -> Result<()> {
    let sql = "UPDATE patients SET is_active = 0, duplicate_of = ?1, mrn_key = '', medicare_key = '', name_key = '' WHERE id = ?1";
    tx.execute(sql, params![id]).map(drop)
}

/// Links a resident to nobody any more; to itself where the MRN is somebody else's too.
pub(in crate::store) fn unlink(tx: &Tx<'_>, id: PatientId) -> Result<()> {
    match tx.savepoint(|tx| link(tx, id, None)) {
        Err(StoreError::Conflict("mrn")) => link(tx, id, Some(id)),
        done => done,
    }
}

/// Gives a resident the MRN that only those have whose place the resident took: one person has it once.
///
/// # Errors
/// [`StoreError::Conflict`] where somebody else has it.
pub(in crate::store) fn take_over_mrn(tx: &Tx<'_>, patient: &Patient) -> Result<()> {
    for earlier in replaced(tx, patient.id)? {
        tx.execute(OVER, params![earlier, MRN.key(patient), patient.id])?;
    }
    save(tx, patient)
}

const OVER: &str = "UPDATE patients SET duplicate_of = ?3
        WHERE id = ?1 AND mrn_key = ?2 AND mrn_key <> '' AND duplicate_of IS NULL";

/// Puts the resident's document at the end of the feed.
pub(in crate::store) fn put(tx: &Tx<'_>, feed: &mut FeedEnd, patient: &Patient) -> Result<u64> {
    let body = json(&PatientDocument { replaces: replaced(tx, patient.id)?, ..patient.document.clone() })?;
    feed.put(tx, Collection::Patients, patient.id.as_bytes(), Some(patient.id), Some(&body))
}

/// The residents whose place one took, and whose place those had taken: the first [`MAX_REPLACED`].
pub(in crate::store) fn replaced(tx: &Tx<'_>, id: PatientId) -> Result<Vec<PatientId>> {
    let sql = "SELECT id FROM patients WHERE replaced_by = ?1 ORDER BY id LIMIT ?2";
    let (mut whole, mut looked) = (vec![id], 0);
    while let Some(of) = whole.get(looked).copied() {
        let room = (MAX_REPLACED + 1).saturating_sub(whole.len());
        whole.extend(tx.all::<PatientId>(sql, params![of, room])?);
        looked += 1;
    }
    Ok(whole.split_off(1))
}

/// Who took a resident's place, who took that one's, and so on.
pub(in crate::store) fn successors(tx: &Tx<'_>, of: &Patient) -> Result<Vec<Patient>> {
    let (mut found, mut next) = (Vec::new(), of.replaced_by);
    while let Some(id) = next.filter(|_| found.len() < MAX_REPLACED) {
        let Some(one) = find(tx, id)? else { break };
        next = one.replaced_by;
        found.push(one);
    }
    Ok(found)
}

/// A resident, or the last who took the resident's place.
pub(in crate::store) fn present(tx: &Tx<'_>, id: PatientId) -> Result<Option<Patient>> {
    let Some(found) = find(tx, id)? else { return Ok(None) };
    Ok(successors(tx, &found)?.pop().or(Some(found)))
}

/// Puts a resident in another's place: the one is in care no more; what was charted about them stays theirs, and is
/// shown with the other's. Whose place the one had taken stays with them, so that [`part`] takes all of it back.
pub(in crate::store) fn replace(tx: &Tx<'_>, goes: PatientId, stays: PatientId) -> Result<()> {
    let key = params![goes, stays];
    tx.execute("UPDATE patients SET replaced_by = ?2, is_active = 0 WHERE id = ?1", key).map(drop)
}

/// Takes back that another took a resident's place.
pub(in crate::store) fn part(tx: &Tx<'_>, id: PatientId) -> Result<()> {
    tx.execute("UPDATE patients SET replaced_by = NULL WHERE id = ?1", params![id]).map(drop)
}

/// Who wrote each field of a resident last.
pub(in crate::store) const MARKS: &str = sql!(
    "SELECT field, ",
    Mark::COLUMNS,
    " FROM marks WHERE facility_id = ?1 AND collection = 'patients' AND record_id = ?2"
);

/// The resident's fields with who wrote each last. What nobody has edited since the admission counts as
/// seen by everybody.
pub(in crate::store) fn fields(tx: &Tx<'_>, patient: &Patient) -> Result<BTreeMap<String, Field>> {
    let marks = tx.all::<(String, Mark)>(MARKS, params![patient.facility_id, patient.id])?;
    let marks: BTreeMap<String, Mark> = marks.into_iter().collect();
    let unmarked = Mark { seq: 0, at: Timestamp::EPOCH, origin: None, by: None };
    let field = |(key, value): (String, Value)| {
        let mark = marks.get(&key).copied().unwrap_or(unmarked);
        (key, Field { value, mark })
    };
    Ok(patient.values().into_iter().map(field).collect())
}

row! {
    impl Mark {
        seq,
        at,
        origin = "device_id, incarnation_id, n" by origin,
        by = "user_id",
    }
}

fn origin(
    (device, incarnation, n): (Option<DeviceId>, Option<IncarnationId>, Option<u64>),
) -> Option<Origin> {
    let ((device, incarnation), n) = device.zip(incarnation).zip(n)?;
    Some(Origin { device, incarnation, n })
}

/// Writes down who wrote a field last.
pub(in crate::store) fn mark(tx: &Tx<'_>, of: &Patient, field: &str, mark: &Mark) -> Result<()> {
    let earlier = "DELETE FROM marks WHERE facility_id = ?1 AND collection = 'patients' AND record_id = ?2 AND field = ?3";
    tx.execute(earlier, params![of.facility_id, of.id, field])?;
    insert_into!(tx, "marks" {
        facility_id: of.facility_id,
        collection: Collection::Patients,
        record_id: of.id,
        field: field,
        seq: mark.seq,
        at: mark.at,
        user_id: mark.by,
        device_id: mark.origin.map(|origin| origin.device),
        incarnation_id: mark.origin.map(|origin| origin.incarnation),
        n: mark.origin.map(|origin| origin.n),
    })
    .map(drop)
}

/// How those are found who have one of the [numbers](protocol::numbers) that are one person's each.
#[derive(Clone, Copy)]
pub(in crate::store) struct Number {
    /// Its key among the fields.
    pub(in crate::store) field: &'static str,
    /// Those who have it, each with when they were admitted, and who took their place: the first [`MAX_COUNTED`].
    pub(in crate::store) had_by: &'static str,
    /// Whether somebody has it whose place nobody took.
    pub(in crate::store) held: &'static str,
}

macro_rules! number {
    ($field:literal) => {
        Number {
            field: $field,
            had_by: sql!(
                "SELECT created_at, id, replaced_by FROM patients WHERE facility_id = ?1 AND ",
                concat!($field, "_key = ?2 AND ", $field, "_key <> ''"),
                " AND id <> ?3 ORDER BY created_at, id LIMIT ?4"
            ),
            held: sql!(
                "SELECT 1 FROM patients WHERE facility_id = ?1 AND ",
                concat!($field, "_key = ?2 AND ", $field, "_key <> ''"),
                " AND replaced_by IS NULL AND id <> ?3 LIMIT 1"
            ),
        }
    };
}

pub(in crate::store) const MRN: Number = number!("mrn");
pub(in crate::store) const MEDICARE: Number = number!("medicare");
pub(in crate::store) const NUMBERS: [Number; 2] = [MRN, MEDICARE];

impl Number {
    /// What a resident's is compared by; empty where there is none.
    fn key(self, of: &Patient) -> String {
        protocol::field(self.field).map(|field| field.number_key(of)).unwrap_or_default()
    }

    /// Whether it is the same of both.
    fn is_same(self, one: &Patient, other: &Patient) -> bool {
        protocol::field(self.field).is_some_and(|field| field.of(one) == field.of(other))
    }

    /// Those who have a resident's.
    fn had_by(self, tx: &Tx<'_>, of: &Patient) -> Result<Vec<Admitted>> {
        tx.all(self.had_by, params![of.facility_id, self.key(of), of.id, MAX_COUNTED])
    }
}

/// Those of a resident's name, where the days of birth do not contradict each other. The first
/// [`MAX_COUNTED`] namesakes are looked at, so that the look-up costs no more however many there are.
pub(in crate::store) const OF_NAME: &str = "SELECT created_at, id, replaced_by FROM
        (SELECT created_at, id, date_of_birth, replaced_by FROM patients
            WHERE facility_id = ?1 AND name_key = ?2 AND name_key <> '' ORDER BY created_at, id LIMIT ?4) AS namesakes
    WHERE id <> ?3 AND (date_of_birth IS NULL OR ?5 IS NULL
        OR substr(date_of_birth, 1, length(?5)) = ?5 OR substr(?5, 1, length(date_of_birth)) = date_of_birth)";

/// Those who were born on a day: the first [`MAX_COUNTED`] of them.
pub(in crate::store) const OF_DAY: &str = select!(
    Patient,
    "patients WHERE facility_id = ?1 AND date_of_birth = ?2 AND id <> ?3 AND name_key <> '' ORDER BY created_at, id LIMIT ?4"
);

/// Those who have a room, or had it: those in care first, then those who came last, [`MAX_COUNTED`] of them.
pub(in crate::store) const OF_ROOM: &str = select!(
    Patient,
    "patients WHERE facility_id = ?1 AND room_key = ?2 AND room_key <> '' AND id <> ?3 AND name_key <> ''
        ORDER BY is_active DESC, created_at DESC, id DESC LIMIT ?4"
);

/// Those who had the number of somebody admitted before them when reviews began to ask about it.
pub(in crate::store) const UNASKED: &str =
    "SELECT id FROM patients WHERE facility_id = ?1 AND unasked = 1 ORDER BY id LIMIT ?2";

type Admitted = (Timestamp, PatientId, Option<PatientId>);

/// Residents of the facility who may be the same person ([`may_be_one`]): by a number, by name, by birthday or by room;
/// whoever was there first leads. Of those whose place another took, that one is.
pub(in crate::store) fn alike(tx: &Tx<'_>, admitted: &Patient) -> Result<Vec<PatientId>> {
    let mut found = numbered(tx, admitted, |_| true)?;
    let (facility, id) = (admitted.facility_id.as_bytes(), admitted.id.as_bytes());
    let key = params![facility, words_key(&admitted.name), id, MAX_COUNTED, admitted.date_of_birth];
    found.extend(tx.all::<Admitted>(OF_NAME, key)?);
    let born = admitted.date_of_birth.as_deref();
    let mut like = tx.all::<Patient>(OF_ROOM, params![facility, room_key(admitted), id, MAX_COUNTED])?;
    for day in born.into_iter().map(str::to_owned).chain(born.and_then(day::turned)) {
        like.extend(tx.all::<Patient>(OF_DAY, params![facility, day, id, MAX_COUNTED])?);
    }
    let alike = like.into_iter().filter(|other| may_be_one(admitted, other));
    found.extend(alike.map(|other| (other.created_at, other.id, other.replaced_by)));
    in_order(tx, admitted, found)
}

/// Those about whom a review asks when somebody is admitted: not who was said to be another, unless they have one
/// number, which is one person's.
pub(in crate::store) fn asked_about(
    tx: &Tx<'_>,
    admitted: &Patient,
    is_another: impl Fn(PatientId) -> bool,
) -> Result<Vec<PatientId>> {
    let mut alike = alike(tx, admitted)?;
    if alike.iter().any(|id| is_another(*id)) {
        let of_number = in_order(tx, admitted, numbered(tx, admitted, |_| true)?)?;
        alike.retain(|id| of_number.contains(id) || !is_another(*id));
    }
    Ok(alike)
}

/// The same when somebody is edited: about those who have a number that the resident was given, or any of the
/// resident's where they are in care, or a person of their own, again; and about those whom the edit makes
/// [alike](newly_alike). Not about whom their own open review asks already.
pub(in crate::store) fn newly_asked_about(
    tx: &Tx<'_>,
    had: &Patient,
    of: &Patient,
    is_another: impl Fn(PatientId) -> bool,
) -> Result<Vec<PatientId>> {
    let is_back = of.is_active && !had.is_active || of.replaced_by != had.replaced_by;
    let of_number = numbered(tx, of, |number| is_back || !number.is_same(had, of))?;
    let mut found = in_order(tx, of, of_number)?;
    for alike in newly_alike(tx, had, of)? {
        if !found.contains(&alike) && !is_another(alike) {
            found.push(alike);
        }
    }
    not_asking(tx, of.id, found)
}

/// Who may be the resident since an edit of the name, the birthday or the room, and might not be before.
pub(in crate::store) fn newly_alike(tx: &Tx<'_>, had: &Patient, of: &Patient) -> Result<Vec<PatientId>> {
    let is_same =
        had.name == of.name && had.date_of_birth == of.date_of_birth && room_key(had) == room_key(of);
    if is_same || of.replaced_by.is_some() {
        return Ok(Vec::new());
    }
    let before = alike(tx, had)?;
    let mut found = alike(tx, of)?;
    found.retain(|id| !before.contains(id));
    Ok(found)
}

/// Residents of the facility who have the same MRN.
pub(in crate::store) fn of_mrn(tx: &Tx<'_>, of: &Patient) -> Result<Vec<PatientId>> {
    in_order(tx, of, MRN.had_by(tx, of)?)
}

/// Whether another resident of the facility has the same MRN or Medicare number, of those whose place nobody took.
pub(in crate::store) fn is_anothers_number(tx: &Tx<'_>, of: &Patient) -> Result<bool> {
    for number in NUMBERS {
        if tx.exists(number.held, params![of.facility_id, number.key(of), of.id])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who in the scope has a resident's MRN, which nobody else in the organization may have; of somebody whose place
/// another took, that one.
pub(in crate::store) fn holder(tx: &Tx<'_>, of: &Patient) -> Result<Option<Patient>> {
    let sql =
        "SELECT id FROM patients WHERE mrn_key = ?1 AND mrn_key <> '' AND duplicate_of IS NULL AND id <> ?2";
    let holder = tx.first(sql, params![MRN.key(of), of.id])?;
    Ok(holder.map(|id| present(tx, id)).transpose()?.flatten())
}

/// Opens a review about each of those who had another's number before reviews asked about it, unless one does: at most
/// so many. Says whether there may be more.
pub(in crate::store) fn ask_about_numbers(tx: &Tx<'_>, most: usize) -> Result<bool> {
    let facility = tx.facility_scope()?.facility();
    let unasked: Vec<PatientId> = tx.all(UNASKED, params![facility, most])?;
    if unasked.is_empty() {
        return Ok(false);
    }
    let mut feed = FeedEnd::open(tx)?;
    for id in &unasked {
        // The number of whoever was replaced since is nobody's question.
        let patient = find(tx, *id)?.filter(|patient| patient.replaced_by.is_none());
        let others = not_asking(tx, *id, patient.map_or(Ok(Vec::new()), |patient| of_mrn(tx, &patient))?)?;
        if !others.is_empty() {
            pair(tx, &mut feed, *id, &others)?;
        }
        tx.execute("UPDATE patients SET unasked = NULL WHERE id = ?1", params![id])?;
    }
    feed.close(tx)?;
    Ok(unasked.len() >= most)
}

/// Who a resident may be, by the open review that asks.
pub(in crate::store) fn may_be(tx: &Tx<'_>, id: PatientId) -> Result<Vec<PatientId>> {
    let found = review::find_open(tx, duplicates(id))?;
    Ok(found.into_iter().flat_map(|review| review.others).map(PatientId::from).collect())
}

/// Opens a review of whether a resident is one of the others, or adds them to it.
pub(in crate::store) fn pair(
    tx: &Tx<'_>,
    feed: &mut FeedEnd,
    id: PatientId,
    alike: &[PatientId],
) -> Result<()> {
    let others: Vec<_> = alike.iter().map(|other| (*other).into()).collect();
    review::gather(tx, feed, duplicates(id), id, &others)
}

/// The review of whether a resident is another.
fn duplicates(id: PatientId) -> About {
    About { kind: ReviewKind::Duplicate, collection: Collection::Patients, record: id.into() }
}

/// Those of others whose own open review does not ask whether they are a resident.
fn not_asking(tx: &Tx<'_>, id: PatientId, others: Vec<PatientId>) -> Result<Vec<PatientId>> {
    let mut not_asking = Vec::new();
    for other in others {
        if !may_be(tx, other)?.contains(&id) {
            not_asking.push(other);
        }
    }
    Ok(not_asking)
}

/// Those who have one of these numbers of a resident's.
fn numbered(tx: &Tx<'_>, of: &Patient, which: impl Fn(Number) -> bool) -> Result<Vec<Admitted>> {
    let mut found = Vec::new();
    for number in NUMBERS.into_iter().filter(|number| which(*number)) {
        found.extend(number.had_by(tx, of)?);
    }
    Ok(found)
}

fn in_order(tx: &Tx<'_>, of: &Patient, found: Vec<Admitted>) -> Result<Vec<PatientId>> {
    let own = successors(tx, of)?.last().map_or(of.id, |present| present.id);
    let mut alike = Vec::new();
    for (at, id, replaced_by) in found {
        let present = replaced_by.map(|next| present(tx, next)).transpose()?.flatten();
        alike.push(present.map_or((at, id), |present| (present.created_at, present.id)));
    }
    alike.sort_unstable();
    alike.dedup();
    Ok(alike.into_iter().map(|(_, id)| id).filter(|id| *id != own).collect())
}

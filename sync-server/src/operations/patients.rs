//! Patients and their records: every read and write needs a permit and is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType, AuditSource};
use carepost_protocol::change::{Change, MAX_REASON};
use carepost_protocol::day::Today;
use carepost_protocol::id::{FacilityId, PatientId, RecordId};
use carepost_protocol::patient::{self, FIELDS, MAX_NAME};
use carepost_protocol::record::{MAX_REPLACED, PatientDocument, RecordDocument};
use carepost_protocol::role::{Actor, ManagePatients, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::workflow::FieldError;
use carepost_protocol::zone::Zone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::Permitted;
use super::merge::given;
use super::paging::{Page, Which};
use super::person::Person;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::store::{
    AuditQuery, Audited, ChartPlace, Listed, NewPatient, Patient, Related, StoreError, Version, Versioned,
};

/// The field that a discharge and a readmission set.
const IS_ACTIVE: &str = "is_active";
/// The most of whom it is asked whether somebody is one.
const ASKED: usize = 6;
/// How many of the patients in a list one audit event names.
const NAMED: usize = 200;
/// How many are listed by their ids at once.
const MOST_IDS: usize = 100;
/// By which an audit event tells the last edit of the patient whom it shows; of a list, of each whom it names.
const SEEN_TO: &str = "seen_to";
/// How many of a session's or a person's events are looked through for that at once, the latest first.
const LOOKS: usize = 200;
/// How many times so many: whoever has done more since is taken to have seen nothing, and a review keeps both values.
const PAGES: usize = 5;

/// The fields of a patient, by key: those of [`patient::FIELDS`] that are asked for, and nothing else.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub struct Fields(pub Map<String, Value>);

/// Which patients.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichPatients {
    /// Only of this facility.
    pub facility_id: Option<FacilityId>,
    /// Those in care, or those who are not; all unless given.
    pub is_active: Option<bool>,
    /// Those whose name, room or number begins so, in any order of words, as a kiosk finds them; also under what those
    /// were called whose place they took.
    pub find: Option<String>,
    /// Those of these ids, up to 100 with commas between, in one page. It is given alone.
    pub ids: Option<String>,
}

/// A new patient. The `name` has to be given, the other fields where they are known.
#[derive(Deserialize, ToSchema)]
pub struct CreatePatient {
    /// The facility.
    #[serde(alias = "facilityId")]
    pub facility_id: FacilityId,
    /// The fields.
    #[serde(flatten)]
    #[schema(ignore)]
    pub fields: Fields,
    /// The fields whose values are unlikely and right, such as the `date_of_birth` of a child, and "another person than
    /// ID" for each patient whom a refusal named (`known-resident`) and who is somebody else.
    #[serde(default)]
    pub confirmed: Vec<String>,
}

/// What changes of a patient; what is absent stays as it is, what is null is removed.
#[derive(Deserialize, ToSchema)]
pub struct UpdatePatient {
    /// The fields.
    #[serde(flatten)]
    #[schema(ignore)]
    pub fields: Fields,
    /// Whether the patient is in care now. True of one who was said to be the same person as another
    /// (`replaced_by`) parts them: both are persons of their own again.
    #[serde(default, alias = "isActive", deserialize_with = "given")]
    #[schema(value_type = bool)]
    pub is_active: Option<bool>,
    /// The fields whose new values are unlikely and right, such as the `date_of_birth` of a child, and "another person
    /// than ID" for each patient whom a refusal named (`known-resident`) and who is somebody else.
    #[serde(default)]
    pub confirmed: Vec<String>,
}

/// A patient, and who is, or may be, the same person.
pub struct PatientAndRelated {
    pub patient: Patient,
    /// The others; in a list only whose place the patient took.
    pub related: Related,
}

impl Versioned for PatientAndRelated {
    fn version(&self) -> Version {
        self.patient.version()
    }
}

/// Something charted, and whether it counts.
pub struct Charted {
    pub record: RecordDocument,
    /// The record by which it is struck out, where nobody has put it back.
    pub struck_out_by: Option<RecordId>,
}

/// The patients the asker sees, by pages: of one facility where one is given, and those who are in care, or those who
/// are not, where that is, and those who are found by a text, as on a kiosk, where one is; or those of some ids.
pub async fn list(
    person: &Person,
    asked: WhichPatients,
    which: Which,
) -> Answer<Permitted<Page<PatientAndRelated>>> {
    let WhichPatients { facility_id: facility, is_active, mut find, ids } = asked;
    if let Some(ids) = ids {
        if facility.is_some() || is_active.is_some() || find.is_some() || which != Which::default() {
            return Err(Refusal::field("ids", "give it alone, or leave it out"));
        }
        return of_ids(person, &ids).await;
    }
    let mut faults = FieldErrors::default();
    faults.maybe_text("find", find.as_mut(), MAX_NAME);
    faults.check()?;
    let permit = person.permit_of_organization()?;
    let (registry, asked) = (person.registry()?, which.paging()?);
    let went = registry.replaced(facility).await?;
    let replaced = replaced(&went);
    // Whose place somebody took is found as who that is now.
    let wanted = find.as_deref().map(|typed| {
        let sought = patient::sought(typed);
        let is_found = |id: &PatientId| went.iter().any(|it| it.id == *id && patient::is_found(it, &sought));
        let by_another: BTreeSet<PatientId> =
            replaced.iter().filter(|(_, took)| took.iter().any(is_found)).map(|(id, _)| *id).collect();
        move |it: &Patient| by_another.contains(&it.id) || patient::is_found(it, &sought)
    });
    let Listed { items, next } = registry.patients((facility, is_active), asked, wanted).await?;
    Ok((permit, Listed { items: listed(person, facility, items, replaced).await?, next }))
}

/// The patients of these ids (with commas between) whom the asker sees, as in a list: whom something names is no
/// patient that was looked at, and all of them are one look.
async fn of_ids(person: &Person, ids: &str) -> Answer<Permitted<Page<PatientAndRelated>>> {
    let ids: Option<BTreeSet<PatientId>> = ids.split(',').map(|id| id.parse().ok()).collect();
    let ids = ids.filter(|ids| ids.len() <= MOST_IDS).ok_or_else(|| {
        Refusal::field("ids", format!("give 1 to {MOST_IDS} ids of patients, with commas between"))
    })?;
    let permit = person.permit_of_organization()?;
    let registry = person.registry()?;
    let (found, went) = (registry.patients_of(ids).await?, registry.replaced(None).await?);
    Ok((permit, Listed { items: listed(person, None, found, replaced(&went)).await?, next: None }))
}

/// Admits a patient. One who may be another of the facility is asked about, as on a kiosk, and admitted where that is
/// said to be somebody else: a review asks only about a number that both have.
pub async fn create(person: &Person, asked: CreatePatient) -> Answer<Permitted<PatientAndRelated>> {
    let permit = person.permit(asked.facility_id)?;
    let mut faults = FieldErrors::default();
    let mut given = asked.fields.known(&mut faults);
    // What is missing is told with all else that is wrong.
    given.extend(patient::missing(&given).into_iter().map(|fault| (fault.field, Value::Null)));
    let today = today(person, asked.facility_id).await?;
    let (fields, _) = faults.and(patient::read(&given, today))?;
    is_meant(patient::doubts(&fields, &Map::new(), today), &asked.confirmed)?;
    let mrn = mrn(&fields);
    let new = NewPatient { facility_id: asked.facility_id, fields };
    let mut admitted = Patient {
        facility_id: new.facility_id,
        created_at: clock::now(),
        document: PatientDocument::new(PatientId::from_bytes([0; 16])),
    };
    admitted.set_all(&new.fields);
    let others = others(&asked.confirmed);
    is_nobody_here(person, &permit, None, admitted, &others).await?;
    // Who is new has no edit yet.
    let event = event(person, AuditAction::Create, "patient").detail(SEEN_TO, 0);
    let audited = person.audited(event)?.another_than(others);
    let patient = or_of_whom(person, &mrn, audited.create_patient(new).await).await?;
    Ok(done(person, permit, patient).await)
}

/// One patient, and since when the patient is in care, or is not, where that is known. Who is not shown the body
/// (`is_shown`) has not seen the patient.
pub async fn show(
    person: &Person,
    id: PatientId,
    is_shown: bool,
) -> Answer<Permitted<(PatientAndRelated, Option<Timestamp>)>> {
    let (permit, patient, written) = looked_at(person, id).await?;
    let look = event(person, AuditAction::View, "patient").patient(id, patient.facility_id);
    person.write(if is_shown { look.detail(SEEN_TO, written) } else { look }).await?;
    let since = person.facility(patient.facility_id)?.is_active_since(&permit, patient.clone()).await?;
    let related = related(person, &permit, &patient).await?;
    Ok((permit, (PatientAndRelated { patient, related }, since)))
}

/// Changes who or where a patient is, and parts whoever was said to be the same person as another. Without a version
/// that is expected, it goes by when the person last looked: what others wrote of the same field since is kept in a
/// review.
pub async fn update(
    person: &Person,
    id: PatientId,
    asked: UpdatePatient,
) -> Answer<Permitted<PatientAndRelated>> {
    let mut faults = FieldErrors::default();
    let given = asked.fields.known(&mut faults);
    let (permit, before, written) = looked_at(person, id).await?;
    let today = today(person, before.facility_id).await?;
    let (mut fields, _) = faults.and(patient::read_edit(&given, &before.values(), today))?;
    is_meant(patient::doubts(&fields, &before.values(), today), &asked.confirmed)?;
    let mut edited = before.clone();
    edited.set_all(&fields);
    let others = others(&asked.confirmed);
    is_nobody_here(person, &permit, Some(before.clone()), edited, &others).await?;
    fields.extend(asked.is_active.map(|is_active| (IS_ACTIVE.to_owned(), Value::from(is_active))));
    let event = event(person, AuditAction::Update, "patient").detail(SEEN_TO, written);
    let event = match before.replaced_by.filter(|_| asked.is_active == Some(true)) {
        Some(other) => event.detail("parted_from", other.to_string()),
        None => event,
    };
    let seen_to = seen_to(person, &permit, (&before, written)).await?;
    let (audited, mrn) = (person.audited(event)?.seen_to(seen_to).another_than(others), mrn(&fields));
    let patient = or_of_whom(person, &mrn, audited.update_patient(id, fields).await).await?;
    Ok(done(person, permit, patient).await)
}

/// Discharges a patient: no longer in care here, and kept.
pub async fn discharge(person: &Person, id: PatientId) -> Answer<Permitted<PatientAndRelated>> {
    let fields = Map::from_iter([(IS_ACTIVE.to_owned(), Value::from(false))]);
    let (permit, before, written) = looked_at(person, id).await?;
    let event = event(person, AuditAction::Delete, "patient").detail(SEEN_TO, written);
    let seen_to = seen_to(person, &permit, (&before, written)).await?;
    let patient = person.audited(event)?.seen_to(seen_to).update_patient(id, fields).await?;
    Ok(done(person, permit, patient).await)
}

/// What was charted about a patient, latest first, by pages: what devices hold, and then what has left them; and how
/// many of the page cannot be read.
pub async fn records(
    person: &Person,
    id: PatientId,
    which: &Which,
) -> Answer<(Listed<Charted, ChartPlace>, usize)> {
    let (after, most) = which.read("latest")?;
    let (permit, patient) = permitted(person, id).await?;
    let facility = person.facility(patient.facility_id)?;
    let records = facility.records(&permit, id, after, most).await?;
    let ids = records.items.iter().map(|record| record.id).collect();
    let mut struck = facility.struck(&permit, ids).await?;
    // Of whoever's place was taken, too: it is their chart.
    let whose: BTreeSet<PatientId> =
        records.items.iter().map(|record| record.patient_id).chain([id]).collect();
    for of in whose {
        viewed(person, of, patient.facility_id, "record").await?;
    }
    let charted = |record: RecordDocument| Charted { struck_out_by: struck.remove(&record.id), record };
    let items = records.items.into_iter().map(charted).collect();
    Ok((Listed { items, next: records.next }, records.left_out))
}

/// Strikes out what was charted in error, and says why: it stays, marked, and a correction at a kiosk puts it back.
/// By the same rule as on a kiosk, and as the same record: one that corrects it, without values. Gives it with the
/// facility.
pub async fn strike(
    person: &Person,
    id: PatientId,
    record: RecordId,
    mut reason: String,
) -> Answer<(RecordDocument, FacilityId)> {
    let mut faults = FieldErrors::default();
    faults.text("reason", &mut reason, MAX_REASON);
    faults.check()?;
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit::<ManagePatients>(patient.facility_id)?;
    let audited = person.audited(event(person, AuditAction::Update, "record"))?;
    let struck = audited.strike_record(&permit, id, record, reason).await?;
    Ok((struck.record, patient.facility_id))
}

impl Fields {
    /// Each by the key that documents have, whichever of both spellings it was given in.
    fn known(self, faults: &mut FieldErrors) -> Map<String, Value> {
        let mut known = Map::new();
        for (given, value) in self.0 {
            let field = FIELDS.iter().find(|field| field.is_asked() && is_spelled(field.key, &given));
            faults.unless(field.is_some(), &given, "there is no such field; check how it is spelled");
            let twice = field.and_then(|field| known.insert(field.key.to_owned(), value));
            faults.unless(twice.is_none(), &given, "it is given twice; give it once");
        }
        known
    }
}

/// Whether a key was given: as `date_of_birth`, or as `dateOfBirth`.
fn is_spelled(key: &str, given: &str) -> bool {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    let camel = words.fold(first, |camel, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        camel + &initial.to_ascii_uppercase() + rest
    });
    [key, &camel].contains(&given)
}

/// A patient in the asker's scope.
async fn permitted(person: &Person, id: PatientId) -> Answer<Permitted<Patient>> {
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit(patient.facility_id)?;
    Ok((permit, patient))
}

/// The same, with the place in the feed of the last edit: whoever is shown the patient has seen it.
async fn looked_at(person: &Person, id: PatientId) -> Answer<(Permit<ReadPatients>, Patient, u64)> {
    let (permit, known) = permitted(person, id).await?;
    let (patient, written) = person.facility(known.facility_id)?.patient(&permit, id).await?;
    Ok((permit, patient, written))
}

/// Up to where in the feed a person has seen a patient who is written up to there: as of the last time that the session
/// was shown that one alone, or else in a list, which the audit log knows; where it never was, that any session of the
/// person's was, within the hours of one. None where none was, and where the edit is only of what was seen. Admissions
/// and edits count as a list does; once one was looked at alone that goes first, and so do edits, as a list may be read
/// beside an open form.
async fn seen_to(
    person: &Person,
    permit: &Permit<ReadPatients>,
    (patient, written): (&Patient, u64),
) -> Answer<Option<u64>> {
    if person.is_bound() {
        return Ok(None);
    }
    let session = Duration::from_secs(u64::from(person.app.config.session_hours) * 3_600);
    let began = clock::now().before(session);
    // Whoever was not written since has been shown as they are, if at all: no look has to be found.
    if !person.facility(patient.facility_id)?.is_written_since(permit, patient.id, began).await? {
        return Ok(Some(written));
    }
    let looks = AuditQuery {
        source: Some(AuditSource::Server),
        since: Some(began),
        limit: LOOKS,
        ..AuditQuery::default()
    };
    let Actor { session, user, .. } = *person.actor();
    let by_session = AuditQuery { session: Some(session), ..looks.clone() };
    match shown(person, patient.id, by_session).await? {
        None => shown(person, patient.id, AuditQuery { user: Some(user), ..looks }).await,
        seen_to => Ok(seen_to),
    }
}

/// The same, as of some looks.
async fn shown(person: &Person, patient: PatientId, looks: AuditQuery) -> Answer<Option<u64>> {
    let mut latest_alone: Option<u64> = None;
    let alone = |events: &[Audited]| {
        let tells = |told: &AuditEvent| Some((told.action, told.details.get(SEEN_TO)?.as_u64()?));
        let mut told: Vec<(AuditAction, u64)> = events.iter().filter_map(|it| tells(&it.event)).collect();
        told.retain(|(action, _)| *action != AuditAction::Create);
        latest_alone = latest_alone.max(told.iter().map(|(_, seen_to)| *seen_to).max());
        latest_alone.filter(|_| told.iter().any(|(action, _)| *action == AuditAction::View))
    };
    let of_patient = AuditQuery { patient: Some(patient), ..looks.clone() };
    let alone = latest(person, of_patient, alone).await?;
    if alone.is_some() {
        return Ok(alone);
    }
    let id = Value::from(patient.to_string());
    let written_or_in_list = |told: &AuditEvent| {
        let seen_to = told.details.get(SEEN_TO)?;
        if told.patient_id == Some(patient) {
            return seen_to.as_u64();
        }
        let at = told.details.get("patients")?.as_array()?.iter().position(|named| *named == id)?;
        seen_to.get(at)?.as_u64()
    };
    let any = |events: &[Audited]| events.iter().filter_map(|it| written_or_in_list(&it.event)).max();
    latest(person, looks, any).await
}

/// What the latest of some events tell, so many at once.
async fn latest(
    person: &Person,
    mut looks: AuditQuery,
    mut tells: impl FnMut(&[Audited]) -> Option<u64>,
) -> Answer<Option<u64>> {
    let registry = person.registry()?;
    for _ in 0..PAGES {
        let Listed { items, next } = registry.audit_events(looks.clone()).await?;
        let seen = tells(&items);
        if seen.is_some() || next.is_none() {
            return Ok(seen);
        }
        looks.after = next;
    }
    Ok(Some(0))
}

/// The day that it is in a facility.
async fn today(person: &Person, facility: FacilityId) -> Answer<Today> {
    let facility = person.registry()?.facility(facility).await?;
    let zone = facility.time_zone.as_deref().and_then(Zone::named);
    Ok(Today::of(zone.as_ref(), clock::now()))
}

/// What is unlikely has to be meant.
fn is_meant(doubts: Vec<FieldError>, confirmed: &[String]) -> Answer<()> {
    let asked = doubts.into_iter().filter(|doubt| !confirmed.contains(&doubt.field)).map(|doubt| {
        let words = format!("{}, or say that it is right (`confirmed`)", doubt.detail);
        FieldError::new(doubt.field, words)
    });
    let asked: Vec<FieldError> = asked.collect();
    if asked.is_empty() { Ok(()) } else { Err(Refusal::invalid(asked)) }
}

/// Those of whom it was said that the patient is another person.
fn others(confirmed: &[String]) -> BTreeSet<PatientId> {
    confirmed.iter().filter_map(|said| Change::another_than(said)).collect()
}

/// Whether whoever is admitted, or edited to be so from what they `had`, may be somebody else than these whom the
/// facility knows, in care or not: by the rule of its kiosks.
async fn is_nobody_here(
    person: &Person,
    permit: &Permit<ReadPatients>,
    had: Option<Patient>,
    asked: Patient,
    others: &BTreeSet<PatientId>,
) -> Answer<()> {
    let is_admitted = had.is_none();
    let mut alike = person.facility(asked.facility_id)?.alike(permit, had, asked).await?;
    alike.retain(|known| !others.contains(&known.id));
    if alike.is_empty() {
        return Ok(());
    }
    alike.sort_by_key(|known| !known.is_active);
    alike.truncate(ASKED);
    let look =
        |known: &Patient| event(person, AuditAction::View, "patient").patient(known.id, known.facility_id);
    person.write_all(alike.iter().map(look).collect()).await?;
    let named: Vec<String> = alike.iter().map(|known| as_known(known, is_admitted)).collect();
    let words =
        format!("This may be {}. Where it is another person, say so (`confirmed`).", named.join(", or "));
    let unsaid = alike.iter().map(|known| FieldError::new("confirmed", Change::another(known.id)));
    Err(unsaid.fold(Refusal::new(ProblemKind::KnownResident, words), Refusal::naming))
}

/// Who somebody is, and what to do where that is whoever is to be admitted.
fn as_known(known: &Patient, is_admitted: bool) -> String {
    let marks = ["mrn", "date_of_birth", "room"].into_iter().filter_map(|key| {
        let field = patient::field(key)?;
        Some(format!("{} {}", field.short, field.shown(known)?))
    });
    let id = known.id;
    let standing = match (known.is_active, is_admitted) {
        (true, true) => "in care: change what is news of that one".to_owned(),
        (true, false) => "in care".to_owned(),
        (false, true) => format!(
            "discharged: readmit that one, `carepost-server patient readmit {id}`, or `is_active` true of it"
        ),
        (false, false) => "discharged".to_owned(),
    };
    let marks: String = marks.map(|mark| format!("{mark}, ")).collect();
    format!("{} ({marks}patient {id}; {standing})", known.name)
}

/// A patient whose change is committed, with who is, or may be, the same person. Where that cannot be read, or the
/// look at them not be written down, nobody is named: an error would say that nothing was done.
async fn done(
    person: &Person,
    permit: Permit<ReadPatients>,
    patient: Patient,
) -> Permitted<PatientAndRelated> {
    let related = related(person, &permit, &patient).await.unwrap_or_else(|refusal| {
        tracing::warn!(patient = %patient.id, ?refusal, "changed; who may be the same person is not told");
        Related { replaces: Vec::new(), may_be: Vec::new() }
    });
    (permit, PatientAndRelated { patient, related })
}

/// Who is, or may be, the same person as a patient; that those whom the answer names are seen is written down.
async fn related(person: &Person, permit: &Permit<ReadPatients>, patient: &Patient) -> Answer<Related> {
    let facility = patient.facility_id;
    let related = person.facility(facility)?.related(permit, patient.id).await?;
    let look = |other: &Patient| event(person, AuditAction::View, "patient").patient(other.id, facility);
    person.write_all(related.may_be.iter().map(look).collect()).await?;
    Ok(related)
}

/// Patients of a list, whom the audit log names before they are shown.
async fn listed(
    person: &Person,
    facility: Option<FacilityId>,
    items: Vec<(Patient, u64)>,
    mut replaced: BTreeMap<PatientId, Vec<PatientId>>,
) -> Answer<Vec<PatientAndRelated>> {
    let look = |seen: &[(Patient, u64)]| {
        let named = seen.iter().map(|(patient, written)| (patient.id.to_string(), *written));
        let (ids, seen_to): (Vec<_>, Vec<_>) = named.unzip();
        let event = event(person, AuditAction::View, "patient").facility(facility);
        event.detail("count", seen.len()).detail("patients", ids).detail(SEEN_TO, seen_to)
    };
    // Who found nobody has looked, too.
    let nobody = items.is_empty().then_some(items.as_slice());
    person.write_all(items.chunks(NAMED).chain(nobody).map(look).collect()).await?;
    let known = |(patient, _): (Patient, u64)| {
        let replaces = replaced.remove(&patient.id).unwrap_or_default();
        PatientAndRelated { patient, related: Related { replaces, may_be: Vec::new() } }
    };
    Ok(items.into_iter().map(known).collect())
}

/// Whose place each patient took, by all whose place another took.
fn replaced(patients: &[Patient]) -> BTreeMap<PatientId, Vec<PatientId>> {
    let by: BTreeMap<PatientId, PatientId> =
        patients.iter().filter_map(|patient| Some((patient.id, patient.replaced_by?))).collect();
    let mut replaced: BTreeMap<PatientId, Vec<PatientId>> = BTreeMap::new();
    for id in by.keys() {
        let later = std::iter::successors(by.get(id), |next| by.get(*next)).take(MAX_REPLACED);
        later.for_each(|stays| replaced.entry(*stays).or_default().push(*id));
    }
    replaced
}

/// Where an MRN is that of somebody whom the asker may read: says whose, once that is written down as a look.
async fn or_of_whom(person: &Person, mrn: &str, done: Result<Patient, StoreError>) -> Answer<Patient> {
    let fault = match done {
        Ok(patient) => return Ok(patient),
        Err(fault) => fault,
    };
    let StoreError::Admitted(id) = fault else { return Err(fault.into()) };
    let Ok((_, holder)) = permitted(person, id).await else { return Err(fault.into()) };
    viewed(person, id, holder.facility_id, "patient").await?;
    let name = &holder.name;
    let words = if holder.is_active {
        format!("mrn {mrn} is of {name} (patient {id}), who is in care; give another number")
    } else {
        format!(
            "mrn {mrn} is of {name} (patient {id}), who was discharged; readmit that one (`carepost-server patient readmit \
             {id}`, or `is_active` true of it), or give another number"
        )
    };
    Err(Refusal::new(ProblemKind::Conflict, words).naming(FieldError::new("mrn", "is taken")))
}

/// The MRN among fields that were read; empty where there is none.
fn mrn(fields: &Map<String, Value>) -> String {
    fields.get("mrn").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn event(person: &Person, action: AuditAction, what: &str) -> AuditEvent {
    person.event(AuditEventType::PhiAccess, action, what)
}

/// Written before the patient is shown.
async fn viewed(person: &Person, patient: PatientId, facility: FacilityId, what: &str) -> Answer<()> {
    person.write(event(person, AuditAction::View, what).patient(patient, facility)).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_fields_that_are_unknown_or_given_twice_are_told_at_once() {
        let given = json!({"colour": "red", "dateOfBirth": "1934", "date_of_birth": "1934", "shoe_size": 9});
        let mut faults = FieldErrors::default();
        Fields(given.as_object().unwrap().clone()).known(&mut faults);
        let refused = faults.check().unwrap_err();
        let named: Vec<_> = refused.problem().errors.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["colour", "date_of_birth", "shoe_size"]);
    }
}

//! Patients and their records: every read and write needs a permit and is written down.

use std::collections::BTreeSet;

use axum::extract::{FromRequestParts, Path};
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::change::MAX_REASON;
use carepost_protocol::day::Today;
use carepost_protocol::id::{FacilityId, PatientId, RecordId};
use carepost_protocol::patient;
use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::{ManagePatients, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::workflow::FieldError;
use carepost_protocol::zone::Zone;
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{List, present};
use crate::audit::Note;
use crate::clock;
use crate::error::{Answer, Faults, Refusal};
use crate::http::body::{Id, Json, Params};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::{NewPatient, Patient, PatientPatch, StoreError};

/// How many of the patients in a list the audit log names; beyond them it only counts.
const NAMED: usize = 200;

/// A new patient.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePatient {
    /// The facility.
    #[serde(alias = "facilityId")]
    facility_id: FacilityId,
    /// The medical record number, unique in the organization (S0-17).
    mrn: String,
    /// The full name.
    name: String,
    /// The day of birth: `YYYY-MM-DD` or `MM/DD/YYYY`.
    #[serde(default, alias = "dateOfBirth")]
    date_of_birth: Option<String>,
    /// The room.
    #[serde(default)]
    room: Option<String>,
}

/// What changes of a patient; what is absent stays as it is, what is null is removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePatient {
    /// The medical record number.
    #[serde(default)]
    mrn: Option<String>,
    /// The full name.
    #[serde(default)]
    name: Option<String>,
    /// The day of birth.
    #[serde(default, alias = "dateOfBirth", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    date_of_birth: Option<Option<String>>,
    /// The room.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    room: Option<Option<String>>,
    /// Whether the patient is in care now.
    #[serde(default, alias = "isActive")]
    is_active: Option<bool>,
}

/// Why something was charted in error.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StrikeRecord {
    /// In words, such as the wrong resident; it stands in the chart.
    reason: String,
}

/// Of whom a path speaks, and of which record.
pub struct Charted {
    patient: PatientId,
    record: RecordId,
}

impl<S: Send + Sync> FromRequestParts<S> for Charted {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((patient, record)) = path.map_err(|_| Refusal::not_found())?;
        let none = |_| Refusal::not_found();
        Ok(Self { patient: patient.parse().map_err(none)?, record: record.parse().map_err(none)? })
    }
}

/// Something charted, and whether it counts.
#[derive(Serialize)]
pub struct RecordView {
    #[serde(flatten)]
    record: RecordDocument,
    /// The record by which it is struck out, where nobody has put it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    struck_out_by: Option<RecordId>,
}

/// A patient.
#[derive(Serialize, ToSchema)]
pub struct PatientView {
    /// The patient.
    id: PatientId,
    /// The facility.
    facility_id: FacilityId,
    /// The medical record number.
    mrn: String,
    /// The full name.
    name: String,
    /// The day of birth, `YYYY-MM-DD`.
    date_of_birth: Option<String>,
    /// The room.
    room: Option<String>,
    /// Whether the patient is in care now.
    is_active: bool,
    /// Since when that is so, where it is known; with one patient only.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active_since: Option<Timestamp>,
    /// The patient who is the same person and took this one's place: what was charted about both is one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<PatientId>,
    /// When the patient was admitted here.
    created_at: Timestamp,
}

impl PatientView {
    /// Only who may read patients gets to see one.
    fn of(_: &Permit<ReadPatients>, it: Patient) -> Self {
        Self {
            id: it.id,
            facility_id: it.facility_id,
            mrn: it.mrn,
            name: it.name,
            date_of_birth: it.date_of_birth,
            room: it.room,
            is_active: it.is_active,
            is_active_since: None,
            replaced_by: it.replaced_by,
            created_at: it.created_at,
        }
    }
}

/// Which patients.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichPatients {
    /// Only of this facility.
    facility_id: Option<FacilityId>,
    /// Those in care, or those who are not; all unless given.
    is_active: Option<bool>,
}

/// The patients the asker sees, by name.
#[utoipa::path(get, path = "/api/v1/patients", operation_id = "list_patients", tag = "patients", security(("session" = [])), params(WhichPatients), responses((status = 200, body = List<PatientView>)))]
pub async fn list_patients(
    person: Person,
    Params(which): Params<WhichPatients>,
) -> Answer<axum::Json<List<PatientView>>> {
    let permit = person.permit_of_organization::<ReadPatients>()?;
    let mut patients = person.registry()?.patients(which.facility_id).await?;
    patients.retain(|patient| which.is_active.is_none_or(|is_active| is_active == patient.is_active));
    let named: Vec<_> = patients.iter().take(NAMED).map(|patient| patient.id.to_string()).collect();
    let note = note(&person, AuditAction::View, "patient").facility(which.facility_id);
    person.write(note.detail("count", patients.len()).detail("patients", named)).await?;
    Ok(axum::Json(List::of(patients, |patient| PatientView::of(&permit, patient))))
}

/// Admits a patient.
#[utoipa::path(post, path = "/api/v1/patients", operation_id = "create_patient", tag = "patients", security(("session" = [])), request_body = CreatePatient, responses((status = 201, body = PatientView)))]
pub async fn create_patient(
    person: Person,
    Json(asked): Json<CreatePatient>,
) -> Answer<(StatusCode, axum::Json<PatientView>)> {
    let permit = person.permit::<ReadPatients>(asked.facility_id)?;
    let given = Map::from_iter([
        ("mrn".to_owned(), Value::from(asked.mrn)),
        ("name".to_owned(), Value::from(asked.name)),
        ("date_of_birth".to_owned(), Value::from(asked.date_of_birth)),
        ("room".to_owned(), Value::from(asked.room)),
    ]);
    let (read, _) =
        patient::read(&given, today(&person, asked.facility_id).await?).map_err(Refusal::invalid)?;
    let new = NewPatient {
        facility_id: asked.facility_id,
        mrn: text(&read, "mrn").ok_or_else(|| missing("mrn"))?,
        name: text(&read, "name").unwrap_or_default(),
        date_of_birth: text(&read, "date_of_birth"),
        room: text(&read, "room"),
    };
    let (noted, mrn) = (person.noting(note(&person, AuditAction::Create, "patient"))?, new.mrn.clone());
    let patient = or_of_whom(&person, &mrn, noted.create_patient(new).await).await?;
    Ok((StatusCode::CREATED, axum::Json(PatientView::of(&permit, patient))))
}

/// One patient.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}", operation_id = "show_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = PatientView)))]
pub async fn show_patient(person: Person, Id(id): Id<PatientId>) -> Answer<axum::Json<PatientView>> {
    let (patient, permit) = permitted(&person, id).await?;
    viewed(&person, patient.id, patient.facility_id, "patient").await?;
    let is_active_since =
        person.facility(patient.facility_id)?.is_active_since(&permit, patient.clone()).await?;
    Ok(axum::Json(PatientView { is_active_since, ..PatientView::of(&permit, patient) }))
}

/// Changes who or where a patient is.
#[utoipa::path(put, path = "/api/v1/patients/{patient_id}", operation_id = "update_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), request_body = UpdatePatient, responses((status = 200, body = PatientView)))]
pub async fn update_patient(
    person: Person,
    Id(id): Id<PatientId>,
    Json(asked): Json<UpdatePatient>,
) -> Answer<axum::Json<PatientView>> {
    let mut given = Map::new();
    let mut give =
        |field: &str, value: Option<Value>| given.extend(value.map(|value| (field.to_owned(), value)));
    give("mrn", asked.mrn.map(Value::from));
    give("name", asked.name.map(Value::from));
    give("date_of_birth", asked.date_of_birth.map(Value::from));
    give("room", asked.room.map(Value::from));
    let (before, permit) = permitted(&person, id).await?;
    let today = today(&person, before.facility_id).await?;
    let read = patient::read_edit(&given, &before.values(), today);
    let (read, _) = read.map_err(Refusal::invalid)?;
    if read.get("mrn").is_some_and(|mrn| mrn == "") {
        return Err(missing("mrn"));
    }
    let patch = PatientPatch {
        mrn: text(&read, "mrn"),
        name: text(&read, "name"),
        date_of_birth: read.contains_key("date_of_birth").then(|| text(&read, "date_of_birth")),
        room: read.contains_key("room").then(|| text(&read, "room")),
        is_active: asked.is_active,
    };
    let noted = person.noting(note(&person, AuditAction::Update, "patient"))?;
    let mrn = patch.mrn.clone().unwrap_or_default();
    let patient = or_of_whom(&person, &mrn, noted.update_patient(id, patch).await).await?;
    Ok(axum::Json(PatientView::of(&permit, patient)))
}

/// Discharges a patient: no longer in care here, and kept.
#[utoipa::path(delete, path = "/api/v1/patients/{patient_id}", operation_id = "discharge_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = PatientView)))]
pub async fn discharge_patient(person: Person, Id(id): Id<PatientId>) -> Answer<axum::Json<PatientView>> {
    let patch = PatientPatch { is_active: Some(false), ..PatientPatch::default() };
    let (_, permit) = permitted(&person, id).await?;
    let noted = person.noting(note(&person, AuditAction::Delete, "patient"))?;
    let patient = noted.update_patient(id, patch).await?;
    Ok(axum::Json(PatientView::of(&permit, patient)))
}

/// What was charted about a patient, latest first, by pages: what devices hold, and then what has left them. Of
/// what is struck out, `struck_out_by` names the record that says why.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}/records", operation_id = "list_records", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path), Which), responses((status = 200, body = Object, description = "`items`, and `next` where there is more: give it as `page`")))]
pub async fn list_records(
    person: Person,
    Id(id): Id<PatientId>,
    Params(which): Params<Which>,
) -> Answer<axum::Json<List<RecordView>>> {
    let (after, most) = which.read()?;
    let (patient, permit) = permitted(&person, id).await?;
    let facility = person.facility(patient.facility_id)?;
    let records = facility.records(&permit, id, after, most).await?;
    let ids = records.items.iter().map(|record| record.id).collect();
    let mut struck = facility.struck(&permit, ids).await?;
    // Of whoever's place was taken, too: it is their chart.
    let whose: BTreeSet<PatientId> =
        records.items.iter().map(|record| record.patient_id).chain([id]).collect();
    for of in whose {
        viewed(&person, of, patient.facility_id, "record").await?;
    }
    let view = |record: RecordDocument| RecordView { struck_out_by: struck.remove(&record.id), record };
    Ok(axum::Json(List::page(records, view)?))
}

/// Strikes out what was charted in error: it stays, marked, and a correction at a kiosk puts it back. By the same
/// rule as on a kiosk, and as the same record: one that corrects it, without values.
#[utoipa::path(post, path = "/api/v1/patients/{patient_id}/records/{record_id}/entered-in-error", operation_id = "strike_record", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path), ("record_id" = RecordId, Path)), request_body = StrikeRecord, responses((status = 201, body = Object, description = "The record that strikes it out")))]
pub async fn strike_record(
    person: Person,
    Charted { patient: id, record }: Charted,
    Json(mut asked): Json<StrikeRecord>,
) -> Answer<(StatusCode, axum::Json<RecordDocument>)> {
    let mut faults = Faults::default();
    faults.text("reason", &mut asked.reason, MAX_REASON);
    faults.check()?;
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit::<ManagePatients>(patient.facility_id)?;
    let noted = person.noting(note(&person, AuditAction::Update, "record"))?;
    let struck = noted.strike_record(&permit, id, record, asked.reason).await?;
    Ok((StatusCode::CREATED, axum::Json(struck.record)))
}

/// A patient in the asker's scope, and the proof that the asker's role lets read.
async fn permitted(person: &Person, id: PatientId) -> Answer<(Patient, Permit<ReadPatients>)> {
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit(patient.facility_id)?;
    Ok((patient, permit))
}

/// The day that it is in a facility.
async fn today(person: &Person, facility: FacilityId) -> Answer<Today> {
    let facility = person.registry()?.facility(facility).await?;
    let zone = facility.time_zone.as_deref().and_then(Zone::named);
    Ok(Today::of(zone.as_ref(), clock::now()))
}

/// Where an MRN is that of somebody whom the asker may read: says whose, once that is written down as a look.
async fn or_of_whom(person: &Person, mrn: &str, done: Result<Patient, StoreError>) -> Answer<Patient> {
    let fault = match done {
        Ok(patient) => return Ok(patient),
        Err(fault) => fault,
    };
    let StoreError::Admitted(id) = fault else { return Err(fault.into()) };
    let Ok((holder, permit)) = permitted(person, id).await else { return Err(fault.into()) };
    viewed(person, id, holder.facility_id, "patient").await?;
    let PatientView { name, is_active, .. } = PatientView::of(&permit, holder);
    let words = if is_active {
        format!("mrn {mrn} is of {name} (patient {id}), who is in care; give another number")
    } else {
        format!(
            "mrn {mrn} is of {name} (patient {id}), who was discharged; readmit that one (`carepost-server patient readmit \
             {id}`, or PUT /api/v1/patients/{id} with is_active true), or give another number"
        )
    };
    Err(Refusal::new(ProblemKind::Conflict, words).naming(FieldError::new("mrn", "is taken")))
}

fn text(read: &Map<String, Value>, field: &str) -> Option<String> {
    read.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn missing(field: &str) -> Refusal {
    Refusal::invalid(vec![FieldError::new(field, "give a text that people can read")])
}

fn note(person: &Person, action: AuditAction, what: &str) -> Note {
    person.note(AuditEventType::PhiAccess, action, what)
}

/// Written before the patient is shown.
async fn viewed(person: &Person, patient: PatientId, facility: FacilityId, what: &str) -> Answer<()> {
    person.write(note(person, AuditAction::View, what).patient(patient, facility)).await
}

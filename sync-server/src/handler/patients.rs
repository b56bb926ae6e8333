//! Patients and their records: every read and write needs a permit and is written down.

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::patient;
use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::workflow::FieldError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::paging::Which;
use super::users::OfFacility;
use super::{List, present};
use crate::audit::Note;
use crate::body::{Id, Json, Params};
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::guard::Person;
use crate::store::{NewPatient, Patient, PatientPatch};

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
            replaced_by: it.replaced_by,
            created_at: it.created_at,
        }
    }
}

/// The patients the asker sees, by name.
#[utoipa::path(get, path = "/api/v1/patients", operation_id = "list_patients", tag = "patients", security(("session" = [])), params(OfFacility), responses((status = 200, body = List<PatientView>)))]
pub async fn list_patients(
    person: Person,
    Params(of): Params<OfFacility>,
) -> Answer<axum::Json<List<PatientView>>> {
    let permit = person.permit_of_organization::<ReadPatients>()?;
    let patients = person.registry()?.patients(of.facility_id).await?;
    let named: Vec<_> = patients.iter().take(NAMED).map(|patient| patient.id.to_string()).collect();
    let note = note(&person, AuditAction::View, "patient").facility(of.facility_id);
    person.write(note.detail("count", patients.len()).detail("patients", named)).await?;
    Ok(axum::Json(List::of(patients, |patient| PatientView::of(&permit, patient))))
}

/// Admits a patient.
#[utoipa::path(post, path = "/api/v1/patients", operation_id = "create_patient", tag = "patients", security(("session" = [])), request_body = CreatePatient, responses((status = 201, body = PatientView)))]
pub async fn create_patient(
    person: Person,
    Json(asked): Json<CreatePatient>,
) -> Answer<(StatusCode, axum::Json<PatientView>)> {
    let read = read(Map::from_iter([
        ("mrn".to_owned(), Value::from(asked.mrn)),
        ("name".to_owned(), Value::from(asked.name)),
        ("date_of_birth".to_owned(), Value::from(asked.date_of_birth)),
        ("room".to_owned(), Value::from(asked.room)),
    ]))?;
    let new = NewPatient {
        facility_id: asked.facility_id,
        mrn: text(&read, "mrn").ok_or_else(|| missing("mrn"))?,
        name: text(&read, "name").unwrap_or_default(),
        date_of_birth: text(&read, "date_of_birth"),
        room: text(&read, "room"),
    };
    let permit = person.permit::<ReadPatients>(new.facility_id)?;
    let patient = person.noting(note(&person, AuditAction::Create, "patient"))?.create_patient(new).await?;
    Ok((StatusCode::CREATED, axum::Json(PatientView::of(&permit, patient))))
}

/// One patient.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}", operation_id = "show_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = PatientView)))]
pub async fn show_patient(person: Person, Id(id): Id<PatientId>) -> Answer<axum::Json<PatientView>> {
    let (patient, permit) = permitted(&person, id).await?;
    viewed(&person, &patient, "patient").await?;
    Ok(axum::Json(PatientView::of(&permit, patient)))
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
    let read = patient::read_edit(&given, &before.values(), clock::now());
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
    let patient = noted.update_patient(id, patch).await?;
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

/// What was charted about a patient, latest first, by pages: what devices hold, and then what has left them.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}/records", operation_id = "list_records", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path), Which), responses((status = 200, body = Object, description = "`items`, and `next` where there is more: give it as `page`")))]
pub async fn list_records(
    person: Person,
    Id(id): Id<PatientId>,
    Params(which): Params<Which>,
) -> Answer<axum::Json<List<RecordDocument>>> {
    let (after, most) = which.read()?;
    let (patient, permit) = permitted(&person, id).await?;
    let records = person.facility(patient.facility_id)?.records(&permit, id, after, most).await?;
    viewed(&person, &patient, "record").await?;
    Ok(axum::Json(List::page(records, std::convert::identity)?))
}

/// A patient in the asker's scope, and the proof that the asker's role lets read.
async fn permitted(person: &Person, id: PatientId) -> Answer<(Patient, Permit<ReadPatients>)> {
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit(patient.facility_id)?;
    Ok((patient, permit))
}

/// The fields as they are stored.
fn read(given: Map<String, Value>) -> Answer<Map<String, Value>> {
    patient::read(&given, clock::now()).map(|(read, _)| read).map_err(Refusal::invalid)
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
async fn viewed(person: &Person, patient: &Patient, what: &str) -> Answer<()> {
    person.write(note(person, AuditAction::View, what).patient(patient.id, patient.facility_id)).await
}

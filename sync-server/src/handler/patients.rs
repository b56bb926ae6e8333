//! Patients and their records: every read and write needs a permit and is written down.

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::{FacilityId, PatientId};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::OfFacility;
use super::{List, present};
use crate::audit::Note;
use crate::body::{Faults, Id, Json, Params};
use crate::error::Answer;
use crate::guard::Person;
use crate::store::{NewPatient, Patient, PatientPatch};

/// How many of a patient's records are answered at once.
const RECORDS: usize = 200;

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
    let mut faults = Faults::default();
    faults.text("mrn", &asked.mrn, 50);
    faults.text("name", &asked.name, 200);
    faults.maybe_text("room", asked.room.as_deref(), 20);
    let date_of_birth = birthday(&mut faults, asked.date_of_birth);
    faults.check()?;
    let new = NewPatient {
        facility_id: asked.facility_id,
        mrn: asked.mrn,
        name: asked.name,
        date_of_birth,
        room: asked.room,
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
    let mut faults = Faults::default();
    faults.maybe_text("mrn", asked.mrn.as_deref(), 50);
    faults.maybe_text("name", asked.name.as_deref(), 200);
    faults.maybe_text("room", asked.room.as_ref().and_then(Option::as_deref), 20);
    let date_of_birth = asked.date_of_birth.map(|given| birthday(&mut faults, given));
    faults.check()?;
    let patch = PatientPatch {
        mrn: asked.mrn,
        name: asked.name,
        date_of_birth,
        room: asked.room,
        is_active: asked.is_active,
    };
    let (_, permit) = permitted(&person, id).await?;
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

/// What was charted about a patient, latest first.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}/records", operation_id = "list_records", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = Object)))]
pub async fn list_records(person: Person, Id(id): Id<PatientId>) -> Answer<axum::Json<List<RecordDocument>>> {
    let (patient, permit) = permitted(&person, id).await?;
    let records = person.facility(patient.facility_id)?.records(&permit, id, RECORDS).await?;
    viewed(&person, &patient, "record").await?;
    Ok(axum::Json(List::of(records, std::convert::identity)))
}

/// A patient in the asker's scope, and the proof that the asker's role lets read.
async fn permitted(person: &Person, id: PatientId) -> Answer<(Patient, Permit<ReadPatients>)> {
    let patient = person.registry()?.patient(id).await?;
    let permit = person.permit(patient.facility_id)?;
    Ok((patient, permit))
}

fn birthday(faults: &mut Faults, given: Option<String>) -> Option<String> {
    let given = given?;
    let read = carepost_protocol::workflow::parse_date(&given);
    faults.unless(read.is_some(), "date_of_birth", "give a day such as 1941-03-15 or 03/15/1941");
    read
}

fn note(person: &Person, action: AuditAction, what: &str) -> Note {
    person.note(AuditEventType::PhiAccess, action, what)
}

/// Written before the patient is shown.
async fn viewed(person: &Person, patient: &Patient, what: &str) -> Answer<()> {
    person.write(note(person, AuditAction::View, what).patient(patient.id, patient.facility_id)).await
}

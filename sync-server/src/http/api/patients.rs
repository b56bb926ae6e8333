//! Patients and their records: every read and write needs a permit and is written down.

use axum::Extension;
use axum::extract::{FromRequestParts, Path};
use carepost_protocol::id::{FacilityId, PatientId, RecordId};
use carepost_protocol::patient::{FIELDS, Field};
use carepost_protocol::record::RecordDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{List, Paged, Tagged};
use crate::error::{Answer, Refusal};
use crate::http::body::Json;
use crate::http::extract::{Id, Params};
use crate::http::idempotency::Residents;
use crate::operations::paging::Which;
use crate::operations::patients::{
    self, Charted, CreatePatient, Fields, PatientAndRelated, UpdatePatient, WhichPatients,
};
use crate::operations::person::Person;
use crate::store::Patient;

/// Why something was charted in error.
#[derive(Debug, Deserialize, ToSchema)]
pub struct StrikeRecord {
    /// In words, such as the wrong resident; it stands in the chart.
    reason: String,
}

/// Of whom a path speaks, and of which record.
pub struct RecordPath {
    patient: PatientId,
    record: RecordId,
}

impl<S: Send + Sync> FromRequestParts<S> for RecordPath {
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

/// A page of a chart.
#[derive(Serialize)]
pub struct Chart {
    #[serde(flatten)]
    records: List<RecordView>,
    /// How many of the page are not among them, because this version cannot read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<usize>,
}

/// A patient.
#[derive(Serialize, ToSchema)]
pub struct PatientView {
    id: PatientId,
    facility_id: FacilityId,
    /// The fields, null where nothing is known; a day of birth as `YYYY-MM-DD`.
    #[serde(flatten)]
    #[schema(ignore)]
    fields: Fields,
    /// Whether the patient is in care now.
    is_active: bool,
    /// Since when that is so, where it is known; with one patient only.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active_since: Option<Timestamp>,
    /// The patient who is the same person and took this one's place: what was charted about both is one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<PatientId>,
    /// The patients whose place this one took, because they are the same person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replaces: Vec<PatientId>,
    /// Who else this may be, by the open review that asks at the facility's kiosks; with one patient only. Of two who
    /// may be one, it is with the one who was admitted, or given the other's number, last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    may_be: Vec<Another>,
    created_at: Timestamp,
}

/// Another patient, as far as it takes to know who that is.
#[derive(Serialize, ToSchema)]
pub struct Another {
    id: PatientId,
    /// The medical record number, where there is one.
    mrn: Option<String>,
    /// The full name.
    name: String,
}

impl PatientView {
    /// Only who may read patients gets to see one.
    fn of(_: &Permit<ReadPatients>, PatientAndRelated { patient: it, related }: PatientAndRelated) -> Self {
        let mrn = |it: &Patient| (!it.mrn.is_empty()).then(|| it.mrn.clone());
        let another = |it: Patient| Another { id: it.id, mrn: mrn(&it), name: it.name.clone() };
        let asked = FIELDS.iter().filter(|field| field.is_asked());
        // Whoever has no number has an empty one in the feed.
        let known = |field: &Field| Some(field.of(&it)).filter(|value| *value != "").unwrap_or_default();
        Self {
            id: it.id,
            facility_id: it.facility_id,
            fields: Fields(asked.map(|field| (field.key.to_owned(), known(field))).collect()),
            is_active: it.is_active,
            is_active_since: None,
            replaced_by: it.replaced_by,
            replaces: related.replaces,
            may_be: related.may_be.into_iter().map(another).collect(),
            created_at: it.created_at,
        }
    }
}

/// The patients the asker sees, by `name`, by pages.
#[utoipa::path(get, path = "/api/v1/patients", operation_id = "list_patients", tag = "patients", security(("session" = [])), params(WhichPatients, Which), responses((status = 200, body = List<PatientView>)))]
pub async fn list_patients(
    person: Person,
    Params(filter): Params<WhichPatients>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<PatientView>>> {
    let (permit, found) = patients::list(&person, filter, which).await?;
    asked.page(found, |known| PatientView::of(&permit, known))
}

/// Admits a patient. One who may be another of the facility, in care or not, is refused (409, `known-resident`) and
/// named, until `confirmed` says of each who is named that it is another (`errors` says how): then a review asks only about a number that both have, and `may_be` says who.
#[utoipa::path(post, path = "/api/v1/patients", operation_id = "create_patient", tag = "patients", security(("session" = [])), request_body = CreatePatient, responses((status = 201, body = PatientView)))]
pub async fn create_patient(
    person: Person,
    Json(asked, _share): Json<CreatePatient>,
) -> Answer<(StatusCode, Extension<Residents>, Tagged<PatientView>)> {
    let (permit, known) = patients::create(&person, asked).await?;
    let shown = [&known.patient].into_iter().chain(&known.related.may_be);
    let shown = Residents(shown.map(|it| (it.id, it.facility_id)).collect());
    Ok((StatusCode::CREATED, Extension(shown), Tagged::of(known, |known| PatientView::of(&permit, known))))
}

/// One patient.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}", operation_id = "show_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = PatientView)))]
pub async fn show_patient(
    person: Person,
    method: Method,
    Id(id): Id<PatientId>,
) -> Answer<Tagged<PatientView>> {
    let (permit, (known, is_active_since)) = patients::show(&person, id, method != Method::HEAD).await?;
    Ok(Tagged::of(known, |known| PatientView { is_active_since, ..PatientView::of(&permit, known) }))
}

/// Changes who or where a patient is, and parts whoever was said to be the same person as another. One who may be another
/// of the facility since is refused and named as in an admission.
#[utoipa::path(put, path = "/api/v1/patients/{patient_id}", operation_id = "update_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), request_body = UpdatePatient, responses((status = 200, body = PatientView)))]
pub async fn update_patient(
    person: Person,
    Id(id): Id<PatientId>,
    Json(asked, _share): Json<UpdatePatient>,
) -> Answer<Tagged<PatientView>> {
    let (permit, known) = patients::update(&person, id, asked).await?;
    Ok(Tagged::of(known, |known| PatientView::of(&permit, known)))
}

/// Discharges a patient: no longer in care here, and kept.
#[utoipa::path(delete, path = "/api/v1/patients/{patient_id}", operation_id = "discharge_patient", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path)), responses((status = 200, body = PatientView)))]
pub async fn discharge_patient(person: Person, Id(id): Id<PatientId>) -> Answer<Tagged<PatientView>> {
    let (permit, known) = patients::discharge(&person, id).await?;
    Ok(Tagged::of(known, |known| PatientView::of(&permit, known)))
}

/// What was charted about a patient, what came last first (`latest`), by pages: what devices hold, and then what has left them. Of
/// what is struck out, `struck_out_by` names the record that says why. What this version cannot read is counted, `left_out`,
/// where that is not 0.
#[utoipa::path(get, path = "/api/v1/patients/{patient_id}/records", operation_id = "list_records", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path), Which), responses((status = 200, body = Object, description = "`items`, `next` where there is more: give it as `page`; and `left_out`, how many of the page are not among the items because this version cannot read them")))]
pub async fn list_records(
    person: Person,
    Id(id): Id<PatientId>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<Chart>> {
    let (records, left_out) = patients::records(&person, id, &which).await?;
    let view = |Charted { record, struck_out_by }| RecordView { record, struck_out_by };
    let axum::Json(records) = asked.page(records, view)?;
    Ok(axum::Json(Chart { records, left_out: Some(left_out).filter(|count| *count > 0) }))
}

/// Strikes out what was charted in error: it stays, marked, and a correction at a kiosk puts it back. By the same
/// rule as on a kiosk, and as the same record: one that corrects it, without values.
#[utoipa::path(post, path = "/api/v1/patients/{patient_id}/records/{record_id}/entered-in-error", operation_id = "strike_record", tag = "patients", security(("session" = [])), params(("patient_id" = PatientId, Path), ("record_id" = RecordId, Path)), request_body = StrikeRecord, responses((status = 201, body = Object, description = "The record that strikes it out")))]
pub async fn strike_record(
    person: Person,
    RecordPath { patient, record }: RecordPath,
    Json(asked, _share): Json<StrikeRecord>,
) -> Answer<(StatusCode, Extension<Residents>, axum::Json<RecordDocument>)> {
    let (struck, facility) = patients::strike(&person, patient, record, asked.reason).await?;
    let shown = Residents(vec![(struck.patient_id, facility)]);
    Ok((StatusCode::CREATED, Extension(shown), axum::Json(struck)))
}

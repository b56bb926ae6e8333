//! Facilities (S1-41 to S1-45).

use axum::extract::State;
use carepost_protocol::facility::{FacilityType, PhiMode, available_beds, occupancy_rate};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{List, Paged, Tagged};
use crate::app::App;
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::operations::facilities::{self, CreateFacility, UpdateCensus, UpdateFacility};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::proposed_zone::{Proposal, proposed};
use crate::store::{Facility, warning};

/// A facility and its figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct FacilityView {
    id: FacilityId,
    organization_id: OrganizationId,
    name: String,
    facility_type: FacilityType,
    licensed_beds: Option<u32>,
    /// How many residents it was last reported to have; the server counts none.
    current_census: u32,
    /// How many of a hundred beds are taken; null without beds.
    occupancy_rate: Option<f64>,
    /// How many beds are free; null without beds.
    available_beds: Option<u32>,
    phone: Option<String>,
    /// How much of a resident its devices are sent.
    phi_mode: PhiMode,
    /// Whether its devices are sent anything only while they are encrypted.
    require_encryption: bool,
    /// For how many days records stay on its devices; null is as the server says.
    record_days: Option<u32>,
    /// The IANA name of its time zone; null until somebody set it: each device's own counts.
    time_zone: Option<String>,
    /// While none is set: the one that its address proposes.
    proposed_time_zone: Option<&'static str>,
    /// While none is set: what to do.
    time_zone_note: Option<String>,
    address: Option<serde_json::Value>,
    /// The measures that it charts in.
    units: Units,
    /// How many documents a device that is sent everything has to hold, as of now.
    documents: u64,
    /// How many a device may have to hold: beyond that it is refused.
    max_documents: u64,
    /// What to do when it comes near to that.
    warning: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl FacilityView {
    fn of(app: &App, it: Facility) -> Self {
        let max_documents = app.config.sync.max_documents;
        let proposal = if it.time_zone.is_none() { it.address.as_ref().and_then(proposal) } else { None };
        Self {
            proposed_time_zone: proposal.map(|it| it.zone),
            time_zone_note: it.time_zone.is_none().then(|| time_zone_note(proposal)),
            time_zone: it.time_zone,
            address: it.address,
            documents: it.documents,
            max_documents,
            warning: warning(it.documents, max_documents),
            occupancy_rate: occupancy_rate(it.licensed_beds, it.current_census),
            available_beds: available_beds(it.licensed_beds, it.current_census),
            id: it.id,
            organization_id: it.organization_id,
            name: it.name,
            facility_type: it.facility_type,
            licensed_beds: it.licensed_beds,
            current_census: it.current_census,
            phone: it.phone,
            phi_mode: it.phi_mode,
            require_encryption: it.require_encryption,
            record_days: it.record_days,
            units: it.units,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

/// The facilities the asker sees, by `name` or `created_at`, by pages.
#[utoipa::path(get, path = "/api/v1/facilities", operation_id = "list_facilities", tag = "facilities", security(("session" = [])), params(Which), responses((status = 200, body = List<FacilityView>)))]
pub async fn list_facilities(
    State(app): State<App>,
    person: Person,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<FacilityView>>> {
    asked.page(facilities::list(&person, which).await?, |facility| FacilityView::of(&app, facility))
}

/// Adds a facility.
#[utoipa::path(post, path = "/api/v1/facilities", operation_id = "create_facility", tag = "facilities", security(("session" = [])), request_body = CreateFacility, responses((status = 201, body = FacilityView)))]
pub async fn create_facility(
    State(app): State<App>,
    person: Person,
    Json(asked, _share): Json<CreateFacility>,
) -> Answer<(StatusCode, Tagged<FacilityView>)> {
    let facility = facilities::create(&person, asked).await?;
    Ok((StatusCode::CREATED, Tagged::of(facility, |it| FacilityView::of(&app, it))))
}

/// One facility.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}", operation_id = "show_facility", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), responses((status = 200, body = FacilityView)))]
pub async fn show_facility(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
) -> Answer<Tagged<FacilityView>> {
    Ok(Tagged::of(facilities::show(&person, id).await?, |it| FacilityView::of(&app, it)))
}

/// Changes a facility.
#[utoipa::path(put, path = "/api/v1/facilities/{facility_id}", operation_id = "update_facility", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), request_body = UpdateFacility, responses((status = 200, body = FacilityView)))]
pub async fn update_facility(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
    Json(asked, _share): Json<UpdateFacility>,
) -> Answer<Tagged<FacilityView>> {
    Ok(Tagged::of(facilities::update(&person, id, asked).await?, |it| FacilityView::of(&app, it)))
}

/// Reports how many residents a facility has.
#[utoipa::path(put, path = "/api/v1/facilities/{facility_id}/census", operation_id = "update_census", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), request_body = UpdateCensus, responses((status = 200, body = FacilityView)))]
pub async fn update_census(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
    Json(asked, _share): Json<UpdateCensus>,
) -> Answer<Tagged<FacilityView>> {
    Ok(Tagged::of(facilities::update_census(&person, id, asked).await?, |it| FacilityView::of(&app, it)))
}

fn proposal(address: &serde_json::Value) -> Option<Proposal> {
    let line = |key: &str| address.get(key).and_then(serde_json::Value::as_str);
    proposed(line("state")?, line("country"))
}

fn time_zone_note(proposal: Option<Proposal>) -> String {
    let proposed = match proposal {
        None => String::new(),
        Some(Proposal { zone, state, is_whole: true }) => {
            format!(" Its address ({state}) proposes {zone}.")
        }
        Some(Proposal { zone, state, is_whole: false }) => format!(
            " Its address ({state}) proposes {zone}, where most people of that state live; parts of it have \
             another, so check it."
        ),
    };
    format!(
        "No time zone is set, so each device uses its own.{proposed} Set it: `carepost-server facility time-zone FACILITY ZONE`"
    )
}

//! Facilities (S1-41 to S1-45).

use axum::extract::State;
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::facility::{FacilityType, PhiMode, available_beds, occupancy_rate};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::zone::Zone;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::organizations::{Address, json};
use super::{List, present};
use crate::app::App;
use crate::config::RECORD_DAYS;
use crate::error::{Answer, Faults};
use crate::http::body::{Id, Json};
use crate::operations::person::Person;
use crate::proposed_zone::{Proposal, proposed};
use crate::store::{Facility, FacilityPatch, NewFacility, warning};

/// The most beds and residents that are believed.
const MOST_BEDS: u32 = 100_000;

/// A new facility.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFacility {
    /// The organization that runs it; the asker's own unless given.
    #[serde(default, alias = "organizationId")]
    organization_id: Option<OrganizationId>,
    /// Its name.
    name: String,
    /// What care it gives.
    #[serde(alias = "facilityType")]
    facility_type: FacilityType,
    /// Licensed beds, where it has any.
    #[serde(default, alias = "licensedBeds")]
    licensed_beds: Option<u32>,
    /// How many residents it has.
    #[serde(default, alias = "currentCensus")]
    current_census: u32,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    over_capacity: bool,
    /// Whom to call.
    #[serde(default)]
    phone: Option<String>,
    /// How much of a resident its devices are sent.
    #[serde(default, alias = "phiMode")]
    phi_mode: PhiMode,
    /// Whether its devices are sent anything only while they are encrypted.
    #[serde(default, alias = "requireEncryption")]
    require_encryption: bool,
    /// The IANA name of its time zone.
    #[serde(default, alias = "timeZone")]
    time_zone: Option<String>,
    /// Where it is.
    #[serde(default)]
    address: Option<Address>,
    /// The measures that it charts in.
    #[serde(default)]
    units: Units,
}

/// What changes of a facility; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateFacility {
    /// Its name.
    #[serde(default)]
    name: Option<String>,
    /// What care it gives.
    #[serde(default, alias = "facilityType")]
    facility_type: Option<FacilityType>,
    /// Licensed beds.
    #[serde(default, alias = "licensedBeds", deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    licensed_beds: Option<Option<u32>>,
    /// How many residents it has.
    #[serde(default, alias = "currentCensus")]
    current_census: Option<u32>,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    over_capacity: bool,
    /// Whom to call.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<String>>,
    /// How much of a resident its devices are sent. Those concerned make their copies anew.
    #[serde(default, alias = "phiMode")]
    phi_mode: Option<PhiMode>,
    /// Whether its devices are sent anything only while they are encrypted.
    #[serde(default, alias = "requireEncryption")]
    require_encryption: Option<bool>,
    /// For how many days records stay on its devices, 7 to 3650; null is as the server says.
    #[serde(default, alias = "recordDays", deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    record_days: Option<Option<u32>>,
    /// The IANA name of its time zone, which its devices show times in; null is each device's own.
    #[serde(default, alias = "timeZone", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<String>>,
    /// Where it is.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Address>)]
    address: Option<Option<Address>>,
    /// The measures that it charts in; what was charted before is shown in them too.
    #[serde(default)]
    units: Option<Units>,
}

/// How many residents there are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateCensus {
    /// So many.
    #[serde(alias = "currentCensus", alias = "census")]
    current_census: u32,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    over_capacity: bool,
}

/// A facility and its figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct FacilityView {
    /// The facility.
    id: FacilityId,
    /// The organization that runs it.
    organization_id: OrganizationId,
    /// Its name.
    name: String,
    /// What care it gives.
    facility_type: FacilityType,
    /// Licensed beds.
    licensed_beds: Option<u32>,
    /// How many residents it has.
    current_census: u32,
    /// How many of a hundred beds are taken; null without beds.
    occupancy_rate: Option<f64>,
    /// How many beds are free; null without beds.
    available_beds: Option<u32>,
    /// Whom to call.
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
    /// Where it is.
    address: Option<serde_json::Value>,
    /// The measures that it charts in.
    units: Units,
    /// How many documents a device that is sent everything has to hold, as of now.
    documents: u64,
    /// How many a device may have to hold: beyond that it is refused.
    max_documents: u64,
    /// What to do when it comes near to that.
    warning: Option<String>,
    /// When it was created.
    created_at: Timestamp,
    /// When it was last changed.
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

/// The facilities the asker sees, by name.
#[utoipa::path(get, path = "/api/v1/facilities", operation_id = "list_facilities", tag = "facilities", security(("session" = [])), responses((status = 200, body = List<FacilityView>)))]
pub async fn list_facilities(
    State(app): State<App>,
    person: Person,
) -> Answer<axum::Json<List<FacilityView>>> {
    let found = person.registry()?.facilities().await?;
    Ok(axum::Json(List::of(found, |facility| FacilityView::of(&app, facility))))
}

/// Adds a facility.
#[utoipa::path(post, path = "/api/v1/facilities", operation_id = "create_facility", tag = "facilities", security(("session" = [])), request_body = CreateFacility, responses((status = 201, body = FacilityView)))]
pub async fn create_facility(
    State(app): State<App>,
    person: Person,
    Json(mut asked): Json<CreateFacility>,
) -> Answer<(StatusCode, axum::Json<FacilityView>)> {
    let registry = person.registry_of(asked.organization_id).await?;
    let mut faults = Faults::default();
    faults.text("name", &mut asked.name, 200);
    faults.maybe_text("phone", asked.phone.as_mut(), 50);
    figures(&mut faults, asked.licensed_beds, Some(asked.current_census));
    capacity(&mut faults, asked.licensed_beds, asked.current_census, asked.over_capacity);
    place(&mut faults, asked.time_zone.as_mut(), asked.address.as_mut());
    faults.check()?;
    let new = NewFacility {
        name: asked.name,
        facility_type: asked.facility_type,
        licensed_beds: asked.licensed_beds,
        current_census: asked.current_census,
        phone: asked.phone,
        phi_mode: asked.phi_mode,
        require_encryption: asked.require_encryption,
        time_zone: asked.time_zone,
        address: json(asked.address)?,
        units: asked.units,
    };
    let facility = registry.noting(note(&person, AuditAction::Create)).create_facility(new).await?;
    Ok((StatusCode::CREATED, axum::Json(FacilityView::of(&app, facility))))
}

/// One facility.
#[utoipa::path(get, path = "/api/v1/facilities/{facility_id}", operation_id = "show_facility", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), responses((status = 200, body = FacilityView)))]
pub async fn show_facility(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
) -> Answer<axum::Json<FacilityView>> {
    Ok(axum::Json(FacilityView::of(&app, person.registry()?.facility(id).await?)))
}

/// Changes a facility.
#[utoipa::path(put, path = "/api/v1/facilities/{facility_id}", operation_id = "update_facility", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), request_body = UpdateFacility, responses((status = 200, body = FacilityView)))]
pub async fn update_facility(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
    Json(mut asked): Json<UpdateFacility>,
) -> Answer<axum::Json<FacilityView>> {
    let mut faults = Faults::default();
    faults.maybe_text("name", asked.name.as_mut(), 200);
    faults.maybe_text("phone", asked.phone.as_mut().and_then(Option::as_mut), 50);
    figures(&mut faults, asked.licensed_beds.flatten(), asked.current_census);
    if asked.licensed_beds.is_some() || asked.current_census.is_some() {
        let before = person.registry()?.facility(id).await?;
        let beds = asked.licensed_beds.unwrap_or(before.licensed_beds);
        let census = asked.current_census.unwrap_or(before.current_census);
        // What stands was said to be so.
        let is_news = (beds, census) != (before.licensed_beds, before.current_census);
        capacity(&mut faults, beds, census, asked.over_capacity || !is_news);
    }
    let days = asked.record_days.flatten();
    faults.unless(
        days.is_none_or(|days| RECORD_DAYS.contains(&days)),
        "record_days",
        "give 7 to 3650 days, or null",
    );
    let (zone, address) = (asked.time_zone.as_mut(), asked.address.as_mut());
    place(&mut faults, zone.and_then(Option::as_mut), address.and_then(Option::as_mut));
    faults.check()?;
    let patch = FacilityPatch {
        name: asked.name,
        facility_type: asked.facility_type,
        licensed_beds: asked.licensed_beds,
        current_census: asked.current_census,
        phone: asked.phone,
        phi_mode: asked.phi_mode,
        require_encryption: asked.require_encryption,
        record_days: asked.record_days,
        time_zone: asked.time_zone.clone(),
        address: asked.address.map(json).transpose()?,
        units: asked.units,
    };
    let mut event = note(&person, AuditAction::Update);
    if let Some(require) = asked.require_encryption {
        event.details.insert("require_encryption".to_owned(), require.into());
    }
    if let Some(days) = asked.record_days {
        event.details.insert("record_days".to_owned(), days.into());
    }
    if let Some(zone) = asked.time_zone {
        event.details.insert("time_zone".to_owned(), zone.into());
    }
    if let Some(units) = asked.units {
        event.details.insert("units".to_owned(), units.name().into());
    }
    let facility = person.registry()?.noting(event).update_facility(id, patch).await?;
    Ok(axum::Json(FacilityView::of(&app, facility)))
}

/// Reports how many residents a facility has.
#[utoipa::path(put, path = "/api/v1/facilities/{facility_id}/census", operation_id = "update_census", tag = "facilities", security(("session" = [])), params(("facility_id" = FacilityId, Path)), request_body = UpdateCensus, responses((status = 200, body = FacilityView)))]
pub async fn update_census(
    State(app): State<App>,
    person: Person,
    Id(id): Id<FacilityId>,
    Json(asked): Json<UpdateCensus>,
) -> Answer<axum::Json<FacilityView>> {
    let mut faults = Faults::default();
    figures(&mut faults, None, Some(asked.current_census));
    let registry = person.registry()?;
    let before = registry.facility(id).await?;
    let is_news = asked.current_census != before.current_census;
    capacity(&mut faults, before.licensed_beds, asked.current_census, asked.over_capacity || !is_news);
    faults.check()?;
    let patch = FacilityPatch { current_census: Some(asked.current_census), ..FacilityPatch::default() };
    let facility = registry.noting(note(&person, AuditAction::Update)).update_facility(id, patch).await?;
    Ok(axum::Json(FacilityView::of(&app, facility)))
}

fn figures(faults: &mut Faults, beds: Option<u32>, census: Option<u32>) {
    faults.unless(beds.is_none_or(|beds| beds <= MOST_BEDS), "licensed_beds", "give at most 100000");
    faults.unless(census.is_none_or(|census| census <= MOST_BEDS), "current_census", "give at most 100000");
}

/// More residents than beds are asked about once: it happens, and it is what a slip looks like.
fn capacity(faults: &mut Faults, beds: Option<u32>, census: u32, over_capacity: bool) {
    if let Some(beds) = beds.filter(|beds| *beds > 0 && census > *beds && !over_capacity) {
        let words = format!(
            "{census} residents are more than {beds} licensed beds: correct one of them, or say that it is so \
             (`over_capacity`; on the command line --over-capacity)"
        );
        faults.unless(false, "current_census", &words);
    }
}

/// Brings a zone's name into the spelling of the IANA, and an address's lines into form.
fn place(faults: &mut Faults, zone: Option<&mut String>, address: Option<&mut Address>) {
    if let Some(zone) = zone {
        match Zone::named(zone.trim()) {
            Some(known) => *zone = known.name().unwrap_or("UTC").to_owned(),
            None => faults.unless(false, "time_zone", ZONE_RULE),
        }
    }
    if let Some(address) = address {
        address.check(faults);
    }
}

const ZONE_RULE: &str =
    "this server knows no such time zone: give its IANA name, such as America/Chicago or America/New_York";

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

fn note(person: &Person, action: AuditAction) -> AuditEvent {
    person.note(AuditEventType::ApiAccess, action, "facility").into_event()
}

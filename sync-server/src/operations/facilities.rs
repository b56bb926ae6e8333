//! Facilities (S1-41 to S1-45).

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::facility::{FacilityType, PhiMode};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::text::sort_key;
use carepost_protocol::unit::Units;
use carepost_protocol::zone::Zone;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::merge::{Merge, given, in_capitals};
use super::organizations::{Address, json};
use super::paging::{Key, Page, Which};
use super::person::Person;
use crate::config::RECORD_DAYS;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::store::{Facility, FacilityPatch, NewFacility, SortKeys};

/// The most beds and residents that are believed.
const MOST_BEDS: u32 = 100_000;

/// A new facility.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateFacility {
    /// The organization that runs it; the asker's own unless given.
    #[serde(default, alias = "organizationId")]
    pub organization_id: Option<OrganizationId>,
    /// Its name.
    pub name: String,
    /// What care it gives.
    #[serde(alias = "facilityType", deserialize_with = "in_capitals")]
    pub facility_type: FacilityType,
    /// Licensed beds, where it has any.
    #[serde(default, alias = "licensedBeds")]
    pub licensed_beds: Option<u32>,
    /// How many residents it has.
    #[serde(default, alias = "currentCensus")]
    pub current_census: u32,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    pub over_capacity: bool,
    /// Whom to call.
    #[serde(default)]
    pub phone: Option<String>,
    /// How much of a resident its devices are sent.
    #[serde(default, alias = "phiMode")]
    pub phi_mode: PhiMode,
    /// Whether its devices are sent anything only while they are encrypted.
    #[serde(default, alias = "requireEncryption")]
    pub require_encryption: bool,
    /// The IANA name of its time zone.
    #[serde(default, alias = "timeZone")]
    pub time_zone: Option<String>,
    /// Where it is.
    #[serde(default)]
    pub address: Option<Address>,
    /// The measures that it charts in.
    #[serde(default)]
    pub units: Units,
}

/// What changes of a facility; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateFacility {
    /// Its name.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    pub name: Option<String>,
    /// What care it gives.
    #[serde(default, alias = "facilityType", deserialize_with = "in_capitals")]
    #[schema(value_type = FacilityType)]
    pub facility_type: Option<FacilityType>,
    /// Licensed beds.
    #[serde(default, alias = "licensedBeds")]
    #[schema(value_type = Option<u32>)]
    pub licensed_beds: Merge<u32>,
    /// How many residents it has.
    #[serde(default, alias = "currentCensus", deserialize_with = "given")]
    #[schema(value_type = u32)]
    pub current_census: Option<u32>,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    pub over_capacity: bool,
    /// Whom to call.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub phone: Merge<String>,
    /// How much of a resident its devices are sent. Those concerned make their copies anew.
    #[serde(default, alias = "phiMode", deserialize_with = "given")]
    #[schema(value_type = PhiMode)]
    pub phi_mode: Option<PhiMode>,
    /// Whether its devices are sent anything only while they are encrypted.
    #[serde(default, alias = "requireEncryption", deserialize_with = "given")]
    #[schema(value_type = bool)]
    pub require_encryption: Option<bool>,
    /// For how many days records stay on its devices, 7 to 3650; null is as the server says.
    #[serde(default, alias = "recordDays")]
    #[schema(value_type = Option<u32>)]
    pub record_days: Merge<u32>,
    /// The IANA name of its time zone, which its devices show times in; null is each device's own.
    #[serde(default, alias = "timeZone")]
    #[schema(value_type = Option<String>)]
    pub time_zone: Merge<String>,
    /// Where it is.
    #[serde(default)]
    #[schema(value_type = Option<Address>)]
    pub address: Merge<Address>,
    /// The measures that it charts in; what was charted before is shown in them too.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Units)]
    pub units: Option<Units>,
}

/// How many residents there are.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UpdateCensus {
    /// So many.
    #[serde(alias = "currentCensus", alias = "census")]
    pub current_census: u32,
    /// There are more residents than licensed beds: it is so, and no slip.
    #[serde(default, alias = "overCapacity")]
    pub over_capacity: bool,
}

/// What their list may be sorted by.
const SORTED_BY: &SortKeys<Key<Facility>> =
    &[("name", |it| sort_key(&it.name)), ("created_at", |it| it.created_at.to_string())];

/// The facilities the asker sees, by pages.
pub async fn list(person: &Person, which: Which) -> Answer<Page<Facility>> {
    let found = person.registry()?.facilities().await?;
    which.of(found, |it| it.id.to_string(), SORTED_BY)
}

pub async fn create(person: &Person, asked: CreateFacility) -> Answer<Facility> {
    let registry = person.registry_of(asked.organization_id).await?;
    let audited = person.audited_in(&registry, event(person, AuditAction::Create));
    Ok(audited.create_facility(asked.try_into()?).await?)
}

pub async fn show(person: &Person, id: FacilityId) -> Answer<Facility> {
    Ok(person.registry()?.facility(id).await?)
}

pub async fn update(person: &Person, id: FacilityId, mut asked: UpdateFacility) -> Answer<Facility> {
    let has_figures = !asked.licensed_beds.is_absent() || asked.current_census.is_some();
    let before = if has_figures { Some(show(person, id).await?) } else { None };
    asked.check(before.as_ref())?;
    let event = asked.told(event(person, AuditAction::Update));
    Ok(person.audited(event)?.update_facility(id, asked.patch()?).await?)
}

/// Reports how many residents a facility has.
pub async fn update_census(person: &Person, id: FacilityId, asked: UpdateCensus) -> Answer<Facility> {
    let mut faults = FieldErrors::default();
    figures(&mut faults, None, Some(asked.current_census));
    let before = show(person, id).await?;
    let is_news = asked.current_census != before.current_census;
    capacity(&mut faults, before.licensed_beds, asked.current_census, asked.over_capacity || !is_news);
    faults.check()?;
    let patch = FacilityPatch { current_census: Some(asked.current_census), ..FacilityPatch::default() };
    Ok(person.audited(event(person, AuditAction::Update))?.update_facility(id, patch).await?)
}

impl TryFrom<CreateFacility> for NewFacility {
    type Error = Refusal;
    fn try_from(mut asked: CreateFacility) -> Answer<Self> {
        let mut faults = FieldErrors::default();
        faults.name("name", &mut asked.name, 200);
        faults.maybe_text("phone", asked.phone.as_mut(), 50);
        figures(&mut faults, asked.licensed_beds, Some(asked.current_census));
        capacity(&mut faults, asked.licensed_beds, asked.current_census, asked.over_capacity);
        place(&mut faults, asked.time_zone.as_mut(), asked.address.as_mut());
        faults.check()?;
        Ok(Self {
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
        })
    }
}

impl UpdateFacility {
    /// Finds all that is wrong; its figures beside those of before, where any of them is given.
    fn check(&mut self, before: Option<&Facility>) -> Answer<()> {
        let mut faults = FieldErrors::default();
        faults.maybe_name("name", self.name.as_mut(), 200);
        faults.maybe_text("phone", self.phone.value_mut(), 50);
        figures(&mut faults, self.licensed_beds.value().copied(), self.current_census);
        if let Some(before) = before {
            let beds = self.licensed_beds.clone().change().unwrap_or(before.licensed_beds);
            let census = self.current_census.unwrap_or(before.current_census);
            // What stands was said to be so.
            let is_news = (beds, census) != (before.licensed_beds, before.current_census);
            capacity(&mut faults, beds, census, self.over_capacity || !is_news);
        }
        let is_good = self.record_days.value().is_none_or(|days| RECORD_DAYS.contains(days));
        faults.unless(is_good, "record_days", "give 7 to 3650 days, or null");
        place(&mut faults, self.time_zone.value_mut(), self.address.value_mut());
        faults.check()
    }

    /// What of it the audit log tells.
    fn told(&self, event: AuditEvent) -> AuditEvent {
        let details = [
            ("name", self.name.clone().map(Value::from)),
            ("require_encryption", self.require_encryption.map(Value::from)),
            ("record_days", self.record_days.clone().change().map(Value::from)),
            ("time_zone", self.time_zone.clone().change().map(Value::from)),
            ("units", self.units.map(|units| Value::from(units.name()))),
        ];
        let details = details.into_iter().filter_map(|(key, value)| Some((key, value?)));
        details.fold(event, |event, (key, value)| event.detail(key, value))
    }

    fn patch(self) -> Answer<FacilityPatch> {
        Ok(FacilityPatch {
            name: self.name,
            facility_type: self.facility_type,
            licensed_beds: self.licensed_beds.change(),
            current_census: self.current_census,
            phone: self.phone.change(),
            phi_mode: self.phi_mode,
            require_encryption: self.require_encryption,
            record_days: self.record_days.change(),
            time_zone: self.time_zone.change(),
            address: self.address.change().map(json).transpose()?,
            units: self.units,
        })
    }
}

fn figures(faults: &mut FieldErrors, beds: Option<u32>, census: Option<u32>) {
    faults.unless(beds.is_none_or(|beds| beds <= MOST_BEDS), "licensed_beds", "give at most 100000");
    faults.unless(census.is_none_or(|census| census <= MOST_BEDS), "current_census", "give at most 100000");
}

/// More residents than beds are asked about once: it happens, and it is what a slip looks like.
fn capacity(faults: &mut FieldErrors, beds: Option<u32>, census: u32, over_capacity: bool) {
    if let Some(beds) = beds.filter(|beds| *beds > 0 && census > *beds && !over_capacity) {
        let words = format!(
            "{census} residents are more than {beds} licensed beds: correct one of them, or say that it is so \
             (`over_capacity`)"
        );
        faults.unless(false, "current_census", &words);
    }
}

/// Brings a zone's name into the spelling of the IANA, and an address's lines into form.
fn place(faults: &mut FieldErrors, zone: Option<&mut String>, address: Option<&mut Address>) {
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

fn event(person: &Person, action: AuditAction) -> AuditEvent {
    person.event(AuditEventType::ApiAccess, action, "facility")
}

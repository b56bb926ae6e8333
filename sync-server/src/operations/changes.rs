//! Rejected and flagged changes: what devices sent that somebody has to look at, those that do not stand and those
//! that stand with a flag.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::wire::heartbeat::ChangeName;

use super::Permitted;
use super::paging::Which;
use super::person::Person;
use crate::error::{Answer, FieldErrors};
use crate::store::{ChangePlace, KeptChange, Listed, Reconsidered};

/// Changes, by pages.
type Changes = Listed<KeptChange, ChangePlace>;

/// The changes of a facility's devices that were rejected and wait for somebody, latest first, by pages.
pub async fn rejected(person: &Person, facility: FacilityId, which: &Which) -> Answer<Permitted<Changes>> {
    let permit = permit(person, facility).await?;
    let (after, most) = which.read("-received_at")?;
    let found = person.facility(facility)?.rejected_changes(&permit, after, most).await?;
    listed(person, facility, &found).await?;
    Ok((permit, found))
}

/// The changes of a facility's devices that stand and that somebody should look at, latest first, by pages.
pub async fn flagged(person: &Person, facility: FacilityId, which: &Which) -> Answer<Permitted<Changes>> {
    let permit = permit(person, facility).await?;
    let (after, most) = which.read("-received_at")?;
    let found = person.facility(facility)?.flagged_changes(&permit, after, most).await?;
    listed(person, facility, &found).await?;
    Ok((permit, found))
}

/// A change, whatever became of it, and its exact payload where the server got it.
pub async fn export(
    person: &Person,
    device: DeviceId,
    name: ChangeName,
) -> Answer<Permitted<(KeptChange, Option<Vec<u8>>)>> {
    let (permit, facility) = permitted(person, device).await?;
    let (change, payload) = person.facility(facility)?.change(&permit, device, name).await?;
    let mut event = event(person, AuditAction::Export, facility).device(device);
    event = match change.patient {
        Some(patient) => event.patient(patient, facility),
        None => event,
    };
    person.write(event.on(named(name))).await?;
    Ok((permit, (change, payload)))
}

/// Judges a rejected change again, as of when it was made: the server may be newer, or somebody may have
/// put right what was wrong. What was rejected because it depended on it follows.
pub async fn retry(person: &Person, device: DeviceId, name: ChangeName) -> Answer<Permitted<Reconsidered>> {
    let (permit, facility) = permitted(person, device).await?;
    let audited = person.audited(event(person, AuditAction::Execute, facility))?;
    Ok((permit, audited.retry_change(device, name).await?))
}

/// Settles a rejected change for good, and says why: it will not stand.
pub async fn discard(
    person: &Person,
    device: DeviceId,
    name: ChangeName,
    mut reason: String,
) -> Answer<Permitted<Reconsidered>> {
    let mut faults = FieldErrors::default();
    faults.text("reason", &mut reason, 500);
    faults.check()?;
    let (permit, facility) = permitted(person, device).await?;
    let event = event(person, AuditAction::Delete, facility).detail("reason", reason.clone());
    Ok((permit, person.audited(event)?.discard_change(device, name, reason).await?))
}

/// Proof that the asker may read in a facility that is there.
pub(super) async fn permit(person: &Person, facility: FacilityId) -> Answer<Permit<ReadPatients>> {
    let known = person.registry()?.facility(facility).await?;
    person.permit(known.id)
}

/// The facility of a device in the asker's scope.
async fn permitted(person: &Person, device: DeviceId) -> Answer<Permitted<FacilityId>> {
    let facility = person.registry()?.device(device).await?.facility_id;
    Ok((person.permit(facility)?, facility))
}

/// Written before the changes are shown.
async fn listed(person: &Person, facility: FacilityId, found: &Changes) -> Answer<()> {
    let named: Vec<_> =
        found.items.iter().filter_map(|change| change.patient).map(|id| id.to_string()).collect();
    let event = event(person, AuditAction::View, facility);
    person.write(event.detail("count", found.items.len()).detail("patients", named)).await
}

fn event(person: &Person, action: AuditAction, facility: FacilityId) -> AuditEvent {
    person.event(AuditEventType::PhiAccess, action, "change").facility(Some(facility))
}

fn named(name: ChangeName) -> String {
    format!("{}/{}", name.incarnation, name.n)
}

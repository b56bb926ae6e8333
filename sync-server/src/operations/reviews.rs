//! Reviews: what somebody has to decide. Devices close them; the office reads them here.

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::FacilityId;
use carepost_protocol::record::ReviewDocument;

use super::changes::permit;
use super::paging::Which;
use super::person::Person;
use crate::error::Answer;
use crate::store::{Listed, ReviewPlace};

/// A facility's reviews, latest first, by pages: the open ones, the closed ones, or all.
pub async fn list(
    person: &Person,
    facility: FacilityId,
    open: Option<bool>,
    which: &Which,
) -> Answer<Listed<ReviewDocument, ReviewPlace>> {
    let permit = permit(person, facility).await?;
    let (after, most) = which.read("latest")?;
    let found = person.facility(facility)?.reviews(&permit, open, after, most).await?;
    let named: Vec<_> = found.items.iter().map(|review| review.patient_id.to_string()).collect();
    let event = person.event(AuditEventType::PhiAccess, AuditAction::View, "review").facility(Some(facility));
    person.write(event.detail("count", found.items.len()).detail("patients", named)).await?;
    Ok(found)
}

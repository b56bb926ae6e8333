//! Badges (S1-67): issued by the card's UID, which the server does not keep, or by the card's tap.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{BadgeId, DeviceId, UserId};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::workflow::FieldError;

use super::paging::{Key, Page, Which};
use super::person::Person;
use super::users::may_touch;
use crate::card;
use crate::error::{Answer, Refusal};
use crate::store::{Badge, SortKeys, StoreError};

/// What their list may be sorted by: the latest first, unless asked otherwise.
const SORTED_BY: &SortKeys<Key<Badge>> = &[("-created_at", |it| it.created_at.to_string())];

pub async fn list(person: &Person, user: UserId, which: Which) -> Answer<Page<Badge>> {
    which.of(person.registry()?.badges(user).await?, |it| it.id.to_string(), SORTED_BY)
}

pub async fn show(person: &Person, id: BadgeId) -> Answer<Badge> {
    Ok(person.registry()?.badge(id).await?)
}

/// Issues the card with that UID, as people write it: every reader of the user's home facility knows it from the
/// next sync on.
pub async fn issue(person: &Person, user: UserId, uid: &str) -> Answer<Badge> {
    let uid = card::read(uid).map_err(|why| Refusal::field("uid", why))?;
    may_touch(person, user).await?;
    let audited = person.audited(event(person, AuditAction::Create))?;
    or_whose(person, audited.issue_badge(user, &uid).await).await
}

/// Issues the card that a device saw last and knows nobody by, so that nobody types its number: within fifteen
/// minutes of the tap.
pub async fn issue_tapped(person: &Person, user: UserId, device: DeviceId, card: String) -> Answer<Badge> {
    may_touch(person, user).await?;
    let event = event(person, AuditAction::Create).detail("tapped_at", device.to_string());
    or_whose(person, person.audited(event)?.issue_tapped_badge(user, device, card).await).await
}

/// Revokes a badge. Twice is fine.
pub async fn revoke(person: &Person, id: BadgeId) -> Answer<Badge> {
    may_touch(person, person.registry()?.badge(id).await?.user_id).await?;
    Ok(person.audited(event(person, AuditAction::Delete))?.revoke_badge(id).await?)
}

/// Where a card is a badge already: says whose, where the asker sees that user.
async fn or_whose(person: &Person, issued: Result<Badge, StoreError>) -> Answer<Badge> {
    let fault = match issued {
        Ok(badge) => return Ok(badge),
        Err(fault) => fault,
    };
    let StoreError::Issued(holder) = fault else { return Err(fault.into()) };
    let Ok(holder) = person.registry()?.user(holder).await else { return Err(fault.into()) };
    let words = format!(
        "This card is the badge of {} ({}); revoke that one first, or take another card.",
        holder.display_name, holder.username
    );
    Err(Refusal::new(ProblemKind::Conflict, words).naming(FieldError::new("badge", "is taken")))
}

fn event(person: &Person, action: AuditAction) -> AuditEvent {
    person.event(AuditEventType::Badge, action, "badge")
}

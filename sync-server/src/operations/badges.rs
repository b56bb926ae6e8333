//! Badges (S1-67): issued by the card's UID, which the server does not keep, or by the card's tap.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{BadgeId, DeviceId, UserId};

use super::paging::{Anchor, Page, Which};
use super::person::Person;
use super::users::may_touch;
use crate::card;
use crate::error::{Answer, Refusal};
use crate::store::Badge;

/// A user's badges, latest first, by pages.
pub async fn list(person: &Person, user: UserId, which: &Which) -> Answer<Page<Badge>> {
    which.of(person.registry()?.badges(user).await?, |it| Anchor::behind(it.id, ""), |_| true)
}

/// One badge.
pub async fn show(person: &Person, id: BadgeId) -> Answer<Badge> {
    Ok(person.registry()?.badge(id).await?)
}

/// Issues the card with that UID, as people write it: every reader of the user's home facility knows it from the
/// next sync on.
pub async fn issue(person: &Person, user: UserId, uid: &str) -> Answer<Badge> {
    let uid = card::read(uid).map_err(|why| Refusal::field("uid", why))?;
    may_touch(person, user).await?;
    Ok(person.noting(note(person, AuditAction::Create))?.issue_badge(user, &uid).await?)
}

/// Issues the card that a device saw last and knows nobody by, so that nobody types its number: within fifteen
/// minutes of the tap.
pub async fn issue_tapped(person: &Person, user: UserId, device: DeviceId, card: String) -> Answer<Badge> {
    may_touch(person, user).await?;
    let note = note(person, AuditAction::Create).detail("tapped_at", device.to_string());
    Ok(person.noting(note)?.issue_tapped_badge(user, device, card).await?)
}

/// Revokes a badge. Twice is fine.
pub async fn revoke(person: &Person, id: BadgeId) -> Answer<Badge> {
    may_touch(person, person.registry()?.badge(id).await?.user_id).await?;
    Ok(person.noting(note(person, AuditAction::Delete))?.revoke_badge(id).await?)
}

fn note(person: &Person, action: AuditAction) -> AuditEvent {
    person.note(AuditEventType::Badge, action, "badge")
}

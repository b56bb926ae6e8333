//! Badges (S1-67): issued by the card's UID, which the server does not keep, or by the card's tap.

use carepost_protocol::id::{BadgeId, DeviceId, FacilityId, UserId};
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{List, Paged, Tagged};
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::Id;
use crate::operations::badges;
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::store::Badge;

/// A card for somebody.
#[derive(Deserialize, ToSchema)]
pub struct IssueBadge {
    /// Whose it is.
    #[serde(alias = "userId")]
    user_id: UserId,
    /// The card's UID in hexadecimal, of 4, 7, 8 or 10 bytes: not what is printed on it.
    #[schema(value_type = String)]
    uid: Zeroizing<String>,
}

/// The card that a device saw last, for somebody.
#[derive(Debug, Deserialize, ToSchema)]
pub struct IssueTappedBadge {
    /// Whose it is.
    #[serde(alias = "userId")]
    user_id: UserId,
    /// Which card it was, as `unknown_tap` of the device says: it may have seen another since.
    card: String,
}

/// A badge.
#[derive(Debug, Serialize, ToSchema)]
pub struct BadgeView {
    id: BadgeId,
    /// Whose it is.
    user_id: UserId,
    /// The facility whose readers know it.
    facility_id: FacilityId,
    /// Which card it is, as the audit log masks it. Another since a device of the facility was lost.
    card: String,
    /// Whether it still opens anything.
    is_active: bool,
    created_at: Timestamp,
    /// Who issued it, by username; null for one of before that was kept, and where it was a platform administrator.
    issued_by: Option<String>,
}

impl From<Badge> for BadgeView {
    fn from(it: Badge) -> Self {
        Self {
            id: it.id,
            user_id: it.user_id,
            facility_id: it.facility_id,
            card: it.card,
            is_active: it.is_active,
            created_at: it.created_at,
            issued_by: it.issued_by,
        }
    }
}

/// A user's badges, latest first (`-created_at`), by pages.
#[utoipa::path(get, path = "/api/v1/users/{user_id}/badges", operation_id = "list_badges", tag = "badges", security(("session" = [])), params(("user_id" = UserId, Path), Which), responses((status = 200, body = List<BadgeView>)))]
pub async fn list_badges(
    person: Person,
    Id(user): Id<UserId>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<BadgeView>>> {
    asked.page(badges::list(&person, user, which).await?, BadgeView::from)
}

/// One badge.
#[utoipa::path(get, path = "/api/v1/badges/{badge_id}", operation_id = "show_badge", tag = "badges", security(("session" = [])), params(("badge_id" = BadgeId, Path)), responses((status = 200, body = BadgeView)))]
pub async fn show_badge(person: Person, Id(id): Id<BadgeId>) -> Answer<Tagged<BadgeView>> {
    Ok(Tagged::of(badges::show(&person, id).await?, BadgeView::from))
}

/// Issues a badge: every reader of the user's home facility knows it from the next sync on.
#[utoipa::path(post, path = "/api/v1/badges", operation_id = "issue_badge", tag = "badges", security(("session" = [])), request_body = IssueBadge, responses((status = 201, body = BadgeView)))]
pub async fn issue_badge(
    person: Person,
    Json(asked, _share): Json<IssueBadge>,
) -> Answer<(StatusCode, Tagged<BadgeView>)> {
    let badge = badges::issue(&person, asked.user_id, &asked.uid).await?;
    Ok((StatusCode::CREATED, Tagged::of(badge, BadgeView::from)))
}

/// Issues the card that a device saw last and knows nobody by, so that nobody types its number: within fifteen
/// minutes of the tap.
#[utoipa::path(post, path = "/api/v1/devices/{device_id}/issue-tapped-badge", operation_id = "issue_tapped_badge", tag = "badges", security(("session" = [])), params(("device_id" = DeviceId, Path)), request_body = IssueTappedBadge, responses((status = 201, body = BadgeView)))]
pub async fn issue_tapped_badge(
    person: Person,
    Id(device): Id<DeviceId>,
    Json(asked, _share): Json<IssueTappedBadge>,
) -> Answer<(StatusCode, Tagged<BadgeView>)> {
    let badge = badges::issue_tapped(&person, asked.user_id, device, asked.card).await?;
    Ok((StatusCode::CREATED, Tagged::of(badge, BadgeView::from)))
}

/// Revokes a badge. Twice is fine.
#[utoipa::path(post, path = "/api/v1/badges/{badge_id}/revoke", operation_id = "revoke_badge", tag = "badges", security(("session" = [])), params(("badge_id" = BadgeId, Path)), responses((status = 200, body = BadgeView)))]
pub async fn revoke_badge(person: Person, Id(id): Id<BadgeId>) -> Answer<Tagged<BadgeView>> {
    Ok(Tagged::of(badges::revoke(&person, id).await?, BadgeView::from))
}

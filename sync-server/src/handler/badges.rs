//! Badges (S1-67): issued by the number on the card, which the server does not keep.

use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::{BadgeId, FacilityId, UserId};
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::List;
use super::users::may_touch;
use crate::body::{Id, Json};
use crate::error::{Answer, Refusal};
use crate::guard::Person;
use crate::store::Badge;

/// A card for somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssueBadge {
    /// Whose it is.
    #[serde(alias = "userId")]
    user_id: UserId,
    /// The card's number in hexadecimal, as `carepost-agent badge read` sees it: 4 to 10 bytes.
    #[schema(value_type = String)]
    uid: Zeroizing<String>,
}

/// A badge.
#[derive(Debug, Serialize, ToSchema)]
pub struct BadgeView {
    /// The badge.
    id: BadgeId,
    /// Whose it is.
    user_id: UserId,
    /// The facility whose readers know it.
    facility_id: FacilityId,
    /// Whether it still opens anything.
    is_active: bool,
    /// When it was issued.
    created_at: Timestamp,
}

impl From<Badge> for BadgeView {
    fn from(it: Badge) -> Self {
        Self {
            id: it.id,
            user_id: it.user_id,
            facility_id: it.facility_id,
            is_active: it.is_active,
            created_at: it.created_at,
        }
    }
}

/// A user's badges, latest first.
#[utoipa::path(get, path = "/api/v1/users/{user_id}/badges", operation_id = "list_badges", tag = "badges", security(("session" = [])), params(("user_id" = UserId, Path)), responses((status = 200, body = List<BadgeView>)))]
pub async fn list_badges(person: Person, Id(user): Id<UserId>) -> Answer<axum::Json<List<BadgeView>>> {
    Ok(axum::Json(List::of(person.registry()?.badges(user).await?, BadgeView::from)))
}

/// Issues a badge: every reader of the user's home facility knows it from the next sync on.
#[utoipa::path(post, path = "/api/v1/badges", operation_id = "issue_badge", tag = "badges", security(("session" = [])), request_body = IssueBadge, responses((status = 201, body = BadgeView)))]
pub async fn issue_badge(
    person: Person,
    Json(asked): Json<IssueBadge>,
) -> Answer<(StatusCode, axum::Json<BadgeView>)> {
    let uid = parse_uid(&asked.uid).map_err(|why| Refusal::field("uid", why))?;
    may_touch(&person, asked.user_id).await?;
    let note = person.note(AuditEventType::Badge, AuditAction::Create, "badge");
    let badge = person.noting(note)?.issue_badge(asked.user_id, &uid).await?;
    Ok((StatusCode::CREATED, axum::Json(badge.into())))
}

/// Revokes a badge. Twice is fine.
#[utoipa::path(post, path = "/api/v1/badges/{badge_id}/revoke", operation_id = "revoke_badge", tag = "badges", security(("session" = [])), params(("badge_id" = BadgeId, Path)), responses((status = 200, body = BadgeView)))]
pub async fn revoke_badge(person: Person, Id(id): Id<BadgeId>) -> Answer<axum::Json<BadgeView>> {
    may_touch(&person, person.registry()?.badge(id).await?.user_id).await?;
    let note = person.note(AuditEventType::Badge, AuditAction::Delete, "badge");
    let badge = person.noting(note)?.revoke_badge(id).await?;
    Ok(axum::Json(badge.into()))
}

/// A card's number; colons, dashes and blanks between its bytes are left out.
fn parse_uid(text: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let digits = Zeroizing::new(text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect::<String>());
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))
    });
    let bytes =
        Zeroizing::new(bytes.collect::<Option<Vec<u8>>>().ok_or("give the card's number in hexadecimal")?);
    match bytes.as_slice() {
        [0x08, _, _, _] => {
            Err("this card shows another number at each tap, so it cannot be a badge: use another card")
        }
        uid if (4..=10).contains(&uid.len()) => Ok(bytes),
        _ => Err("a card's number has 4 to 10 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_uid;

    #[test]
    fn a_cards_number_is_taken_in_any_usual_form() {
        assert_eq!(**parse_uid("04:a1-B2 c3").unwrap(), [0x04, 0xa1, 0xb2, 0xc3]);
        for bad in ["", "04A1B2", "04A1B2C", "04A1B2ZZ", "+4A1B2C3", "0403020104030201040302", "08010203"] {
            assert!(parse_uid(bad).is_err(), "{bad}");
        }
    }
}

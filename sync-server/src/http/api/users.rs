//! Users: who they are, their passwords and PINs.

use carepost_protocol::id::{FacilityId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{List, Paged, Tagged};
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::extract::{Id, Params};
use crate::operations::paging::Which;
use crate::operations::person::Person;
use crate::operations::users::{self, CreateUser, UpdateUser};
use crate::store::User;

/// A PIN for kiosks.
#[derive(Deserialize, ToSchema)]
pub struct SetPin {
    /// At least six digits, and no trivial ones.
    #[schema(value_type = String)]
    pin: SecretString,
}

/// A password for the server.
#[derive(Deserialize, ToSchema)]
pub struct SetPassword {
    /// At least twelve characters.
    #[schema(value_type = String)]
    password: SecretString,
}

/// A user, without the secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    id: UserId,
    facility_id: Option<FacilityId>,
    /// The name to sign in with.
    username: String,
    /// The address.
    email: Option<String>,
    /// The name people see.
    display_name: String,
    role: Role,
    /// The employer's number for the user.
    employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    session_timeout_minutes: u32,
    /// Whether the user may sign in at all.
    is_active: bool,
    has_pin: bool,
    /// Since when a stolen device may have given the PIN away: at the next sign-in at a kiosk the user has to
    /// choose another, and seven days later only an administrator can set one.
    pin_exposed_at: Option<Timestamp>,
    has_password: bool,
    /// When the user last did something with the server.
    last_activity_at: Option<Timestamp>,
    /// Until when sign-in is locked, from one network at least; over when it is past.
    locked_until: Option<Timestamp>,
    /// When the user was created.
    created_at: Timestamp,
}

impl From<User> for UserView {
    fn from(it: User) -> Self {
        Self {
            id: it.id,
            facility_id: it.facility_id,
            username: it.username,
            email: it.email,
            display_name: it.display_name,
            role: it.role,
            employee_id: it.employee_id,
            session_timeout_minutes: it.session_timeout_minutes,
            is_active: it.is_active,
            has_pin: it.has_pin,
            pin_exposed_at: it.pin_exposed_at,
            has_password: it.has_password,
            last_activity_at: it.last_activity_at,
            locked_until: it.locked_until,
            created_at: it.created_at,
        }
    }
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichUsers {
    /// Only of this facility.
    facility_id: Option<FacilityId>,
}

/// The users the asker sees, by `name`, by pages.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "users", security(("session" = [])), params(WhichUsers, Which), responses((status = 200, body = List<UserView>)))]
pub async fn list_users(
    person: Person,
    Params(WhichUsers { facility_id }): Params<WhichUsers>,
    Paged(which, asked): Paged,
) -> Answer<axum::Json<List<UserView>>> {
    asked.page(users::list(&person, facility_id, which).await?, UserView::from)
}

/// Adds a user, who cannot sign in before a password or a PIN is set.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "create_user", tag = "users", security(("session" = [])), request_body = CreateUser, responses((status = 201, body = UserView)))]
pub async fn create_user(
    person: Person,
    Json(asked, _share): Json<CreateUser>,
) -> Answer<(StatusCode, Tagged<UserView>)> {
    Ok((StatusCode::CREATED, Tagged::of(users::create(&person, asked).await?, UserView::from)))
}

/// One user.
#[utoipa::path(get, path = "/api/v1/users/{user_id}", operation_id = "show_user", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), responses((status = 200, body = UserView)))]
pub async fn show_user(person: Person, Id(id): Id<UserId>) -> Answer<Tagged<UserView>> {
    Ok(Tagged::of(users::show(&person, id).await?, UserView::from))
}

/// Changes a user. What was charted before is judged by what was so then.
#[utoipa::path(put, path = "/api/v1/users/{user_id}", operation_id = "update_user", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = UpdateUser, responses((status = 200, body = UserView)))]
pub async fn update_user(
    person: Person,
    Id(id): Id<UserId>,
    Json(asked, _share): Json<UpdateUser>,
) -> Answer<Tagged<UserView>> {
    Ok(Tagged::of(users::update(&person, id, asked).await?, UserView::from))
}

/// Sets a user's PIN.
#[utoipa::path(put, path = "/api/v1/users/{user_id}/pin", operation_id = "set_pin", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = SetPin, responses((status = 204)))]
pub async fn set_pin(
    person: Person,
    Id(id): Id<UserId>,
    Json(asked, _share): Json<SetPin>,
) -> Answer<StatusCode> {
    users::set_pin(&person, id, &asked.pin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a user's password, and ends the user's sessions with the server.
#[utoipa::path(put, path = "/api/v1/users/{user_id}/password", operation_id = "set_password", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = SetPassword, responses((status = 204)))]
pub async fn set_password(
    person: Person,
    Id(id): Id<UserId>,
    Json(asked, _share): Json<SetPassword>,
) -> Answer<StatusCode> {
    users::set_password(&person, id, asked.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

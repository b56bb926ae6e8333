//! Users: who they are, their passwords and PINs.

use axum::extract::State;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::{FacilityId, UserId};
use carepost_protocol::pin;
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{List, present};
use crate::app::App;
use crate::audit::Note;
use crate::error::{Answer, Faults, Refusal};
use crate::http::body::{Id, Json, Params};
use crate::operations::person::Person;
use crate::password::check_password;
use crate::store::{NewUser, User, UserPatch};

/// A session's idle time in minutes, unless one is given (S0-48).
const TIMEOUT: u32 = 30;

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The home facility; a role that acts within one facility needs one.
    #[serde(default, alias = "facilityId")]
    facility_id: Option<FacilityId>,
    /// The name to sign in with, unique in the organization.
    username: String,
    /// The address, unique in the organization.
    #[serde(default)]
    email: Option<String>,
    /// The name people see; the username unless given.
    #[serde(default, alias = "displayName")]
    display_name: Option<String>,
    /// What the user may do.
    role: Role,
    /// The employer's number for the user (S1-67).
    #[serde(default, alias = "employeeId")]
    employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    #[serde(default, alias = "sessionTimeoutMinutes")]
    session_timeout_minutes: Option<u32>,
}

/// What changes of a user; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// The home facility.
    #[serde(default, alias = "facilityId", deserialize_with = "present")]
    #[schema(value_type = Option<FacilityId>)]
    facility_id: Option<Option<FacilityId>>,
    /// The address.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    email: Option<Option<String>>,
    /// The name people see.
    #[serde(default, alias = "displayName")]
    display_name: Option<String>,
    /// What the user may do.
    #[serde(default)]
    role: Option<Role>,
    /// The employer's number for the user.
    #[serde(default, alias = "employeeId", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    employee_id: Option<Option<String>>,
    /// How long an idle session lasts, in minutes.
    #[serde(default, alias = "sessionTimeoutMinutes")]
    session_timeout_minutes: Option<u32>,
    /// Whether the user may sign in at all (S1-73).
    #[serde(default, alias = "isActive")]
    is_active: Option<bool>,
}

/// A PIN for kiosks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPin {
    /// At least six digits, and no trivial ones.
    #[schema(value_type = String)]
    pin: SecretString,
}

/// A password for the server.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// At least twelve characters.
    #[schema(value_type = String)]
    password: SecretString,
}

/// A user, without the secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// The user.
    id: UserId,
    /// The home facility.
    facility_id: Option<FacilityId>,
    /// The name to sign in with.
    username: String,
    /// The address.
    email: Option<String>,
    /// The name people see.
    display_name: String,
    /// What the user may do.
    role: Role,
    /// The employer's number for the user.
    employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    session_timeout_minutes: u32,
    /// Whether the user may sign in at all.
    is_active: bool,
    /// Whether a PIN is set.
    has_pin: bool,
    /// Since when a stolen device may have given the PIN away: at the next sign-in at a kiosk the user has to
    /// choose another, and seven days later only an administrator can set one.
    pin_exposed_at: Option<Timestamp>,
    /// Whether a password is set.
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

/// Of which facility.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OfFacility {
    /// Only of this facility.
    pub(super) facility_id: Option<FacilityId>,
}

/// The users the asker sees, by name.
#[utoipa::path(get, path = "/api/v1/users", operation_id = "list_users", tag = "users", security(("session" = [])), params(OfFacility), responses((status = 200, body = List<UserView>)))]
pub async fn list_users(
    person: Person,
    Params(of): Params<OfFacility>,
) -> Answer<axum::Json<List<UserView>>> {
    Ok(axum::Json(List::of(person.registry()?.users(of.facility_id).await?, UserView::from)))
}

/// Adds a user, who cannot sign in before a password or a PIN is set.
#[utoipa::path(post, path = "/api/v1/users", operation_id = "create_user", tag = "users", security(("session" = [])), request_body = CreateUser, responses((status = 201, body = UserView)))]
pub async fn create_user(
    person: Person,
    Json(mut asked): Json<CreateUser>,
) -> Answer<(StatusCode, axum::Json<UserView>)> {
    let mut faults = Faults::default();
    faults.text("username", &mut asked.username, 100);
    faults.maybe_text("email", asked.email.as_mut(), 200);
    faults.maybe_text("display_name", asked.display_name.as_mut(), 200);
    faults.maybe_text("employee_id", asked.employee_id.as_mut(), 100);
    timeout(&mut faults, asked.session_timeout_minutes);
    faults.check()?;
    may_give(&person, Some(asked.role))?;
    let new = NewUser {
        facility_id: asked.facility_id,
        display_name: asked.display_name.unwrap_or_else(|| asked.username.clone()),
        username: asked.username,
        email: asked.email,
        role: asked.role,
        employee_id: asked.employee_id,
        session_timeout_minutes: asked.session_timeout_minutes.unwrap_or(TIMEOUT),
        password_hash: None,
        pin_verifier: None,
    };
    let user = person.noting(note(&person, AuditAction::Create, "user"))?.create_user(new).await?;
    Ok((StatusCode::CREATED, axum::Json(user.into())))
}

/// One user.
#[utoipa::path(get, path = "/api/v1/users/{user_id}", operation_id = "show_user", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), responses((status = 200, body = UserView)))]
pub async fn show_user(person: Person, Id(id): Id<UserId>) -> Answer<axum::Json<UserView>> {
    Ok(axum::Json(person.registry()?.user(id).await?.into()))
}

/// Changes a user. What was charted before is judged by what was so then.
#[utoipa::path(put, path = "/api/v1/users/{user_id}", operation_id = "update_user", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = UpdateUser, responses((status = 200, body = UserView)))]
pub async fn update_user(
    person: Person,
    Id(id): Id<UserId>,
    Json(mut asked): Json<UpdateUser>,
) -> Answer<axum::Json<UserView>> {
    let mut faults = Faults::default();
    faults.maybe_text("email", asked.email.as_mut().and_then(Option::as_mut), 200);
    faults.maybe_text("display_name", asked.display_name.as_mut(), 200);
    faults.maybe_text("employee_id", asked.employee_id.as_mut().and_then(Option::as_mut), 100);
    timeout(&mut faults, asked.session_timeout_minutes);
    faults.check()?;
    may_touch(&person, id).await?;
    may_give(&person, asked.role)?;
    let patch = UserPatch {
        facility_id: asked.facility_id,
        email: asked.email,
        display_name: asked.display_name,
        role: asked.role,
        employee_id: asked.employee_id,
        session_timeout_minutes: asked.session_timeout_minutes,
        is_active: asked.is_active,
    };
    let user = person.noting(note(&person, AuditAction::Update, "user"))?.update_user(id, patch).await?;
    Ok(axum::Json(user.into()))
}

/// Sets a user's PIN.
#[utoipa::path(put, path = "/api/v1/users/{user_id}/pin", operation_id = "set_pin", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = SetPin, responses((status = 204)))]
pub async fn set_pin(
    State(app): State<App>,
    person: Person,
    Id(id): Id<UserId>,
    Json(asked): Json<SetPin>,
) -> Answer<StatusCode> {
    may_touch(&person, id).await?;
    let pin = SecretString::from(pin::typed(asked.pin.expose_secret()));
    pin::check(pin.expose_secret()).map_err(|why| Refusal::field("pin", why))?;
    let exposed = person.registry()?.exposed_pin(id).await?;
    let caller = person.caller();
    if exposed.is_some() && app.passwords.verify(caller, false, pin.clone(), exposed).await? {
        return Err(Refusal::field("pin", "a device that knew this PIN was lost; choose another"));
    }
    let verifier = app.passwords.hash(caller, pin).await?;
    person.noting(note(&person, AuditAction::Update, "pin"))?.set_pin(id, Some(verifier)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a user's password, and ends the user's sessions with the server.
#[utoipa::path(put, path = "/api/v1/users/{user_id}/password", operation_id = "set_password", tag = "users", security(("session" = [])), params(("user_id" = UserId, Path)), request_body = SetPassword, responses((status = 204)))]
pub async fn set_password(
    State(app): State<App>,
    person: Person,
    Id(id): Id<UserId>,
    Json(asked): Json<SetPassword>,
) -> Answer<StatusCode> {
    may_touch(&person, id).await?;
    check_password(asked.password.expose_secret()).map_err(|why| Refusal::field("password", why))?;
    let verifier = app.passwords.hash(person.caller(), asked.password).await?;
    person.noting(note(&person, AuditAction::Update, "password"))?.set_password(id, verifier).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn timeout(faults: &mut Faults, minutes: Option<u32>) {
    let good = minutes.is_none_or(|minutes| (1..=12 * 60).contains(&minutes));
    faults.unless(good, "session_timeout_minutes", "give 1 to 720 minutes");
}

/// Nobody gives away more than they have: a facility's administrator makes no organization's.
fn may_give(person: &Person, role: Option<Role>) -> Answer<()> {
    let Some(role) = role else { return Ok(()) };
    let good = role != Role::PlatformAdmin
        && (role.is_of_one_facility() || !person.actor().role.is_of_one_facility());
    if good { Ok(()) } else { Err(Refusal::field("role", "your own role does not let you give this one")) }
}

/// Nor changes who has more.
pub(super) async fn may_touch(person: &Person, id: UserId) -> Answer<()> {
    let user = person.registry()?.user(id).await?;
    may_give(person, Some(user.role)).map_err(|_| Refusal::from(carepost_protocol::role::Denied::Role))
}

fn note(person: &Person, action: AuditAction, what: &str) -> Note {
    person.note(AuditEventType::ApiAccess, action, "user").detail("what", what)
}

//! Users: who they are, their passwords and PINs.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{FacilityId, UserId};
use carepost_protocol::pin;
use carepost_protocol::role::{Denied, Role};
use carepost_protocol::text::{TextError, line};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::merge::{Merge, given};
use super::paging::{Page, Which};
use super::person::Person;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::password::check_password;
use crate::store::{NewUser, USERNAME_RULE, User, UserPatch, is_username};

/// A session's idle time in minutes, unless one is given (S0-48).
const TIMEOUT: u32 = 30;

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The home facility; a role that acts within one facility needs one.
    #[serde(default, alias = "facilityId")]
    pub facility_id: Option<FacilityId>,
    /// The name to sign in with, unique in the organization.
    pub username: String,
    /// The address, unique in the organization.
    #[serde(default)]
    pub email: Option<String>,
    /// The name people see; the username unless given.
    #[serde(default, alias = "displayName")]
    pub display_name: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// The employer's number for the user (S1-67).
    #[serde(default, alias = "employeeId")]
    pub employee_id: Option<String>,
    /// How long an idle session lasts, in minutes.
    #[serde(default, alias = "sessionTimeoutMinutes")]
    pub session_timeout_minutes: Option<u32>,
}

/// What changes of a user; what is absent stays as it is, what is null is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// The name to sign in with, unique in the organization.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String)]
    pub username: Option<String>,
    /// The home facility.
    #[serde(default, alias = "facilityId")]
    #[schema(value_type = Option<FacilityId>)]
    pub facility_id: Merge<FacilityId>,
    /// The address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub email: Merge<String>,
    /// The name people see.
    #[serde(default, alias = "displayName", deserialize_with = "given")]
    #[schema(value_type = String)]
    pub display_name: Option<String>,
    /// What the user may do.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Role)]
    pub role: Option<Role>,
    /// The employer's number for the user.
    #[serde(default, alias = "employeeId")]
    #[schema(value_type = Option<String>)]
    pub employee_id: Merge<String>,
    /// How long an idle session lasts, in minutes.
    #[serde(default, alias = "sessionTimeoutMinutes", deserialize_with = "given")]
    #[schema(value_type = u32)]
    pub session_timeout_minutes: Option<u32>,
    /// Whether the user may sign in at all (S1-73).
    #[serde(default, alias = "isActive", deserialize_with = "given")]
    #[schema(value_type = bool)]
    pub is_active: Option<bool>,
}

/// The users the asker sees, by pages.
pub async fn list(person: &Person, facility: Option<FacilityId>, which: Which) -> Answer<Page<User>> {
    Ok(person.registry()?.users(facility, which.paging()?).await?)
}

/// Adds a user, who cannot sign in before a password or a PIN is set.
pub async fn create(person: &Person, asked: CreateUser) -> Answer<User> {
    let new = NewUser::try_from(asked)?;
    may_give(person, Some(new.role))?;
    Ok(person.audited(note(person, AuditAction::Create, "user"))?.create_user(new).await?)
}

pub async fn show(person: &Person, id: UserId) -> Answer<User> {
    Ok(person.registry()?.user(id).await?)
}

/// Changes a user. What was charted before is judged by what was so then.
pub async fn update(person: &Person, id: UserId, asked: UpdateUser) -> Answer<User> {
    let patch = UserPatch::try_from(asked)?;
    may_touch(person, id).await?;
    may_give(person, patch.role)?;
    let mut note = note(person, AuditAction::Update, "user");
    for (field, name) in [("username", &patch.username), ("display_name", &patch.display_name)] {
        if let Some(name) = name {
            note = note.detail(field, name.as_str());
        }
    }
    Ok(person.audited(note)?.update_user(id, patch).await?)
}

pub async fn set_pin(person: &Person, id: UserId, pin: &SecretString) -> Answer<User> {
    may_touch(person, id).await?;
    let pin = SecretString::from(pin::typed(pin.expose_secret()));
    pin::check(pin.expose_secret()).map_err(|why| Refusal::field("pin", why))?;
    let exposed = person.registry()?.exposed_pin(id).await?;
    let (passwords, caller) = (&person.app.passwords, person.caller());
    if exposed.is_some() && passwords.verify(caller, false, pin.clone(), exposed).await? {
        return Err(Refusal::field("pin", "a device that knew this PIN was lost; choose another"));
    }
    let verifier = passwords.hash(caller, pin).await?;
    Ok(person.audited(note(person, AuditAction::Update, "pin"))?.set_pin(id, Some(verifier)).await?)
}

/// Sets a user's password, and ends the user's sessions with the server.
pub async fn set_password(person: &Person, id: UserId, password: SecretString) -> Answer<User> {
    may_touch(person, id).await?;
    check_password(password.expose_secret()).map_err(|why| Refusal::field("password", why))?;
    let verifier = person.app.passwords.hash(person.caller(), password).await?;
    Ok(person.audited(note(person, AuditAction::Update, "password"))?.set_password(id, verifier).await?)
}

/// The username and the name that people see, which is the username unless given: whoever signs in with a number has a
/// name besides.
pub fn names(
    faults: &mut FieldErrors,
    [field, displayed]: [&str; 2],
    username: &mut String,
    display_name: Option<&mut String>,
) {
    check_username(faults, field, username);
    match display_name {
        Some(name) => faults.person_name(displayed, name, 200),
        None => {
            let is_number =
                username.contains(char::is_alphanumeric) && !username.contains(char::is_alphabetic);
            let words = "the username has no letter: give the name, as people know it";
            faults.unless(!is_number, displayed, words);
        }
    }
}

/// Brings a username into the form in which it is stored: one rule, wherever it is given.
fn check_username(faults: &mut FieldErrors, field: &str, username: &mut String) {
    match line(username, usize::MAX) {
        Ok(read) if is_username(&read) => *username = read,
        // What nobody sees in it is told.
        Err(error @ (TextError::Invisible | TextError::Override)) => {
            faults.unless(false, field, &error.to_string());
        }
        Ok(_) | Err(TextError::TooLong(..) | TextError::Signs | TextError::NoLetter) => {
            faults.unless(false, field, USERNAME_RULE);
        }
    }
}

impl TryFrom<CreateUser> for NewUser {
    type Error = Refusal;
    fn try_from(mut asked: CreateUser) -> Answer<Self> {
        let mut faults = FieldErrors::default();
        let fields = ["username", "display_name"];
        names(&mut faults, fields, &mut asked.username, asked.display_name.as_mut());
        faults.maybe_text("email", asked.email.as_mut(), 200);
        faults.maybe_text("employee_id", asked.employee_id.as_mut(), 100);
        timeout(&mut faults, asked.session_timeout_minutes);
        faults.check()?;
        Ok(Self {
            facility_id: asked.facility_id,
            display_name: asked.display_name.unwrap_or_else(|| asked.username.clone()),
            username: asked.username,
            email: asked.email,
            role: asked.role,
            employee_id: asked.employee_id,
            session_timeout_minutes: asked.session_timeout_minutes.unwrap_or(TIMEOUT),
            password_hash: None,
            pin_verifier: None,
        })
    }
}

impl TryFrom<UpdateUser> for UserPatch {
    type Error = Refusal;
    fn try_from(mut asked: UpdateUser) -> Answer<Self> {
        let mut faults = FieldErrors::default();
        if let Some(username) = &mut asked.username {
            check_username(&mut faults, "username", username);
        }
        faults.maybe_text("email", asked.email.value_mut(), 200);
        faults.maybe_person_name("display_name", asked.display_name.as_mut(), 200);
        faults.maybe_text("employee_id", asked.employee_id.value_mut(), 100);
        timeout(&mut faults, asked.session_timeout_minutes);
        faults.check()?;
        Ok(Self {
            username: asked.username,
            facility_id: asked.facility_id.change(),
            email: asked.email.change(),
            display_name: asked.display_name,
            role: asked.role,
            employee_id: asked.employee_id.change(),
            session_timeout_minutes: asked.session_timeout_minutes,
            is_active: asked.is_active,
        })
    }
}

fn timeout(faults: &mut FieldErrors, minutes: Option<u32>) {
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
    may_give(person, Some(user.role)).map_err(|_| Refusal::from(Denied::Role))
}

fn note(person: &Person, action: AuditAction, what: &str) -> AuditEvent {
    person.note(AuditEventType::ApiAccess, action, "user").detail("what", what)
}

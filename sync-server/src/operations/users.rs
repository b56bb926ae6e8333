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
    let new = asked.read(person.actor().role)?;
    Ok(person.audited(event(person, AuditAction::Create, "user"))?.create_user(new).await?)
}

pub async fn show(person: &Person, id: UserId) -> Answer<User> {
    Ok(person.registry()?.user(id).await?)
}

/// Changes a user. What was charted before is judged by what was so then.
pub async fn update(person: &Person, id: UserId, asked: UpdateUser) -> Answer<User> {
    may_touch(person, id).await?;
    let patch = asked.read(person.actor().role)?;
    let mut event = event(person, AuditAction::Update, "user");
    for (field, name) in [("username", &patch.username), ("display_name", &patch.display_name)] {
        if let Some(name) = name {
            event = event.detail(field, name.as_str());
        }
    }
    Ok(person.audited(event)?.update_user(id, patch).await?)
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
    Ok(person.audited(event(person, AuditAction::Update, "pin"))?.set_pin(id, Some(verifier)).await?)
}

/// Sets a user's password, and ends the user's sessions with the server.
pub async fn set_password(person: &Person, id: UserId, password: SecretString) -> Answer<User> {
    may_touch(person, id).await?;
    check_password(password.expose_secret()).map_err(|why| Refusal::field("password", why))?;
    let verifier = person.app.passwords.hash(person.caller(), password).await?;
    Ok(person.audited(event(person, AuditAction::Update, "password"))?.set_password(id, verifier).await?)
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

impl CreateUser {
    /// What the store takes, where nothing is wrong with it, and whoever gives the role may.
    fn read(mut self, by: Role) -> Answer<NewUser> {
        let mut faults = FieldErrors::default();
        let fields = ["username", "display_name"];
        names(&mut faults, fields, &mut self.username, self.display_name.as_mut());
        faults.maybe_text("email", self.email.as_mut(), 200);
        faults.maybe_text("employee_id", self.employee_id.as_mut(), 100);
        timeout(&mut faults, self.session_timeout_minutes);
        faults.unless(may_give(by, self.role), "role", NOT_THEIRS);
        faults.check()?;
        Ok(NewUser {
            facility_id: self.facility_id,
            display_name: self.display_name.unwrap_or_else(|| self.username.clone()),
            username: self.username,
            email: self.email,
            role: self.role,
            employee_id: self.employee_id,
            session_timeout_minutes: self.session_timeout_minutes.unwrap_or(TIMEOUT),
            password_hash: None,
            pin_verifier: None,
        })
    }
}

impl UpdateUser {
    /// As [`CreateUser::read`].
    fn read(mut self, by: Role) -> Answer<UserPatch> {
        let mut faults = FieldErrors::default();
        if let Some(username) = &mut self.username {
            check_username(&mut faults, "username", username);
        }
        faults.maybe_text("email", self.email.value_mut(), 200);
        faults.maybe_person_name("display_name", self.display_name.as_mut(), 200);
        faults.maybe_text("employee_id", self.employee_id.value_mut(), 100);
        timeout(&mut faults, self.session_timeout_minutes);
        faults.unless(self.role.is_none_or(|role| may_give(by, role)), "role", NOT_THEIRS);
        faults.check()?;
        Ok(UserPatch {
            username: self.username,
            facility_id: self.facility_id.change(),
            email: self.email.change(),
            display_name: self.display_name,
            role: self.role,
            employee_id: self.employee_id.change(),
            session_timeout_minutes: self.session_timeout_minutes,
            is_active: self.is_active,
        })
    }
}

fn timeout(faults: &mut FieldErrors, minutes: Option<u32>) {
    let good = minutes.is_none_or(|minutes| (1..=12 * 60).contains(&minutes));
    faults.unless(good, "session_timeout_minutes", "give 1 to 720 minutes");
}

const NOT_THEIRS: &str = "your own role does not let you give this one";

/// Nobody gives away more than they have: a facility's administrator makes no organization's.
fn may_give(by: Role, role: Role) -> bool {
    role != Role::PlatformAdmin && (role.is_of_one_facility() || !by.is_of_one_facility())
}

/// Nor changes who has more.
pub(super) async fn may_touch(person: &Person, id: UserId) -> Answer<()> {
    let user = person.registry()?.user(id).await?;
    if may_give(person.actor().role, user.role) { Ok(()) } else { Err(Denied::Role.into()) }
}

fn event(person: &Person, action: AuditAction, what: &str) -> AuditEvent {
    person.event(AuditEventType::ApiAccess, action, "user").detail("what", what)
}

//! Users: their rows, and the terms they served.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::hex::hex;
use carepost_protocol::id::{FacilityId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::Role;
use carepost_protocol::text::{fold, name_key};

use super::{AuditedWrite, OrganizationStore, Result, StoreError, Subject, Tx};
use crate::store::engine::params;
use crate::store::row::insert_into;
use crate::store::rules::feed_writer::put;
use crate::store::rules::sign_in;
use crate::store::rules::sorted::{SortedList, sorted_list};
use crate::store::rules::user::{publish, user};
use crate::store::{Anchor, Listed, NewUser, Paging, User, UserPatch};

/// What a username must be.
pub const USERNAME_RULE: &str = "give 1 to 100 characters without blanks, with a letter or a digit";
/// The longest username, in characters.
const MAX_USERNAME: usize = 100;
/// How many terms a user may have. Each is kept, as a change is judged by the one in which it was made, and all of them
/// are read for each batch in which the user charted.
pub(in crate::store) const MAX_TERMS: u64 = 1_000;

pub(in crate::store) static LIST: SortedList<User> =
    sorted_list!(User, "users", "", "facility_id = ?4 AND ", |user| *user.id.as_bytes());

impl OrganizationStore {
    /// A page of users, of one facility or of all that the scope reaches.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for `sort` and `page`.
    pub async fn users(&self, facility: Option<FacilityId>, asked: Paging) -> Result<Listed<User, Anchor>> {
        self.read(move |tx| LIST.page(tx, &asked, params![], facility, None::<fn(&User) -> bool>)).await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn user(&self, id: UserId) -> Result<User> {
        self.read(move |tx| user(tx, id)).await
    }

    /// The verifier of a user's PIN, when a thief may know that.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn exposed_pin(&self, id: UserId) -> Result<Option<String>> {
        let sql = "SELECT pin_verifier FROM users WHERE id = ?1 AND pin_exposed_at IS NOT NULL";
        self.read(move |tx| Ok(tx.first(sql, params![id])?.flatten())).await
    }
}

impl AuditedWrite {
    /// # Errors
    /// [`StoreError::Conflict`] for username or email, [`StoreError::Invalid`] for the role or the
    /// facility it needs, [`StoreError::NotFound`] for the facility.
    pub async fn create_user(self, new: NewUser) -> Result<User> {
        self.write(move |tx| {
            let id = insert_user(tx, &new)?;
            user(tx, id)
        })
        .await
    }

    /// Changes one; the change is kept, so that what was charted before is judged by what was so then.
    ///
    /// # Errors
    /// As [`Self::create_user`]; [`StoreError::Changed`].
    pub async fn update_user(self, id: UserId, patch: UserPatch) -> Result<User> {
        let (by, expected) = (self.event.user_id, self.expected.clone());
        self.write(move |tx| {
            expected.check(&user(tx, id)?)?;
            update(tx, id, by, patch)
        })
        .await
    }

    /// Sets the password's verifier, forgets who failed and from where the user signed in, and ends the user's
    /// sessions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`].
    pub async fn set_password(self, id: UserId, password_hash: String) -> Result<User> {
        let expected = self.expected.clone();
        self.write(move |tx| {
            let found = user(tx, id)?;
            expected.check(&found)?;
            let sql = "UPDATE users SET password_hash = ?2 WHERE id = ?1";
            tx.execute(sql, params![id, password_hash])?;
            sign_in::forget(tx, &found.username)?;
            tx.execute("DELETE FROM sessions WHERE user_id = ?1", params![id])?;
            Ok(found)
        })
        .await
    }

    /// Sets the PIN's verifier, or removes it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`].
    pub async fn set_pin(self, id: UserId, pin_verifier: Option<String>) -> Result<User> {
        let expected = self.expected.clone();
        self.write(move |tx| {
            let found = user(tx, id)?;
            expected.check(&found)?;
            tx.execute(
                "UPDATE users SET pin_verifier = ?2, pin_exposed_at = NULL, pin_answers = NULL,
                    pin_set_at = ?3 WHERE id = ?1",
                params![id, pin_verifier, tx.now()],
            )?;
            publish(tx, id)?;
            Ok(found)
        })
        .await
    }
}

impl Subject for User {
    fn describe(&self, event: &mut AuditEvent) {
        event.resource_id = Some(self.id.to_string());
        event.facility_id = self.facility_id;
    }
}

/// What a user's name sorts by.
fn sort_key(user: &User) -> Vec<u8> {
    name_key(&user.display_name).into_bytes()
}

/// Adds a user to the organization whose scope it is.
pub(in crate::store) fn insert_user(tx: &Tx<'_>, new: &NewUser) -> Result<UserId> {
    check_username(&new.username)?;
    check_place(tx, new.role, new.facility_id)?;
    let (now, id) = (tx.now(), UserId::new(tx.now(), tx.random()?));
    insert_into!(tx, "users" {
        id: id,
        facility_id: new.facility_id,
        username: new.username,
        username_key: fold(&new.username),
        email: new.email,
        email_key: new.email.as_deref().map(fold),
        display_name: new.display_name,
        role: new.role,
        employee_id: new.employee_id,
        password_hash: new.password_hash,
        pin_verifier: new.pin_verifier,
        session_timeout_minutes: new.session_timeout_minutes,
        is_active: true,
        created_at: now,
        sort_key: name_key(&new.display_name).into_bytes(),
    })?;
    begin_term(tx, id, new.role, new.facility_id)?;
    publish(tx, id)?;
    Ok(id)
}

fn update(tx: &Tx<'_>, id: UserId, by: Option<UserId>, patch: UserPatch) -> Result<User> {
    let before = user(tx, id)?;
    let mut after = before.clone();
    if let Some(username) = patch.username {
        check_username(&username)?;
        after.username = username;
    }
    after.facility_id = patch.facility_id.unwrap_or(after.facility_id);
    after.email = patch.email.unwrap_or(after.email);
    after.display_name = patch.display_name.unwrap_or(after.display_name);
    after.role = patch.role.unwrap_or(after.role);
    after.employee_id = patch.employee_id.unwrap_or(after.employee_id);
    after.session_timeout_minutes = patch.session_timeout_minutes.unwrap_or(after.session_timeout_minutes);
    after.is_active = patch.is_active.unwrap_or(after.is_active);
    check_place(tx, after.role, after.facility_id)?;
    keep_an_administrator(tx, by, &before, &after)?;
    tx.execute(
        "UPDATE users SET facility_id = ?2, email = ?3,
            email_key = CASE WHEN email IS NOT DISTINCT FROM ?3 THEN email_key ELSE ?4 END,
            display_name = ?5, sort_key = ?13, role = ?6,
            employee_id = ?7, session_timeout_minutes = ?8, is_active = ?9, username = ?10,
            username_key = CASE WHEN username = ?10 AND username_key <> ?12 THEN username_key ELSE ?11 END
            WHERE id = ?1",
        params![
            id,
            after.facility_id,
            after.email,
            after.email.as_deref().map(fold),
            after.display_name,
            after.role,
            after.employee_id,
            after.session_timeout_minutes,
            after.is_active,
            after.username,
            fold(&after.username),
            parked_key(id),
            sort_key(&after),
        ],
    )?;
    let standing = |user: &User| (user.role, user.facility_id, user.is_active);
    if standing(&before) != standing(&after) {
        let ended = "UPDATE user_terms SET until_at = ?2 WHERE user_id = ?1 AND until_at IS NULL";
        tx.execute(ended, params![id, tx.now()])?;
        if after.is_active {
            begin_term(tx, id, after.role, after.facility_id)?;
        }
    }
    if !after.is_active {
        tx.execute("DELETE FROM sessions WHERE user_id = ?1", params![id])?;
    }
    if before.facility_id != after.facility_id {
        leave(tx, id, before.facility_id)?;
    }
    publish(tx, id)?;
    user(tx, id)
}

/// The key of a user whose name is another's now, until another is given: no name has it.
pub(in crate::store) fn parked_key(id: UserId) -> String {
    format!("parked {}", hex(id.as_bytes()))
}

/// Whether a text in the form in which it is stored can be a username.
#[must_use]
pub fn is_username(text: &str) -> bool {
    text.chars().count() <= MAX_USERNAME
        && text.contains(char::is_alphanumeric)
        && !text.contains(char::is_whitespace)
}

fn check_username(username: &str) -> Result<()> {
    if is_username(username) {
        return Ok(());
    }
    Err(StoreError::Invalid { field: "username", detail: USERNAME_RULE.to_owned() })
}

/// An organization without an administrator who can sign in is brought back by nobody of its own: none of them
/// may bring that about. The platform's administrators may, as where a key was stolen.
fn keep_an_administrator(tx: &Tx<'_>, by: Option<UserId>, before: &User, after: &User) -> Result<()> {
    let administers = |user: &User| user.is_active && user.role == Role::OrgAdmin;
    let own = match by {
        Some(by) => tx.exists("SELECT 1 FROM users WHERE id = ?1", params![by])?,
        None => false,
    };
    if !own || !administers(before) || administers(after) {
        return Ok(());
    }
    let others =
        "SELECT 1 FROM users WHERE role = ?1 AND is_active = 1 AND password_hash IS NOT NULL AND id <> ?2";
    if tx.exists(others, params![Role::OrgAdmin, before.id])? {
        return Ok(());
    }
    let field = if after.is_active { "role" } else { "is_active" };
    let detail = "this is the organization's last administrator who can sign in; make another one first, with a \
                  password";
    Err(StoreError::Invalid { field, detail: detail.to_owned() })
}

/// A user who moves takes no badge along: the other facility's readers know cards by another key.
fn leave(tx: &Tx<'_>, id: UserId, facility: Option<FacilityId>) -> Result<()> {
    let Some(facility) = facility else { return Ok(()) };
    super::lost::mark_who_leaves(tx, id, facility)?;
    tx.within_facility(facility, |tx| put(tx, Collection::Users, id.as_bytes(), None, None))?;
    super::badges::remove_all(tx, id)
}

fn begin_term(tx: &Tx<'_>, user: UserId, role: Role, facility: Option<FacilityId>) -> Result<()> {
    let served = "SELECT count(*) FROM user_terms WHERE user_id = ?1";
    if tx.first::<u64>(served, params![user])?.is_some_and(|served| served >= MAX_TERMS) {
        let detail =
            "this user's role and facility were changed 1,000 times; deactivate the user, and create another";
        return Err(StoreError::Invalid { field: "user_id", detail: detail.to_owned() });
    }
    tx.execute(
        "INSERT INTO user_terms (user_id, id, facility_id, role, from_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![user, tx.random::<16>()?, facility, role, tx.now()],
    )
    .map(drop)
}

fn check_place(tx: &Tx<'_>, role: Role, facility: Option<FacilityId>) -> Result<()> {
    let invalid = |field, detail: &str| Err(StoreError::Invalid { field, detail: detail.to_owned() });
    if role == Role::PlatformAdmin {
        return invalid("role", "a platform administrator belongs to no organization");
    }
    match facility {
        Some(id) => super::facilities::facility(tx, id).map(drop),
        None if role.is_of_one_facility() => {
            invalid("facility_id", "this role needs a home facility: give one (`facility_id`)")
        }
        None => Ok(()),
    }
}

//! Users, how they sign in, and their badges.

use std::fmt;

use carepost_protocol::change::PayloadHash;
use carepost_protocol::id::{BadgeId, FacilityId, OrganizationId, SessionId, UserId};
use carepost_protocol::role::{Actor, Role};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::UnknownTap;

use crate::store::row::row;
use crate::store::version::{Version, Versioned};

row! {
    /// A user, without the secrets.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct User {
        pub id: UserId,
        pub facility_id: Option<FacilityId>,
        /// The name to sign in with, unique in the organization whatever its case.
        pub username: String,
        /// The address, unique in the organization whatever its case.
        pub email: Option<String>,
        pub display_name: String,
        pub role: Role,
        /// The employer's number for the user (S1-67).
        pub employee_id: Option<String>,
        pub session_timeout_minutes: u32,
        pub is_active: bool,
        pub has_pin: bool = "pin_verifier IS NOT NULL",
        /// Since when a thief may know it.
        pub pin_exposed_at: Option<Timestamp>,
        pub has_password: bool = "password_hash IS NOT NULL",
        /// What tells PIN and password from those that are set anew: their verifiers, hashed.
        pub(in crate::store) secrets: PayloadHash = "pin_verifier, password_hash" by secrets,
        /// When the user last did something with the server.
        pub last_activity_at: Option<Timestamp>,
        pub locked_until: Option<Timestamp> = "(SELECT max(locked_until) FROM sign_ins WHERE name = users.username_key)",
        pub created_at: Timestamp,
    }
}

fn secrets((pin_verifier, password_hash): (Option<String>, Option<String>)) -> PayloadHash {
    PayloadHash::of(format!("{pin_verifier:?} {password_hash:?}").as_bytes())
}

impl Versioned for User {
    fn version(&self) -> Version {
        Version::of(&(
            self.id,
            self.facility_id,
            &self.username,
            &self.email,
            &self.display_name,
            self.role,
            &self.employee_id,
            self.session_timeout_minutes,
            self.is_active,
            self.pin_exposed_at,
            &self.secrets,
        ))
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The home facility; a role that acts within one facility needs one.
    pub facility_id: Option<FacilityId>,
    pub username: String,
    pub email: Option<String>,
    pub display_name: String,
    pub role: Role,
    pub employee_id: Option<String>,
    pub session_timeout_minutes: u32,
    /// The password's verifier, an Argon2id PHC string.
    pub password_hash: Option<String>,
    /// The PIN's verifier, an Argon2id PHC string.
    pub pin_verifier: Option<String>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What an administrator changes of a user; what is none stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    pub username: Option<String>,
    /// The home facility; `Some(None)` removes it.
    pub facility_id: Option<Option<FacilityId>>,
    /// The address; `Some(None)` removes it.
    pub email: Option<Option<String>>,
    pub display_name: Option<String>,
    pub role: Option<Role>,
    /// The employer's number; `Some(None)` removes it.
    pub employee_id: Option<Option<String>>,
    pub session_timeout_minutes: Option<u32>,
    pub is_active: Option<bool>,
}

row! {
    /// What is needed to check a sign-in.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Credentials {
        pub user: UserId = "u.id",
        /// The organization; none for the platform's administrators.
        pub organization: Option<OrganizationId> = "u.organization_id",
        pub facility: Option<FacilityId> = "u.facility_id",
        pub role: Role = "u.role",
        pub display_name: String = "u.display_name",
        /// The password's verifier; none when no password is set: then nobody signs in with one.
        pub password_hash: Option<String> = "u.password_hash",
        pub is_active: bool = "u.is_active",
        pub session_timeout_minutes: u32 = "u.session_timeout_minutes",
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

row! {
    /// A signed-in user's session with the server, valid now.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Session {
        /// Who: as the user's row says now, not as it said at sign-in.
        pub actor: Actor
            = "s.id, s.user_id, s.organization_id, u.facility_id, coalesce(u.role, 'platform_admin')" by actor,
        pub username: String = "coalesce(u.username, p.username)",
        pub display_name: String = "coalesce(u.display_name, p.display_name)",
        pub created_at: Timestamp = "s.created_at",
        pub expires_at: Timestamp = "s.expires_at",
    }
}

fn actor(
    (session, user, organization, facility, role): (
        SessionId,
        UserId,
        Option<OrganizationId>,
        Option<FacilityId>,
        Role,
    ),
) -> Actor {
    Actor { session, user, organization, facility, role }
}

/// A session to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSession {
    pub user: UserId,
    /// The user's organization; none for the platform's administrators.
    pub organization: Option<OrganizationId>,
    /// SHA-256 of the token that the client holds.
    pub token_sha256: [u8; 32],
    pub expires_at: Timestamp,
}

row! {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Badge {
        pub id: BadgeId,
        pub user_id: UserId,
        pub facility_id: FacilityId,
        /// Which card it is, as the audit log masks it.
        pub card: String = "lookup" by UnknownTap::masked,
        pub is_active: bool,
        pub created_at: Timestamp,
        /// The username of who issued it, where that is a user in the scope and since it is kept.
        pub issued_by: Option<String> = "(SELECT username FROM users WHERE users.id = badges.issued_by)",
    }
}

impl Versioned for Badge {
    fn version(&self) -> Version {
        Version::of(&(self.id, self.user_id, self.is_active))
    }
}

//! What no scope can do: the whole list of the server's cross-tenant work. It may only shrink.

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{OrganizationId, SessionId, UserId};
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};

use super::{
    Credentials, DeviceIdentity, NewOrganization, NewSession, NewUser, Organization, PresentedKey, Session,
    SignInFailure, Store, StoreError,
};

/// Work across scopes.
#[derive(Debug, Clone)]
pub struct SystemStore {
    store: Store,
}

type Result<T> = std::result::Result<T, StoreError>;

impl SystemStore {
    /// Whether the database answers.
    pub async fn health(&self) -> Result<()> {
        todo!()
    }

    /// The device that holds this key (SHA-256 of its SPKI), whatever its state.
    pub async fn device_by_key(&self, key_sha256: [u8; 32]) -> Result<Option<DeviceIdentity>> {
        todo!()
    }

    /// A device asks to be let in, again and again: where its enrollment stands. With the one-time
    /// token of an expected device (`token_sha256`) it is let in at once.
    pub async fn enroll(
        &self,
        key: PresentedKey,
        request: EnrollRequest,
        token_sha256: Option<[u8; 32]>,
    ) -> Result<EnrollResponse> {
        todo!()
    }

    /// What is needed to check the sign-in of a user of an organization, named by its slug.
    pub async fn credentials(&self, slug: &str, username: &str) -> Result<Option<Credentials>> {
        todo!()
    }

    /// What is needed to check the sign-in of a platform administrator.
    pub async fn platform_credentials(&self, username: &str) -> Result<Option<Credentials>> {
        todo!()
    }

    /// Counts a failed sign-in: the fifth in a row locks for 30 minutes (S0-49).
    pub async fn sign_in_failed(
        &self,
        organization: Option<OrganizationId>,
        user: UserId,
    ) -> Result<SignInFailure> {
        todo!()
    }

    /// Makes a session, and forgets the failures before it.
    pub async fn create_session(&self, session: NewSession) -> Result<SessionId> {
        todo!()
    }

    /// The session whose token has this hash, if it is valid now: neither ended, expired nor idle too
    /// long, its user still active. Counts as activity.
    pub async fn session(&self, token_sha256: [u8; 32]) -> Result<Option<Session>> {
        todo!()
    }

    /// Ends a session. Ending it twice is fine.
    pub async fn end_session(&self, session: SessionId) -> Result<()> {
        todo!()
    }

    /// Every organization, by name.
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        todo!()
    }

    /// One organization, by id.
    pub async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>> {
        todo!()
    }

    /// One organization, by slug.
    pub async fn organization_by_slug(&self, slug: &str) -> Result<Option<Organization>> {
        todo!()
    }

    /// Creates an organization, and its first administrator where one is given, in one step.
    /// Errors: [`StoreError::Conflict`] for the slug.
    pub async fn create_organization(
        &self,
        organization: NewOrganization,
        admin: Option<NewUser>,
    ) -> Result<(Organization, Option<UserId>)> {
        todo!()
    }

    /// Creates a platform administrator.
    pub async fn create_platform_admin(
        &self,
        username: &str,
        display_name: &str,
        password_hash: &str,
    ) -> Result<UserId> {
        todo!()
    }

    /// How many platform administrators there are: `init` asks.
    pub async fn platform_admins(&self) -> Result<u64> {
        todo!()
    }

    /// Writes audit events of which no scope is known, such as a failed sign-in: each under the
    /// organization and facility it names itself.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        todo!()
    }
}

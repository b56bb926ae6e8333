//! The system store: what no scope can do, the whole list of the server's cross-tenant work. It may only shrink.
//!
//! What is here runs before anybody is known (a key, a name, a token, a code is looked up), or is the
//! platform's own (organizations). [`crate::store::rules::enrollment`] holds the steps of the lobby.

pub(in crate::store) mod key;

use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{OrganizationId, SessionId, UserId};
use carepost_protocol::role::Actor;
use carepost_protocol::text::fold;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse};

use super::organization::insert_user;
use crate::scope::OrganizationScope;
use crate::store::crossing::Crossing;
use crate::store::engine::{AccessScope, Tx, params};
use crate::store::model::merged;
use crate::store::row::{Stored, Whole, insert, select, sql};
use crate::store::rules::sign_in::{self, Login};
use crate::store::rules::{audit, enrollment, idempotency};
use crate::store::{
    Credentials, DeviceIdentity, IdempotencyState, IdempotentRequest, NewOrganization, NewSession, NewUser,
    Organization, PresentedKey, Session, Store, StoreError,
};

type Result<T> = std::result::Result<T, StoreError>;

/// How many sessions a person has: the oldest makes room for the next.
pub(in crate::store) const MAX_SESSIONS: usize = 50;
/// How many a sign-in ends at most of those that are over, and of those that are too many.
pub(in crate::store) const ENDED_AT_ONCE: usize = 100;
/// A session's last activity is written at most this often, or four times in its idle time.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// For how long a write that failed for want of room speaks against the database's health.
const FULL_FOR: Duration = Duration::from_secs(60);

const SYSTEM: AccessScope = AccessScope::System(Crossing::System(key::KEY));

/// Work across scopes.
#[derive(Debug, Clone)]
pub struct SystemStore {
    store: Store,
    idempotent: Option<IdempotentRequest>,
}

impl SystemStore {
    pub(in crate::store) fn new(store: Store) -> Self {
        Self { store, idempotent: None }
    }

    /// The same, for a request that is to be done once: what is made by it says so with [`StoreError::Done`].
    #[must_use]
    pub fn idempotent(self, idempotent: Option<IdempotentRequest>) -> Self {
        Self { idempotent, ..self }
    }

    /// What is known of a request that is to be done once, of a user where that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn idempotency_state(
        &self,
        request: IdempotentRequest,
        user: Option<UserId>,
    ) -> Result<IdempotencyState> {
        self.read(move |tx| idempotency::state(tx, request, user)).await
    }

    /// Keeps the answer of a request that was done, where it wrote anything.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn keep_answer(&self, request: IdempotentRequest, sealed: Vec<u8>) -> Result<()> {
        self.write(move |tx| idempotency::keep_answer(tx, request, sealed)).await
    }

    /// Forgets a portion of the requests that were to be done once and are not known any more; whether there may be
    /// more.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn purge_idempotency_keys(&self) -> Result<bool> {
        self.write(idempotency::purge).await
    }

    /// Whether the database answers, and no write has failed for want of room within a minute.
    ///
    /// # Errors
    /// When it does not; [`StoreError::Full`].
    pub async fn health(&self) -> Result<()> {
        if self.store.inner.fullness.within(FULL_FOR, self.store.now()) {
            return Err(StoreError::Full);
        }
        self.read(|tx| tx.exists("SELECT 1", params![]).map(drop)).await
    }

    /// The device that holds this key (SHA-256 of its SPKI), whatever its state.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn device_by_key(&self, key_sha256: [u8; 32]) -> Result<Option<DeviceIdentity>> {
        let identities = &self.store.inner.identities;
        let generation = match identities.find(&key_sha256) {
            Ok(known) => return Ok(Some(known)),
            Err(generation) => generation,
        };
        let found = self.read(move |tx| {
            let sql = select!(DeviceIdentity, "system_devices AS d WHERE d.key_sha256 = ?1");
            tx.first::<DeviceIdentity>(sql, params![key_sha256])
        });
        let found = found.await?;
        if let Some(identity) = &found {
            identities.keep(key_sha256, identity, generation);
        }
        Ok(found)
    }

    /// A device asks to be let in, again and again: where its enrollment stands. With the one-time token
    /// of an expected device (`token_sha256`) it is let in at once.
    ///
    /// # Errors
    /// [`StoreError::DeviceRevoked`]; [`StoreError::Invalid`] for a token that is unknown, used or for
    /// other hardware; [`StoreError::Conflict`] when a live device has the hardware UUID;
    /// [`StoreError::TooManyTries`] when the lobby is full of devices whose codes stand.
    pub async fn enroll(
        &self,
        key: PresentedKey,
        request: EnrollRequest,
        token_sha256: Option<[u8; 32]>,
    ) -> Result<EnrollResponse> {
        match self.enrollment_state(key.clone(), request.clone(), token_sha256).await? {
            Some(state) => Ok(state),
            None => self.write(move |tx| enrollment::enroll(tx, &key, &request, token_sha256.as_ref())).await,
        }
    }

    /// Where a device's enrollment stands, if nothing has to be written to say so.
    ///
    /// # Errors
    /// As [`Self::enroll`].
    pub async fn enrollment_state(
        &self,
        key: PresentedKey,
        request: EnrollRequest,
        token_sha256: Option<[u8; 32]>,
    ) -> Result<Option<EnrollResponse>> {
        self.read(move |tx| match (enrollment::state(tx, &key, &request)?, token_sha256) {
            (Some(active @ EnrollResponse::Active { .. }), _) => Ok(Some(active)),
            // Tried here, so that who makes tokens up keeps nobody from writing.
            (_, Some(token)) => enrollment::expected(tx, &token).map(|_| None),
            (waiting, None) => Ok(waiting),
        })
        .await
    }

    /// Whether a key has asked to be let in before: it is a device's, or waits in the lobby.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_key(&self, key_sha256: [u8; 32]) -> Result<bool> {
        self.read(move |tx| enrollment::knows(tx, &key_sha256)).await
    }

    /// What is needed to check the sign-in of a user of an organization, named by its slug.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(&self, slug: &str, username: &str) -> Result<Option<Credentials>> {
        let (slug, username) = (slug.to_owned(), fold(username));
        let sql = select!(
            Credentials,
            "system_organizations AS o JOIN system_users AS u ON u.organization_id = o.id
            WHERE o.slug = ?1 AND u.username_key = ?2"
        );
        self.read(move |tx| tx.first(sql, params![slug, username])).await
    }

    /// What is needed to check the sign-in of a platform administrator.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn platform_credentials(&self, username: &str) -> Result<Option<Credentials>> {
        let username = fold(username);
        let sql = select!(
            Credentials,
            "(SELECT id, NULL AS organization_id, NULL AS facility_id, 'platform_admin' AS role, display_name,
                password_hash, is_active, session_timeout_minutes, username_key
                FROM system_platform_admins) AS u
            WHERE u.username_key = ?1"
        );
        self.read(move |tx| tx.first(sql, params![username])).await
    }

    /// Until when nobody may sign in under that name from there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn locked(&self, login: Login) -> Result<Option<Timestamp>> {
        self.read(move |tx| sign_in::locked(tx, &login)).await
    }

    /// Whose people signed in from there of late, under whatever name; none of none are the platform's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_to(&self, login: Login) -> Result<Option<Option<OrganizationId>>> {
        self.read(move |tx| sign_in::known_to(tx, &login)).await
    }

    /// Counts a failed sign-in; gives until when the name is locked there now (S0-49). A name that nobody has
    /// is counted and locked as any other, so that neither locks nor time tell which there are. `locks` is
    /// written when this failure locks.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn sign_in_failed(&self, login: Login, locks: Option<AuditEvent>) -> Result<Option<Timestamp>> {
        self.write(move |tx| sign_in::failed(tx, &login, locks)).await
    }

    /// Makes a session, forgets the failures before it and writes it down.
    ///
    /// # Errors
    /// [`StoreError::TooManyTries`] when other tries have locked the name since the password was checked.
    pub async fn create_session(
        &self,
        login: Login,
        session: NewSession,
        event: AuditEvent,
    ) -> Result<SessionId> {
        let idempotent = self.idempotent;
        self.write(move |tx| {
            idempotency::record(tx, idempotent, Some(session.user))?;
            create_session(tx, &login, &session, event)
        })
        .await
    }

    /// The session whose token has this hash, if it is valid now: neither ended, expired nor idle too
    /// long, its user still active. Counts as activity, while there is room to write that down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, token_sha256: [u8; 32]) -> Result<Option<Session>> {
        let found = self.read(move |tx| find_session(tx, &token_sha256)).await?;
        let Some((session, touch)) = found else { return Ok(None) };
        if touch {
            let actor = session.actor;
            match self.write(move |tx| touch_session(tx, &token_sha256, &actor)).await {
                // What only has to be read is had all the same.
                Err(fault) if fault.is_of_every_write() => {}
                touched => touched?,
            }
        }
        Ok(Some(session))
    }

    /// Ends a session and writes it down. Ending it twice is fine.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn end_session(&self, session: SessionId, event: AuditEvent) -> Result<()> {
        self.write(move |tx| {
            tx.execute("DELETE FROM system_sessions WHERE id = ?1", params![session])?;
            audit::append(tx, &[event])
        })
        .await
    }

    /// Every organization.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        let sql = select!(Organization, "system_organizations");
        self.read(move |tx| tx.all(sql, params![])).await
    }

    /// # Errors
    /// When the database fails.
    pub async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>> {
        let sql = select!(Organization, "system_organizations WHERE id = ?1");
        self.read(move |tx| tx.first(sql, params![id])).await
    }

    /// # Errors
    /// When the database fails.
    pub async fn organization_by_slug(&self, slug: &str) -> Result<Option<Organization>> {
        let slug = slug.to_owned();
        let sql = select!(Organization, "system_organizations WHERE slug = ?1");
        self.read(move |tx| tx.first(sql, params![slug])).await
    }

    /// Creates an organization and its first administrator, and writes it down, in one step.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for the slug; for the administrator, as
    /// [`crate::store::AuditedWrite::create_user`].
    pub async fn create_organization(
        &self,
        organization: NewOrganization,
        admin: NewUser,
        event: AuditEvent,
    ) -> Result<(Organization, UserId)> {
        let idempotent = self.idempotent;
        self.write(move |tx| {
            idempotency::record(tx, idempotent, event.user_id)?;
            create_organization(tx, organization, &admin, event)
        })
        .await
    }

    /// # Errors
    /// [`StoreError::Conflict`] for the username.
    pub async fn create_platform_admin(
        &self,
        username: &str,
        display_name: &str,
        password_hash: &str,
    ) -> Result<UserId> {
        let (username, display_name) = (username.to_owned(), display_name.to_owned());
        let password_hash = password_hash.to_owned();
        self.write(move |tx| {
            let id = UserId::new(tx.now(), tx.random()?);
            tx.execute(
                "INSERT INTO system_platform_admins (id, username, username_key, display_name, password_hash,
                    session_timeout_minutes, is_active, created_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, 30, 1, ?6)",
                params![id, username, fold(&username), display_name, password_hash, tx.now()],
            )?;
            Ok(id)
        })
        .await
    }

    /// The usernames of the platform administrators, the first first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn platform_admins(&self) -> Result<Vec<String>> {
        let sql = "SELECT username FROM system_platform_admins ORDER BY created_at";
        self.read(move |tx| tx.all(sql, params![])).await
    }

    /// Writes audit events of which no scope is known, such as a refused sign-in: each under the
    /// organization and facility it names itself.
    ///
    /// # Errors
    /// When they could not be made durable.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        self.write(move |tx| audit::append(tx, &events)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.read(SYSTEM, work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.write(SYSTEM, work).await
    }
}

fn create_session(
    tx: &Tx<'_>,
    login: &Login,
    session: &NewSession,
    mut event: AuditEvent,
) -> Result<SessionId> {
    if let Some(until) = sign_in::locked(tx, login)? {
        return Err(StoreError::TooManyTries { until });
    }
    sign_in::succeeded(tx, login)?;
    let (now, id) = (tx.now(), SessionId::new(tx.now(), tx.random()?));
    let over = "DELETE FROM system_sessions WHERE token_sha256 IN (SELECT token_sha256 FROM system_sessions
        WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
    tx.execute(over, params![now, ENDED_AT_ONCE])?;
    let too_many =
        "DELETE FROM system_sessions WHERE token_sha256 IN (SELECT token_sha256 FROM system_sessions
        WHERE organization_id IS NOT DISTINCT FROM ?1 AND user_id = ?2
        ORDER BY created_at DESC LIMIT ?3 OFFSET ?4)";
    tx.execute(too_many, params![session.organization, session.user, ENDED_AT_ONCE, MAX_SESSIONS - 1])?;
    active(tx, session.organization, session.user)?;
    tx.execute(
        "INSERT INTO system_sessions (token_sha256, id, organization_id, user_id, created_at, expires_at,
            last_activity_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)",
        params![session.token_sha256, id, session.organization, session.user, now, session.expires_at],
    )?;
    event.resource_id = Some(id.to_string());
    event.session_id = Some(id);
    audit::append(tx, &[event])?;
    Ok(id)
}

/// The person did something just now.
fn active(tx: &Tx<'_>, organization: Option<OrganizationId>, user: UserId) -> Result<()> {
    let sql = match organization {
        Some(_) => "UPDATE system_users SET last_activity_at = ?3 WHERE organization_id = ?1 AND id = ?2",
        None => "UPDATE system_platform_admins SET last_activity_at = ?3 WHERE ?1 IS NOT NULL AND id = ?2",
    };
    let tenant = organization.map_or([0; 16], |id| *id.as_bytes());
    tx.execute(sql, params![tenant, user, tx.now()]).map(drop)
}

/// The session, and whether its activity should be written.
fn find_session(tx: &Tx<'_>, token_sha256: &[u8; 32]) -> Result<Option<(Session, bool)>> {
    let sql = sql!(
        "SELECT ",
        Session::COLUMNS,
        ", s.last_activity_at, coalesce(u.session_timeout_minutes, p.session_timeout_minutes)
        FROM system_sessions AS s
        LEFT JOIN system_users AS u ON u.organization_id = s.organization_id AND u.id = s.user_id
        LEFT JOIN system_platform_admins AS p ON s.organization_id IS NULL AND p.id = s.user_id
        WHERE s.token_sha256 = ?1 AND coalesce(u.is_active, p.is_active, 0) = 1"
    );
    let Some((session, last_activity, minutes)): Option<(Session, Timestamp, u32)> =
        tx.first(sql, params![token_sha256])?
    else {
        return Ok(None);
    };
    let (now, idle) = (tx.now(), Duration::from_secs(60 * u64::from(minutes)));
    let unused = now.since(last_activity);
    let valid = now < session.expires_at && unused < idle;
    Ok(valid.then_some((session, unused >= TOUCH_EVERY.min(idle / 4))))
}

fn touch_session(tx: &Tx<'_>, token_sha256: &[u8; 32], actor: &Actor) -> Result<()> {
    let now = tx.now().as_millis();
    let sql = "UPDATE system_sessions SET last_activity_at = ?2 WHERE token_sha256 = ?1";
    tx.execute(sql, params![token_sha256, now])?;
    active(tx, actor.organization, actor.user)
}

fn create_organization(
    tx: &Tx<'_>,
    new: NewOrganization,
    admin: &NewUser,
    mut event: AuditEvent,
) -> Result<(Organization, UserId)> {
    let now = tx.now();
    let organization = Organization {
        id: OrganizationId::new(now, tx.random()?),
        name: new.name,
        slug: new.slug,
        organization_type: new.organization_type,
        npi: new.npi,
        address: merged(None, Some(new.address)),
        contact: merged(None, Some(new.contact)),
        recovery_recipient: new.recovery_recipient,
        created_at: now,
        updated_at: now,
    };
    tx.execute(insert!(Organization, "system_organizations"), &organization.values())?;
    let scope = AccessScope::Organization(OrganizationScope::of_founding(organization.id));
    let admin = tx.within(scope, |tx| insert_user(tx, admin))?;
    event.organization_id = Some(organization.id);
    event.resource_id = Some(organization.id.to_string());
    audit::append(tx, &[event])?;
    Ok((organization, admin))
}

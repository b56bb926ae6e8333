//! Who asks, and whether they may: decided before a handler runs, by what ROUTES says of the route.

use std::time::Instant;

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{FacilityId, IncarnationId, OrganizationId};
use carepost_protocol::role::{Act, Action, Actor, Denied, Permit, Resource, Role, authorize, decide};
use carepost_protocol::wire::BOOT_HEADER;
use carepost_protocol::wire::problem::ProblemKind;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;
use ring::digest::{SHA256, digest};

use crate::app::App;
use crate::audit::{Client, Note};
use crate::error::{Answer, Refusal};
use crate::listener::ConnectedAt;
use crate::routes::{Authorization, Route};
use crate::scope::{FacilityScope, OrganizationScope};
use crate::speakers::Speech;
use crate::store::{DeviceIdentity, FacilityStore, Noted, OrganizationStore, Session};
use crate::tenant::{self, Said};
use crate::tls::PeerKey;

/// A signed-in person, and where the request is for.
#[derive(Clone)]
pub struct Person {
    app: App,
    /// The session that was authenticated.
    pub session: Session,
    /// Where the request came from.
    pub client: Client,
    /// The organization the request is for: the person's own, or the one a platform administrator named.
    tenant: Option<OrganizationId>,
}

/// A device whose key was looked up, and whose state allows the route.
#[derive(Clone)]
pub struct Device {
    /// The device.
    pub identity: DeviceIdentity,
    /// The store of its facility.
    pub facility: FacilityStore,
    /// The key it spoke with.
    pub key: PeerKey,
    speech: Option<Speech>,
}

impl Device {
    /// Notes who speaks as the device, and for which life of its outbox where the request carries the one of
    /// the moment. When that tells of a second copy, the device is quarantined from here on.
    ///
    /// # Errors
    /// What the store says.
    pub async fn speaks_for(&mut self, app: &App, incarnation: Option<IncarnationId>) -> Answer<()> {
        let Some(speech) = self.speech else { return Ok(()) };
        let speech = Speech { incarnation, ..speech };
        let twice = app.speakers.heard(self.identity.device(), speech, Instant::now());
        if let Some(twice) = twice
            && self.identity.state() == DeviceState::Active
        {
            self.facility.quarantine(&mut self.identity, twice.reason()).await?;
            tracing::warn!(device = %self.identity.device(), reason = twice.reason(), "device quarantined");
        }
        Ok(())
    }

    /// As [`Self::may_read`], by how the device stands now: for a stream that has begun to listen.
    ///
    /// # Errors
    /// As [`Self::may_read`].
    pub async fn may_still_read(&mut self, app: &App) -> Answer<()> {
        let known = app.store.system().device_by_key(*self.key.sha256()).await?;
        self.identity = known.ok_or_else(unauthenticated)?;
        self.may_read()
    }

    /// Whether the device may be sent anything.
    ///
    /// # Errors
    /// Why its state does not allow it.
    pub fn may_read(&self) -> Answer<()> {
        let state = self.identity.state();
        if state == DeviceState::Active { Ok(()) } else { Err(of_state(state)) }
    }
}

impl Person {
    /// Who asks.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.session.actor
    }

    /// The registry that the person reaches.
    ///
    /// # Errors
    /// A platform administrator has to say which organization is meant.
    pub fn registry(&self) -> Answer<OrganizationStore> {
        Ok(self.app.store.organization(&self.scope()?))
    }

    /// The registry of an organization that the request's body names; none is the person's own.
    ///
    /// # Errors
    /// Another's organization reads like a missing one; the attempt is written down.
    pub async fn registry_of(&self, organization: Option<OrganizationId>) -> Answer<OrganizationStore> {
        let Some(organization) = organization else { return self.registry() };
        if self.actor().role == Role::PlatformAdmin && self.tenant.is_none() {
            let known = self.app.store.system().organization(organization).await?;
            let scope = known.and_then(|known| OrganizationScope::of_platform(self.actor(), known.id));
            let scope = scope.ok_or_else(Refusal::not_found)?;
            return Ok(self.app.store.organization(&scope));
        }
        if self.tenant != Some(organization) {
            self.crossed(&organization.to_string()).await?;
            return Err(Refusal::not_found());
        }
        self.registry()
    }

    /// One facility that the person reaches.
    ///
    /// # Errors
    /// As [`Self::registry`]; another's facility reads like a missing one.
    pub fn facility(&self, facility: FacilityId) -> Answer<FacilityStore> {
        let scope = self.scope()?.enter(facility).ok_or_else(Refusal::not_found)?;
        Ok(self.app.store.facility(&scope))
    }

    /// Proof that the person may do `A` in a facility.
    ///
    /// # Errors
    /// Out of scope reads like missing; a role that does not allow it is named as such.
    pub fn permit<A: Act>(&self, facility: FacilityId) -> Answer<Permit<A>> {
        let organization = self.tenant.ok_or_else(Refusal::not_found)?;
        Ok(authorize(self.actor(), Resource::Facility(organization, facility))?)
    }

    /// Proof that the person may do `A` in the organization, as far as the person reaches.
    ///
    /// # Errors
    /// As [`Self::permit`].
    pub fn permit_of_organization<A: Act>(&self) -> Answer<Permit<A>> {
        let organization = self.tenant.ok_or_else(Refusal::not_found)?;
        Ok(authorize(self.actor(), Resource::Organization(organization))?)
    }

    /// A change to the registry that the person reaches, with the event to be written with it.
    ///
    /// # Errors
    /// As [`Self::registry`].
    pub fn noting(&self, note: Note) -> Answer<Noted> {
        Ok(self.registry()?.noting(note.into_event()))
    }

    /// An audit event of this person's, to be completed and [written](Self::write) or to go
    /// [with a change](Self::noting).
    #[must_use]
    pub fn note(&self, event_type: AuditEventType, action: AuditAction, resource_type: &str) -> Note {
        let actor = self.actor();
        Note::new(&self.client, event_type, action, resource_type)
            .by(actor.user, Some(actor.session))
            .organization(self.tenant)
    }

    /// Writes down what changed nothing; a request whose event cannot be written is not answered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn write(&self, note: Note) -> Answer<()> {
        let event = note.into_event();
        match (self.scope(), event.organization_id) {
            (Ok(scope), organization) if organization == Some(scope.organization()) => {
                Ok(self.app.store.organization(&scope).audit(vec![event]).await?)
            }
            _ => Ok(self.app.store.system().audit(vec![event]).await?),
        }
    }

    fn scope(&self) -> Answer<OrganizationScope> {
        if self.actor().role == Role::PlatformAdmin {
            let organization = self.tenant.ok_or_else(|| {
                let say = "Say which organization is meant: send its id as X-Organization-ID.";
                Refusal::field(tenant::ORGANIZATION_HEADER, say)
            })?;
            return OrganizationScope::of_platform(self.actor(), organization).ok_or_else(Refusal::not_found);
        }
        OrganizationScope::of_actor(self.actor()).ok_or_else(|| Refusal::from(Denied::Role))
    }

    async fn crossed(&self, attempted: &str) -> Answer<()> {
        let actor = self.actor();
        let current = actor.organization.map(|organization| organization.to_string());
        tracing::warn!(user = %actor.user, "cross-tenant attempt refused");
        let note = self
            .note(AuditEventType::CrossTenantAttempt, AuditAction::Execute, "organization")
            .organization(actor.organization)
            .on(attempted)
            .refused()
            .detail("userId", actor.user.to_string())
            .detail("attemptedOrg", attempted)
            .detail("currentOrg", current);
        self.write(note).await
    }
}

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        // Only the guard of a route for people puts one there.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

impl<S: Sync> FromRequestParts<S> for Device {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

/// SHA-256 of a token: what the store keeps of it.
#[must_use]
pub fn token_sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
        *to = *from;
    }
    hash
}

/// The layer of every route.
pub async fn guard(
    State((app, route)): State<(App, &'static Route)>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let admitted = match route.authorization {
        Authorization::Public => Ok(None),
        Authorization::AnyKey => known_key(&parts).map(|_| None),
        Authorization::ActiveDevice | Authorization::SpeakingDevice => {
            device(&app, &mut parts, route.authorization).await.map(|()| None)
        }
        Authorization::SignedIn => person(&app, &mut parts, None).await.map(Some),
        Authorization::Person(action) => person(&app, &mut parts, Some(action)).await.map(Some),
    };
    let person = match admitted {
        Ok(person) => person,
        Err(refusal) => return refusal.into_response(),
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    match person {
        Some(person) => keep_refusal(&person, route, &params, response).await,
        None => response,
    }
}

/// A person who was shown the door is written down, with the ids that were asked for.
async fn keep_refusal(
    person: &Person,
    route: &Route,
    params: &RawPathParams,
    response: Response,
) -> Response {
    if !matches!(response.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
        return response;
    }
    let mut note = person
        .note(AuditEventType::ApiAccess, AuditAction::Execute, route.resource())
        .refused()
        .detail("status", response.status().as_u16());
    for (name, value) in params {
        note = note.on(value.chars().take(100).collect::<String>()).detail("parameter", name);
    }
    match person.write(note).await {
        Ok(()) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn person(app: &App, parts: &mut Parts, action: Option<Action>) -> Answer<Person> {
    let token = bearer(parts).ok_or_else(unauthenticated)?;
    let session = app.store.system().session(token_sha256(token)).await?.ok_or_else(unauthenticated)?;
    let client = Client::of(parts);
    let mut person = Person { app: app.clone(), tenant: session.actor.organization, session, client };
    match tenant::said(app, parts).await? {
        Said::Nothing => {}
        Said::One(organization) => {
            let own = person.actor().organization;
            if person.actor().role == Role::PlatformAdmin {
                person.tenant = Some(organization.id);
            } else if own != Some(organization.id) {
                person.crossed(&organization.id.to_string()).await?;
                return Err(Refusal::not_found());
            }
        }
        Said::Nonsense(attempted) => {
            person.crossed(&attempted).await?;
            return Err(Refusal::not_found());
        }
    }
    let resource = person.actor().organization.map_or(Resource::Platform, Resource::Organization);
    if let Some(Err(denied)) = action.map(|action| decide(person.actor(), action, resource)) {
        let refused = person.note(AuditEventType::ApiAccess, AuditAction::Execute, "endpoint").refused();
        person.write(refused).await?;
        return Err(denied.into());
    }
    parts.extensions.insert(person.clone());
    Ok(person)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn known_key(parts: &Parts) -> Answer<PeerKey> {
    parts.extensions.get::<PeerKey>().cloned().ok_or_else(unauthenticated)
}

async fn device(app: &App, parts: &mut Parts, authorization: Authorization) -> Answer<()> {
    let key = known_key(parts)?;
    // On every request: a resumed TLS session is not verified again, and states change.
    let identity = app.store.system().device_by_key(*key.sha256()).await?.ok_or_else(unauthenticated)?;
    let scope = match FacilityScope::of_device(&identity) {
        Some(scope) => scope,
        None => {
            refuse_device(app, parts, &identity).await?;
            return Err(of_state(identity.state()));
        }
    };
    let facility = app.store.facility(&scope);
    let mut device = Device { identity, facility, key, speech: speech(parts) };
    device.speaks_for(app, None).await?;
    if authorization == Authorization::ActiveDevice {
        device.may_read()?;
    }
    parts.extensions.insert(device);
    Ok(())
}

async fn refuse_device(app: &App, parts: &Parts, identity: &DeviceIdentity) -> Answer<()> {
    let note = Note::new(&Client::of(parts), AuditEventType::Device, AuditAction::Execute, "device")
        .organization(Some(identity.organization()))
        .facility(Some(identity.facility()))
        .device(identity.device())
        .on(identity.device())
        .refused();
    Ok(app.store.system().audit(vec![note.into_event()]).await?)
}

/// Who speaks, as the request's head says; none for the agent's commands, which name no process.
fn speech(parts: &Parts) -> Option<Speech> {
    let boot = parts.headers.get(BOOT_HEADER)?.to_str().ok()?.parse().ok()?;
    let ConnectedAt(connected) = *parts.extensions.get::<ConnectedAt>()?;
    Some(Speech { boot, incarnation: None, connected })
}

/// Why a device in that state is not served.
fn of_state(state: DeviceState) -> Refusal {
    match state {
        DeviceState::Revoked | DeviceState::Retired => Refusal::new(
            ProblemKind::DeviceRevoked,
            "An administrator deactivated this device. It has to be enrolled anew.",
        ),
        DeviceState::Expected | DeviceState::Pending => unauthenticated(),
        DeviceState::Quarantined => Refusal::new(
            ProblemKind::DeviceQuarantined,
            "Two copies of this device ran, or the server was restored and cannot know this one. What it charts \
             is taken; an administrator has to release it before it gets anything.",
        ),
        DeviceState::Retiring | DeviceState::Active => {
            Refusal::new(ProblemKind::Forbidden, "This device may not do that in its present state.")
        }
    }
}

fn unauthenticated() -> Refusal {
    Refusal::new(
        ProblemKind::Unauthenticated,
        "Sign in and send the session's token as a bearer token; a device enrolls its key.",
    )
}

//! Who asks, and whether they may: decided before a handler runs, by what ROUTES says of the route.

use std::convert::Infallible;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::PayloadHash;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{BootId, FacilityId, IncarnationId, OrganizationId};
use carepost_protocol::role::{Act, Action, Actor, Denied, Permit, Resource, Role, authorize, decide};
use carepost_protocol::wire::BOOT_HEADER;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::workflow::FieldError;
use http::StatusCode;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::request::Parts;

use crate::app::App;
use crate::audit::{Client, Note};
use crate::error::{Answer, Refusal};
use crate::http::listener::{ConnectedAt, PeerAddress};
use crate::http::route::{Authorization, Route};
use crate::http::tenant::{self, Said};
use crate::password::Caller;
use crate::quota;
use crate::refusals::Principal;
use crate::scope::OrganizationScope;
use crate::speakers::Speech;
use crate::store::{DeviceIdentity, FacilityStore, Noted, OrganizationStore, Session};
use crate::text::line;
use crate::tls::PeerKey;

/// The longest user agent that is written down.
const MAX_AGENT: usize = 200;

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
    speech: Speech,
}

impl Device {
    /// Notes who speaks as the device, and for which life of its outbox where the request carries the one of
    /// the moment. When that tells of a second copy, the device is quarantined from here on.
    ///
    /// # Errors
    /// What the store says.
    pub async fn speaks_for(&mut self, app: &App, incarnation: Option<IncarnationId>) -> Answer<()> {
        let speech = Speech { incarnation, ..self.speech };
        let twice = app.speakers.heard(self.identity.device(), speech, Instant::now());
        if let Some(twice) = twice
            && self.identity.state() == DeviceState::Active
        {
            self.facility.quarantine(&mut self.identity, twice.reason()).await?;
            tracing::warn!(device = %self.identity.device(), reason = twice.reason(), "device quarantined");
        }
        Ok(())
    }

    /// The process that speaks.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.speech.boot
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

    /// For whom something is hashed that the person wants.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        Caller::Person(self.actor().organization, self.actor().user)
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

    /// Writes down what the person is about to see, or counts it where that was written down just now; a request
    /// whose event cannot be written is not answered.
    ///
    /// # Errors
    /// What the store says; `over-quota` for who reads more than people do.
    pub async fn write(&self, note: Note) -> Answer<()> {
        let (event, by, reads) = (note.into_event(), self.actor().user, &self.app.reads);
        if event.action != AuditAction::View {
            return self.write_down(event).await;
        }
        if reads.is_new(by, &event, event.timestamp)? {
            self.write_down(event.clone()).await?;
            reads.written(by, &event);
        }
        Ok(())
    }

    async fn write_down(&self, event: AuditEvent) -> Answer<()> {
        match (self.scope(), event.organization_id) {
            (Ok(scope), organization) if organization == Some(scope.organization()) => {
                Ok(self.app.store.organization(&scope).audit(vec![event]).await?)
            }
            _ => Ok(self.app.store.system().audit(vec![event]).await?),
        }
    }

    /// Writes down that the person was refused, or counts it where that was written down just now; a
    /// request whose event cannot be written is not answered.
    async fn refused(&self, note: Note) -> Answer<()> {
        let limit = self.scope().ok().and_then(|scope| scope.limit());
        let note = if limit.is_some() { note.facility(limit) } else { note };
        let (app, by) = (&self.app, Principal::User(self.actor().user));
        Ok(app.refusals.keep(&app.store.system(), by, note).await?)
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
            .detail("userId", actor.user.to_string())
            .detail("attemptedOrg", attempted)
            .detail("currentOrg", current);
        self.refused(note).await
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

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(client_of(parts))
    }
}

/// SHA-256 of a token: what the store keeps of it.
#[must_use]
pub fn token_sha256(token: &str) -> [u8; 32] {
    *PayloadHash::of(token.as_bytes()).as_bytes()
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
        Authorization::Public => Ok(Asker::Anybody),
        Authorization::AnyKey => known_key(&parts).map(|_| Asker::Anybody),
        Authorization::ActiveDevice | Authorization::SpeakingDevice => {
            let client = client_of(&parts);
            device(&app, &mut parts, &client, route.authorization).await.map(|it| Asker::Device(it, client))
        }
        Authorization::SignedIn => person(&app, &mut parts, None).await.map(Asker::Person),
        Authorization::Person(action) => person(&app, &mut parts, Some(action)).await.map(Asker::Person),
    };
    let asker = match admitted {
        Ok(asker) => asker,
        Err(refusal) => return refusal.into_response(),
    };
    let attention = match &asker {
        Asker::Person(person) => Some(app.quotas.attend(person.actor().user).await),
        Asker::Anybody | Asker::Device(..) => None,
    };
    let _attention = match attention.transpose() {
        Ok(attention) => attention,
        Err(refusal) => return refusal.into_response(),
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    let kept = match (&asker, response.status()) {
        // What is taken may be out of the person's sight.
        (Asker::Person(person), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
            keep_refusal(person, route, &params, response.status()).await
        }
        (
            Asker::Device(known, client),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS,
        ) => {
            let why = response.extensions().get::<Refusal>().cloned();
            keep_device_refusal(&app, client, Some(known), why.as_ref()).await
        }
        (Asker::Anybody | Asker::Person(_) | Asker::Device(..), _) => Ok(()),
    };
    match kept {
        Ok(()) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// Who was let through to a handler.
enum Asker {
    Anybody,
    Person(Person),
    Device(DeviceIdentity, Client),
}

/// A person who was shown the door is written down, with the ids that were asked for.
async fn keep_refusal(
    person: &Person,
    route: &Route,
    params: &RawPathParams,
    status: StatusCode,
) -> Answer<()> {
    let mut note = person
        .note(AuditEventType::ApiAccess, AuditAction::Execute, route.resource())
        .detail("status", status.as_u16());
    for (name, value) in params {
        note = note.on(line(value, 100)).detail("parameter", name);
    }
    person.refused(note).await
}

async fn person(app: &App, parts: &mut Parts, action: Option<Action>) -> Answer<Person> {
    let token = bearer(parts).ok_or_else(unauthenticated)?;
    let session = app.store.system().session(token_sha256(token)).await?.ok_or_else(unauthenticated)?;
    let client = client_of(parts);
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
        person.refused(person.note(AuditEventType::ApiAccess, AuditAction::Execute, "endpoint")).await?;
        return Err(denied.into());
    }
    parts.extensions.insert(quota::Asker::Person(person.actor().user, person.actor().organization));
    parts.extensions.insert(person.clone());
    Ok(person)
}

/// Where a request comes from and what it calls, as its head says.
fn client_of(parts: &Parts) -> Client {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Client {
        ip: parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip()),
        user_agent: agent.map(|agent| agent.chars().take(MAX_AGENT).collect()),
        endpoint: format!("{} {path}", parts.method),
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn known_key(parts: &Parts) -> Answer<PeerKey> {
    parts.extensions.get::<PeerKey>().cloned().ok_or_else(unauthenticated)
}

async fn device(
    app: &App,
    parts: &mut Parts,
    client: &Client,
    authorization: Authorization,
) -> Answer<DeviceIdentity> {
    let key = known_key(parts)?;
    // On every request: a resumed TLS session is not verified again, and states change.
    let known = app.store.system().device_by_key(*key.sha256()).await?;
    let scope = known.as_ref().and_then(DeviceIdentity::scope);
    let (identity, scope, speech) = match (known, scope, speech(parts)) {
        (Some(identity), Some(scope), Some(speech)) => (identity, scope, speech),
        (known, scope, _) => {
            let why = match (&known, scope) {
                (None, _) => unauthenticated(),
                (Some(identity), None) => of_state(identity.state()),
                (Some(_), Some(_)) => nameless(),
            };
            keep_device_refusal(app, client, known.as_ref(), Some(&why)).await?;
            return Err(why);
        }
    };
    let facility = app.store.facility(&scope);
    let mut device = Device { identity, facility, key, speech };
    device.speaks_for(app, None).await?;
    if authorization == Authorization::ActiveDevice
        && let Err(why) = device.may_read()
    {
        keep_device_refusal(app, client, Some(&device.identity), Some(&why)).await?;
        return Err(why);
    }
    let identity = device.identity.clone();
    parts.extensions.insert(quota::Asker::Device(identity.device(), identity.organization()));
    parts.extensions.insert(device);
    Ok(identity)
}

/// A key that was refused is written down, with whose it is.
async fn keep_device_refusal(
    app: &App,
    client: &Client,
    known: Option<&DeviceIdentity>,
    why: Option<&Refusal>,
) -> Answer<()> {
    let note = Note::new(client, AuditEventType::Device, AuditAction::Execute, "device")
        .detail("why", why.map(|why| why.problem().detail.clone()));
    let (by, note) = match known {
        Some(known) => {
            let note = note.organization(Some(known.organization())).facility(Some(known.facility()));
            (Principal::Device(known.device()), note.device(known.device()).on(known.device()))
        }
        None => (Principal::Stranger(client.network(), None), note),
    };
    Ok(app.refusals.keep(&app.store.system(), by, note).await?)
}

/// Who speaks, as the request's head says, in one word and no more.
fn speech(parts: &Parts) -> Option<Speech> {
    let mut said = parts.headers.get_all(BOOT_HEADER).iter();
    let (Some(boot), None) = (said.next(), said.next()) else { return None };
    let boot = boot.to_str().ok()?.parse().ok()?;
    let ConnectedAt(connected) = *parts.extensions.get::<ConnectedAt>()?;
    Some(Speech { boot, incarnation: None, connected })
}

/// Whether a device is there twice is not for its second copy to say: who names no process gets nothing.
/// The agent takes this as a server that does not allow it for now: it waits, and keeps what it has.
fn nameless() -> Refusal {
    let detail = "send the id of the process that speaks, drawn anew at each start, once";
    Refusal::new(
        ProblemKind::Forbidden,
        "A device names the process that speaks in the header carepost-boot. Update its agent; if it is up \
         to date, find out what speaks with its key.",
    )
    .naming(FieldError { field: BOOT_HEADER.to_owned(), detail: detail.to_owned() })
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

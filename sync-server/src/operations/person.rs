//! The person who asks, once authenticated: the one way from an operation to the store.

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::{FacilityId, OrganizationId};
use carepost_protocol::role::{Act, Actor, Denied, Permit, Resource, Role, authorize};

use crate::app::App;
use crate::audit::Client;
use crate::error::{Answer, Refusal};
use crate::password::Caller;
use crate::refusal_log::Principal;
use crate::scope::OrganizationScope;
use crate::store::{
    AuditedWrite, Expected, FacilityStore, IdempotentRequest, Organization, OrganizationStore, Session,
    SystemStore, Versioned,
};

/// A signed-in person, and where the request is for.
#[derive(Clone)]
pub struct Person {
    pub(super) app: App,
    pub session: Session,
    pub client: Client,
    /// The organization the request is for: the person's own, or the one a platform administrator named.
    tenant: Option<OrganizationId>,
    /// What has to be as the person saw it.
    expected: Expected,
    /// What the request is known by, where it is to be done once.
    idempotent: Option<IdempotentRequest>,
}

/// Which organization a request says it is for, all its ways together.
#[derive(Debug, Clone)]
pub enum TenantClaim {
    Nothing,
    /// This organization, in every way that was used.
    One(Box<Organization>),
    /// Several organizations, or one that does not exist: what was said first.
    Nonsense(String),
}

impl Person {
    /// A person whose session was found; what the request says of its organization has to agree.
    ///
    /// # Errors
    /// Another's organization reads like a missing one; the attempt is written down.
    pub async fn entering(app: &App, session: Session, client: Client, claim: TenantClaim) -> Answer<Self> {
        let tenant = session.actor.organization;
        let mut person =
            Self { app: app.clone(), tenant, session, client, expected: Expected::Any, idempotent: None };
        let attempted = match claim {
            TenantClaim::Nothing => return Ok(person),
            TenantClaim::One(organization) if person.actor().role == Role::PlatformAdmin => {
                person.tenant = Some(organization.id);
                return Ok(person);
            }
            TenantClaim::One(organization) if person.tenant == Some(organization.id) => return Ok(person),
            TenantClaim::One(organization) => organization.id.to_string(),
            TenantClaim::Nonsense(attempted) => attempted,
        };
        person.crossed(&attempted).await?;
        Err(Refusal::not_found())
    }

    /// The same person, whose edit is only of what is as expected, and whose request is done once where it is known.
    #[must_use]
    pub fn asking(self, expected: Expected, idempotent: Option<IdempotentRequest>) -> Self {
        Self { expected, idempotent, ..self }
    }

    /// Whether a thing is as the person saw it: for what is only asked about it. What changes it looks at that in its
    /// transaction.
    ///
    /// # Errors
    /// `changed`.
    pub(super) fn expects(&self, thing: &impl Versioned) -> Answer<()> {
        Ok(self.expected.check(thing)?)
    }

    /// Whether an edit is only of what is as expected.
    pub(super) fn is_bound(&self) -> bool {
        self.expected != Expected::Any
    }

    /// Whose request it is, with what rights and for which organization.
    #[must_use]
    pub fn principal(&self) -> String {
        let Actor { user, role, facility, .. } = self.actor();
        format!("{user} {role:?} {facility:?} {:?}", self.tenant)
    }

    /// Who asks.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.session.actor
    }

    /// The organization that the request is for; none where it is for the platform.
    #[must_use]
    pub const fn tenant(&self) -> Option<OrganizationId> {
        self.tenant
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

    /// A write to the registry that the person reaches, with its audit event.
    ///
    /// # Errors
    /// As [`Self::registry`].
    pub fn audited(&self, event: AuditEvent) -> Answer<AuditedWrite> {
        Ok(self.audited_in(&self.registry()?, event))
    }

    /// The same, in an organization that the request names.
    #[must_use]
    pub fn audited_in(&self, registry: &OrganizationStore, event: AuditEvent) -> AuditedWrite {
        registry.audited(event).expecting(self.expected.clone()).idempotent(self.idempotent)
    }

    /// An audit event of this person's, to be completed and [written](Self::write) or to go
    /// [with a change](Self::audited).
    #[must_use]
    pub fn event(&self, event_type: AuditEventType, action: AuditAction, resource_type: &str) -> AuditEvent {
        let actor = self.actor();
        self.client
            .event(event_type, action, resource_type)
            .by(actor.user, Some(actor.session))
            .organization(self.tenant)
    }

    /// Writes down what the person is about to see, or counts it where that was written down just now; a request
    /// whose event cannot be written is not answered.
    ///
    /// # Errors
    /// What the store says; `over-quota` for who reads more than people do.
    pub async fn write(&self, event: AuditEvent) -> Answer<()> {
        self.write_all(vec![event]).await
    }

    /// The same of several in one organization, in one commit.
    ///
    /// # Errors
    /// As [`Self::write`]; then nothing is written.
    pub async fn write_all(&self, events: Vec<AuditEvent>) -> Answer<()> {
        let (by, reads) = (self.actor().user, &self.app.read_log);
        let mut new = Vec::new();
        for event in events {
            if event.action != AuditAction::View || reads.is_new(by, &event, event.timestamp)? {
                new.push(event);
            }
        }
        self.write_down(new.clone()).await?;
        for event in new.iter().filter(|event| event.action == AuditAction::View) {
            reads.written(by, event);
        }
        Ok(())
    }

    async fn write_down(&self, events: Vec<AuditEvent>) -> Answer<()> {
        let Some(organization) = events.first().map(|event| event.organization_id) else { return Ok(()) };
        match self.scope() {
            Ok(scope) if organization == Some(scope.organization()) => {
                Ok(self.app.store.organization(&scope).audit(events).await?)
            }
            _ => Ok(self.app.store.system().audit(events).await?),
        }
    }

    /// Writes down that the person was refused, or counts it where that was written down just now; a
    /// request whose event cannot be written is not answered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn refused(&self, event: AuditEvent) -> Answer<()> {
        let limit = self.scope().ok().and_then(|scope| scope.limit());
        let event = if limit.is_some() { event.facility(limit) } else { event };
        let (app, by) = (&self.app, Principal::User(self.actor().user));
        Ok(app.refusal_log.keep(&app.store.system(), by, event).await?)
    }

    /// What the platform itself does for the person.
    pub(super) fn system(&self) -> SystemStore {
        self.app.store.system().idempotent(self.idempotent)
    }

    fn scope(&self) -> Answer<OrganizationScope> {
        if self.actor().role == Role::PlatformAdmin {
            let organization = self.tenant.ok_or_else(|| {
                Refusal::field(
                    "organization_id",
                    "say which organization is meant, by its id (X-Organization-ID)",
                )
            })?;
            return OrganizationScope::of_platform(self.actor(), organization).ok_or_else(Refusal::not_found);
        }
        OrganizationScope::of_actor(self.actor()).ok_or_else(|| Refusal::from(Denied::Role))
    }

    async fn crossed(&self, attempted: &str) -> Answer<()> {
        let actor = self.actor();
        let current = actor.organization.map(|organization| organization.to_string());
        tracing::warn!(user = %actor.user, "cross-tenant attempt refused");
        let event = self
            .event(AuditEventType::CrossTenantAttempt, AuditAction::Execute, "organization")
            .organization(actor.organization)
            .on(attempted)
            .detail("userId", actor.user.to_string())
            .detail("attemptedOrg", attempted)
            .detail("currentOrg", current);
        self.refused(event).await
    }
}

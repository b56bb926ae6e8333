//! Signing in and out of the server with a password.

use std::time::Duration;

use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::id::SessionId;
use carepost_protocol::text::fold;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::person::{Person, TenantClaim};
use crate::app::App;
use crate::audit::Client;
use crate::clock;
use crate::error::{Answer, FieldErrors, Refusal};
use crate::password::{Caller, MAX_PASSWORD, TOO_LONG, length};
use crate::rate_limit::Limit;
use crate::refusal_log::Principal;
use crate::store::{Credentials, IdempotentRequest, Login, NewSession, Organization, StoreError};
use crate::text::line;
use crate::token;

/// So many failures make a network suspect: each further one holds up the next from there for a while. It is
/// not locked: a facility may sit behind it, or a balancer with all of them.
const SUSPECT: Limit = Limit { failures: 100, lock: Duration::from_secs(15 * 60) };

/// Who signs in.
#[derive(Deserialize, ToSchema)]
pub struct SignIn {
    /// The organization's slug; none for the platform's administrators. A subdomain or a path that
    /// names the organization does as well.
    #[serde(default)]
    pub organization: Option<String>,
    /// The name.
    pub username: String,
    /// The password.
    #[schema(value_type = String)]
    pub password: SecretString,
}

/// A session that has begun.
pub struct Begun {
    /// What to send as a bearer token. It is not shown again.
    pub token: String,
    pub session: SessionId,
    pub expires_at: Timestamp,
    pub who: Credentials,
}

/// Signs in: five failures in a row lock the name for half an hour, for the network they came from.
///
/// What `request` names is begun once.
pub async fn sign_in(
    app: &App,
    client: &Client,
    claim: TenantClaim,
    request: Option<IdempotentRequest>,
    mut asked: SignIn,
) -> Answer<Begun> {
    let mut faults = FieldErrors::default();
    faults.text("username", &mut asked.username, 100);
    faults.maybe_text("organization", asked.organization.as_mut(), 100);
    faults.unless(length(asked.password.expose_secret()) <= MAX_PASSWORD, "password", TOO_LONG);
    faults.check()?;
    let place = place(app, claim, asked.organization.as_deref().map(fold)).await?;
    let attempt = Attempt::new(app, client, &asked.username, place);
    let known = attempt.check(asked.password).await?;
    attempt.begin(known, request).await
}

pub async fn sign_out(person: &Person) -> Answer<()> {
    let session = person.actor().session;
    let event = person.event(AuditEventType::Logout, AuditAction::Execute, "session").on(session);
    let event = event.organization(person.actor().organization).facility(person.actor().facility);
    Ok(person.app.store.system().end_session(session, event).await?)
}

/// Where somebody wants to sign in.
enum Place {
    Platform,
    Organization(Box<Organization>),
    /// In no organization there is: nobody can, and it takes as long as elsewhere, so that the answer
    /// does not tell which organizations there are.
    Nowhere(String),
}

async fn place(app: &App, claim: TenantClaim, asked: Option<String>) -> Answer<Place> {
    Ok(match (claim, asked) {
        (TenantClaim::Nothing, None) => Place::Platform,
        (TenantClaim::Nothing, Some(slug)) => match app.store.system().organization_by_slug(&slug).await? {
            Some(organization) => Place::Organization(Box::new(organization)),
            None => Place::Nowhere(slug),
        },
        (TenantClaim::One(organization), Some(slug)) if slug != organization.slug => Place::Nowhere(slug),
        (TenantClaim::One(organization), _) => Place::Organization(organization),
        (TenantClaim::Nonsense(text), _) => Place::Nowhere(text),
    })
}

/// One try to sign in.
struct Attempt<'a> {
    app: &'a App,
    client: &'a Client,
    username: &'a str,
    place: Place,
    login: Login,
}

impl<'a> Attempt<'a> {
    fn new(app: &'a App, client: &'a Client, username: &'a str, place: Place) -> Self {
        let network = client.network().map_or_else(|| "unknown".to_owned(), |network| network.to_string());
        let login = match &place {
            Place::Platform => Login::of_platform(username, network),
            Place::Organization(organization) => Login::of_organization(organization.id, username, network),
            Place::Nowhere(text) => Login::of_nowhere(text, username, network),
        };
        Self { app, client, username, place, login }
    }

    /// Checks name and password, counting failures.
    async fn check(&self, password: SecretString) -> Answer<Credentials> {
        let (limiter, system) = (&self.app.rate_limiter, self.app.store.system());
        let known = match &self.place {
            Place::Platform => system.platform_credentials(self.username).await?,
            Place::Organization(organization) => {
                system.credentials(&organization.slug, self.username).await?
            }
            Place::Nowhere(_) => None,
        };
        let network = self.client.network();
        if let Some(until) = system.locked(self.login.clone()).await? {
            return Err(self.refused(known.as_ref(), too_many(until)).await?);
        }
        let known_to = system.known_to(self.login.clone()).await?;
        let caller = known_to.map_or(Caller::Stranger(network), |whose| Caller::Known(whose, network));
        let verifier =
            known.as_ref().filter(|known| known.is_active).and_then(|known| known.password_hash.clone());
        let counted = format!("sign-in {network:?}");
        let is_suspect = limiter.locked(&counted, SUSPECT, clock::now()).is_some();
        let correct = self.app.passwords.verify(caller, is_suspect, password, verifier).await?;
        match known {
            Some(known) if correct => Ok(known),
            known => {
                limiter.fail(&counted, SUSPECT, clock::now());
                let locks = known.as_ref().map(|known| self.locks(known));
                // In one commit, so that time does not tell either whether it was written down.
                let (locked, written) = tokio::join!(
                    system.sign_in_failed(self.login.clone(), locks),
                    self.refused(known.as_ref(), wrong())
                );
                Err(locked?.map_or(written?, too_many))
            }
        }
    }

    async fn begin(&self, known: Credentials, request: Option<IdempotentRequest>) -> Answer<Begun> {
        let app = self.app;
        let token = token::draw("cps");
        let expires_at = clock::now().after(Duration::from_secs(u64::from(app.config.session_hours) * 3_600));
        let session = NewSession {
            user: known.user,
            organization: known.organization,
            token_sha256: token::sha256(&token),
            expires_at,
        };
        let event = self.event(Some(&known));
        let system = app.store.system().idempotent(request);
        let session_id = match system.create_session(self.login.clone(), session, event).await {
            // Others failed while this one waited for its turn.
            Err(StoreError::TooManyTries { until }) => {
                return Err(self.refused(Some(&known), too_many(until)).await?);
            }
            made => made?,
        };
        Ok(Begun { token, session: session_id, expires_at, who: known })
    }

    /// Writes down that this try was refused, and gives back why.
    async fn refused(&self, known: Option<&Credentials>, why: Refusal) -> Answer<Refusal> {
        let app = self.app;
        let by = Principal::Stranger(self.client.network(), Some(self.login.name().to_owned()));
        app.refusal_log.keep(&app.store.system(), by, self.event(known)).await?;
        Ok(why)
    }

    fn locks(&self, known: &Credentials) -> AuditEvent {
        self.event(Some(known)).on(known.user).detail("what", "locked").refused()
    }

    /// The event of this try, filed under the organization it was for.
    fn event(&self, known: Option<&Credentials>) -> AuditEvent {
        let organization = match &self.place {
            Place::Organization(organization) => Some(organization.id),
            Place::Platform | Place::Nowhere(_) => None,
        };
        let event = self
            .client
            .event(AuditEventType::Login, AuditAction::Execute, "session")
            .organization(organization);
        // An attacker chooses it: bounded, and without what could break a line of a log.
        let event = AuditEvent { username: Some(line(self.username, 100)), ..event };
        match known {
            Some(known) => event.by(known.user, None).facility(known.facility),
            None => event,
        }
    }
}

fn wrong() -> Refusal {
    Refusal::new(ProblemKind::Unauthenticated, "The organization, the name or the password is wrong.")
}

fn too_many(until: Timestamp) -> Refusal {
    Refusal::too_many_tries("Too many failed sign-ins", until)
}

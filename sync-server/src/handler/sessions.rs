//! Signing in and out of the server with a password.

use std::time::Duration;

use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::id::{FacilityId, OrganizationId, SessionId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::audit::{Client, Note};
use crate::body::{Faults, Json};
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::guard::{Person, token_sha256};
use crate::password::MAX_SECRET_BYTES;
use crate::store::{Credentials, NewSession};
use crate::tenant::{self, Said};
use crate::tries::Limit;

/// Names that do not exist lock as those that do, so that a lock does not tell which do (S0-49).
const BY_NAME: Limit = Limit { failures: 5, lock: Duration::from_secs(30 * 60) };
/// A whole facility may sit behind one address.
const BY_ADDRESS: Limit = Limit { failures: 100, lock: Duration::from_secs(15 * 60) };

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The organization's slug; none for the platform's administrators. A subdomain or a path that
    /// names the organization does as well.
    #[serde(default)]
    organization: Option<String>,
    /// The name.
    username: String,
    /// The password.
    #[schema(value_type = String)]
    password: SecretString,
}

/// A session that has begun.
#[derive(Serialize, ToSchema)]
pub struct SignedIn {
    /// What to send as a bearer token. It is not shown again.
    token: String,
    /// The session.
    session_id: SessionId,
    /// When it ends whatever happens.
    expires_at: Timestamp,
    /// Who signed in.
    user_id: UserId,
    /// The name people see.
    display_name: String,
    /// What the user may do.
    role: Role,
    /// The user's organization.
    organization_id: Option<OrganizationId>,
    /// The user's home facility.
    facility_id: Option<FacilityId>,
}

/// Signs in: five failures in a row lock the name for half an hour.
#[utoipa::path(post, path = "/api/v1/sessions", operation_id = "sign_in", tag = "sessions", request_body = SignIn,
    responses((status = 201, body = SignedIn), (status = 401, description = "The name or the password is wrong"), (status = 429, description = "Locked after five failures")))]
pub async fn sign_in(
    State(app): State<App>,
    client: Client,
    request: Request,
) -> Answer<(StatusCode, axum::Json<SignedIn>)> {
    let (parts, body) = request.into_parts();
    let said = tenant::said(&app, &parts).await?;
    let Json(mut asked) =
        <Json<SignIn> as axum::extract::FromRequest<()>>::from_request(Request::from_parts(parts, body), &())
            .await?;
    match said {
        Said::Nothing => {}
        Said::Nonsense(_) => return Err(Refusal::not_found()),
        Said::One(organization) => {
            if asked.organization.as_ref().is_some_and(|asked| *asked != organization.slug) {
                return Err(Refusal::not_found());
            }
            asked.organization = Some(organization.slug);
        }
    }
    let mut faults = Faults::default();
    faults.text("username", &asked.username, 100);
    faults.maybe_text("organization", asked.organization.as_deref(), 100);
    let length = secrecy::ExposeSecret::expose_secret(&asked.password).len();
    faults.unless(length <= MAX_SECRET_BYTES, "password", "a password has at most 256 bytes");
    faults.check()?;
    let credentials = check(&app, &client, &asked).await?;
    begin(&app, &client, &asked.username, credentials).await
}

/// Checks name and password, counting failures.
async fn check(app: &App, client: &Client, asked: &SignIn) -> Answer<Credentials> {
    let system = app.store.system();
    let now = clock::now();
    let by_address = client.ip.map(|ip| format!("address {ip}")).unwrap_or_default();
    let slug = asked.organization.as_deref();
    let by_name = format!("name {}/{}", slug.unwrap_or_default(), asked.username.to_lowercase());
    let locked = app.tries.locked(&by_address, BY_ADDRESS, now).or(app.tries.locked(&by_name, BY_NAME, now));
    if let Some(until) = locked {
        write(app, failed(client, &asked.username)).await?;
        return Err(too_many(until));
    }
    let known = match slug {
        Some(slug) => system.credentials(slug, &asked.username).await?,
        None => system.platform_credentials(&asked.username).await?,
    };
    if let Some(until) = known.as_ref().and_then(|known| known.locked_until).filter(|until| *until > now) {
        write(app, about(failed(client, &asked.username), known.as_ref())).await?;
        return Err(too_many(until));
    }
    let verifier =
        known.as_ref().filter(|known| known.is_active).and_then(|known| known.password_hash.clone());
    let correct = app.passwords.verify(asked.password.clone(), verifier).await?;
    match known {
        Some(known) if correct => Ok(known),
        known => {
            app.tries.fail(&by_address, BY_ADDRESS, now);
            let locked = match &known {
                Some(known) => system.sign_in_failed(known.organization, known.user).await?.locked_until,
                None => app.tries.fail(&by_name, BY_NAME, now),
            };
            write(app, about(failed(client, &asked.username), known.as_ref())).await?;
            Err(locked.filter(|until| *until > now).map_or_else(wrong, too_many))
        }
    }
}

async fn begin(
    app: &App,
    client: &Client,
    username: &str,
    known: Credentials,
) -> Answer<(StatusCode, axum::Json<SignedIn>)> {
    let token = format!("cps_{}", URL_SAFE_NO_PAD.encode(clock::random::<32>()));
    let expires_at = clock::now().after(Duration::from_secs(u64::from(app.config.session_hours) * 3_600));
    let session = NewSession {
        user: known.user,
        organization: known.organization,
        token_sha256: token_sha256(&token),
        expires_at,
    };
    let session_id = app.store.system().create_session(session).await?;
    let note = Note::new(client, AuditEventType::Login, AuditAction::Execute, "session").named(username);
    write(app, about(note, Some(&known)).on(session_id).by(known.user, Some(session_id))).await?;
    let signed_in = SignedIn {
        token,
        session_id,
        expires_at,
        user_id: known.user,
        display_name: known.display_name,
        role: known.role,
        organization_id: known.organization,
        facility_id: known.facility,
    };
    Ok((StatusCode::CREATED, axum::Json(signed_in)))
}

fn failed(client: &Client, username: &str) -> Note {
    Note::new(client, AuditEventType::Login, AuditAction::Execute, "session").named(username).refused()
}

fn about(note: Note, known: Option<&Credentials>) -> Note {
    match known {
        Some(known) => note.by(known.user, None).organization(known.organization).facility(known.facility),
        None => note,
    }
}

async fn write(app: &App, note: Note) -> Answer<()> {
    Ok(app.store.system().audit(vec![note.into_event()]).await?)
}

fn wrong() -> Refusal {
    Refusal::new(ProblemKind::Unauthenticated, "The organization, the name or the password is wrong.")
}

fn too_many(until: Timestamp) -> Refusal {
    let wait = until.since(clock::now()).as_secs().max(1);
    Refusal::new(ProblemKind::TooManyTries, format!("Too many failed sign-ins; wait until {until}."))
        .retry_after(wait)
}

/// A session under way.
#[derive(Serialize, ToSchema)]
pub struct CurrentSession {
    /// The session.
    session_id: SessionId,
    /// Who is signed in.
    user_id: UserId,
    /// The name to sign in with.
    username: String,
    /// The name people see.
    display_name: String,
    /// What the user may do.
    role: Role,
    /// The user's organization.
    organization_id: Option<OrganizationId>,
    /// The user's home facility.
    facility_id: Option<FacilityId>,
    /// When it began.
    created_at: Timestamp,
    /// When it ends whatever happens.
    expires_at: Timestamp,
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/sessions/current", operation_id = "current_session", tag = "sessions", security(("session" = [])), responses((status = 200, body = CurrentSession)))]
pub async fn current_session(person: Person) -> axum::Json<CurrentSession> {
    let session = person.session;
    axum::Json(CurrentSession {
        session_id: session.actor.session,
        user_id: session.actor.user,
        username: session.username,
        display_name: session.display_name,
        role: session.actor.role,
        organization_id: session.actor.organization,
        facility_id: session.actor.facility,
        created_at: session.created_at,
        expires_at: session.expires_at,
    })
}

/// Signs out.
#[utoipa::path(delete, path = "/api/v1/sessions/current", operation_id = "sign_out", tag = "sessions", security(("session" = [])), responses((status = 204)))]
pub async fn sign_out(State(app): State<App>, person: Person) -> Answer<StatusCode> {
    let session = person.actor().session;
    app.store.system().end_session(session).await?;
    person.write(person.note(AuditEventType::Logout, AuditAction::Execute, "session").on(session)).await?;
    Ok(StatusCode::NO_CONTENT)
}

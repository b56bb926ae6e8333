//! Signing in and out of the server with a password.

use axum::extract::{Request, State};
use carepost_protocol::id::{FacilityId, OrganizationId, SessionId, UserId};
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::audit::Client;
use crate::error::Answer;
use crate::http::body::Json;
use crate::http::tenant;
use crate::operations::person::Person;
use crate::operations::sessions::{self, Begun, SignIn};
use crate::store::IdempotentRequest;

/// The most bytes of a sign-in: two names and a password at their longest, written in JSON at its longest.
const MAX_SIGN_IN: usize = 4 * 1024;

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

impl From<Begun> for SignedIn {
    fn from(it: Begun) -> Self {
        Self {
            token: it.token,
            session_id: it.session,
            expires_at: it.expires_at,
            user_id: it.who.user,
            display_name: it.who.display_name,
            role: it.who.role,
            organization_id: it.who.organization,
            facility_id: it.who.facility,
        }
    }
}

/// Signs in: five failures in a row lock the name for half an hour, for the network they came from.
#[utoipa::path(post, path = "/api/v1/sessions", operation_id = "sign_in", tag = "sessions", request_body = SignIn,
    responses((status = 201, body = SignedIn), (status = 401, description = "The name or the password is wrong"), (status = 413, description = "It is larger than any sign-in is"), (status = 429, description = "Locked after five failures")))]
pub async fn sign_in(
    State(app): State<App>,
    client: Client,
    request: Request,
) -> Answer<(StatusCode, axum::Json<SignedIn>)> {
    let (parts, content) = request.into_parts();
    let (claim, request) =
        (tenant::claimed(&app, &parts).await?, parts.extensions.get::<IdempotentRequest>().copied());
    let Json(asked, _share) = Json::within(MAX_SIGN_IN, Request::from_parts(parts, content), &app).await?;
    let begun = sessions::sign_in(&app, &client, claim, request, asked).await?;
    Ok((StatusCode::CREATED, axum::Json(begun.into())))
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
pub async fn sign_out(person: Person) -> Answer<StatusCode> {
    sessions::sign_out(&person).await?;
    Ok(StatusCode::NO_CONTENT)
}

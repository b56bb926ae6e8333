//! Authentication and authorization: who asks, and whether they may, decided before a handler runs, by what ROUTES
//! says of the route.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use carepost_protocol::audit::{AuditAction, AuditEventType};
use carepost_protocol::role::{Action, Denied, Resource, decide};
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::{ANSWERED_HEADER, BOOT_HEADER};
use carepost_protocol::workflow::FieldError;
use http::StatusCode;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::request::Parts;

use crate::app::App;
use crate::audit::Client;
use crate::clone_detection::Sighting;
use crate::error::{Answer, Refusal, unauthenticated};
use crate::http::listener::{ConnectedAt, PeerAddress};
use crate::http::route::{Authorization, Listener, Route};
use crate::http::tenant;
use crate::network::client_network;
use crate::operations::authenticated_device::{AuthenticatedDevice, refused_by_state};
use crate::operations::person::Person;
use crate::quota::Asker;
use crate::refusal_log::Principal;
use crate::store::{DeviceIdentity, Expected, IdempotentRequest};
use crate::text::line;
use crate::tls::PeerKey;
use crate::token;

/// The longest user agent that is written down.
const MAX_AGENT: usize = 200;

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        // Only the authentication of a route for people puts one there; the layers behind it add how it is asked.
        let person = parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)?;
        let expected = parts.extensions.get::<Expected>().cloned().unwrap_or_default();
        Ok(person.asking(expected, parts.extensions.get::<IdempotentRequest>().copied()))
    }
}

impl<S: Sync> FromRequestParts<S> for AuthenticatedDevice {
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

/// The layer of every route.
pub async fn authenticate(
    State((app, route)): State<(App, &'static Route)>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let admitted = match route.authorization {
        // A balancer goes by it, and may come by one address with everybody else.
        Authorization::Public if route.operation == "health" => Ok(()),
        Authorization::Public => app.request_rate.take(Asker::of(&parts.extensions)),
        Authorization::AnyKey => known_key(&parts).map(drop),
        Authorization::ActiveDevice | Authorization::SpeakingDevice => {
            device(&app, &mut parts, route.authorization).await
        }
        Authorization::SignedIn => person(&app, &mut parts, None).await,
        Authorization::Person(action) => person(&app, &mut parts, Some(action)).await,
    };
    if let Err(refusal) = admitted {
        return refusal.into_response();
    }
    let person = parts.extensions.get::<Person>().cloned();
    let device = parts.extensions.get::<AuthenticatedDevice>().cloned();
    let turn = match &person {
        Some(person) => Some(app.quotas.turn_of_person(person.actor().user).await),
        None => None,
    };
    let turn = match turn.transpose() {
        Ok(turn) => turn,
        Err(refusal) => return refusal.into_response(),
    };
    let answering = async move {
        let _turn = turn;
        let response = next.run(Request::from_parts(parts, body)).await;
        let (status, why) = (response.status(), response.extensions().get::<Refusal>().cloned());
        let kept = keep_refused(&app, route, &params, (person, device), (status, why)).await;
        kept.map_or_else(IntoResponse::into_response, |()| response)
    };
    if route.listener != Listener::People {
        return answering.await;
    }
    // To its end, whoever hangs up: what is done in several commits is not left half done, and nobody has another turn
    // while a read still runs, or less written down, by that.
    tokio::spawn(answering).await.unwrap_or_else(|fault| Refusal::internal(&fault).into_response())
}

/// Who asked: a person or a device.
type Who = (Option<Person>, Option<AuthenticatedDevice>);

/// Writes down who was shown the door.
async fn keep_refused(
    app: &App,
    route: &Route,
    params: &RawPathParams,
    (person, device): Who,
    (status, why): (StatusCode, Option<Refusal>),
) -> Answer<()> {
    match (&person, &device, status) {
        // What is taken may be out of the person's sight.
        (Some(person), _, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
            keep_refusal(person, route, params, status).await
        }
        (_, Some(device), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS) => {
            keep_device_refusal(app, &device.client, Some(&device.identity), why.as_ref()).await
        }
        (_, _, _) => Ok(()),
    }
}

/// A person who was shown the door is written down, with the ids that were asked for.
async fn keep_refusal(
    person: &Person,
    route: &Route,
    params: &RawPathParams,
    status: StatusCode,
) -> Answer<()> {
    let mut event = person
        .event(AuditEventType::ApiAccess, AuditAction::Execute, route.resource())
        .detail("status", status.as_u16());
    for (name, value) in params {
        event = event.on(line(value, 100)).detail("parameter", name);
    }
    person.refused(event).await
}

/// Lets a signed-in person in.
async fn person(app: &App, parts: &mut Parts, action: Option<Action>) -> Answer<()> {
    let rate = &app.request_rate;
    let token = bearer(parts).map(token::sha256);
    // What may be a guess is counted before it is looked up; whom the server knows waits for no guesses of neighbours.
    if !token.is_some_and(|token| rate.knows(&token)) {
        rate.take(Asker::of(&parts.extensions))?;
    }
    let token = token.ok_or_else(unauthenticated)?;
    let session = app.store.system().session(token).await?;
    rate.looked_up(token, session.is_some());
    let session = session.ok_or_else(unauthenticated)?;
    let asker = Asker::Person(session.actor.user, session.actor.organization);
    rate.take(asker)?;
    let claim = tenant::claimed(app, parts).await?;
    let person = Person::entering(app, session, client_of(parts), claim).await?;
    let resource = person.actor().organization.map_or(Resource::Platform, Resource::Organization);
    if let Some(Err(denied)) = action.map(|action| decide(person.actor(), action, resource)) {
        person.refused(person.event(AuditEventType::ApiAccess, AuditAction::Execute, "endpoint")).await?;
        return Err(if denied == Denied::Role { Refusal::role(person.actor().role) } else { denied.into() });
    }
    parts.extensions.insert(asker);
    parts.extensions.insert(person);
    Ok(())
}

/// Where a request comes from and what it calls, as its head says.
fn client_of(parts: &Parts) -> Client {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // What can be read as text is ASCII.
    let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Client {
        ip: parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip()),
        user_agent: agent.map(|agent| agent.get(..MAX_AGENT).unwrap_or(agent).to_owned()),
        endpoint: format!("{} {path}", parts.method),
    }
}

impl Asker {
    /// Whoever was authenticated, or else where the request came from.
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Self {
        if let Some(asker) = extensions.get::<Self>() {
            return *asker;
        }
        let address = extensions.get::<PeerAddress>().map(|peer| peer.0.ip());
        Self::Address(client_network(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn known_key(parts: &Parts) -> Answer<PeerKey> {
    parts.extensions.get::<PeerKey>().cloned().ok_or_else(unauthenticated)
}

/// Lets a device in whose state allows the route.
async fn device(app: &App, parts: &mut Parts, authorization: Authorization) -> Answer<()> {
    let (key, client) = (known_key(parts)?, client_of(parts));
    // On every request: a resumed TLS session is not verified again, and states change.
    let known = app.store.system().device_by_key(*key.sha256()).await?;
    let scope = known.as_ref().and_then(DeviceIdentity::scope);
    let (identity, scope, sighting) = match (known, scope, sighting(parts)) {
        (Some(identity), Some(scope), Some(sighting)) => (identity, scope, sighting),
        (known, scope, _) => {
            let why = match (&known, scope) {
                (None, _) => unauthenticated(),
                (Some(identity), None) => refused_by_state(identity.state()).unwrap_or_else(unauthenticated),
                (Some(_), Some(_)) => nameless(),
            };
            keep_device_refusal(app, &client, known.as_ref(), Some(&why)).await?;
            return Err(why);
        }
    };
    let facility = app.store.facility(&scope);
    let mut device = AuthenticatedDevice { app: app.clone(), client, identity, facility, key, sighting };
    device.speaks_for(None).await?;
    if authorization == Authorization::ActiveDevice
        && let Some(why) = refused_by_state(device.identity.state())
    {
        keep_device_refusal(app, &device.client, Some(&device.identity), Some(&why)).await?;
        return Err(why);
    }
    parts.extensions.insert(device.asker());
    parts.extensions.insert(device);
    Ok(())
}

/// A key that was refused is written down, with whose it is.
async fn keep_device_refusal(
    app: &App,
    client: &Client,
    known: Option<&DeviceIdentity>,
    why: Option<&Refusal>,
) -> Answer<()> {
    let event = client
        .event(AuditEventType::Device, AuditAction::Execute, "device")
        .detail("why", why.map(|why| why.problem().detail.clone()));
    let (by, event) = match known {
        Some(known) => {
            let event = event.organization(Some(known.organization())).facility(Some(known.facility()));
            (Principal::Device(known.device()), event.device(known.device()).on(known.device()))
        }
        None => (Principal::Stranger(client.network(), None), event),
    };
    Ok(app.refusal_log.keep(&app.store.system(), by, event).await?)
}

/// Who speaks, as the request's head says, in one word and no more.
fn sighting(parts: &Parts) -> Option<Sighting> {
    let mut said = parts.headers.get_all(BOOT_HEADER).iter();
    let (Some(boot), None) = (said.next(), said.next()) else { return None };
    let boot = boot.to_str().ok()?.parse().ok()?;
    let ConnectedAt(connected) = *parts.extensions.get::<ConnectedAt>()?;
    let answered = parts.headers.contains_key(ANSWERED_HEADER);
    Some(Sighting { boot, answered, incarnation: None, connected })
}

/// Whether a device is there twice is not for its second copy to say: who names no process gets nothing.
/// The agent takes this as a server that does not allow it for now: it waits, and keeps what it has.
fn nameless() -> Refusal {
    let detail = "send the id of the process that speaks, drawn anew at each start, once";
    Refusal::new(
        ProblemKind::Forbidden,
        format!(
            "A device names the process that speaks in the header {BOOT_HEADER}. Update its agent; if it is up to \
             date, find out what speaks with its key."
        ),
    )
    .naming(FieldError { field: BOOT_HEADER.to_owned(), detail: detail.to_owned() })
}

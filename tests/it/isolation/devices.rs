//! The devices' half of the matrix: every route of their listener, with every kind of key.

use anyhow::Result;
use carepost_agent::identity::DeviceKey;
use carepost_protocol::change::Lane;
use carepost_protocol::wire::heartbeat::QueueState;
use carepost_server::http::route::{Authorization, Listener, Route};
use carepost_server::http::routes::ROUTES;
use carepost_tests::api::{Answer, Api};
use carepost_tests::device::{identity, wire};
use reqwest::Method;
use serde_json::json;

use super::requests::called;
use super::tenants::{Place, Tenants, made_up};
use super::{said, told};

/// Routes whose answers never end, which are tried only where they are refused.
const ENDLESS: [&str; 1] = ["live"];

/// Breaches of the devices' listener, and of the wall between the two.
pub async fn matrix(tenants: &Tenants) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let key = DeviceKey::generate()?;
    let unknown = wire(&tenants.server, Some(&identity(key.certificate_der(), key.pkcs8())))?;
    let admin = &tenants.places[0].facility.organization.admin;
    let with_token = unknown.with_token_of(admin);
    for route in ROUTES.iter().filter(|route| route.listener == Listener::Devices) {
        for (name, api) in [("an unknown key", &unknown), ("an unknown key with a token", &with_token)] {
            let answer = ask(api, route, &tenants.places[0], None).await?;
            let expected = if route.authorization == Authorization::AnyKey { 200 } else { 401 };
            if answer.status != expected {
                breaches.push(format!("{} by {name}: {}", route.operation, said(&answer)));
            }
        }
        // A person's token opens nothing of the devices', and the people's listener serves none of it.
        let answer = ask(admin, route, &tenants.places[0], None).await?;
        if answer.status != 404 {
            breaches.push(format!("{} on the people's listener: {}", route.operation, said(&answer)));
        }
        if !ENDLESS.contains(&route.operation) {
            for at in 0..tenants.places.len() {
                breaches.extend(by_device(tenants, at, route).await?);
            }
        }
    }
    breaches.extend(people_routes_elsewhere(tenants).await?);
    Ok(breaches)
}

async fn by_device(tenants: &Tenants, at: usize, route: &Route) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let place = &tenants.places[at];
    let api = place.device.wire(&tenants.server)?;
    let answer = ask(&api, route, place, None).await?;
    if answer.status != 200 {
        breaches.push(format!("{} by its own device: {}", route.operation, said(&answer)));
    }
    for (other, stranger) in tenants.places.iter().enumerate().filter(|(other, _)| *other != at) {
        let leak = stranger.ids.iter().find(|(name, value)| {
            let shared = other / 2 == at / 2 && matches!(**name, "organization_id" | "workflow_key");
            !shared && answer.text.contains(value.as_str())
        });
        if let Some(leak) = leak {
            breaches.push(format!("{} tells the device of place {at} {leak:?}", route.operation));
        }
        if !route.parameters().is_empty() {
            let missing = ask(&api, route, place, Some(&|name| made_up(name))).await?;
            let foreign = ask(&api, route, place, Some(&|name| stranger.value(name))).await?;
            if foreign.status != 404 || told(&foreign) != told(&missing) {
                breaches.push(format!("{} on what is place {other}'s: {}", route.operation, said(&foreign)));
            }
        }
    }
    Ok(breaches)
}

/// The devices' listener serves no route of the people, whoever asks with whatever.
async fn people_routes_elsewhere(tenants: &Tenants) -> Result<Vec<String>> {
    let place = &tenants.places[0];
    let api = place.device.wire(&tenants.server)?.with_token_of(&place.facility.organization.admin);
    let mut breaches = Vec::new();
    for route in ROUTES.iter().filter(|route| route.listener == Listener::People) {
        let path = route.path_with(|kind| place.value(called(kind)));
        let answer = api.call(route.method.clone(), &path, None).await?;
        if answer.status != 404 {
            breaches.push(format!("{} on the devices' listener: {}", route.operation, said(&answer)));
        }
    }
    Ok(breaches)
}

/// What stands in a path, by its name.
type Fill<'a> = &'a (dyn Fn(&'static str) -> String + Sync);

async fn ask(api: &Api, route: &Route, place: &Place, fill: Option<Fill<'_>>) -> Result<Answer> {
    let path = route.path_with(|kind| match fill {
        Some(fill) => fill(called(kind)),
        None => place.value(called(kind)),
    });
    let body = match route.operation {
        "enroll" => json!({"device_uuid": made_up("device_id"), "mac_addresses": [], "hostname": "h",
            "agent_version": "1"})
        .to_string(),
        "heartbeat" => serde_json::to_string(&place.device.heartbeat(QueueState::default()))?,
        "push" => place.device.chain(Lane::Care).batch(&[])?,
        "pull" | "live" | "older_records" => String::new(),
        unknown => anyhow::bail!("the matrix knows no request of {unknown}"),
    };
    let json: &[_] = if route.method == Method::POST { &[("content-type", "application/json")] } else { &[] };
    api.send(route.method.clone(), &path, json, body.into_bytes()).await
}

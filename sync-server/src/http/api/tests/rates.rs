//! How fast one may ask, whoever that is.

use std::net::IpAddr;

use http::Method;
use http::header::{CONTENT_TYPE, RETRY_AFTER};

use super::manners::{Office, Told, allowed, nowhere, routes};
use super::*;
use crate::http::route::{Authorization, Route};

#[tokio::test]
async fn one_who_asks_faster_than_the_configuration_allows_waits_and_nobody_else_does() {
    let config = Config::parse("requests_per_minute = 2", "server.toml", Vec::new()).unwrap();
    let server = Server::new().await.started_anew(config);
    let facility = server.facility().await;
    let token = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let other = server.token(server.user("olaf", Role::OrgAdmin, facility).await).await;
    let office = Office { server, token, facility };
    for status in [200, 200, 429, 429] {
        let told = office.get("/api/v1/users").await;
        assert_eq!(told.status, status, "{}", told.text);
        let wait = told.headers.get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(wait.is_some_and(|wait| (1..=31).contains(&wait)), status == 429, "{wait:?}");
    }
    let told = office.ask_as(Some(&other), &Method::GET, "/api/v1/users", &[], b"").await;
    assert_eq!(told.status, 200, "{}", told.text);
    for route in allowed().filter(|route| route.authorization != Authorization::Public) {
        let told = office.ask(&route.method, &nowhere(route), &[], b"{}").await;
        assert_eq!(told.status, 429, "{}: {}", route.operation, told.text);
        assert!(told.headers.contains_key(RETRY_AFTER), "{}", route.operation);
    }
}

#[tokio::test]
async fn whom_nobody_knows_counts_by_network_on_every_route_and_whoever_is_known_does_not() {
    let config = Config::parse("requests_per_minute = 2", "server.toml", Vec::new()).unwrap();
    let server = Server::new().await.started_anew(config);
    let facility = server.facility().await;
    let carla = server.token(server.user("carla", Role::OrgAdmin, facility).await).await;
    let ask = async |from: String, route: &Route, token: &str| {
        let request = Request::builder().method(&route.method).uri(nowhere(route));
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        let mut request = request.body(Body::from("{}")).unwrap();
        let from: IpAddr = from.parse().unwrap();
        request.extensions_mut().insert(PeerAddress(SocketAddr::new(from, 50_000)));
        Told::by(&server.router, request).await
    };
    let users = routes().find(|route| route.operation == "list_users").unwrap();
    // As an IPv6 /64 counts, by what there is to guess and by what anybody may ask for.
    for (n, route) in routes().enumerate() {
        for (host, is_over) in [(1, false), (2, false), (3, true), (4, true)] {
            let is_over = is_over && route.operation != "health";
            let told = ask(format!("2001:db8:0:{n:x}::{host}"), route, &format!("a guess {host}")).await;
            assert_eq!(told.status == 429, is_over, "{}: {}", route.operation, told.text);
            assert_eq!(told.headers.contains_key(RETRY_AFTER), is_over, "{}", route.operation);
        }
    }
    let here = |host: u8| format!("192.0.2.{host}");
    assert_eq!(ask(here(1), users, &carla).await.status, 200);
    for status in [401, 429] {
        assert_eq!(ask(here(1), users, "a guess").await.status, status);
    }
    assert_eq!(ask(here(1), users, &carla).await.status, 200, "she is known, and waits for nobody's guesses");
    assert_eq!(ask(here(1), users, &carla).await.status, 429, "and has her own bound");
    // Whose session ends is nobody known.
    let olaf = server.token(server.user("olaf", Role::OrgAdmin, facility).await).await;
    let sign_out = routes().find(|route| route.operation == "sign_out").unwrap();
    assert_eq!(ask(here(2), sign_out, &olaf).await.status, 204);
    for status in [401, 401, 429] {
        assert_eq!(ask(here(2), users, &olaf).await.status, status);
    }
}

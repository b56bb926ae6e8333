//! How fast one may ask, whoever that is.

use http::Method;
use http::header::RETRY_AFTER;

use super::manners::{Office, allowed, nowhere};
use super::*;
use crate::http::route::Authorization;

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

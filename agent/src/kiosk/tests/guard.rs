//! Who may ask, and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;

use super::super::guard;
use super::*;

/// Pages that answer everything, behind the guard.
fn guarded() -> Router {
    guarded_by(config())
}

fn guarded_by(config: KioskConfig) -> Router {
    let yes = || get(async || "page").post(async |body: String| body);
    let routes = ["/", "/residents/x", "/events", "/status.json", "/assets/kiosk.css"];
    let pages = routes.into_iter().fold(Router::new(), |pages, path| pages.route(path, yes()));
    pages.layer(middleware::from_fn_with_state(Arc::new(config), guard::check))
}

const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");
const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:3002");

async fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
    send(&guarded(), method, uri, headers, "").await.status.as_u16()
}

#[tokio::test]
async fn only_the_kiosks_own_names_are_answered() {
    for (host, expected) in [
        (HOST, 200),
        ("localhost:3002", 200),
        ("LOCALHOST:3002", 200),
        ("[::1]:3002", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:3003", 421),
        ("kiosk.attacker.test:3002", 421),
        ("127.0.0.1.attacker.test:3002", 421),
        ("attacker.test@127.0.0.1:3002", 421),
        ("0.0.0.0:3002", 421),
        ("", 421),
    ] {
        assert_eq!(status("GET", "/residents/x", &[("host", host)]).await, expected, "{host:?}");
    }
    assert_eq!(status("GET", "/", &[]).await, 421, "no name at all");
    assert_eq!(status("GET", "/", &[("host", HOST), ("host", HOST)]).await, 421, "two names");
}

#[tokio::test]
async fn the_address_it_listens_on_is_its_name_and_a_port_that_goes_without_saying_may_be_left_out() {
    for (bound, host, expected) in [
        ("127.0.0.5:3002", "127.0.0.5:3002", 200),
        ("127.0.0.5:3002", "127.0.0.6:3002", 421),
        ("127.0.0.5:3002", "127.0.0.5", 421),
        ("[::1]:3002", "[::1]:3002", 200),
        ("127.0.0.5:80", "127.0.0.5", 200),
        ("127.0.0.1:80", "localhost", 200),
        ("[::1]:80", "[::1]", 200),
        ("127.0.0.1:80", "attacker.test", 421),
    ] {
        let pages = guarded_by(config_at(bound.parse().unwrap(), false));
        let cookie = COOKIE.replace("3002", bound.rsplit_once(':').unwrap().1);
        let origin = format!("http://{host}");
        let headers = [("host", host), ("cookie", &cookie), OWN, ("origin", &origin)];
        for method in ["GET", "POST"] {
            let answer = send(&pages, method, "/residents/x", &headers, "").await;
            assert_eq!(answer.status.as_u16(), expected, "{method} {bound} {host}");
        }
    }
}

#[tokio::test]
async fn an_authority_counts_as_the_name_and_must_agree_with_the_header() {
    for (uri, headers, expected) in [
        ("http://127.0.0.1:3002/", vec![], 200),
        ("http://attacker.test:3002/", vec![], 421),
        ("http://127.0.0.1:3002/", vec![("host", HOST)], 200),
        ("http://127.0.0.1:3002/", vec![("host", "attacker.test:3002")], 421),
        ("http://attacker.test:3002/", vec![("host", HOST)], 421),
    ] {
        assert_eq!(status("GET", uri, &headers).await, expected, "{uri} {headers:?}");
    }
}

#[tokio::test]
async fn a_foreign_page_can_neither_read_nor_embed() {
    let navigate = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    let fetch = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    let image = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
    for (site, uri, how, expected) in [
        ("same-origin", "/residents/x", fetch, 200),
        ("none", "/residents/x", navigate, 200),
        ("cross-site", "/", navigate, 200),
        ("cross-site", "/residents/x", navigate, 403),
        ("cross-site", "/", frame, 403),
        ("cross-site", "/", fetch, 403),
        ("cross-site", "/", image, 403),
        // Another port of this machine is the same site, and foreign all the same.
        ("same-site", "/", fetch, 403),
        ("same-site", "/residents/x", navigate, 403),
        ("nonsense", "/", fetch, 403),
    ] {
        let headers = [("host", HOST), ("cookie", COOKIE), ("sec-fetch-site", site), how[0], how[1]];
        assert_eq!(status("GET", uri, &headers).await, expected, "{site} {uri} {how:?}");
    }
}

#[tokio::test]
async fn nothing_changes_but_from_the_kiosks_own_pages() {
    let host = ("host", HOST);
    let cookie = ("cookie", COOKIE);
    let fine: [&[(&str, &str)]; 4] = [
        &[host, cookie, OWN, ORIGIN],
        &[host, cookie, OWN],
        &[host, cookie, ORIGIN],
        &[("host", "localhost:3002"), cookie, OWN, ("origin", "http://localhost:3002")],
    ];
    for headers in fine {
        assert_eq!(status("POST", "/", headers).await, 200, "{headers:?}");
    }
    let turned: [&[(&str, &str)]; 10] = [
        &[host, cookie],
        &[host, OWN, ORIGIN],
        &[host, OWN, ORIGIN, ("cookie", "carepost_3002=07")],
        &[host, OWN, ORIGIN, ("cookie", &COOKIE.replace("3002", "3003"))],
        &[host, cookie, OWN, ("origin", "null")],
        &[host, cookie, OWN, ("origin", "http://localhost:3002")],
        &[host, cookie, OWN, ("origin", "https://127.0.0.1:3002")],
        &[host, cookie, ("sec-fetch-site", "cross-site"), ("origin", "https://attacker.test")],
        &[host, cookie, ("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:3003")],
        &[host, cookie, ("sec-fetch-site", "none")],
    ];
    for headers in turned {
        assert_eq!(status("POST", "/", headers).await, 403, "{headers:?}");
    }
}

#[tokio::test]
async fn a_cross_site_navigation_may_not_post_to_the_start_page_either() {
    let headers = [
        ("host", HOST),
        ("cookie", COOKIE),
        ORIGIN,
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(status("POST", "/", &headers).await, 403);
}

#[tokio::test]
async fn every_answer_is_sealed_and_the_first_brings_the_cookie() {
    let pages = guarded();
    let first = send(&pages, "GET", "/", &[("host", HOST)], "").await;
    assert_eq!(first.header("set-cookie"), format!("{COOKIE}; Path=/; HttpOnly; SameSite=Strict"));
    let later = send(&pages, "GET", "/", &[("host", HOST), ("cookie", COOKIE)], "").await;
    assert_eq!(later.header("set-cookie"), "");
    let turned = send(&pages, "GET", "/", &[("host", "attacker.test")], "").await;
    assert_eq!(turned.header("set-cookie"), "", "a stranger gets no cookie");
    assert!(turned.body.contains("This is not the kiosk&#39;s address"), "{}", turned.body);
    for answer in [first, later, turned] {
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn another_users_process_reads_nothing_and_does_nothing() {
    let pages = guarded();
    let started = format!("/?start={START}");
    let whole = [("host", HOST), ("cookie", COOKIE), OWN, ORIGIN];
    for other in [Owner::User(BROWSER + 1), Owner::User(0)] {
        for (method, uri) in
            [("GET", "/"), ("GET", "/residents/x"), ("GET", "/events"), ("GET", &started), ("POST", "/")]
        {
            let answer = send_as(other, &pages, method, uri, &whole, "").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{other:?} {method} {uri}");
            assert!(answer.body.contains("opens on the kiosk itself"), "{}", answer.body);
            assert_eq!(answer.header("set-cookie"), "");
        }
        // What names nobody.
        for uri in ["/status.json", "/assets/kiosk.css"] {
            let answer = send_as(other, &pages, "GET", uri, &[("host", HOST)], "").await;
            assert_eq!((answer.status, answer.header("set-cookie")), (StatusCode::OK, ""), "{uri}");
            let answer = send_as(other, &pages, "POST", uri, &[("host", HOST), ORIGIN], "").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{uri}");
        }
    }
}

#[tokio::test]
async fn the_start_pages_token_is_demanded_where_it_is_wanted_or_no_owner_is_told() {
    let host = [("host", HOST)];
    for (demanded, owner) in
        [(true, Owner::User(BROWSER)), (true, Owner::Untold), (false, Owner::Untold), (false, Owner::Gone)]
    {
        let pages = guarded_by(config_with(demanded));
        for uri in ["/", "/?start=", "/?start=5a5b", "/?start=5a5a5a", "/residents/x?start=5a5a", "/events"] {
            let answer = send_as(owner, &pages, "GET", uri, &host, "").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{demanded} {owner:?} {uri}");
            assert!(answer.body.contains("file:///run/carepost-kiosk/start.html"), "{}", answer.body);
            assert_eq!(answer.header("set-cookie"), "");
        }
        // The start page lies on the disk, so its visit comes from another site.
        let visit = [
            ("host", HOST),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let answer = send_as(owner, &pages, "GET", &format!("/?start={START}"), &visit, "").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("set-cookie").starts_with(COOKIE) && answer.body.contains("url=/"));
        assert!(!answer.body.contains("page"), "the token opens nothing by itself: {}", answer.body);
        let with = [("host", HOST), ("cookie", COOKIE)];
        assert_eq!(send_as(owner, &pages, "GET", "/residents/x", &with, "").await.status, StatusCode::OK);
        let (uri, own_page) = (format!("/?start={START}"), [host[0], OWN, ORIGIN]);
        let posted = send_as(owner, &pages, "POST", &uri, &own_page, "").await;
        assert_eq!(posted.status, StatusCode::FORBIDDEN, "a form brings the cookie");
    }
}

#[tokio::test]
async fn a_form_has_a_size() {
    let headers = [("host", HOST), ("cookie", COOKIE), OWN, ORIGIN];
    let fits = "x".repeat(guard::MAX_BODY);
    assert_eq!(send(&guarded(), "POST", "/", &headers, &fits).await.status, StatusCode::OK);
    let answer = send(&guarded(), "POST", "/", &headers, &(fits + "x")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.body.contains("nothing was saved"));
}

#[test]
fn the_token_does_not_print() {
    let printed = format!("{:?}", config());
    assert!(!printed.contains("0707") && !printed.contains(START), "{printed}");
}

#[tokio::test]
async fn where_nothing_opens_a_page_needs_no_cookie_and_the_one_that_a_browser_has_stays_good() {
    let page = "/run/carepost-kiosk/start.html".into();
    let doorway = Doorway { user: BROWSER, token: START.into(), page, demanded: true };
    let config = KioskConfig::new(SocketAddr::from(([127, 0, 0, 1], 3002)), None, doorway);
    let pages = guarded_by(config);
    for headers in [&[("host", HOST)][..], &[("host", HOST), ("cookie", COOKIE)]] {
        let answer = send(&pages, "GET", "/", headers, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (200, ""), "{headers:?}");
    }
    let other = send_as(Owner::User(BROWSER + 1), &pages, "GET", "/", &[("host", HOST)], "").await;
    assert_eq!(other.status.as_u16(), 403, "it is still for one user alone");
}

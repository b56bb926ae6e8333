//! What people and programs may send that is not what the API takes, and what it makes of the odd but
//! acceptable.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use carepost_tests::api::{Answer, Api};
use carepost_tests::device::wire;
use carepost_tests::kiosk::{Badges, Kiosk};
use carepost_tests::world::{Facility, PASSWORD, Server};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn world(folder: &TempDir) -> Result<(Server, Facility)> {
    crate::install_provider();
    let server = Server::start(&folder.path().join("server")).await?;
    let golden = server.organization("Golden Years", "golden-years", "ALF_OPERATOR").await?;
    let riverside = golden.facility("Riverside", "ALF", Some(48), 44).await?;
    Ok((server, riverside))
}

/// Asserts that an answer is a problem document of that kind and status.
fn is_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.headers.get("content-type").unwrap(), "application/problem+json");
    assert_eq!(answer.body["type"], format!("/problems/{kind}"), "{}", answer.text);
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["detail"].as_str().is_some_and(|words| words.len() > 10), "{}", answer.text);
    let id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    assert_eq!(answer.body["request_id"].as_str(), id);
}

/// Asserts that a value was refused, and which field is named.
fn names(answer: &Answer, field: &str) {
    is_problem(answer, 422, "invalid");
    assert_eq!(answer.body["errors"][0]["field"], field, "{}", answer.text);
    assert!(!answer.body["errors"][0]["detail"].as_str().unwrap_or_default().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_the_answer_is_a_problem_that_says_what_is_wrong() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, facility) = world(&folder).await?;
    let admin = &facility.organization.admin;
    let before = state(admin).await?;
    let users = "/api/v1/users";
    let post = |path: &'static str, body: Vec<u8>| admin.send(Method::POST, path, &JSON, body);

    for malformed in [&b"{"[..], b"", b"\xff\xfe", b"{\"username\": \"a", b"nul\0"] {
        is_problem(&post(users, malformed.to_vec()).await?, 400, "malformed");
    }
    let deep = post(users, "[".repeat(200_000).into_bytes()).await?;
    is_problem(&deep, 413, "too-large");
    is_problem(&post(users, "[".repeat(2_000).into_bytes()).await?, 400, "malformed");
    for (body, field) in [
        (json!({"username": 7, "role": "rn"}), "username"),
        (json!({"username": "a", "role": "wizard"}), "role"),
        (json!({"username": "a", "role": "rn", "sudo": true}), "sudo"),
        (json!({"role": "rn"}), "username"),
        (json!({"username": "a", "role": "rn", "facility_id": "7"}), "facility_id"),
        (json!({"username": "a", "role": "rn"}), "facility_id"),
        (json!({"username": "a", "role": "platform_admin"}), "role"),
        (
            json!({"username": "a", "role": "auditor", "session_timeout_minutes": 0}),
            "session_timeout_minutes",
        ),
        (
            json!({"username": "a", "role": "auditor", "session_timeout_minutes": -1}),
            "session_timeout_minutes",
        ),
        (json!({"username": "a\u{7}b", "role": "auditor"}), "username"),
        (json!({"username": "a b", "role": "auditor"}), "username"),
        (json!({"username": "x".repeat(101), "role": "auditor"}), "username"),
    ] {
        names(&admin.call(Method::POST, users, Some(&body)).await?, field);
    }
    all_at_once(&facility).await?;
    let large = json!({"username": "a", "role": "rn", "display_name": "x".repeat(300 * 1024)});
    is_problem(&admin.call(Method::POST, users, Some(&large)).await?, 413, "too-large");
    let good = json!({"username": "a", "role": "auditor"}).to_string().into_bytes();
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/xml")]] {
        let answer = admin.send(Method::POST, users, headers, good.clone()).await?;
        is_problem(&answer, 415, "unsupported-media-type");
    }
    for path in
        ["/", "/api/v1", "/api/v1/nothing", "/api/v2/users", "/api/v1/users/", "/problems/none", "/org/x"]
    {
        is_problem(&admin.call(Method::GET, path, None).await?, 404, "not-found");
    }
    let not_allowed = admin.call(Method::PATCH, users, None).await?;
    is_problem(&not_allowed, 405, "method-not-allowed");
    assert!(not_allowed.headers["allow"].to_str()?.contains("POST"));
    for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::POST] {
        let answer = admin.call(method, "/api/v1/audit-events", None).await?;
        is_problem(&answer, 405, "method-not-allowed");
    }
    injections(&server, admin).await?;
    assert_eq!(state(admin).await?, before, "something of all this changed something");
    Ok(())
}

/// Whoever sends several things that are wrong hears of all of them.
async fn all_at_once(facility: &Facility) -> Result<()> {
    for (path, body, fields) in [
        ("users", json!({"username": "a b", "role": "platform_admin"}), vec!["username", "role"]),
        (
            "facilities",
            json!({"name": "A", "facility_type": "ALF", "colour": 1, "size": 2}),
            vec!["colour", "size"],
        ),
        (
            "patients",
            json!({"facility_id": facility.id, "date_of_birth": "yesterday", "shoe_size": 9}),
            vec!["shoe_size", "date_of_birth", "name"],
        ),
    ] {
        let path = format!("/api/v1/{path}");
        let answer = facility.organization.admin.call(Method::POST, &path, Some(&body)).await?;
        let errors = answer.body["errors"].as_array().into_iter().flatten();
        let named: Vec<_> = errors.filter_map(|error| error["field"].as_str()).collect();
        assert_eq!((answer.status, named), (422, fields), "{}", answer.text);
    }
    Ok(())
}

/// What an attacker tries in slugs, headers, keys and queries: refused, and nothing breaks.
async fn injections(server: &Server, admin: &Api) -> Result<()> {
    for nasty in
        ["%27%20OR%201%3D1%20--", "%22%3BDROP%20TABLE%20users%3B--", "..%2F..%2Fetc", "%00", "%F0%9F%92%A9"]
    {
        for path in [
            format!("/org/{nasty}/api/v1/users"),
            format!("/api/v1/users/{nasty}"),
            format!("/api/v1/workflows/{nasty}"),
            format!("/api/v1/facilities/{nasty}/devices"),
        ] {
            let answer = admin.call(Method::GET, &path, None).await?;
            assert!(matches!(answer.status, 400 | 404), "{path}: {} {}", answer.status, answer.text);
            assert!(!answer.text.to_lowercase().contains("sql"), "{}", answer.text);
        }
        let answer = admin.call(Method::GET, &format!("/api/v1/users?facility_id={nasty}"), None).await?;
        names(&answer, "facility_id");
        let answer = admin.call(Method::GET, &format!("/api/v1/users?sort={nasty}"), None).await?;
        names(&answer, "sort");
        let answer = admin.call(Method::GET, &format!("/api/v1/users?{nasty}=1"), None).await?;
        assert_eq!(answer.status, 422, "{}", answer.text);
    }
    let who = json!({"organization": "' OR 1=1 --", "username": "admin' --", "password": PASSWORD});
    is_problem(
        &server.api()?.call(Method::POST, "/api/v1/sessions", Some(&who)).await?,
        401,
        "unauthenticated",
    );
    for (name, value) in [("x-organization-id", "' OR 1=1 --"), ("authorization", "Bearer ' OR 1=1 --")] {
        let answer = server.api()?.send(Method::GET, "/api/v1/users", &[(name, value)], Vec::new()).await?;
        is_problem(&answer, 401, "unauthenticated");
    }
    Ok(())
}

async fn state(admin: &Api) -> Result<[Value; 4]> {
    let mut seen = Vec::new();
    for path in ["/api/v1/users", "/api/v1/facilities", "/api/v1/workflows", "/api/v1/organizations"] {
        let mut list = admin.get(path).await?;
        for item in list["items"].as_array_mut().into_iter().flatten() {
            item["last_activity_at"] = Value::Null;
        }
        seen.push(list);
    }
    seen.try_into().map_err(|_| anyhow::anyhow!("four lists"))
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_honest_input_is_taken_and_the_dishonest_named() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, facility) = world(&folder).await?;
    let admin = &facility.organization.admin;
    let post =
        |path: &'static str, body: Value| async move { admin.call(Method::POST, path, Some(&body)).await };

    // A US date is a day like any other, and what is none is named.
    let born = |mrn: &str, date: &str| json!({"facility_id": facility.id, "mrn": mrn, "name": "Ada Amberly", "date_of_birth": date});
    let ada = post("/api/v1/patients", born("RS-1", "03/15/1941")).await?;
    assert_eq!((ada.status, &ada.body["date_of_birth"]), (201, &json!("1941-03-15")), "{}", ada.text);
    for bad in ["15/03/1941", "1941-02-30", "yesterday"] {
        names(&post("/api/v1/patients", born("RS-2", bad)).await?, "date_of_birth");
    }
    // What says that there is no number is none, and two may have none.
    for none in ["n/a", "unknown", "-", "?", "TBD", "x"] {
        let refused = post("/api/v1/patients", born(none, "1941-03-15")).await?;
        names(&refused, "mrn");
        assert!(refused.text.contains("leave it empty"), "{}", refused.text);
    }
    for name in ["Bea Example", "Cy Example"] {
        let unnumbered = json!({"facility_id": facility.id, "name": name});
        let unnumbered = post("/api/v1/patients", unnumbered).await?;
        assert_eq!((unnumbered.status, &unnumbered.body["mrn"]), (201, &Value::Null), "{}", unnumbered.text);
        let hers = format!("/api/v1/patients/{}", unnumbered.body["id"].as_str().unwrap_or_default());
        assert_eq!(admin.put(&hers, &json!({"mrn": "RS-7"})).await?["mrn"], "RS-7");
        assert_eq!(admin.put(&hers, &json!({"mrn": null})).await?["mrn"], Value::Null, "free for the next");
    }
    // A name has a letter or a digit, and a person's a letter.
    let id = &facility.id;
    for signs in ["---", "...", "'"] {
        for (path, field, body) in [
            ("/api/v1/patients", "name", json!({"facility_id": id, "name": signs})),
            ("/api/v1/users", "username", json!({"facility_id": id, "username": signs, "role": "rn"})),
            (
                "/api/v1/users",
                "display_name",
                json!({"facility_id": id, "username": "ben", "display_name": signs, "role": "rn"}),
            ),
            ("/api/v1/facilities", "name", json!({"name": signs, "facility_type": "ALF"})),
            (
                "/api/v1/devices",
                "device_name",
                json!({"facility_id": id, "device_name": signs, "device_type": "TABLET"}),
            ),
        ] {
            let refused = post(path, body).await?;
            names(&refused, field);
            let is_persons = path.ends_with("patients") || field == "display_name";
            let words = if is_persons { "no letter in it" } else { "with a letter or a digit" };
            assert!(refused.text.contains(words), "{}", refused.text);
        }
    }
    let signs_in_by_number = json!({"facility_id": id, "username": "12345", "role": "rn"});
    names(&post("/api/v1/users", signs_in_by_number).await?, "display_name");
    names(&post("/api/v1/patients", json!({"facility_id": id, "name": "12345"})).await?, "name");
    let numbered = post("/api/v1/facilities", json!({"name": "12345", "facility_type": "alf"})).await?;
    assert_eq!(numbered.status, 201, "a place may be a number: {}", numbered.text);
    // Its kind is taken in any case, when it changes too.
    assert_eq!(numbered.body["facility_type"], "ALF");
    let its = format!("/api/v1/facilities/{}", numbered.body["id"].as_str().unwrap_or_default());
    assert_eq!(admin.put(&its, &json!({"facility_type": "Hospice"})).await?["facility_type"], "HOSPICE");
    // Conflicts say over what.
    let again = post("/api/v1/patients", born("RS-1", "1941-03-15")).await?;
    is_problem(&again, 409, "conflict");
    assert!(again.body["detail"].as_str().is_some_and(|words| words.contains("mrn")), "{}", again.text);
    let nora = facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let twin = json!({"facility_id": facility.id, "username": "NORA.quist", "role": "rn"});
    let twin = post("/api/v1/users", twin).await?;
    is_problem(&twin, 409, "conflict");
    assert!(twin.body["detail"].as_str().is_some_and(|words| words.contains("username")), "{}", twin.text);

    // An idle session lasts half an hour unless somebody says otherwise.
    let hers = format!("/api/v1/users/{}", nora.id);
    assert_eq!(admin.get(&hers).await?["session_timeout_minutes"], 30);
    let longer = admin.put(&hers, &json!({"session_timeout_minutes": 45})).await?;
    assert_eq!(longer["session_timeout_minutes"], 45, "{longer}");

    // The registration body of S1-59, to the letter, in both spellings.
    for (at, body) in [
        json!({"facility_id": facility.id, "device_name": "Med Room Pi", "device_type": "RASPBERRY_PI",
            "device_uuid": "550e8400-e29b-41d4-a716-446655440000"}),
        json!({"facilityId": facility.id, "deviceName": "Door reader", "deviceType": "TYPE_BADGE_READER",
            "deviceUuid": "550e8400-e29b-41d4-a716-446655440001"}),
    ]
    .into_iter()
    .enumerate()
    {
        let made = post("/api/v1/devices", body.clone()).await?;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.body["device_uuid"], format!("550e8400-e29b-41d4-a716-44665544000{at}"));
        assert_eq!(made.body["state"], "EXPECTED");
        is_problem(&post("/api/v1/devices", body).await?, 409, "conflict");
        let its = format!("/api/v1/devices/{}", made.body["id"].as_str().unwrap_or_default());
        assert_eq!(admin.put(&its, &json!({"device_type": "tablet"})).await?["device_type"], "TABLET");
    }

    // Badges and PINs.
    let badge = |uid: &str| json!({"user_id": nora.id, "uid": uid});
    let random = post("/api/v1/badges", badge("08A1B2C3")).await?;
    names(&random, "uid");
    assert!(random.text.contains("another number at each tap"), "{}", random.text);
    for bad in ["", "04", "zz", "04A1B2C3D4E5F60102030405"] {
        names(&post("/api/v1/badges", badge(bad)).await?, "uid");
    }
    is_problem(&post("/api/v1/badges", badge("04A1B2C3D4E5F6")).await?, 409, "conflict");
    let pin = format!("/api/v1/users/{}/pin", nora.id);
    for trivial in ["123456", "654321", "111111", "121212", "12345", "letters", "１２３４５６"] {
        names(&admin.call(Method::PUT, &pin, Some(&json!({"pin": trivial}))).await?, "pin");
    }
    admin.put(&pin, &json!({"pin": "７３０１９４"})).await?;
    let password = format!("/api/v1/users/{}/password", nora.id);
    names(&admin.call(Method::PUT, &password, Some(&json!({"password": "short"}))).await?, "password");
    // Whoever signs in is known in capitals and from any keyboard.
    admin.put(&password, &json!({"password": "a cafe\u{301} at the corner"})).await?;
    server.api()?.sign_in(Some(" GOLDEN–Years"), "Nora.QUIST", "a café at the corner").await?;

    // An organization in part, in the words of S3-44: address and contact as far as they are known, the contact by the
    // name that others give it, the kind in any case. And a doubtful NPI.
    let root = server.root().await?;
    let partial = json!({"name": "Partial Care", "slug": "partial-care", "type": "hospital", "npi": "1234567890",
        "address": {"city": "Springfield"}, "contactInfo": {"email": "office@example.test"}});
    let made = root.post("/api/v1/organizations", &partial).await?;
    let registered = [&made["slug"], &made["type"], &made["address"], &made["contact"]];
    let kept = [&partial["slug"], &json!("HOSPITAL"), &partial["address"], &partial["contactInfo"]];
    assert_eq!(registered, kept, "{made}");
    assert_eq!(made["warnings"][0]["field"], "npi", "{made}");
    // And in whole.
    let address = json!({"street": "1 Main Street", "city": "Springfield", "state": "IL", "zip": "62701",
        "country": "US"});
    let contact = json!({"phone": "+1 555 0100", "email": "care@example.test"});
    let better = json!({"name": "Better Care", "slug": " Better–Care", "type": "CLINIC", "npi": " 1234567893",
        "address": address, "contact": contact});
    let better = root.post("/api/v1/organizations", &better).await?;
    assert_eq!(better.get("warnings"), None, "{better}");
    let registered =
        [&better["slug"], &better["type"], &better["address"], &better["contact"], &better["npi"]];
    let kept = [&json!("better-care"), &json!("CLINIC"), &address, &contact, &json!("1234567893")];
    assert_eq!(registered, kept, "{better}");
    let bad = json!({"name": "Bad Care", "npi": "12345"});
    names(&root.call(Method::POST, "/api/v1/organizations", Some(&bad)).await?, "npi");
    let bad = json!({"name": "Bad Care", "slug": "' OR 1=1 --"});
    names(&root.call(Method::POST, "/api/v1/organizations", Some(&bad)).await?, "slug");
    for (slug, kind) in [
        ("visits", "HOME_HEALTH_AGENCY"),
        ("assisted", "ALF_OPERATOR"),
        ("memory", "MEMORY_CARE_GROUP"),
        ("skilled", "SNF_CHAIN"),
        ("several", "MULTI_SITE_SYSTEM"),
        ("hospital", "HOSPITAL"),
        ("clinic", "CLINIC"),
        ("practice", "PHYSICIAN_GROUP"),
    ] {
        let made =
            root.post("/api/v1/organizations", &json!({"name": slug, "slug": slug, "type": kind})).await?;
        assert_eq!(made["type"], kind, "{made}");
    }
    let bad = json!({"name": "Bad Care", "type": "ZOO"});
    names(&root.call(Method::POST, "/api/v1/organizations", Some(&bad)).await?, "type");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failed_sign_ins_lock_whether_the_name_exists_or_not() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, facility) = world(&folder).await?;
    facility.nurse("Nora Quist", "rn", "482915", "04A1B2C3D4E5F6").await?;
    let api = server.api()?;
    let mut told = Vec::new();
    for name in ["nora.quist", "nobody.here"] {
        let with =
            |password: &str| json!({"organization": "golden-years", "username": name, "password": password});
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(api.call(Method::POST, "/api/v1/sessions", Some(&with("not the password"))).await?);
        }
        answers.push(api.call(Method::POST, "/api/v1/sessions", Some(&with(PASSWORD))).await?);
        let locked = answers.last().context("six tries")?;
        is_problem(locked, 429, "too-many-tries");
        let wait: u64 = locked.headers["retry-after"].to_str()?.parse()?;
        assert!((29 * 60..=30 * 60).contains(&wait), "locked for {wait} s");
        told.push(answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1], "the lock tells which names exist");
    assert!(told[0][..4].iter().all(|status| *status == 401), "{told:?}");
    server.api()?.sign_in(Some("golden-years"), "admin", PASSWORD).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dawdles_is_hung_up_on() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, _) = world(&folder).await?;
    let people = server.people.rsplit(':').next().context("a port")?.parse()?;
    let silent = |port: u16| async move {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        closed_within(&mut socket, Duration::from_secs(60), b"").await
    };
    // Inside TLS, the head of a request that comes a byte a second.
    let head = async {
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(&server.ca)?;
        for certificate in
            <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&pem)
        {
            roots.add(certificate?)?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let socket = TcpStream::connect(("127.0.0.1", people)).await?;
        let mut socket = connector.connect("localhost".try_into()?, socket).await?;
        closed_within(&mut socket, Duration::from_secs(120), b"GET /api/v1/health HTTP/1.1\r\nx-slow: ").await
    };
    tokio::try_join!(silent(people), silent(server.devices.port()), head)?;
    // The others are served all the while and after.
    server.api()?.get("/api/v1/health").await?;
    assert!(wire(&server, None)?.call(Method::GET, "/", None).await.is_err());
    Ok(())
}

/// Sends the bytes, then one more each second, until the peer hangs up.
async fn closed_within<S>(socket: &mut S, most: Duration, bytes: &[u8]) -> Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let started = Instant::now();
    socket.write_all(bytes).await?;
    socket.flush().await?;
    let mut buffer = [0; 1024];
    while started.elapsed() < most {
        match tokio::time::timeout(Duration::from_secs(1), socket.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(()),
            Ok(Ok(_)) => {}
            Err(_) if bytes.is_empty() => {}
            Err(_) if socket.write_all(b"x").await.is_err() || socket.flush().await.is_err() => return Ok(()),
            Err(_) => {}
        }
    }
    anyhow::bail!("still connected after {most:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_page_reads_or_drives_the_kiosk() -> Result<()> {
    let folder = TempDir::new()?;
    let (server, _) = world(&folder).await?;
    let kiosk = Kiosk::hang(&folder.path().join("hall"), "Hall", &server, None, Badges::Scripted, "").await?;
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let page = http.get(kiosk.address()).send().await?;
    let cookie = page.headers()["set-cookie"].to_str()?.to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().context("a cookie")?.to_owned();
    let (own, origin) = (format!("127.0.0.1:{}", kiosk.port), kiosk.address());
    let foreign = "http://evil.example.test";
    let none = None;
    for (path, host, from, site, brings, expected) in [
        ("/lock", own.as_str(), Some(origin.as_str()), none, true, 303),
        ("/lock", &own, Some(foreign), none, true, 403),
        ("/lock", &own, Some("null"), none, true, 403),
        ("/lock", &own, none, none, true, 403),
        ("/lock", &own, Some(&origin), Some("cross-site"), true, 403),
        ("/lock", &own, Some(&origin), Some("same-site"), true, 403),
        ("/lock", &own, Some(&origin), none, false, 403),
        ("/lock", "evil.example.test", Some(&origin), none, true, 421),
        ("/pin", "rebound.example.test", Some("http://rebound.example.test"), none, true, 421),
    ] {
        let mut request = http.post(format!("{}{path}", kiosk.address())).header("host", host);
        for (name, value) in [("origin", from), ("sec-fetch-site", site)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        if brings {
            request = request.header("cookie", &cookie);
        }
        let answer = request.body("").send().await?;
        assert_eq!(answer.status(), expected, "{path} {host} {from:?} {site:?} cookie {brings}");
        assert_eq!(answer.headers().get("access-control-allow-origin"), None);
    }
    for (host, site, expected) in
        [("evil.example.test", None, 421), (own.as_str(), Some("cross-site"), 403), (&own, None, 200)]
    {
        let mut request = http.get(format!("{}/status.json", kiosk.address())).header("host", host);
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        assert_eq!(request.send().await?.status(), expected, "{host} {site:?}");
    }
    Ok(())
}

//! Attacks on who may do what, played through the real protocol: refusals without end, locks as weapons, a
//! clone that does not say who speaks, a device that forks without end.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use carepost_agent::identity::DeviceKey;
use carepost_protocol::change::Lane;
use carepost_protocol::wire::BOOT_HEADER;
use carepost_server::http::route::{Authorization, Parameter, Route};
use carepost_server::http::routes::ROUTES;
use carepost_tests::api::{Answer, Api, text};
use carepost_tests::appetite::own_kib;
use carepost_tests::children::{run, until};
use carepost_tests::device::{Device, identity, wire};
use carepost_tests::kiosk::PATIENCE;
use carepost_tests::scene::Scene;
use carepost_tests::world::{PASSWORD, Server, items};
use reqwest::Method;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The refusals that a stopped server has written down, each as its endpoint with the rows and refusals told.
fn refusals(server: &Server) -> Result<Vec<(String, String, u64)>> {
    let key = std::fs::read_to_string(server.folder.join("state/database.key"))?;
    let database = server.folder.join("state/carepost.db");
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.execute_batch(&format!("PRAGMA key = \"x'{}'\"", key.trim()))?;
    let sql = format!(
        "SELECT endpoint, coalesce(user_id, device_id) IS NOT NULL, coalesce(details, '{{}}') FROM ba{}_audit
            WHERE success = 0 ORDER BY timestamp, id",
        "se"
    );
    let mut statement = database.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, String>(2)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (endpoint, known, details) = row?;
        let details: Value = serde_json::from_str(&details)?;
        // That a name was locked is told besides.
        if details["what"] != "locked" {
            let who = if known { "known" } else { "unknown" };
            found.push((endpoint, who.to_owned(), details["count"].as_u64().unwrap_or(1)));
        }
    }
    Ok(found)
}

/// How many rows tell of that endpoint, and how many refusals they tell.
fn told(refusals: &[(String, String, u64)], endpoint: &str, who: &str) -> (usize, u64) {
    let told: Vec<u64> = refusals
        .iter()
        .filter(|(at, by, _)| at.contains(endpoint) && by == who)
        .map(|(_, _, count)| *count)
        .collect();
    (told.len(), told.iter().sum())
}

fn wrong(name: &str) -> Value {
    json!({"organization": "golden-years", "username": name, "password": "not the password"})
}

async fn statuses(calls: impl IntoIterator<Item = impl Future<Output = Result<Answer>>>) -> Result<Vec<u16>> {
    Ok(futures_util::future::try_join_all(calls).await?.into_iter().map(|answer| answer.status).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_refused_again_and_again_is_written_down_once_and_counted() -> Result<()> {
    let mut scene = Scene::new(2).await?;
    let (server, facility) = (&scene.server, &scene.facility);
    let lost =
        Device::enroll(&scene.folder_of("lost"), server, server.devices.port(), facility, "lost").await?;
    let admin = &facility.organization.admin;
    let path = format!("/api/v1/devices/{}/deactivate", lost.grant.device_id);
    admin.post(&path, &json!({})).await?;

    // A revoked key.
    let thief = lost.wire(server)?;
    for _ in 0..10 {
        let asked = (0..50).map(|_| thief.call(Method::GET, "/api/v1/sync/pull", None));
        assert!(statuses(asked).await?.iter().all(|status| *status == 403));
    }
    // A nurse at ids that are none of hers.
    let nora = server.api()?.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;
    let foreign = facility.organization.facility("Hillside", "ALF", Some(8), 8).await?;
    for _ in 0..10 {
        let path = format!("/api/v1/facilities/{}", foreign.id);
        let asked = (0..20).map(|_| nora.call(Method::GET, &path, None));
        assert!(statuses(asked).await?.iter().all(|status| *status == 404));
    }
    // What her role does not allow, and an organization that is not hers.
    for _ in 0..30 {
        assert_eq!(nora.call(Method::GET, "/api/v1/users", None).await?.status, 403);
        let header = [("x-organization-id", foreign.id.as_str())];
        assert_eq!(nora.send(Method::GET, "/api/v1/facilities", &header, Vec::new()).await?.status, 404);
    }
    // A wrong password: five are tried, and the name is locked.
    for _ in 0..40 {
        let answer = server.api()?.call(Method::POST, "/api/v1/sessions", Some(&wrong("nora.quist"))).await?;
        assert!(matches!(answer.status, 401 | 429), "{}", answer.text);
    }
    // A key of nobody's: on a device's route, and in the lobby, where it says something else each time.
    let key = DeviceKey::generate()?;
    let lobby = wire(server, Some(&identity(key.certificate_der(), key.pkcs8())))?;
    let mut refused = 0;
    for n in 0..100 {
        assert_eq!(lobby.call(Method::GET, "/api/v1/sync/pull", None).await?.status, 401);
        let said = json!({"device_uuid": "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42", "mac_addresses": [],
            "hostname": format!("host {n}"), "agent_version": "1"});
        match lobby.call(Method::POST, "/api/v1/enroll", Some(&said)).await?.status {
            200 => {}
            429 => refused += 1,
            status => anyhow::bail!("{status}"),
        }
    }
    assert_eq!(refused, 79, "a place, and twenty changes");

    scene.server.stop().await?;
    let refusals = refusals(&scene.server)?;
    assert_eq!(told(&refusals, "GET /api/v1/sync/pull", "known"), (2, 500), "{refusals:?}");
    assert_eq!(told(&refusals, "GET /api/v1/facilities/{facility_id}", "known"), (2, 200), "{refusals:?}");
    assert_eq!(told(&refusals, "GET /api/v1/users", "known"), (2, 30), "{refusals:?}");
    assert_eq!(told(&refusals, "POST /api/v1/sessions", "known"), (2, 40), "{refusals:?}");
    assert_eq!(told(&refusals, "GET /api/v1/sync/pull", "unknown"), (2, 100), "{refusals:?}");
    assert_eq!(told(&refusals, "POST /api/v1/enroll", "unknown"), (2, 79), "{refusals:?}");
    // Her organization's administrator finds the count, and the crossing by its name.
    scene.server.resume().await?;
    let admin = scene.server.api()?.sign_in(Some("golden-years"), "admin", PASSWORD).await?;
    let events = items(&admin.get(&format!("/api/v1/audit-events?user_id={}", scene.nora.id)).await?)?;
    let crossed: Vec<_> = events.iter().filter(|it| it["event_type"] == "cross_tenant_attempt").collect();
    let counts: Vec<_> =
        crossed.iter().map(|event| event["details"]["count"].as_u64().unwrap_or(1)).collect();
    assert_eq!(counts, [29, 1], "{crossed:?}");
    Ok(())
}

/// A client that comes from another address of this machine.
fn from(server: &Server, last: u8) -> Result<Api> {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    Api::from_address(&server.people, &std::fs::read(&server.ca)?, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_keep_out_who_guesses_and_nobody_else() -> Result<()> {
    let scene = Scene::new(1).await?;
    let server = &scene.server;
    let attacker = from(server, 66)?;
    let right = json!({"organization": "golden-years", "username": "nora.quist", "password": PASSWORD});
    let mut tried = Vec::new();
    for _ in 0..5 {
        tried.push(attacker.call(Method::POST, "/api/v1/sessions", Some(&wrong("nora.quist"))).await?.status);
    }
    assert_eq!(tried, [401, 401, 401, 401, 429], "five failures lock (S0-49)");
    assert_eq!(attacker.call(Method::POST, "/api/v1/sessions", Some(&right)).await?.status, 429);
    // She comes from elsewhere, and is let in all the while.
    let home = from(server, 7)?;
    home.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;
    // Guessing from everywhere ends: after fifty in all.
    let mut guessed = 5;
    'guessing: for last in 100..=255 {
        let guesser = from(server, last)?;
        for _ in 0..4 {
            guessed += 1;
            let answer = guesser.call(Method::POST, "/api/v1/sessions", Some(&wrong("nora.quist"))).await?;
            if answer.status == 429 {
                break 'guessing;
            }
        }
    }
    assert_eq!(guessed, 50);
    let elsewhere = from(server, 8)?;
    assert_eq!(elsewhere.call(Method::POST, "/api/v1/sessions", Some(&right)).await?.status, 429);
    home.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;

    // The operator needs no session, and the running server knows at once.
    let config = server.config().display().to_string();
    let unlock = ["--config", &config, "user", "unlock", "Nora.Quist", "--organization", "golden-years"];
    let (code, out, error) = run("carepost-server", &unlock, &[]).await?;
    assert_eq!(code, 0, "{out}{error}");
    for client in [&elsewhere, &attacker] {
        client.sign_in(Some("golden-years"), "nora.quist", PASSWORD).await?;
    }
    let admin = &scene.facility.organization.admin;
    let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
    let noted = events.iter().find(|event| event["details"]["what"] == "unlock");
    let by = &noted.with_context(|| format!("{events:?}"))?["details"]["by"];
    assert_eq!(by["locally"], true, "{by}");
    assert!(by["uid"].is_u64() && by["os_user"].is_string(), "{by}");
    let locks: Vec<_> = events.iter().filter(|event| event["details"]["what"] == "locked").collect();
    assert_eq!(locks.len(), 2, "one there, one everywhere: {locks:?}");
    for (name, words) in [("nobody", "user"), ("admin", "")] {
        let (code, out, error) =
            run("carepost-server", &[&unlock[..4], &[name], &unlock[5..]].concat(), &[]).await?;
        assert_eq!(code, i32::from(!words.is_empty()), "{out}{error}");
        assert!(error.contains(words), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_wrong_sign_ins_through_one_address_lock_nobody_else_behind_it() -> Result<()> {
    let scene = Scene::new(1).await?;
    let server = &scene.server;
    server.organization("Silver Lake", "silver-lake", "ALF_OPERATOR").await?;
    let api = server.api()?;
    for n in 0..101 {
        let answer = api.call(Method::POST, "/api/v1/sessions", Some(&wrong(&format!("name.{n}")))).await?;
        assert_eq!(answer.status, 401, "after {n}: {}", answer.text);
    }
    for (slug, name) in [("golden-years", "nora.quist"), ("silver-lake", "admin")] {
        api.sign_in(Some(slug), name, PASSWORD).await?;
    }
    // Each further wrong one is waited for, by whoever comes after it from there.
    let began = std::time::Instant::now();
    for n in 0..3 {
        api.call(Method::POST, "/api/v1/sessions", Some(&wrong(&format!("more.{n}")))).await?;
    }
    assert!(began.elapsed() > std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    from(server, 9)?.sign_in(Some("golden-years"), "admin", PASSWORD).await?;
    Ok(())
}

/// How many others were answered until this was.
async fn answered_first<T>(others: &AtomicUsize, asked: impl Future<Output = Result<T>>) -> Result<usize> {
    let before = others.load(Ordering::Relaxed);
    asked.await?;
    Ok(others.load(Ordering::Relaxed) - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_sign_ins_from_eighty_networks_hold_nobody_else_up_and_leave_no_memory_taken() -> Result<()> {
    let scene = Scene::new(1).await?;
    let server = &scene.server;
    let (admin, pin) = (&scene.facility.organization.admin, format!("/api/v1/users/{}/pin", scene.nora.id));
    let before = own_kib(server.pid())?;
    let (answered, mut flood) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for last in 101..=180 {
        let attacker = from(server, last)?;
        for n in 0..2 {
            let (attacker, answered) = (attacker.clone(), Arc::clone(&answered));
            flood.spawn(async move {
                for k in 0_u64.. {
                    // No name often enough for a lock: then nothing is hashed.
                    let wrong = wrong(&format!("name.{last}.{n}.{k}"));
                    let answer = attacker.call(Method::POST, "/api/v1/sessions", Some(&wrong)).await;
                    // Others were not hashed for: who is told to come again held nobody up.
                    if answer.is_ok_and(|answer| answer.status == 401) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }
    until("the flood to go round", PATIENCE, || async {
        ensure!(answered.load(Ordering::Relaxed) > 160, "{answered:?} were answered");
        Ok(())
    })
    .await?;
    // In a line for all, eighty were in front of whoever comes.
    for n in 0..5 {
        let body = json!({"pin": format!("48291{n}")});
        let first = answered_first(&answered, admin.put(&pin, &body)).await.context("a PIN")?;
        ensure!(first < 40, "{first} were answered before a PIN was set");
        let api = server.api()?;
        let signing = api.sign_in(Some("golden-years"), "admin", PASSWORD);
        let first = answered_first(&answered, signing).await.context("a sign-in from a known network")?;
        ensure!(first < 40, "{first} were answered before who has been there");
    }
    // Who never was there waits until each of the eighty had a turn, or comes again.
    let stranger = from(server, 9)?;
    until("a stranger's turn", PATIENCE, || async {
        stranger.sign_in(Some("golden-years"), "admin", PASSWORD).await.map(drop)
    })
    .await?;
    drop(flood);
    until("the memory to be given back", PATIENCE, || async {
        let after = own_kib(server.pid())?;
        ensure!(after < before + 40.0 * 1024.0, "{before} KiB became {after}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_of_sight_is_named_and_nothing_more_is_told() -> Result<()> {
    let mut scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    let hill = scene.facility.organization.facility("Hillside", "ALF", Some(8), 8).await?;
    let hillside = |username: &str, extra: Value| {
        let mut user = json!({"facility_id": hill.id, "username": username, "role": "facility_admin"});
        user.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
        user
    };
    let chief = admin.post("/api/v1/users", &hillside("hugo", json!({"email": "hugo@example.test"}))).await?;
    let path = format!("/api/v1/users/{}/password", text(&chief, "id")?);
    admin.put(&path, &json!({"password": PASSWORD})).await?;
    let hugo = scene.server.api()?.sign_in(Some("golden-years"), "hugo", PASSWORD).await?;
    // What is at Riverside, which he does not reach, and the same of his own.
    let riverside = json!({"facility_id": scene.facility.id, "username": "rita", "role": "rn",
        "email": "rita@example.test"});
    admin.post("/api/v1/users", &riverside).await?;
    let uuid = |n: u8| format!("0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e{n:02}");
    let device = |facility: &str, name: &str, n: u8| json!({"facility_id": facility, "device_name": name, "device_type": "TABLET", "device_uuid": uuid(n)});
    admin.post("/api/v1/devices", &device(&scene.facility.id, "Hall", 1)).await?;
    hugo.post("/api/v1/devices", &device(&hill.id, "Hall", 2)).await?;
    let patient =
        |facility: &str, mrn: &str| json!({"facility_id": facility, "mrn": mrn, "name": "Ada Other"});
    let resident = admin.post("/api/v1/patients", &patient(&scene.facility.id, "R-7")).await?;
    let own = text(&hugo.post("/api/v1/patients", &patient(&hill.id, "H-7")).await?, "id")?;
    let hires = |username: &str, email: &str| hillside(username, json!({"email": email, "role": "rn"}));
    for (path, field, there, here) in [
        ("/api/v1/users", "username", hires("rita", "a@example.test"), hires("hugo", "b@example.test")),
        ("/api/v1/users", "email", hires("new", "rita@example.test"), hires("new", "hugo@example.test")),
        ("/api/v1/devices", "device_uuid", device(&hill.id, "Den", 1), device(&hill.id, "Den", 2)),
    ] {
        let mut answers = Vec::new();
        for body in [&there, &here] {
            let mut answer = hugo.call(Method::POST, path, Some(body)).await?;
            assert_eq!(answer.status, 409, "{}", answer.text);
            assert_eq!(answer.body["errors"][0]["field"], field, "{}", answer.text);
            assert!(!answer.text.contains(&scene.facility.id) && !answer.text.contains("Riverside"));
            answer.body["request_id"].take();
            answers.push(answer.body);
        }
        assert_eq!(answers[0], answers[1], "it does not tell where the value is taken");
    }
    // Whose a number is, he is told of his own residents and of nobody else.
    let taken = async |mrn: &str| {
        let mut body = patient(&hill.id, mrn);
        body["confirmed"] = json!([format!("another person than {own}")]);
        hugo.call(Method::POST, "/api/v1/patients", Some(&body)).await
    };
    let (own, others) = (taken("H-7").await?, taken("R-7").await?);
    assert!(own.status == 409 && own.text.contains("mrn H-7 is of Ada Other"), "{}", own.text);
    assert!(others.status == 409 && others.text.contains("mrn is taken already"), "{}", others.text);
    let hidden = [&scene.facility.id, "Riverside", "Ada", resident["id"].as_str().unwrap()];
    assert!(hidden.iter().all(|word| !others.text.contains(*word)), "{}", others.text);
    // Who tries numbers out is written down, and counted.
    for _ in 0..20 {
        taken("R-7").await?;
    }
    // What he asks for is written down as it may be shown.
    assert_eq!(hugo.call(Method::GET, "/api/v1/users/x%1B%5B2J%C2%9By", None).await?.status, 404);
    let events = admin.get("/api/v1/audit-events?limit=1000").await?.to_string();
    assert!(events.contains("x[2Jy") && !events.contains('\u{9b}'), "{events}");

    scene.server.stop().await?;
    let refusals = refusals(&scene.server)?;
    assert_eq!(told(&refusals, "POST /api/v1/patients", "known"), (2, 22), "{refusals:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_does_not_say_who_speaks_gets_nothing() -> Result<()> {
    let scene = Scene::new(2).await?;
    let (server, port) = (&scene.server, scene.server.devices.port());
    let device = Device::enroll(&scene.folder_of("hall"), server, port, &scene.facility, "hall").await?;
    // The copy has the key, and leaves the header out.
    let copy = wire(server, Some(&identity(device.key.certificate_der(), device.key.pkcs8())))?;
    let beat = serde_json::to_value(device.heartbeat(Default::default()))?;
    let batch = device.chain(Lane::Care).batch(&[])?;
    let (id, resident) = (device.grant.device_id.to_string(), scene.resident()?.1);
    let is_of_devices =
        |it: &&Route| matches!(it.authorization, Authorization::ActiveDevice | Authorization::SpeakingDevice);
    let routes: Vec<&Route> = ROUTES.iter().filter(is_of_devices).collect();
    for headers in [vec![], vec![(BOOT_HEADER, "nobody")], vec![(BOOT_HEADER, "")]] {
        for route in &routes {
            let path = route
                .path_with(|kind| if kind == Parameter::Patient { resident.to_owned() } else { id.clone() });
            let body = match route.operation {
                "heartbeat" => beat.to_string(),
                "push" => batch.clone(),
                _ => String::new(),
            };
            let headers = [&headers[..], &JSON].concat();
            let answer = copy.send(route.method.clone(), &path, &headers, body.into_bytes()).await?;
            assert_eq!(answer.status, 403, "{path} {headers:?}: {}", answer.text);
            assert_eq!(answer.body["errors"][0]["field"], BOOT_HEADER, "{}", answer.text);
            assert!(answer.body["detail"].as_str().unwrap_or_default().contains("Update its agent"));
        }
    }
    // The device itself is served, and its administrator finds what spoke with its key.
    assert_eq!(device.wire(server)?.call(Method::GET, "/api/v1/sync/pull", None).await?.status, 200);
    let path = format!("/api/v1/audit-events?device_id={}", device.grant.device_id);
    let events = items(&scene.facility.organization.admin.get(&path).await?)?;
    let refused: Vec<_> = events.iter().filter(|event| event["success"] == false).collect();
    assert!(routes.len() > 4);
    assert_eq!(refused.len(), routes.len(), "one for each endpoint: {refused:?}");
    assert!(refused.iter().all(|event| event["details"]["why"].to_string().contains("carepost-boot")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_forks_without_end_waits_and_shows() -> Result<()> {
    let scene = Scene::new(1).await?;
    let (server, port) = (&scene.server, scene.server.devices.port());
    let device = Device::enroll(&scene.folder_of("hall"), server, port, &scene.facility, "hall").await?;
    let (_, resident) = scene.resident()?;
    let (nora, wire) = (device.nurse(scene.nora.id.parse()?), device.wire(server)?);
    let change = |note: &str| {
        let fields = json!({"systolic": 128, "diastolic": 77, "pulse": 71, "note": note});
        let fields = fields.as_object().cloned().unwrap_or_default();
        anyhow::Ok(serde_json::to_string(&device.vitals(&nora, resident.parse()?, fields))?)
    };
    let mut taken = 0;
    let (mut first, refused) = {
        let mut first = None;
        loop {
            let mut chain = device.chain(Lane::Care);
            let batch = chain.batch(&[change(&format!("life {taken}"))?])?;
            let answer = wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.into_bytes()).await?;
            if answer.status != 200 {
                break (first.context("not one incarnation was taken")?, answer);
            }
            taken += 1;
            first.get_or_insert(chain);
        }
    };
    assert_eq!(taken, 24);
    assert_eq!((refused.status, &refused.body["type"]), (429, &json!("/problems/too-many-tries")));
    assert!(refused.body["detail"].as_str().unwrap_or_default().contains("replace its card"), "{refused:?}");
    assert_eq!(refused.headers["retry-after"], "900");
    // The incarnation at hand is pushed on.
    let batch = first.batch(&[change("goes on")?])?;
    let answer = wire.send(Method::POST, "/api/v1/sync/push", &JSON, batch.into_bytes()).await?;
    assert_eq!(answer.body["verdicts"][0]["verdict"], "applied", "{}", answer.text);
    let path = format!("/api/v1/audit-events?device_id={}", device.grant.device_id);
    let events = items(&scene.facility.organization.admin.get(&path).await?)?;
    let noted = |words: &str| events.iter().filter(|event| event.to_string().contains(words)).count();
    assert_eq!((noted("replace its card"), noted("device_rolled_back")), (1, 23), "{events:?}");
    Ok(())
}

//! What devices write into the audit log is known as their word, whatever a hostile one makes of it.

use anyhow::{Context as _, Result, bail};
use carepost_protocol::change::Lane;
use carepost_protocol::time::Timestamp;
use carepost_tests::api::{Api, text};
use carepost_tests::children::{run, until};
use carepost_tests::device::{Chain, Device};
use carepost_tests::fixture::residents;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use serde_json::{Value, json};

use crate::cli::Terminal;

/// A facility with a device whose owner is hostile.
struct Hostile {
    scene: Scene,
    device: Device,
    chain: Chain,
}

impl Hostile {
    async fn new() -> Result<Self> {
        let scene = Scene::new(1).await?;
        let (folder, port) = (scene.folder_of("tablet"), scene.server.devices.port());
        let device = Device::enroll(&folder, &scene.server, port, &scene.facility, "Tablet").await?;
        let chain = device.chain(Lane::Audit);
        Ok(Self { scene, device, chain })
    }

    fn admin(&self) -> &Api {
        &self.scene.facility.organization.admin
    }

    /// An event as an honest agent writes it, with members of the device's choice.
    fn event(&self, members: &Value) -> Result<String> {
        let mut event = json!({
            "id": "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42", "timestamp": self.device.clock.now(),
            "clock_quality": "synced", "event_type": "phi_access", "action": "view", "success": true,
            "resource_type": "patient", "user_id": self.scene.nora.id,
        });
        let event = event.as_object_mut().context("an object")?;
        event.extend(members.as_object().context("an object")?.clone());
        Ok(serde_json::to_string(event)?)
    }

    async fn push(&mut self, events: &[String]) -> Result<()> {
        let batch = self.chain.batch(events)?;
        let receipt = self.device.upstream.push(batch.as_bytes()).await?;
        assert_eq!(receipt.next_n, self.chain.next_n, "nothing is held up: {receipt:?}");
        Ok(())
    }

    async fn log(&self, query: &str) -> Result<Vec<Value>> {
        items(&self.admin().get(&format!("/api/v1/audit-events?{query}")).await?)
    }

    /// What the device pushed, as the log has it.
    async fn pushed(&self) -> Result<Vec<Value>> {
        let mut found = self.log(&format!("device_id={}&limit=1000", self.device.grant.device_id)).await?;
        found.retain(|event| event["event_type"] == "phi_access");
        Ok(found)
    }

    async fn verifies(&self) -> Result<()> {
        let config = self.scene.server.config().display().to_string();
        let (code, out, error) =
            run("carepost-server", &["--config", &config, "audit", "verify"], &[]).await?;
        assert_eq!(code, 0, "{out}{error}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_event_shows_as_the_devices_word_and_names_nobody_unmarked() -> Result<()> {
    let mut hostile = Hostile::new().await?;
    let (golden, server) = (&hostile.scene.facility.organization, &hostile.scene.server);
    let lakeside = golden.facility("Lakeside", "ALF", Some(10), 1).await?;
    let omar = lakeside.nurse("Omar Reyes", "rn", "371640", "04B1B2C3D4E5F6").await?;
    let theirs = lakeside.admit(&residents("LS", 1, true)).await?.remove(0);
    let other = server.organization("Elsewhere", "elsewhere", "ALF_OPERATOR").await?;
    let foreign = text(&other.admin.get("/api/v1/sessions/current").await?, "user_id")?;
    let own = hostile.scene.resident()?.1.to_owned();
    let honest = hostile.event(&json!({"patient_id": own, "ip_address": "198.51.100.7"}))?;
    let forged = |user: &str| {
        hostile.event(&json!({
            "source": "server", "organization_id": other.id, "facility_id": lakeside.id, "device_id": omar.id,
            "received_at": "2001-01-01T00:00:00Z", "flags": [], "origin": null,
            "timestamp": "2099-01-01T00:00:00Z", "user_id": user, "patient_id": theirs,
            "session_id": "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e43", "endpoint": "DELETE /api/v1/users/{user_id}",
            "user_agent": "carepost-server/9", "ip_address": "the office",
        }))
    };
    let events = [honest, forged(&omar.id)?, forged(&foreign)?];
    let (organization, facility) = (golden.id.clone(), hostile.scene.facility.id.clone());
    let before = hostile.device.clock.now();
    hostile.push(&events).await?;

    let device = hostile.device.grant.device_id.to_string();
    let found = hostile.pushed().await?;
    assert_eq!(found.len(), 3, "{found:#?}");
    for event in &found {
        assert_eq!((&event["source"], &event["device_id"]), (&json!("device"), &json!(device)), "{event}");
        assert_eq!(
            (&event["organization_id"], &event["facility_id"]),
            (&json!(organization), &json!(facility))
        );
        assert_eq!(event["user_agent"], "carepost-agent/test", "as the server knows it: {event}");
        assert_eq!(event["endpoint"], Value::Null, "{event}");
        assert_ne!(event["id"], "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42", "the device chooses no id");
        let (at, received) = (moment(event, "timestamp")?, moment(event, "received_at")?);
        assert!(at <= received && received.after(PATIENCE) > before, "{event}");
    }
    let [second, first, honest] = found.as_slice() else { bail!("three") };
    for (event, user) in [(first, &omar.id), (second, &foreign)] {
        assert_eq!(event["flags"], json!(["clock_ahead", "actor_unknown", "patient_unknown"]), "{event}");
        assert_eq!(
            (&event["user_id"], &event["claimed_at"]),
            (&json!(user), &json!("2099-01-01T00:00:00.000Z"))
        );
        assert_eq!(event["ip_address"], Value::Null, "no address: {event}");
        assert_eq!(event["details"]["page"], "DELETE /api/v1/users/{user_id}", "as its word: {event}");
    }
    assert_eq!((&honest["flags"], &honest["patient_id"]), (&Value::Null, &json!(own)), "{honest}");
    assert_eq!(honest["ip_address"], "198.51.100.7", "its own word of its own address");
    assert_eq!(hostile.log(&format!("source=device&device_id={device}")).await?, found);
    // Nothing of it is among what the server saw, nor in another organization's log.
    let seen = hostile.log(&format!("source=server&user_id={}&limit=1000", omar.id)).await?;
    assert!(seen.iter().all(|event| event["source"] == "server"), "{seen:#?}");
    let seen = hostile.log(&format!("source=server&device_id={device}&limit=1000")).await?;
    assert!(seen.iter().all(|event| event["timestamp"] != "2099-01-01T00:00:00.000Z"), "{seen:#?}");
    let elsewhere = other.admin.get("/api/v1/audit-events?limit=1000").await?.to_string();
    assert!(!elsewhere.contains(&device) && elsewhere.contains("\"source\":\"server\""), "{elsewhere}");
    hostile.verifies().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_the_order_in_which_it_came() -> Result<()> {
    let mut hostile = Hostile::new().await?;
    let before = hostile.device.clock.now();
    // One id, one moment long ago: twelve hundred events that cannot be told apart by what they say.
    let event = |n: u32| hostile.event(&json!({"timestamp": "2001-09-09T01:46:40Z", "details": {"n": n}}));
    let events = (0..1_200).map(event).collect::<Result<Vec<_>>>()?;
    let (first, rest) = events.split_at(200);
    hostile.push(first).await?;
    let later = hostile.scene.facility.nurse("Pia Sand", "rn", "648201", "04C1B2C3D4E5F6").await?;

    // Backdating does not put it below what is older.
    let log = hostile.log("limit=1000").await?;
    let place = |what: &str, is: &dyn Fn(&Value) -> bool| log.iter().position(is).context(what.to_owned());
    let newest = place("hired", &|event| event["resource_id"] == json!(later.id))?;
    let backdated = place("backdated", &|event| event["details"]["n"].is_u64())?;
    let older =
        place("admitted", &|event| event["resource_type"] == "patient" && event["action"] == "create")?;
    assert!(newest < backdated && backdated < older, "by receipt: {newest} {backdated} {older}");

    hostile.push(rest).await?;
    let (mut numbers, mut page) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit-events?source=device&limit=500{page}");
        let answer = hostile.admin().get(&path).await?;
        let events = items(&answer)?;
        assert!(
            events.iter().all(|event| event["timestamp"] == "2001-09-09T01:46:40.000Z"),
            "its own time shows"
        );
        numbers.extend(events.iter().filter_map(|event| event["details"]["n"].as_u64()));
        let Some(next) = answer["next"].as_str() else { break };
        page = format!("&page={next}");
    }
    let expected: Vec<u64> = (0..1_200).rev().collect();
    assert_eq!(numbers, expected, "each once, the last received first");
    // Nor does it hide anything from who looks at what came today.
    let today = hostile.log(&format!("source=device&since={before}&limit=1000")).await?;
    assert_eq!(today.len(), 1_000);
    let nonsense = hostile.admin().call(reqwest::Method::GET, "/api/v1/audit-events?page=1", None).await?;
    assert_eq!(nonsense.status, 422, "{}", nonsense.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_thousands_of_events_is_listed_though_a_page_before_it_holds_none() -> Result<()> {
    let mut hostile = Hostile::new().await?;
    let (nobody, session) = ("0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42", "0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e43");
    let hers = hostile.event(&json!({"session_id": session}))?;
    hostile.push(&[hers]).await?;
    let nobodys = hostile.event(&json!({"session_id": session, "user_id": nobody}))?;
    for _ in 0..5 {
        hostile.push(&vec![nobodys.clone(); 1_000]).await?;
    }
    let nora = hostile.scene.nora.id.clone();
    let path = format!("/api/v1/audit-events?session_id={session}&user_id={nora}");
    let page = hostile.admin().get(&path).await?;
    assert!(items(&page)?.is_empty() && page["next"].is_string(), "{page}");
    let kept = hostile.scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &hostile.scene.server, session: kept };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let found = terminal.does(&["audit", "list", "--session-id", session, "--user", &nora]).await?;
    assert_eq!((items(&found)?.len(), found["next"].as_str()), (1, None), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_says_is_bounded() -> Result<()> {
    let mut hostile = Hostile::new().await?;
    let (large, long) = ("x".repeat(200 * 1024), format!("one\nline {}", "y".repeat(10_000)));
    let many: serde_json::Map<String, Value> = (0..9_000).map(|n| (format!("k{n}"), n.into())).collect();
    let events = [
        hostile.event(&json!({"details": {"reason": large}}))?,
        hostile.event(&json!({"details": many}))?,
        hostile.event(
            &json!({"resource_type": long, "resource_id": long, "username": long, "endpoint": long}),
        )?,
        hostile.event(&json!({"details": {"reason": "the last"}}))?,
    ];
    hostile.push(&events).await?;
    let found = hostile.pushed().await?;
    assert_eq!(found.len(), 4, "{}", found.len());
    assert_eq!(found[0]["details"], json!({"reason": "the last"}), "what is small stays");
    for event in &found {
        assert!(event.to_string().len() < 1_500, "{} bytes", event.to_string().len());
    }
    for (event, bytes) in [(&found[2], 100_000), (&found[3], 200_000)] {
        assert_eq!(event["flags"], json!(["details_cut"]), "{event}");
        assert!(event["details"]["bytes"].as_u64().is_some_and(|cut| cut > bytes), "{event}");
    }
    let words = &found[1];
    for word in
        [&words["resource_type"], &words["resource_id"], &words["username"], &words["details"]["page"]]
    {
        let word = word.as_str().context("a word")?;
        assert!(word.starts_with("oneline y") && word.len() == 100, "{word:?}");
    }
    hostile.verifies().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosk_says_its_address_its_reader_and_which_unknown_card_it_saw() -> Result<()> {
    let scene = Scene::new(1).await?;
    let mut hall = scene.kiosk("hall").await?;
    // A card, another, the first again, which is another tap then.
    let cards = ["04FFFFFFFFFFFF", "04EEEEEEEEEEEE", "04FFFFFFFFFFFF"];
    for card in cards {
        hall.tap(card).await?;
    }
    hall.sign_in(&scene.nora).await?;
    let admin = &scene.facility.organization.admin;
    let found = until("the taps in the log", PATIENCE, || async {
        let found = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
        let taps: Vec<_> = found.into_iter().filter(|event| event["details"]["reason"].is_string()).collect();
        let taps: Vec<_> = taps.into_iter().filter(|event| event["event_type"] == "badge").collect();
        if taps.len() == 4 { Ok(taps) } else { bail!("{taps:#?}") }
    })
    .await?;
    let reader = hall.reader()?.socket().display().to_string();
    for event in &found {
        assert_eq!(event["details"]["reader"], json!(reader), "{event}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(event["user_agent"], json!(format!("carepost-agent/{version}")), "{event}");
        let address: std::net::IpAddr = text(event, "ip_address")?.parse()?;
        assert_eq!(address, own_address()?, "{event}");
        let said = event.to_string();
        assert!(cards.iter().chain([&scene.nora.uid.as_str()]).all(|uid| !said.contains(uid)), "{said}");
    }
    let [known, third, second, first] = found.as_slice() else { bail!("four taps") };
    // A badge has the name under which the office lists it.
    let badge = admin.get(&format!("/api/v1/badges/{}", scene.nora.badge)).await?;
    assert_eq!((&known["user_id"], &known["details"]["badge"]), (&json!(scene.nora.id), &badge["card"]));
    let masks = [first, second, third].map(|event| event["details"]["badge"].as_str().unwrap_or_default());
    assert!(masks[0] == masks[2] && masks[0] != masks[1], "which card it was shows: {masks:?}");
    for mask in masks {
        let digits = mask.strip_suffix("...").context("it says that it is cut")?;
        assert!(digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{mask}");
    }
    taps_on(&mut hall, [cards[1], cards[0]], &scene.nora.uid, admin).await
}

/// From the fourth tap of a card on they are counted, and the count is told when the agent stops.
async fn taps_on(hall: &mut Kiosk, cards: [&str; 2], own: &str, admin: &Api) -> Result<()> {
    for card in cards.repeat(3) {
        hall.tap(card).await?;
    }
    // Her own tap locks the screen: those before it were seen.
    hall.tap(own).await?;
    hall.says(&["Tap your badge"]).await?;
    hall.stop().await?;
    hall.start().await?;
    until("the counted taps in the log", PATIENCE, || async {
        let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
        let taps = events.iter().filter(|event| event["details"]["reason"] == "unknown_badge");
        let mut counts: Vec<Option<u64>> = taps.map(|tap| tap["details"]["count"].as_u64()).collect();
        counts.sort_unstable();
        // They were tapped once and twice before.
        if counts == [vec![None; 6], vec![Some(1), Some(2)]].concat() { Ok(()) } else { bail!("{counts:?}") }
    })
    .await
}

/// Of this machine, towards the world; loopback where there is none.
fn own_address() -> Result<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    Ok(routed.map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address| address.ip()))
}

fn moment(event: &Value, key: &str) -> Result<Timestamp> {
    Ok(text(event, key)?.parse()?)
}

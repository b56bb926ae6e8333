//! Badges are issued by what a card is, and not by what is printed on it: by a tap, or by its UID.

use anyhow::{Context as _, Result, bail};
use carepost_protocol::zone::Zone;
use carepost_tests::api::text;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Kiosk, PATIENCE};
use carepost_tests::scene::Scene;
use carepost_tests::world::items;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Terminal, by_clock};

/// The card on whose back `0009876543 150,46143` is printed.
const CARD: &str = "0096B43F";

#[tokio::test(flavor = "multi_thread")]
async fn the_number_printed_on_a_card_is_explained_and_its_tap_issues_it() -> Result<()> {
    let scene = Scene::new(1).await?;
    let admin = &scene.facility.organization.admin;
    let (hall, wing) = (scene.kiosk("hall").await?, scene.kiosk("wing").await?);
    let session = scene.folder_of("session.json").display().to_string();
    let terminal = Terminal { server: &scene.server, session };
    terminal.does(&["sign-in", "admin", "--of", "golden-years"]).await?;
    let badges = format!("/api/v1/users/{}/badges", scene.nora.id);
    for printed in ["0009876543", "9876543", "150,46143"] {
        let (code, _, said) = terminal.types(&["badge", "issue", "nora.quist", "--uid", printed]).await?;
        let explained = said.contains("printed on a card") && said.contains("0096B43F or 3FB49600");
        assert!(code == 1 && explained && said.contains("--last-tap"), "{code}: {said}");
        let body = json!({"user_id": scene.nora.id, "uid": printed});
        let answer = admin.call(Method::POST, "/api/v1/badges", Some(&body)).await?;
        let why = text(&answer.body["errors"][0], "detail")?;
        assert!(answer.status == 422 && why.contains("0096B43F or 3FB49600"), "{why}");
    }
    // Bytes that no card has.
    let (code, _, said) = terminal.types(&["badge", "issue", "nora.quist", "--uid", "04A1B2C3D4"]).await?;
    assert!(code == 1 && said.contains("and this has 5"), "{code}: {said}");
    assert_eq!(admin.get(&badges).await?["items"].as_array().map(Vec::len), Some(1), "nothing was guessed");

    // Nobody types a number.
    let (code, _, said) = terminal.types(&["badge", "issue", "nora.quist", "--last-tap", "hall"]).await?;
    assert!(code == 1 && said.contains("no unknown card was tapped"), "{code}: {said}");
    hall.tap(CARD).await?;
    hall.says(&["This badge is not known here"]).await?;
    let tap = tapped(&scene, "hall", &Value::Null).await?;
    let chicago = Zone::named("America/Chicago").context("no zone")?;
    let (code, _, said) = terminal.types(&["badge", "issue", "nora.quist", "--last-tap", "hall"]).await?;
    assert!(
        code == 1 && said.contains("nothing was done") && said.contains(&by_clock(&chicago, &tap["at"])?),
        "{said}"
    );
    for word in ["hall", "Nora Quist", text(&tap, "card")?.as_str()] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    let yes = ["badge", "issue", "nora.quist", "--last-tap", "hall", "--yes"];
    terminal.does(&yes).await?;
    opens(&scene, &hall, CARD).await?;
    let (code, _, said) = terminal.types(&yes).await?;
    assert!(code == 1 && said.contains("409"), "it is hers already: {said}");

    // What was seen is what is issued, and no other card that came since.
    let seen = tapped(&scene, "hall", &Value::Null).await?;
    hall.tap("0411223344AABB").await?;
    let second = tapped(&scene, "hall", &seen["card"]).await?;
    let hall_id = text(&scene.facility.device("hall").await?, "id")?;
    let path = format!("/api/v1/devices/{hall_id}/issue-tapped-badge");
    let body = |card: &Value| json!({"user_id": scene.nora.id, "card": card});
    let answer = admin.call(Method::POST, &path, Some(&body(&seen["card"]))).await?;
    assert!(answer.status == 422 && answer.text.contains("another card was tapped"), "{}", answer.text);

    // Under keys that were laid over the first as well.
    let wing_id = text(&scene.facility.device("wing").await?, "id")?;
    admin.post(&format!("/api/v1/devices/{wing_id}/deactivate"), &json!({"reason": "lost"})).await?;
    wing.says(&["This device is no longer in use"]).await?;
    admin.post(&path, &body(&second["card"])).await?;
    opens(&scene, &hall, "0411223344AABB").await?;

    // The card's own number is nowhere.
    let log = admin.get("/api/v1/audit-events?limit=1000").await?;
    // What the isolation matrix cannot do is in the log like all else.
    for done in
        ["organizations", "enrollments/{enrollment_id}/confirm", "devices/{device_id}/issue-tapped-badge"]
    {
        let endpoint = format!("POST /api/v1/{done}");
        let is_of = |event: &Value| event["endpoint"] == endpoint && event["success"] == true;
        assert!(items(&log)?.iter().any(is_of), "no {endpoint} in {log}");
    }
    let log = log.to_string();
    assert!(!log.contains(CARD) && !hall.log().contains(CARD) && !scene.server.log().contains(CARD));
    // Whoever revokes one is asked with whose it is.
    let (code, _, said) = terminal.types(&["badge", "revoke", &scene.nora.badge]).await?;
    assert!(code == 1 && said.contains("of Nora Quist (nora.quist, rn) that was issued at 20"), "{said}");
    assert_eq!(admin.get(&format!("/api/v1/badges/{}", scene.nora.badge)).await?["is_active"], true);
    // A user's name is enough where she has one, and whoever revokes it is told what goes on.
    let (code, _, said) = terminal.types(&["badge", "revoke", "nora.quist"]).await?;
    assert!(code == 1 && said.contains("several badges") && said.contains(&scene.nora.badge), "{said}");
    let mut open = items(&terminal.does(&["badge", "list", "nora.quist"]).await?)?;
    let last = text(&open.pop().context("no badge")?, "id")?;
    for badge in &open {
        terminal.does(&["badge", "revoke", &text(badge, "id")?, "--yes"]).await?;
    }
    let olaf = json!({"facility_id": scene.facility.id, "username": "olaf", "display_name": "Olaf Reed", "role": "rn"});
    let olaf = text(&admin.post("/api/v1/users", &olaf).await?, "id")?;
    let taken = json!({"user_id": olaf, "uid": scene.nora.uid});
    let taken = admin.call(Method::POST, "/api/v1/badges", Some(&taken)).await?;
    assert_eq!((taken.status, &taken.body["errors"][0]["field"]), (409, &"badge".into()), "{}", taken.text);
    assert!(taken.text.contains("is the badge of Nora Quist (nora.quist)"), "{}", taken.text);
    let (code, said, _) = terminal.types(&["badge", "revoke", "nora quist", "--yes"]).await?;
    assert!(code == 0 && said.contains(&last) && said.contains("Sessions that are open go on"), "{said}");
    let (code, _, said) = terminal.types(&["badge", "revoke", "nora.quist", "--yes"]).await?;
    assert!(code == 1 && said.contains("no badge that opens anything"), "{said}");
    // And a device of another facility issues nobody's badge here.
    let other = scene.facility.organization.facility("Hillside", "ALF", None, 3).await?;
    let olga = other.nurse("Olga Reyes", "rn", "371640", "04A1B2C3D4E5F7").await?;
    let body = json!({"user_id": olga.id, "card": second["card"]});
    let answer = admin.call(Method::POST, &path, Some(&body)).await?;
    assert!(answer.status == 422 && answer.text.contains("home facility"), "{}", answer.text);
    Ok(())
}

/// Waits until the server knows of an unknown card at a device, another than `but`.
async fn tapped(scene: &Scene, device: &str, but: &Value) -> Result<Value> {
    until("the tap at the server", PATIENCE, || async {
        let device = scene.facility.device(device).await?;
        let tap = device.get("unknown_tap").context("no such field")?;
        if tap.is_object() && tap["card"] != *but { Ok(tap.clone()) } else { bail!("{tap}") }
    })
    .await
}

/// The card is Nora's at that kiosk.
async fn opens(scene: &Scene, kiosk: &Kiosk, uid: &str) -> Result<()> {
    kiosk.tap_until(uid, &[&scene.nora.name, "Enter your PIN"]).await?;
    kiosk.post("/pin/cancel", &[]).await?;
    kiosk.says(&["Tap your badge"]).await.map(drop)
}

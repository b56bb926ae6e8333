//! A device's copy is proven equal to the server's; one that differs says so until it is mended.

use anyhow::{Context as _, Result, bail};
use carepost_agent::identity::{Factors, Vault};
use carepost_agent::sqlite::FileKey;
use carepost_host::sqlcipher;
use carepost_tests::children::until;
use carepost_tests::kiosk::{Badges, Kiosk, PATIENCE};
use carepost_tests::scene::{Scene, vitals};
use carepost_tests::world::items;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

const OFTEN: &str = "[mirror]\ncheck_every = 1\n";

/// The mirror of a kiosk whose agent does not run, as somebody with its key opens it behind its back.
struct Mirror {
    path: std::path::PathBuf,
    key: FileKey,
}

impl Mirror {
    fn of(kiosk: &Kiosk) -> Result<Self> {
        let factors = Factors::read(&kiosk.folder.join("factors"))?;
        let vault = Vault::open(&kiosk.folder.join("state"), &factors, None)?;
        Ok(Self { path: vault.mirror_path(), key: vault.mirror_key().clone() })
    }

    fn open(&self) -> Result<Connection> {
        let connection = sqlcipher::connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        sqlcipher::give_key(&connection, self.key.as_bytes())?;
        Ok(connection)
    }

    /// Meddles with rows; there have to be some.
    fn meddle(&self, sql: &str) -> Result<()> {
        let rows = self.open()?.execute(sql, [])?;
        if rows == 0 {
            bail!("no row is touched by {sql}")
        }
        Ok(())
    }
}

/// Waits until the server says so of a device's sync.
async fn sync_is(scene: &Scene, device: &str, status: &str, reasons: &[&str]) -> Result<Value> {
    until(&format!("{device} to be {status}"), PATIENCE, || async {
        let device = scene.facility.device(device).await?;
        let told = (device.get("sync_status"), device.get("sync_reasons"));
        if told == (Some(&json!(status)), Some(&json!(reasons))) { Ok(device) } else { bail!("{device}") }
    })
    .await
}

/// Waits until that happened to a collection of the device, as the audit log has it: how it was found.
async fn is_audited(scene: &Scene, reason: &str, collection: &str) -> Result<String> {
    until(&format!("{reason} of {collection}"), PATIENCE, || async {
        let admin = &scene.facility.organization.admin;
        let events = items(&admin.get("/api/v1/audit-events?limit=1000").await?)?;
        let found = events
            .iter()
            .find(|event| event["details"]["reason"] == reason && event["resource_id"] == collection);
        let Some(event) = found else { bail!("no such event among {}", events.len()) };
        Ok(event["details"]["found_by"].as_str().context("no found_by")?.to_owned())
    })
    .await
}

/// How many collections the device says it had to fetch again.
async fn mended_itself(hall: &Kiosk, scene: &Scene, collection: &str) -> Result<()> {
    assert_eq!(is_audited(scene, "mirror_differed", collection).await?, "device_check");
    assert_eq!(is_audited(scene, "mirror_mended", collection).await?, "server_digest");
    until("nothing to differ", PATIENCE, || async {
        let status = hall.status().await?;
        if status.get("differs").is_none() { Ok(()) } else { bail!("{status}") }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_edited_behind_its_back_shows_as_out_of_sync_until_it_is_mended() -> Result<()> {
    let scene = Scene::new(5).await?;
    let mut hall = scene.kiosk_with("hall", Badges::Scripted, OFTEN).await?;
    hall.stop().await?;
    let mirror = Mirror::of(&hall)?;
    let (name, _) = scene.resident()?;
    mirror.meddle(&format!(
        "UPDATE documents SET body = CAST(replace(CAST(body AS TEXT), '{name}', 'Somebody Else') AS BLOB)
         WHERE collection = 5 AND CAST(body AS TEXT) LIKE '%{name}%'"
    ))?;

    hall.link.cut();
    hall.start().await?;
    hall.status_is("differs", json!(["patients"])).await?;
    hall.says(&["This device's copy of the residents differs from the server's", "Tap your badge"]).await?;
    assert_eq!(hall.command(&["status"]).await?.0, 5, "it needs attention");
    // What was found is in the file; from here on nothing can be written to it, so nothing is mended.
    let held = mirror.open()?;
    held.execute_batch("BEGIN IMMEDIATE")?;
    hall.link.restore();
    sync_is(&scene, "hall", "OUT_OF_SYNC", &["mirror_differs"]).await?;
    hall.sign_in(&scene.nora).await?;
    hall.says(&["Somebody Else", "It is being fetched again"]).await?;

    held.execute_batch("ROLLBACK")?;
    drop(held);
    sync_is(&scene, "hall", "SYNCED", &[]).await?;
    mended_itself(&hall, &scene, "patients").await?;
    let page = hall.says(&[name]).await?;
    assert!(!page.contains("Somebody Else"), "{page}");
    assert!(!page.contains("differs"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_deleted_or_added_behind_its_back_is_mended_while_people_chart() -> Result<()> {
    let scene = Scene::new(3).await?;
    let mut hall = scene.kiosk_with("hall", Badges::Scripted, OFTEN).await?;
    let (name, id) = scene.resident()?;
    hall.sign_in(&scene.nora).await?;
    for note in ["First", "Second"] {
        hall.chart(name, "vitals", &vitals(note)).await?;
    }
    scene.has_notes(id, &["First".to_owned(), "Second".to_owned()]).await?;
    hall.stop().await?;
    let mirror = Mirror::of(&hall)?;
    hall.start().await?;
    hall.status_is("link", "ONLINE").await?;
    // Under the running agent.
    mirror.meddle("DELETE FROM documents WHERE collection = 6 AND CAST(body AS TEXT) LIKE '%First%'")?;
    mirror.meddle(
        "INSERT INTO documents (collection, id, seq, pass, body, element)
         SELECT collection, x'0102030405060708090a0b0c0d0e0f10', seq, pass, body, element
         FROM documents WHERE collection = 2",
    )?;
    mended_itself(&hall, &scene, "records").await?;
    mended_itself(&hall, &scene, "users").await?;
    hall.sign_in(&scene.nora).await?;
    let path = hall.path_of(name).await?;
    hall.page_says(&path, &["First", "Second"]).await?;
    sync_is(&scene, "hall", "SYNCED", &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filtered_copies_are_proven_equal_too() -> Result<()> {
    let scene = Scene::new(3).await?;
    let admin = &scene.facility.organization.admin;
    for (name, what) in [
        ("minimal", json!({"phi_mode": "minimal"})),
        ("free", json!({"phi_mode": "free"})),
        ("door", json!({"device_type": "BADGE_READER"})),
    ] {
        let mut kiosk = scene.kiosk_with(name, Badges::Scripted, OFTEN).await?;
        let device = scene.facility.device(name).await?;
        let id = device["id"].as_str().context("no id")?;
        admin.put(&format!("/api/v1/devices/{id}"), &what).await?;
        kiosk.stop().await?;
        let mirror = Mirror::of(&kiosk)?;
        kiosk.start().await?;
        until("the view's own copy", PATIENCE, || async { is_filtered(&mirror, name, &scene) }).await?;
        sync_is(&scene, name, "SYNCED", &[]).await?;
        // Nothing was found to differ on the way there; what is planted now is, and is mended.
        assert!(!kiosk.log().contains("the mirror differs"), "{}", kiosk.log());
        mirror.meddle(
            "UPDATE documents SET body = CAST(CAST(body AS TEXT) || ' ' AS BLOB) WHERE collection = 2",
        )?;
        until("the planted difference", PATIENCE, || async {
            if kiosk.log().contains("is equal to the server's feed again") {
                Ok(())
            } else {
                bail!("not yet")
            }
        })
        .await?;
        sync_is(&scene, name, "SYNCED", &[]).await?;
        is_filtered(&mirror, name, &scene)?;
    }
    Ok(())
}

/// Whether a device's file holds what its view has, and no more.
fn is_filtered(mirror: &Mirror, name: &str, scene: &Scene) -> Result<()> {
    let connection = mirror.open()?;
    let mut statement =
        connection.prepare("SELECT CAST(body AS TEXT) FROM documents WHERE collection = 5")?;
    let patients: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let whole = scene.residents.iter().any(|(name, _)| patients.iter().any(|body| body.contains(name)));
    let expected = if name == "door" { 0 } else { scene.residents.len() };
    if whole || patients.len() != expected {
        bail!("{name} has {} residents, whole: {whole}", patients.len())
    }
    Ok(())
}

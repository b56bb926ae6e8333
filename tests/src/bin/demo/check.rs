//! The whole story without a person. A step counts only when it was seen from outside: on a page that a
//! kiosk shows, in the server's API, on another device.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use carepost_tests::children::until;
use carepost_tests::kiosk::Kiosk;
use carepost_tests::world::Nurse;
use reqwest::Method;
use serde_json::{Value, json};

use crate::scene::{Place, Scene, Site};

const VITALS: [(&str, &str); 5] = [
    ("systolic", "128"),
    ("diastolic", "77"),
    ("pulse", "71"),
    ("position", "Sitting"),
    ("note", "After breakfast, in good spirits"),
];
/// What tells this record from every other.
const TRACE: &str = "in good spirits";
/// A heartbeat comes every minute, give or take a tenth.
const HEARTBEAT: Duration = Duration::from_secs(75);

/// After so long the same badge on the same reader is another tap.
const ONE_TAP: Duration = Duration::from_millis(1_200);

/// Plays it. Returns the scene, still running.
///
/// # Errors
/// With the first step that was not seen.
pub(crate) async fn run(folder: &Path) -> Result<Scene> {
    let mut teller = Teller { started: Instant::now(), steps: 0 };
    let scene = teller.step("a server, two clinics, a facility, four kiosks", Scene::build(folder)).await?;
    if let Some(why) = &scene.no_pcscd {
        super::say(&format!("           badges are scripted here, not behind pcscd: {why}"));
    }
    let riverside = scene.site(Place::Riverside)?;
    teller.step("48 beds, 44 residents: 91.67 % occupied, 4 free", occupancy(riverside)).await?;
    for post in &scene.posts {
        let facility = &scene.site(post.place)?.facility;
        let words = format!("{} enrolled at {} by code and number", post.kiosk.name, facility.name);
        teller.step(&words, facility.enroll(&post.kiosk)).await?;
    }
    let mut story = Story::of(&scene)?;
    story.tell(&mut teller).await?;
    for place in [Place::Alpha, Place::Beta] {
        let words = format!("nothing of it at {}: kiosk and administrator", scene.site(place)?.facility.name);
        teller.step(&words, story.nothing_at(place)).await?;
    }
    teller.step("heartbeats: all four devices online, SYNCED, readers ready", story.heartbeats()).await?;
    let total = teller.started.elapsed().as_secs_f64();
    super::say(&format!("\nAll {} steps were seen from outside, in {total:.1} s.", teller.steps));
    Ok(scene)
}

/// Says each step with the time it took.
struct Teller {
    started: Instant,
    steps: u32,
}

impl Teller {
    async fn step<T>(&mut self, words: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let outcome = step.await;
        let took = started.elapsed().as_secs_f64();
        self.steps += 1;
        match &outcome {
            Ok(_) => super::say(&format!("  seen  {took:5.2} s  {words}")),
            Err(_) => super::say(&format!("  NOT SEEN, after {took:.2} s: {words}")),
        }
        outcome.with_context(|| format!("not seen: {words}"))
    }
}

async fn occupancy(site: &Site) -> Result<()> {
    let path = format!("/api/v1/facilities/{}", site.facility.id);
    let shown = site.facility.organization.admin.get(&path).await?;
    let figures = (shown.get("occupancy_rate"), shown.get("available_beds"));
    ensure!(figures == (Some(&json!(91.67)), Some(&json!(4))), "the API shows {shown}");
    Ok(())
}

/// Who does what to whom, where.
struct Story<'a> {
    scene: &'a Scene,
    riverside: &'a Site,
    nora: &'a Nurse,
    hall: &'a Kiosk,
    med: &'a Kiosk,
    /// The resident: id, name, the path of the page.
    id: &'a str,
    name: &'a str,
    page: String,
    /// When the nurse's badge was last on the hall kiosk's reader.
    tapped: Instant,
}

impl<'a> Story<'a> {
    fn of(scene: &'a Scene) -> Result<Self> {
        let riverside = scene.site(Place::Riverside)?;
        let (id, resident) = riverside.residents.first().context("nobody lives there")?;
        Ok(Self {
            scene,
            riverside,
            nora: &riverside.staff.first().context("nobody works there")?.nurse,
            hall: &scene.post("hall")?.kiosk,
            med: &scene.post("med")?.kiosk,
            id,
            name: &resident.name,
            page: format!("/residents/{id}"),
            tapped: Instant::now(),
        })
    }

    async fn tell(&mut self, teller: &mut Teller) -> Result<()> {
        let (nurse, name) = (&self.nora.name, self.name);
        teller.step(&format!("{nurse} taps and types her PIN"), self.hall.sign_in(self.nora)).await?;
        self.tapped = Instant::now();
        teller.step("all 44 residents on the hall kiosk", self.residents_are_shown()).await?;
        self.hall.link.cut();
        teller
            .step(
                "network cut: the hall kiosk says so",
                self.hall.says(&["Internet down since", "You can keep charting"]),
            )
            .await?;
        teller.step(&format!("{name}'s vitals charted: \"Saved here\""), self.chart()).await?;
        teller.step("the server has nothing yet", self.not_on_the_server()).await?;
        self.hall.link.restore();
        teller
            .step(
                "network back: \"Sent\" on the hall kiosk",
                self.hall.page_says(&self.page, &[TRACE, "Sent", "Connected"]),
            )
            .await?;
        teller.step("the record is in the server's API, once", self.on_the_server()).await?;
        teller.step("and on the med room's kiosk", self.on_the_second_kiosk()).await?;
        teller.step("her own badge locks the hall kiosk, its page is blank", self.lock()).await
    }

    async fn residents_are_shown(&self) -> Result<()> {
        let said = self.hall.says(&[self.name, "Connected"]).await?;
        let missing: Vec<_> =
            self.riverside.residents.iter().filter(|(_, it)| !said.contains(&it.name)).collect();
        ensure!(missing.is_empty(), "{} are missing: {said}", missing.len());
        ensure!(self.riverside.residents.len() == 44, "there should be 44");
        Ok(())
    }

    async fn chart(&self) -> Result<()> {
        self.hall.chart(self.name, "vitals", &VITALS).await?;
        self.hall.page_says(&self.page, &["Saved here", "128 mmHg", TRACE, &self.nora.name]).await?;
        self.hall.says(&["1 entry waiting"]).await?;
        Ok(())
    }

    async fn not_on_the_server(&self) -> Result<()> {
        let records = self.riverside.facility.records(self.id).await?;
        ensure!(records.is_empty(), "it is there already: {records:?}");
        Ok(())
    }

    async fn on_the_server(&self) -> Result<()> {
        let records = self.riverside.facility.has_records(self.id, 1).await?;
        let record = records.first().context("none")?;
        ensure!(record.pointer("/values/systolic") == Some(&json!(128)), "{record}");
        ensure!(record.get("recorded_by") == Some(&json!(self.nora.id)), "{record}");
        Ok(())
    }

    async fn on_the_second_kiosk(&self) -> Result<()> {
        self.med.sign_in(self.nora).await?;
        self.med.page_says(&self.page, &["128 mmHg", TRACE, &self.nora.name, "Sent"]).await?;
        Ok(())
    }

    async fn lock(&self) -> Result<()> {
        // The same badge twice within a second is one tap.
        tokio::time::sleep(ONE_TAP.saturating_sub(self.tapped.elapsed())).await;
        self.hall.tap(&self.nora.uid).await?;
        let said = self.hall.says(&["Tap your badge", "Undo lock"]).await?;
        ensure!(!said.contains(self.name), "a resident shows: {said}");
        let page = self.hall.get(&self.page).await?;
        ensure!(!page.html.contains(TRACE) && !page.html.contains(self.name), "{}", page.words());
        Ok(())
    }

    /// Neither its pages nor its administrator's session show the resident, the record or the devices.
    async fn nothing_at(&self, place: Place) -> Result<()> {
        let site = self.scene.site(place)?;
        let post = self.scene.posts.iter().find(|post| post.place == place).context("no kiosk there")?;
        let (_, own) = site.residents.first().context("nobody is cared for there")?;
        post.kiosk.sign_in(&site.staff.first().context("nobody works there")?.nurse).await?;
        post.kiosk.says(&[&own.name]).await?;
        for path in ["/", &self.page, &format!("{}/chart/vitals", self.page)] {
            let page = post.kiosk.get(path).await?;
            let shown = [self.name, TRACE].iter().any(|trace| page.html.contains(trace));
            ensure!(!shown, "{} shows at {path}: {}", post.kiosk.name, page.words());
        }
        let admin = &site.facility.organization.admin;
        for path in [
            format!("/api/v1/patients/{}", self.id),
            format!("/api/v1/patients/{}/records", self.id),
            format!("/api/v1/facilities/{}", self.riverside.facility.id),
            format!("/api/v1/facilities/{}/devices", self.riverside.facility.id),
        ] {
            let answer = admin.call(Method::GET, &path, None).await?;
            ensure!(answer.status == 404, "{path} answered {}: {}", answer.status, answer.body);
        }
        let patients = admin.get("/api/v1/patients").await?.to_string();
        ensure!(patients.contains(&own.name), "its own patients are not listed: {patients}");
        ensure!(!patients.contains(self.name), "{} is listed: {patients}", self.name);
        Ok(())
    }

    /// Each device's last heartbeat tells of now: the hall's and the med room's came after the record.
    async fn heartbeats(&self) -> Result<()> {
        let records = self.riverside.facility.records(self.id).await?;
        let charted = records.first().and_then(|record| record.get("recorded_at")).and_then(Value::as_str);
        let charted = charted.context("the record has no time")?.to_owned();
        for post in &self.scene.posts {
            let facility = &self.scene.site(post.place)?.facility;
            until(&format!("a good heartbeat of {}", post.kiosk.name), HEARTBEAT, || async {
                let device = facility.device(&post.kiosk.name).await?;
                let good = [
                    ("is_online", json!(true)),
                    ("state", json!("ACTIVE")),
                    ("sync_status", json!("SYNCED")),
                    ("rejected", json!(0)),
                    ("reader", json!("READY")),
                    ("encrypted", json!(true)),
                ];
                let seen = device.get("last_seen").and_then(Value::as_str).unwrap_or_default();
                if post.place == Place::Riverside && *seen < *charted {
                    bail!("its last heartbeat at {seen} is older than the record of {charted}");
                }
                match good.iter().find(|(key, value)| device.get(key) != Some(value)) {
                    None => Ok(()),
                    Some((key, _)) => {
                        bail!("{key} is {}: {device}", device.get(key).unwrap_or(&Value::Null))
                    }
                }
            })
            .await?;
        }
        Ok(())
    }
}

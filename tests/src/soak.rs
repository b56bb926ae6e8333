//! A week offline: a real agent whose outbox holds very many entries meets the real server again.
//!
//! The entries are made by the outbox's own `append`, each care change with the read-audit events of the
//! round it was charted on, so that both chains, every signature and every index are the real ones. A
//! week of saves is a week of syncs to disk; here the file lies in memory (`/dev/shm`) while it is filled
//! and is put in its place afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use carepost_agent::clock::Clock;
use carepost_agent::identity::{Factors, Vault};
use carepost_agent::outbox::{Binding, Entry, Outbox, OutboxOpening};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::Change;
use carepost_protocol::id::{AuditId, PatientId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Chart, Permit, Resource, Role, authorize};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::enroll::Grant;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::appetite::{cpu_seconds, peak_kib, rss_kib};
use crate::device::Device;
use crate::fixture::{Random, vitals};
use crate::kiosk::{Badges, Kiosk};
use crate::ledger::Tally;
use crate::scene::Scene;
use crate::world::{NOBODY_IS_SLOWED, items};

const WEEK: i64 = 7 * 24 * 3600 * 1000;
/// Room for a million entries and more; the default is for a week as weeks are.
const ROOM: &str = "[outbox]\nmax_mib = 8192";
const PAGE: usize = 1000;

/// How much waits.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Care changes.
    pub care: usize,
    /// Read-audit events with each of them.
    pub audit_each: usize,
    /// How long nothing of it may move on.
    pub patience: Duration,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub struct Appetite {
    /// Seconds until everything was acknowledged.
    pub seconds: f64,
    /// The agent's processor time meanwhile, seconds.
    pub agent_cpu: f64,
    pub server_cpu: f64,
    /// The most of the agent that was in memory, MiB.
    pub agent_peak: f64,
    /// The most of the server.
    pub server_peak: f64,
    /// The server's memory before, MiB.
    pub server_before: f64,
    /// Bytes up and down, TLS included.
    pub bytes: (u64, u64),
    /// The outbox's file, MiB.
    pub file: f64,
}

/// A scene whose kiosk has everything still to send.
pub struct Soak {
    plan: Plan,
    scene: Scene,
    kiosk: Kiosk,
    grant: Grant,
}

impl Soak {
    /// Makes the server, the kiosk and what waits on it. How long the filling took as well.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn prepare(plan: Plan) -> Result<(Self, Duration)> {
        let mut scene = Scene::new(44).await?;
        scene.server.configure(NOBODY_IS_SLOWED).await?;
        let mut kiosk = scene.kiosk_with("hall", Badges::None, ROOM).await?;
        kiosk.stop().await?;
        let nurse = scene.nora.id.parse()?;
        let residents = scene.residents.iter().map(|(_, id)| Ok(id.parse()?)).collect::<Result<Vec<_>>>()?;
        let folder = kiosk.folder.clone();
        let began = Instant::now();
        let filled = tokio::task::spawn_blocking(move || fill(&folder, plan, nurse, &residents)).await??;
        Ok((Self { plan, scene, kiosk, grant: filled }, began.elapsed()))
    }

    /// Starts the agent and waits until it has sent everything.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn drain(&mut self) -> Result<Appetite> {
        let file = self.kiosk.folder.join("state/outbox.db").metadata()?.len();
        let server = self.scene.server.pid();
        let (server_before, cpu_before) = (rss_kib(server)? / 1024.0, cpu_seconds(server)?);
        let bytes = || (self.kiosk.link.bytes_up(), self.kiosk.link.bytes_down());
        let (up, down) = bytes();
        let began = Instant::now();
        self.kiosk.start().await?;
        let agent = self.kiosk.pid();
        let mut still = Still { at: began, what: 0 };
        loop {
            let status = self.kiosk.status().await?;
            let waiting = status.get("waiting").and_then(Value::as_u64).context("waiting")?;
            let online = status.get("link").is_some_and(|link| link == "ONLINE");
            if waiting == 0 && online {
                break;
            }
            if still.lasts(waiting) > self.plan.patience {
                bail!("{waiting} still wait after {:?}: {status}", began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        // The page counts care; the audit lane is empty when the server has the last event.
        loop {
            let last = self.last_audit_event().await?;
            if last >= self.plan.care * self.plan.audit_each {
                break;
            }
            if still.lasts(last as u64) > self.plan.patience {
                bail!("audit events still wait after {:?}: the last is {last}", began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        let (up_after, down_after) = (self.kiosk.link.bytes_up(), self.kiosk.link.bytes_down());
        #[allow(clippy::cast_precision_loss)]
        Ok(Appetite {
            seconds,
            agent_cpu: cpu_seconds(agent)?,
            server_cpu: cpu_seconds(server)? - cpu_before,
            agent_peak: peak_kib(agent)? / 1024.0,
            server_peak: peak_kib(server)? / 1024.0,
            server_before,
            bytes: (up_after - up, down_after - down),
            file: file as f64 / 1_048_576.0,
        })
    }

    /// Counts at the server what was numbered on the device: the care changes as a new device would get
    /// them, the audit events as an administrator reads them.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn tally(&self) -> Result<(Tally, Tally)> {
        let (server, facility) = (&self.scene.server, &self.scene.facility);
        let folder = self.scene.folder_of("looker");
        let looker = Device::enroll(&folder, server, server.devices.port(), facility, "looker").await?;
        let mut care = Tally::new(self.plan.care);
        looker
            .each_note(|note| care.count(note.strip_prefix("Entry ").and_then(|number| number.parse().ok())))
            .await?;
        let mut audit = Tally::new(self.plan.care * self.plan.audit_each);
        let mut next = None;
        loop {
            let (page, after) = self.audit_page(next.as_deref(), PAGE).await?;
            page.into_iter().for_each(|number| audit.count(number));
            next = after;
            if next.is_none() {
                return Ok((care, audit));
            }
        }
    }

    async fn last_audit_event(&self) -> Result<usize> {
        let mut next = None;
        loop {
            let (page, after) = self.audit_page(next.as_deref(), 1).await?;
            // A page may be empty where more was looked through than one page does.
            if !page.is_empty() || after.is_none() {
                return Ok(page.first().copied().flatten().map_or(0, |number| number + 1));
            }
            next = after;
        }
    }

    /// The number in each of the agent's audit events that were filled in, latest first, and where the next
    /// page begins.
    async fn audit_page(
        &self,
        next: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Option<usize>>, Option<String>)> {
        let admin: &Api = &self.scene.facility.organization.admin;
        let (device, user) = (self.grant.device_id, &self.scene.nora.id);
        let page = next.map(|next| format!("&page={next}")).unwrap_or_default();
        let path = format!("/api/v1/audit-events?device_id={device}&user_id={user}&limit={limit}{page}");
        let answer = admin.get(&path).await?;
        let number = |event: &Value| event.pointer("/details/number")?.as_u64()?.try_into().ok();
        let numbers = items(&answer)?.iter().map(number).collect();
        Ok((numbers, answer.get("next").and_then(Value::as_str).map(str::to_owned)))
    }
}

/// For how long a figure has stayed as it is.
struct Still {
    at: Instant,
    what: u64,
}

impl Still {
    fn lasts(&mut self, what: u64) -> Duration {
        if what != self.what {
            *self = Self { at: Instant::now(), what };
        }
        self.at.elapsed()
    }
}

/// Fills the outbox of a stopped agent.
fn fill(folder: &Path, plan: Plan, nurse: UserId, residents: &[PatientId]) -> Result<Grant> {
    let factors = Factors::read(&folder.join("factors"))?;
    let vault = Vault::open(&folder.join("state"), &factors, None)?;
    let grant = vault.grant()?.context("the kiosk is not enrolled")?;
    let clock = Clock::new(None);
    let memory = match Path::new("/dev/shm") {
        shm if shm.is_dir() => TempDir::new_in(shm)?,
        _ => TempDir::new()?,
    };
    let (place, home) = (memory.path().join("outbox.db"), vault.outbox_path());
    move_file(&home, &place)?;
    let outbox = Outbox::open(OutboxOpening {
        path: &place,
        key: vault.outbox_key(),
        binding: Binding::from(&grant),
        device_key: Arc::clone(vault.device_key()),
        max_mib: 8192,
        now: clock.now(),
        is_begun: false,
        runs: true,
    })?;
    let actor = Actor {
        user: nurse,
        session: SessionId::new(clock.now(), clock.random()),
        role: Role::Rn,
        organization: Some(grant.organization_id),
        facility: Some(grant.facility_id),
    };
    let permit = authorize(&actor, Resource::Facility(grant.organization_id, grant.facility_id))?;
    let week = Week { plan, actor, grant: &grant, clock: &clock, began: clock.now().plus_millis(-WEEK) };
    week.live_through(&outbox, &permit, residents)?;
    drop(outbox);
    move_file(&place, &home)?;
    Ok(grant)
}

struct Week<'a> {
    plan: Plan,
    actor: Actor,
    grant: &'a Grant,
    clock: &'a Clock,
    began: Timestamp,
}

impl Week<'_> {
    fn live_through(&self, outbox: &Outbox, permit: &Permit<Chart>, residents: &[PatientId]) -> Result<()> {
        let mut random = Random::new(7);
        for at in 0..self.plan.care {
            let patient = *residents.get(at % residents.len()).context("a resident")?;
            let mut fields = vitals(&mut random);
            fields.insert("note".to_owned(), json!(format!("Entry {at}")));
            let change = self.change(patient, fields);
            let first = at * self.plan.audit_each;
            let audit = |_| (first..first + self.plan.audit_each).map(|n| self.event(n, patient)).collect();
            outbox.append(permit, Entry { change: &change, token: &format!("form {at}") }, audit)?;
        }
        Ok(())
    }

    fn change(&self, patient: PatientId, fields: Map<String, Value>) -> Change {
        let by = (self.actor.user, self.actor.session);
        // She was hired today: the server asks who could chart when.
        let stamp = (self.clock.now(), ClockQuality::Synced);
        Change {
            patient: Some(patient),
            workflow: Some("vitals".into()),
            schema_version: Some(1),
            ..Change::create(by, self.grant.assignment_id, Collection::Records, fields, stamp)
        }
    }

    fn event(&self, number: usize, patient: PatientId) -> AuditEvent {
        let all = i64::try_from(self.plan.care * self.plan.audit_each).unwrap_or(i64::MAX).max(1);
        let part = i64::try_from(number).unwrap_or(i64::MAX);
        let timestamp = self.began.plus_millis(part.saturating_mul(WEEK) / all);
        let (id, stamp) = (AuditId::new(timestamp, self.clock.random()), (timestamp, ClockQuality::Synced));
        let event = AuditEvent::new(id, stamp, AuditEventType::PhiAccess, AuditAction::View, "patient")
            .organization(Some(self.grant.organization_id))
            .device(self.grant.device_id)
            .by(self.actor.user, Some(self.actor.session))
            .patient(patient, self.grant.facility_id)
            .detail("number", number);
        AuditEvent { endpoint: Some("/residents".to_owned()), ..event }
    }
}

/// Moves a database with what belongs to it; across file systems.
fn move_file(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (name(from), name(to));
        if from.exists() {
            std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            std::fs::File::open(&to)?.sync_all()?;
            std::fs::remove_file(&from)?;
        } else {
            ensure!(!suffix.is_empty(), "there is no {}", from.display());
        }
    }
    Ok(())
}

//! A device without a kiosk: the agent's own rooms, driven by hand.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use carepost_agent::clock::Clock;
use carepost_agent::identity::DeviceKey;
use carepost_agent::mirror::{Mirror, MirrorOpening, Page};
use carepost_agent::outbox::{Binding, Entry, Outbox, OutboxOpening, Saved, Shape};
use carepost_agent::sqlite::FileKey;
use carepost_agent::upstream::{Credentials, Page as PulledPage, PageStream, StreamEvent, Upstream};
use carepost_protocol::change::{Change, Lane, Link, PayloadHash};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{BootId, DeviceUuid, IncarnationId, PatientId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Chart, Permit, ReadPatients, Resource, Role, authorize};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::enroll::{EnrollRequest, EnrollResponse, Grant};
use carepost_protocol::wire::heartbeat::{Heartbeat, QueueState, ReaderState};
use carepost_protocol::wire::pull::SyncPosition;
use carepost_protocol::wire::push::{MAX_BYTES, MAX_CHANGES};
use serde_json::{Map, Value, json};

use crate::api::{Api, text};
use crate::world::{Facility, Server};

/// A device with its key, its files and its line to the server.
pub struct Device {
    /// What the server granted.
    pub grant: Grant,
    /// Its line to the server.
    pub upstream: Upstream,
    /// Its copy of the facility's data.
    pub mirror: Arc<Mirror>,
    /// What exists nowhere else.
    pub outbox: Arc<Outbox>,
    pub clock: Arc<Clock>,
    pub key: Arc<DeviceKey>,
    /// The process that it is.
    pub boot: BootId,
}

impl Device {
    /// Enrolls a new device at a facility. `port` is where it reaches the server: the server's own, or
    /// that of a link.
    ///
    /// # Errors
    /// When a step of it fails.
    pub async fn enroll(
        folder: &Path,
        server: &Server,
        port: u16,
        facility: &Facility,
        name: &str,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let key = Arc::new(DeviceKey::generate()?);
        let clock = Arc::new(Clock::new(None));
        let boot = BootId::new(clock.now(), clock.random());
        let upstream = connect_as(server, port, &key, &clock, boot)?;
        let request = EnrollRequest {
            device_uuid: DeviceUuid::from_bytes(clock.random()),
            mac_addresses: Vec::new(),
            hostname: name.to_owned(),
            agent_version: "test".to_owned(),
            token: None,
        };
        let EnrollResponse::Pending { user_code, .. } = upstream.enroll(&request).await? else {
            bail!("a new key is not pending");
        };
        let admin = &facility.organization.admin;
        let body = json!({"code": user_code, "facility_id": facility.id, "device_name": name,
            "device_type": "TABLET"});
        let approved = admin.post("/api/v1/enrollments/approve", &body).await?;
        let EnrollResponse::Confirming { number, .. } = upstream.enroll(&request).await? else {
            bail!("an approved device is not confirming");
        };
        let path = format!("/api/v1/enrollments/{}/confirm", text(&approved, "enrollment_id")?);
        admin.post(&path, &json!({ "number": number })).await?;
        let EnrollResponse::Active { grant } = upstream.enroll(&request).await? else {
            bail!("a confirmed device is not active");
        };
        let mirror = open_mirror(&folder.join("mirror.db"), &grant)?;
        let outbox = Outbox::open(OutboxOpening {
            path: &folder.join("outbox.db"),
            key: &FileKey::from_bytes([7; 32]),
            binding: Binding::from(&grant),
            device_key: Arc::clone(&key),
            max_mib: 512,
            now: clock.now(),
            is_begun: false,
            runs: true,
        })?;
        Ok(Self { grant, upstream, mirror, outbox: Arc::new(outbox), clock, key, boot })
    }

    /// Its line to the server, byte by byte.
    ///
    /// # Errors
    /// When its certificate cannot be used.
    pub fn wire(&self, server: &Server) -> Result<Api> {
        let nobody = wire(server, Some(&identity(self.key.certificate_der(), self.key.pkcs8())))?;
        Ok(nobody.speaking_as(self.boot))
    }

    /// A chain of its own making, which its outbox knows nothing of.
    #[must_use]
    pub fn chain(&self, lane: Lane) -> Chain {
        let incarnation = IncarnationId::new(self.clock.now(), self.clock.random());
        let head = Link::genesis(self.grant.device_id, incarnation, lane);
        Chain { key: Arc::clone(&self.key), lane, incarnation, next_n: 1, head }
    }

    /// A heartbeat with that queue, from an agent that does not say whether it is encrypted.
    #[must_use]
    pub fn heartbeat(&self, queue: QueueState) -> Heartbeat {
        let (stamp, incarnation) = ((self.clock.now(), ClockQuality::Synced), self.outbox.incarnation());
        Heartbeat {
            uptime: 1,
            encrypted: true,
            queue,
            cursor: self.mirror.cursor().ok().flatten(),
            ..Heartbeat::new("test", stamp, ReaderState::None, incarnation)
        }
    }

    /// Somebody who charts here, under a session of her own.
    #[must_use]
    pub fn nurse(&self, user: UserId) -> Actor {
        Actor {
            user,
            session: SessionId::new(self.clock.now(), self.clock.random()),
            role: Role::Rn,
            organization: Some(self.grant.organization_id),
            facility: Some(self.grant.facility_id),
        }
    }

    /// Her permit to chart.
    ///
    /// # Errors
    /// When her role does not allow it.
    pub fn may_chart(&self, nurse: &Actor) -> Result<Permit<Chart>> {
        Ok(authorize(nurse, Resource::Facility(self.grant.organization_id, self.grant.facility_id))?)
    }

    /// Her permit to read.
    ///
    /// # Errors
    /// When her role does not allow it.
    pub fn may_read(&self, nurse: &Actor) -> Result<Permit<ReadPatients>> {
        Ok(authorize(nurse, Resource::Facility(self.grant.organization_id, self.grant.facility_id))?)
    }

    /// A round of vitals, as the kiosk makes it.
    #[must_use]
    pub fn vitals(&self, nurse: &Actor, patient: PatientId, fields: Map<String, Value>) -> Change {
        let (by, stamp) = ((nurse.user, nurse.session), (self.clock.now(), ClockQuality::Synced));
        Change {
            patient: Some(patient),
            workflow: Some("vitals".into()),
            schema_version: Some(1),
            ..Change::create(by, self.grant.assignment_id, Collection::Records, fields, stamp)
        }
    }

    /// Saves a change.
    ///
    /// # Errors
    /// When it is not saved.
    pub fn save(&self, nurse: &Actor, change: &Change) -> Result<Saved> {
        let token = hex(&self.clock.random::<8>());
        let entry = Entry { change, token: &token };
        Ok(self.outbox.append(&self.may_chart(nurse)?, entry, |_| Vec::new())?)
    }

    /// Pushes until nothing waits in the care lane.
    ///
    /// # Errors
    /// When a push is not acknowledged.
    pub async fn push_all(&self) -> Result<()> {
        let whole = Shape::Plain { changes: MAX_CHANGES, bytes: MAX_BYTES };
        while let Some(batch) = self.outbox.batch(Lane::Care, whole)? {
            let receipt = self.upstream.push(&batch.body).await?;
            self.outbox.settle(&batch.sent, &receipt)?;
        }
        Ok(())
    }

    /// Calls `see` with the note of each record in the facility's feed, pulled from its beginning: what the
    /// server would give to a new device, and none of this one's own.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn each_note(&self, mut see: impl FnMut(&str)) -> Result<()> {
        let mut stream = self.upstream.live(&SyncPosition::at(None)).await?;
        loop {
            let StreamEvent::Page(page) = stream.next().await?.context("the stream ended")? else { continue };
            for line in page.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_slice(line)?;
                if let Some(note) = line.pointer("/body/values/note").and_then(Value::as_str) {
                    see(note);
                }
            }
            if page.end.reaches_head() {
                return Ok(());
            }
        }
    }

    /// The notes of all records in the facility's feed, as [`each_note`](Self::each_note) finds them.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn notes_of_the_feed(&self) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        self.each_note(|note| notes.push(note.to_owned())).await?;
        Ok(notes)
    }

    /// Pulls into a mirror until it has all there is; the stream goes on from there.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn pull_all(&self, mirror: &Arc<Mirror>) -> Result<PageStream> {
        let mut stream = self.upstream.live(&mirror.beginning()?.sync_position()).await?;
        let mut applying: Option<tokio::task::JoinHandle<Result<()>>> = None;
        loop {
            let event = stream.next().await?.context("the stream ended before the head")?;
            let StreamEvent::Page(PulledPage { lines, end, .. }) = event else { continue };
            // As the agent does: the next page is read and checked while this one is applied.
            let checked = tokio::task::spawn_blocking(move || Page::from_lines(&lines)).await??;
            if let Some(applied) = applying.take() {
                applied.await??;
            }
            let (at_head, mirror) = (end.reaches_head(), Arc::clone(mirror));
            applying = Some(tokio::task::spawn_blocking(move || {
                mirror.apply(&checked, &end)?;
                Ok(())
            }));
            if at_head {
                if let Some(applied) = applying.take() {
                    applied.await??;
                }
                return Ok(stream);
            }
        }
    }
}

/// A chain that a test writes by hand.
#[derive(Clone)]
pub struct Chain {
    /// The incarnation of the outbox it claims to be of.
    pub incarnation: IncarnationId,
    /// The number of its next change.
    pub next_n: u64,
    /// The link of its last change.
    pub head: Link,
    key: Arc<DeviceKey>,
    lane: Lane,
}

impl Chain {
    /// The next changes as a batch, signed; each is sent exactly as it is written.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn batch(&mut self, changes: &[String]) -> Result<String> {
        let (first, previous) = (self.next_n, self.head);
        for change in changes {
            self.head = self.head.next(self.next_n, &PayloadHash::of(change.as_bytes()));
            self.next_n += 1;
        }
        let signature = hex(&self.key.sign(self.head.as_bytes())?);
        Ok(format!(
            r#"{{"lane":"{}","incarnation":"{}","first_n":{first},"previous":"{previous}","head":"{}","signature":"{signature}","changes":[{}]}}"#,
            self.lane.name(),
            self.incarnation,
            self.head,
            changes.join(","),
        ))
    }
}

/// The devices' listener as somebody with that certificate and key (PEM), or none, reaches it.
///
/// # Errors
/// When the certificate cannot be used.
pub fn wire(server: &Server, own: Option<&str>) -> Result<Api> {
    let base = format!("https://localhost:{}", server.devices.port());
    Api::with_certificate(&base, &std::fs::read(&server.ca)?, own)
}

/// A certificate and its key in PKCS #8, as PEM.
#[must_use]
pub fn identity(certificate: &[u8], pkcs8: &[u8]) -> String {
    let pem = |label, der| {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    format!("{}{}", pem("PRIVATE KEY", pkcs8), pem("CERTIFICATE", certificate))
}

/// A client with that key, at that port, as a process of its own.
///
/// # Errors
/// When TLS cannot be set up.
pub fn connect(server: &Server, port: u16, key: &DeviceKey, clock: &Arc<Clock>) -> Result<Upstream> {
    connect_as(server, port, key, clock, BootId::new(clock.now(), clock.random()))
}

fn connect_as(
    server: &Server,
    port: u16,
    key: &DeviceKey,
    clock: &Arc<Clock>,
    boot: BootId,
) -> Result<Upstream> {
    let own = Credentials::new(key.certificate_der(), key.pkcs8());
    let base = format!("https://localhost:{port}").parse()?;
    Ok(Upstream::new(
        &carepost_agent::config::Server { url: base, ca_file: None, proxy: None },
        Some(&std::fs::read(&server.ca)?),
        &own,
        Arc::clone(clock),
        Some(boot),
    )?)
}

/// An empty mirror of the facility of that grant.
///
/// # Errors
/// When the disk refuses.
pub fn open_mirror(path: &Path, grant: &Grant) -> Result<Arc<Mirror>> {
    let (mirror, _) = Mirror::open(&MirrorOpening {
        path,
        key: &FileKey::from_bytes([9; 32]),
        facility: (grant.organization_id, grant.facility_id),
        cache_kib: carepost_agent::mirror::DEFAULT_CACHE_KIB,
    })?;
    Ok(Arc::new(mirror))
}

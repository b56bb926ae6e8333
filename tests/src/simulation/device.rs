//! A device of a story: its two real files, and the agent's engine and clock over them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use carepost_agent::mirror::{Mirror, MirrorOpening};
use carepost_agent::outbox::{Binding, Entry, Outbox, OutboxOpening};
use carepost_agent::sqlite::FileKey;
use carepost_agent_core::clock::Clock;
use carepost_agent_core::sync::{Engine, StreamId, SyncEffect, SyncEvent};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind, Lane};
use carepost_protocol::id::{AuditId, SessionId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Chart, ManagePatients, Resource, Role, authorize};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::facility::{Enrolled, Place, START, Template, millis};

/// A change that the kiosk called saved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    /// What tells it from every other of the story.
    pub(super) mark: i64,
    /// How often the server must have it in the end.
    pub(super) due: Due,
}

/// What somebody saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saves {
    /// A record with a mark that no other change has.
    Record,
    /// A record that breaks a rule.
    Nonsense,
    /// Another room for the resident.
    Room,
}

/// How often a change must be in its facility's feed in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It was saved.
    Once,
    /// It breaks a rule: it must be rejected, and be kept.
    Never,
    /// The only disk that held it is gone; it may have been on its way.
    AtMostOnce,
}

pub(super) struct Device {
    pub(super) enrolled: Enrolled,
    pub(super) made: Vec<Made>,
    /// Counts its starts: what was sent by an earlier one concerns nobody.
    pub(super) boot: u64,
    pub(super) live: Option<Live>,
    /// Whether its past is another's too: what it holds of rejected entries says nothing.
    pub(super) forked: bool,
    place: Place,
    folder: PathBuf,
    /// How wrong its own clock is.
    skew: i64,
    floor: Option<Timestamp>,
}

/// A device that is switched on.
pub(super) struct Live {
    pub(super) outbox: Outbox,
    pub(super) mirror: Mirror,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) stream: Option<StreamId>,
    /// Pages that came while one was applied.
    pub(super) inbox: VecDeque<carepost_server::store::Page>,
    pub(super) applying: bool,
    /// Tells the wake-up call that counts from those before it.
    pub(super) wake: u64,
    nurse: Actor,
}

impl Live {
    /// Where it stands, as it tells the server when it asks for a stream.
    pub(super) fn sync_position(&self) -> Result<SyncPosition> {
        let position = self.outbox.position()?;
        Ok(SyncPosition {
            incarnation: Some(position.incarnation),
            care: position.care,
            audit: position.audit,
            ..self.mirror.beginning()?.sync_position()
        })
    }
}

impl Device {
    pub(super) fn new(
        folder: &Path,
        enrolled: &Enrolled,
        template: &Template,
        rng: &mut Rng,
    ) -> Result<Self> {
        let folder = folder.join(enrolled.grant.device_id.to_string());
        std::fs::create_dir_all(&folder)?;
        // Most clocks are right; some are hours off, some stand in 1970, some in 2099.
        let skew = match rng.u32(0..6) {
            0 => rng.i64(-36_000_000..36_000_000),
            1 => -START,
            2 => 2_300_000_000_000,
            _ => 0,
        };
        let place = template.place(enrolled.place).clone();
        Ok(Self {
            enrolled: enrolled.clone(),
            made: Vec::new(),
            boot: 0,
            live: None,
            forked: false,
            place,
            folder,
            skew,
            floor: None,
        })
    }

    pub(super) fn place(&self) -> usize {
        self.enrolled.place
    }

    pub(super) fn mirror_path(&self) -> PathBuf {
        self.folder.join("mirror.db")
    }

    /// The clock on its wall, wrong as it is.
    pub(super) fn wall(&self, now: Duration) -> Timestamp {
        Timestamp::from_millis(START + millis(now) + self.skew)
    }

    /// Switches it on: opens what lies on its disk.
    pub(super) fn start(&mut self, now: Duration) -> Result<()> {
        self.boot += 1;
        let mut clock = Clock::new(self.floor, now);
        let (time, _) = clock.now(self.wall(now), now);
        let grant = &self.enrolled.grant;
        let (mirror, _) = Mirror::open(&MirrorOpening {
            path: &self.mirror_path(),
            key: &mirror_key(),
            facility: (grant.organization_id, grant.facility_id),
            cache_kib: 256,
        })?;
        let outbox = Outbox::open(OutboxOpening {
            path: &self.folder.join("outbox.db"),
            key: &FileKey::from_bytes([8; 32]),
            binding: Binding::from(grant),
            device_key: Arc::clone(&self.enrolled.key),
            max_mib: 64,
            now: time,
            is_begun: false,
            runs: true,
        })?;
        let nurse = Actor {
            user: self.place.nurse,
            session: SessionId::new(time, [u8::try_from(self.boot % 250)?; 10]),
            role: Role::Rn,
            organization: Some(grant.organization_id),
            facility: Some(grant.facility_id),
        };
        self.live = Some(Live {
            outbox,
            mirror,
            engine: Engine::default(),
            clock,
            stream: None,
            inbox: VecDeque::new(),
            applying: false,
            wake: 0,
            nurse,
        });
        Ok(())
    }

    /// Pulls the plug: what was in memory is gone.
    pub(super) fn stop(&mut self) {
        self.live = None;
    }

    /// Copies its disk, as it is in the middle of a run: what a pulled plug would leave.
    pub(super) fn copy_disk(&self) -> Result<()> {
        copy_folder(&self.folder, &self.copy_folder())
    }

    /// Puts the copy in the place of its disk; says whether there was one. What was saved since, and is
    /// not with the server, is lost with the disk.
    pub(super) fn restore_disk(&mut self, is_known: impl Fn(i64) -> bool) -> Result<bool> {
        if !self.copy_folder().exists() {
            return Ok(false);
        }
        self.stop();
        std::fs::remove_dir_all(&self.folder)?;
        copy_folder(&self.copy_folder(), &self.folder)?;
        self.forked = true;
        for made in self.made.iter_mut().filter(|made| made.due == Due::Once && !is_known(made.mark)) {
            made.due = Due::AtMostOnce;
        }
        Ok(true)
    }

    /// A second device that starts from the copy of this one's disk; none where there is no copy.
    pub(super) fn clone_from_copy(&self) -> Option<Self> {
        let folder = self.copy_folder();
        folder.exists().then(|| Self {
            enrolled: self.enrolled.clone(),
            made: Vec::new(),
            // No run of the one is ever taken for the other's.
            boot: self.boot + 1_000_000,
            live: None,
            forked: true,
            place: self.place.clone(),
            folder,
            skew: self.skew,
            floor: self.floor,
        })
    }

    fn copy_folder(&self) -> PathBuf {
        self.folder.with_extension("copy")
    }

    /// Somebody saves something about one of the residents.
    pub(super) fn save(&mut self, now: Duration, mark: i64, what: Saves, resident: usize) -> Result<bool> {
        let wall = self.wall(now);
        let Some(live) = &mut self.live else { return Ok(false) };
        let (time, quality) = live.clock.now(wall, now);
        let grant = &self.enrolled.grant;
        let place = Resource::Facility(grant.organization_id, grant.facility_id);
        let patient = self.place.patients[resident % self.place.patients.len()];
        let by = (live.nurse.user, live.nurse.session);
        let values = fields("mark", json!(if what == Saves::Nonsense { -mark } else { mark }));
        let charted = Change {
            patient: Some(patient),
            workflow: Some("marks".into()),
            schema_version: Some(1),
            ..Change::create(by, grant.assignment_id, Collection::Records, values, (time, quality))
        };
        let change = match what {
            Saves::Record | Saves::Nonsense => charted,
            // Whoever edits has seen all that the mirror has.
            Saves::Room => Change {
                kind: ChangeKind::Patch,
                collection: Collection::Patients,
                record: Some(patient.into()),
                base_seq: live.mirror.cursor()?.map(|cursor| cursor.seq),
                workflow: None,
                schema_version: None,
                fields: fields("room", json!(format!("R{mark}"))),
                ..charted
            },
        };
        let entry = Entry { change: &change, token: &format!("form-{mark}") };
        let audit = heard_of(time, quality, mark);
        if what == Saves::Room {
            live.outbox.append(&authorize::<ManagePatients>(&live.nurse, place)?, entry, |_| vec![audit])?;
        } else {
            live.outbox.append(&authorize::<Chart>(&live.nurse, place)?, entry, |_| vec![audit])?;
        }
        match what {
            Saves::Record => self.made.push(Made { mark, due: Due::Once }),
            Saves::Nonsense => self.made.push(Made { mark, due: Due::Never }),
            // Whether it stands is the merge's to say; that it is taken shows in what is rejected.
            Saves::Room => {}
        }
        Ok(true)
    }

    /// Gives the engine an event; what it wants done.
    pub(super) fn engine(&mut self, event: SyncEvent, now: Duration, random: u64) -> Vec<SyncEffect> {
        let wall = self.wall(now);
        let Some(live) = &mut self.live else { return Vec::new() };
        let (time, _) = live.clock.now(wall, now);
        live.engine.on(event, time, now, random)
    }

    /// The server said its time.
    pub(super) fn hear(&mut self, server: Timestamp, sent: Option<Duration>, now: Duration) {
        let Some(live) = &mut self.live else { return };
        let kept = match sent {
            Some(sent) => live.clock.compared(server, sent, now),
            None => live.clock.heard(server),
        };
        self.floor = kept.or(self.floor);
    }

    /// What waits in a lane.
    pub(super) fn waiting(&self, lane: Lane) -> Result<u64> {
        let Some(live) = &self.live else { return Ok(0) };
        let counts = live.outbox.counts()?;
        Ok(match lane {
            Lane::Care => counts.care,
            Lane::Audit => counts.audit,
        })
    }

    /// Whether it is on, and all it has is with the server.
    pub(super) fn has_nothing_to_send(&self) -> bool {
        self.live.is_some()
            && Lane::ALL.into_iter().all(|lane| self.waiting(lane).is_ok_and(|waiting| waiting == 0))
    }

    /// Up to where its mirror is complete.
    pub(super) fn cursor(&self) -> Result<Option<Cursor>> {
        Ok(match &self.live {
            Some(live) => live.mirror.cursor()?,
            None => None,
        })
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn fields(key: &str, value: Value) -> Map<String, Value> {
    [(key.to_owned(), value)].into_iter().collect()
}

pub(super) fn mirror_key() -> FileKey {
    FileKey::from_bytes([9; 32])
}

fn heard_of(timestamp: Timestamp, clock_quality: ClockQuality, mark: i64) -> AuditEvent {
    let id = AuditId::new(timestamp, [u8::try_from(mark % 250).unwrap_or(0); 10]);
    let stamp = (timestamp, clock_quality);
    AuditEvent::new(id, stamp, AuditEventType::PhiAccess, AuditAction::Create, "record").on(mark)
}

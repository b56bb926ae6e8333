//! The latest heartbeats: kept in memory, written in batches about once a second. `last_seen` needs
//! no commit of its own, and whoever reads a device sees the fresh value laid over the row. The thread
//! that writes them also looks once a day after the feeds of facilities whose devices are heard: old
//! tombstones are purged, old records archived.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use carepost_protocol::id::DeviceId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::Heartbeat;
use rusqlite::params;

use super::column::{count, json, word};
use super::engine::{Engine, Reach, Tx};
use super::{Ambient, Device, StoreError, View, archive, budget, horizon};
use crate::scope::FacilityScope;

/// How long news waits for company before it is written.
const GATHER: Duration = Duration::from_secs(1);
/// How often a facility's feed is looked after.
const PURGE_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// The longest name of a collection that is kept, and the most of them.
const MAX_NAME: usize = 64;
const MAX_NAMES: usize = 32;

/// For how long things stay in the feeds, and how much devices hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// How long tombstones are kept.
    pub tombstones: Duration,
    /// For how many days records stay, where a facility does not say otherwise.
    pub record_days: u32,
    /// The most documents that a device may have to hold.
    pub most_documents: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        let tombstones = Duration::from_secs(90 * 24 * 3_600);
        Self { tombstones, record_days: 90, most_documents: 250_000 }
    }
}

/// What was heard of devices, and what of it is not written yet.
#[derive(Debug)]
pub(super) struct Presence {
    state: Mutex<State>,
    stirred: Condvar,
    ambient: Ambient,
    keeping: Mutex<Keeping>,
}

#[derive(Debug, Default)]
struct State {
    heard: HashMap<DeviceId, Heard>,
    purged: HashMap<FacilityScope, Timestamp>,
    waiting: bool,
    closed: bool,
}

#[derive(Debug, Clone)]
struct Heard {
    scope: FacilityScope,
    beat: Option<(Heartbeat, Timestamp)>,
    last_sync: Option<Timestamp>,
    cursor_refused: Option<bool>,
    mirror_began: Option<Timestamp>,
    written: bool,
}

impl Presence {
    pub(super) fn new(ambient: Ambient) -> Self {
        let keeping = Mutex::default();
        Self { state: Mutex::default(), stirred: Condvar::new(), ambient, keeping }
    }

    pub(super) fn keep(&self, keeping: Keeping) {
        *self.keeping.lock().unwrap_or_else(PoisonError::into_inner) = keeping;
    }

    pub(super) fn beat(&self, scope: FacilityScope, device: DeviceId, beat: &Heartbeat, now: Timestamp) {
        let mut beat = beat.clone();
        // Names of a newer agent's collections are kept, but not any text of any length.
        beat.mirror.differs.retain(|name| name.len() <= MAX_NAME);
        beat.mirror.differs.truncate(MAX_NAMES);
        self.note(scope, device, |heard| heard.beat = Some((beat, now)));
    }

    pub(super) fn synced(&self, scope: FacilityScope, device: DeviceId, now: Timestamp) {
        self.note(scope, device, |heard| {
            heard.last_sync = Some(now);
            heard.cursor_refused = Some(false);
        });
    }

    pub(super) fn cursor_refused(&self, scope: FacilityScope, device: DeviceId) {
        self.note(scope, device, |heard| heard.cursor_refused = Some(true));
    }

    pub(super) fn mirror_began(&self, scope: FacilityScope, device: DeviceId, now: Timestamp) {
        self.note(scope, device, |heard| heard.mirror_began = Some(now));
    }

    fn note(&self, scope: FacilityScope, device: DeviceId, change: impl FnOnce(&mut Heard)) {
        let mut state = self.locked();
        let nothing = Heard {
            scope,
            beat: None,
            last_sync: None,
            cursor_refused: None,
            mirror_began: None,
            written: true,
        };
        let heard = state.heard.entry(device).or_insert(nothing);
        heard.scope = scope;
        change(heard);
        heard.written = false;
        let is_awake = std::mem::replace(&mut state.waiting, true);
        drop(state);
        // It is woken once for all that gathers: a switch of threads costs as much as the heartbeat.
        if !is_awake {
            self.stirred.notify_one();
        }
    }

    /// Lays what is in memory over a device's row.
    pub(super) fn lay_over(&self, device: &mut Device) {
        let Some(heard) = self.locked().heard.get(&device.id).cloned() else { return };
        if let Some((beat, at)) = heard.beat {
            device.last_seen = Some(at);
            device.sync.oldest_waiting = oldest_waiting(&beat, at);
            device.sync.wedged = beat.queue.wedged;
            device.waiting = beat.queue.care.saturating_add(beat.queue.audit);
            device.clock_skew_ms = Some(clock_skew(&beat, at));
            device.agent_version = Some(beat.agent_version);
            device.mac_addresses = beat.mac_addresses;
            device.cursor = beat.cursor;
            device.reader = Some(beat.reader);
            device.encrypted = Some(beat.encrypted);
            device.sync.mirror_differs = !beat.mirror.differs.is_empty();
            device.differs = beat.mirror.differs;
            device.refetches = beat.mirror.refetches;
            device.sync.no_progress = beat.no_progress.is_some();
            device.no_progress = beat.no_progress;
        }
        device.sync.last_sync = heard.last_sync.or(device.sync.last_sync);
        device.sync.cursor_refused = heard.cursor_refused.unwrap_or(device.sync.cursor_refused);
    }

    /// Starts the thread that writes what gathers, until [`Self::close`].
    pub(super) fn start(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<JoinHandle<()>, StoreError> {
        let (presence, engine) = (Arc::clone(self), Arc::clone(engine));
        std::thread::Builder::new()
            .name("store-presence".to_owned())
            .spawn(move || {
                while presence.gather() {
                    let heard = presence.write(&engine);
                    presence.purge(&engine, &heard);
                }
            })
            .map_err(|_| StoreError::Closed)
    }

    /// Ends the thread, once it has written what there is.
    pub(super) fn close(&self) {
        self.locked().closed = true;
        self.stirred.notify_all();
    }

    /// Waits until there is something to write and it has had its time to gather. False at the end.
    fn gather(&self) -> bool {
        let idle = self.stirred.wait_while(self.locked(), |state| !state.waiting && !state.closed);
        let state = idle.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.stirred.wait_timeout_while(state, GATHER, |state| !state.closed);
        let (state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        state.waiting
    }

    /// Writes the news; gives the facilities that they were from.
    fn write(&self, engine: &Engine) -> HashSet<FacilityScope> {
        let news: Vec<(DeviceId, Heard)> = {
            let mut state = self.locked();
            state.waiting = false;
            let fresh = state.heard.iter_mut().filter(|(_, heard)| !heard.written);
            fresh
                .map(|(id, heard)| {
                    heard.written = true;
                    (*id, heard.clone())
                })
                .collect()
        };
        let scopes = news.iter().map(|(_, heard)| heard.scope).collect();
        let written = engine.write_blocking(Reach::Nothing, move |tx| {
            for (device, heard) in &news {
                tx.within(Reach::Facility(heard.scope), |tx| write_one(tx, *device, heard))?;
            }
            Ok(())
        });
        if let Err(error) = written {
            // The values stay in memory, and go with the next ones.
            tracing::warn!(%error, "heartbeats could not be written; they are kept in memory");
            self.locked().heard.values_mut().for_each(|heard| heard.written = false);
        }
        scopes
    }

    fn purge(&self, engine: &Engine, heard: &HashSet<FacilityScope>) {
        let now = self.ambient.now();
        let keeping = *self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = i64::try_from(keeping.tombstones.as_millis()).unwrap_or(i64::MAX);
        let before = now.plus_millis(kept.saturating_neg());
        for scope in heard {
            let last = self.locked().purged.get(scope).copied();
            if last.is_some_and(|last| now.since(last) < PURGE_EVERY) {
                continue;
            }
            self.locked().purged.insert(*scope, now);
            // A full batch means that there is more; whoever waits for the writer comes in between.
            loop {
                match engine.write_blocking(Reach::Facility(*scope), move |tx| horizon::purge(tx, before)) {
                    Ok(horizon::BATCH) if !self.locked().closed => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "old tombstones could not be purged; tomorrow again");
                        break;
                    }
                }
            }
            self.archive(engine, *scope, keeping);
        }
    }

    /// As with tombstones: portion by portion, others come in between.
    fn archive(&self, engine: &Engine, scope: FacilityScope, keeping: Keeping) {
        let reach = Reach::Facility(scope);
        loop {
            let portion = move |tx: &Tx<'_>| archive::archive(tx, keeping.record_days, archive::PORTION);
            match engine.write_blocking(reach, portion) {
                Ok(true) if !self.locked().closed => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "old records could not be archived; tomorrow again");
                    break;
                }
            }
        }
        let count = |tx: &Tx<'_>| budget::documents(tx, View::Full);
        match engine.write_blocking(reach, count) {
            Ok(documents) => {
                if let Some(words) = budget::warning(documents, keeping.most_documents) {
                    tracing::warn!(facility = %scope.facility(), "{words}");
                }
            }
            Err(error) => tracing::warn!(%error, "the documents of a feed could not be counted"),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_one(tx: &Tx<'_>, device: DeviceId, heard: &Heard) -> Result<(), StoreError> {
    if let Some((beat, at)) = &heard.beat {
        tx.execute(
            "UPDATE devices SET agent_version = ?2, mac_addresses = ?3, last_seen = ?4, oldest_waiting = ?5,
                waiting = ?6, wedged = ?7, cursor_epoch = ?8, cursor_seq = ?9, reader = ?10, encrypted = ?11,
                clock_skew_ms = ?12, differs = ?13, refetches = ?14, no_progress = ?15 WHERE id = ?1",
            params![
                device.as_bytes(),
                beat.agent_version,
                json(&beat.mac_addresses)?,
                at.as_millis(),
                oldest_waiting(beat, *at).map(Timestamp::as_millis),
                count(beat.queue.care.saturating_add(beat.queue.audit)),
                count(beat.queue.wedged),
                beat.cursor.map(|cursor| count(cursor.epoch)),
                beat.cursor.map(|cursor| count(cursor.seq)),
                word(&beat.reader)?,
                beat.encrypted,
                clock_skew(beat, *at),
                json(&beat.mirror.differs)?,
                count(beat.mirror.refetches),
                beat.no_progress.map(count),
            ],
        )?;
    }
    tx.execute(
        "UPDATE devices SET last_sync = coalesce(?2, last_sync), cursor_refused = coalesce(?3, cursor_refused),
            mirror_began_at = coalesce(?4, mirror_began_at) WHERE id = ?1",
        params![
            device.as_bytes(),
            heard.last_sync.map(Timestamp::as_millis),
            heard.cursor_refused,
            heard.mirror_began.map(Timestamp::as_millis),
        ],
    )?;
    Ok(())
}

/// On the server's clock, from the age that the device tells.
fn oldest_waiting(beat: &Heartbeat, at: Timestamp) -> Option<Timestamp> {
    let age = beat.queue.oldest_age?;
    Some(at.plus_millis(i64::try_from(age.saturating_mul(1_000)).unwrap_or(i64::MAX).saturating_neg()))
}

fn clock_skew(beat: &Heartbeat, at: Timestamp) -> i64 {
    beat.device_time.as_millis().saturating_sub(at.as_millis())
}

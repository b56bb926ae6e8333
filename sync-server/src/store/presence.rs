//! The latest heartbeats: kept in memory, written in batches about once a second. `last_seen` needs
//! no commit of its own, and whoever reads a device sees the fresh value laid over the row.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use carepost_protocol::id::DeviceId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::Heartbeat;
use rusqlite::params;

use super::column::{count, json, word};
use super::engine::{Engine, Reach, Tx};
use super::{Device, StoreError};
use crate::scope::FacilityScope;

/// How long news waits for company before it is written.
const GATHER: Duration = Duration::from_secs(1);

/// What was heard of devices, and what of it is not written yet.
#[derive(Debug, Default)]
pub(super) struct Presence {
    state: Mutex<State>,
    stirred: Condvar,
}

#[derive(Debug, Default)]
struct State {
    heard: HashMap<DeviceId, Heard>,
    waiting: bool,
    closed: bool,
}

#[derive(Debug, Clone)]
struct Heard {
    scope: FacilityScope,
    beat: Option<(Heartbeat, Timestamp)>,
    last_sync: Option<Timestamp>,
    cursor_refused: Option<bool>,
    written: bool,
}

impl Presence {
    pub(super) fn beat(&self, scope: FacilityScope, device: DeviceId, beat: &Heartbeat, now: Timestamp) {
        self.note(scope, device, |heard| heard.beat = Some((beat.clone(), now)));
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

    fn note(&self, scope: FacilityScope, device: DeviceId, change: impl FnOnce(&mut Heard)) {
        let mut state = self.locked();
        let nothing = Heard { scope, beat: None, last_sync: None, cursor_refused: None, written: true };
        let heard = state.heard.entry(device).or_insert(nothing);
        heard.scope = scope;
        change(heard);
        heard.written = false;
        state.waiting = true;
        drop(state);
        self.stirred.notify_one();
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
                    presence.write(&engine)
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

    fn write(&self, engine: &Engine) {
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
                clock_skew_ms = ?12 WHERE id = ?1",
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
            ],
        )?;
    }
    tx.execute(
        "UPDATE devices SET last_sync = coalesce(?2, last_sync), cursor_refused = coalesce(?3, cursor_refused)
            WHERE id = ?1",
        params![device.as_bytes(), heard.last_sync.map(Timestamp::as_millis), heard.cursor_refused],
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

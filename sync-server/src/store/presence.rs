//! Presence: the latest heartbeats are kept in memory and written in batches about once a second. `last_seen` needs
//! no commit of its own, and whoever reads a device sees the fresh value laid over the row. The thread that writes
//! them also looks once a day after the feeds of facilities whose devices are heard: old tombstones are purged, old
//! records archived, forms and names brought in that did not reach them, and what was begun for a lost device done to
//! its end.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use carepost_protocol::hex::unhex;
use carepost_protocol::id::DeviceId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, QueueState, UnknownTap};
use carepost_protocol::wire::pull::Cursor;

use super::column::json;
use super::engine::{AccessScope, Engine, Tx, params};
use super::handles::organization::{go_on_with_lost, publish_facility, withhold_expired_pins};
use super::model::is_refused_as_exposed;
use super::rules::feed_writer::head;
use super::rules::{archive, budget, horizon, patient, superseded};
use super::{Ambient, Device, StoreError, View};
use crate::clock;
use crate::scope::FacilityScope;
use crate::text::{is_line, line};

/// How long news waits for company before it is written.
const GATHER: Duration = Duration::from_secs(1);
/// How many devices' news one commit takes, so that other writers do not wait for long.
const WRITTEN_AT_ONCE: usize = 250;
/// For how many residents one commit opens reviews: each is held against up to a hundred others and their reviews.
const ASKED_AT_ONCE: usize = 5;
/// How often a facility's feed is looked after.
const PURGE_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// The longest name of a collection that is kept, and the most of them.
const MAX_NAME: usize = 64;
const MAX_NAMES: usize = 32;
/// The longest place of something exposed that is kept.
const MAX_PLACE: usize = 200;
/// The longest of what a device says of its own trouble: it names paths, and what to do comes last.
const MAX_WORDS: usize = 1_000;

/// For how long things stay in the feeds, and how much devices hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long tombstones are kept.
    pub tombstones: Duration,
    /// For how many days records stay, where a facility does not say otherwise.
    pub record_days: u32,
    /// The most documents that a device may have to hold.
    pub most_documents: u64,
}

impl Default for Retention {
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
    retention: Mutex<Retention>,
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
    /// What it last said that it has applied, and when.
    applied: Option<(Cursor, Timestamp)>,
    /// Where its facility's feed ended when that was last looked at, and when.
    head: Option<(Cursor, Timestamp)>,
    cursor_refused: Option<bool>,
    mirror_began: Option<Timestamp>,
    written: bool,
}

impl Presence {
    pub(super) fn new(ambient: Ambient) -> Self {
        let retention = Mutex::default();
        Self { state: Mutex::default(), stirred: Condvar::new(), ambient, retention }
    }

    pub(super) fn retain(&self, retention: Retention) {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    pub(super) fn beat(&self, scope: FacilityScope, device: DeviceId, beat: &Heartbeat, now: Timestamp) {
        let mut beat = beat.clone();
        // Names of a newer agent's collections are kept, but not any text of any length.
        beat.mirror.differs.retain(|name| is_line(name, MAX_NAME));
        beat.mirror.differs.truncate(MAX_NAMES);
        if let Some(encryption) = &mut beat.encryption {
            encryption.exposed.truncate(MAX_NAMES);
            for exposure in &mut encryption.exposed {
                exposure.place = line(&exposure.place, MAX_PLACE);
                exposure.cause = exposure.cause.take().map(|cause| line(&cause, MAX_WORDS));
            }
        }
        beat.mirror.stepped_over.retain(|over| is_line(&over.collection, MAX_NAME));
        beat.mirror.stepped_over.truncate(MAX_NAMES);
        beat.cannot_save = beat.cannot_save.map(|why| line(&why, MAX_WORDS));
        beat.copy_trouble = beat.copy_trouble.map(|why| line(&why, MAX_WORDS));
        beat.unknown_tap = beat.unknown_tap.filter(|tap| unhex::<32>(&tap.lookup).is_some());
        self.note(scope, device, |heard| {
            if let Some((before, at)) = heard.beat.as_ref().filter(|_| beat.queue.unknown) {
                let oldest_age =
                    before.queue.oldest_age.map(|age| age.saturating_add(now.since(*at).as_secs()));
                beat.queue = QueueState { oldest_age, ..before.queue };
            }
            heard.applied = beat.cursor.map(|cursor| (cursor, now)).or(heard.applied);
            heard.beat = Some((beat, now));
        });
    }

    /// A device says that it has applied everything up to there.
    pub(super) fn applied(&self, scope: FacilityScope, device: DeviceId, cursor: Cursor, now: Timestamp) {
        self.note(scope, device, |heard| heard.applied = Some((cursor, now)));
    }

    /// Costs next to nothing when that is known: it is said with each page.
    pub(super) fn cursor_served(&self, scope: FacilityScope, device: DeviceId) {
        let known = self.locked().heard.get(&device).is_some_and(|heard| heard.cursor_refused == Some(false));
        if !known {
            self.note(scope, device, |heard| heard.cursor_refused = Some(false));
        }
    }

    pub(super) fn cursor_refused(&self, scope: FacilityScope, device: DeviceId) {
        self.note(scope, device, |heard| heard.cursor_refused = Some(true));
    }

    pub(super) fn mirror_began(&self, scope: FacilityScope, device: DeviceId, now: Timestamp) {
        self.note(scope, device, |heard| heard.mirror_began = Some(now));
    }

    fn note(&self, scope: FacilityScope, device: DeviceId, change: impl FnOnce(&mut Heard)) {
        let mut state = self.locked();
        let heard = state.heard.entry(device).or_insert_with(|| Heard::of(scope));
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

    /// What a device said of its encryption in its latest heartbeat; none where none was heard.
    pub(super) fn encryption(&self, device: DeviceId) -> Option<Option<Encryption>> {
        let state = self.locked();
        let (beat, _) = state.heard.get(&device)?.beat.as_ref()?;
        Some(beat.encryption.clone())
    }

    /// Lays what is in memory over a device's row.
    pub(super) fn lay_over(&self, device: &mut Device) {
        let Some(heard) = self.locked().heard.get(&device.id).cloned() else { return };
        if let Some((beat, at)) = heard.beat {
            device.last_seen = Some(at);
            if !beat.queue.unknown {
                device.sync.oldest_waiting = oldest_waiting(&beat, at);
                device.sync.rejected = beat.queue.rejected;
                device.waiting = beat.queue.care.saturating_add(beat.queue.audit);
            }
            device.clock_skew_ms = Some(clock_skew(&beat, at));
            device.agent_version = Some(beat.agent_version);
            device.mac_addresses = beat.mac_addresses;
            device.cursor = beat.cursor;
            device.reader = Some(beat.reader);
            device.sync.cannot_save = beat.cannot_save.is_some();
            device.cannot_save = beat.cannot_save;
            device.sync.copy_trouble = beat.copy_trouble.is_some();
            device.copy_trouble = beat.copy_trouble;
            let age = |tap: &UnknownTap| Duration::from_secs(tap.age);
            device.unknown_tap = beat.unknown_tap.map(|tap| (tap.lookup.clone(), at.before(age(&tap))));
            device.encrypted = Some(beat.encrypted);
            device.encryption = beat.encryption;
            device.sync.not_encrypted =
                is_refused_as_exposed(device.state, device.require_encryption, device.encryption.as_ref());
            device.sync.mirror_differs = !beat.mirror.differs.is_empty();
            device.differs = beat.mirror.differs;
            device.refetches = beat.mirror.refetches;
            device.sync.stepped_over = !beat.mirror.stepped_over.is_empty();
            device.stepped_over = beat.mirror.stepped_over;
            device.sync.no_progress = beat.no_progress.is_some();
            device.no_progress = beat.no_progress;
        }
        device.sync.cursor_refused = heard.cursor_refused.unwrap_or(device.sync.cursor_refused);
    }

    /// Has feeds looked after when their devices are heard next, though they were today: something did not reach them.
    pub(super) fn look_again(&self, is_one: impl Fn(&FacilityScope) -> bool) {
        self.locked().purged.retain(|feed, _| !is_one(feed));
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
        let mut news = news.into_iter().peekable();
        while news.peek().is_some() {
            let some: Vec<_> = news.by_ref().take(WRITTEN_AT_ONCE).collect();
            let written = engine.write_blocking(AccessScope::Nothing, move |tx| write_some(tx, some));
            let mut state = self.locked();
            match written {
                Ok(Written { heads, devices, at }) => {
                    for device in devices {
                        let Some(heard) = state.heard.get_mut(&device) else { continue };
                        heard.look_at(heads.get(&heard.scope).copied(), at);
                    }
                }
                Err(error) => {
                    // The values stay in memory, and go with the next ones.
                    tracing::warn!(%error, "heartbeats could not be written; they are kept in memory");
                    state.heard.values_mut().for_each(|heard| heard.written = false);
                    break;
                }
            }
        }
        scopes
    }

    fn purge(&self, engine: &Engine, heard: &HashSet<FacilityScope>) {
        let now = self.ambient.now();
        let retention = *self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        let before = now.before(retention.tombstones);
        for scope in heard {
            let last = self.locked().purged.get(scope).copied();
            if last.is_some_and(|last| !clock::is_over(last, PURGE_EVERY, now)) {
                continue;
            }
            self.locked().purged.insert(*scope, now);
            self.portions(engine, *scope, "old tombstones could not be purged", move |tx, _: Option<()>| {
                Ok((horizon::purge(tx, before)? == horizon::BATCH).then_some(()))
            });
            let undone = "what a lost device held is not all replaced";
            self.portions(engine, *scope, undone, |tx, _: Option<()>| Ok(go_on_with_lost(tx)?.then_some(())));
            let undone = "PINs that were exposed for too long are still sent";
            self.portions(engine, *scope, undone, withhold_expired_pins);
            let undone = "residents with another's number are not asked about";
            self.portions(engine, *scope, undone, |tx, _: Option<()>| {
                Ok(patient::ask_about_numbers(tx, ASKED_AT_ONCE)?.then_some(()))
            });
            // What an earlier server left out, and what did not reach it since.
            self.portions(engine, *scope, "forms are not in the feed yet", superseded::bring_all);
            let undone = "kiosks show an earlier name of the organization";
            self.portions(engine, *scope, undone, |tx, _: Option<()>| publish_facility(tx).map(|()| None));
            self.archive(engine, *scope, retention);
        }
    }

    fn archive(&self, engine: &Engine, scope: FacilityScope, retention: Retention) {
        self.portions(engine, scope, "old records could not be archived", move |tx, _: Option<()>| {
            Ok(archive::archive(tx, retention.record_days, archive::PORTION)?.then_some(()))
        });
        let count = |tx: &Tx<'_>| budget::documents(tx, View::Full);
        match engine.write_blocking(AccessScope::Facility(scope), count) {
            Ok(documents) => {
                if let Some(words) = budget::warning(documents, retention.most_documents) {
                    tracing::warn!(facility = %scope.facility(), "{words}");
                }
            }
            Err(error) => tracing::warn!(%error, "the documents of a feed could not be counted"),
        }
    }

    /// Works portion by portion, so that others write in between. A portion begins behind the place where the one before
    /// ended, and gives its own while there may be more.
    fn portions<P: Send + 'static>(
        &self,
        engine: &Engine,
        scope: FacilityScope,
        undone: &str,
        portion: impl Fn(&Tx<'_>, Option<P>) -> Result<Option<P>, StoreError> + Copy + Send + 'static,
    ) {
        let mut place = None;
        loop {
            let after = place.take();
            match engine.write_blocking(AccessScope::Facility(scope), move |tx| portion(tx, after)) {
                Ok(next @ Some(_)) if !self.locked().closed => place = next,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(facility = %scope.facility(), %error, "{undone}; tomorrow again");
                    break;
                }
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// Nothing was heard yet.
    const fn of(scope: FacilityScope) -> Self {
        Self {
            scope,
            beat: None,
            applied: None,
            head: None,
            cursor_refused: None,
            mirror_began: None,
            written: true,
        }
    }

    /// The feed ends there now: held against what the device says next, once it has passed the end before.
    fn look_at(&mut self, head: Option<Cursor>, now: Timestamp) {
        let Some(head) = head else { return };
        if self.head.is_none_or(|(end, _)| end.epoch != head.epoch) || self.passed(head).is_some() {
            self.head = Some((head, now));
        }
    }

    /// When the feed was seen to end where the device has passed.
    fn passed(&self, head: Cursor) -> Option<Timestamp> {
        let ((applied, _), (end, seen)) = self.applied.zip(self.head)?;
        (end.epoch == head.epoch && applied.seq >= end.seq).then_some(seen)
    }

    /// Up to when the device has everything, by what it says that it has applied: up to when it said so,
    /// where that is the end of the feed; else up to when the feed was seen to end there or before. What
    /// would be beyond the end says nothing.
    fn synced_until(&self, head: Cursor) -> Option<(u64, Timestamp)> {
        let (applied, said) = self.applied?;
        let until = match applied.seq.cmp(&head.seq) {
            Ordering::Equal => Some(said),
            Ordering::Less => self.passed(head),
            Ordering::Greater => None,
        };
        until.map(|until| (applied.epoch, until))
    }
}

/// Of which devices something was written, when, and where their facilities' feeds ended then.
struct Written {
    heads: HashMap<FacilityScope, Cursor>,
    devices: Vec<DeviceId>,
    at: Timestamp,
}

fn write_some(tx: &Tx<'_>, some: Vec<(DeviceId, Heard)>) -> Result<Written, StoreError> {
    let mut heads = HashMap::new();
    for (device, heard) in &some {
        tx.within(AccessScope::Facility(heard.scope), |tx| {
            let head = match heads.entry(heard.scope) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(head(tx)?),
            };
            write_one(tx, *device, heard, head)
        })?;
    }
    Ok(Written { heads, devices: some.into_iter().map(|(device, _)| device).collect(), at: tx.now() })
}

fn write_one(tx: &Tx<'_>, device: DeviceId, heard: &Heard, head: Cursor) -> Result<(), StoreError> {
    if let Some((beat, at)) = &heard.beat {
        tx.execute(
            "UPDATE devices SET agent_version = ?2, mac_addresses = ?3, last_seen = ?4,
                oldest_waiting = CASE WHEN ?19 = 1 THEN oldest_waiting ELSE ?5 END,
                waiting = CASE WHEN ?19 = 1 THEN waiting ELSE ?6 END,
                wedged = CASE WHEN ?19 = 1 THEN wedged ELSE ?7 END,
                cursor_epoch = ?8, cursor_seq = ?9, reader = ?10, encrypted = ?11,
                clock_skew_ms = ?12, differs = ?13, refetches = ?14, no_progress = ?15, encryption = ?16,
                stepped_over = ?17, cannot_save = ?18
                WHERE id = ?1",
            params![
                device,
                beat.agent_version,
                json(&beat.mac_addresses)?,
                at,
                oldest_waiting(beat, *at),
                beat.queue.care.saturating_add(beat.queue.audit),
                beat.queue.rejected,
                beat.cursor.map(|cursor| cursor.epoch),
                beat.cursor.map(|cursor| cursor.seq),
                beat.reader,
                beat.encrypted,
                clock_skew(beat, *at),
                json(&beat.mirror.differs)?,
                beat.mirror.refetches,
                beat.no_progress,
                beat.encryption,
                json(&beat.mirror.stepped_over)?,
                beat.cannot_save,
                beat.queue.unknown,
            ],
        )?;
    }
    let synced = heard.synced_until(head);
    tx.execute(
        "UPDATE devices SET cursor_refused = coalesce(?2, cursor_refused),
            mirror_began_at = coalesce(?3, mirror_began_at),
            last_sync = CASE WHEN ?4 + view_changes = ?5 AND coalesce(last_sync, 0) < ?6 THEN ?6
                ELSE last_sync END
            WHERE id = ?1",
        params![
            device,
            heard.cursor_refused,
            heard.mirror_began,
            head.epoch,
            synced.map(|(epoch, _)| epoch),
            synced.map(|(_, until)| until),
        ],
    )?;
    Ok(())
}

/// On the server's clock, from the age that the device tells.
fn oldest_waiting(beat: &Heartbeat, at: Timestamp) -> Option<Timestamp> {
    Some(at.before(Duration::from_secs(beat.queue.oldest_age?)))
}

fn clock_skew(beat: &Heartbeat, at: Timestamp) -> i64 {
    beat.device_time.as_millis().saturating_sub(at.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_synced_up_to_when_it_had_what_there_was() {
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        let place = |seq| Cursor { epoch: 3, seq };
        let mut heard = Heard::of(FacilityScope::of_operator(
            carepost_protocol::id::OrganizationId::from_bytes([1; 16]),
            carepost_protocol::id::FacilityId::from_bytes([2; 16]),
        ));
        let mut says = |applied: Option<u64>, second, head: u64| {
            heard.applied = applied.map(|seq| (place(seq), at(second)));
            let until = heard.synced_until(place(head));
            heard.look_at(Some(place(head)), at(second));
            until.map(|(epoch, until)| (epoch, until.as_millis() / 1_000))
        };
        assert_eq!(says(None, 0, 10), None, "it has said nothing");
        assert_eq!(says(Some(4), 60, 10), None, "it is on its way");
        assert_eq!(says(Some(10), 120, 30), Some((3, 0)), "it has what there was when it was first heard");
        assert_eq!(says(Some(29), 180, 60), None, "not yet what there was at 120");
        assert_eq!(says(Some(45), 240, 90), Some((3, 120)));
        assert_eq!(says(Some(90), 300, 90), Some((3, 300)), "it has all there is");
        assert_eq!(says(Some(91), 360, 90), None, "nobody has what is not there yet");
    }
}

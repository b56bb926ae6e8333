//! Wakes live streams: when a facility's feed has moved, and when a device's key was refused.
//!
//! Nothing is queued here. A listener sees the latest state and reads the pages itself, so a slow
//! stream costs one number, and announcing to nobody costs a look into a map.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carepost_protocol::id::{DeviceId, FacilityId};
use tokio::sync::watch;

/// Who listens to what.
#[derive(Debug, Default)]
pub struct Feeds {
    heads: Mutex<HashMap<FacilityId, watch::Sender<u64>>>,
    devices: Mutex<HashMap<DeviceId, watch::Sender<bool>>>,
}

/// What a live stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The facility's feed has moved since the last time this was asked.
    Moved,
    /// The device's key is refused from now on: close the stream.
    Refused,
}

/// A live stream's ear.
#[derive(Debug)]
pub struct Listener {
    head: watch::Receiver<u64>,
    refused: watch::Receiver<bool>,
}

impl Listener {
    /// Waits until there is something to do. Cancel-safe.
    pub async fn wake(&mut self) -> Wake {
        loop {
            if *self.refused.borrow_and_update() {
                return Wake::Refused;
            }
            tokio::select! {
                biased;
                gone = self.refused.changed() => if gone.is_err() { return Wake::Refused },
                moved = self.head.changed() => {
                    return if moved.is_ok() { Wake::Moved } else { Wake::Refused };
                }
            }
        }
    }
}

impl Listener {
    /// Whether the device's key is refused by now.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        *self.refused.borrow()
    }
}

impl Feeds {
    /// An ear for one device's live stream. Listen first and read the feed after: then no commit
    /// falls between the two.
    #[must_use]
    pub fn listen(&self, facility: FacilityId, device: DeviceId) -> Listener {
        Listener { head: subscribe(&self.heads, facility), refused: subscribe(&self.devices, device) }
    }

    /// Says that a facility's feed has reached `seq`.
    pub(crate) fn moved(&self, facility: FacilityId, seq: u64) {
        announce(&self.heads, facility, seq);
    }

    /// Says that a device's key is refused from now on.
    pub(crate) fn refused(&self, device: DeviceId) {
        announce(&self.devices, device, true);
    }
}

fn subscribe<K: Hash + Eq, V: Default>(
    channels: &Mutex<HashMap<K, watch::Sender<V>>>,
    key: K,
) -> watch::Receiver<V> {
    let mut channels = locked(channels);
    // Whoever left is forgotten here, so the map is never larger than its listeners and one more.
    channels.retain(|_, sender| sender.receiver_count() > 0);
    channels.entry(key).or_insert_with(|| watch::Sender::new(V::default())).subscribe()
}

fn announce<K: Hash + Eq, V>(channels: &Mutex<HashMap<K, watch::Sender<V>>>, key: K, value: V) {
    if let Some(sender) = locked(channels).get(&key) {
        sender.send_replace(value);
    }
}

/// A panic elsewhere cannot leave these maps half-written: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

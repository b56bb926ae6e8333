//! Feed notifications: they wake live streams, when a facility's feed has moved, and when a device's streams have to
//! end.
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
    /// How often the streams of a device had to end.
    devices: Mutex<HashMap<DeviceId, watch::Sender<u64>>>,
}

/// What a live stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The facility's feed has moved since the last time this was asked.
    Moved,
    /// The device's key is refused, what it is sent has changed, or it has a newer stream: close this one.
    Refused,
}

/// Knows when a stream has to end, where nobody asks the stream itself. It goes with a response.
#[derive(Debug, Clone)]
pub struct Ends {
    count: watch::Receiver<u64>,
    born: u64,
}

impl Ends {
    /// Waits until the stream has to end.
    pub async fn ended(mut self) {
        // An error means that nobody can say so any more.
        let _ = self.count.wait_for(|count| *count != self.born).await;
    }
}

/// A live stream's ear.
#[derive(Debug)]
pub struct Listener {
    head: watch::Receiver<u64>,
    ends: watch::Receiver<u64>,
    born: u64,
}

impl Listener {
    /// Waits until there is something to do. Cancel-safe.
    pub async fn wake(&mut self) -> Wake {
        loop {
            if *self.ends.borrow_and_update() != self.born {
                return Wake::Refused;
            }
            tokio::select! {
                biased;
                gone = self.ends.changed() => if gone.is_err() { return Wake::Refused },
                moved = self.head.changed() => {
                    return if moved.is_ok() { Wake::Moved } else { Wake::Refused };
                }
            }
        }
    }

    /// The same as far as its end is concerned.
    #[must_use]
    pub fn ends(&self) -> Ends {
        Ends { count: self.ends.clone(), born: self.born }
    }

    /// Whether the stream has to close by now.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        *self.ends.borrow() != self.born
    }
}

impl Feeds {
    /// An ear for one of a device's streams. Listen first and read the feed after: then no commit
    /// falls between the two.
    #[must_use]
    pub fn listen(&self, facility: FacilityId, device: DeviceId) -> Listener {
        let ends = subscribe(&self.devices, device);
        let born = *ends.borrow();
        Listener { head: subscribe(&self.heads, facility), ends, born }
    }

    /// As [`Self::listen`], and ends the streams that the device has: one that lost its network comes
    /// again before the server knows that the old connection is dead.
    #[must_use]
    pub fn listen_alone(&self, facility: FacilityId, device: DeviceId) -> Listener {
        self.refused(device);
        self.listen(facility, device)
    }

    /// Says that a facility's feed has reached `seq`.
    pub(crate) fn moved(&self, facility: FacilityId, seq: u64) {
        announce(&self.heads, facility, |head| *head = seq);
    }

    /// Ends every stream that a device has now: its key is refused, or what it is sent has changed.
    pub(crate) fn refused(&self, device: DeviceId) {
        announce(&self.devices, device, |ends| *ends = ends.wrapping_add(1));
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

fn announce<K: Hash + Eq, V>(
    channels: &Mutex<HashMap<K, watch::Sender<V>>>,
    key: K,
    change: impl FnOnce(&mut V),
) {
    if let Some(sender) = locked(channels).get(&key) {
        sender.send_modify(change);
    }
}

/// A panic elsewhere cannot leave these maps half-written: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

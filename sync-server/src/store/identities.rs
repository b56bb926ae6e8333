//! Devices by their keys, as they were last read: every request of a device asks whose key it is, and a
//! heartbeat costs little else.
//!
//! What is kept is forgotten whole when a commit wrote to a table that an identity is read from, before
//! anybody hears of that commit: who was told that a device is deactivated finds it refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DeviceIdentity;

/// The most that are kept. Beyond that, all are forgotten: it is a tenth of a second's work to have them
/// again.
const MOST: usize = 20_000;

/// The tables that an identity is read from, as statements name them.
const READ_FROM: [&str; 6] =
    ["devices", "assignments", "facilities", "system_devices", "system_assignments", "system_facilities"];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Identities {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what was forgotten: what was read before is not kept after.
    generation: u64,
    known: HashMap<[u8; 32], DeviceIdentity>,
}

/// Whether a statement writes to what identities are read from.
pub(super) fn concerns(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    let writes = words.next().is_some_and(|verb| matches!(verb, "INSERT" | "UPDATE" | "DELETE"));
    writes && words.take(4).any(|word| READ_FROM.contains(&word))
}

impl Identities {
    /// The device with that key, if it is known; else the generation to keep it under.
    pub(super) fn find(&self, key_sha256: &[u8; 32]) -> Result<DeviceIdentity, u64> {
        let state = self.locked();
        state.known.get(key_sha256).cloned().ok_or(state.generation)
    }

    /// Keeps a device that was read under that generation.
    pub(super) fn keep(&self, key_sha256: [u8; 32], identity: &DeviceIdentity, generation: u64) {
        let mut state = self.locked();
        if state.generation != generation {
            return;
        }
        if state.known.len() >= MOST {
            state.known.clear();
        }
        state.known.insert(key_sha256, identity.clone());
    }

    /// Something was written that identities are read from.
    pub(super) fn forget(&self) {
        let mut state = self.locked();
        state.generation = state.generation.wrapping_add(1);
        state.known.clear();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half-written: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_to_devices_is_told_from_what_does_not() {
        for sql in [
            "UPDATE devices SET state = 'REVOKED'",
            "INSERT INTO devices (id) VALUES (?1)",
            "INSERT OR REPLACE INTO assignments (id) VALUES (?1)",
            "DELETE FROM system_devices WHERE id = ?1",
            "UPDATE facilities\n    SET phi_mode = ?2",
        ] {
            assert!(concerns(sql), "{sql}");
        }
        for sql in [
            "BEGIN IMMEDIATE",
            "SELECT id FROM devices",
            "INSERT INTO changes (device_id, devices) VALUES (?1, ?2)",
            "UPDATE feeds SET seq = ?1",
        ] {
            assert!(!concerns(sql), "{sql}");
        }
    }
}

//! Devices by their keys, as they were last read: every request of a device asks whose key it is, and a
//! heartbeat costs little else.
//!
//! They are forgotten whole when a commit wrote to a table that an identity is read from.

use super::DeviceIdentity;
use super::cache::Cache;

/// See the module.
pub(super) type Identities = Cache<[u8; 32], DeviceIdentity>;

/// The tables that an identity is read from, as statements name them.
const READ_FROM: [&str; 6] =
    ["devices", "assignments", "facilities", "system_devices", "system_assignments", "system_facilities"];

/// Whether a statement writes to what identities are read from.
pub(super) fn concerns(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    let writes = words.next().is_some_and(|verb| matches!(verb, "INSERT" | "UPDATE" | "DELETE"));
    writes && words.take(4).any(|word| READ_FROM.contains(&word))
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

//! The table list: whose the rows of each table are, and what each scope may write of them. Every engine's walls are
//! made from it.

use crate::scope::{FacilityScope, OrganizationScope};
use crate::store::crossing::Crossing;

/// Whose rows the statements of a connection reach just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum AccessScope {
    /// Nobody's.
    Nothing,
    Facility(FacilityScope),
    /// One organization's, or one facility's registry rows.
    Organization(OrganizationScope),
    /// All: through the `system_*` views, which are empty otherwise.
    System(Crossing),
}

/// Which column of a table says whose a row is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// `id`: the table of organizations.
    Organization,
    /// `organization_id`: what all of an organization share.
    Tenant,
    /// `organization_id`, and `facility_id` where the scope is limited to one.
    Registry,
    /// `facility_id` and `organization_id`, always.
    Facility,
    /// Nobody: reached by the system only.
    Nobody,
}

/// What one of the views allows besides reading.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Insert,
    Update,
    Delete,
}
use Write::{Delete, Insert, Update};

/// A table: its name without prefix, whose its rows are, what a scope may write, and what the system
/// may write; none where the system has no view of it.
pub(super) struct Table(
    pub(super) &'static str,
    pub(super) Owner,
    pub(super) &'static [Write],
    pub(super) Option<&'static [Write]>,
);

pub(super) const TABLES: &[Table] = &[
    Table("organizations", Owner::Organization, &[Update], Some(&[Insert])),
    Table("platform_admins", Owner::Nobody, &[], Some(&[Insert, Update])),
    Table("facilities", Owner::Registry, &[Insert, Update], Some(&[])),
    Table("users", Owner::Registry, &[Insert, Update], Some(&[Update])),
    Table("user_terms", Owner::Registry, &[Insert, Update], None),
    Table("sessions", Owner::Tenant, &[Delete], Some(&[Insert, Update, Delete])),
    Table("sign_ins", Owner::Tenant, &[Delete], Some(&[Insert, Update, Delete])),
    Table("idempotency_keys", Owner::Tenant, &[Insert, Delete], Some(&[Insert, Update, Delete])),
    Table("badges", Owner::Registry, &[Insert, Update, Delete], None),
    Table("workflows", Owner::Tenant, &[Insert], None),
    Table("patients", Owner::Registry, &[Insert, Update], None),
    Table("marks", Owner::Registry, &[Insert, Delete], None),
    Table("devices", Owner::Registry, &[Insert, Update], Some(&[])),
    Table("assignments", Owner::Registry, &[Insert, Update], Some(&[])),
    Table("enrollments", Owner::Registry, &[Update, Delete], Some(&[Insert, Update, Delete])),
    Table("feeds", Owner::Facility, &[Insert, Update], None),
    Table("documents", Owner::Facility, &[Insert, Delete], None),
    Table("archive", Owner::Facility, &[Insert, Delete], None),
    Table("reviews", Owner::Facility, &[Insert, Update], None),
    Table("digests", Owner::Facility, &[Insert, Update], None),
    Table("incarnations", Owner::Facility, &[Insert], None),
    Table("chain_heads", Owner::Facility, &[Insert, Update], None),
    Table("gaps", Owner::Facility, &[Insert], None),
    Table("changes", Owner::Facility, &[Insert, Update], None),
    Table("office_corrections", Owner::Facility, &[Insert], None),
    Table("audit", Owner::Registry, &[Insert], Some(&[Insert])),
];

/// All of them, for tests.
#[cfg(test)]
pub(in crate::store) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|Table(name, ..)| *name)
}

/// Those that scopes have a view of, for tests.
#[cfg(test)]
pub(in crate::store) fn scoped() -> impl Iterator<Item = &'static str> {
    TABLES.iter().filter(|Table(_, owner, ..)| *owner != Owner::Nobody).map(|Table(name, ..)| *name)
}

/// Those whose rows are one facility's, always, for tests.
#[cfg(test)]
pub(in crate::store) fn of_facilities() -> impl Iterator<Item = &'static str> {
    TABLES.iter().filter(|Table(_, owner, ..)| *owner == Owner::Facility).map(|Table(name, ..)| *name)
}

/// The system's views, for tests.
#[cfg(test)]
pub(in crate::store) fn of_system() -> impl Iterator<Item = String> {
    let viewed = TABLES.iter().filter(|Table(.., system)| system.is_some());
    viewed.map(|Table(name, ..)| format!("system_{name}"))
}

/// The tables that a device's identity is read from.
const READ_FROM: [&str; 3] = ["devices", "assignments", "facilities"];

/// Whether a statement writes to what identities are read from.
pub(super) fn writes_identities(sql: &str) -> bool {
    let mut words = sql.split_ascii_whitespace();
    let writes = words.next().is_some_and(|verb| matches!(verb, "INSERT" | "UPDATE" | "DELETE"));
    writes && words.take(4).any(|word| READ_FROM.contains(&word.strip_prefix("system_").unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DeviceIdentity;
    use crate::store::row::Stored;

    #[test]
    fn what_identities_are_read_from_is_what_their_statement_names() {
        for name in names() {
            let view = format!("system_{name}");
            let is_named = DeviceIdentity::COLUMNS.split_ascii_whitespace().any(|word| word == view);
            // Their statement is one of devices.
            assert_eq!(READ_FROM.contains(&name), is_named || name == "devices", "{name}");
        }
    }

    #[test]
    fn what_writes_to_devices_is_told_from_what_does_not() {
        for sql in [
            "UPDATE devices SET state = 'REVOKED'",
            "INSERT INTO devices (id) VALUES (?1)",
            "INSERT INTO assignments (id) VALUES (?1)",
            "DELETE FROM system_devices WHERE id = ?1",
            "UPDATE facilities\n    SET phi_mode = ?2",
        ] {
            assert!(writes_identities(sql), "{sql}");
        }
        for sql in [
            "BEGIN IMMEDIATE",
            "SELECT id FROM devices",
            "INSERT INTO changes (device_id, devices) VALUES (?1, ?2)",
            "UPDATE feeds SET seq = ?1",
        ] {
            assert!(!writes_identities(sql), "{sql}");
        }
    }
}

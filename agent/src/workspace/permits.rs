//! Permits: what one session may do here, as of one moment. Only the session host makes them.

use carepost_protocol::role::{Actor, Chart, ManagePatients, Permit, ReadPatients};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permits {
    pub(super) read: Permit<ReadPatients>,
    /// None where the role does not allow it, as below.
    pub(super) chart: Option<Permit<Chart>>,
    pub(super) manage: Option<Permit<ManagePatients>>,
}

impl Permits {
    pub(super) const fn actor(&self) -> &Actor {
        self.read.actor()
    }
}

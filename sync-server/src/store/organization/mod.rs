//! The registry of one organization: facilities, devices, users and badges, patients, workflows.
//!
//! What devices mirror is written twice in one transaction: as a row, and as a document in the feed of
//! the facility concerned.

mod badges;
mod devices;
mod facilities;
mod patients;
mod users;
mod workflows;

use carepost_protocol::audit::AuditEvent;

use super::engine::{Reach, Tx};
use super::{AuditQuery, Organization, OrganizationPatch, Store, StoreError, audit};
use crate::scope::OrganizationScope;

pub(super) use devices::assign;
pub(super) use facilities::organization_columns;
pub(super) use facilities::organization_row;
pub(super) use users::{insert_user, name_key};

type Result<T> = std::result::Result<T, StoreError>;

/// Work within one organization, or one facility of it where the scope is limited to that.
#[derive(Debug, Clone)]
pub struct OrganizationStore {
    store: Store,
    scope: OrganizationScope,
}

impl OrganizationStore {
    pub(super) fn new(store: Store, scope: OrganizationScope) -> Self {
        Self { store, scope }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.read(Reach::Organization(self.scope), work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.write(Reach::Organization(self.scope), work).await
    }

    /// Writes audit events, all under this organization, and under the scope's one facility where it is
    /// limited to that.
    ///
    /// # Errors
    /// When they could not be made durable.
    pub async fn audit(&self, mut events: Vec<AuditEvent>) -> Result<()> {
        for event in &mut events {
            event.organization_id = Some(self.scope.organization());
            event.facility_id = self.scope.limit().or(event.facility_id);
        }
        self.write(move |tx| audit::append(tx, &events)).await
    }

    /// Looks for audit events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_events(&self, query: AuditQuery) -> Result<Vec<AuditEvent>> {
        self.read(move |tx| audit::find(tx, &query)).await
    }
}

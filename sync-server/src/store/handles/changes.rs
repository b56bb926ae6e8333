//! A facility's changes and reviews that somebody has to look at.

use carepost_protocol::id::DeviceId;
use carepost_protocol::record::ReviewDocument;
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::wire::heartbeat::{ChangeName, MAX_REJECTED, SettledChange};

use super::facility::FacilityStore;
use crate::store::StoreError;
use crate::store::engine::AccessScope;
use crate::store::listed::Listed;
use crate::store::rules::changes::{self, ChangePlace, KeptChange};
use crate::store::rules::review::{self, ReviewPlace};

type Result<T> = std::result::Result<T, StoreError>;

impl FacilityStore {
    /// Changes that were rejected and are not settled, latest first: at most so many after a place.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the permit is for another facility.
    pub async fn rejected_changes(
        &self,
        permit: &Permit<ReadPatients>,
        after: Option<ChangePlace>,
        most: usize,
    ) -> Result<Listed<KeptChange, ChangePlace>> {
        self.list(permit, changes::REJECTED, after, most).await
    }

    /// Changes that stand and that somebody should look at, latest first: at most so many after a place.
    ///
    /// # Errors
    /// As [`Self::rejected_changes`].
    pub async fn flagged_changes(
        &self,
        permit: &Permit<ReadPatients>,
        after: Option<ChangePlace>,
        most: usize,
    ) -> Result<Listed<KeptChange, ChangePlace>> {
        self.list(permit, changes::FLAGGED, after, most).await
    }

    /// A change, whatever became of it, and its exact bytes where the server has them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn change(
        &self,
        permit: &Permit<ReadPatients>,
        device: DeviceId,
        name: ChangeName,
    ) -> Result<(KeptChange, Option<Vec<u8>>)> {
        self.permitted(permit)?;
        let access = AccessScope::Facility(self.scope);
        self.store.read(access, move |tx| changes::change(tx, device, name)).await
    }

    /// Reviews, latest first: of the open ones, the closed ones, or all, at most so many after a place.
    ///
    /// # Errors
    /// As [`Self::rejected_changes`].
    pub async fn reviews(
        &self,
        permit: &Permit<ReadPatients>,
        open: Option<bool>,
        after: Option<ReviewPlace>,
        most: usize,
    ) -> Result<Listed<ReviewDocument, ReviewPlace>> {
        self.permitted(permit)?;
        let access = AccessScope::Facility(self.scope);
        self.store.read(access, move |tx| review::list(tx, open, after, most)).await
    }

    /// What has become of rejected changes of a device, of those that are settled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settled(&self, device: DeviceId, mut names: Vec<ChangeName>) -> Result<Vec<SettledChange>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        names.truncate(MAX_REJECTED);
        let access = AccessScope::Facility(self.scope);
        self.store.read(access, move |tx| changes::settled(tx, device, names)).await
    }

    async fn list(
        &self,
        permit: &Permit<ReadPatients>,
        sql: &'static str,
        after: Option<ChangePlace>,
        most: usize,
    ) -> Result<Listed<KeptChange, ChangePlace>> {
        self.permitted(permit)?;
        let access = AccessScope::Facility(self.scope);
        self.store.read(access, move |tx| changes::list(tx, sql, after, most)).await
    }
}

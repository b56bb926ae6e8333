//! One facility: its feed, what its devices push, its records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::device::DeviceState;
use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::role::{Permit, ReadPatients, Resource};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::heartbeat::{Encryption, Heartbeat, Revoked};
use carepost_protocol::wire::older::OlderRecords;
use carepost_protocol::wire::problem::Expects;
use carepost_protocol::wire::pull::{Cursor, SyncPosition};
use carepost_protocol::wire::push::PushReceipt;
use serde_json::value::RawValue;

use super::organization::go_on_with_lost;
use crate::scope::FacilityScope;
use crate::store::engine::{AccessScope, Tx, params};
use crate::store::rules::chart::{self, ChartPage, ChartPlace};
use crate::store::rules::feed_writer::count_on;
use crate::store::rules::older::{self, OlderRequest};
use crate::store::rules::page::{self, PageRequest, RefetchRequest};
use crate::store::rules::push::{self, Batch, Taken};
use crate::store::rules::quarantine::quarantine;
use crate::store::rules::{audit, patient, revoked, sync_position};
use crate::store::{DeviceIdentity, Page, Patient, Related, Store, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// Work within one facility.
#[derive(Debug, Clone)]
pub struct FacilityStore {
    pub(super) store: Store,
    pub(super) scope: FacilityScope,
}

impl FacilityStore {
    pub(in crate::store) fn new(store: Store, scope: FacilityScope) -> Self {
        Self { store, scope }
    }

    pub(super) fn permitted(&self, permit: &Permit<ReadPatients>) -> Result<()> {
        if permit.resource() == Resource::Facility(self.scope.organization(), self.scope.facility()) {
            Ok(())
        } else {
            Err(StoreError::NotFound("facility"))
        }
    }

    /// Takes a device's batch, with a verdict for each change: the receipt comes when all of it is durable.
    /// A long one is taken in portions, each a commit of its own, between which others write; who breaks
    /// off in between sends it again. What the server has already is answered again as it was: applied as
    /// a duplicate, rejected as rejected. `made` counts the documents that came of it, also where it breaks off.
    ///
    /// # Errors
    /// [`StoreError::ChainBroken`], [`StoreError::DeviceRevoked`].
    pub async fn push(&self, batch: Batch, made: &mut u64) -> Result<PushReceipt> {
        let access = AccessScope::Facility(self.scope);
        let Taken { mut receipt, documents, mut rest } =
            self.store.write(access, move |tx| push::apply(tx, batch)).await?;
        *made += documents;
        while let Some(batch) = rest {
            let next = self.store.write(access, move |tx| push::apply(tx, batch)).await?;
            *made += next.documents;
            receipt.go_on(next.receipt);
            rest = next.rest;
        }
        Ok(receipt)
    }

    /// Quarantines a device, as two copies of it speak: what it pushes is taken all the same. The identity is as it
    /// stands after.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn quarantine(&self, device: &mut DeviceIdentity, reason: &'static str) -> Result<()> {
        let id = device.device();
        let quarantine = move |tx: &Tx<'_>| quarantine(tx, id, reason);
        self.store.write(AccessScope::Facility(self.scope), quarantine).await?;
        device.state = DeviceState::Quarantined;
        Ok(())
    }

    /// What was revoked after what a device knows by its mirror, or by earlier answers; none where staff
    /// and badges have not changed since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked(&self, device: &DeviceIdentity, beat: &Heartbeat) -> Result<Option<Revoked>> {
        let (access, facility) = (AccessScope::Facility(self.scope), self.scope.facility());
        let moves = &self.store.inner.staff_moves;
        let last = match moves.find(&facility) {
            Ok(last) => last,
            Err(generation) => {
                let last = self.store.read(access, revoked::last_move).await?;
                moves.keep(facility, &last, generation);
                last
            }
        };
        let since = revoked::known(device, beat, last);
        if since >= last.seq {
            return Ok(None);
        }
        let mut revoked = self.store.read(access, move |tx| revoked::revoked_since(tx, since)).await?;
        revoked.through.epoch = revoked.through.epoch.saturating_add(device.view_changes());
        Ok(Some(revoked))
    }

    /// Checks where a device says that it stands before it is sent anything. Where it says more than the
    /// server knows, it has to begin anew. Where it proves that the server gave it a cursor beyond the end
    /// of the feed, the facility's epoch is raised, so that every device fetches its copy anew; what waits
    /// in their outboxes is not affected.
    ///
    /// # Errors
    /// [`StoreError::CursorRefused`], with what the server expects of the chains in which it has less.
    pub async fn check_sync_position(&self, device: &DeviceIdentity, position: &SyncPosition) -> Result<()> {
        let (access, view_changes) = (AccessScope::Facility(self.scope), device.view_changes());
        let device = device.device();
        // What a device is told is the feed's epoch and the changes of its view together.
        let epoch = position.epoch.map(|epoch| epoch.saturating_sub(view_changes));
        let position = &SyncPosition { epoch, ..position.clone() };
        let cursor = epoch.zip(position.seq).map(|(epoch, seq)| Cursor { epoch, seq });
        let asked = position.clone();
        let found = self.store.read(access, move |tx| sync_position::find(tx, device, &asked)).await?;
        if !found.ahead && found.expects == Expects::default() {
            if let Some(Cursor { epoch, seq }) = cursor {
                let told = Cursor { epoch: epoch.saturating_add(view_changes), seq };
                self.store.inner.presence.applied(self.scope, device, told, self.store.now());
            }
            return Ok(());
        }
        let (prover, facility) = (&self.store.inner.prover, self.scope.facility());
        let proof = position.proof.as_deref();
        let is_proven =
            cursor.zip(proof).is_some_and(|(cursor, proof)| prover.holds(facility, cursor, proof));
        let expects = if is_proven && found.may_be_raised(self.store.now()) {
            let asked = position.clone();
            self.store.write(access, move |tx| sync_position::raise(tx, device, &asked)).await?
        } else {
            found.expects
        };
        Err(StoreError::CursorRefused { expects: (expects != Expects::default()).then_some(expects) })
    }

    /// Whether a device may go on from a cursor: tombstones that it needs may be gone. A mirror that was
    /// begun within `kept` needs none of those, so that a first pull that breaks off is not begun anew.
    ///
    /// # Errors
    /// [`StoreError::CursorRefused`].
    pub async fn check_horizon(&self, device: &DeviceIdentity, cursor: Cursor, kept: Duration) -> Result<()> {
        let now = self.store.now();
        if device.mirror_began.is_some_and(|began| now.since(began) < kept) {
            return Ok(());
        }
        self.store.read(AccessScope::Facility(self.scope), move |tx| page::check_horizon(tx, cursor)).await
    }

    /// Notes that a device begins its mirror. In memory, as [`Self::heartbeat`].
    pub fn mirror_began(&self, device: &DeviceIdentity) {
        self.store.inner.presence.mirror_began(self.scope, device.device(), self.store.now());
    }

    /// A page of collections that are sent again, and after which `seq` the next one begins.
    ///
    /// # Errors
    /// [`StoreError::CursorRefused`].
    pub async fn refetch_page(&self, asked: RefetchRequest) -> Result<(Page, u64)> {
        let prover = Arc::clone(&self.store.inner.prover);
        let refetch = move |tx: &Tx<'_>| page::read_refetch(tx, &asked, &prover);
        self.store.read(AccessScope::Facility(self.scope), refetch).await
    }

    /// The next page of the feed: at most `limit` documents and about 4 MiB.
    ///
    /// # Errors
    /// [`StoreError::CursorRefused`], [`StoreError::OverBudget`].
    pub async fn page(&self, asked: PageRequest) -> Result<Page> {
        let access = AccessScope::Facility(self.scope);
        loop {
            let prover = Arc::clone(&self.store.inner.prover);
            let read = self.store.read(access, move |tx| page::read(tx, &asked, &prover));
            if let Some(page) = read.await? {
                return Ok(page);
            }
            let ready = move |tx: &Tx<'_>| {
                count_on(tx, asked.view)?;
                go_on_with_lost(tx).map(drop)
            };
            self.store.write(access, ready).await?;
        }
    }

    /// Notes a heartbeat, in memory; it is written within about a second.
    pub fn heartbeat(&self, device: &DeviceIdentity, beat: &Heartbeat) {
        self.store.inner.presence.beat(self.scope, device.device(), beat, self.store.now());
    }

    /// Notes that a device's cursor is served up to the head. In memory, as [`Self::heartbeat`].
    pub fn cursor_served(&self, device: &DeviceIdentity) {
        self.store.inner.presence.cursor_served(self.scope, device.device());
    }

    /// Notes that a device came with a cursor that was refused. In memory, as [`Self::heartbeat`].
    pub fn cursor_refused(&self, device: &DeviceIdentity) {
        self.store.inner.presence.cursor_refused(self.scope, device.device());
    }

    /// A patient's records, latest first, whether devices still hold them or not: at most so many after a place.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the permit is for another facility.
    pub async fn records(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        after: Option<ChartPlace>,
        most: usize,
    ) -> Result<ChartPage> {
        if permit.resource() != Resource::Facility(self.scope.organization(), self.scope.facility()) {
            return Err(StoreError::NotFound("patient"));
        }
        let read = move |tx: &Tx<'_>| chart::page(tx, patient, after, most);
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// Since when a patient is in care, or is not, where that is known.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn is_active_since(
        &self,
        permit: &Permit<ReadPatients>,
        patient: Patient,
    ) -> Result<Option<Timestamp>> {
        self.permitted(permit)?;
        let read = move |tx: &Tx<'_>| {
            let changed = patient::fields(tx, &patient)?.get("is_active").map(|field| field.mark);
            // Whose place another took is out of care without an edit that says so.
            let changed =
                changed.filter(|mark| mark.seq > 0 && patient.replaced_by.is_none()).map(|mark| mark.at);
            Ok(changed.or(patient.is_active.then_some(patient.created_at)))
        };
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// A patient, and the place in the feed of the last edit of the patient.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn patient(&self, permit: &Permit<ReadPatients>, id: PatientId) -> Result<(Patient, u64)> {
        self.permitted(permit)?;
        let read =
            move |tx: &Tx<'_>| patient::find_with_place(tx, id)?.ok_or(StoreError::NotFound("patient"));
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// Whether anything of a patient was written since a moment.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn is_written_since(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        since: Timestamp,
    ) -> Result<bool> {
        self.permitted(permit)?;
        let sql = "SELECT 1 FROM documents WHERE collection = 'patients' AND id = ?1 AND written_at >= ?2";
        let read = move |tx: &Tx<'_>| tx.exists(sql, params![patient, since]);
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// As whom a patient was admitted besides, and who else the patient may be.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn related(&self, permit: &Permit<ReadPatients>, patient: PatientId) -> Result<Related> {
        self.permitted(permit)?;
        let read = move |tx: &Tx<'_>| {
            let asked = patient::may_be(tx, patient)?.into_iter().map(|id| patient::present(tx, id));
            let may_be: Result<Vec<_>> = asked.collect();
            let mut may_be: Vec<Patient> = may_be?.into_iter().flatten().collect();
            may_be.retain(|other| other.id != patient);
            Ok(Related { replaces: patient::replaced(tx, patient)?, may_be })
        };
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// Who of the facility may be somebody who is to be admitted there, or since an edit of what they `had`, in care or
    /// not: those who were there first lead. Nobody where one has the MRN (`patient::holder`): it is refused for that, and
    /// nothing has to be asked.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn alike(
        &self,
        permit: &Permit<ReadPatients>,
        had: Option<Patient>,
        asked: Patient,
    ) -> Result<Vec<Patient>> {
        self.permitted(permit)?;
        let read = move |tx: &Tx<'_>| {
            if patient::holder(tx, &asked)?.is_some() {
                return Ok(Vec::new());
            }
            let alike = match &had {
                Some(had) => patient::newly_alike(tx, had, &asked)?,
                None => patient::alike(tx, &asked)?,
            };
            let alike = alike.into_iter().map(|id| patient::find(tx, id));
            Ok(alike.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// Which of these records are struck out, and by which.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub async fn struck(
        &self,
        permit: &Permit<ReadPatients>,
        records: Vec<RecordId>,
    ) -> Result<BTreeMap<RecordId, RecordId>> {
        self.permitted(permit)?;
        let read = move |tx: &Tx<'_>| {
            let struck = records.into_iter().map(|id| Ok((id, chart::struck_by(tx, id)?)));
            let struck = struck.collect::<Result<Vec<_>>>()?.into_iter();
            Ok(struck.filter_map(|(id, by)| Some((id, by?))).collect())
        };
        self.store.read(AccessScope::Facility(self.scope), read).await
    }

    /// A page of a patient's records that have left the feed, as a view shows them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the facility has no such patient, or the view shows none.
    pub async fn older_records(&self, asked: OlderRequest) -> Result<OlderRecords<Box<RawValue>>> {
        self.store.read(AccessScope::Facility(self.scope), move |tx| older::page(tx, &asked)).await
    }

    /// Whether the device said, in its latest heartbeat, that all that rests on it is encrypted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_encrypted(&self, device: &DeviceIdentity) -> Result<bool> {
        let id = device.device();
        let said = match self.store.inner.presence.encryption(id) {
            Some(said) => said,
            None => {
                let sql = "SELECT encryption FROM devices WHERE id = ?1";
                let read = move |tx: &Tx<'_>| tx.first::<Option<_>>(sql, params![id]);
                self.store.read(AccessScope::Facility(self.scope), read).await?.flatten()
            }
        };
        Ok(said.as_ref().is_some_and(Encryption::is_complete))
    }

    /// Writes audit events, all under this facility.
    ///
    /// # Errors
    /// When they could not be made durable.
    pub async fn audit(&self, mut events: Vec<AuditEvent>) -> Result<()> {
        for event in &mut events {
            event.organization_id = Some(self.scope.organization());
            event.facility_id = Some(self.scope.facility());
        }
        self.store.write(AccessScope::Facility(self.scope), move |tx| audit::append(tx, &events)).await
    }
}

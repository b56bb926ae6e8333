//! The registry of one organization: facilities, devices, users and badges, patients, workflows.
//!
//! What devices mirror is written twice in one transaction: as a row, and as a document in the feed of
//! the facility concerned. What concerns many facilities reaches their feeds behind that, in portions.

mod badges;
mod changes;
mod devices;
mod facilities;
mod lost;
mod patients;
mod records;
mod users;
mod withdrawal;
mod workflows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{FacilityId, PatientId};

use crate::scope::OrganizationScope;
use crate::store::engine::{AccessScope, Tx, params};
use crate::store::rules::{audit, idempotency};
use crate::store::{
    AuditPlace, AuditQuery, Audited, Expected, IdempotentRequest, Listed, Organization, OrganizationPatch,
    Store, StoreError,
};

#[cfg(test)]
pub(in crate::store) use badges::MAX_BADGES;
pub(in crate::store) use badges::remove_by_id as remove_badge;
pub use changes::Reconsidered;
pub(in crate::store) use devices::TOKEN_LIFE;
pub(in crate::store) use facilities::publish as publish_facility;
#[cfg(test)]
pub(in crate::store) use lost::{BADGES_BEFORE, EXPOSED, LEFT, UNMARKED, begin as begin_with_lost};
pub(in crate::store) use lost::{
    finish as finish_with_lost, go_on as go_on_with_lost, unfinished, withhold_expired_pins,
};
pub use records::Struck;
#[cfg(test)]
pub(in crate::store) use users::{LIST as USERS, MAX_TERMS};
pub use users::{USERNAME_RULE, is_username};
pub(in crate::store) use users::{insert_user, parked_key};
#[cfg(test)]
pub(in crate::store) use withdrawal::LOOK_UPS as WITHDRAWN_BY;
pub use withdrawal::{Stays, Withdrawal};
pub(in crate::store) use workflows::LATEST as LATEST_FORMS;
#[cfg(test)]
pub(in crate::store) use workflows::{BEFORE as FORM_BEFORE, MAX_FORMS};

type Result<T> = std::result::Result<T, StoreError>;

/// How many feeds one portion writes to at most; fewer when its time is over.
const FEEDS_AT_ONCE: usize = 50;
/// How often a portion is tried that finds no room or does not become durable, and how long it waits in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Work within one organization, or one facility of it where the scope is limited to that.
#[derive(Debug, Clone)]
pub struct OrganizationStore {
    store: Store,
    scope: OrganizationScope,
}

/// A write to the registry with its audit event: both in one transaction, or neither. Nothing else changes the
/// registry, so that nobody changes it unseen.
#[derive(Debug)]
pub struct AuditedWrite {
    registry: OrganizationStore,
    event: AuditEvent,
    expected: Expected,
    base_seq: Option<u64>,
    another_than: BTreeSet<PatientId>,
    idempotent: Option<IdempotentRequest>,
}

/// What a change is about: it completes the change's audit event.
trait Subject {
    /// Says which one it is, and whose.
    fn describe(&self, event: &mut AuditEvent);

    /// Whether it was done, whatever came of it: then it is not done again for the same key.
    fn is_done(&self) -> bool {
        true
    }
}

/// None is a refusal.
impl<T: Subject> Subject for Option<T> {
    fn describe(&self, event: &mut AuditEvent) {
        match self {
            Some(done) => done.describe(event),
            None => event.success = false,
        }
    }

    fn is_done(&self) -> bool {
        self.is_some()
    }
}

/// With what else whoever made the change wants to know.
impl<T: Subject, U> Subject for (T, U) {
    fn describe(&self, event: &mut AuditEvent) {
        self.0.describe(event);
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

impl OrganizationStore {
    pub(in crate::store) fn new(store: Store, scope: OrganizationScope) -> Self {
        Self { store, scope }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.read(AccessScope::Organization(self.scope), work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.write(AccessScope::Organization(self.scope), work).await
    }

    /// A write to the registry, with the event that says who made it.
    #[must_use]
    pub fn audited(&self, event: AuditEvent) -> AuditedWrite {
        AuditedWrite {
            registry: self.clone(),
            event,
            expected: Expected::Any,
            base_seq: None,
            another_than: BTreeSet::new(),
            idempotent: None,
        }
    }

    /// Does something in the feed of each facility, in portions. A feed in which it fails is left out: what is undone
    /// there must be what is done when a device of the facility is heard.
    async fn in_every_feed(
        &self,
        undone: &'static str,
        work: impl Fn(&Tx<'_>) -> Result<()> + Clone + Send + 'static,
    ) {
        let (organization, presence) = (self.scope.organization(), Arc::clone(&self.store.inner.presence));
        let portion = move |tx: &Tx<'_>, after: Option<FacilityId>| {
            let after = after.unwrap_or(FacilityId::from_bytes([0; 16]));
            let behind = "SELECT id FROM facilities WHERE id > ?1 ORDER BY id LIMIT ?2";
            let found = tx.all::<FacilityId>(behind, params![after, FEEDS_AT_ONCE])?;
            for facility in &found {
                if let Err(fault) = tx.savepoint(|tx| tx.within_facility(*facility, &work)) {
                    if fault.is_of_every_write() {
                        return Err(fault);
                    }
                    tracing::warn!(%organization, %facility, %fault, "{undone}");
                    presence.look_again(|feed| feed.facility() == *facility);
                }
                if tx.is_spent() {
                    return Ok(Some(*facility));
                }
            }
            Ok(found.last().copied().filter(|_| found.len() == FEEDS_AT_ONCE))
        };
        self.in_portions(undone, portion).await;
    }

    /// Does what may be much a portion at a time, each a commit of its own, so that others write in between. A portion
    /// begins behind the place where the one before ended, and gives its own while there may be more. Where that breaks
    /// off, the log says what is undone, and the organization's feeds are looked after when their devices are heard.
    async fn in_portions<P: Clone + Send + 'static>(
        &self,
        undone: &'static str,
        portion: impl Fn(&Tx<'_>, Option<P>) -> Result<Option<P>> + Clone + Send + 'static,
    ) {
        let organization = self.scope.organization();
        let (mut place, mut tries) = (None, TRIES);
        loop {
            let (portion, after) = (portion.clone(), place.clone());
            match self.write(move |tx| portion(tx, after)).await {
                Ok(None) => return,
                Ok(next) => (place, tries) = (next, TRIES),
                Err(StoreError::Full | StoreError::NotDurable(_)) if tries > 1 => {
                    tries -= 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(fault) => {
                    tracing::warn!(%organization, %fault, "{undone}");
                    self.store.inner.presence.look_again(|feed| feed.organization() == organization);
                    return;
                }
            }
        }
    }

    /// Writes audit events of what changed nothing, all under this organization, and under the scope's
    /// one facility where it is limited to that.
    ///
    /// # Errors
    /// When they could not be made durable.
    pub async fn audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        let scope = self.scope;
        self.write(move |tx| events.into_iter().try_for_each(|event| append(tx, scope, event))).await
    }

    /// # Errors
    /// When the database fails.
    pub async fn audit_events(&self, query: AuditQuery) -> Result<Listed<Audited, AuditPlace>> {
        self.read(move |tx| audit::find(tx, &query)).await
    }
}

impl AuditedWrite {
    /// The same, to be made only to what is as expected: what can be edited says so with [`StoreError::Changed`].
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Self {
        Self { expected, ..self }
    }

    /// The same, by somebody who saw the patient whom it changes as of this place in the feed; none where the patient
    /// as it stands is what was seen.
    #[must_use]
    pub fn seen_to(self, base_seq: Option<u64>) -> Self {
        Self { base_seq, ..self }
    }

    /// The same, by somebody who was shown these patients, and said that it is another person.
    #[must_use]
    pub fn another_than(self, another_than: BTreeSet<PatientId>) -> Self {
        Self { another_than, ..self }
    }

    /// The same, for a request that is to be done once: what was done already says so with [`StoreError::Done`].
    #[must_use]
    pub fn idempotent(self, idempotent: Option<IdempotentRequest>) -> Self {
        Self { idempotent, ..self }
    }

    async fn write<T: Subject + Send + 'static>(
        self,
        work: impl FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Self { registry, mut event, expected: _, base_seq: _, another_than: _, idempotent } = self;
        let scope = registry.scope;
        let with_event = move |tx: &Tx<'_>| {
            let done = work(tx)?;
            done.describe(&mut event);
            if done.is_done() {
                idempotency::record(tx, idempotent, event.user_id)?;
            }
            append(tx, scope, event)?;
            Ok(done)
        };
        registry.write(with_event).await
    }
}

fn append(tx: &Tx<'_>, scope: OrganizationScope, mut event: AuditEvent) -> Result<()> {
    event.organization_id = Some(scope.organization());
    event.facility_id = scope.limit().or(event.facility_id);
    audit::append(tx, &[event])
}

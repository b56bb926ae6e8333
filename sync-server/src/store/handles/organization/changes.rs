//! Rejected changes that an administrator settles.

use crate::store::engine::params;
use carepost_protocol::audit::AuditEvent;
use carepost_protocol::id::{DeviceId, FacilityId};
use carepost_protocol::wire::heartbeat::{ChangeName, Settlement};

use super::{AuditedWrite, Result, StoreError, Subject, Tx};
use crate::clock;
use crate::store::rules::changes::{self, KeptChange};
use crate::store::rules::push::{self, Followed};
use crate::store::version::{Version, Versioned};

/// What came of looking at a rejected change again.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconsidered {
    pub change: KeptChange,
    pub facility: FacilityId,
    /// How many that had depended on it stand now as well.
    pub followed: u64,
}

impl Versioned for Reconsidered {
    fn version(&self) -> Version {
        self.change.version()
    }
}

impl AuditedWrite {
    /// Judges a rejected change again, as of when it was made; when it stands now, those that had been
    /// rejected because it did not are judged again too, in order: in portions, each a commit of its own with
    /// an event of its own, so that others write in between. Where that breaks off, the change stands
    /// all the same: those that are left wait among the rejected, as before.
    ///
    /// # Errors
    /// [`super::StoreError::NotFound`]; [`super::StoreError::Changed`]; [`super::StoreError::Invalid`] when it is settled
    /// already.
    pub async fn retry_change(self, device: DeviceId, name: ChangeName) -> Result<Reconsidered> {
        let (by, expected) = (self.event.user_id, self.expected.clone());
        let (registry, event) = (self.registry.clone(), self.event.clone());
        let scope = registry.scope;
        let first = self.write(move |tx| {
            let facility = facility_of(tx, device)?;
            tx.within_facility(facility, |tx| {
                expected.check(&changes::rejected_change(tx, device, name)?)?;
                push::retry(tx, device, name, by)?;
                let change = changes::rejected_change(tx, device, name)?;
                Ok(Reconsidered { change, facility, followed: 0 })
            })
        });
        let mut done = first.await?;
        let stands = done.change.settlement == Some(Settlement::Applied);
        let mut on = stands.then_some(name.n);
        while let Some(after) = on {
            let (again, mut event) = (done.clone(), event.clone());
            let portion = registry.write(move |tx| {
                let Followed { stand, on } =
                    tx.within_facility(again.facility, |tx| push::follow(tx, device, after, by))?;
                if stand > 0 {
                    event.id = clock::audit_id(tx.now(), tx.random()?);
                    Reconsidered { followed: stand, ..again }.describe(&mut event);
                    super::append(tx, scope, event)?;
                }
                Ok(Followed { stand, on })
            });
            let Followed { stand, on: next } = match portion.await {
                Ok(followed) => followed,
                Err(fault) => {
                    tracing::warn!(%fault, "not all that depended on a change that stands now is judged again: the rest waits among the rejected");
                    break;
                }
            };
            done.followed += stand;
            on = next;
        }
        Ok(done)
    }

    /// Settles a rejected change for good: it will not stand, for the reason given.
    ///
    /// # Errors
    /// As [`Self::retry_change`].
    pub async fn discard_change(
        self,
        device: DeviceId,
        name: ChangeName,
        reason: String,
    ) -> Result<Reconsidered> {
        let (by, expected) = (self.event.user_id, self.expected.clone());
        self.write(move |tx| {
            let facility = facility_of(tx, device)?;
            tx.within_facility(facility, |tx| {
                expected.check(&changes::rejected_change(tx, device, name)?)?;
                push::discard(tx, device, name, by, &reason)?;
                let change = changes::rejected_change(tx, device, name)?;
                Ok(Reconsidered { change, facility, followed: 0 })
            })
        })
        .await
    }
}

fn facility_of(tx: &Tx<'_>, device: DeviceId) -> Result<FacilityId> {
    let sql = "SELECT facility_id FROM devices WHERE id = ?1";
    tx.first(sql, params![device])?.ok_or(StoreError::NotFound("device"))
}

impl Subject for Reconsidered {
    fn describe(&self, event: &mut AuditEvent) {
        let change = &self.change;
        event.resource_id = Some(format!("{}/{}", change.incarnation, change.n));
        event.device_id = Some(change.device);
        event.facility_id = Some(self.facility);
        event.patient_id = change.patient;
        event.success = change.settlement.is_some();
        event.details.insert("followed".to_owned(), self.followed.into());
    }
}

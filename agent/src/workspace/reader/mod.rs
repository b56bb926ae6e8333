//! The reader: the mirror with the outbox laid over it, as pages show them.
//!
//! Every read of residents takes a permit, and each page that is read is written into the audit trail. What waits in
//! the outbox is read before the mirror, and the mirror's cursor before that: what arrives in between is in both.

mod agreement;
mod corrections;
mod duplicates;
mod entries;
mod older;
mod rejected;
mod residents;
mod reviews;
mod workflows;

use std::sync::Arc;

use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::record::{Collection, FacilityDocument, PatientDocument};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::unit::Units;
use carepost_protocol::zone::Zone;

use super::answer::in_words;
use super::audit_trail::{Access, AuditTrail};
use super::lock;
use super::permits::Permits;
use super::resident_form::{self, REPLACED, REPLACED_BY};
use super::times::TimeHere;
use super::view::{Begun, Refused, ResidentPage, Shown, StatusLine};
use crate::clock::Clock;
use crate::mirror::{Mirror, MirrorError};
use crate::outbox::Outbox;
use older::Older;

pub use older::{Asked, Question};
pub use reviews::COUNTED as REVIEWS_COUNTED;
pub(crate) use reviews::last_stays;

/// See the module.
pub(crate) struct Reader {
    pub(super) mirror: Arc<Mirror>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) clock: Arc<Clock>,
    pub(super) trail: Arc<AuditTrail>,
    older: Older,
}

impl Reader {
    pub(super) fn new(
        mirror: Arc<Mirror>,
        outbox: Arc<Outbox>,
        clock: Arc<Clock>,
        trail: Arc<AuditTrail>,
    ) -> Self {
        Self { mirror, outbox, clock, trail, older: Older::default() }
    }

    /// One resident's page, but for what its reader began.
    pub(super) fn resident(
        &self,
        permits: &Permits,
        id: PatientId,
        shown: Shown,
    ) -> Result<ResidentPage, Refused> {
        let (access, permit) = (Access::resident(id), &permits.read);
        let complete = self.is_loaded(Collection::Records);
        let resident = self.resident_now(permit, id)?.ok_or_else(|| {
            self.trail.accessed(permit.actor(), &access, false);
            Refused::NoSuchResident
        })?;
        let whole = resident.document.chart();
        let workflows = self.workflows()?;
        let viewer = self.viewer(permits, &workflows);
        let (entries, is_all) = self.entries(permit, &whole, &viewer, shown)?;
        let complete = complete && self.is_loaded(Collection::Records);
        self.trail.accessed(permit.actor(), &access, true);
        let older_before = self.mirror.archived_before().map_err(storage)?;
        let replaced = resident.document.replaces.iter().map(|id| self.resident_here(permit, *id));
        let replaced: Result<Vec<_>, Refused> = replaced.collect();
        Ok(ResidentPage {
            twins: self.twins(permit, &resident.document)?,
            also: replaced?.into_iter().flatten().map(|resident| resident.document).collect(),
            resident,
            contested: self.contested(permit, Some(id))?.remove(&id).unwrap_or_default(),
            may_edit: permits.manage.is_some(),
            workflows: if permits.chart.is_some() { workflows.offered() } else { Vec::new() },
            entries,
            complete,
            more_entries: (!is_all).then(|| shown.more_entries()),
            more_versions: shown.more_versions(),
            older_before,
            readmission: None,
            begun: Begun::default(),
        })
    }

    /// A resident who is here; that somebody asked for one who is not is written down, as that access.
    pub(super) fn find(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
        access: Option<&Access>,
    ) -> Result<PatientDocument, Refused> {
        let known = self.resident_here(permit, id)?.map(|resident| resident.document);
        known.ok_or_else(|| {
            self.trail.refused(permit.actor(), access);
            Refused::NoSuchResident
        })
    }

    /// What the line at the top says of the mirror, the outbox and the facility.
    pub(super) fn report(&self, status: &mut StatusLine) {
        let now = self.clock.now();
        match self.outbox.counts() {
            Ok(counts) => {
                status.waiting = counts.care;
                status.rejected = counts.rejected;
                status.oldest_waiting = counts.oldest.map(|made| now.since(made));
            }
            Err(error) => status.storage_trouble = Some(error.to_string()),
        }
        status.loading = !self.is_loaded(Collection::Patients);
        status.differs = self.differing();
        status.stepped_over = self.stepped_over();
        status.sent = self.phi_mode();
        let facility = self.facility();
        status.time = TimeHere::of(facility.as_deref(), self.clock.zone());
        status.phone = facility.and_then(|facility| facility.phone.clone());
        status.storage_trouble = self.trail.trouble().or(status.storage_trouble.take());
        status.outbox_trouble = self.outbox.trouble();
    }

    pub(super) fn facility(&self) -> Option<Arc<FacilityDocument>> {
        self.mirror.facility().ok().flatten()
    }

    /// The measures that the facility charts in, and the zone in which times are shown and read here.
    pub(super) fn units_and_zone(&self) -> (Units, Zone) {
        let facility = self.facility();
        let zone = TimeHere::of(facility.as_deref(), self.clock.zone()).zone;
        (facility.map(|facility| facility.units).unwrap_or_default(), zone)
    }

    /// How much of a resident is here. Where that cannot be read, nothing is said to be none.
    pub(super) fn phi_mode(&self) -> PhiMode {
        self.mirror.phi_mode().unwrap_or(PhiMode::Free)
    }

    /// In which zone times are shown and read here.
    pub(super) fn time_here(&self) -> TimeHere {
        TimeHere::of(self.facility().as_deref(), self.clock.zone())
    }

    pub(super) fn is_loaded(&self, collection: Collection) -> bool {
        self.mirror.is_complete(collection).unwrap_or(false)
    }

    /// What somebody is called, within a sentence. Whoever is not of the facility's staff is an administrator of its
    /// organization, or was of the staff when they did what is shown; as long as the staff is still loading, neither is
    /// said.
    pub(super) fn name_of(&self, user: UserId) -> String {
        // Asked first: a page that arrives in between only adds.
        let unknown = if self.is_loaded(Collection::Users) {
            "the office or former staff"
        } else {
            "somebody whose name is still loading"
        };
        let known = self.mirror.user(user).ok().flatten();
        known.map_or_else(|| unknown.to_owned(), |user| user.display_name)
    }

    /// How far the mirror has come in the feed: what waits is laid over it from there on.
    pub(super) fn seq(&self) -> Result<u64, MirrorError> {
        Ok(self.mirror.cursor()?.map_or(0, |cursor| cursor.seq))
    }
}

#[allow(clippy::needless_pass_by_value)] // so that it fits map_err
pub(super) fn storage(error: impl std::fmt::Display) -> Refused {
    Refused::Storage(error.to_string())
}

//! Rejected changes: what the server did not take of this device, and who can do what about it.

use std::sync::Arc;

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::{PatientId, RecordId, UserId};
use carepost_protocol::record::{Collection, PatientDocument};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::wire::push::RejectionCode;

use super::workflows::Workflows;
use super::{Access, Reader, in_words, resident_form, storage};
use crate::outbox::RejectedChange;
use crate::workspace::view::{Part, Refused, Rejected, Todo};

impl Reader {
    pub(crate) fn rejected(
        &self,
        permit: &Permit<ReadPatients>,
        after: usize,
    ) -> Result<Part<Rejected>, Refused> {
        let workflows = self.workflows()?;
        let rejected = self.outbox.all_rejected(permit, usize::MAX).map_err(storage)?;
        let made = rejected.iter().map(|rejected| Ok((rejected.record, what(rejected, &workflows)?)));
        let made = made.collect::<Result<Vec<(RecordId, String)>, Refused>>()?;
        let Part { items, next } = Part::of(rejected, after);
        let items = items.into_iter().map(|rejected| self.one(permit, rejected, &workflows, &made));
        let items = items.collect::<Result<_, _>>()?;
        self.trail.accessed(permit.actor(), &Access::REJECTED, true);
        Ok(Part { items, next })
    }

    fn one(
        &self,
        permit: &Permit<ReadPatients>,
        rejected: RejectedChange,
        workflows: &Workflows<'_>,
        made: &[(RecordId, String)],
    ) -> Result<Rejected, Refused> {
        let what = what(&rejected, workflows)?;
        let RejectedChange { n, record, change, reason } = rejected;
        let resident = self.about(permit, change.collection, change.patient, record)?;
        let of_patients = change.collection == Collection::Patients;
        let (form, is_own) = if of_patients {
            (Some(Arc::new(resident_form::whole())), true)
        } else {
            workflows.of(change.workflow.as_deref().unwrap_or_default(), change.schema_version)?
        };
        let named = |key: &str| {
            let field = form.iter().flat_map(|form| &form.fields).find(|field| field.key == key);
            field.map_or_else(|| key.to_owned(), |field| field.label.clone())
        };
        let faults = reason.errors.iter().map(|fault| format!("{}: {}", named(&fault.field), fault.detail));
        let why = [reason.detail.clone()].into_iter().chain(faults).collect();
        let author = self.name_of(change.actor);
        let target = change.record.into_iter().chain(change.patient.map(RecordId::from));
        let waits_for = target
            .filter(|target| *target != record || change.kind == ChangeKind::Patch)
            .find_map(|target| made.iter().find(|(id, _)| *id == target && *id != record));
        // A strike asks nothing of the version; what else was charted is asked in its own.
        let has_form = (is_own || change.entered_in_error)
            && form.is_some()
            && (resident.is_some() || (of_patients && change.kind == ChangeKind::Create));
        let nobody_here =
            matches!(reason.code, RejectionCode::WrongAssignment | RejectionCode::NotAuthorized);
        let todo = if reason.code == RejectionCode::DependsOnRejected {
            Todo::Waits(waits_for.map_or_else(|| "another entry".to_owned(), |(_, what)| what.clone()))
        } else if change.collection == Collection::Reviews {
            Todo::Review
        } else if nobody_here || !has_form {
            Todo::Administrator
        } else if change.actor == permit.actor().user {
            Todo::Correct
        } else if self.can_sign_in(change.actor)? {
            Todo::Author(author.clone())
        } else {
            // Who cannot sign in corrects nothing.
            Todo::Administrator
        };
        Ok(Rejected {
            n,
            what,
            resident,
            at: change.recorded_at,
            author,
            // A PIN's verifier is nobody's to look at.
            answers: if change.collection == Collection::Users {
                Vec::new()
            } else {
                let (units, zone) = self.units_and_zone();
                let fields = if of_patients { resident_form::shown(&change.fields) } else { change.fields };
                in_words(&zone, form.as_deref(), &fields, &change.confirmed, units)
            },
            why,
            todo,
        })
    }

    /// Whether somebody can sign in and correct what is theirs. Whoever is not here while the staff is still loading
    /// may.
    fn can_sign_in(&self, user: UserId) -> Result<bool, Refused> {
        // Asked first: a page that arrives in between only adds.
        let is_loading = !self.is_loaded(Collection::Users);
        let known = self.mirror.user(user).map_err(storage)?;
        Ok(known.map_or(is_loading, |user| user.is_active))
    }

    /// Whom a change is about.
    fn about(
        &self,
        permit: &Permit<ReadPatients>,
        collection: Collection,
        patient: Option<PatientId>,
        record: RecordId,
    ) -> Result<Option<PatientDocument>, Refused> {
        let id = if collection == Collection::Patients { Some(record.into()) } else { patient };
        let known = id.map(|id| self.resident_here(permit, id)).transpose()?.flatten();
        Ok(known.map(|resident| resident.document))
    }
}

/// What a change is, in words.
fn what(rejected: &RejectedChange, workflows: &Workflows<'_>) -> Result<String, Refused> {
    let change = &rejected.change;
    let key = change.workflow.clone().unwrap_or_default();
    let label = workflows.of(&key, change.schema_version)?.0.map_or(key, |form| form.label.clone());
    Ok(match (change.collection, change.kind) {
        (Collection::Patients, ChangeKind::Create) => "Admission".to_owned(),
        (Collection::Patients, _) => "Edit of a resident".to_owned(),
        (Collection::Users, _) => "New PIN".to_owned(),
        (Collection::Reviews, _) => "Decision about what needs a look".to_owned(),
        (_, ChangeKind::Amend) if change.entered_in_error => format!("{label}, charted in error"),
        (_, ChangeKind::Amend) => format!("Correction of {label}"),
        (_, _) => label,
    })
}

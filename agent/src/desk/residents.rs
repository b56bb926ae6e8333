//! Residents: what waits here laid over what the server has, and the form that admits and edits them.

use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::change::ChangeKind;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, WorkflowId};
use carepost_protocol::patient::{self, FIELDS, is_found};
use carepost_protocol::record::{Collection, MAX_REPLACED, PatientDocument};
use carepost_protocol::role::{ManagePatients, Permit, ReadPatients};
use carepost_protocol::text::Sought;
use carepost_protocol::workflow::{Field, Workflow};
use serde_json::{Map, Value};

use super::noted::Page;
use super::view::{Mark, Refused, Resident, Residents, SessionKey, Who};
use super::ward::{Ward, storage};
use crate::mirror::by_room_then_name;
use crate::outbox::{Pending, Progress};

/// How many of those who were found or discharged are shown.
const SHOWN: usize = 50;

impl Ward {
    pub(super) fn residents(&self, on: &SessionKey, who: &Who) -> Result<Residents, Refused> {
        let page = Page::RESIDENTS;
        let permit = self.permit::<ReadPatients>(on, &page)?;
        // Whether it is complete is asked first, because a page that arrives in between only adds, and
        // again, because a damaged mirror may have been made anew.
        let complete = self.is_loaded(Collection::Patients);
        let mut known = self.all_residents(&permit)?;
        let sought = match who {
            Who::Here | Who::Discharged => None,
            Who::Found(typed) => Some(Sought::new(typed)),
        };
        keep_present(&mut known, |resident| sought.as_ref().is_none_or(|sought| is_found(resident, sought)));
        let (mut residents, mut discharged): (Vec<Resident>, Vec<Resident>) =
            known.into_iter().partition(|resident| resident.document.is_active);
        let complete = complete && self.is_loaded(Collection::Patients);
        let may_admit = self.may::<ManagePatients>(on)?.is_some();
        discharged.retain(|_| may_admit);
        // What waits here is the latest.
        discharged.sort_by_key(|resident| resident.mark.is_none());
        match who {
            Who::Here => discharged.clear(),
            Who::Discharged => residents.clear(),
            Who::Found(_) => {}
        }
        residents.sort_by_cached_key(|resident| by_room_then_name(&resident.document));
        self.note(permit.actor(), &page, true);
        let most = if *who == Who::Here { usize::MAX } else { SHOWN };
        let more = residents.len() > most || discharged.len() > most;
        residents.truncate(most);
        discharged.truncate(most);
        let unfinished = self.unfinished(on, permit.actor().user, None)?;
        let dropped = self.dropped(on, None);
        Ok(Residents { residents, discharged, more, may_admit, complete, unfinished, dropped })
    }

    /// The residents, in care or not, as the device knows them: whom the server changed last first.
    pub(super) fn all_residents(&self, permit: &Permit<ReadPatients>) -> Result<Vec<Resident>, Refused> {
        let edits = self.edits(permit, Collection::Patients)?;
        let joined = self.joined(permit)?;
        let known = self.mirror.all_residents(permit).map_err(storage)?;
        let mut residents: Vec<Resident> =
            known.into_iter().map(|document| Resident { document, mark: None }).collect();
        lay_over(&mut residents, edits);
        residents.iter_mut().for_each(|resident| join(&mut resident.document, &joined));
        Ok(residents)
    }

    /// A resident, or whoever is the same person and took the resident's place.
    pub(super) fn resident_now(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
    ) -> Result<Option<Resident>, Refused> {
        let now = self.who_now(permit, id, &self.joined(permit)?)?;
        match self.resident_here(permit, now)? {
            None if now != id => self.resident_here(permit, id),
            found => Ok(found),
        }
    }

    /// Who took a resident's place last, by what was said here and by what the server has.
    fn who_now(
        &self,
        permit: &Permit<ReadPatients>,
        mut id: PatientId,
        joined: &[Joined],
    ) -> Result<PatientId, Refused> {
        // No further than one may be replaced: a ring has no end.
        for _ in 0..MAX_REPLACED {
            let next = match joined.iter().find(|joined| joined.goes == id) {
                Some(joined) => Some(joined.stays),
                None => {
                    self.mirror.resident(permit, id).map_err(storage)?.and_then(|known| known.replaced_by)
                }
            };
            let Some(next) = next else { break };
            id = next;
        }
        Ok(id)
    }

    /// Who was said to be the same person as whom, and waits for the server, in the order in which it was said.
    fn joined(&self, permit: &Permit<ReadPatients>) -> Result<Vec<Joined>, Refused> {
        let mut joined: Vec<Joined> = Vec::new();
        for edit in self.edits(permit, Collection::Reviews)? {
            let named = |field| edit.change.fields.get(field)?.as_str()?.parse().ok();
            let (Some(goes), Some(stays)) = (named(REPLACED), named(REPLACED_BY)) else { continue };
            let (goes, stays) = (self.who_now(permit, goes, &joined)?, self.who_now(permit, stays, &joined)?);
            if matches!(edit.progress, Progress::Rejected(_)) || goes == stays {
                continue;
            }
            let known = self.mirror.resident(permit, goes).map_err(storage)?;
            let mut chart = known.map_or_else(|| vec![goes], |known| known.chart());
            let earlier = joined.iter().filter(|earlier| earlier.stays == goes);
            chart.extend(earlier.flat_map(|earlier| &earlier.chart).copied());
            joined.push(Joined { goes, stays, chart });
        }
        Ok(joined)
    }

    /// A resident, in care or not, as the device knows them.
    pub(super) fn resident_here(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
    ) -> Result<Option<Resident>, Refused> {
        let mut edits = self.edits(permit, Collection::Patients)?;
        edits.retain(|edit| edit.record == id.into());
        let joined = self.joined(permit)?;
        let document = self.mirror.resident(permit, id).map_err(storage)?;
        let mut known: Vec<Resident> =
            document.into_iter().map(|document| Resident { document, mark: None }).collect();
        lay_over(&mut known, edits);
        known.iter_mut().for_each(|resident| join(&mut resident.document, &joined));
        Ok(known.pop())
    }

    /// What waits of residents or reviews. It is read before the mirror, and the mirror's cursor before
    /// it: what arrives in between is in both.
    pub(super) fn edits(
        &self,
        permit: &Permit<ReadPatients>,
        collection: Collection,
    ) -> Result<Vec<Pending>, Refused> {
        let cursor = self.mirror.cursor().map_err(storage)?.map_or(0, |cursor| cursor.seq);
        self.outbox.edits(permit, collection, cursor).map_err(storage)
    }
}

/// Lays edits over residents, in the order in which they were made. A refused edit is marked, and does
/// not count; somebody whose admission was refused is shown all the same.
fn lay_over(residents: &mut Vec<Resident>, edits: Vec<Pending>) {
    for edit in edits {
        let id: PatientId = edit.record.into();
        let at = residents.iter().position(|resident| resident.document.id == id);
        let refused = matches!(edit.progress, Progress::Rejected(_));
        let mark = match edit.progress {
            Progress::Queued => Mark::SavedHere,
            Progress::Acknowledged => Mark::Sent,
            Progress::Rejected(why) => Mark::NeedsAttention(why),
        };
        let known = at.and_then(|at| residents.get_mut(at));
        match (edit.change.kind, known) {
            (ChangeKind::Create, None) => {
                let mut document = PatientDocument::new(id);
                document.set_all(&edit.change.fields);
                residents.push(Resident { document, mark: Some(mark) });
            }
            (ChangeKind::Patch, Some(known)) => {
                if !refused {
                    known.document.set_all(&edit.change.fields);
                }
                if !matches!(known.mark, Some(Mark::NeedsAttention(_))) {
                    known.mark = Some(mark);
                }
            }
            // The mirror has the admission already, or the server keeps the resident from this device.
            (ChangeKind::Create | ChangeKind::Patch | ChangeKind::Amend | ChangeKind::Delete, _) => {}
        }
    }
}

/// What a decision that two are one person says: who goes, and who stays.
pub(super) const REPLACED: &str = "replaced";
/// See [`REPLACED`].
pub(super) const REPLACED_BY: &str = "replaced_by";

/// Two who were said here to be one person.
struct Joined {
    goes: PatientId,
    stays: PatientId,
    /// Under whom the chart of whoever goes is kept.
    chart: Vec<PatientId>,
}

fn join(resident: &mut PatientDocument, joined: &[Joined]) {
    for Joined { goes, stays, chart } in joined {
        if resident.id == *goes {
            (resident.replaced_by, resident.is_active) = (Some(*stays), false);
        } else if resident.id == *stays {
            for id in chart {
                if resident.replaces.len() < MAX_REPLACED && !resident.replaces.contains(id) {
                    resident.replaces.push(*id);
                }
            }
        }
    }
}

/// Keeps those of whom it holds. Whoever took somebody's place is kept for both: people know them by either's
/// name and number.
pub(super) fn keep_present(residents: &mut Vec<Resident>, holds: impl Fn(&PatientDocument) -> bool) {
    let replaced = residents.iter().map(|resident| &resident.document);
    let replaced = replaced.filter_map(|resident| Some((resident.id, resident.replaced_by?)));
    let replaced: BTreeMap<PatientId, PatientId> = replaced.collect();
    let present = |id| (0..MAX_REPLACED).fold(id, |id, _| replaced.get(&id).copied().unwrap_or(id));
    let held = residents.iter().map(|resident| &resident.document).filter(|resident| holds(resident));
    let kept: BTreeSet<PatientId> = held.map(|resident| present(resident.id)).collect();
    residents.retain(|resident| kept.contains(&resident.document.id));
}

/// What a form about a resident asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// All about somebody new.
    Admission,
    /// The same of somebody who is known.
    Edit,
    /// Nothing: that it is so is all there is to say.
    Discharge,
    /// Where the resident lives from now on.
    Readmission,
}

impl Asks {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Admission => "Admit a resident",
            Self::Edit => "Edit resident",
            Self::Discharge => "Discharge",
            Self::Readmission => "Readmit",
        }
    }

    fn asks(self, field: &patient::Field) -> bool {
        match self {
            Self::Admission | Self::Edit => field.is_asked(),
            Self::Discharge => false,
            Self::Readmission => field.key == "room",
        }
    }

    /// Whether the resident lives here from then on, where the form is about that.
    pub(super) const fn lives_here(self) -> Option<bool> {
        match self {
            Self::Admission | Self::Edit => None,
            Self::Discharge => Some(false),
            Self::Readmission => Some(true),
        }
    }
}

/// What people call a resident's field.
pub(super) fn label(key: &str) -> String {
    patient::field(key).map_or(key, |field| field.label).to_owned()
}

/// A form about a resident on a device that is sent so much of one: it asks nothing that is there and not sent.
pub(super) fn form(asks: Asks, sent: PhiMode) -> Workflow {
    let is_known = asks != Asks::Admission;
    form_of(asks.label(), |field| asks.asks(field) && (!is_known || field.is_sent(sent)))
}

/// The form of an edit that was refused: what it changed was typed here.
pub(super) fn form_again(changed: &Map<String, Value>, sent: PhiMode) -> Workflow {
    let asks = Asks::Edit;
    form_of(asks.label(), |field| {
        asks.asks(field) && (field.is_sent(sent) || changed.contains_key(field.key))
    })
}

/// All that is known of a resident, as a form: what puts it into words.
pub(super) fn whole() -> Workflow {
    form_of(Asks::Edit.label(), |_| true)
}

fn form_of(label: &str, asks: impl Fn(&patient::Field) -> bool) -> Workflow {
    let asked = FIELDS.iter().filter(|field| asks(field));
    let fields = asked.zip(1..).map(|(field, order)| Field {
        required: field.missing.is_some(),
        display_order: order,
        ..Field::new(field.key, field.label, field.field_type)
    });
    Workflow {
        id: WorkflowId::from_bytes([0; 16]),
        key: "resident".to_owned(),
        label: label.to_owned(),
        version: 1,
        enabled: true,
        fields: fields.collect(),
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

/// A resident's values by field, as they are stored, as far as they are sent.
pub(super) fn values(resident: &PatientDocument, sent: PhiMode) -> Map<String, Value> {
    let sent = FIELDS.iter().filter(|field| field.is_sent(sent));
    let value = |field: &patient::Field| match field.of(resident) {
        Value::String(text) if text.is_empty() => Value::Null,
        value => value,
    };
    sent.map(|field| (field.key.to_owned(), value(field))).collect()
}

/// The same as pages show them.
pub(super) fn shown(values: &Map<String, Value>) -> Map<String, Value> {
    let shown = |(key, value): (&String, &Value)| {
        let as_read = patient::field(key).zip(value.as_str()).map(|(field, text)| field.read_as(text));
        (key.clone(), as_read.map_or_else(|| value.clone(), Value::from))
    };
    values.iter().map(shown).collect()
}

//! Residents: what waits here laid over what the server has.

use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::PatientId;
use carepost_protocol::patient::{is_found, sought};
use carepost_protocol::record::{Collection, MAX_REPLACED, PatientDocument};
use carepost_protocol::role::{Permit, ReadPatients};

use super::{Access, Permits, REPLACED, REPLACED_BY, Reader, storage};
use crate::mirror::by_room_then_name;
use crate::outbox::{Pending, Progress};
use crate::workspace::view::{Begun, Mark, Refused, Resident, Residents, Twins, Who};

/// How many of those who were found or discharged are shown.
const SHOWN: usize = 50;

impl Reader {
    /// The list of residents, but for what its reader began.
    pub(crate) fn residents(&self, permits: &Permits, who: &Who) -> Result<Residents, Refused> {
        let permit = &permits.read;
        // Whether it is complete is asked first, because a page that arrives in between only adds, and
        // again, because a damaged mirror may have been made anew.
        let complete = self.is_loaded(Collection::Patients);
        let mut known = self.all_residents(permit)?;
        let typed = match who {
            Who::Here | Who::Discharged => None,
            Who::Found(typed) => Some(sought(typed)),
        };
        keep_present(&mut known, |resident| typed.as_ref().is_none_or(|typed| is_found(resident, typed)));
        let (mut residents, mut discharged): (Vec<Resident>, Vec<Resident>) =
            known.into_iter().partition(|resident| resident.document.is_active);
        let complete = complete && self.is_loaded(Collection::Patients);
        let may_admit = permits.manage.is_some();
        discharged.retain(|_| may_admit);
        // What waits here is the latest.
        discharged.sort_by_key(|resident| resident.mark.is_none());
        match who {
            Who::Here => discharged.clear(),
            Who::Discharged => residents.clear(),
            Who::Found(_) => {}
        }
        residents.sort_by_cached_key(|resident| by_room_then_name(&resident.document));
        self.trail.accessed(permit.actor(), &Access::RESIDENTS, true);
        let most = if *who == Who::Here { usize::MAX } else { SHOWN };
        let more = residents.len() > most || discharged.len() > most;
        residents.truncate(most);
        discharged.truncate(most);
        let begun = Begun::default();
        let contested = self.contested(permit, None)?;
        Ok(Residents { residents, discharged, contested, more, may_admit, complete, begun })
    }

    /// The residents, in care or not, as the device knows them: whom the server changed last first.
    pub(super) fn all_residents(&self, permit: &Permit<ReadPatients>) -> Result<Vec<Resident>, Refused> {
        let edits = self.edits(permit, Collection::Patients)?;
        let joined = self.joined(permit)?;
        let known = self.mirror.all_residents(permit).map_err(storage)?;
        Ok(as_known_here(known, edits, &joined))
    }

    /// Who looks on this device like a resident.
    pub(crate) fn twins(
        &self,
        permit: &Permit<ReadPatients>,
        resident: &PatientDocument,
    ) -> Result<Twins, Refused> {
        Ok(Twins::of(resident, &self.all_residents(permit)?))
    }

    /// A resident, or whoever is the same person and took the resident's place.
    pub(crate) fn resident_now(
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
    pub(crate) fn resident_here(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
    ) -> Result<Option<Resident>, Refused> {
        let mut edits = self.edits(permit, Collection::Patients)?;
        edits.retain(|edit| edit.record == id.into());
        let joined = self.joined(permit)?;
        let known = self.mirror.resident(permit, id).map_err(storage)?;
        Ok(as_known_here(known, edits, &joined).pop())
    }

    /// What waits of residents or reviews.
    pub(crate) fn edits(
        &self,
        permit: &Permit<ReadPatients>,
        collection: Collection,
    ) -> Result<Vec<Pending>, Refused> {
        let seq = self.seq().map_err(storage)?;
        self.outbox.edits(permit, collection, seq).map_err(storage)
    }
}

/// Residents of the mirror as the device knows them: with the edits that wait here, and who was said here to be one.
fn as_known_here(
    known: impl IntoIterator<Item = PatientDocument>,
    edits: Vec<Pending>,
    joined: &[Joined],
) -> Vec<Resident> {
    let mut residents = known.into_iter().map(|document| Resident { document, mark: None }).collect();
    lay_over(&mut residents, edits);
    residents.iter_mut().for_each(|resident| join(&mut resident.document, joined));
    residents
}

/// Lays edits over residents, in the order in which they were made. A rejected edit is marked, and does
/// not count; somebody whose admission was rejected is shown all the same.
fn lay_over(residents: &mut Vec<Resident>, edits: Vec<Pending>) {
    for edit in edits {
        let id: PatientId = edit.record.into();
        let at = residents.iter().position(|resident| resident.document.id == id);
        let rejected = matches!(edit.progress, Progress::Rejected(_));
        let mark = match edit.progress {
            Progress::Queued => Mark::SavedHere,
            Progress::Acknowledged => Mark::Sent,
            Progress::Rejected(why) => Mark::Rejected(why),
        };
        let known = at.and_then(|at| residents.get_mut(at));
        match (edit.change.kind, known) {
            (ChangeKind::Create, None) => {
                let mut document = PatientDocument::new(id);
                document.set_all(&edit.change.fields);
                residents.push(Resident { document, mark: Some(mark) });
            }
            (ChangeKind::Patch, Some(known)) => {
                if !rejected {
                    known.document.set_all(&edit.change.fields);
                }
                if !matches!(known.mark, Some(Mark::Rejected(_))) {
                    known.mark = Some(mark);
                }
            }
            // The mirror has the admission already, or the server keeps the resident from this device.
            (ChangeKind::Create | ChangeKind::Patch | ChangeKind::Amend | ChangeKind::Delete, _) => {}
        }
    }
}

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
fn keep_present(residents: &mut Vec<Resident>, holds: impl Fn(&PatientDocument) -> bool) {
    let present = present_in(residents);
    let held = residents.iter().map(|resident| &resident.document).filter(|resident| holds(resident));
    let kept: BTreeSet<PatientId> = held.map(|resident| present(resident.id)).collect();
    residents.retain(|resident| kept.contains(&resident.document.id));
}

/// Who of these each is now: whoever took the place, or nobody else.
pub(super) fn present_in(residents: &[Resident]) -> impl Fn(PatientId) -> PatientId + use<> {
    let replaced = residents.iter().map(|resident| &resident.document);
    let replaced = replaced.filter_map(|resident| Some((resident.id, resident.replaced_by?)));
    let replaced: BTreeMap<PatientId, PatientId> = replaced.collect();
    move |id| (0..MAX_REPLACED).fold(id, |id, _| replaced.get(&id).copied().unwrap_or(id))
}

//! A resident's entries with their corrections: what waits here laid over what the server has.

use std::cmp::Reverse;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};

use carepost_protocol::amend::{self, Thread, Threads};
use carepost_protocol::change::ChangeKind;
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, RecordId, UserId};
use carepost_protocol::record::{RecordDocument, ReviewDocument};
use carepost_protocol::role::{Actor, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::wire::older::Cut;
use carepost_protocol::workflow::Workflow;
use carepost_protocol::zone::Zone;
use serde_json::{Map, Value};

use super::workflows::Workflows;
use super::{Permits, Reader, in_words, storage};
use crate::mirror::{self, first_and_last};
use crate::outbox::{Pending, Progress};
use crate::workspace::view::{Answered, Beside, Charted, Entry, Form, Mark, Refused, Shown};

/// For whom entries are put into words.
pub(super) struct Viewer<'a> {
    zone: Zone,
    workflows: &'a Workflows<'a>,
    /// Who may chart here; none where nothing can be corrected.
    charts: Option<Actor>,
    /// The measures of the facility.
    units: Units,
    /// Whether all that was charted is sent here, so that an entry without answers has none.
    shows_all: bool,
}

impl Viewer<'_> {
    /// Whether an entry of that workflow may be corrected.
    fn may_correct(&self, key: &str, author: UserId) -> bool {
        let who = self.charts.as_ref().zip(self.workflows.latest(key));
        who.is_some_and(|(actor, form)| form.lets_correct(actor.role, author == actor.user))
    }

    /// What was answered in an entry with these values. What strikes one out has none of its own.
    fn answered(
        &self,
        form: Option<&Workflow>,
        values: &Map<String, Value>,
        confirmed: &[String],
        is_struck: bool,
    ) -> Answered {
        match (is_struck, values.is_empty()) {
            (true, true) => Answered::NotHere,
            (false, true) if !self.shows_all => Answered::NotSent,
            (_, _) => Answered::With(in_words(&self.zone, form, values, confirmed, self.units)),
        }
    }
}

/// A version of an entry, and what it corrects. One of many is not read.
struct Version {
    amends: Option<RecordId>,
    /// What it strikes out; where the server rejected that, it corrects nothing all the same.
    strikes: Option<RecordId>,
    entry: Option<Entry>,
}

/// A record that was corrected more than once, side by side, and the corrections of it that are here.
pub(super) type Fork = (RecordId, Vec<RecordId>);

/// The versions of entries, and when those came that begin one.
#[derive(Default)]
struct Found {
    versions: BTreeMap<RecordId, Version>,
    came: BTreeMap<RecordId, Timestamp>,
    /// Where more corrections come than are looked at.
    cut: BTreeSet<RecordId>,
}

impl Reader {
    pub(super) fn viewer<'a>(&self, permits: &Permits, workflows: &'a Workflows<'a>) -> Viewer<'a> {
        let charts = permits.chart.map(|permit| *permit.actor());
        let shows_all = self.phi_mode() == PhiMode::Full;
        let (units, zone) = self.units_and_zone();
        Viewer { zone, workflows, charts, units, shows_all }
    }

    /// What the mirror has of a person's whole chart from a place on, so many of it and so many versions of each, with
    /// what waits in the outbox laid over it, and whether nothing comes after but versions. The cursor is read first, then the
    /// outbox, then the mirror: an entry that arrives in between is in both and dropped here by its id, and none
    /// is missing between its receipt and its return.
    pub(super) fn entries(
        &self,
        permit: &Permit<ReadPatients>,
        whole: &[PatientId],
        viewer: &Viewer<'_>,
        shown: Shown,
    ) -> Result<(Vec<Charted>, bool), Refused> {
        let (mut found, mut is_all) = (Found::default(), true);
        for id in whole {
            is_all &= self.find_entries(permit, *id, viewer, shown, &mut found)?;
        }
        Ok((self.put_together(permit, found, viewer, shown.versions)?, is_all))
    }

    /// What there is of one patient; whether nothing comes after it but versions.
    fn find_entries(
        &self,
        permit: &Permit<ReadPatients>,
        id: PatientId,
        viewer: &Viewer<'_>,
        shown: Shown,
        found: &mut Found,
    ) -> Result<bool, Refused> {
        let Found { versions, came, cut } = found;
        let cursor = self.seq().map_err(storage)?;
        let pending = self.outbox.pending(permit, id, cursor).map_err(storage)?;
        let Shown { after, entries, versions: most } = shown;
        let asked = mirror::Asked { after, most: entries.saturating_add(1), versions: most };
        let known = self.mirror.threads(permit, id, asked).map_err(storage)?;
        let is_all = known.threads.len().max(known.held.len()) <= entries;
        let now = self.clock.now();
        // The mirror's order stands, though a clock that was ahead may have stamped one of its records.
        let mut latest = now;
        for thread in known.threads.into_iter().take(entries) {
            cut.extend(thread.is_cut.then_some(thread.root.id));
            latest = latest.min(thread.root.recorded_at);
            came.insert(thread.root.id, latest);
            let left_out = thread.left_out.into_iter();
            let unread = |amends| Version { amends: Some(amends), strikes: None, entry: None };
            versions.extend(left_out.map(|(id, amends)| (id, unread(amends))));
            for record in thread.amendments.into_iter().chain([thread.root]) {
                versions.insert(record.id, self.of_record(record, viewer)?);
            }
        }
        cut.extend(known.held.last().filter(|_| is_all && known.held_is_cut).map(|last| last.id));
        for record in known.held.into_iter().take(entries) {
            versions.insert(record.id, self.of_record(record, viewer)?);
        }
        for waiting in pending {
            // On the first page is all that waits; on a later one, what corrects something there.
            if shown.after == 0 || corrects(&waiting, versions) {
                self.lay_over(versions, waiting, viewer)?;
            }
        }
        Ok(is_all)
    }

    /// Records that have left the mirror, with the corrections of them that wait here.
    pub(super) fn older_entries(
        &self,
        permit: &Permit<ReadPatients>,
        whole: &[PatientId],
        records: Vec<RecordDocument>,
        cut: &[Cut],
        viewer: &Viewer<'_>,
    ) -> Result<Vec<Charted>, Refused> {
        let cursor = self.seq().map_err(storage)?;
        let mut pending = Vec::new();
        for id in whole {
            pending.extend(self.outbox.pending(permit, *id, cursor).map_err(storage)?);
        }
        let mut versions = BTreeMap::new();
        for record in records {
            versions.insert(record.id, self.of_record(record, viewer)?);
        }
        for Cut { record, corrected } in cut {
            // What corrects something that is left out hangs on the record, which would else pass for what counts.
            let hangs = |version: &&mut Version| version.amends.is_some_and(|of| corrected.contains(&of));
            versions.values_mut().filter(hangs).for_each(|version| version.amends = Some(*record));
        }
        for waiting in pending {
            if corrects(&waiting, &versions) {
                self.lay_over(&mut versions, waiting, viewer)?;
            }
        }
        // The server bounds its pages itself.
        let cut = cut.iter().map(|cut| cut.record).collect();
        self.put_together(permit, Found { versions, cut, ..Found::default() }, viewer, usize::MAX)
    }

    pub(super) fn entry_of(&self, record: RecordDocument, viewer: &Viewer<'_>) -> Result<Entry, Refused> {
        let (form, has_form) = viewer.workflows.of(&record.workflow, Some(record.schema_version))?;
        let form = form.as_deref();
        Ok(Entry {
            record: record.id,
            patient: record.patient_id,
            is_correction: record.amends.is_some(),
            charted: None,
            is_struck: record.entered_in_error,
            may_correct: viewer.may_correct(&record.workflow, record.recorded_by),
            has_form,
            answered: viewer.answered(form, &record.values, &record.confirmed, record.entered_in_error),
            workflow: form.map_or(record.workflow, |form| form.label.clone()),
            reason: record.reason,
            author: self.name_of(record.recorded_by),
            recorded_at: record.recorded_at,
            mark: Mark::Sent,
            became: None,
        })
    }

    /// The versions of an entry that a review shows beside each other. What of them stands can be corrected.
    pub(super) fn versions_of(
        &self,
        permits: &Permits,
        review: &ReviewDocument,
    ) -> Result<Vec<Entry>, Refused> {
        let (workflows, permit) = (self.workflows()?, &permits.read);
        let viewer = self.viewer(permits, &workflows);
        let asked: Vec<RecordId> = [review.record].iter().chain(&review.others).copied().collect();
        let mut versions = BTreeMap::new();
        for id in &asked {
            if let Some(record) = self.mirror.record(permit, *id).map_err(storage)? {
                versions.insert(*id, self.of_record(record, &viewer)?);
            }
        }
        self.hang_together(permit, &mut versions, &viewer)?;
        let mut shown: Vec<Entry> =
            asked.iter().filter_map(|id| versions.remove(id)).filter_map(|version| version.entry).collect();
        for entry in &mut shown {
            let form = Form::Correct(entry.patient, entry.record);
            entry.may_correct &= self.corrected_since(permit, &form)?.is_none();
        }
        Ok(shown)
    }

    /// One version of an entry, as whoever is to strike it out reads it.
    pub(crate) fn entry(
        &self,
        permits: &Permits,
        patient: PatientId,
        id: RecordId,
    ) -> Result<Option<Entry>, Refused> {
        let (workflows, permit) = (self.workflows()?, &permits.read);
        let viewer = self.viewer(permits, &workflows);
        // The outbox first: what arrives in between is in both.
        let pending = self.outbox.pending(permit, patient, 0).map_err(storage)?;
        let known = self.mirror.record(permit, id).map_err(storage)?.or_else(|| self.older_record(id));
        let version = match known.filter(|known| known.patient_id == patient) {
            Some(known) => Some(self.of_record(known, &viewer)?),
            None => {
                let waiting = pending.iter().find(|pending| pending.record == id).cloned();
                waiting.map(|waiting| self.of_pending(waiting, &viewer)).transpose()?
            }
        };
        let Some(Version { amends, entry: Some(entry), .. }) = version else { return Ok(None) };
        let charted = self.charted_first(permit, &pending, amends)?;
        Ok(Some(Entry { charted, ..entry }))
    }

    /// Hangs versions together, latest entry first. A correction of what is not here begins an entry of its own. Of more
    /// than `most` that count, or do not any more, the first and the last are shown.
    fn put_together(
        &self,
        permit: &Permit<ReadPatients>,
        found: Found,
        viewer: &Viewer<'_>,
        most: usize,
    ) -> Result<Vec<Charted>, Refused> {
        let now = self.clock.now();
        let Found { mut versions, came, cut } = found;
        let found = self.hang_together(permit, &mut versions, viewer)?;
        let alone =
            found.held.into_iter().map(|id| Thread { root: id, leaves: vec![id], corrected: Vec::new() });
        let mut charted: Vec<(Timestamp, bool, Charted)> = Vec::new();
        for Thread { root, leaves, corrected } in found.threads.into_iter().chain(alone) {
            let (ids, mut forks): (Vec<RecordId>, Vec<Fork>) =
                corrected.into_iter().map(|fork| (fork.0, fork)).unzip();
            forks.retain(|(_, side_by_side)| side_by_side.len() > 1);
            let beside = match beside(&leaves, &forks, &versions) {
                Some((standing, beside)) => {
                    let looked = self.looked_at(permit, &forks)?;
                    // Whoever looked at a correction beside what strikes out has let the one that stands be.
                    (standing > 1 || looked.is_none()).then_some(Beside { looked, ..beside })
                }
                None => None,
            };
            let mut left_out = 0;
            let mut take = |ids: Vec<RecordId>| -> Vec<Entry> {
                let taken: Vec<Version> = ids.into_iter().filter_map(|id| versions.remove(&id)).collect();
                let all = taken.len();
                let mut known: Vec<Entry> = taken.into_iter().filter_map(|version| version.entry).collect();
                known.sort_by_key(|entry| (entry.recorded_at, entry.record));
                let shown = first_and_last(known, most);
                left_out += all - shown.len();
                shown
            };
            let counts = take(leaves);
            let earlier = before(&counts, take(ids));
            let made = earlier.last().or(counts.first()).map_or(now, |entry| entry.recorded_at);
            let at = came.get(&root).copied().unwrap_or(made).min(now);
            let is_cut = cut.contains(&root);
            let one = Charted { counts, earlier, left_out, is_cut, beside };
            charted.push((at, !came.contains_key(&root), one));
        }
        charted.sort_by_key(|(at, waits, _)| Reverse((*at, *waits)));
        Ok(charted.into_iter().map(|(_, _, charted)| charted).collect())
    }

    /// How versions hang together, each with what it has of others: what corrects an entry, by whom that was charted, and
    /// when; what strikes one out, what it struck.
    fn hang_together(
        &self,
        permit: &Permit<ReadPatients>,
        versions: &mut BTreeMap<RecordId, Version>,
        viewer: &Viewer<'_>,
    ) -> Result<Threads, Refused> {
        let strikes = versions
            .iter()
            .filter_map(|(id, version)| Some((*id, version.entry.as_ref()?.patient, version.strikes?)));
        for (id, patient, struck) in strikes.collect::<Vec<_>>() {
            let answered = match versions.get(&struck).and_then(|struck| struck.entry.as_ref()) {
                Some(struck) => Some(struck.answered.clone()),
                None => self.charted_here(permit, patient, struck, viewer)?,
            };
            let strike = versions.get_mut(&id).and_then(|version| version.entry.as_mut());
            if let Some((strike, answered)) = strike.zip(answered) {
                strike.answered = answered;
            }
        }
        let here = |of: &RecordId| versions.contains_key(of);
        let found = amend::threads(versions.iter().map(|(id, it)| (*id, it.amends.filter(here))));
        for Thread { root, leaves, corrected } in &found.threads {
            let first = versions.get(root).and_then(|version| version.entry.as_ref());
            let first = first.filter(|first| !first.is_correction);
            let charted = first.map(|first| (first.author.clone(), first.recorded_at));
            for id in leaves.iter().chain(corrected.iter().map(|(id, _)| id)).filter(|id| *id != root) {
                if let Some(entry) = versions.get_mut(id).and_then(|version| version.entry.as_mut()) {
                    entry.charted.clone_from(&charted);
                }
            }
        }
        Ok(found)
    }

    /// What was answered in a record about a patient that is on this device, though not among what is shown.
    fn charted_here(
        &self,
        permit: &Permit<ReadPatients>,
        patient: PatientId,
        id: RecordId,
        viewer: &Viewer<'_>,
    ) -> Result<Option<Answered>, Refused> {
        let known = self.mirror.record(permit, id).map_err(storage)?.or_else(|| self.older_record(id));
        let known = known.filter(|known| known.patient_id == patient);
        known.map(|known| Ok(self.entry_of(known, viewer)?.answered)).transpose()
    }

    fn of_record(&self, record: RecordDocument, viewer: &Viewer<'_>) -> Result<Version, Refused> {
        let (amends, strikes) = (record.amends, record.amends.filter(|_| record.entered_in_error));
        Ok(Version { amends, strikes, entry: Some(self.entry_of(record, viewer)?) })
    }

    /// Lays what waits here over what the server has, unless that has it already.
    fn lay_over(
        &self,
        versions: &mut BTreeMap<RecordId, Version>,
        waiting: Pending,
        viewer: &Viewer<'_>,
    ) -> Result<(), Refused> {
        if let Place::Vacant(place) = versions.entry(waiting.record) {
            place.insert(self.of_pending(waiting, viewer)?);
        }
        Ok(())
    }

    fn of_pending(&self, waiting: Pending, viewer: &Viewer<'_>) -> Result<Version, Refused> {
        let Pending { record, change, progress, .. } = waiting;
        let key = change.workflow.unwrap_or_default();
        let (form, has_form) = viewer.workflows.of(&key, change.schema_version)?;
        let form = form.as_deref();
        let is_correction = change.kind == ChangeKind::Amend;
        let rejected = matches!(progress, Progress::Rejected(_));
        let entry = Entry {
            record,
            patient: change.patient.unwrap_or(PatientId::from_bytes([0; 16])),
            is_correction,
            charted: None,
            is_struck: change.entered_in_error,
            may_correct: !rejected && viewer.may_correct(&key, change.actor),
            has_form,
            answered: viewer.answered(form, &change.fields, &change.confirmed, change.entered_in_error),
            workflow: form.map_or(key, |form| form.label.clone()),
            reason: change.reason,
            author: self.name_of(change.actor),
            recorded_at: change.recorded_at,
            mark: match progress {
                Progress::Queued => Mark::SavedHere,
                Progress::Acknowledged => Mark::Sent,
                Progress::Rejected(reason) => Mark::Rejected(reason),
            },
            became: None,
        };
        // A rejected correction corrects nothing.
        let amends = change.record.filter(|_| is_correction && !rejected);
        let strikes = change.record.filter(|_| entry.is_struck);
        Ok(Version { amends, strikes, entry: Some(entry) })
    }
}

/// The versions before those that count, latest first, each with what became of it.
fn before(counts: &[Entry], earlier: Vec<Entry>) -> Vec<Entry> {
    let is_struck = !counts.is_empty() && counts.iter().all(|entry| entry.is_struck);
    let became = Some(if is_struck { "Struck out" } else { "Replaced" });
    earlier.into_iter().rev().map(|entry| Entry { became, ..entry }).collect()
}

fn corrects(waiting: &Pending, versions: &BTreeMap<RecordId, Version>) -> bool {
    let of_these = waiting.change.record.is_some_and(|of| versions.contains_key(&of));
    of_these && waiting.change.kind == ChangeKind::Amend
}

/// How many versions of an entry stand, and by whom they are, with who struck it out beside them; none where there is
/// nothing to decide: one stands, or all was struck out.
fn beside(
    leaves: &[RecordId],
    forks: &[Fork],
    versions: &BTreeMap<RecordId, Version>,
) -> Option<(usize, Beside)> {
    let entry = |id: &RecordId| versions.get(id)?.entry.as_ref();
    let (mut struck, standing): (Vec<RecordId>, Vec<RecordId>) =
        leaves.iter().copied().partition(|id| entry(id).is_some_and(|entry| entry.is_struck));
    // What strikes out the only version is no question.
    struck.retain(|id| forks.iter().any(|(_, side_by_side)| side_by_side.contains(id)));
    let names = |ids: &[RecordId]| -> Vec<String> {
        let by: BTreeSet<String> = ids.iter().filter_map(entry).map(|entry| entry.author.clone()).collect();
        by.into_iter().collect()
    };
    let beside = Beside { by: names(&standing), struck_by: names(&struck), looked: None };
    let is_open = !standing.is_empty() && standing.len() + struck.len() > 1;
    is_open.then_some((standing.len(), beside))
}

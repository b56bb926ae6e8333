//! Form preparation: what each form asks and is filled in with, for whoever may fill it in; `change` is what it makes.

use std::borrow::Cow;
use std::sync::Arc;

use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, RecordId, UserId};
use carepost_protocol::number::plain;
use carepost_protocol::record::{Collection, PatientDocument, RecordDocument};
use carepost_protocol::role::{Actor, Chart, ManagePatients, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::{Field, FieldError, FieldType, Workflow};
use carepost_protocol::zone::Zone;
use serde_json::{Map, Value};

use super::drafts::laid_over;
use super::seen::{Seen, typed};
use super::{Access, Asks, Forms, Permits, resident_form, storage};
use crate::outbox::{DraftOf, Entry, Outbox, OutboxError, RejectedChange, version_of};
use crate::workspace::view::{
    CARRIED, Form, REASON, Refused, SEEN, SessionKey, Struck, Typed, UNITS, units_of,
};

/// The permit that a form's change needs.
pub(super) enum Writer {
    Chart(Permit<Chart>),
    Manage(Permit<ManagePatients>),
}

impl Writer {
    pub(super) const fn actor(&self) -> &Actor {
        match self {
            Self::Chart(permit) => permit.actor(),
            Self::Manage(permit) => permit.actor(),
        }
    }

    pub(super) fn equal_since(
        &self,
        outbox: &Outbox,
        entry: Entry<'_>,
        since: Timestamp,
    ) -> Result<usize, OutboxError> {
        match self {
            Self::Chart(permit) => outbox.equal_since(permit, entry, since),
            Self::Manage(permit) => outbox.equal_since(permit, entry, since),
        }
    }
}

/// A form that somebody may fill in.
pub(super) struct Prepared {
    pub(super) read: Permit<ReadPatients>,
    pub(super) writer: Writer,
    pub(super) resident: Option<PatientDocument>,
    pub(super) workflow: Workflow,
    /// What is filled in already, as typed.
    pub(super) answers: Vec<(String, String)>,
    /// The values that those are of, as they are stored.
    pub(super) filled: Map<String, Value>,
    /// Which of those were doubtful and confirmed when they were charted.
    pub(super) confirmed: Vec<String>,
    /// When they were charted, by a clock that can be believed.
    pub(super) charted_at: Option<Timestamp>,
    pub(super) rejection: Option<String>,
    pub(super) faults: Vec<FieldError>,
    /// Who charted what is corrected, by name, where that is somebody else.
    pub(super) author: Option<String>,
    /// In which its times are shown and read.
    pub(super) zone: Zone,
    /// Whether an entry is about somebody who was discharged.
    pub(super) is_discharged: bool,
    /// Whether what it makes can be corrected here: the version of the form that it was charted in is here.
    pub(super) has_form: bool,
    /// What it does to the entry that it corrects.
    pub(super) amends: Option<Amends>,
    /// Whether there is a newer version of what is charted anew.
    pub(super) is_superseded: bool,
    pub(super) makes: Makes,
}

/// Who asks for a form, what a refusal of it is written down as, and how it is asked here.
struct Asker<'a> {
    permits: Permits,
    access: Option<&'a Access>,
    units: Units,
    zone: Zone,
}

/// What a form makes.
#[derive(Clone, Copy)]
pub(super) struct Makes {
    pub(super) kind: ChangeKind,
    pub(super) collection: Collection,
    pub(super) record: Option<RecordId>,
    pub(super) supersedes: Option<u64>,
    /// Whether a resident lives here from then on; none where that is not what it is about.
    pub(super) lives_here: Option<bool>,
}

/// What a correction does to an entry.
#[derive(PartialEq, Eq)]
pub(super) enum Amends {
    Corrects,
    StrikesOut,
    /// As it was before somebody struck it out: who, and why.
    PutsBack(Struck),
}

/// A record as it was charted, here or on its way.
pub(super) struct Recorded {
    pub(super) workflow: String,
    version: u32,
    values: Map<String, Value>,
    confirmed: Vec<String>,
    charted_at: Option<Timestamp>,
    author: UserId,
    amends: Option<RecordId>,
    /// Why it corrects another, or strikes it out.
    reason: Option<String>,
    is_struck: bool,
}

impl Form {
    pub(super) fn draft(&self) -> DraftOf {
        match self {
            Self::Chart(patient, workflow) => DraftOf::Entry(*patient, workflow.clone()),
            Self::Correct(patient, record) => DraftOf::Correction(*patient, *record),
            Self::Strike(patient, record) => DraftOf::Strike(*patient, *record),
            Self::Admit => DraftOf::Admission,
            Self::Edit(patient) => DraftOf::Resident(*patient),
            Self::Discharge(patient) => DraftOf::Discharge(*patient),
            Self::Readmit(patient) => DraftOf::Readmission(*patient),
            Self::Resubmit(n) => DraftOf::Rejected(*n),
        }
    }
}

impl Forms {
    /// A form for the session that a page was made for, with what was sent of it already; `access` is what a refusal
    /// is written down as.
    pub(super) fn prepare(
        &self,
        on: &SessionKey,
        form: &Form,
        sent: &Typed,
        access: Option<&Access>,
    ) -> Result<Prepared, Refused> {
        let permits = self.session.permits(on, access)?;
        // What its page or its draft was begun in, it is charted in.
        let version = match version_of(sent) {
            None => self.draft(permits.actor().user, form)?.as_deref().and_then(version_of),
            sent => sent,
        };
        let (units, zone) = self.reader.units_and_zone();
        let asker = Asker { permits, access, units, zone };
        let prepared = self.blank(&asker, form, version)?;
        let gone = prepared.resident.as_ref().filter(|resident| !resident.is_active);
        let Some(id) = gone.filter(|_| prepared.makes.collection == Collection::Records).map(|gone| gone.id)
        else {
            return Ok(prepared);
        };
        // Whoever took somebody's place may well be here.
        let now = self.reader.resident_now(&prepared.read, id)?;
        Ok(Prepared { is_discharged: now.is_none_or(|now| !now.document.is_active), ..prepared })
    }

    fn blank(&self, asker: &Asker<'_>, form: &Form, version: Option<u32>) -> Result<Prepared, Refused> {
        match form {
            Form::Chart(patient, key) => {
                let writer = self.charts(asker)?;
                let resident = self.about(asker, *patient)?;
                let forms = self.reader.workflows()?;
                let workflow = forms.asked_in(key, version)?;
                let is_superseded = forms.latest(key).is_some_and(|latest| latest.version > workflow.version);
                let makes = Makes::new(ChangeKind::Create, Collection::Records, None);
                let prepared = Prepared::new(asker, writer, Some(resident), workflow, makes);
                let prepared = Prepared { is_superseded, ..prepared };
                Ok(prepared.filled(Map::new(), asker.units))
            }
            Form::Correct(patient, record) => self.amend(asker, *patient, *record, false),
            Form::Strike(patient, record) => self.amend(asker, *patient, *record, true),
            Form::Admit => {
                let writer = self.manages(asker)?;
                let makes = Makes::new(ChangeKind::Create, Collection::Patients, None);
                let workflow = resident_form::form(Asks::Admission, self.reader.phi_mode());
                Ok(Prepared::new(asker, writer, None, workflow, makes))
            }
            Form::Edit(patient) => {
                let prepared = self.edit(asker, *patient, |sent| resident_form::form(Asks::Edit, sent))?;
                if prepared.workflow.fields.is_empty() { Err(Refused::NotShown) } else { Ok(prepared) }
            }
            Form::Discharge(patient) => self.moves(asker, *patient, Asks::Discharge),
            Form::Readmit(patient) => self.moves(asker, *patient, Asks::Readmission),
            Form::Resubmit(n) => self.resubmission(asker, *n, version),
        }
    }

    /// The form of a correction, or of why an entry is struck out.
    fn amend(
        &self,
        asker: &Asker<'_>,
        patient: PatientId,
        record: RecordId,
        strikes: bool,
    ) -> Result<Prepared, Refused> {
        let writer = self.charts(asker)?;
        let resident = self.about(asker, patient)?;
        let read = &asker.permits.read;
        let known = self.charted(read, patient, record)?;
        let forms = self.reader.workflows()?;
        let latest = forms.latest(&known.workflow).ok_or(Refused::NoSuchWorkflow)?;
        let actor = writer.actor();
        let (author, is_struck) = (known.author, known.is_struck);
        let is_own = author == actor.user;
        if !latest.lets_correct(actor.role, is_own) {
            self.reader.trail.refused(actor, asker.access);
            return Err(Refused::NotTheirs);
        }
        let by = self.reader.name_of(author);
        let amends = match (strikes, is_struck) {
            (true, true) => return Err(Refused::Struck),
            (true, false) => Amends::StrikesOut,
            (false, true) => Amends::PutsBack(Struck { by: by.clone(), reason: known.reason.clone() }),
            (false, false) => Amends::Corrects,
        };
        let Recorded { workflow, version, values, confirmed, charted_at, .. } =
            match known.amends.filter(|_| is_struck) {
                Some(before) => self.charted(read, patient, before)?,
                None => known,
            };
        // Where all is sent, an entry without answers has none: one from before such a form was refused.
        if values.is_empty() && !(strikes && self.reader.phi_mode() == PhiMode::Full) {
            return Err(Refused::NotSent);
        }
        let makes = Makes::new(ChangeKind::Amend, Collection::Records, Some(record));
        let author = (!is_own).then_some(by);
        let own = forms.version(&workflow, version)?;
        let has_form = own.is_some();
        let asked =
            if strikes { Some(forms.struck_in(&workflow, version)?) } else { own.map(Arc::unwrap_or_clone) };
        let form = with_reason(asked.ok_or(Refused::NoSuchVersion)?, &amends);
        let prepared = Prepared::new(asker, writer, Some(resident), form, makes);
        let amends = Some(amends);
        let prepared = Prepared { author, has_form, confirmed, charted_at, amends, ..prepared };
        Ok(if strikes { prepared } else { prepared.filled(values, asker.units) })
    }

    /// A discharge, or a readmission.
    fn moves(&self, asker: &Asker<'_>, patient: PatientId, asks: Asks) -> Result<Prepared, Refused> {
        let mut prepared = self.edit(asker, patient, |sent| resident_form::form(asks, sent))?;
        prepared.makes.lives_here = asks.lives_here();
        Ok(prepared)
    }

    fn edit(
        &self,
        asker: &Asker<'_>,
        patient: PatientId,
        form: impl FnOnce(PhiMode) -> Workflow,
    ) -> Result<Prepared, Refused> {
        let writer = self.manages(asker)?;
        // The version first: that of an older one only leads to a review.
        let base = self.reader.mirror.version(Collection::Patients, patient.into()).map_err(storage)?;
        let resident = self.about(asker, patient)?;
        // Whoever was admitted here and has not come back from the server is known here as admitted.
        let sent = base.map_or(PhiMode::Full, |_| self.reader.phi_mode());
        let workflow = form(sent);
        let seen = Seen { base, values: resident_form::values(&resident, sent) };
        let carried = (SEEN.to_owned(), serde_json::to_string(&seen).map_err(storage)?);
        let makes = Makes::new(ChangeKind::Patch, Collection::Patients, Some(patient.into()));
        let shown = resident_form::shown(&seen.values);
        let prepared = Prepared::new(asker, writer, Some(resident), workflow, makes);
        let mut prepared = prepared.filled(shown, Units::default());
        prepared.answers.push(carried);
        Ok(prepared)
    }

    /// The form of a rejected change, filled in with what was saved.
    fn resubmission(&self, asker: &Asker<'_>, n: u64, version: Option<u32>) -> Result<Prepared, Refused> {
        let read = &asker.permits.read;
        let rejected = self.reader.outbox.rejected(read, n).map_err(|error| {
            let is_gone = matches!(error, OutboxError::NotRejected { .. });
            if is_gone { Refused::NotRejected } else { storage(error) }
        })?;
        if rejected.change.actor != read.actor().user {
            return Err(Refused::NotYours);
        }
        let RejectedChange { change, reason, .. } = rejected;
        let (confirmed, charted_at) = (change.confirmed, change.clock_quality.believed(change.recorded_at));
        let mut prepared = match (change.collection, change.kind, change.patient) {
            (Collection::Records, ChangeKind::Create | ChangeKind::Amend, Some(patient)) => {
                let writer = self.charts(asker)?;
                let resident = self.about(asker, patient)?;
                let (key, charted) = (change.workflow.unwrap_or_default(), change.schema_version);
                let mut form = match charted.filter(|_| change.entered_in_error) {
                    Some(version) => self.reader.workflows()?.struck_in(&key, version)?,
                    None => self.reader.workflows()?.asked_in(&key, version.or(charted))?,
                };
                let amends = match change.record.filter(|_| change.kind == ChangeKind::Amend) {
                    Some(_) if change.entered_in_error => Some(Amends::StrikesOut),
                    Some(id) => {
                        Some(self.struck(read, patient, id)?.map_or(Amends::Corrects, Amends::PutsBack))
                    }
                    None => None,
                };
                if let Some(amends) = &amends {
                    form = with_reason(form, amends);
                }
                let makes = Makes::new(change.kind, Collection::Records, change.record);
                let prepared = Prepared::new(asker, writer, Some(resident), form, makes);
                let prepared = Prepared { amends, ..prepared };
                let mut prepared = prepared.filled(change.fields, asker.units);
                prepared.answers.extend(change.reason.map(|reason| (REASON.to_owned(), reason)));
                prepared
            }
            (Collection::Patients, ChangeKind::Create, _) => {
                let writer = self.manages(asker)?;
                let makes = Makes::new(change.kind, Collection::Patients, change.record);
                let form = resident_form::form(Asks::Admission, self.reader.phi_mode());
                let prepared = Prepared::new(asker, writer, None, form, makes);
                prepared.filled(resident_form::shown(&change.fields), Units::default())
            }
            (Collection::Patients, ChangeKind::Patch, Some(patient)) => {
                let form = |sent| resident_form::resubmission(&change.fields, sent);
                let mut prepared = self.edit(asker, patient, form)?;
                prepared.makes.lives_here = change.fields.get("is_active").and_then(Value::as_bool);
                let wanted =
                    typed(&prepared.workflow, &resident_form::shown(&change.fields), Units::default());
                prepared.answers.retain(|(key, _)| !change.fields.contains_key(key));
                prepared.answers.extend(wanted);
                prepared
            }
            (_, _, _) => return Err(Refused::NotAllowed),
        };
        (prepared.confirmed, prepared.charted_at) = (confirmed, charted_at);
        prepared.makes.supersedes = Some(n);
        prepared.rejection = Some(reason.detail);
        prepared.faults = reason.errors;
        Ok(prepared)
    }

    /// By whom a record was struck out, and why; none where it was not, or is not here.
    fn struck(
        &self,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        id: RecordId,
    ) -> Result<Option<Struck>, Refused> {
        match self.charted(read, patient, id) {
            Ok(known) => Ok(known
                .is_struck
                .then(|| Struck { by: self.reader.name_of(known.author), reason: known.reason })),
            Err(Refused::NoSuchRecord) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A record that is to be corrected.
    pub(super) fn charted(
        &self,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        id: RecordId,
    ) -> Result<Recorded, Refused> {
        // The outbox first: what arrives in between is in both.
        let pending = self.reader.outbox.pending(read, patient, 0).map_err(storage)?;
        let mirrored = self.reader.mirror.record(read, id).map_err(storage)?;
        if let Some(known) = mirrored.or_else(|| self.reader.older_record(id)) {
            let its = known.patient_id == patient;
            return its.then(|| Recorded::from(known)).ok_or(Refused::NoSuchRecord);
        }
        let waits = pending.into_iter().find(|pending| pending.record == id);
        Ok(waits.ok_or(Refused::NoSuchRecord)?.change.into())
    }

    fn charts(&self, Asker { permits, access, .. }: &Asker<'_>) -> Result<Writer, Refused> {
        self.reader.trail.demand(permits.chart, permits.actor(), *access).map(Writer::Chart)
    }

    fn manages(&self, Asker { permits, access, .. }: &Asker<'_>) -> Result<Writer, Refused> {
        self.reader.trail.demand(permits.manage, permits.actor(), *access).map(Writer::Manage)
    }

    fn about(
        &self,
        Asker { permits, access, .. }: &Asker<'_>,
        patient: PatientId,
    ) -> Result<PatientDocument, Refused> {
        self.reader.find(&permits.read, patient, *access)
    }
}

impl Makes {
    const fn new(kind: ChangeKind, collection: Collection, record: Option<RecordId>) -> Self {
        Self { kind, collection, record, supersedes: None, lives_here: None }
    }
}

impl From<RecordDocument> for Recorded {
    fn from(record: RecordDocument) -> Self {
        Self {
            workflow: record.workflow,
            version: record.schema_version,
            values: record.values,
            confirmed: record.confirmed,
            charted_at: record.clock_quality.believed(record.recorded_at),
            author: record.recorded_by,
            amends: record.amends,
            reason: record.reason,
            is_struck: record.entered_in_error,
        }
    }
}

impl From<Change> for Recorded {
    fn from(change: Change) -> Self {
        Self {
            workflow: change.workflow.unwrap_or_default(),
            version: change.schema_version.unwrap_or_default(),
            values: change.fields,
            confirmed: change.confirmed,
            charted_at: change.clock_quality.believed(change.recorded_at),
            author: change.actor,
            amends: change.record.filter(|_| change.kind == ChangeKind::Amend),
            reason: change.reason,
            is_struck: change.entered_in_error,
        }
    }
}

impl Prepared {
    fn new(
        asker: &Asker<'_>,
        writer: Writer,
        resident: Option<PatientDocument>,
        workflow: Workflow,
        makes: Makes,
    ) -> Self {
        Self {
            read: asker.permits.read,
            writer,
            resident,
            workflow,
            answers: Vec::new(),
            filled: Map::new(),
            confirmed: Vec::new(),
            charted_at: None,
            rejection: None,
            faults: Vec::new(),
            author: None,
            zone: asker.zone.clone(),
            is_discharged: false,
            has_form: true,
            amends: None,
            is_superseded: false,
            makes,
        }
    }

    /// Filled in with values, as a facility reads them that charts in `units`.
    fn filled(self, values: Map<String, Value>, units: Units) -> Self {
        let mut answers = typed(&self.workflow, &values, units);
        if !units.is_default() {
            answers.push((UNITS.to_owned(), units.name().to_owned()));
        }
        Self { answers, filled: values, ..self }
    }

    /// What a form showed that has these answers: in its measures, and of the version of the resident that it carries.
    pub(super) fn showed(&self, answers: &Typed) -> Vec<(String, String)> {
        let now = typed(&self.workflow, &self.filled, units_of(&self.answers));
        // What was filled in and is no value of before: a reason, or what a rejected edit wanted.
        let besides = self.answers.iter().filter(|it| !now.contains(it) && !CARRIED.contains(&it.0.as_str()));
        let besides: Vec<_> = besides.cloned().collect();
        let then = match Seen::in_answers(answers) {
            Some(seen) => seen.typed(&self.workflow),
            None => typed(&self.workflow, &self.filled, units_of(answers)),
        };
        laid_over(then, &besides)
    }

    /// Whether an answer was left as it was filled in, and so was what it is held against.
    pub(super) fn leaves(&self, fields: &Map<String, Value>, key: &str) -> bool {
        let against = self.workflow.rules.iter().filter(|rule| rule.greater == key);
        let mut keys = [key].into_iter().chain(against.map(|rule| rule.lesser.as_str()));
        self.filled.contains_key(key) && keys.all(|key| is_same(fields.get(key), self.filled.get(key)))
    }

    /// Whether all answers were.
    pub(super) fn leaves_all(&self, fields: &Map<String, Value>) -> bool {
        let mut keys = fields.keys().chain(self.filled.keys());
        keys.all(|key| is_same(fields.get(key), self.filled.get(key)))
    }

    /// What an answer means: the value that was filled in, where it was left as it was shown.
    pub(super) fn meant<'a>(&self, key: &str, text: &'a str, units: Units) -> Cow<'a, str> {
        let field = self.workflow.fields.iter().find(|field| field.key == key);
        let filled = field.zip(self.filled.get(key));
        let unchanged = filled.and_then(|(field, value)| field.unchanged(value, text, units));
        unchanged.map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

/// A form that asks for a reason as well, behind all else; when it strikes an entry out, for nothing else.
fn with_reason(workflow: Workflow, amends: &Amends) -> Workflow {
    let (label, (mut fields, rules)) = match amends {
        Amends::StrikesOut => ("Why it was charted in error", (Vec::new(), Vec::new())),
        Amends::PutsBack(_) => ("Why it is put back", (workflow.fields, workflow.rules)),
        Amends::Corrects => ("Reason for the correction", (workflow.fields, workflow.rules)),
    };
    fields.push(Field { required: true, ..Field::new(REASON, label, FieldType::String) });
    Workflow { fields, rules, ..workflow }
}

/// Whether two values are one: 98 is 98.0.
fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => plain(one) == plain(other),
        (one, other) => one == other,
    }
}

//! What each form asks, and what it shows when it is opened; `made` is what it makes when it is saved.

use std::borrow::Cow;
use std::rc::Rc;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::facility::PhiMode;
use carepost_protocol::id::{PatientId, RecordId, UserId};
use carepost_protocol::number::plain;
use carepost_protocol::record::{Collection, PatientDocument, RecordDocument};
use carepost_protocol::role::{Act, Actor, Chart, ManagePatients, Permit, ReadPatients};
use carepost_protocol::time::Timestamp;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::{Field, FieldError, FieldType, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::noted::Page;
use super::residents::{self, Asks};
use super::view::{Form, REASON, Refused, SEEN, SessionKey, Typed, UNITS};
use super::ward::{Ward, storage};
use crate::outbox::{DraftOf, Entry, Outbox, OutboxError, RejectedChange, Saved, version_of};

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

    pub(super) fn append(
        &self,
        outbox: &Outbox,
        entry: Entry<'_>,
        audit: impl FnOnce(RecordId) -> Vec<AuditEvent>,
    ) -> Result<Saved, OutboxError> {
        match self {
            Self::Chart(permit) => outbox.append(permit, entry, audit),
            Self::Manage(permit) => outbox.append(permit, entry, audit),
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
pub(super) struct Sheet {
    pub(super) writer: Writer,
    pub(super) resident: Option<PatientDocument>,
    pub(super) workflow: Workflow,
    /// What is filled in already, as typed.
    pub(super) answers: Vec<(String, String)>,
    /// The values that those are of, as they are stored.
    pub(super) filled: Map<String, Value>,
    pub(super) refusal: Option<String>,
    pub(super) faults: Vec<FieldError>,
    /// Who charted what is corrected, by name, where that is somebody else.
    pub(super) author: Option<String>,
    /// What the user typed into it before and has not saved.
    pub(super) draft: Option<Vec<(String, String)>>,
    /// Whether an entry is about somebody who was discharged.
    pub(super) is_discharged: bool,
    /// Whether what it makes can be corrected here: the version of the form that it was charted in is here.
    pub(super) has_form: bool,
    pub(super) makes: Makes,
}

/// What a form makes.
#[derive(Clone, Copy)]
pub(super) struct Makes {
    pub(super) kind: ChangeKind,
    pub(super) collection: Collection,
    pub(super) record: Option<RecordId>,
    pub(super) supersedes: Option<u64>,
    pub(super) strikes: bool,
    /// Whether a resident lives here from then on; none where that is not what it is about.
    pub(super) lives_here: Option<bool>,
    /// Whether it has to differ from what was filled in.
    pub(super) differs: bool,
}

/// A record as it was charted, here or on its way.
pub(super) struct Known {
    pub(super) workflow: String,
    version: u32,
    values: Map<String, Value>,
    author: UserId,
    amends: Option<RecordId>,
    is_struck: bool,
}

/// The version of a resident that a form showed: only what differs from it is an edit.
#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<u64>,
    pub(super) values: Map<String, Value>,
}

impl Form {
    /// Its drafts.
    pub(super) fn draft(&self) -> DraftOf {
        match self {
            Self::Chart(patient, workflow) => DraftOf::Entry(*patient, workflow.clone()),
            Self::Correct(patient, record) => DraftOf::Correction(*patient, *record),
            Self::Strike(patient, record) => DraftOf::Strike(*patient, *record),
            Self::Admit => DraftOf::Admission,
            Self::Edit(patient) => DraftOf::Resident(*patient),
            Self::Discharge(patient) => DraftOf::Discharge(*patient),
            Self::Readmit(patient) => DraftOf::Readmission(*patient),
            Self::Again(n) => DraftOf::Rejected(*n),
        }
    }
}

impl Ward {
    /// A form for the session that a page was made for, with what was sent of it already; `page` is what a refusal is
    /// written down as.
    pub(super) fn sheet(
        &self,
        on: &SessionKey,
        form: &Form,
        sent: &Typed,
        page: Option<&Page>,
    ) -> Result<Sheet, Refused> {
        let read = self.asked::<ReadPatients>(on, page)?;
        // What its page or its draft was begun in, it is charted in.
        let draft = self.begun(read.actor().user, form, sent)?;
        let version = version_of(sent).or_else(|| draft.as_deref().and_then(version_of));
        let sheet = Sheet { draft, ..self.blank(on, &read, (form, version), page)? };
        let gone = sheet.resident.as_ref().filter(|resident| !resident.is_active);
        let Some(id) = gone.filter(|_| sheet.makes.collection == Collection::Records).map(|gone| gone.id)
        else {
            return Ok(sheet);
        };
        // Whoever took somebody's place may well be here.
        let is_here = self.resident_now(&read, id)?.is_some_and(|now| now.document.is_active);
        Ok(Sheet { is_discharged: !is_here, ..sheet })
    }

    fn blank(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        (form, version): (&Form, Option<u32>),
        page: Option<&Page>,
    ) -> Result<Sheet, Refused> {
        match form {
            Form::Chart(patient, key) => {
                let writer = Writer::Chart(self.asked(on, page)?);
                let resident = self.find(read, *patient, page)?;
                let workflow = self.forms()?.asked_in(key, version)?;
                let makes = Makes::new(ChangeKind::Create, Collection::Records, None);
                Ok(Sheet::new(writer, Some(resident), workflow, makes).filled(Map::new(), self.units()))
            }
            Form::Correct(patient, record) => self.amend(on, read, (*patient, *record), false, page),
            Form::Strike(patient, record) => self.amend(on, read, (*patient, *record), true, page),
            Form::Admit => {
                let writer = Writer::Manage(self.asked(on, page)?);
                let makes = Makes::new(ChangeKind::Create, Collection::Patients, None);
                Ok(Sheet::new(writer, None, residents::form(Asks::Admission, self.phi_mode()), makes))
            }
            Form::Edit(patient) => {
                let sheet = self.edit(on, read, *patient, page, |sent| residents::form(Asks::Edit, sent))?;
                if sheet.workflow.fields.is_empty() { Err(Refused::NotShown) } else { Ok(sheet) }
            }
            Form::Discharge(patient) => self.moves(on, read, *patient, Asks::Discharge, page),
            Form::Readmit(patient) => self.moves(on, read, *patient, Asks::Readmission, page),
            Form::Again(n) => self.again(on, read, (*n, version), page),
        }
    }

    /// The form of a correction, or of why an entry is struck out.
    fn amend(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        (patient, record): (PatientId, RecordId),
        strikes: bool,
        page: Option<&Page>,
    ) -> Result<Sheet, Refused> {
        let writer = Writer::Chart(self.asked(on, page)?);
        let resident = self.find(read, patient, page)?;
        let known = self.charted(read, patient, record)?;
        let forms = self.forms()?;
        let latest = forms.latest(&known.workflow).ok_or(Refused::NoSuchWorkflow)?;
        let actor = writer.actor();
        let (author, is_struck) = (known.author, known.is_struck);
        let is_own = author == actor.user;
        if !latest.lets_correct(actor.role, is_own) {
            if let Some(page) = page {
                self.note(actor, page, false);
            }
            return Err(Refused::NotTheirs);
        }
        if strikes && is_struck {
            return Err(Refused::Struck);
        }
        // What was struck out is put back as it was before.
        let differs = !strikes && !is_struck;
        let Known { workflow, version, values, .. } = match known.amends.filter(|_| is_struck) {
            Some(before) => self.charted(read, patient, before)?,
            None => known,
        };
        if values.is_empty() {
            return Err(Refused::NotSent);
        }
        let makes = Makes::new(ChangeKind::Amend, Collection::Records, Some(record));
        let makes = Makes { strikes, differs, ..makes };
        let author = (!is_own).then(|| self.name_of(author));
        let own = forms.version(&workflow, version)?;
        let has_form = own.is_some();
        let asked =
            if strikes { Some(forms.struck_in(&workflow, version)?) } else { own.map(Rc::unwrap_or_clone) };
        let form = with_reason(asked.ok_or(Refused::NoSuchVersion)?, strikes);
        let sheet = Sheet { author, has_form, ..Sheet::new(writer, Some(resident), form, makes) };
        Ok(if strikes { sheet } else { sheet.filled(values, self.units()) })
    }

    /// A discharge, or a readmission.
    fn moves(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        asks: Asks,
        page: Option<&Page>,
    ) -> Result<Sheet, Refused> {
        let mut sheet = self.edit(on, read, patient, page, |sent| residents::form(asks, sent))?;
        sheet.makes.lives_here = asks.lives_here();
        Ok(sheet)
    }

    fn edit(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        page: Option<&Page>,
        form: impl FnOnce(PhiMode) -> Workflow,
    ) -> Result<Sheet, Refused> {
        let writer = Writer::Manage(self.asked(on, page)?);
        // The version first: that of an older one only leads to a review.
        let base = self.mirror.version(Collection::Patients, patient.into()).map_err(storage)?;
        let resident = self.find(read, patient, page)?;
        // Whoever was admitted here and has not come back from the server is known here as admitted.
        let sent = base.map_or(PhiMode::Full, |_| self.phi_mode());
        let workflow = form(sent);
        let seen = Seen { base, values: residents::values(&resident, sent) };
        let carried = (SEEN.to_owned(), serde_json::to_string(&seen).map_err(storage)?);
        let makes = Makes::new(ChangeKind::Patch, Collection::Patients, Some(patient.into()));
        let shown = residents::shown(&seen.values);
        let mut sheet = Sheet::new(writer, Some(resident), workflow, makes).filled(shown, Units::default());
        sheet.answers.push(carried);
        Ok(sheet)
    }

    /// The form of a refused change, filled in with what was saved.
    fn again(
        &self,
        on: &SessionKey,
        read: &Permit<ReadPatients>,
        (n, version): (u64, Option<u32>),
        page: Option<&Page>,
    ) -> Result<Sheet, Refused> {
        let refused = self.outbox.rejected(read, n).map_err(|error| {
            let is_gone = matches!(error, OutboxError::NotRejected { .. });
            if is_gone { Refused::NotRefused } else { storage(error) }
        })?;
        if refused.change.actor != read.actor().user {
            return Err(Refused::NotYours);
        }
        let RejectedChange { change, reason, .. } = refused;
        let mut sheet = match (change.collection, change.kind, change.patient) {
            (Collection::Records, ChangeKind::Create | ChangeKind::Amend, Some(patient)) => {
                let writer = Writer::Chart(self.asked(on, page)?);
                let resident = self.find(read, patient, page)?;
                let (key, charted) = (change.workflow.unwrap_or_default(), change.schema_version);
                let mut form = match charted.filter(|_| change.entered_in_error) {
                    Some(version) => self.forms()?.struck_in(&key, version)?,
                    None => self.forms()?.asked_in(&key, version.or(charted))?,
                };
                let mut makes = Makes::new(change.kind, Collection::Records, change.record);
                if change.kind == ChangeKind::Amend {
                    makes.strikes = change.entered_in_error;
                    form = with_reason(form, makes.strikes);
                }
                let sheet = Sheet::new(writer, Some(resident), form, makes);
                let mut sheet = sheet.filled(change.fields, self.units());
                sheet.answers.extend(change.reason.map(|reason| (REASON.to_owned(), reason)));
                sheet
            }
            (Collection::Patients, ChangeKind::Create, _) => {
                let writer = Writer::Manage(self.asked(on, page)?);
                let makes = Makes::new(change.kind, Collection::Patients, change.record);
                let form = residents::form(Asks::Admission, self.phi_mode());
                let sheet = Sheet::new(writer, None, form, makes);
                sheet.filled(residents::shown(&change.fields), Units::default())
            }
            (Collection::Patients, ChangeKind::Patch, Some(patient)) => {
                let form = |sent| residents::form_again(&change.fields, sent);
                let mut sheet = self.edit(on, read, patient, page, form)?;
                sheet.makes.lives_here = change.fields.get("is_active").and_then(Value::as_bool);
                let wanted = typed(&sheet.workflow, &residents::shown(&change.fields), Units::default());
                sheet.answers.retain(|(key, _)| !change.fields.contains_key(key));
                sheet.answers.extend(wanted);
                sheet
            }
            (_, _, _) => return Err(Refused::NotAllowed),
        };
        sheet.makes.supersedes = Some(n);
        sheet.refusal = Some(reason.detail);
        sheet.faults = reason.errors;
        Ok(sheet)
    }

    /// A record that is to be corrected.
    pub(super) fn charted(
        &self,
        read: &Permit<ReadPatients>,
        patient: PatientId,
        id: RecordId,
    ) -> Result<Known, Refused> {
        // The outbox first: what arrives in between is in both.
        let pending = self.outbox.pending(read, patient, 0).map_err(storage)?;
        let mirrored = self.mirror.record(read, id).map_err(storage)?;
        if let Some(known) = mirrored.or_else(|| self.older_record(id)) {
            let its = known.patient_id == patient;
            return its.then(|| Known::from(known)).ok_or(Refused::NoSuchRecord);
        }
        let waits = pending.into_iter().find(|pending| pending.record == id);
        Ok(waits.ok_or(Refused::NoSuchRecord)?.change.into())
    }

    /// A permit; a refusal is written down when there is something to write it down as.
    fn asked<A: Act>(&self, on: &SessionKey, page: Option<&Page>) -> Result<Permit<A>, Refused> {
        match page {
            Some(page) => self.permit(on, page),
            None => self.authorized(on).map_err(|(refused, _)| refused),
        }
    }
}

impl Makes {
    const fn new(kind: ChangeKind, collection: Collection, record: Option<RecordId>) -> Self {
        Self { kind, collection, record, supersedes: None, strikes: false, lives_here: None, differs: false }
    }
}

impl From<RecordDocument> for Known {
    fn from(record: RecordDocument) -> Self {
        Self {
            workflow: record.workflow,
            version: record.schema_version,
            values: record.values,
            author: record.recorded_by,
            amends: record.amends,
            is_struck: record.entered_in_error,
        }
    }
}

impl From<Change> for Known {
    fn from(change: Change) -> Self {
        Self {
            workflow: change.workflow.unwrap_or_default(),
            version: change.schema_version.unwrap_or_default(),
            values: change.fields,
            author: change.actor,
            amends: change.record.filter(|_| change.kind == ChangeKind::Amend),
            is_struck: change.entered_in_error,
        }
    }
}

impl Sheet {
    fn new(writer: Writer, resident: Option<PatientDocument>, workflow: Workflow, makes: Makes) -> Self {
        Self {
            writer,
            resident,
            workflow,
            answers: Vec::new(),
            filled: Map::new(),
            refusal: None,
            faults: Vec::new(),
            author: None,
            draft: None,
            is_discharged: false,
            has_form: true,
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

/// A form that asks for a reason as well; when it strikes an entry out, for nothing else.
fn with_reason(workflow: Workflow, strikes: bool) -> Workflow {
    let label = if strikes { "Why it was charted in error" } else { "Reason for the correction" };
    let reason =
        Field { required: true, display_order: u32::MAX, ..Field::new(REASON, label, FieldType::String) };
    let (mut fields, rules) =
        if strikes { (Vec::new(), Vec::new()) } else { (workflow.fields, workflow.rules) };
    fields.push(reason);
    Workflow { fields, rules, ..workflow }
}

/// Whether two values are one: 98 is 98.0.
fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => plain(one) == plain(other),
        (one, other) => one == other,
    }
}

/// Values as somebody would type them into the form, who charts in `units`.
pub(super) fn typed(workflow: &Workflow, values: &Map<String, Value>, units: Units) -> Vec<(String, String)> {
    let answer = |field: &Field| match field.shown(values.get(&field.key)?, units) {
        Value::Bool(yes) => Some(if yes { "yes" } else { "no" }.to_owned()),
        Value::String(text) => Some(text),
        Value::Null => None,
        other @ (Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    };
    let fields = workflow.fields.iter();
    fields.filter_map(|field| Some((field.key.clone(), answer(field)?))).collect()
}

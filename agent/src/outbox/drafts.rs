//! Drafts: what was typed into forms that are not saved. Each stays until its form is saved or it is discarded.

use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::id::{PatientId, RecordId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::MAX_CHANGE_BYTES;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{Outbox, OutboxError};

/// Which form a draft is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftOf {
    /// A new entry about a resident, by the workflow's key.
    Entry(PatientId, String),
    /// A correction of a record about a resident.
    Correction(PatientId, RecordId),
    /// Why a record about a resident is struck out.
    Strike(PatientId, RecordId),
    Admission,
    /// An edit of a resident.
    Resident(PatientId),
    Discharge(PatientId),
    Readmission(PatientId),
    /// A rejected change of the care lane, by its number, corrected.
    Rejected(u64),
}

impl DraftOf {
    /// The draft that a change was made from, if it has one.
    pub(super) fn change(change: &Change) -> Option<Self> {
        if let Some(n) = change.supersedes {
            return Some(Self::Rejected(n));
        }
        match (change.collection, change.kind) {
            (Collection::Patients, ChangeKind::Create) => Some(Self::Admission),
            (Collection::Patients, _) => {
                let of = match change.fields.get("is_active").and_then(Value::as_bool) {
                    None => Self::Resident,
                    Some(false) => Self::Discharge,
                    Some(true) => Self::Readmission,
                };
                change.patient.map(of)
            }
            (Collection::Records, ChangeKind::Amend) if change.entered_in_error => {
                Some(Self::Strike(change.patient?, change.record?))
            }
            (Collection::Records, ChangeKind::Amend) => {
                Some(Self::Correction(change.patient?, change.record?))
            }
            (Collection::Records, _) => Some(Self::Entry(change.patient?, change.workflow.clone()?)),
            (
                Collection::Reviews
                | Collection::Facilities
                | Collection::Users
                | Collection::Badges
                | Collection::Workflows,
                _,
            ) => None,
        }
    }

    /// Whose form it is; nobody's id where it is about nobody yet.
    #[must_use]
    pub const fn patient(&self) -> PatientId {
        match self {
            Self::Entry(patient, _)
            | Self::Correction(patient, _)
            | Self::Strike(patient, _)
            | Self::Resident(patient)
            | Self::Discharge(patient)
            | Self::Readmission(patient) => *patient,
            Self::Admission | Self::Rejected(_) => PatientId::from_bytes([0; 16]),
        }
    }

    /// A name that no other form about the same resident has: the workflow's key, or what no key is.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Entry(_, workflow) => workflow.clone(),
            Self::Correction(_, record) => format!("@{record}"),
            Self::Strike(_, record) => format!("@error {record}"),
            Self::Admission => "@admission".to_owned(),
            Self::Resident(_) => "@resident".to_owned(),
            Self::Discharge(_) => "@discharge".to_owned(),
            Self::Readmission(_) => "@readmission".to_owned(),
            Self::Rejected(n) => format!("@{n}"),
        }
    }

    /// The form that [`name`](Self::name) and [`patient`](Self::patient) are of.
    fn named(patient: PatientId, name: &str) -> Option<Self> {
        let Some(name) = name.strip_prefix('@') else { return Some(Self::Entry(patient, name.to_owned())) };
        Some(match name {
            "admission" => Self::Admission,
            "resident" => Self::Resident(patient),
            "discharge" => Self::Discharge(patient),
            "readmission" => Self::Readmission(patient),
            _ => match (name.strip_prefix("error "), name.parse()) {
                (Some(record), _) => Self::Strike(patient, record.parse().ok()?),
                (None, Ok(n)) => Self::Rejected(n),
                (None, Err(_)) => Self::Correction(patient, name.parse().ok()?),
            },
        })
    }
}

/// The answer in which a form, and a draft of it, says which version of its workflow it is.
pub const VERSION: &str = "_version";

/// The version of the form that has these answers, where they say it.
#[must_use]
pub fn version_of(answers: &[(String, String)]) -> Option<u32> {
    answers.iter().find(|(key, _)| key == VERSION).and_then(|(_, text)| text.parse().ok())
}

impl Outbox {
    /// Keeps the unsaved answers of a form ([`DraftOf`] names forms), field key and text as typed, for the user who typed them.
    /// The next save of that form by that user discards them, unless they are of another version of it.
    ///
    /// No permit is asked: what was typed is kept also when the screen has locked meanwhile, and the
    /// caller knows to whom the form was shown.
    ///
    /// # Errors
    /// [`OutboxError::TooLarge`] for answers that could not be saved either.
    pub fn put_draft(
        &self,
        user: UserId,
        patient: PatientId,
        workflow: &str,
        answers: &[(String, String)],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let body = serde_json::to_vec(answers).map_err(|_| OutboxError::NotUnderstood("a new draft"))?;
        if body.len() > MAX_CHANGE_BYTES {
            return Err(OutboxError::TooLarge { bytes: body.len() });
        }
        self.lock_to_save()?
            .prepare_cached(
                "INSERT OR REPLACE INTO drafts (user, patient, workflow, body, kept_at) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![user.as_bytes(), patient.as_bytes(), workflow, body, now.as_millis()])?;
        Ok(())
    }

    /// The user's unsaved answers of a form. They stay until the form is saved: a page that never
    /// reached the screen loses nothing.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn draft(
        &self,
        user: UserId,
        patient: PatientId,
        workflow: &str,
    ) -> Result<Option<Vec<(String, String)>>, OutboxError> {
        draft(&self.lock(), user, patient, workflow)
    }

    /// The forms that a user has unsaved answers of, about one resident or all: the latest, at most so many.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn drafts(
        &self,
        user: UserId,
        about: Option<PatientId>,
        most: usize,
    ) -> Result<Vec<DraftOf>, OutboxError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT patient, workflow FROM drafts WHERE user = ?1 AND (?2 IS NULL OR patient = ?2)
             ORDER BY kept_at DESC, patient, workflow LIMIT ?3",
        )?;
        let about = about.map(|id| *id.as_bytes());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![user.as_bytes(), about, most])?;
        let mut drafts = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            drafts.extend(DraftOf::named(PatientId::from_bytes(row.get(0)?), &name));
        }
        Ok(drafts)
    }

    /// Removes a user's unsaved answers of a form.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drop_draft(&self, user: UserId, of: &DraftOf) -> Result<(), OutboxError> {
        let connection = self.lock_to_keep()?;
        drop_draft(&connection, user, of)
    }
}

fn draft(
    connection: &Connection,
    user: UserId,
    patient: PatientId,
    workflow: &str,
) -> Result<Option<Vec<(String, String)>>, OutboxError> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body FROM drafts WHERE user = ? AND patient = ? AND workflow = ?")?
        .query_row(params![user.as_bytes(), patient.as_bytes(), workflow], |row| row.get(0))
        .optional()?;
    let answers = body.map(|body| serde_json::from_slice(&body)).transpose();
    answers.map_err(|_| OutboxError::NotUnderstood("a draft"))
}

/// Removes the draft that a change was made from. What was begun in another version of its form is no part of it,
/// and stays.
pub(super) fn drop_saved(connection: &Connection, change: &Change) -> Result<(), OutboxError> {
    let Some(of) = DraftOf::change(change) else { return Ok(()) };
    let kept = draft(connection, change.actor, of.patient(), &of.name());
    if matches!(kept, Ok(None)) {
        return Ok(());
    }
    let begun_in = kept.ok().flatten().as_deref().and_then(version_of);
    if begun_in.zip(change.schema_version).is_some_and(|(begun, saved)| begun != saved) {
        return Ok(());
    }
    drop_draft(connection, change.actor, &of)
}

pub(super) fn drop_draft(connection: &Connection, user: UserId, of: &DraftOf) -> Result<(), OutboxError> {
    connection
        .prepare_cached("DELETE FROM drafts WHERE user = ? AND patient = ? AND workflow = ?")?
        .execute(params![user.as_bytes(), of.patient().as_bytes(), of.name()])?;
    Ok(())
}

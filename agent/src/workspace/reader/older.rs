//! Older entries: those that have left the mirror. The server is asked for them, by whoever holds the line to
//! it, and nobody waits for long. What it answers is in memory alone.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use carepost_protocol::id::{PatientId, RecordId};
use carepost_protocol::record::{PatientDocument, RecordDocument};
use carepost_protocol::role::{Permit, ReadPatients};
use carepost_protocol::wire::older::{OlderPlace, OlderRecords};
use serde_json::value::RawValue;
use tokio::sync::{Notify, oneshot};

use super::{Access, Permits, Reader, lock};
use crate::mirror::MirrorError;
use crate::workspace::view::{Missed, OlderPage, Refused};

/// How long a page waits for the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many questions may wait.
const QUEUE: usize = 4;

type Fetched = Result<OlderRecords<Box<RawValue>>, Missed>;

/// The questions that wait for the server, and what it answered last.
#[derive(Debug, Default)]
pub(super) struct Older {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    questions: VecDeque<Question>,
    /// The page that was shown last: what is on it can be corrected, until its session leaves the screen.
    shown: Vec<RecordDocument>,
}

/// A question for the server.
#[derive(Debug)]
pub struct Question {
    pub patient: PatientId,
    /// After which place; none is the beginning.
    pub after: Option<OlderPlace>,
    answer: oneshot::Sender<Fetched>,
}

/// An answer to wait for.
#[derive(Debug)]
pub struct Asked(Result<oneshot::Receiver<Fetched>, Missed>);

impl Question {
    /// Waits until nobody waits for the answer any more.
    pub async fn given_up(&mut self) {
        self.answer.closed().await;
    }

    pub fn answer(self, answer: Fetched) {
        // Whoever asked may have gone.
        drop(self.answer.send(answer));
    }
}

impl Asked {
    /// One that is not even asked.
    pub(crate) const fn not(why: Missed) -> Self {
        Self(Err(why))
    }

    /// The server's answer, or why there is none.
    ///
    /// # Errors
    /// See [`Missed`].
    pub async fn answer(self) -> Fetched {
        match tokio::time::timeout(PATIENCE, self.0?).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Missed::Offline),
            Err(_) => Err(Missed::TooLate),
        }
    }
}

impl Reader {
    /// Waits until somebody asks for older entries, and still waits for the answer. One task may.
    pub(crate) async fn until_asked(&self) -> Question {
        loop {
            let next = lock(&self.older.state).questions.pop_front();
            match next {
                Some(question) if question.answer.is_closed() => {}
                Some(question) => return question,
                None => self.older.asked.notified().await,
            }
        }
    }

    pub(crate) fn ask_older(
        &self,
        permits: &Permits,
        patient: PatientId,
        after: Option<OlderPlace>,
    ) -> Result<Asked, Refused> {
        let patient = self.whose(&permits.read, patient)?.id;
        let mut state = lock(&self.older.state);
        let questions = &mut state.questions;
        questions.retain(|question| !question.answer.is_closed());
        if questions.len() >= QUEUE {
            return Ok(Asked::not(Missed::TooLate));
        }
        let (answer, answered) = oneshot::channel();
        questions.push_back(Question { patient, after, answer });
        drop(state);
        self.older.asked.notify_one();
        Ok(Asked(Ok(answered)))
    }

    /// The page of an answer. `is_open` says whether the session that asked is still on the screen.
    pub(crate) fn older(
        &self,
        permits: &Permits,
        patient: PatientId,
        answer: Fetched,
        is_open: impl FnOnce() -> bool,
    ) -> Result<OlderPage, Refused> {
        let permit = &permits.read;
        let resident = self.whose(permit, patient)?;
        let twins = self.twins(permit, &resident)?;
        let found = match answer {
            Ok(found) => found,
            Err(why) => {
                let (entries, missed) = (Vec::new(), Some(why));
                return Ok(OlderPage { resident, twins, entries, left_out: 0, next: None, missed });
            }
        };
        let workflows = self.workflows()?;
        let viewer = self.viewer(permits, &workflows);
        let mut records: Vec<RecordDocument> =
            found.records.iter().filter_map(|record| serde_json::from_str(record.get()).ok()).collect();
        let left_out = (found.records.len() - records.len()) as u64;
        if left_out > 0 {
            tracing::error!(left_out, "older entries of the server cannot be read: the others are shown");
        }
        let whole = resident.chart();
        records.retain(|record| whole.contains(&record.patient_id));
        lock(&self.older.state).shown.clone_from(&records);
        if !is_open() {
            // The screen locked before the page was kept, so nobody will say so any more.
            self.forget_older();
        }
        let entries = self.older_entries(permit, &whole, records, &found.cut, &viewer)?;
        self.trail.accessed(permit.actor(), &Access::older(patient), true);
        Ok(OlderPage { resident, twins, entries, left_out, next: found.next, missed: None })
    }

    /// Whose chart is asked for: whoever took the resident's place.
    fn whose(&self, permit: &Permit<ReadPatients>, patient: PatientId) -> Result<PatientDocument, Refused> {
        let asked = self.find(permit, patient, Some(&Access::older(patient)))?;
        Ok(self.resident_now(permit, asked.id)?.map_or(asked, |resident| resident.document))
    }

    /// What the server answered was for that session's eyes, and as the device might see it then.
    pub(crate) fn forget_older(&self) {
        lock(&self.older.state).shown.clear();
    }

    /// Has everything pulled again: what this device may see may have changed.
    ///
    /// # Errors
    /// When the mirror's file cannot be written.
    pub(crate) fn refetch(&self) -> Result<(), MirrorError> {
        self.forget_older();
        self.mirror.refetch()
    }

    /// An older record that was shown last.
    pub(crate) fn older_record(&self, id: RecordId) -> Option<RecordDocument> {
        lock(&self.older.state).shown.iter().find(|record| record.id == id).cloned()
    }
}

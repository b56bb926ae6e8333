//! What else exists only here: drafts of unsaved forms, and the counters of failed PINs.

use carepost_protocol::id::{PatientId, UserId};
use carepost_protocol::role::{Chart, Permit};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::MAX_CHANGE_BYTES;
use rusqlite::{OptionalExtension, params};

use super::{Outbox, OutboxError};

/// A user's failed PINs on this device. It survives a restart, so that pulling the plug buys nobody
/// another five tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Wrong PINs since the last right one.
    pub failures: u32,
    /// Until when the user is locked out, if so.
    pub locked_until: Option<Timestamp>,
}

impl Outbox {
    /// Keeps the unsaved answers of a form for the user who typed them. Nobody else gets them, and the
    /// next save of that form discards them.
    ///
    /// # Errors
    /// [`OutboxError::TooLarge`] for answers that could not be saved either.
    pub fn put_draft(
        &self,
        permit: &Permit<Chart>,
        patient: PatientId,
        workflow: &str,
        answers: &[u8],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        self.permitted(permit)?;
        if answers.len() > MAX_CHANGE_BYTES {
            return Err(OutboxError::TooLarge { bytes: answers.len() });
        }
        let user = permit.actor().user;
        self.lock()
            .prepare_cached(
                "INSERT OR REPLACE INTO drafts (user, patient, workflow, body, kept_at) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![user.as_bytes(), patient.as_bytes(), workflow, answers, now.as_millis()])?;
        Ok(())
    }

    /// The user's unsaved answers of a form, and when they were kept. They stay until the form is saved
    /// or they are discarded: a page that never reached the screen loses nothing.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn draft(
        &self,
        permit: &Permit<Chart>,
        patient: PatientId,
        workflow: &str,
    ) -> Result<Option<(Vec<u8>, Timestamp)>, OutboxError> {
        self.permitted(permit)?;
        let user = permit.actor().user;
        let draft = self
            .lock()
            .prepare_cached(
                "SELECT body, kept_at FROM drafts WHERE user = ? AND patient = ? AND workflow = ?",
            )?
            .query_row(params![user.as_bytes(), patient.as_bytes(), workflow], |row| {
                Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)))
            })
            .optional()?;
        Ok(draft)
    }

    /// Discards the user's unsaved answers of a form.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn discard_draft(
        &self,
        permit: &Permit<Chart>,
        patient: PatientId,
        workflow: &str,
    ) -> Result<(), OutboxError> {
        self.permitted(permit)?;
        let user = permit.actor().user;
        self.lock()
            .prepare_cached("DELETE FROM drafts WHERE user = ? AND patient = ? AND workflow = ?")?
            .execute(params![user.as_bytes(), patient.as_bytes(), workflow])?;
        Ok(())
    }

    /// A user's failed PINs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn throttle(&self, user: UserId) -> Result<Throttle, OutboxError> {
        let throttle = self
            .lock()
            .prepare_cached("SELECT failures, locked_until FROM throttles WHERE user = ?")?
            .query_row([user.as_bytes()], |row| {
                let locked_until: Option<i64> = row.get(1)?;
                Ok(Throttle { failures: row.get(0)?, locked_until: locked_until.map(Timestamp::from_millis) })
            })
            .optional()?;
        Ok(throttle.unwrap_or_default())
    }

    /// Keeps a user's failed PINs, durably.
    ///
    /// # Errors
    /// When the file cannot be written: then the PIN must not be accepted either.
    pub fn keep_throttle(&self, user: UserId, throttle: Throttle) -> Result<(), OutboxError> {
        let connection = self.lock();
        if throttle == Throttle::default() {
            connection.prepare_cached("DELETE FROM throttles WHERE user = ?")?.execute([user.as_bytes()])?;
            return Ok(());
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO throttles (user, failures, locked_until) VALUES (?, ?, ?)",
            )?
            .execute(params![
                user.as_bytes(),
                throttle.failures,
                throttle.locked_until.map(Timestamp::as_millis)
            ])?;
        Ok(())
    }
}

//! PIN throttles: how often each user's PIN failed here. They survive a restart, so that pulling the plug buys nobody
//! another five tries.

use carepost_agent_core::session::{PinMark, Throttle};
use carepost_protocol::id::UserId;
use carepost_protocol::time::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Outbox, OutboxError};

impl Outbox {
    /// A user's failed PINs on this device.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn throttle(&self, user: UserId) -> Result<Throttle, OutboxError> {
        let throttle = self
            .lock()
            .prepare_cached("SELECT failures, locked_until, pin FROM throttles WHERE user = ?")?
            .query_row([user.as_bytes()], |row| {
                let locked_until: Option<i64> = row.get(1)?;
                let pin: Option<[u8; 8]> = row.get(2)?;
                Ok(Throttle {
                    failures: row.get(0)?,
                    locked_until: locked_until.map(Timestamp::from_millis),
                    pin: pin.map(PinMark::from_bytes),
                })
            })
            .optional()?;
        Ok(throttle.unwrap_or_default())
    }

    /// Keeps a user's failed PINs, durably.
    ///
    /// # Errors
    /// When the file cannot be written: then the PIN must not be accepted either.
    pub fn keep_throttle(&self, user: UserId, throttle: &Throttle) -> Result<(), OutboxError> {
        let connection = self.lock_to_keep()?;
        if *throttle == Throttle::default() {
            connection.prepare_cached("DELETE FROM throttles WHERE user = ?")?.execute([user.as_bytes()])?;
            return Ok(());
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO throttles (user, failures, locked_until, pin) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![
                user.as_bytes(),
                throttle.failures,
                throttle.locked_until.map(Timestamp::as_millis),
                throttle.pin.map(PinMark::to_bytes),
            ])?;
        Ok(())
    }
}

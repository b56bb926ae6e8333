//! PINs chosen on devices, in the place of those that a stolen device gave away.

use carepost_protocol::change::{Change, Verdict};
use carepost_protocol::device::DeviceState;
use carepost_protocol::pin::{self, ChosenPin};
use carepost_protocol::record::Collection;
use carepost_protocol::role::Action;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::push::RejectionCode;

use super::super::{Result, reject};
use super::{Accepted, Judge, Judged, unknown};
use crate::store::Flag;
use crate::store::engine::{Tx, params};
use crate::store::row::{row, select};
use crate::store::rules::user;

row! {
    /// How a user's PIN stands.
    struct PinState {
        exposed: Option<Timestamp> = "pin_exposed_at",
        answers: Option<Timestamp> = "pin_answers",
        set: Option<Timestamp> = "pin_set_at",
    }
}

impl Judge {
    /// Sets the PIN that somebody chose for herself. A device may do no more than answer an exposure: of two
    /// answers to one the later stands, and what answers none changes nothing. That is no rejection: she chose
    /// it in good faith, and where her PIN is still exposed she is asked again.
    pub(super) fn choose_pin(&mut self, tx: &Tx<'_>, change: &Change) -> Judged {
        let mut flags = self.authority(tx, change, Action::ChoosePin)?;
        let record =
            change.record.ok_or_else(|| unknown("it names nobody; ask the office to set the PIN"))?;
        if record.as_bytes() != change.actor.as_bytes() {
            let detail = "nobody chooses another's PIN; ask the office to set it";
            return Err(reject(RejectionCode::NotAuthorized, detail).into());
        }
        let chosen = ChosenPin::from_fields(&change.fields).ok_or_else(|| {
            reject(RejectionCode::Unsupported, "it holds no PIN's verifier; ask the office to set the PIN")
        })?;
        let made = change.recorded_at.min(self.received);
        let takes = self.may_answer(tx, change, chosen.exposed_at, made)?;
        flags.raise(!takes, Flag::PinNotAskedFor);
        if takes {
            tx.execute(
                "UPDATE users SET pin_verifier = ?2, pin_exposed_at = NULL, pin_answers = ?3, pin_set_at = ?4
                    WHERE id = ?1",
                params![change.actor, chosen.pin_verifier, chosen.exposed_at, made],
            )?;
            let (_, body) = user::document(tx, change.actor)?;
            self.feed.put(tx, Collection::Users, change.actor.as_bytes(), None, Some(&body))?;
        }
        Ok(Accepted { verdict: Verdict::Applied, seq: self.feed.seq(), record, patient: None, flags })
    }

    /// Whether the change answers an exposure that nothing later has answered. Where one is answered, another answer
    /// has as long again as a PIN may be chosen, for a kiosk that was cut off; by when it came, since a device may say
    /// what it likes of when it was made. One of two copies of a device is somebody's who should not have it, so
    /// neither sets a PIN.
    fn may_answer(&self, tx: &Tx<'_>, change: &Change, exposure: Timestamp, made: Timestamp) -> Result<bool> {
        let state = "SELECT state FROM devices WHERE id = ?1";
        let state = tx.first::<DeviceState>(state, params![self.place.device])?;
        // A user who has left is another facility's, and not in this scope.
        let sql = select!(PinState, "users WHERE id = ?1 AND is_active = 1");
        let user = tx.first::<PinState>(sql, params![change.actor])?;
        let (Some(DeviceState::Active), Some(user)) = (state, user) else { return Ok(false) };
        Ok(match user.exposed {
            Some(exposed) => exposed == exposure,
            None => {
                let is_late = pin::is_expired(exposure, self.received.before(pin::EXPOSED_FOR));
                !is_late && user.answers == Some(exposure) && user.set < Some(made)
            }
        })
    }
}

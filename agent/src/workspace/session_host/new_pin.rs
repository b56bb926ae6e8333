//! PIN renewal: a new PIN, chosen by its owner. It is hashed here, and only its verifier leaves the device: as a
//! change, which the other kiosks get by way of the server. Until it has come back, this one goes by what waits.

use std::sync::MutexGuard;

use carepost_agent_core::session::{NewPin, PinMark, SessionEvent};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind};
use carepost_protocol::hex::hex;
use carepost_protocol::id::{RecordId, UserId};
use carepost_protocol::pin::{self, ChosenPin};
use carepost_protocol::record::{Collection, UserDocument};
use carepost_protocol::role::{ChoosePin, Permit};
use carepost_protocol::verifier::{is_secret, of_secret};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Outcome, SessionHost, lock};
use crate::audit;
use crate::mirror::MirrorError;
use crate::outbox::{Entry, OutboxError};

/// Why a PIN is not taken.
const SAME_AS_BEFORE: &str = "it is your old PIN; choose a different one";
const NOT_THE_SAME: &str = "the two did not match; start over";
const NOT_KEPT: &str = "this device could not keep it; try again, or use another device";

impl SessionHost {
    /// A member of staff, with the PIN that she chose here and that is on its way.
    pub(super) fn staff(&self, id: UserId) -> Result<Option<UserDocument>, MirrorError> {
        let chosen = self.reader.outbox.chosen_pin(id, self.reader.seq()?).unwrap_or_else(|error| {
            tracing::error!(%error, "whether a PIN was chosen here cannot be read");
            None
        });
        let known = self.reader.mirror.user(id)?;
        Ok(known.map(|user| match chosen {
            Some(chosen) if user.pin_exposed_at == Some(chosen.exposed_at) => {
                UserDocument { pin_verifier: Some(chosen.pin_verifier), pin_exposed_at: None, ..user }
            }
            Some(_) | None => user,
        }))
    }

    /// Whether what was typed may be her new PIN.
    pub(super) fn check_new_pin(&self, (attempt, user): (u64, UserId), typed: &SecretString) -> Outcome {
        let outcome = self.fit(user, typed).map_or_else(NewPin::Refused, NewPin::Fit);
        self.on(SessionEvent::NewPinChecked { attempt, user, outcome })
    }

    fn fit(&self, user: UserId, typed: &SecretString) -> Result<ChosenPin, &'static str> {
        pin::check(typed.expose_secret())?;
        let known = self.staff(user).ok().flatten().ok_or(NOT_KEPT)?;
        if known.pin_verifier.is_some_and(|old| is_secret(&old, typed.expose_secret()) == Ok(true)) {
            return Err(SAME_AS_BEFORE);
        }
        let exposed_at = known.pin_exposed_at.ok_or(NOT_KEPT)?;
        let made = of_secret(typed.expose_secret(), self.reader.clock.random());
        made.map(|pin_verifier| ChosenPin { pin_verifier, exposed_at }).map_err(|error| {
            tracing::error!(%error, "a PIN could not be hashed");
            NOT_KEPT
        })
    }

    /// Keeps it durably, when it was the same again.
    pub(super) fn keep_new_pin(
        &self,
        (attempt, user): (u64, UserId),
        chosen: &ChosenPin,
        typed: &SecretString,
    ) -> Outcome {
        let is_same = is_secret(&chosen.pin_verifier, typed.expose_secret()) == Ok(true);
        // Held from the permit until it is kept and told: a pad that is gone by then, or was due to go, keeps nothing.
        let deciding = lock(&self.deciding);
        let due = self.due(&deciding).unwrap_or_default();
        let kept = is_same.then(|| self.keep(&deciding, (attempt, user), chosen));
        let outcome = match kept {
            Some(Ok(())) => NewPin::Kept(PinMark::of(&chosen.pin_verifier)),
            Some(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "a new PIN was not kept for certain");
                let is_uncertain = matches!(error.downcast_ref(), Some(OutboxError::Sqlite(_)));
                if is_uncertain { NewPin::Uncertain } else { NewPin::Refused(NOT_KEPT) }
            }
            None => NewPin::Refused(NOT_THE_SAME),
        };
        let mut told = self.decide(&deciding, SessionEvent::NewPinChecked { attempt, user, outcome }, None);
        told.left = [due.left, told.left].concat();
        told
    }

    fn keep(
        &self,
        _: &MutexGuard<'_, ()>,
        (attempt, user): (u64, UserId),
        chosen: &ChosenPin,
    ) -> anyhow::Result<()> {
        let exposed = self.staff(user)?.and_then(|user| user.pin_exposed_at);
        anyhow::ensure!(exposed == Some(chosen.exposed_at), "her PIN was replaced meanwhile");
        let permit = lock(&self.state).machine.choosing(attempt)?;
        let change = self.choice(&permit, chosen);
        let token = hex(&self.reader.clock.random::<16>());
        let entry = Entry { change: &change, token: &token };
        Ok(self.reader.trail.append_choice(&permit, entry, || self.choice_event(&permit))?)
    }

    fn choice(&self, permit: &Permit<ChoosePin>, chosen: &ChosenPin) -> Change {
        let actor = permit.actor();
        let assignment = self.reader.trail.grant().assignment_id;
        let (by, stamp) = ((actor.user, actor.session), self.reader.clock.stamp());
        Change {
            kind: ChangeKind::Patch,
            record: Some(RecordId::from_bytes(*actor.user.as_bytes())),
            ..Change::create(by, assignment, Collection::Users, chosen.fields(), stamp)
        }
    }

    fn choice_event(&self, permit: &Permit<ChoosePin>) -> AuditEvent {
        let actor = permit.actor();
        let (clock, grant) = (&self.reader.clock, self.reader.trail.grant());
        audit::event(clock, grant, AuditEventType::Login, AuditAction::Update, "pin")
            .on(actor.user)
            .by(actor.user, Some(actor.session))
    }
}

//! Choosing a new PIN. It is hashed here, and only its verifier leaves the device: as a change, which the
//! other kiosks get by way of the server. Until it has come back, this one goes by what waits.

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

use super::lock;
use super::ward::Ward;
use crate::audit;
use crate::mirror::MirrorError;
use crate::outbox::Entry;

/// Why a PIN is not taken.
const SAME_AS_BEFORE: &str = "it is your old PIN; choose a different one";
const NOT_THE_SAME: &str = "the two did not match; start over";
const NOT_KEPT: &str = "this device could not keep it; try again, or use another device";

impl Ward {
    /// A member of staff, with the PIN that she chose here and that is on its way.
    pub(super) fn staff(&self, id: UserId) -> Result<Option<UserDocument>, MirrorError> {
        let cursor = self.mirror.cursor()?.map_or(0, |cursor| cursor.seq);
        let chosen = self.outbox.chosen_pin(id, cursor).unwrap_or_else(|error| {
            tracing::error!(%error, "whether a PIN was chosen here cannot be read");
            None
        });
        let known = self.mirror.user(id)?;
        Ok(known.map(|user| match chosen {
            Some(chosen) if user.pin_exposed_at == Some(chosen.exposed_at) => {
                UserDocument { pin_verifier: Some(chosen.pin_verifier), pin_exposed_at: None, ..user }
            }
            Some(_) | None => user,
        }))
    }

    /// Whether what was typed may be her new PIN. Its verifier is held until it was typed once more.
    pub(super) fn check_new_pin(&self, attempt: u64, user: UserId, typed: &SecretString) {
        let outcome = match self.fit(user, typed) {
            Ok(chosen) => {
                *lock(&self.chosen) = Some((user, chosen));
                NewPin::Fit
            }
            Err(why) => NewPin::Refused(why),
        };
        self.session_on(SessionEvent::NewPinChecked { attempt, user, outcome });
    }

    fn fit(&self, user: UserId, typed: &SecretString) -> Result<ChosenPin, &'static str> {
        pin::check(typed.expose_secret())?;
        let known = self.staff(user).ok().flatten().ok_or(NOT_KEPT)?;
        if known.pin_verifier.is_some_and(|old| is_secret(&old, typed.expose_secret()) == Ok(true)) {
            return Err(SAME_AS_BEFORE);
        }
        let exposed_at = known.pin_exposed_at.ok_or(NOT_KEPT)?;
        let made = of_secret(typed.expose_secret(), self.clock.random());
        made.map(|pin_verifier| ChosenPin { pin_verifier, exposed_at }).map_err(|error| {
            tracing::error!(%error, "a PIN could not be hashed");
            NOT_KEPT
        })
    }

    /// Keeps it durably, when it was the same again.
    pub(super) fn keep_new_pin(&self, attempt: u64, user: UserId, typed: &SecretString) {
        let held = lock(&self.chosen).take().filter(|(whose, _)| *whose == user);
        let outcome = match held {
            Some((_, chosen)) if is_secret(&chosen.pin_verifier, typed.expose_secret()) == Ok(true) => {
                match self.keep(attempt, user, &chosen) {
                    Ok(()) => NewPin::Kept(PinMark::of(&chosen.pin_verifier)),
                    Err(error) => {
                        tracing::error!(error = format!("{error:#}"), "a new PIN was not kept");
                        NewPin::Refused(NOT_KEPT)
                    }
                }
            }
            Some(_) | None => NewPin::Refused(NOT_THE_SAME),
        };
        self.session_on(SessionEvent::NewPinChecked { attempt, user, outcome });
    }

    fn keep(&self, attempt: u64, user: UserId, chosen: &ChosenPin) -> anyhow::Result<()> {
        let exposed = self.staff(user)?.and_then(|user| user.pin_exposed_at);
        anyhow::ensure!(exposed == Some(chosen.exposed_at), "her PIN was replaced meanwhile");
        let permit = lock(&self.session).choosing(attempt)?;
        let change = self.choice(&permit, chosen);
        let token = hex(&self.clock.random::<16>());
        let entry = Entry { change: &change, token: &token };
        self.with_room(|| self.outbox.append(&permit, entry, |_| vec![self.noted_choice(&permit)]))?;
        self.saved.notify_one();
        Ok(())
    }

    fn choice(&self, permit: &Permit<ChoosePin>, chosen: &ChosenPin) -> Change {
        let actor = permit.actor();
        let (recorded_at, clock_quality) = self.clock.stamp();
        Change {
            actor: actor.user,
            session: actor.session,
            assignment: self.grant.assignment_id,
            kind: ChangeKind::Patch,
            collection: Collection::Users,
            record: Some(RecordId::from_bytes(*actor.user.as_bytes())),
            base_seq: None,
            patient: None,
            workflow: None,
            schema_version: None,
            fields: chosen.fields(),
            confirmed: Vec::new(),
            reason: None,
            entered_in_error: false,
            recorded_at,
            clock_quality,
            supersedes: None,
        }
    }

    fn noted_choice(&self, permit: &Permit<ChoosePin>) -> AuditEvent {
        let actor = permit.actor();
        audit::event(&self.clock, &self.grant, AuditEventType::Login, AuditAction::Update, "pin")
            .on(actor.user)
            .by(actor.user, Some(actor.session))
    }
}

//! PIN renewal: a new PIN in the place of one that a thief may know: right after the old one was given, typed twice.

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::{SessionId, UserId};
use carepost_protocol::role::{self, ChoosePin, Permit, Resource};

use super::{
    Actor, Asks, Effects, Moment, NewPin, Notice, PinPad, Reason, Refused, Screen, Session, SessionMachine,
    audit,
};

impl SessionMachine {
    /// A permit for the one thing that she may do whose new PIN is being made.
    ///
    /// # Errors
    /// [`Refused::NoSession`] unless a PIN of that attempt is being made and would still answer something;
    /// [`Refused::Denied`] when her role does not allow it.
    pub fn choosing(&self, attempt: u64) -> Result<Permit<ChoosePin>, Refused> {
        let Screen::PinPad { pad, .. } = &self.screen else { return Err(Refused::NoSession) };
        let session = match pad.asks {
            Asks::New(session) | Asks::Repeat(session, _) if pad.attempt == attempt && !pad.replaced => {
                session
            }
            Asks::New(_) | Asks::Repeat(..) | Asks::Pin => return Err(Refused::NoSession),
        };
        let actor = Actor {
            user: pad.member.user,
            session,
            role: pad.member.role,
            organization: Some(self.organization),
            facility: Some(self.facility),
        };
        Ok(role::authorize(&actor, Resource::Facility(self.organization, self.facility))?)
    }

    /// She gave the PIN that a thief may know: she is asked for another, and nothing opens before.
    pub(super) fn ask_for_new(
        &mut self,
        mut pad: PinPad,
        mut behind: Option<Session>,
        at: Moment,
        out: &mut Effects,
    ) {
        let user = pad.member.user;
        let hers = behind.as_mut().filter(|session| session.member.user == user);
        let session = match hers {
            Some(waiting) => {
                waiting.touched = at.monotonic;
                waiting.id
            }
            None => SessionId::new(at.now, at.random),
        };
        audit(out, AuditEventType::Login, true, Some(user), None, Reason::PinExposed);
        pad.attempt = self.next_attempt();
        pad.asks = Asks::New(session);
        pad.touched = at.monotonic;
        self.notice = None;
        self.screen = Screen::PinPad { pad, behind };
    }

    /// A new PIN that was made durable after its pad had gone stands, and opens nothing.
    pub(super) fn new_pin_checked(&mut self, user: UserId, outcome: NewPin, at: Moment, out: &mut Effects) {
        let Some((mut pad, behind)) = self.take_pad() else {
            if let NewPin::Kept(_) = outcome {
                audit(out, AuditEventType::Login, false, Some(user), None, Reason::PinTooLate);
            }
            return;
        };
        let (Asks::New(session) | Asks::Repeat(session, _)) = pad.asks else {
            self.screen = Screen::PinPad { pad, behind };
            return;
        };
        let (asks, notice) = match outcome {
            NewPin::Kept(mark) => {
                pad.member.pin = Some(mark);
                pad.member.pin_exposed = None;
                self.begin_grace(&pad.member, at.monotonic);
                return self.admit(pad.member, (behind, session), Reason::NewPin, at, out);
            }
            // The office was faster: hers would answer nothing any more.
            NewPin::Fit(_) | NewPin::Refused(_) | NewPin::Uncertain if pad.replaced => {
                self.screen = Screen::PinPad { pad, behind };
                self.close_pad(Reason::PinReplaced, out);
                return self.show(Notice::PinReplaced, at.monotonic);
            }
            NewPin::Uncertain => {
                self.screen = Screen::PinPad { pad, behind };
                self.close_pad(Reason::NewPinUncertain, out);
                return self.show(Notice::NewPinUncertain, at.monotonic);
            }
            NewPin::Fit(chosen) => (Asks::Repeat(session, chosen), None),
            NewPin::Refused(why) => (Asks::New(session), Some(Notice::NotANewPin(why))),
        };
        pad.asks = asks;
        pad.attempt = self.next_attempt();
        pad.touched = at.monotonic;
        self.screen = Screen::PinPad { pad, behind };
        match notice {
            Some(notice) => self.show(notice, at.monotonic),
            None => self.notice = None,
        }
    }
}

//! The session, a state machine of the one screen: who is signed in, and whether the screen may show anything.
//!
//! At most one session exists. It is open, or waits behind a locked screen until it idles out; a tap
//! of another badge puts a PIN pad (or, within that user's grace period, the other user) in front of
//! it. [`SessionMachine::authorize`] gives permits only from an open session.
//!
//! Rules, with their sources:
//! - Badge + PIN first, then the badge alone while the user's grace period runs (C15). Grace starts at
//!   a correct PIN on this device, is lost at a restart, and ends when the PIN is replaced, the user
//!   is locked out or gone.
//! - Five wrong PINs lock the user for 30 minutes, online and offline (S0-49); see [`Throttle`] for the
//!   clocks that count them, and [`DEVICE_PAUSE`] for guessing across users. A lock-out blocks signing in, not a
//!   session that is open, and is over once the user has another PIN ([`Throttle::against`]).
//! - The user's own badge on her open screen locks it with a few seconds to undo; on her locked screen
//!   it resumes. Another's badge takes over: the first session ends when the second opens, not before.
//! - A PIN that a thief may know (a device that held it was lost) signs nobody in: once it was given, another
//!   has to be chosen, at once and twice. After seven days it does not even do that, and an administrator has
//!   to set one. Sessions that are open go on; wrong ones count on until another is chosen.
//! - A refused tap changes nothing on the screen but the notice: it can neither lock out nor sign out
//!   whoever is charting.
//! - Idle times run on monotonic time, so that a clock jump neither locks a screen nor keeps it open.

mod event;
mod pin_lockout;
mod renewal;
mod sign_in;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::{FacilityId, OrganizationId, SessionId, UserId};
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::role::{self, Act, Actor, Denied, Permit, Resource};
use carepost_protocol::time::Timestamp;

pub use event::{
    AuditNote, CardKey, Feedback, Member, NewPin, Presented, Reason, SessionEffect, SessionEvent,
    SessionPolicy,
};
use pin_lockout::PinLockout;
pub use pin_lockout::{DEVICE_FAILURES, DEVICE_PAUSE, DEVICE_WINDOW, PinMark, Throttle};
use sign_in::Debounce;
pub use view::{Asked, Notice, SessionView};

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No session is open.
    #[error("nobody is signed in here: tap your badge")]
    NoSession,
    /// The session's role does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// The machine. Give it every event with the corrected wall time, monotonic time and ten fresh random
/// bytes (for the id of a session that may open). A clone of it decides like it: so an event can be decided before
/// anybody sees what came of it.
#[derive(Debug, Clone)]
pub struct SessionMachine {
    policy: SessionPolicy,
    organization: OrganizationId,
    facility: FacilityId,
    screen: Screen,
    notice: Option<(Notice, Duration)>,
    debounce: Debounce,
    grace: BTreeMap<UserId, (PinMark, Duration)>,
    pin_lockout: PinLockout,
    attempts: u64,
    checking: Option<(u64, UserId)>,
}

#[derive(Debug, Clone)]
enum Screen {
    Locked { behind: Option<Session> },
    JustLocked { session: Session, until: Duration },
    PinPad { pad: PinPad, behind: Option<Session> },
    Open(Session),
}

impl Screen {
    const EMPTY: Self = Self::Locked { behind: None };

    const fn session(&self) -> Option<&Session> {
        match self {
            Self::Locked { behind } | Self::PinPad { behind, .. } => behind.as_ref(),
            Self::JustLocked { session, .. } | Self::Open(session) => Some(session),
        }
    }
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    member: Member,
    touched: Duration,
    warned: bool,
}

impl Session {
    /// When it idles out.
    fn ends(&self) -> Duration {
        self.touched.saturating_add(self.member.session_timeout)
    }
}

#[derive(Debug, Clone)]
struct PinPad {
    attempt: u64,
    asks: Asks,
    member: Member,
    failures: u32,
    touched: Duration,
    /// Her PIN was replaced while a new one was being checked: by that one, or by the office.
    replaced: bool,
}

/// What a PIN pad asks for; a new PIN under the session that opens, or goes on, once it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    /// The PIN.
    Pin,
    /// A new one.
    New(SessionId),
    /// The new one once more.
    Repeat(SessionId, ChosenPin),
}

#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    monotonic: Duration,
    random: [u8; 10],
}

type Effects = Vec<SessionEffect>;

impl SessionMachine {
    /// A locked screen on a device of this facility.
    #[must_use]
    pub fn new(policy: SessionPolicy, (organization, facility): (OrganizationId, FacilityId)) -> Self {
        let pin_lockout = PinLockout::new(policy.max_failures, policy.lockout);
        let debounce = Debounce::new(policy.same_badge_quiet);
        Self {
            policy,
            organization,
            facility,
            screen: Screen::EMPTY,
            notice: None,
            debounce,
            grace: BTreeMap::new(),
            pin_lockout,
            attempts: 0,
            checking: None,
        }
    }

    /// Takes an event. Whatever was due by `monotonic` happens first, so that a late tick can keep
    /// nothing open.
    pub fn on(
        &mut self,
        event: SessionEvent,
        now: Timestamp,
        monotonic: Duration,
        random: [u8; 10],
    ) -> Vec<SessionEffect> {
        let at = Moment { now, monotonic, random };
        let mut out = Vec::new();
        self.expire(monotonic, &mut out);
        match event {
            SessionEvent::BadgePresented { badge, throttle, card } => {
                self.presented((badge, card), &throttle, at, &mut out);
            }
            SessionEvent::BadgeRemoved => self.debounce.removed(),
            SessionEvent::PinEntered => self.pin_entered(monotonic, &mut out),
            SessionEvent::NotAPinEntered => self.not_a_pin_entered(monotonic),
            SessionEvent::PinChecked { attempt, user, correct, throttle } => {
                if self.checking == Some((attempt, user)) {
                    self.checking = None;
                    self.pin_checked(user, correct, &throttle, at, &mut out);
                }
            }
            SessionEvent::NewPinChecked { attempt, user, outcome } => {
                if self.checking == Some((attempt, user)) {
                    self.checking = None;
                    self.new_pin_checked(user, outcome, at, &mut out);
                }
            }
            SessionEvent::PinCancelled => self.close_pad(Reason::PinCancelled, &mut out),
            SessionEvent::Touched => self.touched(monotonic),
            SessionEvent::LockPressed => self.lock(Reason::LockButton, &mut out),
            SessionEvent::UndoPressed => self.undo(monotonic, &mut out),
            SessionEvent::MemberChanged(member) => self.member_changed(member, monotonic, &mut out),
            SessionEvent::MemberGone(user) => self.member_gone(user, monotonic, &mut out),
            SessionEvent::Tick => {}
        }
        out
    }

    /// Who acts at this moment; none unless a session is open.
    #[must_use]
    pub fn actor(&self, monotonic: Duration) -> Option<Actor> {
        let Screen::Open(session) = &self.screen else { return None };
        (monotonic < self.open_until(session)).then_some(Actor {
            user: session.member.user,
            session: session.id,
            role: session.member.role,
            organization: Some(self.organization),
            facility: Some(self.facility),
        })
    }

    /// Asks whether whoever is signed in may do `A` in this facility.
    ///
    /// # Errors
    /// [`Refused::NoSession`] unless a session is open at `monotonic`; [`Refused::Denied`] when the
    /// role does not allow it.
    pub fn authorize<A: Act>(&self, monotonic: Duration) -> Result<Permit<A>, Refused> {
        let actor = self.actor(monotonic).ok_or(Refused::NoSession)?;
        Ok(role::authorize(&actor, Resource::Facility(self.organization, self.facility))?)
    }

    /// The check that a PIN typed now would belong to; none without a PIN pad that is ready for one.
    #[must_use]
    pub fn pin_attempt(&self) -> Option<(u64, UserId)> {
        match &self.screen {
            Screen::PinPad { pad, .. } if self.checking.is_none() => Some((pad.attempt, pad.member.user)),
            Screen::PinPad { .. } | Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::Open(_) => {
                None
            }
        }
    }

    /// Whoever is signed in, waits behind the locked screen or is asked for a PIN: the people whose
    /// changes in the mirror this machine wants to hear of.
    #[must_use]
    pub fn people(&self) -> Vec<UserId> {
        let asked = match &self.screen {
            Screen::PinPad { pad, .. } => Some(pad.member.user),
            Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::Open(_) => None,
        };
        let session = self.screen.session().map(|session| session.member.user);
        asked.into_iter().chain(session).collect()
    }

    fn open_until(&self, session: &Session) -> Duration {
        session.ends().min(session.touched.saturating_add(self.policy.screen_lock))
    }

    fn warns_at(&self, session: &Session) -> Duration {
        self.open_until(session).saturating_sub(self.policy.screen_warning)
    }

    fn take_screen(&mut self) -> Screen {
        std::mem::replace(&mut self.screen, Screen::EMPTY)
    }

    fn show(&mut self, notice: Notice, monotonic: Duration) {
        self.notice = Some((notice, monotonic.saturating_add(view::NOTICE_SHOWN)));
    }

    fn expire(&mut self, monotonic: Duration, out: &mut Effects) {
        self.notice.take_if(|(_, until)| *until <= monotonic);
        let lock_due = match &mut self.screen {
            Screen::Open(_) | Screen::Locked { .. } => false,
            Screen::PinPad { pad, .. } => pad.touched.saturating_add(self.policy.pin_entry) <= monotonic,
            Screen::JustLocked { until, .. } => *until <= monotonic,
        };
        match self.take_screen() {
            Screen::JustLocked { session, .. } if lock_due => {
                self.screen = Screen::Locked { behind: Some(session) };
            }
            Screen::Open(mut session) => {
                session.warned |= self.warns_at(&session) <= monotonic;
                let due = self.open_until(&session) <= monotonic;
                self.screen = Screen::Open(session);
                if due {
                    self.lock(Reason::Idle, out);
                }
            }
            pad @ Screen::PinPad { .. } => {
                self.screen = pad;
                if lock_due {
                    self.close_pad(Reason::PinTimedOut, out);
                }
            }
            other @ (Screen::Locked { .. } | Screen::JustLocked { .. }) => self.screen = other,
        }
        if self.screen.session().is_some_and(|session| session.ends() <= monotonic) {
            self.end_session(Reason::Idle, out);
        }
    }

    fn touched(&mut self, monotonic: Duration) {
        match &mut self.screen {
            Screen::Open(session) => {
                session.touched = monotonic;
                session.warned = false;
            }
            Screen::PinPad { pad, .. } => pad.touched = monotonic,
            Screen::Locked { .. } | Screen::JustLocked { .. } => {}
        }
    }

    /// An open session goes behind the locked screen.
    fn lock(&mut self, reason: Reason, out: &mut Effects) {
        match self.take_screen() {
            Screen::Open(session) => {
                self.leave_open(&session, reason, out);
                self.screen = Screen::Locked { behind: Some(session) };
            }
            other @ (Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::PinPad { .. }) => {
                self.screen = other;
            }
        }
    }

    fn leave_open(&mut self, session: &Session, reason: Reason, out: &mut Effects) {
        let (user, id) = (session.member.user, session.id);
        out.push(SessionEffect::ParkDraft { user });
        out.push(SessionEffect::ScreenLocked { session: id, user });
        audit(out, AuditEventType::Logout, true, Some(user), Some(id), reason);
    }

    fn undo(&mut self, monotonic: Duration, out: &mut Effects) {
        match self.take_screen() {
            Screen::JustLocked { session, .. } => self.resume(session, Reason::Undone, monotonic, out),
            other @ (Screen::Locked { .. } | Screen::PinPad { .. } | Screen::Open(_)) => self.screen = other,
        }
    }

    /// Ends the session wherever it is; a PIN pad in front of it stays.
    fn end_session(&mut self, reason: Reason, out: &mut Effects) {
        let ended = match self.take_screen() {
            Screen::PinPad { pad, behind } => {
                self.screen = Screen::PinPad { pad, behind: None };
                behind
            }
            Screen::Open(session) => {
                out.push(SessionEffect::ParkDraft { user: session.member.user });
                Some(session)
            }
            Screen::JustLocked { session, .. } => Some(session),
            Screen::Locked { behind } => behind,
        };
        if let Some(session) = ended {
            ended_session(&session, reason, out);
        }
    }

    fn member_changed(&mut self, member: Member, monotonic: Duration, out: &mut Effects) {
        if self.grace.get(&member.user).is_some_and(|(mark, _)| Some(*mark) != member.pin) {
            self.grace.remove(&member.user);
        }
        let asked = match &mut self.screen {
            Screen::PinPad { pad, .. } if pad.member.user == member.user => {
                let renews = !matches!(pad.asks, Asks::Pin);
                let replaced = pad.member.pin != member.pin || (renews && member.pin_exposed.is_none());
                // While her new PIN is made, it may be what came back: what becomes of that one tells.
                let made = renews && self.checking.is_some();
                pad.replaced |= replaced && made;
                pad.member = member.clone();
                replaced && !made
            }
            Screen::PinPad { .. } | Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::Open(_) => {
                false
            }
        };
        if asked {
            self.close_pad(Reason::PinReplaced, out);
            self.show(Notice::PinReplaced, monotonic);
        }
        match &mut self.screen {
            Screen::Locked { behind: Some(session) }
            | Screen::PinPad { behind: Some(session), .. }
            | Screen::JustLocked { session, .. }
            | Screen::Open(session) => {
                if session.member.user == member.user {
                    session.member = member;
                }
            }
            Screen::Locked { behind: None } | Screen::PinPad { behind: None, .. } => {}
        }
        // A shorter timeout holds from now on, not from the next tick.
        self.expire(monotonic, out);
    }

    fn member_gone(&mut self, user: UserId, monotonic: Duration, out: &mut Effects) {
        self.grace.remove(&user);
        let asked = matches!(&self.screen, Screen::PinPad { pad, .. } if pad.member.user == user);
        let signed_in = self.screen.session().is_some_and(|session| session.member.user == user);
        if asked {
            self.close_pad(Reason::Deactivated, out);
        }
        if signed_in {
            self.end_session(Reason::Deactivated, out);
        }
        if asked || signed_in {
            self.show(Notice::Deactivated, monotonic);
        }
    }

    fn resume(&mut self, mut session: Session, reason: Reason, monotonic: Duration, out: &mut Effects) {
        let (id, user) = (session.id, session.member.user);
        session.touched = monotonic;
        session.warned = false;
        self.notice = None;
        self.screen = Screen::Open(session);
        out.push(SessionEffect::SessionResumed { session: id, user });
        audit(out, AuditEventType::Login, true, Some(user), Some(id), reason);
    }

    /// The member is who she says she is: her waiting session resumes, or a new one opens and another
    /// person's ends.
    fn admit(
        &mut self,
        member: Member,
        (behind, id): (Option<Session>, SessionId),
        reason: Reason,
        at: Moment,
        out: &mut Effects,
    ) {
        match behind {
            Some(mut session) if session.member.user == member.user => {
                session.member = member;
                return self.resume(session, reason, at.monotonic, out);
            }
            Some(other) => ended_session(&other, Reason::TapOver, out),
            None => {}
        }
        let user = member.user;
        self.notice = None;
        self.screen = Screen::Open(Session { id, member, touched: at.monotonic, warned: false });
        out.push(SessionEffect::SessionOpened { session: id, user });
        audit(out, AuditEventType::Login, true, Some(user), Some(id), reason);
    }
}

fn ended_session(session: &Session, reason: Reason, out: &mut Effects) {
    let (id, user) = (session.id, session.member.user);
    out.push(SessionEffect::SessionEnded { session: id, user, reason });
    audit(out, AuditEventType::Logout, true, Some(user), Some(id), reason);
}

fn audit(
    out: &mut Effects,
    event_type: AuditEventType,
    success: bool,
    user: Option<UserId>,
    session: Option<SessionId>,
    reason: Reason,
) {
    out.push(SessionEffect::Audit(AuditNote { event_type, success, user, session, reason }));
}

//! Sign-in: badges that are presented, debounced into taps, and the PINs that follow them.

use std::time::Duration;

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::{SessionId, UserId};
use carepost_protocol::pin;

use super::pin_lockout::Throttle;
use super::{
    Asks, CardKey, Effects, Feedback, Member, Moment, Notice, PinPad, Presented, Reason, Screen, Session,
    SessionEffect, SessionMachine, audit,
};

/// Which presentations are taps. A badge that is left on the reader is one tap, however often the
/// reader reports it: to sign in again it has to be removed and presented again.
#[derive(Debug, Clone)]
pub(super) struct Debounce {
    quiet: Duration,
    on_reader: Option<CardKey>,
    last: Option<(CardKey, Duration)>,
}

/// What a presentation is.
pub(super) enum Sight {
    /// A tap.
    Tap,
    /// The end of the tap before.
    Bounce,
    /// A badge that was left on the reader, reported again.
    Left,
}

impl Debounce {
    pub(super) const fn new(quiet: Duration) -> Self {
        Self { quiet, on_reader: None, last: None }
    }

    pub(super) fn see(&mut self, card: CardKey, monotonic: Duration) -> Sight {
        let stayed = self.on_reader.replace(card) == Some(card);
        let bounced =
            self.last.is_some_and(|(last, at)| last == card && monotonic.saturating_sub(at) < self.quiet);
        if bounced {
            return Sight::Bounce;
        }
        if stayed {
            return Sight::Left;
        }
        self.last = Some((card, monotonic));
        Sight::Tap
    }

    pub(super) const fn removed(&mut self) {
        self.on_reader = None;
    }
}

impl SessionMachine {
    pub(super) fn presented(
        &mut self,
        (badge, card): (Presented, CardKey),
        throttle: &Throttle,
        at: Moment,
        out: &mut Effects,
    ) {
        match self.debounce.see(card, at.monotonic) {
            Sight::Tap => self.tap(badge, throttle, at, out),
            // Nobody who is charting needs to hear of it.
            Sight::Left if !matches!(self.screen, Screen::Open(_)) => {
                self.show(Notice::LeftOnReader, at.monotonic);
            }
            Sight::Left | Sight::Bounce => {}
        }
    }

    fn tap(&mut self, badge: Presented, throttle: &Throttle, at: Moment, out: &mut Effects) {
        let (user, notice, reason) = match badge {
            Presented::Known(member) => return self.tap_of(member, throttle, at, out),
            Presented::Revoked { user } => (Some(user), Notice::RevokedBadge, Reason::RevokedBadge),
            Presented::Inactive { user } => (Some(user), Notice::InactiveUser, Reason::InactiveUser),
            Presented::Unknown => (None, Notice::UnknownBadge, Reason::UnknownBadge),
            Presented::StillLoading => (None, Notice::StillLoading, Reason::StillLoading),
            Presented::RandomUid => (None, Notice::RandomUid, Reason::RandomUid),
            Presented::Unreadable => (None, Notice::Unreadable, Reason::UnreadableBadge),
            Presented::LyingThere => (None, Notice::LeftOnReader, Reason::UnreadableBadge),
        };
        self.refuse(user, notice, reason, at.monotonic, out);
    }

    fn refuse(
        &mut self,
        user: Option<UserId>,
        notice: Notice,
        reason: Reason,
        monotonic: Duration,
        out: &mut Effects,
    ) {
        self.show(notice, monotonic);
        audit(out, AuditEventType::Badge, false, user, None, reason);
        out.push(SessionEffect::Feedback(Feedback::Deny));
    }

    fn tap_of(&mut self, member: Member, throttle: &Throttle, at: Moment, out: &mut Effects) {
        let user = member.user;
        if self.checking.is_some() {
            return self.refuse(Some(user), Notice::Busy, Reason::PinBeingChecked, at.monotonic, out);
        }
        let own_open = matches!(&self.screen, Screen::Open(session) if session.member.user == user);
        if own_open {
            return self.lock_with_badge(at.monotonic, out);
        }
        if let Some((notice, reason)) = self.why_not(&member, throttle, at) {
            return self.refuse(Some(user), notice, reason, at.monotonic, out);
        }
        audit(out, AuditEventType::Badge, true, Some(user), None, Reason::Presented);
        let behind = self.stand_aside(out);
        if self.in_grace(&member, at.monotonic) {
            self.admit(member, (behind, SessionId::new(at.now, at.random)), Reason::BadgeInGrace, at, out);
        } else {
            let failures = if throttle.locked_until.is_some() { 0 } else { throttle.failures };
            let (attempt, touched) = (self.next_attempt(), at.monotonic);
            let pad = PinPad { attempt, asks: Asks::Pin, member, failures, touched, replaced: false };
            self.notice = None;
            self.screen = Screen::PinPad { pad, behind };
        }
        out.push(SessionEffect::Feedback(Feedback::Accept));
    }

    /// Why a member's badge opens nothing at this moment.
    fn why_not(&mut self, member: &Member, throttle: &Throttle, at: Moment) -> Option<(Notice, Reason)> {
        if let Some(rest) = self.pin_lockout.locked_for(member.user, throttle, at.now, at.monotonic) {
            return Some((Notice::LockedOut { until: at.now.after(rest) }, Reason::LockedOut));
        }
        // Nor is it sent any more then.
        if is_expired(member, at) {
            return Some((Notice::PinExpired, Reason::PinExpired));
        }
        if member.pin.is_none() {
            return Some((Notice::NoPin, Reason::NoPin));
        }
        if self.in_grace(member, at.monotonic) {
            return None;
        }
        let rest = self.pin_lockout.pauses_for(at.monotonic)?;
        Some((Notice::DevicePaused { until: at.now.after(rest) }, Reason::DevicePaused))
    }

    pub(super) fn begin_grace(&mut self, member: &Member, monotonic: Duration) {
        if let Some(mark) = member.pin {
            self.grace.insert(member.user, (mark, monotonic.saturating_add(self.policy.pin_grace)));
        }
    }

    fn in_grace(&self, member: &Member, monotonic: Duration) -> bool {
        let exposed = member.pin_exposed.is_some();
        !exposed
            && self
                .grace
                .get(&member.user)
                .is_some_and(|(mark, until)| Some(*mark) == member.pin && monotonic < *until)
    }

    pub(super) fn next_attempt(&mut self) -> u64 {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts
    }

    fn lock_with_badge(&mut self, monotonic: Duration, out: &mut Effects) {
        match self.take_screen() {
            Screen::Open(session) => {
                let user = session.member.user;
                audit(out, AuditEventType::Badge, true, Some(user), Some(session.id), Reason::Presented);
                self.leave_open(&session, Reason::OwnBadge, out);
                let until = monotonic.saturating_add(self.policy.undo);
                self.screen = Screen::JustLocked { session, until };
                out.push(SessionEffect::Feedback(Feedback::Accept));
            }
            other @ (Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::PinPad { .. }) => {
                self.screen = other;
            }
        }
    }

    /// Clears the screen for whoever tapped; the session that was there waits.
    fn stand_aside(&mut self, out: &mut Effects) -> Option<Session> {
        match self.take_screen() {
            Screen::Open(session) => {
                self.leave_open(&session, Reason::TapOver, out);
                Some(session)
            }
            Screen::JustLocked { session, .. } => Some(session),
            Screen::Locked { behind } | Screen::PinPad { behind, .. } => behind,
        }
    }

    pub(super) fn pin_entered(&mut self, monotonic: Duration, out: &mut Effects) {
        let Some((attempt, user)) = self.pin_attempt() else { return };
        let Screen::PinPad { pad, .. } = &self.screen else { return };
        out.push(match &pad.asks {
            Asks::Pin => SessionEffect::CheckPin { attempt, user },
            Asks::New(_) => SessionEffect::CheckNewPin { attempt, user },
            Asks::Repeat(_, chosen) => SessionEffect::KeepNewPin { attempt, user, chosen: chosen.clone() },
        });
        self.touched(monotonic);
        self.checking = Some((attempt, user));
    }

    pub(super) fn not_a_pin_entered(&mut self, monotonic: Duration) {
        if self.pin_attempt().is_some() {
            self.touched(monotonic);
            self.show(Notice::NotAPin, monotonic);
        }
    }

    /// A wrong PIN counts even when its pad has gone, or else dismissing the pad would make guessing
    /// free; a right one opens nothing then.
    pub(super) fn pin_checked(
        &mut self,
        user: UserId,
        correct: bool,
        throttle: &Throttle,
        at: Moment,
        out: &mut Effects,
    ) {
        if !correct {
            return self.wrong_pin(user, throttle, at, out);
        }
        if let Some(rest) = self.pin_lockout.locked_for(user, throttle, at.now, at.monotonic) {
            self.drop_pad();
            self.show(Notice::LockedOut { until: at.now.after(rest) }, at.monotonic);
            return audit(out, AuditEventType::Login, false, Some(user), None, Reason::LockedOut);
        }
        let Some((pad, behind)) = self.take_pad() else {
            return audit(out, AuditEventType::Login, false, Some(user), None, Reason::PinTooLate);
        };
        if throttle.failures > 0 {
            out.push(SessionEffect::KeepThrottle { user, throttle: Throttle::default() });
        }
        if is_expired(&pad.member, at) {
            self.screen = Screen::Locked { behind };
            self.show(Notice::PinExpired, at.monotonic);
            return audit(out, AuditEventType::Login, false, Some(user), None, Reason::PinExpired);
        }
        if pad.member.pin_exposed.is_some() {
            return self.ask_for_new(pad, behind, at, out);
        }
        self.begin_grace(&pad.member, at.monotonic);
        self.admit(pad.member, (behind, SessionId::new(at.now, at.random)), Reason::BadgeAndPin, at, out);
    }

    fn wrong_pin(&mut self, user: UserId, throttle: &Throttle, at: Moment, out: &mut Effects) {
        let throttle = self.pin_lockout.wrong(user, throttle, at.now, at.monotonic);
        out.push(SessionEffect::KeepThrottle { user, throttle });
        audit(out, AuditEventType::Login, false, Some(user), None, Reason::WrongPin);
        let locked = self.pin_lockout.locked_for(user, &throttle, at.now, at.monotonic);
        if let Some(rest) = locked {
            self.grace.remove(&user);
            self.drop_pad();
            self.show(Notice::LockedOut { until: at.now.after(rest) }, at.monotonic);
            return audit(out, AuditEventType::Login, false, Some(user), None, Reason::LockedOut);
        }
        if let Some(rest) = self.pin_lockout.pauses_for(at.monotonic) {
            self.drop_pad();
            self.show(Notice::DevicePaused { until: at.now.after(rest) }, at.monotonic);
            return audit(out, AuditEventType::Login, false, Some(user), None, Reason::DevicePaused);
        }
        let next = self.next_attempt();
        if let Screen::PinPad { pad, .. } = &mut self.screen {
            pad.attempt = next;
            pad.failures = throttle.failures;
            pad.touched = at.monotonic;
            self.show(Notice::WrongPin, at.monotonic);
        }
    }

    /// Takes the PIN pad that a check was for off the screen, if it is still there. It can be no other: while a PIN is
    /// checked, no tap opens one.
    pub(super) fn take_pad(&mut self) -> Option<(PinPad, Option<Session>)> {
        match self.take_screen() {
            Screen::PinPad { pad, behind } => Some((pad, behind)),
            other @ (Screen::Locked { .. } | Screen::JustLocked { .. } | Screen::Open(_)) => {
                self.screen = other;
                None
            }
        }
    }

    /// The same, where nobody was admitted: who waited behind the pad waits on.
    fn drop_pad(&mut self) -> Option<PinPad> {
        let (pad, behind) = self.take_pad()?;
        self.screen = Screen::Locked { behind };
        Some(pad)
    }

    /// The same, with why, which the audit log is told.
    pub(super) fn close_pad(&mut self, reason: Reason, out: &mut Effects) {
        if let Some(pad) = self.drop_pad() {
            self.notice = None;
            audit(out, AuditEventType::Login, false, Some(pad.member.user), None, reason);
        }
    }
}

fn is_expired(member: &Member, at: Moment) -> bool {
    member.pin_exposed.is_some_and(|exposed| pin::is_expired(exposed, at.now))
}

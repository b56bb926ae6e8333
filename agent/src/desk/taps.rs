//! What comes from badge readers, PIN pads and the clock, and what the session makes of it.

use std::time::Duration;

use carepost_agent_core::session::{
    Asked, AuditNote, CardKey, Feedback as Answer, Member, PinMark, Presented, SessionEffect, SessionEvent,
    Throttle,
};
use carepost_protocol::audit::{AuditEvent, AuditEventType};
use carepost_protocol::badge::{self, Uid};
use carepost_protocol::id::UserId;
use carepost_protocol::pin;
use carepost_protocol::record::{Collection, UserDocument};
use carepost_protocol::verifier::is_secret;
use carepost_protocol::wire::heartbeat::{ReaderState, Revoked, TAP_LASTS, UnknownTap};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::lock;
use super::ward::Ward;
use crate::badge::{BadgeEvent, Feedback, Unreadable};
use crate::mirror::MirrorError;

/// What the audit log is told of a tap besides what the session made of it.
pub(super) struct Tap<'a> {
    /// The reader's name.
    reader: &'a str,
    /// Which card it was, masked; none where it cannot be told.
    card: Option<String>,
}

impl Ward {
    /// A reader saw something: what to show at the reader.
    pub fn on_badge(&self, event: &BadgeEvent) -> Option<Feedback> {
        match event {
            BadgeEvent::Presented { reader, uid, .. } => self.present(reader, uid),
            BadgeEvent::Unreadable { reader, why } => {
                let lies_there = matches!(why, Unreadable::LyingThere);
                let badge = if lies_there { Presented::LyingThere } else { Presented::Unreadable };
                let throttle = Throttle::default();
                // Nobody knows which card it was, so no two are the same.
                let card = CardKey(self.clock.random_u64());
                let presented = SessionEvent::BadgePresented { badge, throttle, card };
                self.session_on_tap(presented, Some(&Tap { reader, card: None }));
                if !lies_there {
                    self.session_on(SessionEvent::BadgeRemoved);
                }
            }
            BadgeEvent::Removed { .. } => self.session_on(SessionEvent::BadgeRemoved),
            BadgeEvent::Reader(_) => {}
        }
        lock(&self.feedback).take()
    }

    fn present(&self, reader: &str, uid: &Uid) {
        let lookup = badge::lookup(&self.badge_key, uid);
        let card =
            CardKey(lookup.bytes().take(16).fold(0, |key, digit| (key << 4) | u64::from(nibble(digit))));
        let (badge, card_seen) =
            if uid.is_random() { (Presented::RandomUid, None) } else { self.known(&lookup) };
        let throttle = match &badge {
            Presented::Known(member) => self.throttle(member.user, member.pin),
            Presented::Unknown => {
                *lock(&self.unknown) = Some((lookup, self.clock.monotonic()));
                Throttle::default()
            }
            Presented::StillLoading
            | Presented::Revoked { .. }
            | Presented::Inactive { .. }
            | Presented::RandomUid
            | Presented::Unreadable
            | Presented::LyingThere => Throttle::default(),
        };
        let presented = SessionEvent::BadgePresented { badge, throttle, card };
        self.session_on_tap(presented, Some(&Tap { reader, card: card_seen }));
    }

    /// The last card that was nobody's badge, as long as that is worth something: the office can issue it.
    #[must_use]
    pub fn unknown_tap(&self) -> Option<UnknownTap> {
        let (lookup, at) = lock(&self.unknown).clone()?;
        let age = self.clock.monotonic().saturating_sub(at);
        (age <= TAP_LASTS).then_some(UnknownTap { lookup, age: age.as_secs() })
    }

    /// When that was, so that the next one is news.
    pub(crate) fn unknown_tap_at(&self) -> Option<Duration> {
        lock(&self.unknown).as_ref().map(|(_, at)| *at)
    }

    /// Whose badge it is, and as what the audit log names the card: a badge as the office lists it.
    fn known(&self, lookup: &str) -> (Presented, Option<String>) {
        // Asked first: a page that arrives in between only adds.
        let unknown =
            if self.is_loaded(Collection::Badges) { Presented::Unknown } else { Presented::StillLoading };
        let known = self.mirror.badge(|keys| badge::layered(lookup, keys));
        let Ok(Some(badge)) = known else { return (unknown, Some(UnknownTap::masked(lookup))) };
        let (user, card) = (badge.user_id, Some(UnknownTap::masked(&badge.lookup)));
        if !badge.is_active {
            return (Presented::Revoked { user }, card);
        }
        let presented = match self.staff(user) {
            Ok(Some(document)) if document.is_active => Presented::Known(member(&document)),
            Ok(Some(_)) => Presented::Inactive { user },
            Ok(None) | Err(_) => unknown,
        };
        (presented, card)
    }

    /// What counts against a user's PIN. A counter that cannot be read counts as one failure short of a lock:
    /// guessing stays bounded, and whoever knows her PIN still gets in.
    fn throttle(&self, user: UserId, pin: Option<PinMark>) -> Throttle {
        let unkept = lock(&self.unkept).get(&user).copied();
        let kept = unkept.map_or_else(|| self.outbox.throttle(user), Ok).unwrap_or_else(|error| {
            tracing::error!(%error, "a PIN failure counter cannot be read");
            Throttle { failures: 4, ..Throttle::default() }
        });
        kept.against(pin)
    }

    /// Keeps a counter durably; while the disk does not take it, in memory, so that a full disk makes
    /// guessing no cheaper.
    fn keep_throttle(&self, user: UserId, throttle: Throttle) {
        lock(&self.unkept).insert(user, throttle);
        match self.outbox.keep_throttle(user, &throttle) {
            Ok(()) => drop(lock(&self.unkept).remove(&user)),
            Err(error) => tracing::error!(%error, "a PIN failure counter could not be kept"),
        }
    }

    /// Whether a PIN for that attempt is awaited, and this can be one; then it has to be given to
    /// [`Ward::check_pin`].
    pub(super) fn begin_pin(&self, attempt: u64, pin: &SecretString) -> bool {
        let awaited = lock(&self.session).pin_attempt().is_some_and(|(awaited, _)| awaited == attempt);
        let is_one = pin::is_one(pin.expose_secret());
        if awaited {
            self.session_on(if is_one { SessionEvent::PinEntered } else { SessionEvent::NotAPinEntered });
        }
        awaited && is_one
    }

    pub(super) fn check_pin(&self, attempt: u64, pin: &SecretString) {
        let Some((user, asked)) = lock(&self.checks).take() else { return };
        match asked {
            Asked::Pin => self.check_own_pin(attempt, user, pin),
            Asked::New => self.check_new_pin(attempt, user, pin),
            Asked::Repeat => self.keep_new_pin(attempt, user, pin),
        }
    }

    fn check_own_pin(&self, attempt: u64, user: UserId, pin: &SecretString) {
        let verifier = self.staff(user).ok().flatten().and_then(|user| user.pin_verifier);
        let throttle = self.throttle(user, verifier.as_deref().map(PinMark::of));
        let correct = verifier.is_some_and(|verifier| is_secret(&verifier, pin.expose_secret()) == Ok(true));
        self.session_on(SessionEvent::PinChecked { attempt, user, correct, throttle });
    }

    pub(super) fn touched(&self) {
        self.session_on(SessionEvent::Touched);
    }

    pub(super) fn cancel_pin(&self) {
        self.session_on(SessionEvent::PinCancelled);
    }

    pub(super) fn lock(&self) {
        self.session_on(SessionEvent::LockPressed);
    }

    pub(super) fn undo_lock(&self) {
        self.session_on(SessionEvent::UndoPressed);
    }

    /// Lets time pass: whether something was due.
    pub(super) fn tick(&self) -> bool {
        let now = self.clock.monotonic();
        let due = lock(&self.session).next_deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.session_on(SessionEvent::Tick);
        }
        due
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        lock(&self.session).next_deadline()
    }

    /// What the server revoked opens nothing from now on, and whoever is at this screen by it is gone.
    ///
    /// # Errors
    /// When the disk does not take it: the next heartbeat brings it again.
    pub fn revoke(&self, revoked: &Revoked) -> Result<(), MirrorError> {
        self.mirror.revoke(revoked)?;
        self.members_changed();
        Ok(())
    }

    /// The mirror has new documents: whoever is at this screen may be one of them.
    pub fn members_changed(&self) {
        let people = lock(&self.session).people();
        for user in people {
            match self.staff(user) {
                Ok(Some(document)) if document.is_active => {
                    self.session_on(SessionEvent::MemberChanged(member(&document)));
                }
                Ok(_) => self.session_on(SessionEvent::MemberGone(user)),
                Err(error) => tracing::error!(%error, "the mirror does not say who is at this screen"),
            }
        }
    }

    /// The reader came or went: audited.
    pub(super) fn note_reader(&self, reader: ReaderState) {
        let mut event = self.event(AuditEventType::Reader, reader == ReaderState::Ready, None, None);
        "reader".clone_into(&mut event.resource_type);
        event.details.insert("state".to_owned(), serde_json::to_value(reader).unwrap_or(Value::Null));
        self.append_audit(vec![event]);
    }

    /// Does what the session decided; everything that is to be written down goes in one append, before
    /// anything shows.
    pub(super) fn perform(&self, effects: Vec<SessionEffect>, tap: Option<&Tap<'_>>) {
        let mut audit = Vec::new();
        for effect in effects {
            match effect {
                SessionEffect::KeepThrottle { user, throttle } => self.keep_throttle(user, throttle),
                SessionEffect::CheckPin { user, .. } => *lock(&self.checks) = Some((user, Asked::Pin)),
                SessionEffect::CheckNewPin { user, .. } => *lock(&self.checks) = Some((user, Asked::New)),
                SessionEffect::KeepNewPin { user, .. } => *lock(&self.checks) = Some((user, Asked::Repeat)),
                SessionEffect::ScreenLocked { session, user } => {
                    self.leave_form(session, user);
                    self.forget_older();
                }
                SessionEffect::SessionEnded { session, user, .. } => {
                    self.leave_form(session, user);
                    self.forget(session);
                    self.forget_older();
                }
                SessionEffect::Audit(note) => audit.push(self.noted(note, tap)),
                SessionEffect::Feedback(answer) => {
                    *lock(&self.feedback) = Some(match answer {
                        Answer::Accept => Feedback::Accept,
                        Answer::Deny => Feedback::Deny,
                    });
                }
                // The page keeps its draft as it is typed; see `keep_draft`.
                SessionEffect::ParkDraft { .. }
                | SessionEffect::SessionOpened { .. }
                | SessionEffect::SessionResumed { .. } => {}
            }
        }
        self.append_audit(audit);
    }

    fn noted(&self, note: AuditNote, tap: Option<&Tap<'_>>) -> AuditEvent {
        let event = self.event(note.event_type, note.success, note.user, note.session);
        let event = event.detail("reason", note.reason.name());
        let Some(Tap { reader, card }) = tap else { return event };
        let event = event.detail("reader", *reader);
        if let Some(card) = card { event.detail("badge", card.as_str()) } else { event }
    }
}

fn member(user: &UserDocument) -> Member {
    Member {
        user: user.id,
        display_name: user.display_name.clone(),
        role: user.role,
        session_timeout: Duration::from_secs(u64::from(user.session_timeout_minutes) * 60),
        pin: user.pin_verifier.as_deref().map(PinMark::of),
        pin_exposed: user.pin_exposed_at,
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0,
    }
}

//! Sign-in: badges that readers see and PINs that are typed become events of the session machine. A counter of wrong
//! PINs that cannot be kept, or read, makes guessing no cheaper.

use std::time::Duration;

use carepost_agent_core::session::{AuditNote, CardKey, Member, PinMark, Presented, SessionEvent, Throttle};
use carepost_protocol::audit::{AuditEvent, AuditEventType};
use carepost_protocol::badge::{self, Uid};
use carepost_protocol::id::UserId;
use carepost_protocol::pin;
use carepost_protocol::record::{Collection, UserDocument};
use carepost_protocol::verifier::is_secret;
use carepost_protocol::wire::heartbeat::{ReaderState, TAP_LASTS, UnknownTap};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{Outcome, PinCheck, SessionHost, Typed, lock};
use crate::badge::{BadgeEvent, Unreadable};

/// What the audit log is told of a tap besides what the session made of it.
pub(super) struct Tap<'a> {
    reader: &'a str,
    /// Which card it was, masked; none where it cannot be told.
    card: Option<String>,
}

impl SessionHost {
    /// A reader saw something.
    pub(crate) fn on_badge(&self, event: &BadgeEvent) -> Outcome {
        match event {
            BadgeEvent::Presented { reader, uid, .. } => self.present(reader, uid),
            BadgeEvent::Unreadable { reader, why } => self.unreadable(reader, why),
            BadgeEvent::Removed { .. } => self.on(SessionEvent::BadgeRemoved),
            BadgeEvent::Reader(_) => Outcome::default(),
        }
    }

    fn unreadable(&self, reader: &str, why: &Unreadable) -> Outcome {
        let lies_there = matches!(why, Unreadable::LyingThere);
        let badge = if lies_there { Presented::LyingThere } else { Presented::Unreadable };
        // Nobody knows which card it was, so no two are the same.
        let card = CardKey(self.reader.clock.random_u64());
        let presented = SessionEvent::BadgePresented { badge, throttle: Throttle::default(), card };
        let deciding = lock(&self.deciding);
        let mut outcome = self.decide(&deciding, presented, Some(&Tap { reader, card: None }));
        if !lies_there {
            outcome.left.extend(self.decide(&deciding, SessionEvent::BadgeRemoved, None).left);
        }
        outcome
    }

    fn present(&self, reader: &str, uid: &Uid) -> Outcome {
        // Held before the mirror is asked: what changes there of whoever this opens for is told to the machine after it.
        let deciding = lock(&self.deciding);
        let lookup = badge::lookup(&self.badge_key, uid);
        let card =
            CardKey(lookup.bytes().take(16).fold(0, |key, digit| (key << 4) | u64::from(nibble(digit))));
        let (badge, card_seen) =
            if uid.is_random() { (Presented::RandomUid, None) } else { self.known(&lookup) };
        let throttle = match &badge {
            Presented::Known(member) => self.throttle(member.user, member.pin),
            Presented::Unknown => {
                lock(&self.state).unknown_tap = Some((lookup, self.reader.clock.monotonic()));
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
        self.decide(&deciding, presented, Some(&Tap { reader, card: card_seen }))
    }

    /// The last card that was nobody's badge, as long as that is worth something: the office can issue it.
    pub(crate) fn unknown_tap(&self) -> Option<UnknownTap> {
        let (lookup, at) = lock(&self.state).unknown_tap.clone()?;
        let age = self.reader.clock.monotonic().saturating_sub(at);
        (age <= TAP_LASTS).then_some(UnknownTap { lookup, age: age.as_secs() })
    }

    /// When that was, so that the next one is news.
    pub(crate) fn unknown_tap_at(&self) -> Option<Duration> {
        lock(&self.state).unknown_tap.as_ref().map(|(_, at)| *at)
    }

    /// Whose badge it is, and as what the audit log names the card: a badge as the office lists it.
    fn known(&self, lookup: &str) -> (Presented, Option<String>) {
        // Asked first: a page that arrives in between only adds.
        let unknown = if self.reader.is_loaded(Collection::Badges) {
            Presented::Unknown
        } else {
            Presented::StillLoading
        };
        let known = self.reader.mirror.badge(|keys| badge::layered(lookup, keys));
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
        let unkept = lock(&self.state).unkept.get(&user).copied();
        let kept = unkept.map_or_else(|| self.reader.outbox.throttle(user), Ok).unwrap_or_else(|error| {
            tracing::error!(%error, "a PIN failure counter cannot be read");
            Throttle { failures: 4, ..Throttle::default() }
        });
        kept.against(pin)
    }

    /// Keeps a counter durably; while the disk does not take it, in memory, so that a full disk makes
    /// guessing no cheaper.
    pub(super) fn keep_throttle(&self, user: UserId, throttle: Throttle) {
        lock(&self.state).unkept.insert(user, throttle);
        match self.reader.outbox.keep_throttle(user, &throttle) {
            Ok(()) => drop(lock(&self.state).unkept.remove(&user)),
            Err(error) => tracing::error!(%error, "a PIN failure counter could not be kept"),
        }
    }

    /// A PIN was typed for that attempt; where it is awaited and can be one, its check is in the outcome.
    pub(crate) fn type_pin(&self, attempt: u64, pin: &SecretString) -> Outcome {
        let deciding = lock(&self.deciding);
        if lock(&self.state).machine.pin_attempt().is_none_or(|(awaited, _)| awaited != attempt) {
            return Outcome::default();
        }
        let is_one = pin::is_one(pin.expose_secret());
        let event = if is_one { SessionEvent::PinEntered } else { SessionEvent::NotAPinEntered };
        self.decide(&deciding, event, None)
    }

    /// Does that check. It takes about 40 ms, in which no lock is held.
    pub(crate) fn check_pin(&self, check: &PinCheck, pin: &SecretString) -> Outcome {
        let of = (check.attempt, check.user);
        match &check.typed {
            Typed::Own => self.check_own_pin(of, pin),
            Typed::New => self.check_new_pin(of, pin),
            Typed::Again(chosen) => self.keep_new_pin(of, chosen, pin),
        }
    }

    fn check_own_pin(&self, (attempt, user): (u64, UserId), pin: &SecretString) -> Outcome {
        let verifier = self.staff(user).ok().flatten().and_then(|user| user.pin_verifier);
        let throttle = self.throttle(user, verifier.as_deref().map(PinMark::of));
        let correct = verifier.is_some_and(|verifier| is_secret(&verifier, pin.expose_secret()) == Ok(true));
        self.on(SessionEvent::PinChecked { attempt, user, correct, throttle })
    }

    /// The mirror has new documents: whoever is at this screen may be one of them.
    pub(crate) fn members_changed(&self) -> Vec<Outcome> {
        let people = {
            let _deciding = lock(&self.deciding);
            lock(&self.state).machine.people()
        };
        let changed = people.into_iter().filter_map(|user| match self.staff(user) {
            Ok(Some(document)) if document.is_active => {
                Some(self.on(SessionEvent::MemberChanged(member(&document))))
            }
            Ok(_) => Some(self.on(SessionEvent::MemberGone(user))),
            Err(error) => {
                tracing::error!(%error, "the mirror does not say who is at this screen");
                None
            }
        });
        changed.collect()
    }

    /// The reader came or went: audited.
    pub(crate) fn reader_changed(&self, reader: ReaderState) {
        let trail = &self.reader.trail;
        let mut event = trail.event(AuditEventType::Reader, reader == ReaderState::Ready, None, None);
        "reader".clone_into(&mut event.resource_type);
        event.details.insert("state".to_owned(), serde_json::to_value(reader).unwrap_or(Value::Null));
        trail.append(vec![event]);
    }

    /// What the machine has written down.
    pub(super) fn session_event(&self, note: AuditNote, tap: Option<&Tap<'_>>) -> AuditEvent {
        let event = self.reader.trail.event(note.event_type, note.success, note.user, note.session);
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

//! The session host: the session machine of `agent-core` with this device's clock, badges and PINs.
//!
//! Whatever happens at the screen is an event, and what the machine made of it comes back as its [`Outcome`]; only the
//! host gives permits. One event after the other is decided and written down, so that two wrong PINs count as two. It
//! takes effect only then: whoever asks for the screen or for a permit meanwhile is answered as before it, and does not
//! wait for the disk. But whoever leaves the screen has left it at once. What the disk does not take is kept in memory
//! until it does, and holds no event up.

mod new_pin;
mod sign_in;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use carepost_agent_core::session::{
    self, Asked, SessionEffect, SessionEvent, SessionMachine, SessionPolicy, SessionView, Throttle,
};
use carepost_protocol::id::{SessionId, UserId};
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::role::{Act, Actor, Permit};
use carepost_protocol::time::Timestamp;
use zeroize::Zeroizing;

use super::audit_trail::Access;
use super::lock;
use super::permits::Permits;
use super::reader::Reader;
use super::view::{Locked, Open, PinPad, Refused, Screen, SessionKey};
use crate::badge::Feedback;
use sign_in::Tap;

/// See the module.
pub(crate) struct SessionHost {
    badge_key: Zeroizing<[u8; 32]>,
    reader: Arc<Reader>,
    /// Held by whoever decides an event, until that is written down; within it the audit trail's lock is taken.
    deciding: Mutex<()>,
    state: Mutex<State>,
}

/// What is known at this screen alone.
struct State {
    /// As of the last event that is written down: on the disk, or in memory while that does not take it.
    machine: SessionMachine,
    /// By what the last card that was nobody's badge would be known, and when it was there. Never written down.
    unknown_tap: Option<(String, Duration)>,
    /// Counters of wrong PINs that the disk did not take.
    unkept: BTreeMap<UserId, Throttle>,
}

/// What an event led to, for whoever sent it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What to show at the reader.
    pub(super) feedback: Option<Feedback>,
    /// The PIN that was typed has to be checked.
    pub(super) check: Option<PinCheck>,
    /// The sessions that have left the screen, in that order.
    pub(super) left: Vec<Left>,
}

/// Whose PIN is checked, and as what.
#[derive(Debug)]
pub(crate) struct PinCheck {
    attempt: u64,
    user: UserId,
    typed: Typed,
}

/// What a PIN was typed as.
#[derive(Debug)]
enum Typed {
    /// Hers.
    Own,
    New,
    /// That one once more.
    Again(ChosenPin),
}

/// A session that has left the screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(super) session: SessionId,
    pub(super) user: UserId,
    /// Whether it is over; else it waits behind the locked screen.
    pub(super) is_over: bool,
}

impl SessionHost {
    /// A host whose screen is locked.
    pub(super) fn new(reader: Arc<Reader>, badge_key: Zeroizing<[u8; 32]>, policy: SessionPolicy) -> Self {
        let grant = reader.trail.grant();
        let machine = SessionMachine::new(policy, (grant.organization_id, grant.facility_id));
        let state = State { machine, unknown_tap: None, unkept: BTreeMap::new() };
        Self { badge_key, reader, deciding: Mutex::default(), state: Mutex::new(state) }
    }

    /// Takes an event that is no tap.
    pub(super) fn on(&self, event: SessionEvent) -> Outcome {
        self.decide(&lock(&self.deciding), event, None)
    }

    /// Lets time pass: what was due, if anything was.
    pub(super) fn tick(&self) -> Option<Outcome> {
        self.due(&lock(&self.deciding))
    }

    fn due(&self, deciding: &MutexGuard<'_, ()>) -> Option<Outcome> {
        let is_due = self.next_deadline().is_some_and(|deadline| deadline <= self.reader.clock.monotonic());
        is_due.then(|| self.decide(deciding, SessionEvent::Tick, None))
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        lock(&self.state).machine.next_deadline()
    }

    /// Who is signed in.
    pub(super) fn active(&self) -> Option<Actor> {
        lock(&self.state).machine.actor(self.reader.clock.monotonic())
    }

    /// Whoever's session that is, while it is open.
    pub(super) fn actor(&self, on: &SessionKey) -> Option<Actor> {
        self.active().filter(|actor| on.names(actor.session))
    }

    pub(super) fn is_open(&self, on: &SessionKey) -> bool {
        self.actor(on).is_some()
    }

    /// The permits of the session that a page was made for; none once another is open. That and what its role allows
    /// are asked at one moment. That it may not even read is written down as that access.
    pub(super) fn permits(&self, on: &SessionKey, access: Option<&Access>) -> Result<Permits, Refused> {
        let state = lock(&self.state);
        let now = self.reader.clock.monotonic();
        let actor = state.machine.actor(now).filter(|actor| on.names(actor.session));
        let actor = actor.ok_or(Refused::Locked)?;
        let read = permit(&state.machine, now)?;
        let (chart, manage) = (permit(&state.machine, now)?, permit(&state.machine, now)?);
        drop(state);
        let read = self.reader.trail.demand(read, &actor, access)?;
        Ok(Permits { read, chart, manage })
    }

    pub(super) fn screen(&self) -> Screen {
        let state = lock(&self.state);
        let undo = state.machine.undo_name().map(ToOwned::to_owned);
        let attempt = state.machine.pin_attempt().map(|(attempt, _)| attempt);
        let view = state.machine.view(self.reader.clock.monotonic());
        drop(state);
        let now = self.reader.clock.now();
        let say = |notice: Option<_>| notice.map(|notice| words::notice(notice, now));
        match view {
            SessionView::Locked { notice } => Screen::Locked(self.locked(say(notice), None)),
            SessionView::JustLocked { notice, .. } => Screen::Locked(self.locked(say(notice), undo)),
            SessionView::PinPad { display_name, asked, checking, notice, tries_left } => {
                let notice = say(notice).map(|notice| match tries_left {
                    1 if asked == Asked::Pin => {
                        format!("{notice} One try is left before a lock of 30 minutes.")
                    }
                    _ => notice,
                });
                let attempt = attempt.unwrap_or(0);
                Screen::PinPad(PinPad { display_name, asked, attempt, notice, checking })
            }
            SessionView::Open { member, session, locks_in, warns, notice } => Screen::Open(Open {
                session,
                role: words::role(member.role),
                display_name: member.display_name,
                locks_in: warns.then_some(locks_in),
                notice: say(notice),
            }),
        }
    }

    fn locked(&self, notice: Option<String>, undo: Option<String>) -> Locked {
        let facility = self.reader.facility();
        let granted = &self.reader.trail.grant().facility_name;
        Locked {
            facility_name: facility.as_ref().map_or(granted, |facility| &facility.name).clone(),
            organization_name: facility.as_ref().map(|it| it.organization_name.clone()).unwrap_or_default(),
            phone: facility.and_then(|facility| facility.phone.clone()),
            notice,
            undo,
        }
    }

    /// Has the machine decide, and writes down what has to be before any of it shows, in one append.
    fn decide(&self, _: &MutexGuard<'_, ()>, event: SessionEvent, tap: Option<&Tap<'_>>) -> Outcome {
        let clock = &self.reader.clock;
        let (now, monotonic, random) = (clock.now(), clock.monotonic(), clock.random::<10>());
        let (machine, effects) = lock(&self.state).decided(event, (now, monotonic, random));
        let (mut outcome, mut audit) = (Outcome::default(), Vec::new());
        let check = |attempt, user, typed| Some(PinCheck { attempt, user, typed });
        for effect in effects {
            match effect {
                SessionEffect::KeepThrottle { user, throttle } => self.keep_throttle(user, throttle),
                SessionEffect::CheckPin { attempt, user } => outcome.check = check(attempt, user, Typed::Own),
                SessionEffect::CheckNewPin { attempt, user } => {
                    outcome.check = check(attempt, user, Typed::New);
                }
                SessionEffect::KeepNewPin { attempt, user, chosen } => {
                    outcome.check = check(attempt, user, Typed::Again(chosen));
                }
                SessionEffect::ScreenLocked { session, user } => {
                    outcome.left.push(Left { session, user, is_over: false });
                }
                SessionEffect::SessionEnded { session, user, .. } => {
                    audit.extend(self.reader.trail.counts_of(session));
                    outcome.left.push(Left { session, user, is_over: true });
                }
                SessionEffect::Audit(note) => {
                    audit.extend(self.reader.trail.counted(self.session_event(note, tap)));
                }
                SessionEffect::Feedback(felt) => {
                    outcome.feedback = Some(match felt {
                        session::Feedback::Accept => Feedback::Accept,
                        session::Feedback::Deny => Feedback::Deny,
                    });
                }
                // The page keeps its draft as it is typed.
                SessionEffect::ParkDraft { .. }
                | SessionEffect::SessionOpened { .. }
                | SessionEffect::SessionResumed { .. } => {}
            }
        }
        self.reader.trail.append(audit);
        lock(&self.state).machine = machine;
        outcome
    }
}

impl State {
    /// The machine after an event, and what to do about that before it may take this one's place. Whoever leaves the
    /// screen by it has left it here already.
    fn decided(
        &mut self,
        event: SessionEvent,
        (now, monotonic, random): (Timestamp, Duration, [u8; 10]),
    ) -> (SessionMachine, Vec<SessionEffect>) {
        let mut machine = self.machine.clone();
        let effects = machine.on(event, now, monotonic, random);
        let on_screen = |machine: &SessionMachine| machine.actor(monotonic).map(|actor| actor.session);
        if on_screen(&machine) != on_screen(&self.machine) {
            // Where nobody is on it, this changes nothing. What is to be done about it is among those effects.
            drop(self.machine.on(SessionEvent::LockPressed, now, monotonic, random));
        }
        (machine, effects)
    }
}

/// A permit of whoever is signed in; none where the role does not allow it.
fn permit<A: Act>(machine: &SessionMachine, now: Duration) -> Result<Option<Permit<A>>, Refused> {
    use carepost_agent_core::session::Refused as NoPermit;
    match machine.authorize(now) {
        Ok(permit) => Ok(Some(permit)),
        Err(NoPermit::Denied(_)) => Ok(None),
        Err(NoPermit::NoSession) => Err(Refused::Locked),
    }
}

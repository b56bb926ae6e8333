//! The session's view: what the screen shows.

use std::time::Duration;

use carepost_protocol::id::SessionId;
use carepost_protocol::time::Timestamp;

use super::{Asks, Member, Screen, SessionMachine};

/// How long a notice stays.
pub(super) const NOTICE_SHOWN: Duration = Duration::from_secs(10);

/// What the screen shows at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionView {
    /// Nothing but the facility's name and the clock.
    Locked {
        /// Something to say.
        notice: Option<Notice>,
    },
    /// Locked by the own badge a moment ago.
    JustLocked {
        /// How much longer "undo" works.
        undo_for: Duration,
        /// Something to say.
        notice: Option<Notice>,
    },
    /// A PIN is asked for.
    PinPad {
        /// Whose.
        display_name: String,
        /// Which PIN.
        asked: Asked,
        /// How many wrong PINs are left before the lock-out.
        tries_left: u32,
        /// Whether a typed PIN is being checked.
        checking: bool,
        /// Something to say.
        notice: Option<Notice>,
    },
    /// Somebody is signed in.
    Open {
        /// Who.
        member: Member,
        /// Her session.
        session: SessionId,
        /// How long until the screen locks if nobody touches it.
        locks_in: Duration,
        /// Whether that is soon enough to say so.
        warns: bool,
        /// Something to say.
        notice: Option<Notice>,
    },
}

/// Which PIN a pad asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The one she has.
    Pin,
    /// A new one, because a thief may know the one she has.
    New,
    /// The new one once more.
    Repeat,
}

/// What the screen says to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Nobody here has that badge.
    UnknownBadge,
    /// The badge was revoked.
    RevokedBadge,
    /// The badge's user is inactive.
    InactiveUser,
    /// The card shows another number each time and cannot be a badge.
    RandomUid,
    /// Hold the card still for a moment longer.
    Unreadable,
    /// The badge was left on the reader; take it off and present it again.
    LeftOnReader,
    /// The device does not have all badges yet; tap again in a while.
    StillLoading,
    /// An administrator must set a first PIN.
    NoPin,
    /// A thief has known the PIN for too long; an administrator must set another.
    PinExpired,
    /// That cannot be her new PIN, for this reason.
    NotANewPin(&'static str),
    /// Her new PIN may be kept or not; tap again and try it.
    NewPinUncertain,
    /// A PIN is being checked; tap again in a moment.
    Busy,
    /// What was typed cannot be a PIN.
    NotAPin,
    /// The PIN was wrong.
    WrongPin,
    /// The PIN was replaced; tap again and use the new one.
    PinReplaced,
    /// Too many wrong PINs.
    LockedOut {
        /// Until then.
        until: Timestamp,
    },
    /// Too many wrong PINs on this device, whoever's.
    DevicePaused {
        /// Until then.
        until: Timestamp,
    },
    /// The user was deactivated; what she had typed is kept.
    Deactivated,
}

impl SessionMachine {
    /// What the screen shows now.
    #[must_use]
    pub fn view(&self, monotonic: Duration) -> SessionView {
        let notice = self.notice.filter(|(_, until)| monotonic < *until).map(|(notice, _)| notice);
        match &self.screen {
            Screen::Open(session) if monotonic < self.open_until(session) => SessionView::Open {
                member: session.member.clone(),
                session: session.id,
                locks_in: self.open_until(session).saturating_sub(monotonic),
                warns: self.warns_at(session) <= monotonic,
                notice,
            },
            Screen::JustLocked { until, .. } if monotonic < *until => {
                SessionView::JustLocked { undo_for: until.saturating_sub(monotonic), notice }
            }
            Screen::PinPad { pad, .. } => SessionView::PinPad {
                display_name: pad.member.display_name.clone(),
                asked: match pad.asks {
                    Asks::Pin => Asked::Pin,
                    Asks::New(_) => Asked::New,
                    Asks::Repeat(..) => Asked::Repeat,
                },
                tries_left: self.pin_lockout.tries_left(pad.failures),
                checking: self.checking.is_some(),
                notice,
            },
            Screen::Open(_) | Screen::JustLocked { .. } | Screen::Locked { .. } => {
                SessionView::Locked { notice }
            }
        }
    }

    /// Whose lock "undo" would take back.
    #[must_use]
    pub fn undo_name(&self) -> Option<&str> {
        match &self.screen {
            Screen::JustLocked { session, .. } => Some(&session.member.display_name),
            Screen::Locked { .. } | Screen::PinPad { .. } | Screen::Open(_) => None,
        }
    }

    /// When to send the next [`super::SessionEvent::Tick`], on monotonic time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let screen = match &self.screen {
            Screen::Open(session) if session.warned => Some(self.open_until(session)),
            Screen::Open(session) => Some(self.warns_at(session)),
            Screen::JustLocked { until, .. } => Some(*until),
            Screen::PinPad { pad, .. } => Some(pad.touched.saturating_add(self.policy.pin_entry)),
            Screen::Locked { .. } => None,
        };
        let session = self.screen.session().map(super::Session::ends);
        let notice = self.notice.map(|(_, until)| until);
        [screen, session, notice].into_iter().flatten().min()
    }
}

//! The session machine's interface: its facts, events and effects.

use std::time::Duration;

use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::{SessionId, UserId};
use carepost_protocol::pin::ChosenPin;
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;

use super::pin_lockout::{PinMark, Throttle};

/// How long things last at this screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Without a touch for this long the screen locks (kiosk: 2 minutes).
    pub screen_lock: Duration,
    /// How long before that the page warns.
    pub screen_warning: Duration,
    /// How long after a correct PIN the badge alone signs in; zero where that is not wanted.
    pub pin_grace: Duration,
    /// How long a lock by one's own badge can be undone without a PIN.
    pub undo: Duration,
    /// The same badge within this time is one tap.
    pub same_badge_quiet: Duration,
    /// Wrong PINs in a row that lock a user.
    pub max_failures: u32,
    /// How long that lock lasts.
    pub lockout: Duration,
    /// How long a PIN pad waits for the next touch.
    pub pin_entry: Duration,
}

impl Default for SessionPolicy {
    /// The product's times for a wall kiosk.
    fn default() -> Self {
        Self {
            screen_lock: Duration::from_mins(2),
            screen_warning: Duration::from_secs(20),
            pin_grace: Duration::from_hours(4),
            undo: Duration::from_secs(3),
            same_badge_quiet: Duration::from_secs(1),
            max_failures: 5,
            lockout: Duration::from_mins(30),
            pin_entry: Duration::from_mins(1),
        }
    }
}

/// A person who may sign in here, as the mirror knows her.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// What the screen calls her.
    pub display_name: String,
    /// Her role.
    pub role: Role,
    /// How long her session outlives her last touch.
    pub session_timeout: Duration,
    /// Which PIN she has; none before an administrator set the first.
    pub pin: Option<PinMark>,
    /// Since when a thief may know it.
    pub pin_exposed: Option<Timestamp>,
}

/// Tells one card from another within one run of the agent, without saying which card it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CardKey(pub u64);

/// Whose badge was presented, as the mirror knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A member's.
    Known(Member),
    /// A badge that was revoked.
    Revoked {
        /// Whose it was.
        user: UserId,
    },
    /// A badge of a user who may not sign in any more.
    Inactive {
        /// Whose it is.
        user: UserId,
    },
    /// Nobody's here.
    Unknown,
    /// Nobody's so far: the mirror does not have all badges yet.
    StillLoading,
    /// A card that shows another number each time.
    RandomUid,
    /// A card that left too early, or that speaks no known language.
    Unreadable,
    /// A card that already lay on the reader when that was plugged in.
    LyingThere,
}

/// What became of a PIN that was typed as a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPin {
    /// It may be one: it is asked for once more.
    Fit(ChosenPin),
    /// It came twice, and is durable: the old one opens nothing any more.
    Kept(PinMark),
    /// It may not be one, came otherwise the second time, or could not be kept: another is asked for.
    Refused(&'static str),
    /// It may be durable or not: the next tap asks for whichever holds.
    Uncertain,
}

/// What happens at the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// A reader saw a badge.
    BadgePresented {
        /// Whose it is.
        badge: Presented,
        /// Her persisted failure counter [against](Throttle::against) her PIN; the default where there is no user.
        throttle: Throttle,
        /// Which card it is.
        card: CardKey,
    },
    /// The badge left the reader. Not to be sent when the reader itself vanishes: a badge that lay on
    /// it may lie there still when it comes back.
    BadgeRemoved,
    /// A PIN was typed: the machine asks for its check with [`SessionEffect::CheckPin`], or, where it is a new
    /// one, with [`SessionEffect::CheckNewPin`] and [`SessionEffect::KeepNewPin`].
    PinEntered,
    /// What was typed cannot be a PIN, whoever's: it is no guess, and nothing is checked or counted.
    NotAPinEntered,
    /// The check that [`SessionEffect::CheckPin`] asked for is done.
    PinChecked {
        /// Which check.
        attempt: u64,
        /// Whose PIN.
        user: UserId,
        /// Whether it was hers.
        correct: bool,
        /// Her persisted failure counter before this check, [against](Throttle::against) the PIN that it was of.
        throttle: Throttle,
    },
    /// What [`SessionEffect::CheckNewPin`] or [`SessionEffect::KeepNewPin`] asked for is done.
    NewPinChecked {
        /// Which check.
        attempt: u64,
        /// Whose PIN.
        user: UserId,
        /// What became of it.
        outcome: NewPin,
    },
    /// The PIN pad was dismissed.
    PinCancelled,
    /// The page was touched.
    Touched,
    /// "Lock" was pressed.
    LockPressed,
    /// "Undo" was pressed on the screen that one's own badge had locked.
    UndoPressed,
    /// The mirror has a new version of a person.
    MemberChanged(Member),
    /// The mirror no longer has the person, or has her as inactive.
    MemberGone(UserId),
    /// Time passed; see [`super::SessionMachine::next_deadline`].
    Tick,
}

/// What to do about it, in this order: what must be durable comes before what shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEffect {
    /// Persist a user's failure counter before anything else.
    KeepThrottle {
        /// The user.
        user: UserId,
        /// Her counter from now on.
        throttle: Throttle,
    },
    /// Check the PIN that was typed against the user's verifier, and answer with
    /// [`SessionEvent::PinChecked`].
    CheckPin {
        /// Which check.
        attempt: u64,
        /// Whose PIN.
        user: UserId,
    },
    /// Check whether the PIN that was typed may be the user's new one, and answer with
    /// [`SessionEvent::NewPinChecked`].
    CheckNewPin {
        /// Which check.
        attempt: u64,
        /// Whose PIN.
        user: UserId,
    },
    /// Check that the PIN that was typed is that new one again, make it durable, and answer likewise.
    KeepNewPin {
        /// Which check.
        attempt: u64,
        /// Whose PIN.
        user: UserId,
        /// As it was the first time.
        chosen: ChosenPin,
    },
    /// Keep, encrypted, what the user has typed and not saved.
    ParkDraft {
        /// Whose draft.
        user: UserId,
    },
    /// A session began.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Whose.
        user: UserId,
    },
    /// A locked session is open again.
    SessionResumed {
        /// The session.
        session: SessionId,
        /// Whose.
        user: UserId,
    },
    /// The screen must show nothing of this session any more.
    ScreenLocked {
        /// The session that waits behind the screen.
        session: SessionId,
        /// Whose.
        user: UserId,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Whose.
        user: UserId,
        /// Why.
        reason: Reason,
    },
    /// Write this down, with action `execute`.
    Audit(AuditNote),
    /// Light or sound at the reader.
    Feedback(Feedback),
}

/// What the reader shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// The badge was taken.
    Accept,
    /// It was not.
    Deny,
}

/// What the audit log must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditNote {
    /// What kind of thing happened: `badge`, `login` or `logout`.
    pub event_type: AuditEventType,
    /// Whether it was done, or refused.
    pub success: bool,
    /// Who.
    pub user: Option<UserId>,
    /// Under which session.
    pub session: Option<SessionId>,
    /// What exactly.
    pub reason: Reason,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What happened, in a word for the audit log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// The word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

reasons! {
    /// A badge of a member was presented.
    Presented = "presented";
    /// Nobody here has that badge.
    UnknownBadge = "unknown_badge";
    /// The badge was revoked.
    RevokedBadge = "revoked_badge";
    /// The badge's user is inactive.
    InactiveUser = "inactive_user";
    /// The card shows another number each time.
    RandomUid = "random_uid";
    /// The card could not be read.
    UnreadableBadge = "unreadable_badge";
    /// The device did not have all badges yet.
    StillLoading = "still_loading";
    /// The user has no PIN yet.
    NoPin = "no_pin";
    /// A thief may know the PIN that was given: another is asked for.
    PinExposed = "pin_exposed";
    /// The same for too long: it opens nothing any more.
    PinExpired = "pin_expired";
    /// Signed in with badge, PIN, and a new PIN in its place.
    NewPin = "new_pin";
    /// A new PIN may be durable or not.
    NewPinUncertain = "new_pin_uncertain";
    /// Another PIN was being checked.
    PinBeingChecked = "pin_being_checked";
    /// The user is locked out.
    LockedOut = "locked_out";
    /// The device pauses after many wrong PINs.
    DevicePaused = "device_paused";
    /// Signed in with badge and PIN.
    BadgeAndPin = "badge_and_pin";
    /// Signed in, or resumed, with the badge within the grace period.
    BadgeInGrace = "badge_in_grace";
    /// Resumed by "undo".
    Undone = "undone";
    /// The PIN was wrong.
    WrongPin = "wrong_pin";
    /// The PIN was right, but the pad had gone.
    PinTooLate = "pin_too_late";
    /// No PIN was typed in time.
    PinTimedOut = "pin_timed_out";
    /// The PIN pad was dismissed.
    PinCancelled = "pin_cancelled";
    /// The PIN was replaced while it was being asked for.
    PinReplaced = "pin_replaced";
    /// The screen was locked with the own badge.
    OwnBadge = "own_badge";
    /// The screen was locked with the button.
    LockButton = "lock_button";
    /// Nobody touched the screen.
    Idle = "idle";
    /// Another person's badge took over.
    TapOver = "tap_over";
    /// The user was deactivated.
    Deactivated = "deactivated";
}

//! Enrollment, a state machine: a device asks, shows a code, then a facility and a number, and is enrolled. Every step is
//! persisted before it is acted on and every question may be asked again, so that power loss anywhere resumes by
//! asking again with the same key. A registration token that the server refuses is set aside, and the device asks
//! without one: a wrong token costs nobody a pairing code.
//!
//! The machine holds no secrets: a registration token waits in the vault until the question takes it
//! along, and a grant passes through on its way there.

use std::time::Duration;

use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::{EnrollResponse, Grant, UserCode};

use crate::backoff::{Backoff, LONGEST, fraction_of};
use crate::sync::Distrust;

/// What is persisted of where the enrollment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing yet.
    Nothing,
    /// The device asks to be let in.
    Asking,
    /// The vault has the grant.
    Enrolled,
    /// The server refused the device's key for good.
    Revoked,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentEvent {
    /// The agent started with this persisted.
    Started(Kept),
    /// Somebody put a registration token into the vault.
    TokenGiven,
    /// The server answered.
    Answered(EnrollResponse),
    /// The question failed.
    Failed(EnrollTrouble),
    /// An effect that persists failed; the effects after it were not executed.
    KeepFailed,
    /// The server said elsewhere that this device's key is refused.
    Revoked,
    /// Time passed; see [`Enrollment::next_deadline`].
    Tick,
}

/// Why a question was not answered with where the enrollment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollTrouble {
    /// No answer: the network or the server is down.
    Unreachable,
    /// What answers is not trusted, does not trust this device, or is no server of Carepost's.
    NotTrusted(Distrust),
    /// The server can or will not answer now.
    Busy {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server refuses the registration token that the question took along.
    TokenRefused {
        /// Its words, for whoever stands at the device.
        detail: String,
    },
    /// The server refuses the question.
    Refused {
        /// Its words, for whoever stands at the device.
        detail: String,
    },
    /// The server refuses this device's key for good.
    Revoked,
}

/// What to do about it, in this order. If one that persists fails, drop the rest and answer with
/// [`EnrollmentEvent::KeepFailed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentEffect {
    /// Persist where the enrollment stands.
    Keep(Kept),
    /// Persist the grant, sealed, and forget the token.
    KeepGrant(Box<Grant>),
    /// Forget the token, and persist why it was refused until the device is let in.
    ForgetToken {
        /// The server's words.
        detail: String,
    },
    /// Ask the server, with the token if the vault has one.
    Ask,
    /// The device is enrolled: begin to work.
    Begin,
    /// The device is revoked: stop working and delete its own wraps of the files' keys.
    Stop,
}

/// What the kiosk page and `status` show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrollmentView {
    /// Asking; the server has not answered yet.
    Asking,
    /// An administrator must type this code.
    Code {
        /// The code.
        code: UserCode,
        /// When it changes, on the server's clock.
        expires_at: Timestamp,
    },
    /// Somebody must read this number to the administrator, if it is the right facility.
    Confirm {
        /// The facility.
        facility_name: String,
        /// Two digits.
        number: String,
    },
    /// Let in.
    Enrolled,
    /// Refused for good.
    Revoked,
}

/// The shortest time between two questions, whatever the server says.
const SHORTEST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unstarted,
    Asking,
    Enrolled,
    Revoked,
}

/// The machine.
#[derive(Debug)]
pub struct Enrollment {
    stage: Stage,
    shown: EnrollmentView,
    trouble: Option<EnrollTrouble>,
    ask_at: Option<Duration>,
    in_flight: bool,
    backoff: Backoff,
}

impl Default for Enrollment {
    fn default() -> Self {
        Self {
            stage: Stage::Unstarted,
            shown: EnrollmentView::Asking,
            trouble: None,
            ask_at: None,
            in_flight: false,
            backoff: Backoff::new(Duration::from_secs(2)),
        }
    }
}

impl Enrollment {
    /// Takes an event.
    pub fn on(&mut self, event: EnrollmentEvent, monotonic: Duration, random: u64) -> Vec<EnrollmentEffect> {
        match (event, self.stage) {
            (EnrollmentEvent::Started(kept), Stage::Unstarted) => self.started(kept, monotonic),
            (EnrollmentEvent::Revoked, Stage::Asking | Stage::Enrolled) => self.revoked(),
            (EnrollmentEvent::TokenGiven, Stage::Asking) => {
                self.ask_at = Some(monotonic);
                self.ask_if_due(monotonic)
            }
            (EnrollmentEvent::Answered(answer), Stage::Asking) => self.answered(answer, monotonic, random),
            (EnrollmentEvent::Failed(trouble), Stage::Asking) => self.failed(trouble, monotonic, random),
            (EnrollmentEvent::KeepFailed, Stage::Asking | Stage::Enrolled) => {
                self.stage = Stage::Asking;
                self.shown = EnrollmentView::Asking;
                self.later(None, monotonic, random);
                Vec::new()
            }
            (EnrollmentEvent::Tick, Stage::Asking) => self.ask_if_due(monotonic),
            // What comes before the start, or after the end, changes nothing.
            (
                EnrollmentEvent::Started(_)
                | EnrollmentEvent::Revoked
                | EnrollmentEvent::TokenGiven
                | EnrollmentEvent::Answered(_)
                | EnrollmentEvent::Failed(_)
                | EnrollmentEvent::KeepFailed
                | EnrollmentEvent::Tick,
                Stage::Unstarted | Stage::Asking | Stage::Enrolled | Stage::Revoked,
            ) => Vec::new(),
        }
    }

    /// What to show, and what is wrong if the last question failed.
    #[must_use]
    pub const fn view(&self) -> (&EnrollmentView, Option<&EnrollTrouble>) {
        (&self.shown, self.trouble.as_ref())
    }

    /// When to send the next [`EnrollmentEvent::Tick`], on monotonic time; none while a question is on
    /// its way and when there is nothing to ask.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.ask_at.filter(|_| !self.in_flight && self.stage == Stage::Asking)
    }

    fn started(&mut self, kept: Kept, monotonic: Duration) -> Vec<EnrollmentEffect> {
        let mut effects = Vec::new();
        match kept {
            Kept::Enrolled => {
                self.stage = Stage::Enrolled;
                self.shown = EnrollmentView::Enrolled;
                return vec![EnrollmentEffect::Begin];
            }
            Kept::Revoked => {
                self.stage = Stage::Revoked;
                self.shown = EnrollmentView::Revoked;
                return vec![EnrollmentEffect::Stop];
            }
            Kept::Nothing => effects.push(EnrollmentEffect::Keep(Kept::Asking)),
            Kept::Asking => {}
        }
        self.stage = Stage::Asking;
        self.ask_at = Some(monotonic);
        effects.extend(self.ask_if_due(monotonic));
        effects
    }

    fn ask_if_due(&mut self, monotonic: Duration) -> Vec<EnrollmentEffect> {
        if self.next_deadline().is_none_or(|due| monotonic < due) {
            return Vec::new();
        }
        self.in_flight = true;
        self.ask_at = None;
        vec![EnrollmentEffect::Ask]
    }

    fn answered(
        &mut self,
        answer: EnrollResponse,
        monotonic: Duration,
        random: u64,
    ) -> Vec<EnrollmentEffect> {
        self.trouble = None;
        self.backoff.reset();
        let interval = match answer {
            EnrollResponse::Pending { user_code, expires_at, interval, .. } => {
                self.shown = EnrollmentView::Code { code: user_code, expires_at };
                interval
            }
            EnrollResponse::Confirming { facility_name, number, interval, .. } => {
                self.shown = EnrollmentView::Confirm { facility_name, number };
                interval
            }
            EnrollResponse::Active { grant } => {
                self.stage = Stage::Enrolled;
                self.shown = EnrollmentView::Enrolled;
                self.in_flight = false;
                self.ask_at = None;
                return vec![
                    EnrollmentEffect::KeepGrant(Box::new(grant)),
                    EnrollmentEffect::Keep(Kept::Enrolled),
                    EnrollmentEffect::Begin,
                ];
            }
        };
        // A token that came meanwhile has set a time of its own.
        let waits_for_token = self.ask_at.is_some();
        self.in_flight = false;
        if waits_for_token {
            return self.ask_if_due(monotonic);
        }
        let interval = Duration::from_secs(u64::from(interval)).clamp(SHORTEST, LONGEST);
        let jitter = fraction_of(interval / 10, random);
        self.ask_at = Some(monotonic.saturating_add(interval).saturating_add(jitter));
        Vec::new()
    }

    fn failed(&mut self, trouble: EnrollTrouble, monotonic: Duration, random: u64) -> Vec<EnrollmentEffect> {
        let least = match &trouble {
            EnrollTrouble::Revoked => return self.revoked(),
            EnrollTrouble::TokenRefused { detail } => {
                // The question stays under way: it is asked again at once, without the token.
                let detail = detail.clone();
                return vec![EnrollmentEffect::ForgetToken { detail }, EnrollmentEffect::Ask];
            }
            EnrollTrouble::Busy { retry_after } => *retry_after,
            EnrollTrouble::Unreachable | EnrollTrouble::NotTrusted(_) | EnrollTrouble::Refused { .. } => None,
        };
        self.trouble = Some(trouble);
        self.later(least, monotonic, random);
        Vec::new()
    }

    fn later(&mut self, least: Option<Duration>, monotonic: Duration, random: u64) {
        let wait = self.backoff.next(random).max(least.unwrap_or_default().min(LONGEST));
        self.in_flight = false;
        self.ask_at = Some(monotonic.saturating_add(wait));
    }

    fn revoked(&mut self) -> Vec<EnrollmentEffect> {
        self.stage = Stage::Revoked;
        self.shown = EnrollmentView::Revoked;
        self.trouble = None;
        // Stopping does not wait for the disk: if that is full, the next start is told again.
        vec![EnrollmentEffect::Stop, EnrollmentEffect::Keep(Kept::Revoked)]
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::device::DeviceType;
    use carepost_protocol::id::{AssignmentId, DeviceId, EnrollmentId, FacilityId, OrganizationId};
    use carepost_protocol::time::Timestamp;
    use proptest::prelude::*;

    use super::EnrollmentEvent::{Answered, Failed, KeepFailed, Revoked, Started, Tick, TokenGiven};
    use super::*;

    /// Each step is an event at a second and what it leads to, one word for each effect.
    fn check(steps: &[(EnrollmentEvent, u64, &str)]) -> Enrollment {
        let mut machine = Enrollment::default();
        for (event, second, expected) in steps {
            let effects = machine.on(event.clone(), Duration::from_secs(*second), 0);
            let words: Vec<&str> = effects.iter().map(word).collect();
            assert_eq!(words.join(" "), *expected, "{event:?} at {second} s");
        }
        machine
    }

    fn word(effect: &EnrollmentEffect) -> &'static str {
        match effect {
            EnrollmentEffect::Keep(Kept::Nothing) => "keep-nothing",
            EnrollmentEffect::Keep(Kept::Asking) => "keep-asking",
            EnrollmentEffect::Keep(Kept::Enrolled) => "keep-enrolled",
            EnrollmentEffect::Keep(Kept::Revoked) => "keep-revoked",
            EnrollmentEffect::KeepGrant(_) => "keep-grant",
            EnrollmentEffect::ForgetToken { .. } => "forget-token",
            EnrollmentEffect::Ask => "ask",
            EnrollmentEffect::Begin => "begin",
            EnrollmentEffect::Stop => "stop",
        }
    }

    fn pending() -> EnrollmentEvent {
        Answered(EnrollResponse::Pending {
            enrollment_id: EnrollmentId::from_bytes([1; 16]),
            user_code: "BCDF-GHJK".parse().unwrap(),
            expires_at: Timestamp::EPOCH,
            interval: 5,
        })
    }

    fn confirming() -> EnrollmentEvent {
        Answered(EnrollResponse::Confirming {
            enrollment_id: EnrollmentId::from_bytes([1; 16]),
            facility_name: "Golden Years".into(),
            number: "42".into(),
            interval: 5,
        })
    }

    fn active() -> EnrollmentEvent {
        Answered(EnrollResponse::Active {
            grant: Grant {
                device_id: DeviceId::from_bytes([1; 16]),
                assignment_id: AssignmentId::from_bytes([2; 16]),
                organization_id: OrganizationId::from_bytes([3; 16]),
                facility_id: FacilityId::from_bytes([4; 16]),
                facility_name: "Golden Years".into(),
                device_name: "Kiosk".into(),
                device_type: DeviceType::RaspberryPi,
                badge_key: "00".repeat(32),
                recovery_recipient: "age1example".into(),
                server_time: Timestamp::EPOCH,
            },
        })
    }

    fn unreachable() -> EnrollmentEvent {
        Failed(EnrollTrouble::Unreachable)
    }

    #[test]
    fn a_code_then_a_facility_and_a_number_then_in() {
        let steps = [
            (Started(Kept::Nothing), 0, "keep-asking ask"),
            (pending(), 1, ""),
            (Tick, 5, ""),
            (Tick, 6, "ask"),
            (confirming(), 7, ""),
            (Tick, 12, "ask"),
            (active(), 13, "keep-grant keep-enrolled begin"),
            (Tick, 99, ""),
        ];
        assert!(matches!(check(&steps[..3]).view(), (EnrollmentView::Code { .. }, None)));
        assert!(matches!(check(&steps[..5]).view(), (EnrollmentView::Confirm { .. }, None)));
        let enrolled = check(&steps);
        assert_eq!(enrolled.view(), (&EnrollmentView::Enrolled, None));
        assert_eq!(enrolled.next_deadline(), None);
    }

    #[test]
    fn a_refused_token_is_set_aside_and_the_code_comes_all_the_same() {
        let refused = Failed(EnrollTrouble::TokenRefused { detail: "unknown".to_owned() });
        let machine = check(&[
            (Started(Kept::Asking), 0, "ask"),
            (refused.clone(), 1, "forget-token ask"),
            (pending(), 2, ""),
        ]);
        assert!(matches!(machine.view(), (EnrollmentView::Code { .. }, None)));
        assert_eq!(machine.next_deadline(), Some(Duration::from_secs(7)));
        // A full disk keeps the token: it is asked again later, and once at a time.
        check(&[
            (Started(Kept::Asking), 0, "ask"),
            (refused, 1, "forget-token ask"),
            (KeepFailed, 1, ""),
            (Tick, 2, "ask"),
        ]);
    }

    #[test]
    fn power_loss_anywhere_resumes() {
        check(&[(Started(Kept::Asking), 0, "ask"), (active(), 1, "keep-grant keep-enrolled begin")]);
        check(&[(Started(Kept::Enrolled), 0, "begin")]);
        check(&[(Started(Kept::Revoked), 0, "stop")]);
    }

    #[test]
    fn a_grant_that_cannot_be_kept_is_asked_for_again() {
        let machine = check(&[
            (Started(Kept::Asking), 0, "ask"),
            (active(), 1, "keep-grant keep-enrolled begin"),
            (KeepFailed, 1, ""),
            (Tick, 2, "ask"),
        ]);
        assert_eq!(machine.view().0, &EnrollmentView::Asking);
    }

    #[test]
    fn a_server_that_is_away_is_asked_with_growing_patience_and_the_code_stays() {
        let machine = check(&[
            (Started(Kept::Asking), 0, "ask"),
            (pending(), 0, ""),
            (Tick, 5, "ask"),
            (unreachable(), 5, ""),
            (Tick, 6, "ask"),
            (unreachable(), 6, ""),
            (Tick, 7, ""),
            (Tick, 8, "ask"),
            (Failed(EnrollTrouble::Busy { retry_after: Some(Duration::from_secs(60)) }), 8, ""),
            (Tick, 67, ""),
        ]);
        assert_eq!(machine.next_deadline(), Some(Duration::from_secs(68)));
        assert!(matches!(machine.view(), (EnrollmentView::Code { .. }, Some(EnrollTrouble::Busy { .. }))));
    }

    #[test]
    fn questions_are_spread_over_a_tenth_of_the_interval_more() {
        let mut machine = check(&[(Started(Kept::Asking), 0, "ask")]);
        machine.on(pending(), Duration::from_secs(1), u64::MAX / 2 + 1);
        assert_eq!(machine.next_deadline(), Some(Duration::from_millis(1_000 + 5_000 + 250)));
    }

    #[test]
    fn a_token_asks_at_once_even_while_a_question_is_on_its_way() {
        check(&[
            (Started(Kept::Asking), 0, "ask"),
            (pending(), 1, ""),
            (TokenGiven, 2, "ask"),
            (TokenGiven, 2, ""),
            (pending(), 3, "ask"),
            (active(), 4, "keep-grant keep-enrolled begin"),
        ]);
    }

    #[test]
    fn revocation_is_kept_and_final() {
        let revoked = "stop keep-revoked";
        check(&[(Started(Kept::Enrolled), 0, "begin"), (Revoked, 9, revoked), (TokenGiven, 10, "")]);
        check(&[
            (Started(Kept::Asking), 0, "ask"),
            (Failed(EnrollTrouble::Revoked), 1, revoked),
            (Tick, 9, ""),
        ]);
    }

    fn event() -> impl Strategy<Value = EnrollmentEvent> {
        prop_oneof![
            1 => Just(TokenGiven),
            1 => Just(pending()),
            1 => Just(confirming()),
            1 => Just(active()),
            1 => Just(unreachable()),
            1 => Just(Failed(EnrollTrouble::Refused { detail: "no".into() })),
            1 => Just(KeepFailed),
            1 => Just(Revoked),
            3 => Just(Tick),
        ]
    }

    proptest! {
        #[test]
        fn it_always_asks_again_until_it_is_settled(
            steps in prop::collection::vec((event(), 0..400_u64), 1..60)
        ) {
            let mut machine = Enrollment::default();
            let mut at = Duration::ZERO;
            let mut asked = machine.on(Started(Kept::Nothing), at, 0).len() == 2;
            for (event, wait) in steps {
                at += Duration::from_secs(wait);
                let ends = matches!(event, Answered(_) | Failed(_) | KeepFailed);
                if ends && !asked {
                    continue;
                }
                asked &= !ends;
                let effects = machine.on(event, at, 0);
                let asks = effects.contains(&EnrollmentEffect::Ask);
                prop_assert!(!(asks && asked), "two questions at once");
                asked |= asks;
                let settled = matches!(machine.view().0, EnrollmentView::Enrolled | EnrollmentView::Revoked);
                prop_assert!(settled || asked || machine.next_deadline().is_some_and(|due| due <= at + LONGEST * 2));
            }
        }
    }
}

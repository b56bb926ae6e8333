//! What holds however a shift goes.

use std::collections::BTreeMap;
use std::time::Duration;

use carepost_protocol::id::{SessionId, UserId};
use carepost_protocol::role::ReadPatients;
use proptest::prelude::*;

use super::renewal::exposed;
use super::{Kiosk, fit, known, member};
use crate::session::{NewPin, PinMark, Presented, SessionEffect, SessionEvent, SessionPolicy, SessionView};

#[derive(Debug, Clone)]
enum Step {
    Tap(u8),
    Lift,
    Enter,
    Answer(bool),
    Chosen(u8),
    Press(u8),
    Gone(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8).prop_map(Step::Tap),
        2 => Just(Step::Lift),
        3 => Just(Step::Enter),
        3 => any::<bool>().prop_map(Step::Answer),
        3 => (0..4u8).prop_map(Step::Chosen),
        2 => (0..5u8).prop_map(Step::Press),
        1 => (1..4u8).prop_map(Step::Gone),
        2 => prop_oneof![0..5_000u64, 0..10_000_000u64].prop_map(Step::Wait),
    ]
}

fn take(kiosk: &mut Kiosk, step: Step) -> Vec<SessionEffect> {
    match step {
        Step::Tap(0) => kiosk.present(Presented::Unknown, 0),
        Step::Tap(5) => kiosk.present(Presented::Unreadable, 5),
        // The fourth's PIN was on a stolen device.
        Step::Tap(4) => kiosk.present(known(&exposed(kiosk.now().as_millis() - 1_000)), 4),
        Step::Tap(who) => kiosk.present(known(&member(who, "Somebody")), u64::from(who)),
        Step::Lift => kiosk.on(SessionEvent::BadgeRemoved),
        Step::Enter => kiosk.on(SessionEvent::PinEntered),
        Step::Answer(correct) => {
            let Some((attempt, user)) = kiosk.checking.take() else { return Vec::new() };
            let throttle = kiosk.throttle(user);
            kiosk.on(SessionEvent::PinChecked { attempt, user, correct, throttle })
        }
        Step::Chosen(how) => {
            let Some((attempt, user)) = kiosk.checking else { return Vec::new() };
            let kept = NewPin::Kept(PinMark::of("another"));
            let outcome = [fit(), kept, NewPin::Refused("no"), NewPin::Uncertain][usize::from(how)].clone();
            let asked = kiosk.machine.choosing(attempt).is_ok();
            let effects = kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome });
            kiosk.checking = None;
            assert!(
                asked || !effects.iter().any(|effect| matches!(effect, SessionEffect::SessionOpened { .. }))
            );
            effects
        }
        Step::Press(0) => kiosk.on(SessionEvent::LockPressed),
        Step::Press(1) => kiosk.on(SessionEvent::UndoPressed),
        Step::Press(2) => kiosk.on(SessionEvent::PinCancelled),
        Step::Press(3) => kiosk.on(SessionEvent::NotAPinEntered),
        Step::Press(_) => kiosk.on(SessionEvent::Touched),
        Step::Gone(who) => kiosk.on(SessionEvent::MemberGone(member(who, "").user)),
        Step::Wait(millis) => kiosk.wait(Duration::from_millis(millis)),
    }
}

/// What the effects say about the session: it must agree with what the machine permits.
#[derive(Default)]
struct Told {
    live: Option<(SessionId, UserId)>,
    open: bool,
    ever: Vec<SessionId>,
    proven: BTreeMap<UserId, Duration>,
}

impl Told {
    fn hear(&mut self, effect: &SessionEffect, at: Duration) {
        match *effect {
            SessionEffect::SessionOpened { session, user } => {
                assert_eq!(self.live, None, "two sessions");
                assert!(!self.ever.contains(&session), "a session id came twice");
                self.ever.push(session);
                (self.live, self.open) = (Some((session, user)), true);
                self.assert_proven(user, at);
            }
            SessionEffect::SessionResumed { session, user } => {
                assert_eq!((self.live, self.open), (Some((session, user)), false));
                self.open = true;
            }
            SessionEffect::ScreenLocked { session, user } => {
                assert_eq!((self.live, self.open), (Some((session, user)), true));
                self.open = false;
            }
            SessionEffect::SessionEnded { session, user, .. } => {
                assert_eq!(self.live, Some((session, user)));
                (self.live, self.open) = (None, false);
            }
            SessionEffect::KeepThrottle { .. }
            | SessionEffect::CheckPin { .. }
            | SessionEffect::CheckNewPin { .. }
            | SessionEffect::KeepNewPin { .. }
            | SessionEffect::ParkDraft { .. }
            | SessionEffect::Audit(_)
            | SessionEffect::Feedback(_) => {}
        }
    }

    fn assert_proven(&self, user: UserId, at: Duration) {
        let proof = self.proven.get(&user).expect("a session without any correct PIN");
        assert!(at - *proof < SessionPolicy::default().pin_grace, "the grace period was over");
    }
}

proptest! {
    #[test]
    fn invariants_of_any_shift(steps in prop::collection::vec(step(), 1..200)) {
        let mut kiosk = Kiosk::new();
        let mut told = Told::default();
        for step in steps {
            if let (Step::Answer(true) | Step::Chosen(1), Some((_, user))) = (&step, kiosk.checking) {
                told.proven.insert(user, kiosk.at);
            }
            let effects = take(&mut kiosk, step.clone());
            let audited = effects.iter().any(|effect| matches!(effect, SessionEffect::Audit(_)));
            let signs = effects.iter().filter(|effect| matches!(effect, SessionEffect::Feedback(_))).count();
            for effect in &effects {
                told.hear(effect, kiosk.at);
            }
            prop_assert!(signs <= usize::from(matches!(step, Step::Tap(_))));
            let silent = effects.iter().all(|effect| matches!(effect,
                SessionEffect::CheckPin { .. } | SessionEffect::CheckNewPin { .. } | SessionEffect::KeepNewPin { .. }));
            prop_assert!(audited || silent, "something happened that no audit tells: {:?}", effects);
            let permit = kiosk.machine.authorize::<ReadPatients>(kiosk.at);
            prop_assert_eq!(permit.ok().map(|permit| (permit.actor().session, permit.actor().user)),
                told.live.filter(|_| told.open));
            let shown = matches!(kiosk.view(), SessionView::Open { .. });
            prop_assert_eq!(shown, told.open);
            prop_assert!(kiosk.machine.next_deadline().is_none_or(|due| due > kiosk.at), "a tick would spin");
        }
    }
}

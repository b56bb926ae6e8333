//! The pad that asks for a PIN: whose answers it takes, and what becomes of it meanwhile.

use super::*;

impl Kiosk {
    /// Types a PIN, and says which check that asks for.
    fn enter(&mut self) -> (u64, UserId) {
        self.on(SessionEvent::PinEntered);
        self.checking.take().expect("a PIN is asked for")
    }

    fn answer(&mut self, (attempt, user): (u64, UserId), correct: bool) -> Vec<SessionEffect> {
        let throttle = self.throttle(user);
        self.on(SessionEvent::PinChecked { attempt, user, correct, throttle })
    }
}

#[test]
fn an_answer_is_taken_for_its_own_attempt_and_user_alone() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    let first = kiosk.enter();
    check(&kiosk.answer((first.0, ben().user), true), "");
    check(&kiosk.answer((first.0 + 1, ada().user), true), "");
    check(&kiosk.answer(first, false), "keep(1,false) -wrong_pin");
    // What was said of the one before, once more, is no answer to what is typed now.
    let second = kiosk.enter();
    check(&kiosk.answer(first, true), "");
    let (attempt, user) = first;
    check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome: fit() }), "");
    assert_eq!(kiosk.open_session(), None);
    check(&kiosk.answer(second, true), "keep(0,false) open1 +badge_and_pin");
}

#[test]
fn a_change_closes_the_pad_where_the_pin_is_another_and_nowhere_else() {
    let role = Member { role: Role::Lpn, ..ada() };
    let renewed = |member: Member| Member { pin: Some(PinMark::of("another verifier")), ..member };
    for (change, effects) in [(role, ""), (renewed(ben()), ""), (renewed(ada()), "-pin_replaced")] {
        for is_checked in [false, true] {
            let mut kiosk = Kiosk::new();
            kiosk.tap(known(&ada()));
            let attempt = is_checked.then(|| kiosk.enter());
            check(&kiosk.on(SessionEvent::MemberChanged(change.clone())), effects);
            let stays = effects.is_empty();
            assert_eq!(kiosk.machine.people(), if stays { vec![ada().user] } else { Vec::new() });
            if let Some(attempt) = attempt {
                let opens = if stays { "open1 +badge_and_pin" } else { "-pin_too_late" };
                check(&kiosk.answer(attempt, true), opens);
            }
        }
    }
}

#[test]
fn what_cannot_be_a_pin_is_said_and_counts_for_nothing() {
    let mut kiosk = Kiosk::new();
    check(&kiosk.on(SessionEvent::NotAPinEntered), "");
    assert_eq!(kiosk.notice(), None, "nobody is asked");
    kiosk.tap(known(&ada()));
    kiosk.at += secs(59);
    check(&kiosk.on(SessionEvent::NotAPinEntered), "");
    assert_eq!(kiosk.notice(), Some(Notice::NotAPin));
    check(&kiosk.wait(secs(59)), "");
    assert!(matches!(kiosk.view(), SessionView::PinPad { tries_left: 5, .. }), "the pad waits anew");
    kiosk.enter();
    check(&kiosk.on(SessionEvent::NotAPinEntered), "");
    assert_eq!(kiosk.notice(), None, "another is being checked");
}

#[test]
fn ten_wrong_pins_within_ten_minutes_pause_the_device_for_one() {
    for (within, last) in
        [(secs(600), "keep(1,false) -wrong_pin -device_paused"), (secs(601), "keep(1,false) -wrong_pin")]
    {
        let mut kiosk = Kiosk::new();
        let first = kiosk.at + secs(1);
        for (who, times) in [(11, 4), (12, 4), (13, 1)] {
            kiosk.tap(known(&member(who, "Somebody")));
            (0..times).for_each(|_| drop(kiosk.pin(false)));
        }
        kiosk.at = first + within - secs(1);
        kiosk.tap(known(&member(14, "Somebody")));
        check(&kiosk.pin(false), last);
    }
    let mut kiosk = Kiosk::new();
    for who in 11..21 {
        kiosk.tap(known(&member(who, "Somebody")));
        kiosk.pin(false);
    }
    kiosk.at += secs(58);
    check(&kiosk.tap(known(&ben())), "-device_paused deny");
    check(&kiosk.tap(known(&ben())), "+presented accept");
}

#[test]
fn the_machine_wants_to_hear_of_whoever_is_at_the_screen_or_behind_it() {
    let mut kiosk = Kiosk::new();
    assert_eq!(kiosk.machine.people(), []);
    kiosk.sign_in(&ada());
    assert_eq!(kiosk.machine.people(), [ada().user]);
    kiosk.tap(known(&ben()));
    assert_eq!(kiosk.machine.people(), [ben().user, ada().user]);
}

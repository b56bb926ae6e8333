//! A device was stolen, and with it the PINs that it could check.

use carepost_protocol::pin::EXPOSED_FOR;

use super::*;

/// Ada, whose PIN is exposed since then.
pub(super) fn exposed(since: i64) -> Member {
    Member { pin_exposed: Some(Timestamp::from_millis(since)), ..ada() }
}

fn renewed() -> PinMark {
    PinMark::of("a new verifier")
}

impl Kiosk {
    fn choose(&mut self, outcome: NewPin) -> Vec<SessionEffect> {
        self.on(SessionEvent::PinEntered);
        let (attempt, user) = self.checking.take().expect("a new PIN is asked for");
        self.on(SessionEvent::NewPinChecked { attempt, user, outcome })
    }

    /// Under which session what is typed next would be chosen.
    fn choosing_under(&self) -> Result<SessionId, Refused> {
        let (attempt, _) = self.machine.pin_attempt().expect("a PIN is asked for");
        Ok(self.machine.choosing(attempt)?.actor().session)
    }

    fn asked(&self) -> Option<Asked> {
        if let SessionView::PinPad { asked, .. } = self.view() { Some(asked) } else { None }
    }
}

#[test]
fn after_the_old_pin_another_is_chosen_at_once_and_twice() {
    let mut kiosk = Kiosk::new();
    let ada = exposed(NINE);
    check(&kiosk.tap(known(&ada)), "+presented accept");
    assert_eq!(kiosk.asked(), Some(Asked::Pin));
    check(&kiosk.pin(true), "+pin_exposed");
    assert_eq!((kiosk.asked(), kiosk.open_session()), (Some(Asked::New), None), "nothing opens before");

    check(&kiosk.choose(NewPin::Refused("too short")), "");
    assert_eq!((kiosk.asked(), kiosk.notice()), (Some(Asked::New), Some(Notice::NotANewPin("too short"))));
    check(&kiosk.choose(fit()), "");
    assert_eq!((kiosk.asked(), kiosk.notice()), (Some(Asked::Repeat), None));
    check(&kiosk.choose(NewPin::Refused("not the same")), "");
    assert_eq!(kiosk.asked(), Some(Asked::New), "from the beginning");
    check(&kiosk.on(SessionEvent::PinEntered), "fit");
    let (attempt, user) = kiosk.checking.take().unwrap();
    kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome: fit() });
    check(&kiosk.on(SessionEvent::PinEntered), "keep");
    let (attempt, user) = kiosk.checking.take().unwrap();
    let permit = kiosk.machine.choosing(attempt).unwrap();
    assert_eq!(kiosk.machine.choosing(attempt - 1), Err(Refused::NoSession));
    assert_eq!(kiosk.machine.authorize::<ReadPatients>(kiosk.at), Err(Refused::NoSession));
    let kept = NewPin::Kept(renewed());
    check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome: kept }), "open1 +new_pin");
    assert_eq!(kiosk.open_session(), Some(permit.actor().session), "it was chosen under this session");
    assert_eq!(permit.actor().user, ada.user);

    // The new one is good for the grace period; the mirror may still have the old.
    kiosk.on(SessionEvent::LockPressed);
    let new = Member { pin: Some(renewed()), pin_exposed: None, ..ada };
    check(&kiosk.tap(known(&new)), "+presented resume1 +badge_in_grace accept");
}

#[test]
fn what_is_typed_again_is_held_against_what_was_typed_first_at_that_pad() {
    let mut kiosk = Kiosk::new();
    for verifier in ["one", "another"] {
        kiosk.tap(known(&exposed(NINE)));
        kiosk.pin(true);
        kiosk.choose(NewPin::Fit(chosen(verifier)));
        let effects = kiosk.on(SessionEvent::PinEntered);
        let (attempt, user) = kiosk.checking.take().unwrap();
        assert_eq!(effects, [SessionEffect::KeepNewPin { attempt, user, chosen: chosen(verifier) }]);
        // She gives up, and nothing of it is left.
        kiosk.on(SessionEvent::PinCancelled);
        let outcome = NewPin::Refused("not the same");
        check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome }), "");
    }
}

#[test]
fn an_exposed_pin_ends_the_grace_period_and_no_session() {
    let mut kiosk = Kiosk::new();
    let session = kiosk.sign_in(&ada());
    check(&kiosk.on(SessionEvent::MemberChanged(exposed(NINE))), "");
    assert_eq!(kiosk.open_session(), Some(session), "whoever is charting goes on");
    kiosk.on(SessionEvent::LockPressed);
    check(&kiosk.tap(known(&exposed(NINE))), "+presented accept");
    check(&kiosk.pin(true), "+pin_exposed");
    assert_eq!(kiosk.choosing_under(), Ok(session));
    kiosk.choose(fit());
    check(&kiosk.choose(NewPin::Kept(renewed())), "resume1 +new_pin");
    assert_eq!(kiosk.open_session(), Some(session), "and comes back to where she was");
}

#[test]
fn it_becomes_known_while_the_pin_is_typed() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    check(&kiosk.on(SessionEvent::MemberChanged(exposed(NINE))), "");
    check(&kiosk.pin(true), "+pin_exposed");
    // The office sets one meanwhile.
    let set = Member { pin: Some(PinMark::of("the office's")), ..ada() };
    check(&kiosk.on(SessionEvent::MemberChanged(set)), "-pin_replaced");
    assert_eq!(kiosk.notice(), Some(Notice::PinReplaced));
}

#[test]
fn her_own_new_pin_does_not_close_the_pad_that_makes_it() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&exposed(NINE)));
    kiosk.pin(true);
    kiosk.choose(fit());
    kiosk.on(SessionEvent::PinEntered);
    let (attempt, _) = kiosk.checking.unwrap();
    kiosk.on(SessionEvent::MemberChanged(Member { role: Role::Lpn, ..exposed(NINE) }));
    assert!(kiosk.machine.choosing(attempt).is_ok(), "another role is no other PIN");
    let new = Member { pin: Some(renewed()), ..ada() };
    check(&kiosk.on(SessionEvent::MemberChanged(new)), "");
    let (attempt, user) = kiosk.checking.take().unwrap();
    let outcome = NewPin::Kept(renewed());
    check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome }), "open1 +new_pin");
}

#[test]
fn whether_a_new_pin_is_kept_that_may_be_is_for_the_next_tap_to_tell() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&exposed(NINE)));
    kiosk.pin(true);
    kiosk.choose(fit());
    check(&kiosk.choose(NewPin::Uncertain), "-new_pin_uncertain");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::NewPinUncertain) });
}

/// The office sets one while hers is being hashed: what she chooses answers nothing any more, so the pad does
/// not ask for it over and over.
#[test]
fn the_office_is_faster_than_she_is() {
    let set = Member { pin: Some(PinMark::of("the office's")), ..ada() };
    let again = Member { pin_exposed: Some(Timestamp::from_millis(NINE + 1)), ..set.clone() };
    for (office, typed) in [(&set, 0), (&set, 1), (&again, 0), (&again, 1)] {
        for outcome in [fit(), NewPin::Refused("it could not be kept"), NewPin::Uncertain] {
            let mut kiosk = Kiosk::new();
            kiosk.tap(known(&exposed(NINE)));
            kiosk.pin(true);
            (0..typed).for_each(|_| drop(kiosk.choose(fit())));
            kiosk.on(SessionEvent::PinEntered);
            let (attempt, user) = kiosk.checking.take().unwrap();
            // The mirror may say it more than once.
            check(&kiosk.on(SessionEvent::MemberChanged(office.clone())), "");
            check(&kiosk.on(SessionEvent::MemberChanged(office.clone())), "");
            assert_eq!(kiosk.machine.choosing(attempt), Err(Refused::NoSession), "hers would answer nothing");
            check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome }), "-pin_replaced");
            assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::PinReplaced) });
        }
    }
}

#[test]
fn after_seven_days_it_opens_nothing() {
    let mut kiosk = Kiosk::new();
    let since = kiosk.now().as_millis() - i64::try_from(EXPOSED_FOR.as_millis()).unwrap();
    let ada = exposed(since + 3_000);
    check(&kiosk.tap(known(&ada)), "+presented accept");
    kiosk.at += secs(10);
    check(&kiosk.pin(true), "-pin_expired");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::PinExpired) });
    check(&kiosk.tap(known(&ada)), "-pin_expired deny");
    // The server does not send it any more: still that is why.
    check(&kiosk.tap(known(&Member { pin: None, ..ada })), "-pin_expired deny");
}

#[test]
fn wrong_pins_count_as_ever_and_a_lock_out_stands() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    (0..3).for_each(|_| drop(kiosk.pin(false)));
    kiosk.on(SessionEvent::MemberChanged(exposed(NINE)));
    check(&kiosk.pin(false), "keep(4,false) -wrong_pin");
    check(&kiosk.pin(false), "keep(5,true) -wrong_pin -locked_out");
    check(&kiosk.tap(known(&exposed(NINE))), "-locked_out deny");
}

#[test]
fn whoever_gives_up_has_chosen_nothing_and_who_waited_behind_waits_on() {
    let mut kiosk = Kiosk::new();
    let first = kiosk.sign_in(&ben());
    kiosk.tap(known(&exposed(NINE)));
    kiosk.pin(true);
    assert_ne!(kiosk.choosing_under(), Ok(first), "it is not his session that she chooses under");
    kiosk.choose(fit());
    check(&kiosk.wait(secs(60)), "-pin_timed_out");
    check(&kiosk.tap(known(&ben())), "+presented resume2 +badge_in_grace accept");
    assert_eq!(kiosk.open_session(), Some(first));
    // Made durable just as she gave up: it stands, and opens nothing.
    kiosk.tap(known(&exposed(NINE)));
    kiosk.pin(true);
    kiosk.choose(fit());
    kiosk.on(SessionEvent::PinEntered);
    let (attempt, user) = kiosk.checking.take().unwrap();
    check(&kiosk.on(SessionEvent::PinCancelled), "-pin_cancelled");
    let outcome = NewPin::Kept(renewed());
    check(&kiosk.on(SessionEvent::NewPinChecked { attempt, user, outcome }), "-pin_too_late");
    assert_eq!(kiosk.open_session(), None);
}

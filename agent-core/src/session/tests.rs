//! Stories at one kiosk. A story's clock is in seconds; wall time starts at 9:00 and can be set apart.

mod invariants;
mod pin_pad;
mod renewal;

use std::time::Duration;

use super::*;
use carepost_protocol::role::{Chart, ReadPatients, Role};

const NINE: i64 = 1_777_626_000_000;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ada() -> Member {
    member(1, "Ada Example")
}

fn ben() -> Member {
    member(2, "Ben Example")
}

fn member(who: u8, name: &str) -> Member {
    Member {
        user: UserId::from_bytes([who; 16]),
        display_name: name.into(),
        role: Role::Rn,
        session_timeout: secs(30 * 60),
        pin: Some(PinMark::of(&format!("verifier of {name}"))),
        pin_exposed: None,
    }
}

fn chosen(verifier: &str) -> ChosenPin {
    ChosenPin { pin_verifier: verifier.into(), exposed_at: Timestamp::from_millis(NINE) }
}

/// What is typed may be a new PIN.
fn fit() -> NewPin {
    NewPin::Fit(chosen("a new verifier"))
}

struct Kiosk {
    machine: SessionMachine,
    at: Duration,
    wall_shift: i64,
    draws: u8,
    throttles: BTreeMap<UserId, Throttle>,
    /// Whose PIN is which, as the mirror knows them.
    pins: BTreeMap<UserId, Option<PinMark>>,
    checking: Option<(u64, UserId)>,
    next_card: u64,
}

impl Kiosk {
    fn new() -> Self {
        let place = (OrganizationId::from_bytes([1; 16]), FacilityId::from_bytes([2; 16]));
        Self {
            machine: SessionMachine::new(SessionPolicy::default(), place),
            at: secs(1000),
            wall_shift: 0,
            draws: 0,
            throttles: BTreeMap::new(),
            pins: BTreeMap::new(),
            checking: None,
            next_card: 100,
        }
    }

    /// A restart of the agent: what was persisted stays.
    fn restart(&mut self) {
        let fresh = Self::new();
        self.machine = fresh.machine;
        self.at = secs(1);
        self.checking = None;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NINE).after(self.at).plus_millis(self.wall_shift)
    }

    fn on(&mut self, event: SessionEvent) -> Vec<SessionEffect> {
        self.draws = self.draws.wrapping_add(1);
        let effects = self.machine.on(event, self.now(), self.at, [self.draws; 10]);
        for effect in &effects {
            if let SessionEffect::KeepThrottle { user, throttle } = effect {
                self.throttles.insert(*user, *throttle);
            }
            if let SessionEffect::CheckPin { attempt, user }
            | SessionEffect::CheckNewPin { attempt, user }
            | SessionEffect::KeepNewPin { attempt, user, .. } = effect
            {
                self.checking = Some((*attempt, *user));
            }
        }
        effects
    }

    fn wait(&mut self, time: Duration) -> Vec<SessionEffect> {
        self.at += time;
        self.on(SessionEvent::Tick)
    }

    fn present(&mut self, badge: Presented, card: u64) -> Vec<SessionEffect> {
        let throttle = if let Presented::Known(member) = &badge {
            self.pins.insert(member.user, member.pin);
            self.throttle(member.user)
        } else {
            Throttle::default()
        };
        self.on(SessionEvent::BadgePresented { badge, throttle, card: CardKey(card) })
    }

    fn throttle(&self, user: UserId) -> Throttle {
        let kept = self.throttles.get(&user).copied().unwrap_or_default();
        kept.against(self.pins.get(&user).copied().flatten())
    }

    /// A whole tap of a card that was not there before, a while after the last one.
    fn tap(&mut self, badge: Presented) -> Vec<SessionEffect> {
        self.next_card += 1;
        let card = if let Presented::Known(member) = &badge {
            u64::from(member.user.as_bytes()[0])
        } else {
            self.next_card
        };
        self.at += secs(1);
        let effects = self.present(badge, card);
        self.on(SessionEvent::BadgeRemoved);
        effects
    }

    fn pin(&mut self, correct: bool) -> Vec<SessionEffect> {
        self.on(SessionEvent::PinEntered);
        let (attempt, user) = self.checking.take().expect("a PIN is asked for");
        let throttle = self.throttle(user);
        self.on(SessionEvent::PinChecked { attempt, user, correct, throttle })
    }

    fn sign_in(&mut self, member: &Member) -> SessionId {
        self.tap(Presented::Known(member.clone()));
        self.pin(true);
        self.open_session().expect("signed in")
    }

    fn view(&self) -> SessionView {
        self.machine.view(self.at)
    }

    fn open_session(&self) -> Option<SessionId> {
        self.machine.actor(self.at).map(|actor| actor.session)
    }

    fn notice(&self) -> Option<Notice> {
        match self.view() {
            SessionView::Locked { notice }
            | SessionView::JustLocked { notice, .. }
            | SessionView::PinPad { notice, .. }
            | SessionView::Open { notice, .. } => notice,
        }
    }
}

/// What a story sees of effects: one word each, so that a whole exchange reads as a line.
fn check(effects: &[SessionEffect], expected: &str) {
    let words: Vec<String> = effects
        .iter()
        .map(|effect| match effect {
            SessionEffect::KeepThrottle { throttle, .. } => {
                format!("keep({},{})", throttle.failures, throttle.locked_until.is_some())
            }
            SessionEffect::CheckPin { .. } => "check".into(),
            SessionEffect::CheckNewPin { .. } => "fit".into(),
            SessionEffect::KeepNewPin { .. } => "keep".into(),
            SessionEffect::ParkDraft { user } => format!("park{}", user.as_bytes()[0]),
            SessionEffect::SessionOpened { user, .. } => format!("open{}", user.as_bytes()[0]),
            SessionEffect::SessionResumed { user, .. } => format!("resume{}", user.as_bytes()[0]),
            SessionEffect::ScreenLocked { user, .. } => format!("lock{}", user.as_bytes()[0]),
            SessionEffect::SessionEnded { user, reason, .. } => {
                format!("end{}({})", user.as_bytes()[0], reason.name())
            }
            SessionEffect::Audit(note) => {
                format!("{}{}", if note.success { "+" } else { "-" }, note.reason.name())
            }
            SessionEffect::Feedback(Feedback::Accept) => "accept".into(),
            SessionEffect::Feedback(Feedback::Deny) => "deny".into(),
        })
        .collect();
    assert_eq!(words.join(" "), expected);
}

fn known(member: &Member) -> Presented {
    Presented::Known(member.clone())
}

#[test]
fn a_shift_begins_with_badge_and_pin_and_goes_on_with_the_badge() {
    let mut kiosk = Kiosk::new();
    check(&kiosk.tap(known(&ada())), "+presented accept");
    assert!(matches!(kiosk.view(), SessionView::PinPad { tries_left: 5, checking: false, .. }));
    assert_eq!(kiosk.machine.authorize::<ReadPatients>(kiosk.at), Err(Refused::NoSession));
    check(&kiosk.pin(true), "open1 +badge_and_pin");
    let session = kiosk.open_session();
    let permit = kiosk.machine.authorize::<Chart>(kiosk.at).unwrap();
    assert_eq!(Some(permit.actor().session), session);

    check(&kiosk.wait(secs(120)), "park1 lock1 +idle");
    assert_eq!(kiosk.machine.authorize::<ReadPatients>(kiosk.at), Err(Refused::NoSession));
    check(&kiosk.tap(known(&ada())), "+presented resume1 +badge_in_grace accept");
    assert_eq!(kiosk.open_session(), session, "the same session");

    check(&kiosk.wait(secs(4 * 3600)), "park1 lock1 +idle end1(idle) +idle");
    check(&kiosk.tap(known(&ada())), "+presented accept");
    assert!(matches!(kiosk.view(), SessionView::PinPad { .. }), "the grace period is over");
}

#[test]
fn the_grace_period_has_four_hours_to_the_moment() {
    for (after, expected) in
        [(4 * 3600 - 1, "+presented open1 +badge_in_grace accept"), (4 * 3600, "+presented accept")]
    {
        let mut kiosk = Kiosk::new();
        kiosk.sign_in(&ada());
        kiosk.wait(secs(after - 1));
        check(&kiosk.tap(known(&ada())), expected);
    }
}

#[test]
fn grace_is_lost_at_a_restart() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    kiosk.restart();
    kiosk.tap(known(&ada()));
    assert!(matches!(kiosk.view(), SessionView::PinPad { .. }));
}

#[test]
fn badges_that_open_nothing_are_answered_and_written_down() {
    let user = ada().user;
    for (badge, notice, reason) in [
        (Presented::Unknown, Notice::UnknownBadge, "unknown_badge"),
        (Presented::Revoked { user }, Notice::RevokedBadge, "revoked_badge"),
        (Presented::Inactive { user }, Notice::InactiveUser, "inactive_user"),
        (Presented::StillLoading, Notice::StillLoading, "still_loading"),
        (Presented::RandomUid, Notice::RandomUid, "random_uid"),
        (Presented::Unreadable, Notice::Unreadable, "unreadable_badge"),
        (Presented::LyingThere, Notice::LeftOnReader, "unreadable_badge"),
        (Presented::Known(Member { pin: None, ..ada() }), Notice::NoPin, "no_pin"),
        (Presented::Known(renewal::exposed(NINE - 8 * 24 * 3_600_000)), Notice::PinExpired, "pin_expired"),
    ] {
        let mut kiosk = Kiosk::new();
        check(&kiosk.tap(badge.clone()), &format!("-{reason} deny"));
        assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(notice) });
        kiosk.at += secs(10);
        assert_eq!(kiosk.view(), SessionView::Locked { notice: None }, "a notice does not stay");

        let mut kiosk = Kiosk::new();
        let session = kiosk.sign_in(&ben());
        kiosk.tap(badge);
        assert_eq!(kiosk.open_session(), Some(session), "whoever is charting is not disturbed");
    }
}

#[test]
fn five_wrong_pins_lock_a_user_for_thirty_minutes() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    for failures in 1..5 {
        check(&kiosk.pin(false), &format!("keep({failures},false) -wrong_pin"));
        assert_eq!(kiosk.notice(), Some(Notice::WrongPin));
        assert!(matches!(kiosk.view(), SessionView::PinPad { tries_left, .. } if tries_left == 5 - failures));
    }
    check(&kiosk.pin(false), "keep(5,true) -wrong_pin -locked_out");
    let until = kiosk.now().after(secs(1800));
    assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::LockedOut { until }) });

    kiosk.wait(secs(600));
    check(&kiosk.tap(known(&ada())), "-locked_out deny");
    assert_eq!(kiosk.notice(), Some(Notice::LockedOut { until }), "the tap says until when");
    kiosk.wait(secs(1190));
    check(&kiosk.tap(known(&ada())), "-locked_out deny");
    kiosk.wait(secs(9));
    check(&kiosk.tap(known(&ada())), "+presented accept");
    check(&kiosk.pin(false), "keep(1,false) -wrong_pin");
    check(&kiosk.pin(true), "keep(0,false) open1 +badge_and_pin");
}

#[test]
fn setting_the_clock_neither_unlocks_nor_locks_longer() {
    for (shift, opens_after) in [(24 * 3_600_000, 1800), (-24 * 3_600_000, 1800)] {
        let mut kiosk = Kiosk::new();
        kiosk.tap(known(&ada()));
        (0..5).for_each(|_| drop(kiosk.pin(false)));
        kiosk.wall_shift = shift;
        kiosk.wait(secs(opens_after - 10));
        check(&kiosk.tap(known(&ada())), "-locked_out deny");
        kiosk.wait(secs(10));
        check(&kiosk.tap(known(&ada())), "+presented accept");
    }
}

#[test]
fn a_lockout_outlives_a_restart_but_never_by_more_than_thirty_minutes() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    (0..5).for_each(|_| drop(kiosk.pin(false)));
    kiosk.restart();
    kiosk.wall_shift = -365 * 24 * 3_600_000;
    check(&kiosk.tap(known(&ada())), "-locked_out deny");
    kiosk.wait(secs(1790));
    check(&kiosk.tap(known(&ada())), "-locked_out deny");
    kiosk.wait(secs(10));
    check(&kiosk.tap(known(&ada())), "+presented accept");
}

#[test]
fn a_lifted_lockout_lets_in_at_once() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    (0..5).for_each(|_| drop(kiosk.pin(false)));
    kiosk.throttles.clear();
    check(&kiosk.tap(known(&ada())), "+presented accept");
}

#[test]
fn a_new_pin_opens_at_once_where_the_old_one_locked_and_is_locked_by_guesses_of_its_own() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    (0..5).for_each(|_| drop(kiosk.pin(false)));
    check(&kiosk.tap(known(&ada())), "-locked_out deny");
    kiosk.restart();
    let renewed = Member { pin: Some(PinMark::of("a verifier of the office's")), ..ada() };
    check(&kiosk.tap(known(&renewed)), "+presented accept");
    assert!(matches!(kiosk.view(), SessionView::PinPad { tries_left: 5, .. }));
    for failures in 1..5 {
        check(&kiosk.pin(false), &format!("keep({failures},false) -wrong_pin"));
    }
    check(&kiosk.pin(false), "keep(5,true) -wrong_pin -locked_out");
    check(&kiosk.tap(known(&renewed)), "-locked_out deny");
    // Exposed or not, it is the same PIN.
    let exposed = Member { pin_exposed: Some(kiosk.now()), ..renewed };
    check(&kiosk.tap(known(&exposed)), "-locked_out deny");
}

#[test]
fn while_nobody_knows_which_pin_a_user_has_no_count_starts_anew() {
    let [known, other] = ["a verifier", "another"].map(|verifier| Some(PinMark::of(verifier)));
    let counted = Throttle { failures: 4, pin: known, ..Throttle::default() };
    assert_eq!([counted.against(None), counted.against(known)], [counted; 2]);
    assert_eq!(counted.against(None).against(other), Throttle { pin: other, ..Throttle::default() });
    let first = Throttle { pin: None, ..counted };
    assert_eq!((first.against(None), first.against(known)), (first, counted));
    let stored = known.map(|mark| PinMark::from_bytes(mark.to_bytes()));
    assert_eq!((stored, stored == other), (known, false));
}

#[test]
fn guessing_across_users_makes_the_device_pause_but_not_for_whoever_is_in_grace() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    check(&kiosk.wait(secs(1800)), "park1 lock1 +idle end1(idle) +idle");
    for who in [11, 12] {
        kiosk.tap(known(&member(who, "Somebody")));
        (0..5).for_each(|_| drop(kiosk.pin(false)));
    }
    check(&kiosk.tap(known(&ben())), "-device_paused deny");
    assert!(matches!(kiosk.notice(), Some(Notice::DevicePaused { .. })));
    check(&kiosk.tap(known(&ada())), "+presented open1 +badge_in_grace accept");
    kiosk.wait(secs(1800).max(DEVICE_PAUSE));
    check(&kiosk.tap(known(&ben())), "+presented accept");
}

#[test]
fn an_abandoned_pad_closes_and_its_outcome_still_counts() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    check(&kiosk.wait(secs(60)), "-pin_timed_out");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: None });

    kiosk.tap(known(&ada()));
    kiosk.on(SessionEvent::PinEntered);
    check(&kiosk.on(SessionEvent::PinCancelled), "-pin_cancelled");
    let (attempt, user) = kiosk.checking.take().unwrap();
    let answer = |correct| SessionEvent::PinChecked { attempt, user, correct, throttle: Throttle::default() };
    check(&kiosk.on(answer(false)), "keep(1,false) -wrong_pin");
    check(&kiosk.on(answer(true)), "");

    kiosk.tap(known(&ada()));
    kiosk.on(SessionEvent::PinEntered);
    kiosk.on(SessionEvent::PinCancelled);
    let (attempt, user) = kiosk.checking.take().unwrap();
    let late = SessionEvent::PinChecked { attempt, user, correct: true, throttle: Throttle::default() };
    check(&kiosk.on(late), "-pin_too_late");
    assert_eq!(kiosk.open_session(), None);
}

#[test]
fn while_a_pin_is_checked_taps_wait_their_turn() {
    let mut kiosk = Kiosk::new();
    kiosk.tap(known(&ada()));
    check(&kiosk.on(SessionEvent::PinEntered), "check");
    check(&kiosk.on(SessionEvent::PinEntered), "");
    check(&kiosk.tap(known(&ben())), "-pin_being_checked deny");
    assert_eq!(kiosk.notice(), Some(Notice::Busy));
    assert!(matches!(kiosk.view(), SessionView::PinPad { checking: true, .. }));
}

#[test]
fn the_own_badge_locks_an_open_screen_and_undo_takes_it_back() {
    let mut kiosk = Kiosk::new();
    let session = kiosk.sign_in(&ada());
    check(&kiosk.tap(known(&ada())), "+presented park1 lock1 +own_badge accept");
    assert!(matches!(kiosk.view(), SessionView::JustLocked { undo_for, .. } if undo_for == secs(3)));
    assert_eq!(kiosk.machine.undo_name(), Some("Ada Example"));
    check(&kiosk.on(SessionEvent::UndoPressed), "resume1 +undone");
    assert_eq!((kiosk.open_session(), kiosk.machine.undo_name()), (Some(session), None));

    kiosk.tap(known(&ada()));
    kiosk.at += secs(3);
    assert_eq!(kiosk.view(), SessionView::Locked { notice: None }, "even before the tick");
    check(&kiosk.wait(secs(0)), "");
    assert_eq!(kiosk.machine.undo_name(), None);
    check(&kiosk.on(SessionEvent::UndoPressed), "");
    check(&kiosk.tap(known(&ada())), "+presented resume1 +badge_in_grace accept");
}

#[test]
fn anothers_badge_takes_over_when_its_pin_is_right_and_not_before() {
    let mut kiosk = Kiosk::new();
    let first = kiosk.sign_in(&ada());
    check(&kiosk.tap(known(&ben())), "+presented park1 lock1 +tap_over accept");
    check(&kiosk.on(SessionEvent::PinCancelled), "-pin_cancelled");
    check(&kiosk.tap(known(&ada())), "+presented resume1 +badge_in_grace accept");
    assert_eq!(kiosk.open_session(), Some(first), "Ben gave up, Ada goes on");

    kiosk.tap(known(&ben()));
    check(&kiosk.pin(true), "end1(tap_over) +tap_over open2 +badge_and_pin");
    check(
        &kiosk.tap(known(&ada())),
        "+presented park2 lock2 +tap_over end2(tap_over) +tap_over open1 +badge_in_grace accept",
    );
    assert_ne!(kiosk.open_session(), Some(first));
}

#[test]
fn a_lockout_at_the_pad_does_not_lose_the_session_behind_it() {
    let mut kiosk = Kiosk::new();
    let first = kiosk.sign_in(&ada());
    kiosk.tap(known(&ben()));
    (0..5).for_each(|_| drop(kiosk.pin(false)));
    kiosk.tap(known(&ada()));
    assert_eq!(kiosk.open_session(), Some(first));
}

#[test]
fn a_lockout_that_comes_while_the_pin_is_typed_holds_even_for_the_right_pin() {
    for (correct, effects) in [(true, "-locked_out"), (false, "keep(6,true) -wrong_pin -locked_out")] {
        let mut kiosk = Kiosk::new();
        let first = kiosk.sign_in(&ada());
        kiosk.tap(known(&ben()));
        let locked_until = Some(kiosk.now().after(secs(900)));
        let elsewhere = Throttle { failures: 5, locked_until, ..Throttle::default() };
        kiosk.throttles.insert(ben().user, elsewhere);
        check(&kiosk.pin(correct), effects);
        kiosk.tap(known(&ada()));
        assert_eq!(kiosk.open_session(), Some(first));
    }
}

#[test]
fn a_badge_left_on_the_reader_never_signs_in_again() {
    let mut kiosk = Kiosk::new();
    check(&kiosk.present(known(&ada()), 1), "+presented accept");
    kiosk.pin(true);
    kiosk.at += secs(60);
    check(&kiosk.present(known(&ada()), 1), "");
    assert_eq!(kiosk.notice(), None, "whoever is charting need not hear of it");
    check(&kiosk.wait(secs(60)), "park1 lock1 +idle");
    check(&kiosk.present(known(&ada()), 1), "");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::LeftOnReader) });
    kiosk.on(SessionEvent::BadgeRemoved);
    check(&kiosk.present(known(&ada()), 1), "+presented resume1 +badge_in_grace accept");
}

#[test]
fn the_same_badge_within_a_second_is_one_tap() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    kiosk.at += secs(10);
    check(&kiosk.present(known(&ada()), 1), "+presented park1 lock1 +own_badge accept");
    kiosk.on(SessionEvent::BadgeRemoved);
    kiosk.at += Duration::from_millis(999);
    check(&kiosk.present(known(&ada()), 1), "");
    kiosk.on(SessionEvent::BadgeRemoved);
    kiosk.at += Duration::from_millis(1);
    check(&kiosk.present(known(&ada()), 1), "+presented resume1 +badge_in_grace accept");
}

#[test]
fn an_untouched_screen_warns_locks_and_in_the_end_signs_out() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    let start = kiosk.at;
    assert_eq!(kiosk.machine.next_deadline(), Some(start + secs(100)));
    kiosk.wait(secs(100));
    assert!(matches!(kiosk.view(), SessionView::Open { warns: true, locks_in, .. } if locks_in == secs(20)));
    for _ in 0..2 {
        assert_eq!(kiosk.machine.next_deadline(), Some(start + secs(120)), "it is warned of once");
        kiosk.wait(secs(1));
    }
    kiosk.at = start + secs(100);
    kiosk.on(SessionEvent::Touched);
    assert!(matches!(kiosk.view(), SessionView::Open { warns: false, .. }));
    check(&kiosk.wait(secs(119)), "");
    check(&kiosk.wait(secs(1)), "park1 lock1 +idle");
    assert_eq!(kiosk.machine.next_deadline(), Some(start + secs(100 + 1800)));
    check(&kiosk.wait(secs(1680)), "end1(idle) +idle");
    assert_eq!(kiosk.machine.next_deadline(), None);
}

#[test]
fn a_touch_that_comes_too_late_opens_nothing() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    kiosk.at += secs(120);
    assert_eq!(kiosk.open_session(), None, "even before the tick");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: None });
    check(&kiosk.on(SessionEvent::Touched), "park1 lock1 +idle");
}

#[test]
fn the_lock_button_keeps_the_session() {
    let mut kiosk = Kiosk::new();
    let session = kiosk.sign_in(&ada());
    check(&kiosk.on(SessionEvent::LockPressed), "park1 lock1 +lock_button");
    kiosk.tap(known(&ada()));
    assert_eq!(kiosk.open_session(), Some(session));
}

#[test]
fn a_deactivated_member_is_signed_out_and_told_why() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    check(&kiosk.on(SessionEvent::MemberGone(ben().user)), "");
    check(&kiosk.on(SessionEvent::MemberGone(ada().user)), "park1 end1(deactivated) +deactivated");
    assert_eq!(kiosk.view(), SessionView::Locked { notice: Some(Notice::Deactivated) });
    kiosk.tap(known(&ada()));
    assert!(matches!(kiosk.view(), SessionView::PinPad { .. }), "her grace period went with her");
    check(&kiosk.on(SessionEvent::MemberGone(ada().user)), "-deactivated");
}

#[test]
fn a_replaced_pin_ends_the_grace_period_and_the_pad_but_not_the_session() {
    let renewed = Member { pin: Some(PinMark::of("another verifier")), ..ada() };
    let mut kiosk = Kiosk::new();
    let session = kiosk.sign_in(&ada());
    check(&kiosk.on(SessionEvent::MemberChanged(renewed.clone())), "");
    assert_eq!(kiosk.open_session(), Some(session));
    kiosk.on(SessionEvent::LockPressed);
    kiosk.tap(known(&renewed));
    assert!(matches!(kiosk.view(), SessionView::PinPad { .. }));
    check(&kiosk.on(SessionEvent::MemberChanged(ada())), "-pin_replaced");
    assert_eq!(kiosk.notice(), Some(Notice::PinReplaced));
}

#[test]
fn a_changed_role_and_timeout_hold_at_once() {
    let mut kiosk = Kiosk::new();
    kiosk.sign_in(&ada());
    kiosk.on(SessionEvent::MemberChanged(Member { role: Role::Family, ..ada() }));
    assert_eq!(kiosk.machine.authorize::<Chart>(kiosk.at), Err(Refused::Denied(Denied::Role)));
    kiosk.on(SessionEvent::LockPressed);
    check(&kiosk.tap(known(&ada())), "+presented resume1 +badge_in_grace accept");
    kiosk.at += secs(61);
    let shorter = Member { session_timeout: secs(60), ..ada() };
    check(&kiosk.on(SessionEvent::MemberChanged(shorter)), "park1 lock1 +idle end1(idle) +idle");
}

//! A PIN that a thief may know is replaced at the screen, while the office replaces it too; one that locked its user
//! out is replaced by the office.

use super::*;

const HERS: &str = "730194";

impl Device {
    /// The mirror hears of a PIN of Anna's, and whoever is at the screen does not yet.
    fn hears(&self, seq: u64, pin: &str, exposed_at: impl Into<Option<Timestamp>>) {
        let hasher = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        let hash: PasswordHash = hasher.hash_password_with_salt(pin.as_bytes(), &[7; 16]).unwrap();
        let id = UserId::from_bytes([ANNA; 16]);
        let known = self.workspace.mirror().user(id).unwrap().unwrap();
        let user =
            UserDocument { pin_verifier: Some(hash.to_string()), pin_exposed_at: exposed_at.into(), ..known };
        let mut page = Page::default();
        put(&mut page, Collection::Users, id, &user);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    fn types(&self, pin: &str) -> PinPad {
        let Screen::PinPad(pad) = self.agent.screen() else { panic!("{:?}", self.agent.screen()) };
        self.agent.enter_pin(pad.attempt, pin.into());
        let Screen::PinPad(pad) = self.agent.screen() else { panic!("{:?}", self.agent.screen()) };
        pad
    }
}

/// The office set one, and that was exposed too: hers answers the first theft, not the second.
#[test]
fn what_she_chooses_answers_only_the_exposure_that_she_was_asked_for() {
    let device = Device::new();
    let now = device.agent.clock().now();
    device.hears(101, PIN, now);
    device.tap(ANNA);
    assert_eq!(device.types(PIN).asked, Asked::New);
    assert_eq!(device.types(HERS).asked, Asked::Repeat);
    device.hears(102, "551203", now.plus_millis(1));
    let pad = device.types(HERS);
    assert_eq!(pad.asked, Asked::New);
    assert_eq!(device.entries(), [], "the office's PIN stands");
    device.workspace.members_changed();
    let Screen::Locked(locked) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
    let notice = locked.notice.unwrap();
    assert!(notice.contains("Tap again and use the new one"), "{notice}");
}

#[test]
fn a_new_pin_that_may_be_kept_is_not_said_to_be_refused_and_the_next_tap_tells() {
    let device = Device::new();
    device.hears(101, PIN, device.agent.clock().now());
    device.tap(ANNA);
    assert_eq!(device.types(PIN).asked, Asked::New);
    let pad = device.types(HERS);
    assert_eq!(pad.asked, Asked::Repeat);
    device.break_disk(true);
    device.agent.enter_pin(pad.attempt, HERS.into());
    let Screen::Locked(locked) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
    let notice = locked.notice.unwrap();
    assert!(notice.contains("It is not certain that your new PIN was saved. Tap again"), "{notice}");
    device.break_disk(false);
    // It was not, so the old one leads to another; chosen again it opens.
    device.tap(ANNA);
    assert_eq!(device.types(PIN).asked, Asked::New);
    let pad = device.types(HERS);
    device.agent.enter_pin(pad.attempt, HERS.into());
    assert!(matches!(device.agent.screen(), Screen::Open(_)), "{:?}", device.agent.screen());
    assert_eq!(device.entries().len(), 1);
}

#[test]
fn a_pin_that_the_office_sets_opens_a_kiosk_that_the_old_one_had_locked() {
    let device = Device::new();
    device.tap(ANNA);
    for _ in 0..5 {
        let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
        device.agent.enter_pin(pad.attempt, "111111".into());
    }
    let notice = |device: &Device| {
        device.tap(ANNA);
        let Screen::Locked(locked) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
        locked.notice.unwrap()
    };
    assert!(notice(&device).contains("Too many wrong PINs. Try again in 30 minutes"));
    device.hears(101, HERS, None);
    device.tap(ANNA);
    let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
    device.agent.enter_pin(pad.attempt, HERS.into());
    assert!(matches!(device.agent.screen(), Screen::Open(_)), "{:?}", device.agent.screen());
    // The same again with this one: what was locked by guesses of it stays so.
    device.agent.lock();
    device.hears(102, "551203", None);
    device.tap(ANNA);
    for _ in 0..5 {
        let Screen::PinPad(pad) = device.agent.screen() else { panic!("{:?}", device.agent.screen()) };
        device.agent.enter_pin(pad.attempt, HERS.into());
    }
    assert!(notice(&device).contains("Too many wrong PINs"));
}

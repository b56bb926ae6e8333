//! What is revoked ahead of the feed opens nothing, until the feed has the last word.

use carepost_protocol::wire::heartbeat::{Revocation, Revoked};

use super::feed::Feed;
use super::*;

fn user(number: u8, is_active: bool) -> UserDocument {
    UserDocument {
        id: UserId::from_bytes([number; 16]),
        display_name: format!("User {number}"),
        role: Role::Rn,
        pin_verifier: None,
        pin_exposed_at: None,
        session_timeout_minutes: 30,
        is_active,
    }
}

fn badge(number: u8, is_active: bool) -> BadgeDocument {
    let (id, user_id) = (BadgeId::from_bytes([number; 16]), UserId::from_bytes([number; 16]));
    BadgeDocument { id, user_id, lookup: format!("lookup {number}"), is_active }
}

fn is_active(mirror: &Mirror, number: u8) -> (bool, bool) {
    let user = mirror.user(UserId::from_bytes([number; 16])).unwrap();
    let badge = mirror.badge(|_| vec![format!("lookup {number}")]).unwrap();
    (user.is_some_and(|user| user.is_active), badge.is_some_and(|badge| badge.is_active))
}

fn revoked(users: &[(u8, u64)], badges: &[(u8, u64)], epoch: u64, seq: u64) -> Revoked {
    Revoked {
        users: users
            .iter()
            .map(|(n, seq)| Revocation { id: UserId::from_bytes([*n; 16]), seq: *seq })
            .collect(),
        badges: badges
            .iter()
            .map(|(n, seq)| Revocation { id: BadgeId::from_bytes([*n; 16]), seq: *seq })
            .collect(),
        through: Cursor { epoch, seq },
        more: false,
    }
}

fn staff() -> Feed {
    let mut feed = Feed::new();
    for number in 1..=3 {
        feed.put(Collection::Users, number, &user(number, true));
        feed.put(Collection::Badges, number, &badge(number, true));
    }
    feed
}

#[test]
fn who_is_revoked_stays_so_after_a_restart_until_the_feed_says_otherwise() {
    let kiosk = Kiosk::new();
    let mut feed = staff();
    let mirror = kiosk.open();
    feed.catch_up(&mirror);
    assert_eq!(mirror.heard().unwrap(), None);
    mirror.revoke(&revoked(&[(1, 20)], &[(2, 21)], 1, 21)).unwrap();
    drop(mirror);
    let mirror = kiosk.open();
    assert_eq!(mirror.heard().unwrap(), Some(Cursor { epoch: 1, seq: 21 }));
    assert_eq!([1, 2, 3].map(|n| is_active(&mirror, n)), [(false, true), (true, false), (true, true)]);

    // The feed comes on, not that far yet.
    feed.put(Collection::Users, 3, &user(3, true));
    feed.catch_up(&mirror);
    assert!(!is_active(&mirror, 1).0, "an older page says nothing about it");
    // She works again: a later version says so.
    feed.head = 24;
    feed.put(Collection::Users, 1, &user(1, true));
    feed.put(Collection::Badges, 2, &badge(2, false));
    feed.catch_up(&mirror);
    assert_eq!([1, 2, 3].map(|n| is_active(&mirror, n)), [(true, true), (true, false), (true, true)]);
    // What comes late of that is of the past.
    mirror.revoke(&revoked(&[(1, 20)], &[], 1, 21)).unwrap();
    assert!(is_active(&mirror, 1).0);
    feed.assert_equal(&mirror);
}

/// The document that says so cannot be taken, and everything else is.
#[test]
fn a_feed_that_cannot_say_so_does_not_lift_it() {
    let kiosk = Kiosk::new();
    let mut feed = staff();
    let mirror = kiosk.open();
    feed.catch_up(&mirror);
    feed.spoil(Collection::Users, 1);
    let seq = feed.head;
    mirror.revoke(&revoked(&[(1, seq)], &[], 1, seq)).unwrap();
    feed.put(Collection::Patients, 1, &patient(1, "Ada", None));
    feed.catch_up(&mirror);
    assert_eq!(names(&mirror), ["Ada"]);
    assert_eq!(is_active(&mirror, 1), (false, true));
    // Nor does a pull from the beginning.
    mirror.refetch().unwrap();
    feed.catch_up(&mirror);
    assert!(!is_active(&mirror, 1).0);
    feed.put(Collection::Users, 1, &user(1, true));
    feed.catch_up(&mirror);
    assert!(is_active(&mirror, 1).0);
}

#[test]
fn another_past_of_the_server_has_the_last_word_at_its_head() {
    let kiosk = Kiosk::new();
    let mut feed = staff();
    let mirror = kiosk.open();
    feed.catch_up(&mirror);
    mirror.revoke(&revoked(&[(1, 90)], &[], 1, 90)).unwrap();
    feed.raise_epoch();
    mirror.refetch().unwrap();
    assert!(!is_active(&mirror, 1).0, "what is here stays as it is until the pull ends");
    feed.catch_up(&mirror);
    assert!(is_active(&mirror, 1).0);
    // And what is heard of the new one counts, though its numbers are smaller.
    mirror.revoke(&revoked(&[(2, feed.head + 1)], &[], 2, feed.head + 1)).unwrap();
    assert!(!is_active(&mirror, 2).0);
}

/// A copy that is known to differ may lack just what says so.
#[test]
fn while_the_copy_of_staff_differs_what_is_revoked_stays_so() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = staff();
    feed.catch_up(&mirror);
    let mut garbled = feed.clone();
    feed.put(Collection::Users, 2, &user(2, false));
    garbled.head = feed.head;
    let digests = Collection::ALL.map(|of| (of.name().to_owned(), feed.digest(of)));
    let hear = || {
        for (page, mut end) in garbled.stream(&mirror.beginning().unwrap(), 100) {
            if end.reaches_head() {
                end.digests = digests.clone().into_iter().collect();
            }
            mirror.apply(&page, &end).unwrap();
        }
    };
    hear();
    mirror.revoke(&revoked(&[(2, feed.head)], &[], 1, feed.head)).unwrap();
    hear();
    assert_eq!(mirror.differing().unwrap().len(), 1);
    assert_eq!(is_active(&mirror, 2), (false, true));
    assert!(mirror.refetch_differing().unwrap());
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert_eq!(is_active(&mirror, 2), (false, true));
}

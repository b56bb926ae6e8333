//! A file that turns out damaged while the agent runs.

use std::os::unix::fs::FileExt as _;

use super::feed::Feed;
use super::*;

/// A large mirror whose pages are in the file and in nobody's cache.
pub(super) fn reopened(kiosk: &Kiosk, feed: &Feed) -> Mirror {
    let mirror = kiosk.open();
    feed.catch_up(&mirror);
    drop(mirror);
    let path = kiosk.path();
    let facility = (ORGANIZATION, FACILITY);
    let (mirror, found) =
        Mirror::open(&MirrorOpening { path: &path, key: &kiosk.key, facility, cache_kib: 0 }).unwrap();
    assert_eq!(found, Found::Intact);
    mirror
}

/// Every page but the first is destroyed behind its back.
pub(super) fn destroy(kiosk: &Kiosk) {
    let file = std::fs::OpenOptions::new().write(true).open(kiosk.path()).unwrap();
    let length = file.metadata().unwrap().len();
    for page in 1..length / 4096 {
        file.write_all_at(&[0x55; 64], page * 4096 + 100).unwrap();
    }
}

fn destroyed(kiosk: &Kiosk, feed: &Feed) -> Mirror {
    let mirror = reopened(kiosk, feed);
    destroy(kiosk);
    mirror
}

fn big() -> Feed {
    let mut feed = Feed::of(200, 0);
    for number in 1..=200 {
        let mut record = record(number, 1, number.into());
        record.values.insert("note".into(), "long ".repeat(100).into());
        feed.put(Collection::Records, number, &record);
    }
    feed
}

#[test]
fn a_file_that_another_build_made_is_set_aside_and_had_again() {
    let kiosk = Kiosk::new();
    let path = kiosk.path();
    let first = format!("{} ", schema::MIGRATIONS[0]);
    let mut others = schema::MIGRATIONS.to_vec();
    others[0] = &first;
    let opening = sqlite::Opening {
        path: &path,
        key: &kiosk.key,
        durability: sqlite::Durability::ProcessCrash,
        cache_kib: 64,
        migrations: &others,
    };
    drop(sqlite::open(&opening).unwrap());
    let (mirror, found) = kiosk.open_for(FACILITY);
    assert!(matches!(found, Found::SetAside(_)), "{found:?}");
    assert_eq!(mirror.cursor().unwrap(), None);
    drop(mirror);
    kiosk.open();
}

fn is_made_anew(kiosk: &Kiosk, mirror: &Mirror, feed: &Feed) {
    assert!(kiosk.directory.path().join("mirror.db.damaged").exists());
    assert!(mirror.take_set_aside() && !mirror.take_set_aside());
    assert!(mirror.wants_more());
    assert!(!mirror.is_complete(Collection::Patients).unwrap(), "still loading, not empty");
    assert_eq!(mirror.cursor().unwrap(), None);
    // The open stream's next page would leave out all that came before.
    let late = end(feed.epoch, feed.head, feed.head);
    assert!(matches!(mirror.apply(&Page::default(), &late), Err(MirrorError::BegunAnew)));
    assert!(!mirror.is_complete(Collection::Patients).unwrap());
    feed.catch_up(mirror);
    feed.assert_equal(mirror);
    assert!(mirror.is_complete(Collection::Patients).unwrap());
}

#[test]
fn a_read_that_finds_damage_sets_the_file_aside_and_begins_anew() {
    let (kiosk, feed) = (Kiosk::new(), big());
    let mirror = destroyed(&kiosk, &feed);
    let read = mirror.residents(&permit(FACILITY));
    assert!(matches!(read, Err(MirrorError::Damaged)), "{read:?}: an error, not an empty list");
    is_made_anew(&kiosk, &mirror, &feed);
}

#[test]
fn a_page_that_finds_damage_does_too() {
    let (kiosk, mut feed) = (Kiosk::new(), big());
    let mirror = destroyed(&kiosk, &feed);
    let beginning = mirror.beginning();
    for number in 1..=200 {
        feed.put(Collection::Records, number, &record(number, 1, number.into()));
    }
    let applied = beginning.and_then(|beginning| {
        feed.stream(&beginning, 500).iter().try_for_each(|(page, end)| mirror.apply(page, end).map(drop))
    });
    assert!(matches!(applied, Err(MirrorError::Damaged)), "{applied:?}");
    is_made_anew(&kiosk, &mirror, &feed);
}

#[test]
fn the_background_check_finds_damage_before_anybody_reads_it() {
    let (kiosk, feed) = (Kiosk::new(), big());
    let mirror = destroyed(&kiosk, &feed);
    let found = mirror.check().and_then(|mut check| {
        while mirror.check_on(&mut check, Timestamp::EPOCH)? != Slice::Done {}
        Ok(())
    });
    assert!(matches!(found, Err(MirrorError::Damaged)), "{found:?}");
    is_made_anew(&kiosk, &mirror, &feed);
}

#[test]
fn a_check_under_way_does_not_touch_the_file_that_was_made_anew() {
    let (kiosk, feed) = (Kiosk::new(), big());
    let mirror = reopened(&kiosk, &feed);
    let mut check = mirror.check().unwrap();
    mirror.check_on(&mut check, Timestamp::EPOCH).unwrap();
    destroy(&kiosk);
    mirror.renewing::<()>(mirror.generation(), Err(MirrorError::Damaged)).unwrap_err();
    feed.catch_up(&mirror);
    // Its connection closes last on the file set aside, and must leave the new one's WAL alone.
    drop(check);
    feed.assert_equal(&mirror);
    drop(mirror);
    let mirror = kiosk.open();
    feed.assert_equal(&mirror);
}

#[test]
fn several_who_find_the_damage_make_it_anew_once() {
    let (kiosk, feed) = (Kiosk::new(), big());
    let mirror = destroyed(&kiosk, &feed);
    let generation = mirror.generation();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| drop(mirror.residents(&permit(FACILITY))));
        }
    });
    assert_eq!(mirror.generation(), generation + 1);
    is_made_anew(&kiosk, &mirror, &feed);
}

#[test]
fn a_file_that_could_not_be_read_once_goes_on() {
    let (kiosk, feed) = (Kiosk::new(), big());
    let mirror = reopened(&kiosk, &feed);
    // As SQLCipher answers when the disk failed to read a page.
    mirror.renewing::<()>(mirror.generation(), Err(MirrorError::Damaged)).unwrap_err();
    assert!(!mirror.take_set_aside() && !mirror.wants_more());
    feed.assert_equal(&mirror);
}

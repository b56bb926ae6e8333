//! Whatever comes in whatever order: the digest is that of the rows, and in the end of the server's.

use carepost_protocol::digest::{Digest, Element};
use proptest::prelude::*;

use super::feed::Feed;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The server has a new version of a document, or a new one.
    Put(bool, u8),
    /// A document goes.
    Bury(bool, u8),
    /// So many of the oldest records leave the feed.
    Archive(usize),
    /// A stream brings so many pages of that size, then breaks.
    Stream(usize, usize),
    /// A late page of an earlier stream.
    Late,
    /// A row is lost behind the mirror's back, and the check runs.
    Lose(u8),
    /// The server's past changed.
    Epoch,
    /// The process is killed.
    Restart,
    RefetchDiffering,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 1..12_u8).prop_map(|(records, number)| Step::Put(records, number)),
        2 => (any::<bool>(), 1..12_u8).prop_map(|(records, number)| Step::Bury(records, number)),
        2 => (1..6_usize).prop_map(Step::Archive),
        6 => (1..8_usize, 1..5_usize).prop_map(|(pages, size)| Step::Stream(pages, size)),
        1 => Just(Step::Late),
        2 => (1..12_u8).prop_map(Step::Lose),
        1 => Just(Step::Epoch),
        1 => Just(Step::Restart),
        1 => Just(Step::RefetchDiffering),
    ]
}

/// The running digest is that of the rows which the collection's pass has named.
fn assert_digests_are_of_rows(mirror: &Mirror) {
    for copy in mirror.reading(copies::load).unwrap() {
        let recomputed = mirror.reading(|reader| {
            let mut statement =
                reader.prepare("SELECT id, seq, body FROM documents WHERE collection = ? AND pass = ?")?;
            let mut rows = statement.query((schema::number(copy.collection), copy.pass))?;
            let mut digest = Digest::default();
            while let Some(row) = rows.next()? {
                let body: Vec<u8> = row.get(2)?;
                digest.add(Element::of(copy.collection, &row.get(0)?, unsigned(row.get(1)?), &body));
            }
            Ok(digest)
        });
        assert_eq!(copy.digest, recomputed.unwrap(), "{:?}", copy.collection);
    }
}

fn run(steps: &[Step]) {
    let kiosk = Kiosk::new();
    let mut mirror = kiosk.open();
    let mut feed = Feed::new();
    let mut late = None;
    for step in steps {
        match step {
            Step::Put(true, number) => {
                feed.put(Collection::Records, *number, &record(*number, 1, feed.head.try_into().unwrap()));
            }
            Step::Put(false, number) => {
                let name = format!("Version {}", feed.head);
                feed.put(Collection::Patients, *number, &patient(*number, &name, None));
            }
            Step::Bury(true, number) => feed.bury(Collection::Records, *number),
            Step::Bury(false, number) => feed.bury(Collection::Patients, *number),
            Step::Archive(most) => feed.archive(*most),
            Step::Stream(pages, size) => {
                let beginning = mirror.beginning().unwrap();
                for (page, end) in feed.stream(&beginning, *size).into_iter().take(*pages) {
                    match mirror.apply(&page, &end) {
                        Ok(_) => late = Some((page, end)),
                        Err(MirrorError::OtherEpoch { .. }) => {
                            mirror.refetch().unwrap();
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Step::Late => {
                // Only while the mirror has a cursor: a stream of before a refetch is closed.
                if let (Some((page, end)), Some(_)) = (&late, mirror.cursor().unwrap()) {
                    let behind = mirror.apply(page, end);
                    assert!(matches!(behind, Ok(_) | Err(MirrorError::OtherEpoch { .. })), "{behind:?}");
                }
            }
            Step::Lose(number) => lose(&mirror, *number),
            Step::Epoch => feed.raise_epoch(),
            Step::Restart => {
                std::mem::forget(mirror);
                mirror = kiosk.open();
            }
            Step::RefetchDiffering => drop(mirror.refetch_differing().unwrap()),
        }
        assert_digests_are_of_rows(&mirror);
    }
    if mirror.cursor().unwrap().is_some_and(|cursor| cursor.epoch != feed.epoch) {
        mirror.refetch().unwrap();
    }
    feed.catch_up(&mirror);
    feed.assert_equal(&mirror);
    assert_digests_are_of_rows(&mirror);
}

fn lose(mirror: &Mirror, number: u8) {
    mirror
        .writing(|writer| {
            writer.execute("DELETE FROM documents WHERE collection = 5 AND id = ?", [[number; 16]])?;
            // While a fetch is under way it would only show at its end: here the digest follows.
            let mut digest = Digest::default();
            let copy = copies::load(writer)?.into_iter().find(|copy| copy.collection == Collection::Patients);
            let mut copy = copy.unwrap();
            let mut statement =
                writer.prepare("SELECT id, seq, body FROM documents WHERE collection = 5 AND pass = ?")?;
            let mut rows = statement.query([copy.pass])?;
            while let Some(row) = rows.next()? {
                let body: Vec<u8> = row.get(2)?;
                digest.add(Element::of(copy.collection, &row.get(0)?, unsigned(row.get(1)?), &body));
            }
            copy.digest = digest;
            copies::save(writer, &copy)
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_digest_is_that_of_the_rows(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}

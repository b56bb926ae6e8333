//! Somebody who has lived here for years: a page costs what it shows, however much was charted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carepost_protocol::id::ReviewId;
use carepost_protocol::record::ReviewDocument;

use super::threads::review;
use super::*;

fn id(n: usize) -> RecordId {
    RecordId::new(Timestamp::from_millis(i64::try_from(n).unwrap()), [0; 10])
}

fn nth(n: usize, amends: Option<usize>) -> RecordDocument {
    RecordDocument { id: id(n), amends: amends.map(id), ..record(0, 1, i64::try_from(n).unwrap() / 60) }
}

fn hold(mirror: &Mirror, records: impl IntoIterator<Item = RecordDocument>) {
    let records: Vec<RecordDocument> = records.into_iter().collect();
    for (from, part) in (1..).step_by(1_000).zip(records.chunks(1_000)) {
        let mut page = Page::default();
        for (seq, record) in (from..).zip(part) {
            put(&mut page, Collection::Records, record.id, seq, record);
        }
        let seq = from + part.len() as u64 - 1;
        mirror.apply(&page, &end(1, seq, seq)).unwrap();
    }
}

fn threads(mirror: &Mirror) -> RecordThreads {
    let asked = Asked { after: 0, most: 51, versions: 10 };
    mirror.threads(&permit(FACILITY), PatientId::from_bytes([1; 16]), asked).unwrap()
}

/// How many steps SQLite's machine makes for it: the same on any machine, however busy.
fn cost(mirror: &Mirror, what: impl Fn()) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    mirror.reader.lock().unwrap().as_mut().unwrap().progress_handler(1, Some(count)).unwrap();
    what();
    mirror.reader.lock().unwrap().as_mut().unwrap().progress_handler(1, None::<fn() -> bool>).unwrap();
    steps.load(Ordering::Relaxed)
}

#[test]
fn a_page_costs_what_it_shows_however_much_there_is() {
    let costs = [200, 20_000].map(|count| {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        // One in ten was corrected; one in a hundred corrections has nothing to correct.
        hold(
            &mirror,
            (1..=count)
                .map(|n| nth(n, (n % 10 == 0).then(|| if n % 1_000 == 0 { count + n } else { n - 1 }))),
        );
        let read = threads(&mirror);
        assert_eq!((read.threads.len(), read.held.len()), (51, (count / 1_000).min(51)));
        cost(&mirror, || assert_eq!(threads(&mirror).threads.len(), 51))
    });
    // A hundred times as much is there. A walk along it would show many times over.
    assert!(costs[0] > 10 && costs[1] < costs[0] * 2, "{costs:?}");
}

#[test]
fn a_record_that_was_corrected_without_end_costs_no_more_than_is_looked_at() {
    for (how, back) in [("one after the other", 1), ("side by side", usize::MAX)] {
        let costs = [3_000, 12_000].map(|count| {
            let kiosk = Kiosk::new();
            let mirror = kiosk.open();
            hold(&mirror, (0..count).map(|n| nth(n, (n > 0).then(|| n.saturating_sub(back)))));
            let read = threads(&mirror);
            let [thread] = read.threads.as_slice() else { panic!("{read:?}") };
            assert!(thread.is_cut && thread.amendments.len() <= 20, "{how}");
            // None that was corrected itself passes for one that counts.
            let links = thread.left_out.iter().map(|(id, amends)| (*id, Some(*amends)));
            let read = thread.amendments.iter().chain([&thread.root]).map(|it| (it.id, it.amends));
            let leaves = carepost_protocol::amend::threads(links.chain(read)).threads.remove(0).leaves;
            let shown = |leaf: &RecordId| thread.amendments.iter().any(|it| it.id == *leaf);
            assert_eq!(leaves.iter().any(shown), how == "side by side", "{how}");
            cost(&mirror, || assert!(threads(&mirror).threads.len() == 1))
        });
        assert!(costs[1] < costs[0] * 3 / 2, "{how}: {costs:?}");
    }
}

#[test]
fn what_was_held_once_takes_nobodys_place_when_its_record_has_come_again() {
    let costs = [3_000, 12_000].map(|count| {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        // 1 corrects what never came, and all others 0, which goes and comes again.
        let of = |n: usize| [None, Some(2 * count)].get(n).copied().unwrap_or(Some(0));
        hold(&mirror, (0..count).map(|n| nth(n, of(n))));
        let mut page = Page::default();
        let seq = u64::try_from(count).unwrap() + 1;
        bury(&mut page, Collection::Records, id(0), seq);
        mirror.apply(&page, &end(1, seq, seq)).unwrap();
        assert!(threads(&mirror).held_is_cut);
        let held = cost(&mirror, || assert_eq!(threads(&mirror).held.len(), 51));
        page.clear();
        put(&mut page, Collection::Records, id(0), seq + 1, &nth(0, None));
        mirror.apply(&page, &end(1, seq + 1, seq + 1)).unwrap();
        let read = threads(&mirror);
        assert_eq!((read.held, read.held_is_cut), (vec![nth(1, of(1))], false));
        held
    });
    assert!(costs[1] < costs[0] * 3 / 2, "{costs:?}");
}

#[test]
fn what_is_open_is_found_however_much_was_closed() {
    let costs = [30, 3_000].map(|count| {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        for (from, part) in (1..).step_by(1_000).zip((0..count).collect::<Vec<_>>().chunks(1_000)) {
            let mut page = Page::default();
            for (seq, n) in (from..).zip(part) {
                let open = n % (count / 10) == 0;
                let review =
                    ReviewDocument { id: ReviewId::from_bytes(*id(*n).as_bytes()), ..review(1, 1, open) };
                put(&mut page, Collection::Reviews, review.id, seq, &review);
            }
            let seq = from + part.len() as u64 - 1;
            mirror.apply(&page, &end(1, seq, seq)).unwrap();
        }
        let open = || mirror.open_reviews(&permit(FACILITY), 50).unwrap().len();
        assert_eq!(open(), 10);
        cost(&mirror, || assert_eq!(open(), 10))
    });
    assert!(costs[0] > 10 && costs[1] < costs[0] * 2, "{costs:?}");
}

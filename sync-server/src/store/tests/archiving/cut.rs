//! Older records that were corrected again and again: the latest corrections come, and what is left out is said.

use super::*;

impl World {
    /// A record that has left the feed with so many corrections, each of the one before.
    async fn chain(&self, tenant: &Tenant, kiosk: &mut Kiosk, corrections: usize) -> Vec<RecordId> {
        let mut last = self.chart(tenant, kiosk).await;
        let mut chain = vec![last];
        for _ in 0..corrections {
            self.pass(60);
            last = self.correct(tenant, kiosk, last).await;
            chain.push(last);
        }
        self.pass(91 * DAY);
        self.archive(tenant).await;
        assert_eq!(self.feed(tenant).await.0, []);
        chain
    }
}

/// The first version, and then the latest ones.
fn latest_of(chain: &[RecordId], corrections: usize) -> Vec<RecordId> {
    chain.iter().take(1).chain(chain.iter().rev().take(corrections)).copied().collect()
}

#[tokio::test]
async fn a_chain_of_twenty_five_corrections_comes_whole() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let chain = world.chain(&tenant, &mut kiosk, 25).await;
    for view in [View::Full, View::Minimal] {
        let page = world.older(&tenant, view, None).await;
        assert_eq!((ids(&page.records), page.cut), (latest_of(&chain, 25), Vec::new()));
    }
}

#[tokio::test]
async fn of_a_chain_that_is_too_large_the_latest_come_and_where_they_hang_is_said() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let chain = world.chain(&tenant, &mut kiosk, 25).await;
    let grow = |body: String| {
        let note = format!("\"values\":{{\"note\":\"{}\",", "x".repeat(30 * 1024));
        body.replace("\"values\":{", &note)
    };
    for id in &chain {
        world.archived_as(&tenant, *id, grow).await;
    }
    let page = world.older(&tenant, View::Full, None).await;
    assert!(serde_json::to_vec(&page).unwrap().len() < 1024 * 1024, "a device would not read it");
    let left_out = chain.len() - page.records.len();
    assert!((2..20).contains(&left_out), "{left_out}");
    assert_eq!(ids(&page.records), latest_of(&chain, 25 - left_out));
    assert_eq!(page.cut, [Cut { record: chain[0], corrected: vec![chain[left_out]] }]);
}

/// It is sent to nobody who is sent less, and what it corrects counts no more for that.
#[tokio::test]
async fn a_correction_that_cannot_be_read_is_said_to_be_left_out() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let chain = world.chain(&tenant, &mut kiosk, 2).await;
    world.archived_as(&tenant, chain[1], |_| r#"{"shape":"of no record"}"#.to_owned()).await;
    let page = world.older(&tenant, View::Minimal, None).await;
    assert_eq!(ids(&page.records), [chain[0], chain[2]]);
    assert_eq!(page.cut, [Cut { record: chain[0], corrected: vec![chain[1]] }]);
    let store = world.store.facility(&tenant.facility);
    assert!(store.struck(&may_read(&tenant), chain).await.unwrap().is_empty(), "the office's chart opens");
}

#[tokio::test]
async fn what_cannot_be_read_whole_strikes_out_all_the_same_and_is_counted() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let entry = world.chart(&tenant, &mut kiosk).await;
    let strike = Change {
        fields: serde_json::Map::new(),
        reason: Some("Wrong resident".to_owned()),
        entered_in_error: true,
        ..kiosk.correction(&tenant, entry, 0, world.now())
    };
    let strike = world.send(&mut kiosk, strike).await;
    world.pass(91 * DAY);
    world.archive(&tenant).await;
    world.archived_as(&tenant, strike, |body| body.replace("\"recorded_by\"", "\"said_by\"")).await;
    let (store, permit) = (world.store.facility(&tenant.facility), may_read(&tenant));
    let page = store.records(&permit, tenant.patient, None, 5).await.unwrap();
    assert_eq!((ids(&page.items), page.left_out), (vec![entry], 1));
    assert_eq!(store.struck(&permit, vec![entry]).await.unwrap().get(&entry), Some(&strike));
}

/// A thread is few records here, and more than may come or go at once.
#[tokio::test]
async fn a_thread_of_more_than_a_mebibyte_leaves_record_by_record_and_stays_away() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let root = world.chart(&tenant, &mut kiosk).await;
    world.pass(60 * DAY);
    for _ in 0..5 {
        world.correct(&tenant, &mut kiosk, root).await;
    }
    let charted: Vec<(u64, RecordDocument)> =
        documents_of(&world, &tenant.facility, Collection::Records).await;
    let corrections = charted.into_iter().map(|(_, record)| record).filter(|record| record.id != root);
    let large: Vec<(RecordId, String)> = corrections
        .map(|mut record| {
            record.values.insert("note".to_owned(), "x".repeat(250 * 1024).into());
            (record.id, serde_json::to_string(&record).unwrap())
        })
        .collect();
    let corrections: Vec<RecordId> = large.iter().map(|(id, _)| *id).collect();
    world.write_over(&tenant, large).await;
    world.pass(31 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, corrections, "the root was old, and they are not");
    world.pass(60 * DAY);
    world.archive(&tenant).await;
    assert_eq!(world.feed(&tenant).await.0, []);
    let one = world.correct(&tenant, &mut kiosk, root).await;
    assert_eq!(world.feed(&tenant).await.0, [one]);
    assert_eq!(world.chart_of(&tenant).await.len(), 7);
}

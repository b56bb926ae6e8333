//! Devices whose outbox and the server's history part: forks, gaps, and changes kept unread.

use crate::store::engine::params;
use carepost_protocol::change::Verdict;
use carepost_protocol::wire::push::{Fork, Gap, MAX_CHANGE_BYTES, Opaque, RejectionCode};

use super::book::{Book, Scene, With, noticed, pulses};
use super::*;

/// What the server says where a chain is broken.
fn broken(outcome: Result<PushReceipt, StoreError>) -> (u64, Option<u64>) {
    match outcome {
        Err(StoreError::ChainBroken { next_n, shared_n }) => (next_n, shared_n),
        other => panic!("{other:?}"),
    }
}

fn verdicts(receipt: &PushReceipt) -> Vec<(u64, u64, Verdict)> {
    receipt.verdicts.iter().map(|run| (run.n, run.count, run.verdict)).collect()
}

#[tokio::test]
async fn a_device_put_back_goes_on_under_a_fork_and_loses_and_doubles_nothing() {
    let Scene { world, tenant, kiosk, book } = Scene::of(&[70, 71]).await;
    let mut image = book.clone();
    let mut later = book;
    later.chart(&world, &kiosk, &tenant, &[72, 73, 74]);
    later.push(&world, &kiosk, 3..=5).await.unwrap();
    // Put back to where it had two, it charts others; the first the server has too.
    image.chart(&world, &kiosk, &tenant, &[80, 81]);
    assert_eq!(broken(image.push(&world, &kiosk, 3..=4).await), (6, Some(2)));
    assert_eq!(broken(image.push(&world, &kiosk, 2..=4).await), (6, Some(2)));
    assert_eq!(broken(image.push(&world, &kiosk, 4..=4).await), (6, Some(0)), "not even what is before");
    let mut child = image.forked(20, 2, 0);
    child.chart(&world, &kiosk, &tenant, &[80, 81]);
    assert_eq!(noticed(&world, &tenant, "device_rolled_back").await.len(), 0);
    let receipt = child.push(&world, &kiosk, 3..=4).await.unwrap();
    assert_eq!((receipt.next_n, verdicts(&receipt)), (5, vec![(3, 2, Verdict::Applied)]));
    // The receipt got lost: the same again; then more.
    let again = child.push(&world, &kiosk, 3..=4).await.unwrap();
    assert_eq!(verdicts(&again), [(3, 2, Verdict::Duplicate)]);
    child.chart(&world, &kiosk, &tenant, &[82]);
    child.push(&world, &kiosk, 5..=5).await.unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72, 73, 74, 80, 81, 82]);
    let noted = noticed(&world, &tenant, "device_rolled_back").await;
    assert_eq!(noted.len(), 1, "once for each fork: {noted:?}");
    assert_eq!((&noted[0]["care"], &noted[0]["audit"]), (&json!(2), &json!(0)));
    let device =
        world.store.organization(&tenant.organization).device(kiosk.identity.device()).await.unwrap();
    assert!(device.rolled_back_at.is_some());
}

#[tokio::test]
async fn the_other_lane_of_a_fork_starts_where_it_was_shared_or_at_the_beginning_of_all() {
    let Scene { world, tenant, kiosk, book } = Scene::of(&[70, 71, 72]).await;
    let mut events = Book::new(&kiosk, Lane::Audit);
    events.write(&event(&world));
    events.push(&world, &kiosk, 1..=1).await.unwrap();
    let child = |audit| {
        let mut child = events.forked(20, 2, audit);
        child.write(&event(&world));
        child
    };
    let shared = child(1);
    assert_eq!(shared.push(&world, &kiosk, 2..=2).await.unwrap().next_n, 3);
    // A second fork that shares nothing of the audit lane starts at its parent's own beginning.
    let mut none = events.forked(21, 2, 0);
    none.write(&event(&world));
    assert_eq!(none.push(&world, &kiosk, 1..=1).await.unwrap().next_n, 2);
    // A grandchild that forks where its parent had made nothing yet shares with the grandparent.
    let parent = book.forked(22, 2, 1);
    let mut grandchild = parent.forked(23, 2, 1);
    grandchild.chart(&world, &kiosk, &tenant, &[90]);
    let unknown = broken(grandchild.push(&world, &kiosk, 3..=3).await);
    assert_eq!(unknown, (1, None), "the parent was never heard of: everything that is kept is asked for");
    assert_eq!(parent.probe(&world, &kiosk).await.unwrap().next_n, 3);
    assert_eq!(grandchild.push(&world, &kiosk, 3..=3).await.unwrap().next_n, 4);
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72, 90]);
}

#[tokio::test]
async fn a_fork_whose_parent_the_server_lost_asks_for_the_parents_entries_first() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70, 71]).await;
    // The device and this server, before it was put back, shared four.
    book.chart(&world, &kiosk, &tenant, &[72, 73]);
    let mut child = book.forked(20, 4, 0);
    child.chart(&world, &kiosk, &tenant, &[80]);
    assert_eq!(broken(child.push(&world, &kiosk, 5..=5).await), (3, None));
    book.push(&world, &kiosk, 3..=4).await.unwrap();
    assert_eq!(child.push(&world, &kiosk, 5..=5).await.unwrap().next_n, 6);
    // What is shared travels under its own name only.
    let mut mixed = book.forked(21, 3, 0);
    mixed.parent = Some(Fork { incarnation: book.incarnation, care: 4, audit: 0 });
    mixed.chart(&world, &kiosk, &tenant, &[99]);
    let refused = mixed.push(&world, &kiosk, 4..=4).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "first_n", .. })), "{refused:?}");
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72, 73, 80]);
}

#[tokio::test]
async fn no_incarnation_descends_from_itself() {
    let Scene { world, tenant, kiosk, book } = Scene::of(&[70]).await;
    let mut child = book.forked(20, 1, 0);
    child.chart(&world, &kiosk, &tenant, &[71]);
    child.parent = Some(Fork { incarnation: child.incarnation, care: 1, audit: 0 });
    let refused = child.push(&world, &kiosk, 2..=2).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "parent", .. })), "{refused:?}");
    // Two that name each other: the first is taken as it says, the second closes the ring.
    let (mut one, mut two) = (book.forked(21, 1, 0), book.forked(22, 1, 0));
    one.parent = Some(Fork { incarnation: two.incarnation, care: 0, audit: 0 });
    two.parent = Some(Fork { incarnation: one.incarnation, care: 0, audit: 0 });
    one.chart(&world, &kiosk, &tenant, &[72]);
    two.chart(&world, &kiosk, &tenant, &[73]);
    let gap = |to| With { gap: Some(Gap { from: 1, to }), ..With::default() };
    one.push_with(&world, &kiosk, 2..=2, gap(1)).await.unwrap();
    let refused = two.push_with(&world, &kiosk, 2..=2, gap(1)).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "parent", .. })), "{refused:?}");
    let too_far = Some(Fork { incarnation: book.incarnation, care: u64::MAX, audit: 0 });
    child.parent = too_far;
    let refused = child.push(&world, &kiosk, 2..=2).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "parent", .. })), "{refused:?}");
}

#[tokio::test]
async fn numbers_that_nobody_holds_any_more_become_a_gap_and_the_chain_goes_on() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70, 71]).await;
    // The server forgot 3 to 5 in a restore, and the device keeps them no longer.
    book.chart(&world, &kiosk, &tenant, &[72, 73, 74, 75, 76]);
    assert_eq!(broken(book.push(&world, &kiosk, 6..=7).await), (3, None));
    for (from, to) in [(2, 5), (4, 5)] {
        let with = With { gap: Some(Gap { from, to }), ..With::default() };
        assert_eq!(broken(book.push_with(&world, &kiosk, 6..=7, with).await), (3, None), "{from}..={to}");
    }
    for (from, to) in [(3, 4), (6, 5), (0, 5), (3, u64::MAX)] {
        let with = With { gap: Some(Gap { from, to }), ..With::default() };
        let refused = book.push_with(&world, &kiosk, 6..=7, with).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid { field: "gap", .. })),
            "{from}..={to} {refused:?}"
        );
    }
    assert_eq!(noticed(&world, &tenant, "chain_gap").await.len(), 0);
    let gap = || With { gap: Some(Gap { from: 3, to: 5 }), ..With::default() };
    let receipt = book.push_with(&world, &kiosk, 6..=7, gap()).await.unwrap();
    assert_eq!((receipt.next_n, verdicts(&receipt)), (8, vec![(6, 2, Verdict::Applied)]));
    // Sent again, because the receipt got lost, with its gap or without.
    let again = book.push_with(&world, &kiosk, 6..=7, gap()).await.unwrap();
    assert_eq!(verdicts(&again), [(6, 2, Verdict::Duplicate)]);
    book.push(&world, &kiosk, 6..=7).await.unwrap();
    book.chart(&world, &kiosk, &tenant, &[77]);
    book.push(&world, &kiosk, 8..=8).await.unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 75, 76, 77]);
    let noted = noticed(&world, &tenant, "chain_gap").await;
    assert_eq!(noted.len(), 1);
    assert_eq!(
        (&noted[0]["from"], &noted[0]["to"], &noted[0]["lane"]),
        (&json!(3), &json!(5), &json!("care"))
    );
}

#[tokio::test]
async fn a_device_whose_server_lost_everything_starts_with_a_gap() {
    let Scene { world, tenant, kiosk, .. } = Scene::of(&[70]).await;
    let other = world.kiosk(&tenant, 2).await;
    let mut book = Book::new(&other, Lane::Care);
    book.chart(&world, &other, &tenant, &[81, 82, 83]);
    let with = With { gap: Some(Gap { from: 1, to: 2 }), ..With::default() };
    assert_eq!(book.push_with(&world, &other, 3..=3, with).await.unwrap().next_n, 4);
    assert_eq!(pulses(&world, &tenant).await, [70, 83]);
    // So does a child whose parent's entries are lost: from where the server is, up to its own first.
    let mut parent = Book::new(&kiosk, Lane::Care);
    parent.chart(&world, &kiosk, &tenant, &[70, 71, 72, 73]);
    let mut child = parent.forked(20, 3, 0);
    child.chart(&world, &kiosk, &tenant, &[90, 91]);
    let with = || With { gap: Some(Gap { from: 2, to: 4 }), ..With::default() };
    assert_eq!(broken(child.push(&world, &kiosk, 5..=5).await), (2, None));
    assert_eq!(child.push_with(&world, &kiosk, 5..=5, with()).await.unwrap().next_n, 6);
    assert_eq!(pulses(&world, &tenant).await, [70, 83, 91]);
    let found = verify(&world.directory.path().join("server.db"), &key(), &world.ambient).unwrap();
    assert!(found.is_whole(), "{found:?}");
    let mut gaps: Vec<_> = found.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
    gaps.sort_unstable();
    assert_eq!(gaps, [(1, 2), (2, 4)]);
}

#[tokio::test]
async fn a_probe_says_where_the_server_is() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70, 71]).await;
    let image = book.clone();
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().next_n, 3);
    book.chart(&world, &kiosk, &tenant, &[72]);
    assert_eq!(broken(book.probe(&world, &kiosk).await), (3, None), "the server is behind");
    book.push(&world, &kiosk, 3..=3).await.unwrap();
    assert_eq!(broken(image.probe(&world, &kiosk).await), (4, Some(2)), "the device is what it was");
    let mut other = Book::new(&kiosk, Lane::Care);
    other.chart(&world, &kiosk, &tenant, &[99]);
    assert_eq!(broken(other.probe(&world, &kiosk).await), (4, Some(0)));
}

#[tokio::test]
async fn a_change_that_breaks_what_is_on_the_way_is_kept_unread_and_the_chain_goes_on() {
    use base64::Engine as _;
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70]).await;
    book.chart(&world, &kiosk, &tenant, &[71, 72, 73]);
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let hash = |n| PayloadHash::of(book.payload(n).as_bytes());
    let send = async |n: u64, bytes: Option<String>| {
        let with = With { opaque: Some(Opaque { sha256: hash(n), bytes }), ..With::default() };
        book.push_with(&world, &kiosk, n..=n, with).await
    };
    let too_long = "A".repeat(MAX_CHANGE_BYTES.div_ceil(3) * 4 + 4);
    for bad in ["not base64!".to_owned(), base64(b"other bytes"), too_long] {
        let refused = send(2, Some(bad)).await;
        assert!(matches!(refused, Err(StoreError::Invalid { field: "opaque", .. })), "{refused:?}");
    }
    for (n, bytes) in [(2, Some(base64(book.payload(2).as_bytes()))), (3, None)] {
        let receipt = send(n, bytes.clone()).await.unwrap();
        let why = receipt.verdicts[0].reason.as_ref().unwrap();
        assert_eq!((receipt.next_n, why.code), (n + 1, RejectionCode::Opaque));
        assert_eq!(verdicts(&send(n, bytes).await.unwrap()), [(n, 1, Verdict::Rejected)], "and again");
    }
    book.push(&world, &kiosk, 4..=4).await.unwrap();
    // Sent in the open after all: the server has it, as it took it.
    assert_eq!(verdicts(&book.push(&world, &kiosk, 2..=2).await.unwrap()), [(2, 1, Verdict::Rejected)]);
    assert_eq!(pulses(&world, &tenant).await, [70, 73]);
    let kept = world.store.read(AccessScope::Facility(tenant.facility), |tx| {
        tx.all::<(u64, bool)>("SELECT n, payload IS NOT NULL FROM changes ORDER BY n", params![])
    });
    assert_eq!(kept.await.unwrap(), [(1, true), (2, true), (3, false), (4, true)]);
}

#[tokio::test]
async fn a_rejected_change_that_was_settled_since_is_answered_as_it_stands() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70]).await;
    book.chart(&world, &kiosk, &tenant, &[1, 2]);
    let receipt = book.push(&world, &kiosk, 2..=3).await.unwrap();
    assert_eq!(verdicts(&receipt), [(2, 1, Verdict::Rejected), (3, 1, Verdict::Rejected)]);
    let settled = world.store.write(AccessScope::Facility(tenant.facility), |tx| {
        tx.execute("UPDATE changes SET settlement = 'applied', settled_seq = 77 WHERE n = 2", params![])?;
        tx.execute("UPDATE changes SET settlement = 'discarded' WHERE n = 3", params![]).map(drop)
    });
    settled.await.unwrap();
    let again = book.push(&world, &kiosk, 2..=3).await.unwrap();
    assert_eq!(verdicts(&again), [(2, 1, Verdict::Duplicate), (3, 1, Verdict::Rejected)]);
    assert_eq!((again.verdicts[0].seq, again.verdicts[0].reason.is_none()), (Some(77), true));
}

#[tokio::test]
async fn a_receipt_says_how_far_a_backup_holds_the_lane_across_forks() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70, 71, 72]).await;
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().durable_through, None);
    let marked = world.store.write(AccessScope::Facility(tenant.facility), |tx| {
        tx.execute("UPDATE chain_heads SET durable_n = 3", params![]).map(drop)
    });
    marked.await.unwrap();
    book.chart(&world, &kiosk, &tenant, &[73]);
    assert_eq!(book.push(&world, &kiosk, 4..=4).await.unwrap().durable_through, Some(3));
    let mut child = book.forked(20, 2, 0);
    child.chart(&world, &kiosk, &tenant, &[80]);
    let receipt = child.push(&world, &kiosk, 3..=3).await.unwrap();
    assert_eq!(receipt.durable_through, Some(2), "what it shares with its parent, and no more");
}

#[tokio::test]
async fn a_device_that_forks_without_end_waits_and_what_it_charted_is_taken_in_the_end() {
    let Scene { world, tenant, kiosk, book } = Scene::of(&[70]).await;
    let mut last = book;
    let mut begun = 1;
    let refused = loop {
        let mut child = last.forked(20 + begun, last.last(), 0);
        child.chart(&world, &kiosk, &tenant, &[70 + u32::from(begun)]);
        match child.push(&world, &kiosk, child.last()..=child.last()).await {
            Ok(_) => (last, begun) = (child, begun + 1),
            Err(fault) => break (child, fault),
        }
    };
    let (waits, fault) = refused;
    assert!(matches!(fault, StoreError::TooManyIncarnations { all: 24, today: 24 }), "{fault}");
    assert!(fault.to_string().contains("replace its card"), "{fault}");
    // The incarnation at hand goes on meanwhile, and others are none of this.
    last.chart(&world, &kiosk, &tenant, &[99]);
    last.push(&world, &kiosk, last.last()..=last.last()).await.unwrap();
    world.pass(24 * 3_600);
    let taken = waits.push(&world, &kiosk, waits.last()..=waits.last()).await.unwrap();
    assert_eq!(verdicts(&taken), [(waits.last(), 1, Verdict::Applied)]);
    let all = pulses(&world, &tenant).await;
    assert_eq!(all.len(), 26, "{all:?}");
}

#[tokio::test]
async fn a_device_has_a_thousand_incarnations_however_slowly_they_came() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70]).await;
    let device = kiosk.identity.device();
    let long_ago = move |tx: &Tx<'_>| {
        (1..1_000_u64).try_for_each(|n| {
            let hash = PayloadHash::of(&n.to_be_bytes());
            let id = IncarnationId::new(Timestamp::EPOCH, hash.as_bytes()[..10].try_into().unwrap());
            let sql = "INSERT INTO incarnations (device_id, id, first_seen_at) VALUES (?1, ?2, 0)";
            tx.execute(sql, params![device, id]).map(drop)
        })
    };
    world.store.write(AccessScope::Facility(tenant.facility), long_ago).await.unwrap();
    world.pass(2 * 24 * 3_600);
    let mut child = book.forked(20, 1, 0);
    child.chart(&world, &kiosk, &tenant, &[71]);
    let fault = child.push(&world, &kiosk, 2..=2).await.unwrap_err();
    assert!(matches!(fault, StoreError::TooManyIncarnations { all: 1_000, today: 0 }), "{fault}");
    book.chart(&world, &kiosk, &tenant, &[72]);
    book.push(&world, &kiosk, 2..=2).await.unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 72], "the incarnation at hand goes on");
}

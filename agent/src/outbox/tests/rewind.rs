//! A server that was restored from a backup, and what is kept for that.

use super::fork::{Server, drain};
use super::*;

const WEEK: i64 = 7 * 24 * 3600;

fn acknowledged(kiosk: &Kiosk, count: i64, server: &mut Server) -> Outbox {
    let outbox = kiosk.open();
    save_some(&outbox, count);
    drain(kiosk, outbox, server, false)
}

#[test]
fn what_is_kept_no_longer_is_a_gap_and_the_rest_arrives() {
    let kiosk = Kiosk::new();
    let mut server = Server::default();
    let outbox = acknowledged(&kiosk, 6, &mut server);
    let kept = server.clone();
    assert!(outbox.prune(u64::MAX, at(61 + WEEK)).unwrap() > 0);
    save(&outbox, &change(7, "new"), "new").unwrap();
    server.rewind(2);
    assert_eq!(outbox.resync(Lane::Care, 3).unwrap(), Resync::Resend { first_n: 6 });
    assert_eq!(outbox.counts().unwrap().care, 2);
    drop(drain(&kiosk, outbox, &mut server, true));
    assert!(server.gaps.contains(&(3, 5)), "{:?}", server.gaps);
    assert_eq!(server.notes().len(), kept.notes().len() - 3 + 1);
}

#[test]
fn rejected_entries_among_what_is_gone_are_sent_again_with_a_gap_on_either_side() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 9);
    let verdicts = vec![
        run(1, 3, Verdict::Applied, Some(1)),
        run(4, 1, Verdict::Rejected, None),
        run(5, 5, Verdict::Applied, Some(4)),
    ];
    outbox.settle(&care(&outbox).sent, &receipt(verdicts)).unwrap();
    assert_eq!(outbox.prune(100, at(61 + WEEK)).unwrap(), 7, "all but the rejected one and the last");
    assert_eq!(outbox.resync(Lane::Care, 1).unwrap(), Resync::Resend { first_n: 4 });
    assert_eq!(outbox.counts().unwrap().care, 2);
    let mut gaps = Vec::new();
    for _ in 0..2 {
        let batch = care(&outbox);
        let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        verify(&kiosk, &parsed);
        assert_eq!(parsed.changes.len(), 1, "a batch ends before a gap");
        gaps.push(parsed.gap.map(|gap| (gap.from, gap.to)));
        let first = batch.sent.first_n;
        outbox.settle(&batch.sent, &receipt(vec![run(first, 1, Verdict::Applied, Some(first))])).unwrap();
    }
    assert_eq!(gaps, [Some((1, 3)), Some((5, 8))]);
    save(&outbox, &change(20, "next"), "next").unwrap();
    let batch = care(&outbox);
    let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
    assert_eq!((parsed.first_n, parsed.gap), (10, None));
}

#[test]
fn a_backup_of_the_server_decides_what_is_kept() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 6);
    let sent = care(&outbox).sent;
    let durable = |durable| PushReceipt {
        durable_through: durable,
        ..receipt(vec![run(1, 6, Verdict::Applied, Some(1))])
    };
    outbox.settle(&sent, &durable(Some(3))).unwrap();
    assert_eq!(outbox.prune(100, at(61 + 52 * WEEK)).unwrap(), 3, "a year is no reason to forget the rest");
    assert_eq!(outbox.prune(100, at(61 + 52 * WEEK)).unwrap(), 0);
    assert_eq!(outbox.resync(Lane::Care, 4).unwrap(), Resync::Resend { first_n: 4 });
    let batch = care(&outbox);
    verify(&kiosk, &serde_json::from_slice(&batch.body).unwrap());
    let again =
        PushReceipt { durable_through: Some(6), ..receipt(vec![run(4, 3, Verdict::Applied, Some(4))]) };
    outbox.settle(&batch.sent, &again).unwrap();
    assert_eq!(outbox.prune(100, at(61)).unwrap(), 2, "at once, but for the last");
}

#[test]
fn a_full_outbox_gives_up_first_what_a_backup_holds() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 9);
    let receipt =
        PushReceipt { durable_through: Some(2), ..receipt(vec![run(1, 9, Verdict::Applied, Some(1))]) };
    outbox.settle(&care(&outbox).sent, &receipt).unwrap();
    assert_eq!(outbox.make_room(100).unwrap(), 2);
    assert_eq!(outbox.make_room(100).unwrap(), 3, "then the older half of the rest");
    assert_eq!(outbox.resync(Lane::Care, 1).unwrap(), Resync::Resend { first_n: 6 });
}

#[test]
fn an_acknowledged_entry_without_a_place_in_the_feed_does_not_blink_away() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 1);
    outbox.settle(&care(&outbox).sent, &receipt(vec![run(1, 1, Verdict::Duplicate, None)])).unwrap();
    assert_eq!(shown(&outbox, 1_000), [(1, Progress::Acknowledged)]);
}

#[test]
fn a_receipt_for_what_was_queued_again_meanwhile_is_not_believed() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 4);
    outbox.settle(&care(&outbox).sent, &receipt(vec![run(1, 4, Verdict::Applied, Some(1))])).unwrap();
    save(&outbox, &change(9, "late"), "late").unwrap();
    let late = care(&outbox).sent;
    outbox.resync(Lane::Care, 3).unwrap();
    let settled = outbox.settle(&late, &receipt(vec![run(5, 1, Verdict::Applied, Some(9))]));
    assert!(matches!(settled, Err(OutboxError::Receipt(_))));
    assert_eq!(outbox.counts().unwrap().care, 3);
}

//! What a push is charged, however it ends.

use std::time::Instant;

use carepost_protocol::change::{Lane, Link, PayloadHash};
use carepost_protocol::hex::hex;
use carepost_protocol::id::IncarnationId;
use http::Method;

use super::quarantine::{Kiosk, Process};
use super::*;
use crate::config::Sync;
use crate::quota::Kind;

/// The changes of a batch: as much room as a device has for what they might make.
const BATCH: u64 = 200;

/// A server that gives room for one batch at once, and a device of it.
async fn narrow() -> (Server, Kiosk) {
    let sync = Sync { max_documents: 4_000, entries_per_hour: 1, changes_per_hour: 1_000, ..Sync::default() };
    let server = Server::new().await.started_anew(Config { sync, ..Config::default() });
    let kiosk = Kiosk::new(&server).await;
    (server, kiosk)
}

/// Sends so many changes from that one on; none that makes a document.
async fn push(kiosk: &Kiosk, first_n: u64, count: u64) -> (StatusCode, Value) {
    let changes = vec![json!({}); usize::try_from(first_n - 1 + count).unwrap()];
    push_from(kiosk, first_n, &changes).await
}

/// Sends a lane's changes from that number on.
pub(super) async fn push_from(kiosk: &Kiosk, first_n: u64, changes: &[Value]) -> (StatusCode, Value) {
    let incarnation = IncarnationId::new(Timestamp::EPOCH, [1; 10]);
    let (before, sent) = changes.split_at(usize::try_from(first_n - 1).unwrap());
    let chain = |link: Link, (n, change): (u64, &Value)| {
        link.next(n, &PayloadHash::of(change.to_string().as_bytes()))
    };
    let previous = (1..).zip(before).fold(Link::genesis(kiosk.device, incarnation, Lane::Care), chain);
    let head = (first_n..).zip(sent).fold(previous, chain);
    let signature = kiosk.key.sign(&ring::rand::SystemRandom::new(), head.as_bytes()).unwrap();
    let batch = json!({"lane": "care", "incarnation": incarnation, "first_n": first_n, "previous": previous,
        "head": head, "signature": hex(signature.as_ref()), "changes": sent});
    kiosk.ask(Some(Process(1, 0)), Method::POST, "/api/v1/sync/push", &batch).await
}

#[tokio::test]
async fn a_push_that_is_dropped_midway_is_charged_for_what_was_committed_and_for_no_more() {
    let (server, kiosk) = narrow().await;
    let quotas = &server.app.quotas;
    let (mut committed, mut is_answered) = (0, false);
    // From here on its key is known, and a push waits for nothing before it is read.
    assert_eq!(push(&kiosk, 1, 0).await.0, StatusCode::OK);
    for step in 1.. {
        if let Some((status, answer)) = given_up(step, push(&kiosk, committed + 1, BATCH)).await {
            assert_eq!(status, StatusCode::OK, "after {step} steps: {answer}");
            is_answered = true;
        }
        // Who has both turns knows that no push is under way.
        let turns = [
            quotas.turn(kiosk.device, Kind::Push).await.unwrap(),
            quotas.turn(kiosk.device, Kind::Push).await.unwrap(),
        ];
        drop(turns);
        let (_, receipt) = push(&kiosk, 1, 0).await;
        committed = receipt["next_n"].as_u64().unwrap() - 1;
        let (changes, documents) = quotas.charged(kiosk.device);
        // A part of one is what time has covered meanwhile.
        let charged = (changes.div_ceil(BATCH) * BATCH, documents);
        assert_eq!(charged, (committed, 0), "dropped after {step} steps");
        if is_answered {
            break;
        }
    }
    assert!(committed > BATCH, "some were committed though nobody waited for the answer");
}

#[tokio::test]
async fn who_is_slowed_is_not_charged_for_it() {
    let (server, kiosk) = narrow().await;
    let (quotas, allowances) = (&server.app.quotas, server.app.config.sync.allowances());
    let mut other = quotas.charge(kiosk.device, allowances);
    other.reserve(BATCH, Instant::now()).unwrap();
    let (status, answer) = push(&kiosk, 1, BATCH).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{answer}");
    assert_eq!(quotas.charged(kiosk.device).0, 0, "nothing was taken, and it comes again");
}

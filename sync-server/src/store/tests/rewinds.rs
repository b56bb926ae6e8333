//! A server that was put back to an older state of itself, and devices that know better.

use carepost_protocol::wire::problem::Expects;
use carepost_protocol::wire::pull::{Cursor, SyncPosition};

use super::book::{Scene, noticed};
use super::*;

impl Scene {
    async fn head(&self) -> Cursor {
        self.world.store.facility(&self.tenant.facility).page(after(None, 2_000)).await.unwrap().end.cursor
    }

    fn sync_position(&self, cursor: Option<Cursor>, care: u64, audit: u64) -> SyncPosition {
        SyncPosition {
            epoch: cursor.map(|cursor| cursor.epoch),
            seq: cursor.map(|cursor| cursor.seq),
            incarnation: Some(self.book.incarnation),
            care: Some(care),
            audit: Some(audit),
            // As the server gave it when it was there.
            proof: cursor
                .map(|cursor| self.world.store.inner.prover.prove(self.tenant.facility.facility(), cursor)),
            ..SyncPosition::default()
        }
    }

    /// None when the device may be served; else what the server expects.
    async fn ask(&self, position: SyncPosition) -> Option<Option<Expects>> {
        let facility = self.world.store.facility(&self.tenant.facility);
        match facility.check_sync_position(&self.kiosk.identity, &position).await {
            Ok(()) => None,
            Err(StoreError::CursorRefused { expects }) => Some(expects),
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn raised(&self) -> usize {
        noticed(&self.world, &self.tenant, "server_rewound").await.len()
    }
}

#[tokio::test]
async fn a_device_that_knows_no_more_than_the_server_is_served() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    for (cursor, care) in [(None, 0), (None, 2), (Some(head), 2), (Some(Cursor { seq: 0, ..head }), 1)] {
        assert_eq!(scene.ask(scene.sync_position(cursor, care, 0)).await, None, "{cursor:?} {care}");
    }
    let silent = SyncPosition { epoch: Some(head.epoch), seq: Some(head.seq), ..SyncPosition::default() };
    assert_eq!(scene.ask(silent).await, None, "an agent that says nothing of its chains");
    // Just forked, nothing pushed yet: what it shares with its parent was acknowledged.
    let forked = SyncPosition {
        incarnation: Some(IncarnationId::new(scene.world.now(), [9; 10])),
        ..scene.sync_position(Some(head), 2, 0)
    };
    assert_eq!(scene.ask(forked).await, None);
    assert_eq!((scene.raised().await, scene.head().await), (0, head));
}

#[tokio::test]
async fn one_that_claims_more_of_its_own_chains_is_told_what_is_missing_and_costs_nobody_else_a_thing() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    let missing = Some(Expects { care: Some(3), audit: Some(1) });
    for cursor in [Some(head), None] {
        assert_eq!(scene.ask(scene.sync_position(cursor, 3, 4)).await, Some(missing));
        assert_eq!((scene.raised().await, scene.head().await), (0, head));
    }
    // Once it sends again what is missing, it stands where the server is.
    assert_eq!(scene.ask(scene.sync_position(Some(head), 2, 0)).await, None);
}

#[tokio::test]
async fn a_cursor_beyond_the_head_without_its_proof_is_refused_and_nothing_else() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    let beyond = Cursor { seq: head.seq + 1, ..head };
    for proof in [None, Some(String::new()), Some("AAAA".to_owned())] {
        let position = SyncPosition { proof, ..scene.sync_position(Some(beyond), 2, 0) };
        assert_eq!(scene.ask(position).await, Some(None));
    }
    // A proof is of one place of one facility, under one database's key.
    let other = scene.world.tenant("beta").await;
    let own = &scene.world.store.inner.prover;
    let stranger = crate::store::rules::sync_position::Prover::new(&DatabaseKey::new([8; 32]));
    let facility = scene.tenant.facility.facility();
    for proof in [
        own.prove(facility, head),
        own.prove(facility, Cursor { epoch: head.epoch + 1, ..beyond }),
        own.prove(other.facility.facility(), beyond),
        stranger.prove(facility, beyond),
    ] {
        let position = SyncPosition { proof: Some(proof), ..scene.sync_position(Some(beyond), 2, 0) };
        assert_eq!(scene.ask(position).await, Some(None));
    }
    assert_eq!((scene.raised().await, scene.head().await), (0, head));
    // As a page's end gives it.
    let end = scene.world.store.facility(&scene.tenant.facility).page(after(None, 2_000)).await.unwrap().end;
    assert_eq!(end.proof, Some(own.prove(facility, end.cursor)));
}

#[tokio::test]
async fn a_proven_cursor_beyond_the_head_raises_the_epoch_at_most_once_in_ten_minutes() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    let mut listener =
        scene.world.store.feeds().listen(scene.tenant.facility.facility(), scene.kiosk.identity.device());
    let beyond = |cursor: Cursor| Some(Cursor { seq: cursor.seq + 1, ..cursor });
    assert_eq!(scene.ask(scene.sync_position(beyond(head), 2, 0)).await, Some(None));
    let first = scene.head().await;
    assert!(first.epoch >= u64::try_from(START).unwrap() && first.seq == head.seq, "{first:?}");
    assert_eq!(listener.wake().await, crate::feed::Wake::Moved, "streams of the old epoch look again");
    // The same again, at once: it stands in the old epoch, and is only refused.
    scene.world.pass(599);
    assert_eq!(scene.ask(scene.sync_position(beyond(first), 2, 0)).await, Some(None), "refused, not raised");
    assert_eq!((scene.raised().await, scene.head().await), (1, first));
    scene.world.pass(1);
    assert_eq!(scene.ask(scene.sync_position(beyond(first), 2, 0)).await, Some(None));
    assert_eq!(scene.raised().await, 2);
    // A server whose clock was set back still raises: the last time is not in the future.
    scene.world.pass(-86_400 * 365);
    let second = scene.head().await;
    assert_eq!(scene.ask(scene.sync_position(beyond(second), 2, 0)).await, Some(None));
    assert_eq!((scene.raised().await, scene.head().await.epoch), (3, second.epoch + 1));
}

#[tokio::test]
async fn two_that_come_together_raise_once() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    let beyond = Cursor { seq: head.seq + 1, ..head };
    let ask = || scene.ask(scene.sync_position(Some(beyond), 9, 0));
    let missing = Some(Some(Expects { care: Some(3), audit: None }));
    let answers = futures_util::future::join_all((0..8).map(|_| ask())).await;
    assert!(answers.iter().all(|answer| *answer == missing), "{answers:?}");
    assert_eq!(scene.raised().await, 1);
}

#[tokio::test]
async fn a_child_is_held_against_what_it_shares_with_its_parent() {
    let scene = Scene::of(&[70, 71]).await;
    let head = scene.head().await;
    let child = scene.book.forked(20, 2, 0);
    child.probe(&scene.world, &scene.kiosk).await.unwrap();
    let position = |care| SyncPosition {
        incarnation: Some(child.incarnation),
        ..scene.sync_position(Some(head), care, 0)
    };
    assert_eq!(scene.ask(position(2)).await, None);
    assert_eq!(scene.ask(position(3)).await, Some(Some(Expects { care: Some(3), audit: None })));
}

//! Chains of devices, and hands that reach behind the server's back.

use carepost_protocol::wire::push::{Gap, Opaque};

use super::book::{Book, With};
use super::*;
use crate::store::engine::without_walls;

/// The prefix of base tables, written so that the search for it finds only who may name it.
const CHANGES: &str = concat!("ba", "se_changes");
const HEADS: &str = concat!("ba", "se_chain_heads");
const INCARNATIONS: &str = concat!("ba", "se_incarnations");
const GAPS: &str = concat!("ba", "se_gaps");

struct Scene {
    world: World,
    kiosk: Kiosk,
    child: Book,
}

/// A kiosk with both lanes, a fork after the third change, a gap in the child, and a change kept unread.
async fn scene() -> Scene {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let mut book = Book::new(&kiosk, Lane::Care);
    book.chart(&world, &kiosk, &tenant, &[70, 71, 72, 73, 74]);
    book.push(&world, &kiosk, 1..=5).await.unwrap();
    let mut events = Book::new(&kiosk, Lane::Audit);
    events.write(&event(&world));
    events.write(&event(&world));
    events.push(&world, &kiosk, 1..=2).await.unwrap();
    let mut child = book.forked(20, 3, 2);
    child.chart(&world, &kiosk, &tenant, &[80, 81, 82, 83]);
    child.push(&world, &kiosk, 4..=4).await.unwrap();
    let gap = With { gap: Some(Gap { from: 5, to: 5 }), ..With::default() };
    child.push_with(&world, &kiosk, 6..=6, gap).await.unwrap();
    let sha256 = PayloadHash::of(child.payload(7).as_bytes());
    let unread = With { opaque: Some(Opaque { sha256, bytes: None }), ..With::default() };
    child.push_with(&world, &kiosk, 7..=7, unread).await.unwrap();
    Scene { world, kiosk, child }
}

impl Scene {
    fn verify(&self) -> Verified {
        verify(&self.world.directory.path().join("server.db"), &key(), &self.world.ambient).unwrap()
    }

    /// Does something to the file that no statement of the server could.
    fn tamper(&self, sql: &str) {
        let bare = without_walls(&self.world.directory.path().join("server.db"), &key());
        bare.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        bare.execute_batch(sql).unwrap();
    }

    /// The faults, by lane, number and kind.
    fn faults(&self) -> Vec<(Lane, u64, What)> {
        let found = self.verify();
        assert!(found.faults.iter().all(|fault| fault.device == self.kiosk.identity.device()));
        found.faults.iter().map(|fault| (fault.lane, fault.n, fault.what)).collect()
    }

    fn is_child(&self) -> String {
        let id = hex(self.child.incarnation.as_bytes());
        format!("incarnation_id = x'{id}'")
    }
}

#[tokio::test]
async fn honest_chains_are_whole_with_forks_gaps_and_purged_payloads() {
    let scene = scene().await;
    let found = scene.verify();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.chains, found.entries, found.without_payload), (3, 10, 1));
    assert_eq!(found.gaps.len(), 1);
    assert_eq!((found.gaps[0].lane, found.gaps[0].from, found.gaps[0].to), (Lane::Care, 5, 5));
    scene.tamper(&format!("UPDATE {CHANGES} SET payload = NULL WHERE n <= 4"));
    let found = scene.verify();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!(found.without_payload, 8);
}

#[tokio::test]
async fn whoever_edits_drops_swaps_or_cuts_off_rows_is_found() {
    use What::{BelowFork, Head, Link, Missing, Payload, Signature, UnknownIncarnation};
    let own = format!("UPDATE {CHANGES} SET");
    let drop = format!("DELETE FROM {CHANGES} WHERE");
    let cases = |child: &str| {
        let parent = format!("lane = 'care' AND NOT {child}");
        let swap = "CASE n WHEN 1 THEN -2 ELSE -1 END";
        vec![
            (format!("{own} payload = x'7b7d' WHERE {parent} AND n = 2"), vec![(Lane::Care, 2, Payload)]),
            (
                format!("{own} payload_sha256 = zeroblob(32), payload = NULL WHERE {parent} AND n = 2"),
                vec![(Lane::Care, 2, Link)],
            ),
            (format!("{drop} {parent} AND n = 2"), vec![(Lane::Care, 3, Missing)]),
            (format!("{drop} lane = 'audit' AND n = 1"), vec![(Lane::Audit, 2, Missing)]),
            (
                format!(
                    "{own} n = {swap} WHERE {parent} AND n IN (1, 2); {own} n = -n WHERE {parent} AND n < 0"
                ),
                vec![(Lane::Care, 1, Link), (Lane::Care, 2, Link), (Lane::Care, 3, Link)],
            ),
            (format!("{drop} {parent} AND n = 5"), vec![(Lane::Care, 6, Head)]),
            (
                format!("{drop} {parent} AND n = 5; UPDATE {HEADS} SET next_n = 5 WHERE {parent}"),
                vec![(Lane::Care, 5, Head)],
            ),
            (
                format!(
                    "{drop} {parent} AND n = 5; UPDATE {HEADS} SET next_n = 5, head = (SELECT link FROM {CHANGES}
                        WHERE {parent} AND n = 4) WHERE {parent}"
                ),
                vec![(Lane::Care, 4, Signature)],
            ),
            (format!("DELETE FROM {HEADS} WHERE lane = 'audit'"), vec![(Lane::Audit, 3, Head)]),
            (format!("{drop} lane = 'audit'"), vec![(Lane::Audit, 3, Head)]),
            (format!("DELETE FROM {GAPS}"), vec![(Lane::Care, 6, Missing)]),
            (format!("UPDATE {GAPS} SET link = zeroblob(32)"), vec![(Lane::Care, 6, Link)]),
            (
                format!("UPDATE {INCARNATIONS} SET fork_care = 4 WHERE parent_id IS NOT NULL"),
                vec![(Lane::Care, 4, BelowFork)],
            ),
            (
                format!("UPDATE {INCARNATIONS} SET parent_id = NULL, fork_care = NULL, fork_audit = NULL"),
                vec![(Lane::Care, 4, Missing)],
            ),
            (
                format!("{own} n = -2 WHERE {parent} AND n = 2"),
                vec![(Lane::Care, 0, BelowFork), (Lane::Care, 3, Missing)],
            ),
            (
                format!("UPDATE {HEADS} SET next_n = -1 WHERE lane = 'audit'"),
                vec![(Lane::Audit, 3, Head)],
            ),
            (
                format!("UPDATE {HEADS} SET signed_n = -1 WHERE lane = 'audit'"),
                vec![(Lane::Audit, 0, Signature)],
            ),
            (
                format!("UPDATE {GAPS} SET from_n = -5, to_n = -5"),
                vec![(Lane::Care, 4, Missing), (Lane::Care, 6, Missing)],
            ),
            (
                format!("UPDATE {INCARNATIONS} SET fork_care = -1 WHERE parent_id IS NOT NULL"),
                vec![(Lane::Care, 4, Missing)],
            ),
            (
                format!("DELETE FROM {INCARNATIONS} WHERE parent_id IS NOT NULL"),
                vec![(Lane::Care, 4, UnknownIncarnation)],
            ),
        ]
    };
    let count = cases("1").len();
    for case in 0..count {
        let scene = scene().await;
        let (sql, faults) = cases(&scene.is_child()).swap_remove(case);
        scene.tamper(&sql);
        assert_eq!(scene.faults(), faults, "{sql}");
        assert!(!scene.verify().is_whole());
    }
}

#[tokio::test]
async fn a_chain_made_up_anew_is_not_signed_by_the_device() {
    let scene = scene().await;
    let (mut link, mut sql) =
        (Link::genesis(scene.kiosk.identity.device(), scene.kiosk.incarnation, Lane::Audit), String::new());
    for n in 1..=2_u64 {
        let hash = PayloadHash::of(b"{}");
        link = link.next(n, &hash);
        sql.push_str(&format!(
            "UPDATE {CHANGES} SET payload = x'7b7d', payload_sha256 = x'{hash}', link = x'{link}'
                WHERE lane = 'audit' AND n = {n};"
        ));
    }
    sql.push_str(&format!("UPDATE {HEADS} SET head = x'{link}' WHERE lane = 'audit';"));
    scene.tamper(&sql);
    assert_eq!(scene.faults(), [(Lane::Audit, 2, What::Signature)]);
}

//! A queue of a week offline: what is done for each receipt and each screen costs the same however long
//! it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Copies the first entry so often; for questions of cost the links between need not hold.
fn fill_up(outbox: &Outbox, count: i64) {
    let connection = outbox.lock();
    connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    for lane in [0, 1] {
        connection
            .execute(
                "WITH RECURSIVE more (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM more WHERE k < ?2)
                 INSERT INTO entries (lane, n, payload, hash, link, signature, state, made_at, patient, record)
                 SELECT lane, n + k, payload, hash, link, signature, state, made_at, patient, record
                 FROM entries, more WHERE lane = ?1 AND n = 1",
                params![lane, count],
            )
            .unwrap();
    }
}

/// How many steps SQLite's machine makes for it: the same on any machine, however busy.
fn cost(outbox: &Outbox, what: impl Fn()) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    outbox.lock().progress_handler(1, Some(count)).unwrap();
    what();
    outbox.lock().progress_handler(1, None::<fn() -> bool>).unwrap();
    steps.load(Ordering::Relaxed)
}

#[test]
fn counting_and_sending_cost_the_same_however_much_waits() {
    let outboxes = [100, 40_000].map(|count| {
        let kiosk = Kiosk::new();
        let outbox = kiosk.open();
        save_some(&outbox, 1);
        fill_up(&outbox, count);
        (kiosk, outbox, count)
    });
    let costs = outboxes.each_ref().map(|(_, outbox, count)| {
        assert_eq!(outbox.counts().unwrap().care, u64::try_from(count + 1).unwrap());
        let batch = || drop(outbox.batch(Lane::Care, Shape::Plain { changes: 10, bytes: 100_000 }).unwrap());
        let counts = || assert!(outbox.counts().unwrap().care > 0);
        let position = || assert_eq!(outbox.position().unwrap().care, None);
        [cost(outbox, counts), cost(outbox, batch), cost(outbox, position)]
    });
    for (few, many) in costs[0].iter().zip(&costs[1]) {
        // Four hundred times as much waits. A walk along it would show many times over.
        assert!(*few > 10 && *many < few * 2, "{costs:?}");
    }
}

#[test]
fn no_statement_of_every_receipt_walks_along_the_queue() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 1);
    let connection = outbox.lock();
    let plan = |sql: &str| -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    };
    for (sql, expected) in [
        ("SELECT min(n) FROM entries WHERE lane = 0 AND state = 0", "USING COVERING INDEX entries_queued"),
        ("SELECT 1 FROM entries WHERE state = 2 LIMIT 10000", "USING COVERING INDEX entries_wedged"),
        ("SELECT max(n) FROM entries WHERE lane = 0", "USING PRIMARY KEY (lane=?)"),
        (
            "SELECT n FROM entries WHERE lane = 0 AND n < 5 ORDER BY n DESC LIMIT 1",
            "USING PRIMARY KEY (lane=? AND n<?)",
        ),
        ("SELECT n FROM links WHERE lane = 0 AND n >= 5", "USING PRIMARY KEY (lane=? AND n>?)"),
    ] {
        let found = plan(sql);
        assert!(found.contains(expected), "{sql}: {found}");
    }
    assert!(plan("SELECT count(*) FROM entries WHERE made_at = 1").contains("SCAN"), "a walk shows as one");
}

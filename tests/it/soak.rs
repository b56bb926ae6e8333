//! A device that was offline for long sends everything, once, in bounded memory.

use std::time::Duration;

use anyhow::Result;
use carepost_tests::ledger::Tally;
use carepost_tests::soak::{Plan, Soak};

/// Fifty thousand entries: ten thousand care changes, each with four read-audit events.
const PLAN: Plan = Plan { care: 10_000, audit_each: 4, patience: Duration::from_secs(120) };
/// Whatever waits: an agent or a server that holds all of it at once needs more.
const MOST_MIB: f64 = 120.0;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_entries_drain_exactly_once_in_bounded_memory() -> Result<()> {
    let (mut soak, filled) = Soak::prepare(PLAN).await?;
    let took = soak.drain().await?;
    eprintln!("filled in {filled:?}; {took:?}");
    let (care, audit) = soak.tally().await?;
    assert_eq!(care.lost_doubled_strange(), (0, 0, 0));
    assert_eq!(audit.lost_doubled_strange(), (0, 0, 0));
    assert!(took.agent_peak < MOST_MIB && took.server_peak < MOST_MIB, "{took:?}");

    // Whoever expects more than was there is told.
    let mut more = Tally::new(PLAN.care + 1);
    (0..PLAN.care).chain([3]).for_each(|number| more.count(Some(number)));
    assert_eq!(more.lost_doubled_strange(), (1, 1, 0));
    Ok(())
}

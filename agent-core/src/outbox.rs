//! Receipts: what one does to the changes that were sent, and how long an acknowledged one is kept.
//!
//! Changes of a lane are numbered from 1 without gaps and sent in that order. The outbox file holds them
//! and how each stands; what is sent and not acknowledged simply still waits there, and the server
//! recognizes what it has.

use std::time::Duration;

use carepost_protocol::change::Verdict;
use carepost_protocol::wire::push::PushReceipt;

/// How long an acknowledged change is kept (a week), so that a server restored from a backup gets it again.
pub const KEPT_FOR: Duration = Duration::from_hours(168);

/// What becomes of a change that the server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server has it for good.
    Acknowledged,
    /// The server rejected it: it stays in the chain and needs a person.
    Rejected,
}

impl Fate {
    /// What a verdict means for the change.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Applied | Verdict::Duplicate | Verdict::Merged => Self::Acknowledged,
            Verdict::Rejected => Self::Rejected,
        }
    }
}

/// A receipt that does not match the batch. Nothing of it may be believed: send the batch again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// A run does not begin where the one before it ended.
    #[error("the receipt goes on with change {found} where {expected} was due: send the batch again")]
    Gap {
        /// The number that was due.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// It does not end with the batch.
    #[error("the receipt ends before change {found}, the batch before {expected}: send the batch again")]
    WrongEnd {
        /// The number after the batch.
        expected: u64,
        /// The number after the receipt's last run.
        found: u64,
    },
    /// It covers the batch, but the server claims to expect a number within or before it.
    #[error("the receipt covers the batch, but expects change {next_n} next: send from there")]
    NotCounted {
        /// What it expects.
        next_n: u64,
    },
    /// It names a change that does not wait here.
    #[error("the receipt names changes that do not wait here: send the batch again")]
    NotWaiting,
}

/// Checks that a receipt speaks of each change of the batch that began at `first_n` and had `count`
/// changes, once and in order.
///
/// # Errors
/// [`BadReceipt`] unless it does.
pub fn covers(first_n: u64, count: u64, receipt: &PushReceipt) -> Result<(), BadReceipt> {
    let end = first_n.saturating_add(count);
    let mut next = first_n;
    for run in &receipt.verdicts {
        if run.n != next || run.count == 0 {
            return Err(BadReceipt::Gap { expected: next, found: run.n });
        }
        next = run
            .n
            .checked_add(run.count)
            .filter(|next| *next <= end)
            .ok_or(BadReceipt::WrongEnd { expected: end, found: run.n.saturating_add(run.count) })?;
    }
    if next != end {
        return Err(BadReceipt::WrongEnd { expected: end, found: next });
    }
    if receipt.next_n < end {
        return Err(BadReceipt::NotCounted { next_n: receipt.next_n });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use carepost_protocol::time::Timestamp;
    use carepost_protocol::wire::push::VerdictRun;

    use super::*;

    fn run(n: u64, count: u64) -> VerdictRun {
        VerdictRun { n, count, verdict: Verdict::Applied, seq: Some(100 + n), reason: None }
    }

    /// A receipt for the batch of 5, 6, 7 and 8.
    fn check(verdicts: Vec<VerdictRun>, next_n: u64, expected: Result<(), BadReceipt>) {
        let receipt = PushReceipt { verdicts, next_n, durable_through: None, server_time: Timestamp::EPOCH };
        assert_eq!(covers(5, 4, &receipt), expected);
    }

    #[test]
    fn a_receipt_covers_exactly_what_was_sent() {
        check(vec![run(5, 4)], 9, Ok(()));
        check(vec![run(5, 1), run(6, 2), run(8, 1)], 30, Ok(()));
    }

    #[test]
    fn anything_else_is_not_believed() {
        check(vec![run(5, 1), run(7, 2)], 9, Err(BadReceipt::Gap { expected: 6, found: 7 }));
        check(vec![run(4, 5)], 9, Err(BadReceipt::Gap { expected: 5, found: 4 }));
        check(vec![run(5, 0), run(5, 4)], 9, Err(BadReceipt::Gap { expected: 5, found: 5 }));
        check(vec![run(5, 5)], 10, Err(BadReceipt::WrongEnd { expected: 9, found: 10 }));
        check(vec![run(5, u64::MAX)], 10, Err(BadReceipt::WrongEnd { expected: 9, found: u64::MAX }));
        check(vec![], 9, Err(BadReceipt::WrongEnd { expected: 9, found: 5 }));
        check(vec![run(5, 4)], 8, Err(BadReceipt::NotCounted { next_n: 8 }));
    }
}

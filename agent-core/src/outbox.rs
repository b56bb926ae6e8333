//! The life of a change: queued, on its way, then acknowledged or wedged; and when it may be forgotten.
//!
//! Changes of a lane are numbered from 1 without gaps and sent in that order. The outbox file holds
//! the changes; here are the rules by which it moves them.

use std::time::Duration;

use carepost_protocol::change::Verdict;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::Cursor;
use carepost_protocol::wire::push::{
    MAX_BYTES, MAX_CHANGE_BYTES, MAX_CHANGES, PushReceipt, Rejection, VerdictRun,
};

/// How long an acknowledged change is kept, so that a server restored from a backup gets it again.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Durable here and nowhere else.
    Queued,
    /// In the batch that is on its way. Not persisted: after a restart it is queued again, and the
    /// server recognizes what it has.
    InFlight,
    /// The server has it.
    Acked {
        /// Its place in the facility's feed, if it entered the feed.
        seq: Option<u64>,
        /// When the receipt came.
        at: Timestamp,
    },
    /// The server refused it: it stays in the chain and needs a person.
    Wedged,
}

/// A step that a change cannot take from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change that is {from:?} cannot be {step}: reread the outbox before sending again")]
pub struct WrongStep {
    /// Where it stands.
    pub from: Status,
    /// What was tried.
    pub step: &'static str,
}

impl Status {
    /// It goes out in a batch. An acknowledged or wedged change goes out again only when the server
    /// asks for its number ([`Self::rewound`]).
    ///
    /// # Errors
    /// [`WrongStep`] unless it is queued.
    pub fn sent(self) -> Result<Self, WrongStep> {
        match self {
            Self::Queued => Ok(Self::InFlight),
            Self::InFlight | Self::Acked { .. } | Self::Wedged => Err(WrongStep { from: self, step: "sent" }),
        }
    }

    /// No receipt came: it waits for the next batch.
    #[must_use]
    pub const fn returned(self) -> Self {
        match self {
            Self::InFlight | Self::Queued => Self::Queued,
            Self::Acked { .. } | Self::Wedged => self,
        }
    }

    /// The receipt came.
    ///
    /// # Errors
    /// [`WrongStep`] unless it was on its way.
    pub fn settled(self, outcome: &Outcome<'_>, at: Timestamp) -> Result<Self, WrongStep> {
        match (self, outcome) {
            (Self::InFlight, Outcome::Acked { seq }) => Ok(Self::Acked { seq: *seq, at }),
            (Self::InFlight, Outcome::Wedged(_)) => Ok(Self::Wedged),
            (Self::Queued | Self::Acked { .. } | Self::Wedged, _) => {
                Err(WrongStep { from: self, step: "settled" })
            }
        }
    }

    /// The server says that it has nothing from this change's number on: it is queued again.
    #[must_use]
    pub const fn rewound(self) -> Self {
        Self::Queued
    }

    /// Whether it may be removed: the device sees it in its mirror (or it never enters the feed), and
    /// a server restored from a backup would be a week old. A wedged change waits for a person.
    #[must_use]
    pub fn may_be_forgotten(self, cursor: Option<Cursor>, now: Timestamp) -> bool {
        match self {
            Self::Queued | Self::InFlight | Self::Wedged => false,
            Self::Acked { at, .. } => self.is_seen_at(cursor) && now.since(at) >= KEPT_FOR,
        }
    }

    /// Whether the mirror already shows it, so that it need not be laid over any more.
    #[must_use]
    pub fn is_seen_at(self, cursor: Option<Cursor>) -> bool {
        match self {
            Self::Queued | Self::InFlight | Self::Wedged => false,
            Self::Acked { seq, .. } => seq.is_none_or(|seq| cursor.is_some_and(|cursor| cursor.seq >= seq)),
        }
    }
}

/// How much one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// The most changes.
    pub changes: usize,
    /// The most bytes of changes.
    pub bytes: usize,
}

impl BatchBounds {
    /// So many changes, within what the protocol takes.
    #[must_use]
    pub fn of(changes: usize) -> Self {
        // The rest of the batch's bytes is its envelope and a comma after each change.
        Self { changes: changes.clamp(1, MAX_CHANGES), bytes: MAX_BYTES - 4096 - MAX_CHANGES }
    }

    /// How many of the waiting changes, with these sizes in bytes, make the next batch. The first one
    /// always goes, however large: nothing may wait behind it forever.
    pub fn fill(&self, sizes: impl IntoIterator<Item = usize>) -> usize {
        let mut bytes = 0_usize;
        let fits = |(i, size): &(usize, usize)| {
            bytes = bytes.saturating_add(*size);
            *i == 0 || bytes <= self.bytes
        };
        sizes.into_iter().take(self.changes).enumerate().take_while(fits).count()
    }
}

/// A change that is larger than the protocol carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this entry has {bytes} bytes, and {MAX_CHANGE_BYTES} can be sent: shorten its texts")]
pub struct TooLarge {
    /// How many bytes it has.
    pub bytes: usize,
}

/// Checks a change before it is made: one that could never travel is refused where it is made.
///
/// # Errors
/// [`TooLarge`].
pub const fn check_size(bytes: usize) -> Result<(), TooLarge> {
    if bytes <= MAX_CHANGE_BYTES { Ok(()) } else { Err(TooLarge { bytes }) }
}

/// What the receipt says of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The server has it.
    Acked {
        /// Its place in the facility's feed, if it entered the feed.
        seq: Option<u64>,
    },
    /// The server refused it; without a reason, it did not say why.
    Wedged(Option<&'a Rejection>),
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
}

/// What a receipt says of each change of the batch that began at `first_n` and had `count` changes, in
/// order.
///
/// # Errors
/// [`BadReceipt`] unless its runs cover exactly the batch.
pub fn outcomes(
    first_n: u64,
    count: u64,
    receipt: &PushReceipt,
) -> Result<impl Iterator<Item = (u64, Outcome<'_>)>, BadReceipt> {
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
    Ok(receipt.verdicts.iter().flat_map(outcomes_of_run))
}

fn outcomes_of_run(run: &VerdictRun) -> impl Iterator<Item = (u64, Outcome<'_>)> {
    (0..run.count).map(move |i| {
        let seq = run.seq.map(|seq| seq.saturating_add(i));
        let outcome = match run.verdict {
            Verdict::Applied | Verdict::Duplicate | Verdict::Merged => Outcome::Acked { seq },
            Verdict::Rejected => Outcome::Wedged(run.reason.as_ref()),
        };
        (run.n.saturating_add(i), outcome)
    })
}

#[cfg(test)]
mod tests {
    use carepost_protocol::wire::push::{RejectionCode, append};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn receipt(verdicts: Vec<VerdictRun>, next_n: u64) -> PushReceipt {
        PushReceipt { verdicts, next_n, durable_through: None, server_time: NOW }
    }

    fn run(n: u64, count: u64) -> VerdictRun {
        VerdictRun { n, count, verdict: Verdict::Applied, seq: Some(n + 100), reason: None }
    }

    fn check(verdicts: Vec<VerdictRun>, next_n: u64, expected: Result<usize, BadReceipt>) {
        let receipt = receipt(verdicts, next_n);
        assert_eq!(outcomes(5, 4, &receipt).map(Iterator::count), expected);
    }

    #[test]
    fn a_receipt_covers_its_batch_exactly_or_is_not_believed() {
        check(vec![run(5, 4)], 9, Ok(4));
        check(vec![run(5, 1), run(6, 3)], 12, Ok(4));
        check(vec![run(5, 1), run(7, 2)], 9, Err(BadReceipt::Gap { expected: 6, found: 7 }));
        check(vec![run(4, 5)], 9, Err(BadReceipt::Gap { expected: 5, found: 4 }));
        check(vec![run(5, 0), run(5, 4)], 9, Err(BadReceipt::Gap { expected: 5, found: 5 }));
        check(vec![run(5, 5)], 10, Err(BadReceipt::WrongEnd { expected: 9, found: 10 }));
        check(vec![run(5, u64::MAX)], 10, Err(BadReceipt::WrongEnd { expected: 9, found: u64::MAX }));
        check(vec![], 9, Err(BadReceipt::WrongEnd { expected: 9, found: 5 }));
        check(vec![run(5, 4)], 8, Err(BadReceipt::NotCounted { next_n: 8 }));
    }

    #[test]
    fn a_refused_change_wedges_alone() {
        let reason = Rejection { code: RejectionCode::Unsupported, detail: "no".into(), errors: vec![] };
        let mut runs = vec![];
        append(&mut runs, 1, Verdict::Applied, Some(50), None);
        append(&mut runs, 2, Verdict::Rejected, None, Some(reason.clone()));
        append(&mut runs, 3, Verdict::Merged, Some(51), None);
        let receipt = receipt(runs, 4);
        let told: Vec<_> = outcomes(1, 3, &receipt).unwrap().collect();
        assert_eq!(
            told,
            [
                (1, Outcome::Acked { seq: Some(50) }),
                (2, Outcome::Wedged(Some(&reason))),
                (3, Outcome::Acked { seq: Some(51) }),
            ]
        );
    }

    #[test]
    fn a_change_moves_one_way_and_only_a_receipt_takes_it_off_the_queue() {
        let acked = Outcome::Acked { seq: Some(9) };
        let flying = Status::Queued.sent().unwrap();
        assert_eq!(flying.returned(), Status::Queued);
        let settled = flying.settled(&acked, NOW).unwrap();
        assert_eq!(settled, Status::Acked { seq: Some(9), at: NOW });
        assert_eq!(settled.returned(), settled);
        assert_eq!(flying.settled(&Outcome::Wedged(None), NOW), Ok(Status::Wedged));
        assert!(settled.sent().is_err() && Status::Wedged.sent().is_err());
        assert!(Status::Queued.settled(&acked, NOW).is_err() && settled.settled(&acked, NOW).is_err());
    }

    #[test]
    fn a_change_is_forgotten_when_it_is_seen_and_a_week_old() {
        let week = NOW.after(KEPT_FOR);
        let cursor = |seq| Some(Cursor { epoch: 1, seq });
        let care = Status::Acked { seq: Some(9), at: NOW };
        assert!(care.may_be_forgotten(cursor(9), week));
        assert!(!care.may_be_forgotten(cursor(8), week) && !care.may_be_forgotten(None, week));
        assert!(!care.may_be_forgotten(cursor(9), week.plus_millis(-1)));
        assert!(care.is_seen_at(cursor(9)) && !care.is_seen_at(cursor(8)));
        assert!(Status::Acked { seq: None, at: NOW }.may_be_forgotten(None, week), "audit has no seq");
        for stays in [Status::Queued, Status::InFlight, Status::Wedged] {
            assert!(!stays.may_be_forgotten(cursor(u64::MAX), week));
        }
    }

    #[test]
    fn what_could_never_travel_is_refused_where_it_is_made() {
        assert_eq!(check_size(MAX_CHANGE_BYTES), Ok(()));
        assert_eq!(check_size(MAX_CHANGE_BYTES + 1), Err(TooLarge { bytes: MAX_CHANGE_BYTES + 1 }));
    }

    proptest! {
        #[test]
        fn a_batch_is_never_empty_and_stays_within_bounds(
            sizes in prop::collection::vec(1..=MAX_CHANGE_BYTES, 1..100), changes in 0..50_usize
        ) {
            let bounds = BatchBounds::of(changes);
            let count = bounds.fill(sizes.iter().copied());
            let bytes: usize = sizes[..count].iter().sum();
            prop_assert!(count >= 1 && count <= bounds.changes && bytes <= MAX_BYTES);
            let full = count == sizes.len() || count == bounds.changes || bytes + sizes[count] > bounds.bytes;
            prop_assert!(full, "a batch left room");
        }
    }
}

//! Authorization of changes: whether whoever made one might do so when it was made.

use std::collections::hash_map;
use std::time::Duration;

use carepost_protocol::change::Change;
use carepost_protocol::id::UserId;
use carepost_protocol::merge::AHEAD;
use carepost_protocol::role::{Action, Role, may};
use carepost_protocol::time::{ClockQuality, Timestamp};
use carepost_protocol::wire::push::RejectionCode;

use super::super::{Result, reject};
use super::{Flags, Judge, Judged};
use crate::store::Flag;
use crate::store::engine::{Tx, params};
use crate::store::row::{row, select};

/// No session is this long; one that seems so began by another clock than it went on by.
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 3600);

row! {
    /// A time in which a user held a role in this facility.
    pub(super) struct Term {
        role: Role,
        from: Timestamp = "from_at",
        until: Option<Timestamp> = "until_at",
    }
}

impl Judge {
    /// What to flag, when the actor had authority. It is that of the session when it began: a device that
    /// is offline honours it until the session ends, and so does the server. A clock that was not
    /// compared, or was set within the session, cannot say when, so having had authority ever has to do.
    pub(super) fn authority(&mut self, tx: &Tx<'_>, change: &Change, action: Action) -> Judged<Flags> {
        let terms = match self.terms.entry(change.actor) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => unknown.insert(terms_of(tx, change.actor)?),
        };
        let fit = || terms.iter().filter(|term| may(term.role, action));
        let held =
            |at: Timestamp| fit().any(|term| term.from <= at && term.until.is_none_or(|until| at < until));
        let (made, began) = (change.recorded_at, session_began(change));
        let then = held(made) || held(began);
        let knows_when = change.clock_quality == ClockQuality::Synced
            && began <= made
            && made.since(began) <= LONGEST_SESSION;
        let had = then || (!knows_when && fit().next().is_some());
        if !had {
            let detail = if action == Action::Chart {
                "whoever made it gave no care in this facility then; an administrator has to look"
            } else {
                "whoever made it might not change residents here then; an administrator has to look"
            };
            return Err(reject(RejectionCode::NotAuthorized, detail).into());
        }
        let mut flags = Flags::default();
        let clock = match change.clock_quality {
            _ if !held(self.now) => Some(Flag::AuthorityEndedSince),
            ClockQuality::Unset => Some(Flag::ClockUnset),
            ClockQuality::Synced | ClockQuality::Estimated if made > self.received.after(AHEAD) => {
                Some(Flag::ClockAhead)
            }
            ClockQuality::Synced | ClockQuality::Estimated => (!then).then_some(Flag::ClockUnsure),
        };
        flags.0.extend(clock);
        Ok(flags)
    }

    /// The roles that the actor had when a change was made or its session began, once its authority was asked
    /// for; all that they ever had where the clock cannot say when.
    pub(super) fn roles(&self, change: &Change) -> Vec<Role> {
        let terms = self.terms.get(&change.actor).map_or(&[][..], Vec::as_slice);
        let times = [change.recorded_at, session_began(change)];
        let held = |term: &&Term| {
            times.iter().any(|at| term.from <= *at && term.until.is_none_or(|until| *at < until))
        };
        let then: Vec<Role> = terms.iter().filter(held).map(|term| term.role).collect();
        if then.is_empty() { terms.iter().map(|term| term.role).collect() } else { then }
    }
}

/// When the session began: its id says so (UUIDv7), on the device's clock.
fn session_began(change: &Change) -> Timestamp {
    let [a, b, c, d, e, f, ..] = *change.session.as_bytes();
    let millis = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    Timestamp::from_millis(millis)
}

pub(super) fn terms_of(tx: &Tx<'_>, user: UserId) -> Result<Vec<Term>> {
    tx.all(select!(Term, "user_terms WHERE user_id = ?1"), params![user])
}

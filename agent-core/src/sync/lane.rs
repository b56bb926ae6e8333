//! One lane on its way up.

use std::time::Duration;

use carepost_protocol::change::Lane;
use carepost_protocol::wire::push::MAX_CHANGES;

use super::{Effects, FIRST_WAIT, Moment, Stuck, SyncEffect, Trouble, Wait, Wants, wait};
use crate::backoff::{Backoff, LONGEST};

/// How often the server may break over one change, while it does well otherwise, before a person is
/// told.
const STUCK_AFTER: u32 = 4;

#[derive(Debug)]
pub(super) struct LaneState {
    lane: Lane,
    waiting: bool,
    pub(super) in_flight: bool,
    /// Something was saved after the batch on its way was put together.
    saved_since: bool,
    limit: usize,
    wait: Option<Wait>,
    backoff: Backoff,
    /// How often in a row the server broke over this lane, and since when over one change alone.
    broke: u32,
    broke_alone_since: Option<(u32, Duration)>,
    /// Whether the chain was broken since the last receipt.
    rewound: bool,
    pub(super) stuck: Option<Stuck>,
}

impl LaneState {
    pub(super) const fn new(lane: Lane) -> Self {
        Self {
            lane,
            waiting: false,
            in_flight: false,
            saved_since: false,
            limit: MAX_CHANGES,
            wait: None,
            backoff: Backoff::new(FIRST_WAIT),
            broke: 0,
            broke_alone_since: None,
            rewound: false,
            stuck: None,
        }
    }

    pub(super) const fn saved(&mut self) {
        self.waiting = true;
        self.saved_since = true;
    }

    pub(super) fn push_if_due(&mut self, monotonic: Duration, out: &mut Effects) {
        let due = self.wait.is_none_or(|wait| wait.until <= monotonic);
        if self.waiting && !self.in_flight && due {
            self.in_flight = true;
            self.saved_since = false;
            self.wait = None;
            out.push(SyncEffect::Push { lane: self.lane, changes: self.limit });
        }
    }

    pub(super) fn wakes(&self) -> Option<Duration> {
        self.wait.filter(|_| self.waiting && !self.in_flight).map(|wait| wait.until)
    }

    pub(super) fn lift_wait(&mut self) {
        self.wait.take_if(|wait| wait.wants == Wants::Network);
    }

    pub(super) fn pushed(&mut self, left: u64) {
        // What was saved after the batch was made may not be in the count of what is left.
        let waiting = left > 0 || self.saved_since;
        let limit = self.limit.saturating_mul(2).min(MAX_CHANGES);
        *self = Self { waiting, limit, ..Self::new(self.lane) };
    }

    pub(super) const fn empty(&mut self) {
        self.in_flight = false;
        self.waiting = self.saved_since;
    }

    pub(super) fn failed(
        &mut self,
        sent: usize,
        trouble: Trouble,
        well: Option<Duration>,
        at: Moment,
        out: &mut Effects,
    ) {
        self.in_flight = false;
        match trouble {
            Trouble::Unreachable => self.wait = Some(wait(&mut self.backoff, None, Wants::Network, at)),
            Trouble::Busy { retry_after } => self.pause(retry_after, at),
            Trouble::NotAllowed | Trouble::Local => self.pause(None, at),
            Trouble::BatchRefused if sent > 1 => self.limit = sent / 2,
            Trouble::BatchRefused => self.get_stuck(Stuck::FirstChange, at, out),
            Trouble::ChainBroken { .. } if self.rewound => self.get_stuck(Stuck::OtherHistory, at, out),
            Trouble::ChainBroken { next_n } => {
                self.rewound = true;
                out.push(SyncEffect::Resend { lane: self.lane, next_n });
            }
            Trouble::Broken | Trouble::CursorRefused | Trouble::Revoked => {
                self.broke_over(sent, well, at, out);
            }
        }
    }

    fn pause(&mut self, least: Option<Duration>, at: Moment) {
        self.wait = Some(wait(&mut self.backoff, least, Wants::Patience, at));
    }

    /// Once may be chance; twice, and the batch is halved. A change is only blamed when the server did
    /// well at something else meanwhile: a server that is down is no reason to suspect anybody.
    fn broke_over(&mut self, sent: usize, well: Option<Duration>, at: Moment, out: &mut Effects) {
        self.broke = self.broke.saturating_add(1);
        if sent > 1 {
            if self.broke > 1 {
                self.limit = sent / 2;
            }
            return self.pause(None, at);
        }
        let (times, since) = self.broke_alone_since.unwrap_or((0, at.monotonic));
        let times = times.saturating_add(1);
        self.broke_alone_since = Some((times, since));
        let server_is_well = well.is_some_and(|well| well > since);
        if times >= STUCK_AFTER && server_is_well {
            self.get_stuck(Stuck::FirstChange, at, out);
        } else {
            self.pause(None, at);
        }
    }

    /// Says so once, and goes on trying now and then: the server may be mended.
    fn get_stuck(&mut self, why: Stuck, at: Moment, out: &mut Effects) {
        if self.stuck.replace(why) != Some(why) {
            out.push(SyncEffect::Stuck { lane: self.lane, why });
        }
        self.rewound = false;
        self.pause(Some(LONGEST), at);
    }
}

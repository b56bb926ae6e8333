//! A lane: one queue on its way up. It has one push in flight, and what fails waits, is halved, or goes unread.

use std::time::Duration;

use carepost_protocol::change::Lane;
use carepost_protocol::wire::push::MAX_CHANGES;

use super::{Effects, FIRST_WAIT, Load, Moment, Stuck, SyncEffect, Trouble, Wait, Wants, wait};
use crate::backoff::{Backoff, LONGEST};

/// How often the server may break over one change, while it does well otherwise, before that is sent in
/// another form; how often it may refuse it.
const BREAKS: u32 = 4;
const REFUSALS: u32 = 2;
/// How often a chain may be mended without a receipt in between.
const MENDS: u32 = 6;
/// A push that takes longer is to be followed by a smaller one.
const SLOW: Duration = Duration::from_secs(10);
/// One that is quicker, by a larger one.
const QUICK: Duration = Duration::from_secs(2);
/// After how many that were taken one may be as large again as the last that was refused.
const DARES: u32 = 16;

/// In which form the first change is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Unread,
    HashAlone,
}

#[derive(Debug)]
pub(super) struct LaneState {
    lane: Lane,
    pub(super) waiting: bool,
    pub(super) in_flight: bool,
    /// Something was saved after the batch on its way was put together.
    saved_since: bool,
    limit: usize,
    /// The size of the last batch that was refused, and how many were taken since.
    refused: Option<(usize, u32)>,
    form: Form,
    /// When the last push began.
    began: Duration,
    wait: Option<Wait>,
    backoff: Backoff,
    /// How often in a row the server broke over this lane, and since when over one change alone.
    broke: u32,
    broke_alone_since: Option<(u32, Duration)>,
    /// How often the chain was mended since the last receipt.
    mends: u32,
    /// The server has another history after this number.
    pub(super) diverged: Option<u64>,
    /// The server has nothing beyond what it acknowledged.
    level: bool,
    pub(super) stuck: Option<Stuck>,
    /// The last batch has to wait, because this device sent more than it may.
    pub(super) slowed: bool,
}

impl LaneState {
    pub(super) const fn new(lane: Lane) -> Self {
        Self {
            lane,
            waiting: false,
            in_flight: false,
            saved_since: false,
            limit: MAX_CHANGES,
            refused: None,
            form: Form::Plain,
            began: Duration::ZERO,
            wait: None,
            backoff: Backoff::new(FIRST_WAIT),
            broke: 0,
            broke_alone_since: None,
            mends: 0,
            diverged: None,
            level: false,
            stuck: None,
            slowed: false,
        }
    }

    pub(super) const fn saved(&mut self) {
        self.waiting = true;
        self.saved_since = true;
    }

    pub(super) fn push_if_due(&mut self, monotonic: Duration, out: &mut Effects) {
        if self.waiting && !self.in_flight && self.diverged.is_none() && self.is_due(monotonic) {
            self.in_flight = true;
            self.saved_since = false;
            self.level = false;
            self.wait = None;
            self.began = monotonic;
            let load = match self.form {
                Form::Plain => Load::Changes(self.limit),
                Form::Unread => Load::Opaque { with_bytes: true },
                Form::HashAlone => Load::Opaque { with_bytes: false },
            };
            out.push(SyncEffect::Push { lane: self.lane, load });
        }
    }

    /// Whether this lane holds up no fork: how far its histories are shared is known.
    pub(super) fn may_fork(&self, monotonic: Duration) -> bool {
        match self.diverged {
            Some(_) => self.is_due(monotonic),
            None => !self.in_flight && (self.level || !self.waiting),
        }
    }

    pub(super) fn wakes(&self, looked: Duration) -> Option<Duration> {
        let due = self.wait.map(|wait| wait.until);
        match self.diverged {
            None => due,
            // Once its own wait is over, it is the other lane that a fork waits for.
            Some(_) => due.filter(|due| *due > looked),
        }
    }

    pub(super) fn lift_wait(&mut self) {
        self.wait.take_if(|wait| wait.wants == Wants::Network);
    }

    pub(super) fn pushed(&mut self, left: u64, level: bool, at: Moment) {
        // What was saved after the batch was made may not be in the count of what is left.
        let waiting = left > 0 || self.saved_since;
        let took = at.monotonic.saturating_sub(self.began);
        let limit = if took > SLOW {
            (self.limit / 2).max(1)
        } else if took < QUICK {
            self.limit.saturating_mul(2).min(MAX_CHANGES)
        } else {
            self.limit
        };
        // One change that was to blame is out of the way; what was too large would be so again.
        let refused = self.refused.filter(|(_, taken)| self.form == Form::Plain && *taken < DARES);
        let refused = refused.map(|(size, taken)| (size, taken + 1));
        let limit = refused.map_or(limit, |(size, _)| limit.min((size / 2).max(1)));
        *self = Self { waiting, limit, refused, level, ..Self::new(self.lane) };
    }

    pub(super) const fn empty(&mut self) {
        self.in_flight = false;
        self.waiting = self.saved_since;
    }

    /// The server was rewound: it expects that number, and this lane has to be looked at again.
    pub(super) fn expected(&mut self, next_n: Option<u64>, out: &mut Effects) {
        if let Some(next_n) = next_n {
            out.push(SyncEffect::Resend { lane: self.lane, next_n });
            self.saved();
        }
    }

    pub(super) const fn forked(&mut self) {
        self.diverged = None;
        self.waiting = true;
        self.level = false;
    }

    pub(super) fn fork_failed(&mut self, at: Moment) {
        if self.diverged.is_some() {
            self.pause(None, at);
        }
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
            Trouble::Unreachable => {
                if sent > 1 && at.monotonic.saturating_sub(self.began) > SLOW {
                    // The line may be too slow for so much before it breaks.
                    self.limit = sent / 2;
                }
                self.wait = Some(wait(&mut self.backoff, None, Wants::Network, at));
            }
            Trouble::Busy { retry_after } => self.pause(retry_after, at),
            Trouble::OverQuota { retry_after } => {
                self.slowed = true;
                self.pause(retry_after, at);
            }
            Trouble::NotAllowed | Trouble::Held(_) | Trouble::Local => self.pause(None, at),
            Trouble::BatchRefused if sent > 1 => {
                self.limit = sent / 2;
                self.refused = Some((sent, 0));
            }
            Trouble::BatchRefused => self.broke_over_one(REFUSALS, well, at, out),
            Trouble::ChainBroken { .. } if self.mends >= MENDS => {
                self.get_stuck(Stuck::OtherHistory, at, out);
            }
            Trouble::ChainBroken { next_n, shared_n } => {
                self.mends += 1;
                match shared_n {
                    Some(shared) => self.diverged = Some(shared),
                    None => out.push(SyncEffect::Resend { lane: self.lane, next_n }),
                }
            }
            Trouble::Broken | Trouble::CursorRefused { .. } | Trouble::Revoked => {
                self.broke_over(sent, well, at, out);
            }
        }
    }

    fn is_due(&self, monotonic: Duration) -> bool {
        self.wait.is_none_or(|wait| wait.until <= monotonic)
    }

    fn pause(&mut self, least: Option<Duration>, at: Moment) {
        self.wait = Some(wait(&mut self.backoff, least, Wants::Patience, at));
    }

    /// Once may be chance; twice, and the batch is halved.
    fn broke_over(&mut self, sent: usize, well: Option<Duration>, at: Moment, out: &mut Effects) {
        self.broke = self.broke.saturating_add(1);
        if sent > 1 {
            if self.broke > 1 {
                self.limit = sent / 2;
            }
            return self.pause(None, at);
        }
        self.broke_over_one(BREAKS, well, at, out);
    }

    /// A change is only blamed when the server did well at something else meanwhile: a server that is down
    /// is no reason to suspect anybody.
    fn broke_over_one(&mut self, often: u32, well: Option<Duration>, at: Moment, out: &mut Effects) {
        let (times, since) = self.broke_alone_since.unwrap_or((0, at.monotonic));
        let times = times.saturating_add(1);
        self.broke_alone_since = Some((times, since));
        let server_is_well = well.is_some_and(|well| well > since);
        if times < often || !server_is_well {
            return self.pause(None, at);
        }
        self.broke_alone_since = None;
        match self.form {
            Form::Plain => self.form = Form::Unread,
            Form::Unread => self.form = Form::HashAlone,
            Form::HashAlone => {
                // When the server is mended it may take the change as it is.
                self.form = Form::Plain;
                return self.get_stuck(Stuck::FirstChange, at, out);
            }
        }
        self.backoff.reset();
    }

    /// Says so once, and goes on trying now and then: the server may be mended.
    fn get_stuck(&mut self, why: Stuck, at: Moment, out: &mut Effects) {
        if self.stuck.replace(why) != Some(why) {
            out.push(SyncEffect::Stuck { lane: self.lane, why });
        }
        self.mends = 0;
        self.pause(Some(LONGEST), at);
    }
}

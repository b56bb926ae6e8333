//! What happens in a story, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use carepost_agent::mirror::{Applied, MirrorError, Page as MirrorPage};
use carepost_agent::outbox::{Diverged, Forked, OutboxError, Resync, Sent, Shape};
use carepost_agent_core::sync::{Load, StreamId, SyncEffect, SyncEvent, Trouble};
use carepost_protocol::change::{Lane, Verdict};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS};
use carepost_protocol::wire::push::{MAX_BYTES, PushReceipt, VerdictRun};
use carepost_server::store::Page;

use super::device::Saves;
use super::queue::{Brought, Event, Open, Push};
use super::{Planted, Story, Weather};

/// Small pages, so that even a short feed has several.
const PAGE: usize = 5;
/// How long a push may go unanswered before its sender gives up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Story {
    pub(super) fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Switch { at, on } => self.switch(at, on),
            Event::Save { at } => self.save(at),
            Event::Weather { at } => {
                self.change_weather(at);
                Ok(())
            }
            Event::ServerRestarts => {
                self.note("the server restarts");
                self.queue.streams.clear();
                self.server.restart()
            }
            Event::DiskCopied { at } => {
                self.note(&format!("the disk of device {at} is copied"));
                self.devices[at].copy_disk()
            }
            Event::DiskRestored { at } => self.restore_disk(at),
            Event::CloneAppears { of } => self.clone_appears(of),
            Event::BackedUp => {
                self.note("the server is backed up");
                self.queue.streams.clear();
                self.server.back_up()
            }
            Event::Rewound => {
                let rewound = self.server.rewind()?;
                self.note(&format!("the server is restored from its backup: {rewound}"));
                self.queue.streams.clear();
                Ok(())
            }
            Event::Wake { at, boot, wake } => {
                let device = &self.devices[at];
                let due = device.live.as_ref().is_some_and(|live| device.boot == boot && live.wake == wake);
                if due { self.engine(at, SyncEvent::Tick) } else { Ok(()) }
            }
            Event::PushArrives { push, body, copy } => {
                self.push_arrives(push, &body, copy);
                Ok(())
            }
            Event::PushAnswered { push, answer } => self.push_answered(push, answer),
            Event::StreamAsked { at, boot, stream, cursor, position } => {
                let refetch = self.server.refetch(cursor, &position, PAGE);
                let arrives = self.now;
                *self.queue.stream(at) = Some(Open { boot, stream, cursor, refetch, begins: true, arrives });
                match self.server.sync_position(&self.devices[at].enrolled, &position) {
                    Ok(()) => {
                        self.send_down(at, Brought::Opened);
                        self.pump(at);
                    }
                    Err(trouble) => {
                        self.note(&format!("the server refuses a stream to device {at}: {trouble:?}"));
                        self.send_down(at, Brought::Failed(trouble));
                        *self.queue.stream(at) = None;
                    }
                }
                self.queue.add(self.now + keep_alive(), Event::StreamIdles { at, boot, stream });
                Ok(())
            }
            Event::StreamPumped { at, boot, stream } => {
                if self.queue.is_open(at, boot, stream) {
                    self.pump(at);
                }
                Ok(())
            }
            Event::StreamIdles { at, boot, stream } => {
                if self.queue.is_open(at, boot, stream) {
                    let time =
                        Timestamp::from_millis(super::facility::START + super::facility::millis(self.now));
                    self.send_down(at, Brought::KeepAlive(time));
                    self.queue.add(self.now + keep_alive(), Event::StreamIdles { at, boot, stream });
                }
                Ok(())
            }
            Event::StreamBrings { at, boot, stream, what } => self.stream_brings(at, boot, stream, what),
            Event::Applied { at, boot, page } => self.applied(at, boot, &page),
        }
    }

    fn switch(&mut self, at: usize, on: bool) -> Result<()> {
        let is_on = self.devices[at].live.is_some();
        if on == is_on || (self.quiet && !on) {
            return Ok(());
        }
        self.note(&format!("device {at} is switched {}", if on { "on" } else { "off" }));
        if !on {
            self.devices[at].stop();
            // A reset may or may not reach the server.
            if self.rng.bool() {
                *self.queue.stream(at) = None;
            }
            return Ok(());
        }
        self.devices[at].start(self.now)?;
        let cursor = self.devices[at].cursor()?;
        self.engine(at, SyncEvent::Started { cursor })?;
        for lane in Lane::ALL {
            if self.devices[at].waiting(lane)? > 0 {
                self.engine(at, SyncEvent::Saved(lane))?;
            }
        }
        Ok(())
    }

    fn restore_disk(&mut self, at: usize) -> Result<()> {
        let known = super::check::marks_of(self, self.devices[at].place())?;
        let restored = self.devices[at].restore_disk(|mark| known.contains_key(&mark))?;
        self.note(&format!("device {at} gets its old disk: {restored}"));
        if restored {
            self.queue.add(self.now + Duration::from_secs(1), Event::Switch { at, on: true });
        }
        Ok(())
    }

    fn clone_appears(&mut self, of: usize) -> Result<()> {
        let Some(clone) = self.devices[of].clone_from_copy() else { return Ok(()) };
        let at = self.devices.len();
        self.note(&format!("device {at} is a copy of device {of}"));
        self.devices[of].forked = true;
        self.devices.push(clone);
        self.weather.push(self.weather[of]);
        self.plan(at);
        Ok(())
    }

    fn save(&mut self, at: usize) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.queue.marks += 1;
        let (mark, resident) = (self.queue.marks, self.rng.usize(0..3));
        let what = match self.rng.u32(0..12) {
            0 => Saves::Nonsense,
            1 | 2 => Saves::Room,
            _ => Saves::Record,
        };
        if self.devices[at].save(self.now, mark, what, resident)? {
            self.note(&format!("device {at} saves {mark}: {what:?}"));
            for lane in Lane::ALL {
                self.engine(at, SyncEvent::Saved(lane))?;
            }
        }
        Ok(())
    }

    fn change_weather(&mut self, at: usize) {
        if self.quiet {
            return;
        }
        let cut = if self.rng.u32(0..3) == 0 { self.rng.u64(1..900_000) } else { 0 };
        self.weather[at] = Weather {
            lost: self.rng.u32(0..300),
            twice: self.rng.u32(0..300),
            slow: self.rng.u64(2..20_000),
            cut_until: self.now + Duration::from_millis(cut),
        };
        self.note(&format!("the network of device {at} is now {:?}", self.weather[at]));
    }

    /// How long a message between a device and the server takes; none when it does not arrive.
    fn way(&mut self, at: usize) -> Option<Duration> {
        let weather = self.weather[at];
        let lost = self.rng.u32(0..1000) < weather.lost;
        let way = Duration::from_millis(self.rng.u64(1..weather.slow.max(2)));
        (!lost && self.now >= weather.cut_until).then_some(way)
    }

    /// Gives a device's engine an event, does what it wants, and sees that it is woken.
    fn engine(&mut self, at: usize, event: SyncEvent) -> Result<()> {
        let random = self.rng.u64(..);
        for effect in self.devices[at].engine(event, self.now, random) {
            self.perform(at, effect)?;
        }
        let boot = self.devices[at].boot;
        if let Some(live) = &mut self.devices[at].live {
            live.wake += 1;
            if let Some(due) = live.engine.next_deadline() {
                self.queue.add(due.max(self.now), Event::Wake { at, boot, wake: live.wake });
            }
        }
        Ok(())
    }

    fn perform(&mut self, at: usize, effect: SyncEffect) -> Result<()> {
        let boot = self.devices[at].boot;
        match effect {
            SyncEffect::Push { lane, load } => self.push(at, lane, load)?,
            SyncEffect::Fork { care, audit } => self.fork(at, Diverged { care, audit })?,
            SyncEffect::Resend { lane, next_n } => {
                let Some(live) = &self.devices[at].live else { return Ok(()) };
                let outcome = live.outbox.resync(lane, next_n)?;
                self.note(&format!("device {at} is asked for {} {next_n} again", lane.name()));
                if let Resync::Diverged { ours, theirs } = outcome {
                    self.note(&format!("device {at} diverged: {ours}, {theirs}"));
                }
            }
            SyncEffect::Stuck { lane, why } => {
                self.note(&format!("device {at} is stuck in {}: {why:?}", lane.name()))
            }
            SyncEffect::OpenStream { stream, .. } => {
                let Some(live) = &mut self.devices[at].live else { return Ok(()) };
                live.stream = Some(stream);
                live.inbox.clear();
                let position = Box::new(live.sync_position()?);
                let cursor = position.epoch.zip(position.seq).map(|(epoch, seq)| Cursor { epoch, seq });
                self.note(&format!(
                    "device {at} asks for a stream from {cursor:?}, again {:?}",
                    position.refetch
                ));
                match self.way(at) {
                    Some(way) => {
                        let asked = Event::StreamAsked { at, boot, stream, cursor, position };
                        self.queue.add(self.now + way, asked);
                    }
                    None => {
                        let what = Brought::Failed(Trouble::Unreachable);
                        let given_up = Duration::from_millis(self.rng.u64(1..10_000));
                        self.queue.add(self.now + given_up, Event::StreamBrings { at, boot, stream, what });
                    }
                }
            }
            SyncEffect::CloseStream(stream) => {
                if self.queue.is_open(at, boot, stream) {
                    *self.queue.stream(at) = None;
                }
                if let Some(live) = &mut self.devices[at].live {
                    live.stream = None;
                    live.inbox.clear();
                }
            }
            SyncEffect::ApplyPage => {
                let disk = Duration::from_millis(self.rng.u64(0..500));
                let Some(live) = &mut self.devices[at].live else { return Ok(()) };
                if let Some(page) = live.inbox.pop_front() {
                    live.applying = true;
                    self.queue.add(self.now + disk, Event::Applied { at, boot, page: Box::new(page) });
                }
            }
            SyncEffect::Refetch => {
                self.note(&format!("device {at} fetches everything again"));
                let Some(live) = &self.devices[at].live else { return Ok(()) };
                live.mirror.refetch()?;
            }
            SyncEffect::Stop => self.note(&format!("device {at} is revoked")),
        }
        Ok(())
    }

    /// The server has another history: what it lacks is made anew.
    fn fork(&mut self, at: usize, shared: Diverged) -> Result<()> {
        let time = Timestamp::from_millis(super::facility::START + super::facility::millis(self.now));
        let Some(live) = &self.devices[at].live else { return Ok(()) };
        let made = match live.outbox.fork(shared, time)? {
            Forked::Asking => "looks for where they part".to_owned(),
            Forked::Anew { entries, .. } => format!("makes {entries} entries anew"),
        };
        self.note(&format!("device {at} has another history after {shared:?} and {made}"));
        self.engine(at, SyncEvent::Forked)
    }

    fn push(&mut self, at: usize, lane: Lane, load: Load) -> Result<()> {
        let boot = self.devices[at].boot;
        let Some(live) = &self.devices[at].live else { return Ok(()) };
        let shape = match load {
            Load::Changes(changes) => Shape::Plain { changes, bytes: MAX_BYTES },
            Load::Opaque { with_bytes } => Shape::Opaque { with_bytes },
        };
        let Some(batch) = live.outbox.batch(lane, shape)? else {
            return self.engine(at, SyncEvent::NothingToPush(lane));
        };
        let push = Push { at, boot, sent: batch.sent, sent_at: self.now };
        self.note(&format!(
            "device {at} pushes {} from {} in {}",
            batch.sent.count,
            batch.sent.first_n,
            lane.name()
        ));
        let body: Arc<[u8]> = batch.body.into();
        match self.way(at) {
            Some(way) => {
                if self.rng.u32(0..1000) < self.weather[at].twice {
                    let later = way + Duration::from_millis(self.rng.u64(1..60_000));
                    self.queue.add(
                        self.now + later,
                        Event::PushArrives { push, body: Arc::clone(&body), copy: true },
                    );
                }
                self.queue.add(self.now + way, Event::PushArrives { push, body, copy: false });
            }
            None => self.give_up(push),
        }
        Ok(())
    }

    fn give_up(&mut self, push: Push) {
        let given_up = Duration::from_millis(self.rng.u64(1..60_000)).min(PATIENCE);
        let too_good = self.planted == Some(Planted::TakesSilenceForAReceipt) && self.rng.u32(0..4) == 0;
        let answer = if too_good { Ok(invented(&push.sent)) } else { Err(Trouble::Unreachable) };
        self.queue.add(self.now + given_up, Event::PushAnswered { push, answer });
    }

    fn push_arrives(&mut self, push: Push, body: &[u8], copy: bool) {
        let too_early = self.planted == Some(Planted::AcknowledgesTooEarly) && self.rng.u32(0..6) == 0;
        let from = self.devices[push.at].enrolled.clone();
        let answer = if too_early { Ok(invented(&push.sent)) } else { self.server.push(&from, body) };
        let said = match &answer {
            Ok(receipt) => format!("takes up to {}", receipt.next_n),
            Err(trouble) => format!("refuses with {trouble:?}"),
        };
        self.note(&format!("the server {said} from device {}", push.at));
        for at in 0..self.devices.len() {
            if self.devices[at].place() == from.place {
                self.pump(at);
            }
        }
        if copy {
            return;
        }
        match self.way(push.at) {
            Some(way) => {
                self.queue.add(self.now + way, Event::PushAnswered { push, answer });
            }
            None => self.give_up(push),
        }
    }

    fn push_answered(&mut self, push: Push, answer: Result<PushReceipt, Trouble>) -> Result<()> {
        let Push { at, boot, sent, sent_at } = push;
        let device = &mut self.devices[at];
        let Some(live) = device.live.as_ref().filter(|_| device.boot == boot) else { return Ok(()) };
        let lane = sent.lane;
        let count = usize::try_from(sent.count)?;
        let event = match answer {
            Err(trouble) => SyncEvent::PushFailed { lane, sent: count, trouble },
            Ok(receipt) => match live.outbox.settle(&sent, &receipt) {
                Ok(()) => {
                    let level = receipt.next_n <= sent.first_n + sent.count;
                    device.hear(receipt.server_time, Some(sent_at), self.now);
                    SyncEvent::Pushed { lane, left: device.waiting(lane)?, level }
                }
                Err(OutboxError::Receipt(_)) => {
                    SyncEvent::PushFailed { lane, sent: count, trouble: Trouble::Broken }
                }
                Err(error) => return Err(error.into()),
            },
        };
        self.engine(at, event)
    }

    /// Sends a stream what its reader does not have yet.
    fn pump(&mut self, at: usize) {
        let place = self.devices[at].place();
        let Some(open) = self.queue.stream(at) else { return };
        let (boot, stream, cursor) = (open.boot, open.stream, open.cursor);
        let page = match &open.refetch {
            Some(asked) => self.server.refetch_page(place, asked.clone()),
            None => self.server.page(place, cursor, PAGE).map(|page| (page, 0)),
        };
        let (page, next) = match page {
            Ok(page) => page,
            Err(trouble) => {
                self.send_down(at, Brought::Failed(trouble));
                *self.queue.stream(at) = None;
                return;
            }
        };
        let Some(open) = self.queue.stream(at) else { return };
        let was_refetch = open.refetch.is_some();
        if let Some(asked) = &mut open.refetch {
            asked.after = next;
        }
        open.refetch.take_if(|_| !page.end.refetched.is_empty());
        let is_news = open.begins || was_refetch || cursor != Some(page.end.cursor);
        // What comes after a refetch is told even if nothing moved: it says what all should come to.
        open.begins = was_refetch;
        open.cursor = Some(page.end.cursor);
        let more = was_refetch || !page.end.reaches_head();
        if is_news {
            self.send_down(at, Brought::Page(Box::new(page)));
        }
        if more {
            let later = Duration::from_millis(self.rng.u64(1..50));
            self.queue.add(self.now + later, Event::StreamPumped { at, boot, stream });
        }
    }

    /// Puts something on a stream. What does not arrive breaks it: nothing is left out of a connection.
    fn send_down(&mut self, at: usize, what: Brought) {
        let way = self.way(at);
        let notices = self.rng.bool();
        let now = self.now;
        let Some(open) = self.queue.stream(at) else { return };
        let (boot, stream) = (open.boot, open.stream);
        match way {
            Some(way) => {
                open.arrives = open.arrives.max(now + way) + Duration::from_millis(1);
                let arrives = open.arrives;
                self.queue.add(arrives, Event::StreamBrings { at, boot, stream, what });
            }
            None => {
                let arrives = open.arrives.max(now) + Duration::from_millis(1);
                *self.queue.stream(at) = None;
                if notices {
                    let what = Brought::Failed(Trouble::Unreachable);
                    self.queue.add(arrives, Event::StreamBrings { at, boot, stream, what });
                }
            }
        }
    }

    /// A copy that was found to differ is asked for again, on a new stream.
    pub(super) fn fetch_what_differs(&mut self, at: usize) -> Result<()> {
        let Some(live) = self.devices[at].live.as_ref().filter(|live| live.mirror.wants_more()) else {
            return Ok(());
        };
        let cursor = live.mirror.cursor()?;
        self.differed += 1;
        self.note(&format!("the mirror of device {at} differs"));
        self.engine(at, SyncEvent::MirrorWantsMore { cursor })
    }

    fn stream_brings(&mut self, at: usize, boot: u64, stream: StreamId, what: Brought) -> Result<()> {
        let device = &mut self.devices[at];
        if device.boot != boot || device.live.as_ref().is_none_or(|live| live.stream != Some(stream)) {
            return Ok(());
        }
        match what {
            Brought::Opened => self.engine(at, SyncEvent::StreamOpened(stream)),
            Brought::KeepAlive(time) => {
                device.hear(time, None, self.now);
                self.engine(at, SyncEvent::KeepAlive(stream))
            }
            Brought::Failed(trouble) => self.engine(at, SyncEvent::StreamFailed(stream, trouble)),
            Brought::Page(page) => {
                let Some(live) = &mut device.live else { return Ok(()) };
                live.inbox.push_back(*page);
                if live.applying { Ok(()) } else { self.engine(at, SyncEvent::PageReceived(stream)) }
            }
        }
    }

    fn applied(&mut self, at: usize, boot: u64, page: &Page) -> Result<()> {
        let unseen = self.planted == Some(Planted::LosesPagesUnseen);
        let skips = (unseen || self.planted == Some(Planted::LosesPages)) && self.rng.u32(0..8) == 0;
        let device = &mut self.devices[at];
        let Some(live) = device.live.as_mut().filter(|_| device.boot == boot) else { return Ok(()) };
        let documents = if skips { MirrorPage::default() } else { pages_of(page)? };
        live.applying = false;
        let at_head = page.end.reaches_head();
        let mut end = page.end.clone();
        if unseen {
            end.digests.clear();
        }
        let event = match live.mirror.apply(&documents, &end) {
            Ok(Applied::Advanced) => SyncEvent::PageApplied { cursor: page.end.cursor, at_head },
            Ok(Applied::Behind) => {
                let cursor = live.mirror.cursor()?.unwrap_or(page.end.cursor);
                SyncEvent::PageApplied { cursor, at_head }
            }
            Err(MirrorError::OtherEpoch { .. }) => {
                live.mirror.refetch()?;
                SyncEvent::PageFailed
            }
            Err(MirrorError::BegunAnew) => SyncEvent::PageFailed,
            Err(error) => return Err(error.into()),
        };
        self.note(&format!("device {at} has applied up to {:?}", page.end.cursor));
        self.devices[at].hear(page.end.server_time, None, self.now);
        self.engine(at, event)?;
        self.fetch_what_differs(at)?;
        let Some(live) = &self.devices[at].live else { return Ok(()) };
        match (live.stream, live.inbox.is_empty(), live.applying) {
            (Some(stream), false, false) => self.engine(at, SyncEvent::PageReceived(stream)),
            _ => Ok(()),
        }
    }
}

/// The lines of a page as the device reads them: without the last, which is its end.
fn pages_of(page: &Page) -> Result<MirrorPage> {
    let text = std::str::from_utf8(&page.lines)?;
    let documents = text.trim_end().rsplit_once('\n').map_or("", |(documents, _)| documents);
    Ok(MirrorPage::from_lines(documents.as_bytes())?)
}

fn keep_alive() -> Duration {
    Duration::from_secs(KEEP_ALIVE_SECONDS)
}

/// A receipt that no server gave.
fn invented(sent: &Sent) -> PushReceipt {
    PushReceipt {
        verdicts: vec![VerdictRun {
            n: sent.first_n,
            count: sent.count,
            verdict: Verdict::Applied,
            seq: None,
            reason: None,
        }],
        next_n: sent.first_n + sent.count,
        durable_through: None,
        server_time: Timestamp::from_millis(super::facility::START),
    }
}

//! Readers that pcscd drives.
//!
//! Every call into pcscd can block for as long as pcscd hangs, so each waits on a thread of its own: one watches
//! for readers (`daemon`), each reader has one that reads its cards and one for its lights (`reader`), and the
//! coordinator here never calls pcscd. It hears from the others, notices who has fallen silent, and says what
//! state the readers are in. A stuck card holds up its own reader only.
//!
//! pcscd that was restarted needs new contexts: threads whose calls fail end, and are started afresh.

mod card;
mod daemon;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use carepost_protocol::wire::heartbeat::ReaderState;
use tokio::sync::mpsc::Sender;

use super::{Admission, BadgeEvent, Feedback, Source, Stopped, Unreadable};
use reader::{Lights, Pulse, Worker};

/// Whether somebody listens where pcscd should: one that then does not speak refuses whoever asks.
pub(crate) fn is_there() -> bool {
    let socket = std::env::var_os("PCSCLITE_CSOCK_NAME").map_or_else(|| SOCKET.into(), PathBuf::from);
    UnixStream::connect(socket).is_ok()
}

/// All readers of this machine, as they come and go.
pub struct PcscSource {
    stop: Arc<AtomicBool>,
    lights: Arc<Mutex<BTreeMap<String, Lights>>>,
    /// Closed when the last thread has returned.
    ended: mpsc::Receiver<()>,
}

impl PcscSource {
    /// Starts watching. pcscd may be absent, and may come later: the first event says.
    pub fn start(events: Sender<BadgeEvent>, admission: Admission) -> io::Result<PcscSource> {
        let stop = Arc::new(AtomicBool::new(false));
        let lights = Arc::new(Mutex::new(BTreeMap::new()));
        let (alive, ended) = mpsc::sync_channel(0);
        let (notes, heard) = mpsc::sync_channel(NOTES);
        let crew = Crew { events, notes, stop: Arc::clone(&stop), alive };
        daemon::watch(crew.clone())?;
        let coordinator = Coordinator {
            crew,
            admission,
            lights: Arc::clone(&lights),
            workers: BTreeMap::new(),
            hired: 0,
            refused: BTreeSet::new(),
            daemon: Daemon::Unheard { since: Instant::now() },
            list_is_old: false,
            told: None,
        };
        thread::Builder::new().name("badge".to_owned()).spawn(move || coordinator.run(&heard))?;
        Ok(PcscSource { stop, lights, ended })
    }
}

impl Source for PcscSource {
    fn signal(&self, reader: &str, feedback: Feedback) {
        if let Some(lights) = self.lights.lock().unwrap_or_else(PoisonError::into_inner).get(reader) {
            lights.show(feedback);
        }
    }

    fn stop(self: Box<Self>) -> Stopped {
        self.stop.store(true, Ordering::Release);
        match self.ended.recv_timeout(STOP_PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Stopped::Cleanly,
            Err(RecvTimeoutError::Timeout) => Stopped::Stuck,
        }
    }
}

impl Drop for PcscSource {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Where pcscd listens, unless libpcsclite is told otherwise.
const SOCKET: &str = "/run/pcscd/pcscd.comm";
/// The longest that one call into pcscd waits: how long stopping and noticing a lost service take at most.
const WAIT: Duration = Duration::from_secs(1);
/// How often the coordinator looks who has fallen silent.
const ROUND: Duration = Duration::from_millis(500);
/// A service that has not been heard of for so long hangs.
const SERVICE_PATIENCE: Duration = Duration::from_secs(4);
/// A card that has not answered for so long is stuck. Cards take milliseconds.
const CARD_PATIENCE: Duration = Duration::from_secs(2);
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How many notes may wait for the coordinator, which only ever waits for the agent's loop.
const NOTES: usize = 64;

/// What every thread of the source holds.
#[derive(Clone)]
struct Crew {
    events: Sender<BadgeEvent>,
    notes: SyncSender<Note>,
    stop: Arc<AtomicBool>,
    /// Dropped with the thread: how [`Source::stop`] knows that all have returned.
    #[allow(dead_code, reason = "held, not used")]
    alive: SyncSender<()>,
}

impl Crew {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits for room. Fails when the agent no longer listens.
    fn tell(&self, event: BadgeEvent) -> Result<(), Gone> {
        self.events.blocking_send(event).map_err(|_| Gone)
    }

    fn note(&self, note: Note) -> Result<(), Gone> {
        self.notes.send(note).map_err(|_| Gone)
    }
}

/// Nobody listens any more: the thread ends.
struct Gone;

/// What the coordinator hears.
enum Note {
    /// The service answers, with these readers.
    Readers(Vec<CString>),
    /// The service does not answer, or no longer.
    ServiceDown,
    /// A reader works, or does not.
    Reader { worker: u64, usable: bool },
    /// A reader's thread has ended.
    Ended { worker: u64 },
}

enum Daemon {
    Unheard { since: Instant },
    Up { heard: Instant },
    Down,
}

struct Coordinator {
    crew: Crew,
    admission: Admission,
    lights: Arc<Mutex<BTreeMap<String, Lights>>>,
    workers: BTreeMap<u64, Worker>,
    hired: u64,
    /// Virtual readers that were ignored, so that each is logged once.
    refused: BTreeSet<String>,
    daemon: Daemon,
    list_is_old: bool,
    told: Option<ReaderState>,
}

impl Coordinator {
    fn run(mut self, heard: &mpsc::Receiver<Note>) {
        while !self.crew.stopping() {
            if let Ok(note) = heard.recv_timeout(ROUND) {
                self.hear(note);
            }
            // All that waits, before anybody is taken for silent: this thread may have been held up itself.
            while let Ok(note) = heard.try_recv() {
                self.hear(note);
            }
            if self.look_around().and_then(|()| self.report()).is_err() {
                // Nobody listens: the others find out at their next event, or here and now.
                self.crew.stop.store(true, Ordering::Release);
            }
        }
        self.lights.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Readers(readers) => {
                self.daemon = Daemon::Up { heard: Instant::now() };
                self.list_is_old = false;
                self.staff(&readers);
            }
            Note::ServiceDown => self.daemon = Daemon::Down,
            Note::Reader { worker, usable } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.usable = Some(usable);
                }
            }
            Note::Ended { worker } => {
                // Its reader was unplugged or the service died: the next list, or its absence, tells which.
                self.list_is_old = true;
                if let Some(worker) = self.workers.remove(&worker) {
                    self.lights.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker.reader);
                }
            }
        }
    }

    /// One worker for each reader in the list; those whose reader has gone end by themselves.
    fn staff(&mut self, readers: &[CString]) {
        for reader in readers {
            let name = reader.to_string_lossy();
            let staffed = self.workers.values().any(|worker| worker.reader == name);
            if staffed || self.workers.len() >= MAX_READERS || self.refused.contains(name.as_ref()) {
                continue;
            }
            if !self.admission.admits(&name) {
                tracing::warn!(reader = %name, "a virtual badge reader is ignored outside demo mode");
                self.refused.insert(name.into_owned());
                continue;
            }
            self.hired += 1;
            match Worker::hire(self.hired, reader, self.crew.clone()) {
                Ok((worker, lights)) => {
                    self.lights
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(name.into_owned(), lights);
                    self.workers.insert(self.hired, worker);
                }
                Err(error) => tracing::error!(%error, "no thread for a badge reader; it is tried again"),
            }
        }
    }

    /// Notices who has fallen silent.
    fn look_around(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        match self.daemon {
            Daemon::Unheard { since: heard } | Daemon::Up { heard } => {
                if now.duration_since(heard) > SERVICE_PATIENCE {
                    self.daemon = Daemon::Down;
                }
            }
            Daemon::Down => {}
        }
        for worker in self.workers.values_mut() {
            if worker.usable.is_none() && now.duration_since(worker.hired) > CARD_PATIENCE {
                worker.usable = Some(false);
            }
            match worker.pulse() {
                Pulse::Reading { since } if now.duration_since(since) > CARD_PATIENCE => {
                    if worker.usable == Some(true) {
                        worker.usable = Some(false);
                        let reader = worker.reader.clone();
                        self.crew.tell(BadgeEvent::Unreadable { reader, why: Unreadable::Hung })?;
                    }
                }
                Pulse::Reading { .. } | Pulse::Waiting => {}
            }
        }
        Ok(())
    }

    fn report(&mut self) -> Result<(), Gone> {
        let Some(state) = self.state() else { return Ok(()) };
        if self.told == Some(state) {
            return Ok(());
        }
        self.told = Some(state);
        self.crew.tell(BadgeEvent::Reader(state))
    }

    /// None while it is not known: a reader that was just found has not said whether it works, or one has gone
    /// and it is not known why.
    fn state(&self) -> Option<ReaderState> {
        let works = |usable| self.workers.values().any(|worker| worker.usable == usable);
        match self.daemon {
            Daemon::Unheard { .. } => None,
            Daemon::Down => Some(ReaderState::ServiceDown),
            Daemon::Up { .. } if works(None) || self.list_is_old => None,
            Daemon::Up { .. } if works(Some(true)) => Some(ReaderState::Ready),
            Daemon::Up { .. } => Some(ReaderState::Missing),
        }
    }
}

/// pcscd itself serves no more (`PCSCLITE_MAX_READERS_CONTEXTS`).
const MAX_READERS: usize = 16;

fn display(reader: &CStr) -> String {
    reader.to_string_lossy().into_owned()
}

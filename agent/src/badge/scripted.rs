//! Badges tapped on Unix sockets, for demos and tests: a reader for each socket.
//!
//! It obeys the same lines as the virtual reader, so that `carepost-tap` works on both: `present UID`, `remove`,
//! `unplug`, `plug`, `signals`. The configuration accepts it in demo mode only.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use carepost_protocol::badge::Uid;
use carepost_protocol::wire::heartbeat::ReaderState;
use tokio::sync::mpsc::Sender;

use super::{BadgeEvent, Feedback, Source, Stopped, signal};

/// Readers made of sockets.
pub struct ScriptedSource {
    shared: Arc<Shared>,
    sockets: Vec<PathBuf>,
    /// Closed when the last thread has returned.
    ended: mpsc::Receiver<()>,
}

impl ScriptedSource {
    /// Listens on a socket for each reader; its path is its name. Only this user may tap.
    pub fn start(sockets: &[PathBuf], events: Sender<BadgeEvent>) -> io::Result<ScriptedSource> {
        let readers = sockets.iter().map(|socket| Reader::named(socket)).collect();
        let shared = Arc::new(Shared { readers: Mutex::new(readers), events, stop: AtomicBool::new(false) });
        let (alive, ended) = mpsc::sync_channel(0);
        // Only its own sockets are removed when it ends.
        let mut source = ScriptedSource { shared, sockets: Vec::new(), ended };
        for (index, socket) in sockets.iter().enumerate() {
            let listener = listen(socket)?;
            source.sockets.push(socket.clone());
            let shared = Arc::clone(&source.shared);
            let alive = alive.clone();
            thread::Builder::new()
                .name("badge-script".to_owned())
                .spawn(move || serve(&listener, &shared, index, &alive))?;
        }
        Ok(source)
    }

    fn end(&self) {
        self.shared.stop.store(true, Ordering::Release);
        for socket in &self.sockets {
            // Wakes its thread from waiting for a connection.
            let _woken = UnixStream::connect(socket);
        }
    }
}

impl Source for ScriptedSource {
    fn signal(&self, reader: &str, feedback: Feedback) {
        if let Some(reader) = self.shared.readers().iter_mut().find(|known| known.name == reader) {
            if reader.signals.len() == SIGNALS {
                reader.signals.remove(0);
            }
            reader.signals.push(feedback);
        }
    }

    fn stop(self: Box<Self>) -> Stopped {
        self.end();
        match self.ended.recv_timeout(STOP_PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Stopped::Cleanly,
            Err(RecvTimeoutError::Timeout) => Stopped::Stuck,
        }
    }
}

impl Drop for ScriptedSource {
    fn drop(&mut self) {
        self.end();
        for socket in &self.sockets {
            let _gone = std::fs::remove_file(socket);
        }
    }
}

const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How long a client may take over its one line.
const LINE_PATIENCE: Duration = Duration::from_secs(1);
const LINE_BYTES: u64 = 256;
/// How many signals are remembered for each reader.
const SIGNALS: usize = 64;

struct Shared {
    readers: Mutex<Vec<Reader>>,
    events: Sender<BadgeEvent>,
    stop: AtomicBool,
}

struct Reader {
    name: String,
    card: bool,
    unplugged: bool,
    signals: Vec<Feedback>,
}

impl Reader {
    fn named(socket: &Path) -> Reader {
        Reader { name: socket.display().to_string(), card: false, unplugged: false, signals: Vec::new() }
    }
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready while one reader is plugged in.
    fn state(&self) -> ReaderState {
        if self.readers().iter().any(|reader| !reader.unplugged) {
            ReaderState::Ready
        } else {
            ReaderState::Missing
        }
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    // A socket that nobody answers on is left from a crash; one that answers is another agent's.
    if UnixStream::connect(socket).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn serve(listener: &UnixListener, shared: &Shared, index: usize, _alive: &SyncSender<()>) {
    // The first reader speaks for all: one event when all listen.
    if index == 0 && shared.events.blocking_send(BadgeEvent::Reader(shared.state())).is_err() {
        return;
    }
    for connection in listener.incoming() {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        if let Ok(connection) = connection {
            // A client that went away concerns nobody else.
            let _outcome = obey(&connection, shared, index);
        }
    }
}

fn obey(mut connection: &UnixStream, shared: &Shared, index: usize) -> io::Result<()> {
    connection.set_read_timeout(Some(LINE_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(connection.take(LINE_BYTES)).read_line(&mut line)?;
    let reply = match answer(&line, shared, index) {
        Ok(events) => {
            for event in events {
                if shared.events.blocking_send(event).is_err() {
                    return connection.write_all(b"error the agent is stopping\n");
                }
            }
            let signals = if line.trim() == "signals" { signals(shared, index) } else { String::new() };
            format!("ok\n{signals}")
        }
        Err(refusal) => format!("error {refusal}\n"),
    };
    connection.write_all(reply.as_bytes())
}

/// What a line makes happen.
fn answer(line: &str, shared: &Shared, index: usize) -> Result<Vec<BadgeEvent>, &'static str> {
    let before = shared.state();
    let mut readers = shared.readers();
    let reader = readers.get_mut(index).ok_or("there is no such reader")?;
    let mut events = Vec::new();
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("present"), Some(_)) if reader.unplugged => {}
        (Some("present"), Some(uid)) => {
            let uid = Uid::from_hex(uid).map_err(|_| "a UID is 4 to 10 bytes in hex")?;
            lift(reader, &mut events);
            reader.card = true;
            events.push(BadgeEvent::Presented { reader: reader.name.clone(), uid, atr: Vec::new() });
        }
        (Some("remove"), None) => lift(reader, &mut events),
        (Some("unplug"), None) => {
            lift(reader, &mut events);
            reader.unplugged = true;
        }
        (Some("plug"), None) => reader.unplugged = false,
        (Some("signals"), None) => {}
        _ => return Err("say present UID, remove, unplug, plug or signals"),
    }
    drop(readers);
    let after = shared.state();
    if after != before {
        events.push(BadgeEvent::Reader(after));
    }
    Ok(events)
}

fn lift(reader: &mut Reader, events: &mut Vec<BadgeEvent>) {
    if std::mem::replace(&mut reader.card, false) {
        events.push(BadgeEvent::Removed { reader: reader.name.clone() });
    }
}

/// The commands that a real reader would have received, a line of hex each.
fn signals(shared: &Shared, index: usize) -> String {
    let readers = shared.readers();
    let shown = readers.get(index).map(|reader| reader.signals.as_slice()).unwrap_or_default();
    shown
        .iter()
        .map(|feedback| signal::command(*feedback).map(|byte| format!("{byte:02X}")).concat() + "\n")
        .collect()
}

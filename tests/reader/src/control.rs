//! The reader's socket: one command a connection, one line in, lines out, the first `ok` or `error ...`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::card::{self, Manner};
use crate::reader::VirtualReader;

/// A reader that listens. Closing it joins its thread: pcscd unloads the driver's code afterwards.
pub(crate) struct Control {
    reader: Arc<VirtualReader>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    pub(crate) fn listen(path: &Path) -> io::Result<Control> {
        // A daemon that was killed leaves its socket behind.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        let reader = Arc::new(VirtualReader::default());
        let served = Arc::clone(&reader);
        let thread =
            thread::Builder::new().name("tap".to_owned()).spawn(move || serve(&listener, &served))?;
        Ok(Control { reader, path: path.to_owned(), thread: Some(thread) })
    }

    pub(crate) fn reader(&self) -> Arc<VirtualReader> {
        Arc::clone(&self.reader)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.reader.close();
        // Wakes the thread from its wait for a connection.
        let _woken = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _outcome = thread.join();
        }
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// How long a client may take over its one line.
const LINE_PATIENCE: Duration = Duration::from_secs(10);
const LINE_BYTES: u64 = 256;

fn serve(listener: &UnixListener, reader: &VirtualReader) {
    for connection in listener.incoming() {
        if reader.is_closed() {
            return;
        }
        if let Ok(connection) = connection {
            // A client that went away concerns nobody else.
            let _outcome = obey(&connection, reader);
        }
    }
}

fn obey(mut connection: &UnixStream, reader: &VirtualReader) -> io::Result<()> {
    connection.set_read_timeout(Some(LINE_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(connection.take(LINE_BYTES)).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let reply = match (words.next(), words.next()) {
        (Some("present"), Some(uid)) => match card::from_hex(uid) {
            Some(uid) => {
                reader.present(uid);
                "ok\n".to_owned()
            }
            None => "error a UID is 1 to 16 bytes in hex\n".to_owned(),
        },
        (Some("remove"), None) => {
            reader.remove();
            "ok\n".to_owned()
        }
        (Some("unplug"), None) => {
            reader.unplug();
            "ok\n".to_owned()
        }
        (Some("plug"), None) => {
            reader.plug();
            "ok\n".to_owned()
        }
        (Some("behave"), Some(word)) => match word.parse::<Manner>() {
            Ok(manner) => {
                reader.behave(manner);
                "ok\n".to_owned()
            }
            Err(unknown) => format!("error {unknown}\n"),
        },
        (Some("signals"), None) => {
            let signals = reader.signals();
            signals.iter().fold("ok\n".to_owned(), |text, signal| text + &card::to_hex(signal) + "\n")
        }
        (Some("reads"), None) => format!("ok\n{}\n", reader.reads()),
        _ => "error say present UID, remove, unplug, plug, behave MANNER, signals or reads\n".to_owned(),
    };
    connection.write_all(reply.as_bytes())
}

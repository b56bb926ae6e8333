//! The hand that lays cards on a virtual reader.
//!
//! It speaks to the reader's socket, one command a connection. The agent's scripted source understands the
//! same commands where they make sense.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::card::{self, Manner};

/// How often somebody looks whether the card was read.
const LOOK: Duration = Duration::from_millis(20);

/// A virtual reader, by its socket.
#[derive(Debug, Clone)]
pub struct Reader {
    socket: PathBuf,
}

/// Why a command did not take effect.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Nothing listens there.
    #[error("no reader answers at {socket}: check that path and that its pcscd runs ({source})")]
    Unreachable {
        /// The reader's socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The reader refused the command.
    #[error("the reader refused: {0}")]
    Refused(String),
}

impl Reader {
    /// The reader behind this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Reader {
        Reader { socket: socket.into() }
    }

    /// Where it is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Lays a card down; one that lies there already is taken away first. Returns when pcscd has noticed.
    pub fn present(&self, uid: &str) -> Result<(), TapError> {
        self.command(&format!("present {}", uid.replace([' ', ':', '-'], ""))).map(drop)
    }

    /// Takes the card away. Returns when pcscd has noticed.
    pub fn remove(&self) -> Result<(), TapError> {
        self.command("remove").map(drop)
    }

    /// Lays a card down for so long and takes it away.
    pub fn tap(&self, uid: &str, hold: Duration) -> Result<(), TapError> {
        self.present(uid)?;
        std::thread::sleep(hold);
        self.remove()
    }

    /// Lays a card down until it has answered, as a person holds it to the reader until that beeps, but no longer
    /// than `patience`; takes it away.
    pub fn hold(&self, uid: &str, patience: Duration) -> Result<(), TapError> {
        let (began, before) = (Instant::now(), self.reads()?);
        self.present(uid)?;
        while self.reads()? == before && began.elapsed() < patience {
            std::thread::sleep(LOOK);
        }
        self.remove()
    }

    /// How many commands the cards on it have answered.
    pub fn reads(&self) -> Result<u64, TapError> {
        Ok(self.command("reads")?.trim().parse().unwrap_or_default())
    }

    /// Pulls the reader's plug.
    pub fn unplug(&self) -> Result<(), TapError> {
        self.command("unplug").map(drop)
    }

    /// Plugs it in again.
    pub fn plug(&self) -> Result<(), TapError> {
        self.command("plug").map(drop)
    }

    /// Says how cards on this reader behave from now on.
    pub fn behave(&self, manner: Manner) -> Result<(), TapError> {
        self.command(&format!("behave {manner}")).map(drop)
    }

    /// The light and buzzer commands received so far, oldest first, as bytes.
    pub fn signals(&self) -> Result<Vec<Vec<u8>>, TapError> {
        Ok(self.command("signals")?.lines().filter_map(card::from_hex).collect())
    }

    fn command(&self, line: &str) -> Result<String, TapError> {
        let reply = self
            .exchange(line)
            .map_err(|source| TapError::Unreachable { socket: self.socket.clone(), source })?;
        match reply.split_once('\n') {
            Some(("ok", rest)) => Ok(rest.to_owned()),
            Some((refusal, _)) => Err(TapError::Refused(refusal.trim_start_matches("error ").to_owned())),
            None => Err(TapError::Refused("it closed the connection without a word".to_owned())),
        }
    }

    fn exchange(&self, line: &str) -> io::Result<String> {
        let mut connection = UnixStream::connect(&self.socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(line.as_bytes())?;
        connection.write_all(b"\n")?;
        let mut reply = String::new();
        connection.take(REPLY_BYTES).read_to_string(&mut reply)?;
        Ok(reply)
    }
}

/// Longer than a reader waits for pcscd to notice three changes.
const PATIENCE: Duration = Duration::from_secs(30);
const REPLY_BYTES: u64 = 64 * 1024;

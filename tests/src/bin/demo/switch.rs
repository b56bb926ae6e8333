//! The demo's network cables, in the hand of another terminal: `carepost-demo cut hall`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_tests::link::Link;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const NAME: &str = "control.sock";
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: u64 = 200;

/// The socket that listens for such words.
pub(crate) struct Switch {
    listener: UnixListener,
    links: Vec<(&'static str, Link)>,
}

impl Switch {
    /// Listens at `control.sock` in `folder`; where that is too deep for a socket, in `sockets`, and a
    /// symbolic link leads there.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) fn open(folder: &Path, sockets: &Path, links: Vec<(&'static str, Link)>) -> Result<Self> {
        let socket = sockets.join(NAME);
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        if folder != sockets {
            std::os::unix::fs::symlink(&socket, folder.join(NAME))?;
        }
        Ok(Self { listener, links })
    }

    /// Does as it is told, for ever.
    ///
    /// # Errors
    /// When the socket breaks.
    pub(crate) async fn serve(&self) -> Result<()> {
        loop {
            let (mut caller, _) = self.listener.accept().await?;
            let mut line = String::new();
            let heard =
                tokio::time::timeout(PATIENCE, (&mut caller).take(LONGEST).read_to_string(&mut line)).await;
            if matches!(heard, Ok(Ok(_))) {
                // A caller that left does not hear the answer.
                let _ = caller.write_all(self.obey(&line).as_bytes()).await;
            }
        }
    }

    fn obey(&self, line: &str) -> String {
        let (verb, name) = line.trim().split_once(' ').unwrap_or_default();
        let Some((name, link)) = self.links.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = self.links.iter().map(|(name, _)| *name).collect();
            return format!("error there is no kiosk {name:?}, only {}", names.join(", "));
        };
        match verb {
            "cut" => {
                link.cut();
                format!("ok {name} is offline; `carepost-demo restore {name}` brings it back")
            }
            "restore" => {
                link.restore();
                format!("ok {name} is connected; it notices within a few seconds")
            }
            _ => format!("error {verb:?} is neither cut nor restore"),
        }
    }
}

/// Says `line` to the running demo, and prints its answer.
///
/// # Errors
/// When no demo runs, or it refuses.
pub(crate) async fn ask(folder: &Path, line: &str) -> Result<()> {
    let socket = folder.join(NAME);
    let socket: PathBuf = std::fs::read_link(&socket).unwrap_or(socket);
    let mut demo = UnixStream::connect(&socket)
        .await
        .with_context(|| format!("no demo answers at {}: start it with `make demo`", socket.display()))?;
    demo.write_all(line.as_bytes()).await?;
    demo.shutdown().await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, demo.read_to_string(&mut answer))
        .await
        .context("the demo is silent")??;
    match answer.split_once(' ') {
        Some(("ok", words)) => {
            super::say(words);
            Ok(())
        }
        Some(("error", words)) => bail!("{words}"),
        Some(_) | None => bail!("the demo ended"),
    }
}

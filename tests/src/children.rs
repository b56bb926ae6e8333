//! The product's own programs, run as processes of their own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// A program that runs until it is told to stop, or dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program` (`carepost-agent`, say), its output going to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        Self::start_within(None, program, arguments, environment, log)
    }

    /// The same in a network namespace of that name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_within(
        namespace: Option<&str>,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let path = binary(program)?;
        let out = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = match namespace {
            // `nsenter` becomes the program, so its process id is the program's; `ip netns exec` would also
            // give it mounts of its own, and hold file systems that are unmounted here.
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{namespace}")).arg(&path);
                command
            }
            None => Command::new(&path),
        };
        let child = command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        Ok(Self { name: program.to_owned(), child, log: log.to_owned() })
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with its log when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn expect_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; its log:\n{}", self.name, self.log());
        }
        Ok(())
    }

    /// SIGKILL: as a power cut would end it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// SIGTERM, and waits until it has ended in good order.
    ///
    /// # Errors
    /// When it does not end within a minute, or not with success.
    pub async fn stop(mut self) -> Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        if !status.success() {
            bail!("cannot signal {}", self.name);
        }
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        let status =
            ended.with_context(|| format!("{} ignores SIGTERM; its log:\n{}", self.name, self.log()))??;
        if !status.success() {
            bail!("{} ended with {status}; its log:\n{}", self.name, self.log());
        }
        Ok(())
    }
}

/// Runs a program to its end: its exit code and output.
///
/// # Errors
/// When it cannot be started or takes longer than three minutes.
pub async fn run(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> Result<(i32, String, String)> {
    run_with_input(program, arguments, environment, "").await
}

/// The same, with that on its standard input.
///
/// # Errors
/// As [`run`].
pub async fn run_with_input(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
    input: &str,
) -> Result<(i32, String, String)> {
    let mut child = Command::new(binary(program)?)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = tokio::time::timeout(Duration::from_secs(180), child.wait_with_output())
        .await
        .with_context(|| format!("{program} {} hangs", arguments.join(" ")))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// Where a program of this workspace was built: beside the running one.
///
/// # Errors
/// When it has not been built.
pub fn binary(program: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let found =
        here.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} has not been built: run `cargo build --workspace` first"))
}

/// A loopback port that nobody listens on, below the range that outgoing connections use. It is this
/// process's until it ends, also while nothing listens there: what was stopped comes back to its own port.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    /// Locked as long as this process lives; the files are empty.
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("carepost-test-ports");
    std::fs::create_dir_all(&folder)?;
    let start = u16::try_from(std::process::id() % 1_000).unwrap_or(0) * 11;
    for _ in 0..11_000 {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 11_000;
        let file = File::options().create(true).append(true).open(folder.join(port.to_string()))?;
        if file.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 31000")
}

/// Asks again and again until the answer is there; fails with the last refusal after `deadline`.
///
/// # Errors
/// When the deadline passes first.
pub async fn until<T, F>(what: &str, deadline: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(refusal) if started.elapsed() > deadline => {
                return Err(refusal.context(format!("waited {deadline:?} for {what}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

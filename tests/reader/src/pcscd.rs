//! A private pcscd: its own socket, its own configuration, its own virtual readers, no privileges.
//!
//! pcscd takes a listening socket from whoever starts it (fd 3, `LISTEN_FDS`, as systemd does); so any
//! number run side by side, and none needs `/run/pcscd`. Clients find theirs by `PCSCLITE_CSOCK_NAME`, which
//! libpcsclite reads once per process: a test process has one pcscd ([`alone`]).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::ifd::DEVICE_PREFIX;
use crate::tap::Reader;

/// The variable by which PC/SC clients find their pcscd.
pub const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";

/// What every virtual reader's name begins with. pcscd appends slot numbers.
pub const READER_NAME: &str = "Carepost Virtual Reader";

/// A running pcscd with virtual readers; stopped when dropped.
#[derive(Debug)]
pub struct Pcscd {
    directory: PathBuf,
    driver: PathBuf,
    readers: usize,
    child: Option<Child>,
}

/// Why there is no pcscd.
#[derive(Debug, thiserror::Error)]
pub enum PcscdError {
    #[error("pcscd is not installed: install the package `pcscd`")]
    NotInstalled,
    /// The driver was not built.
    #[error("the virtual reader's driver {DRIVER} is not beside {}: build the package carepost-reader", .0.display())]
    NoDriver(PathBuf),
    /// A file or a child could not be had.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ran, but its readers never answered.
    #[error("pcscd did not load its virtual readers within {} s; it said: {log}", READY.as_secs())]
    NotReady {
        /// pcscd's own log.
        log: String,
    },
}

const DRIVER: &str = "libcarepost_reader.so";
/// How long pcscd may take to load its readers.
const READY: Duration = Duration::from_secs(60);

impl Pcscd {
    /// Starts pcscd with so many readers; everything it makes is in `directory`, whose path should be short
    /// (a socket's is at most 107 bytes).
    pub fn start(directory: &Path, readers: usize) -> Result<Pcscd, PcscdError> {
        let driver = find_driver()?;
        let mut pcscd = Pcscd { directory: directory.to_owned(), driver, readers, child: None };
        for folder in [pcscd.configuration(), pcscd.no_drivers()] {
            std::fs::create_dir_all(&folder).map_err(failed("cannot create", &folder))?;
        }
        pcscd.configure()?;
        pcscd.restart()?;
        Ok(pcscd)
    }

    /// Its socket: the value of [`SOCKET_VARIABLE`] for clients.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("pcscd.comm")
    }

    pub fn readers(&self) -> Vec<Reader> {
        (0..self.readers).map(|index| self.reader(index)).collect()
    }

    /// One of its readers, counted from 0.
    pub fn reader(&self, index: usize) -> Reader {
        Reader::at(self.directory.join(format!("reader-{index}")))
    }

    /// Kills it at once, as a crash would. Its socket goes with it.
    pub fn kill(&mut self) {
        self.end(libc::SIGKILL);
    }

    /// Starts it on the same socket, after [`Pcscd::kill`]; its readers are empty.
    pub fn restart(&mut self) -> Result<(), PcscdError> {
        self.kill();
        let socket = self.socket();
        let listener = UnixListener::bind(&socket).map_err(failed("cannot listen at", &socket))?;
        self.child = Some(self.spawn(listener)?);
        self.wait_until_ready()
    }

    /// Stops it from running without ending it: a hung service.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it run again.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Starts it again on the same socket with another number of readers.
    pub fn restart_with(&mut self, readers: usize) -> Result<(), PcscdError> {
        self.kill();
        self.readers = readers;
        self.configure()?;
        self.restart()
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("reader.conf.d")
    }

    /// An empty folder in place of the installed drivers': real readers of this machine are left alone.
    fn no_drivers(&self) -> PathBuf {
        self.directory.join("drivers")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("pcscd.log")
    }

    fn configure(&self) -> Result<(), PcscdError> {
        let text: String = self
            .readers()
            .iter()
            .enumerate()
            .map(|(index, reader)| {
                format!(
                    "FRIENDLYNAME \"{READER_NAME} {index}\"\nDEVICENAME {DEVICE_PREFIX}{}\nLIBPATH {}\n\n",
                    reader.socket().display(),
                    self.driver.display()
                )
            })
            .collect();
        let path = self.configuration().join("virtual");
        std::fs::write(&path, text).map_err(failed("cannot write", &path))
    }

    fn spawn(&self, listener: UnixListener) -> Result<Child, PcscdError> {
        let program = find_pcscd()?;
        let log = self.log();
        let output = File::create(&log).map_err(failed("cannot create", &log))?;
        let errors = output.try_clone().map_err(failed("cannot open", &log))?;
        // LISTEN_PID must be pcscd's own, which only the shell that becomes it knows. The socket comes in
        // as standard input because a child inherits no other descriptor.
        Command::new("/bin/sh")
            .arg("-c")
            .arg("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"")
            .arg("sh")
            .arg(&program)
            .args(["--foreground", "--config"])
            .arg(self.configuration())
            .args(without_polkit(&program))
            .env("PCSCLITE_HP_DROPDIR", self.no_drivers())
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(failed("cannot start", &program))
    }

    fn wait_until_ready(&mut self) -> Result<(), PcscdError> {
        let deadline = Instant::now() + READY;
        while !self.readers().iter().all(|reader| reader.signals().is_ok()) {
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                return Err(PcscdError::NotReady { log });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn end(&mut self, signal: libc::c_int) {
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            let _status = child.wait();
        }
        let _gone = std::fs::remove_file(self.socket());
        for reader in self.readers() {
            let _gone = std::fs::remove_file(reader.socket());
        }
    }

    #[allow(unsafe_code)]
    fn signal(&self, signal: libc::c_int) {
        let Some(pid) = self.child.as_ref().and_then(|child| libc::pid_t::try_from(child.id()).ok()) else {
            return;
        };
        // SAFETY: `kill` touches no memory of ours, and the pid is a child's that was not yet waited for.
        let _outcome = unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        // Not by request: one whose card hangs would not heed it.
        self.kill();
    }
}

/// Runs a story in a process of its own whose PC/SC is a private pcscd with so many readers.
///
/// The test binary starts itself again for the one test `name` (its full path, as the harness prints it),
/// because libpcsclite takes its socket's name from the environment once per process.
///
/// # Panics
/// When pcscd is not there, or the story failed.
#[allow(clippy::panic)]
pub fn alone(name: &str, readers: usize, story: impl FnOnce(&mut Pcscd)) {
    if let Some(directory) = std::env::var_os(ALONE) {
        match Pcscd::start(Path::new(&directory), readers) {
            Ok(mut pcscd) => story(&mut pcscd),
            Err(error) => panic!("{error}"),
        }
        return;
    }
    if let Err(failure) = again(name) {
        panic!("{failure}");
    }
}

const ALONE: &str = "CAREPOST_PRIVATE_PCSCD";

fn again(name: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, directory.path())
        .env(SOCKET_VARIABLE, directory.path().join("pcscd.comm"))
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("1 passed") {
        return Ok(());
    }
    Err(format!("{name} failed: {said}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The driver lies where cargo puts it: beside the running test, or beside the folder of tests.
fn find_driver() -> Result<PathBuf, PcscdError> {
    let program = std::env::current_exe().map_err(failed("cannot find", Path::new("the running program")))?;
    let home = program.parent().unwrap_or(Path::new("."));
    // What cargo builds as a dependency it leaves in `deps`; the copy one floor up can be an older one.
    let beside = [home.join("deps").join(DRIVER), home.join(DRIVER), home.join("..").join(DRIVER)];
    beside.into_iter().find(|path| path.is_file()).ok_or_else(|| PcscdError::NoDriver(home.to_owned()))
}

fn find_pcscd() -> Result<PathBuf, PcscdError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|folder| folder.join("pcscd"))
        .find(|program| program.is_file())
        .ok_or(PcscdError::NotInstalled)
}

/// A pcscd built with polkit asks it about every client, which a machine without a desktop refuses.
fn without_polkit(program: &Path) -> Option<&'static str> {
    let help = Command::new(program).arg("--help").output().ok()?;
    String::from_utf8_lossy(&help.stdout).contains("--disable-polkit").then_some("--disable-polkit")
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PcscdError + use<> {
    let path = path.to_owned();
    move |source| PcscdError::Io { what, path, source }
}

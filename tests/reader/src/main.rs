//! `carepost-tap`: lays badges on a virtual reader, from another terminal or a script.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use carepost_reader::tap::{Reader, TapError};
use carepost_reader::{Manner, Pcscd};
use clap::{Parser, Subcommand};

/// Lay badges on a virtual reader.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, subcommand_precedence_over_arg = true)]
struct Arguments {
    /// The reader's socket.
    #[arg(long, env = "CAREPOST_READER", global = true, default_value = "reader-0")]
    reader: PathBuf,
    /// The UID of the badge to tap, in hex.
    uid: Option<String>,
    /// How many milliseconds the badge stays on the reader.
    #[arg(long, default_value_t = 300)]
    hold: u64,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lay a badge down and leave it there.
    Present {
        /// The badge's UID in hex.
        uid: String,
    },
    /// Take the badge away.
    Remove,
    /// Pull the reader's plug.
    Unplug,
    /// Plug the reader in again.
    Plug,
    /// Say how badges behave from now on: `good`, `hang`, `6a81` ...
    Behave {
        /// The manner.
        manner: Manner,
    },
    /// Show the light and buzzer commands that the reader received.
    Signals,
    /// Run a private pcscd with virtual readers until Ctrl-C, SIGTERM or the end of its input.
    Pcscd {
        /// Where its socket, its configuration and its readers' sockets are made.
        directory: PathBuf,
        /// How many readers it has.
        #[arg(long, default_value_t = 1)]
        readers: usize,
    },
}

const EXAMPLES: &str = "Examples:
  carepost-tap --reader target/demo/reader-0 04A1B2C3D4E5F6
  carepost-tap --reader target/demo/reader-0 --hold 10 04A1B2C3D4E5F6
  carepost-tap --reader target/demo/reader-0 unplug
  carepost-tap pcscd /tmp/readers --readers 2";

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let reader = Reader::at(arguments.reader);
    match (arguments.action, arguments.uid) {
        (None, Some(uid)) => reader.tap(&uid, Duration::from_millis(arguments.hold))?,
        (None, None) => return Err("name a badge's UID or an action; --help shows both".into()),
        (Some(Action::Present { uid }), _) => reader.present(&uid)?,
        (Some(Action::Remove), _) => reader.remove()?,
        (Some(Action::Unplug), _) => reader.unplug()?,
        (Some(Action::Plug), _) => reader.plug()?,
        (Some(Action::Behave { manner }), _) => reader.behave(manner)?,
        (Some(Action::Signals), _) => show_signals(&reader)?,
        (Some(Action::Pcscd { directory, readers }), _) => hold_pcscd(&directory, readers)?,
    }
    Ok(())
}

fn show_signals(reader: &Reader) -> Result<(), TapError> {
    for signal in reader.signals()? {
        say(&signal.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

fn hold_pcscd(directory: &std::path::Path, readers: usize) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    let ending = kept_from_ending();
    let pcscd = Pcscd::start(directory, readers)?;
    say(&format!("PCSCLITE_CSOCK_NAME={}", pcscd.socket().display()));
    for reader in pcscd.readers() {
        say(&format!("reader {}", reader.socket().display()));
    }
    until_told(&ending);
    Ok(())
}

/// Keeps the signals that would end this program, and leave pcscd behind, from doing so: they wait.
#[allow(unsafe_code)]
fn kept_from_ending() -> libc::sigset_t {
    // SAFETY: the set is initialized before it is read, and all pointers are to live locals.
    unsafe {
        let mut ending = std::mem::zeroed();
        libc::sigemptyset(&raw mut ending);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::sigaddset(&raw mut ending, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const ending, std::ptr::null_mut());
        ending
    }
}

/// Waits for one of these signals, or for the end of the input.
#[allow(unsafe_code)]
fn until_told(ending: &libc::sigset_t) {
    std::thread::spawn(|| {
        // Whatever it holds, and whether or not it can be read: that it ends is what counts.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // SAFETY: `kill` touches no memory; the signal waits until it is waited for.
        unsafe { libc::kill(libc::getpid(), libc::SIGTERM) }
    });
    let mut signal = 0;
    // SAFETY: both pointers are to what lives, and the set is initialized.
    unsafe { libc::sigwait(ending, &raw mut signal) };
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}

#[allow(clippy::print_stderr)]
fn say_error(line: &str) {
    eprintln!("carepost-tap: {line}");
}

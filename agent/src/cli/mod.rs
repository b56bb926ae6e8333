//! The command line. Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not enrolled, 4 offline, 5 needs
//! attention.

mod badge;
mod disk;
mod doctor;
mod enroll;
mod finding;
mod queue;
mod running_agent;
mod set_aside;
mod state_copy;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use carepost_host::files;
use carepost_host::owner::become_owner;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_PATH, Mode};
use crate::kiosk::start::NoUser;
use crate::run::NotListening;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Usage,
    NotEnrolled,
    Offline,
    NeedsAttention,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::NotEnrolled => 3,
            Outcome::Offline => 4,
            Outcome::NeedsAttention => 5,
        })
    }
}

/// The Carepost agent: care records where the care happens, network or not.
#[derive(Debug, Parser)]
#[command(
    name = "carepost-agent",
    version,
    after_help = "Examples:\n  carepost-agent run\n  carepost-agent doctor\n  carepost-agent --config ./agent.toml status --json\n\n\
                  Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 not enrolled, 4 offline, 5 needs attention."
)]
struct Cli {
    /// The configuration.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "FILE",
        default_value = DEFAULT_PATH,
        env = "CAREPOST_AGENT_CONFIG"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: kiosk page, badge readers, sync.
    Run,
    /// Enroll this device: show its pairing code, or use a one-time token, and wait until it is let in. A device
    /// that was deactivated enrolls anew, also while its agent runs; what it had not sent is set aside.
    Enroll(Enroll),
    /// Say how the running agent is.
    Status(Output),
    /// Check everything this device needs, and say what to do about what is wrong.
    Doctor(Output),
    /// Badges.
    #[command(subcommand)]
    Badge(Badge),
    /// What waits for the server, and what it rejected.
    #[command(subcommand)]
    Queue(queue::Queue),
}

#[derive(Args)]
struct Enroll {
    /// Use the one-time token that registering the device gave: it is asked for, or read from standard input.
    #[arg(long, num_args = 0..=1, value_name = "NOTHING")]
    #[expect(clippy::option_option, reason = "a token that is given here is refused, and not unknown usage")]
    token: Option<Option<String>>,
    /// Read the token from this file, - is standard input. The environment's CAREPOST_ENROLL_TOKEN does as well.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    wait: u64,
}

impl std::fmt::Debug for Enroll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token lets a device in.
        f.debug_struct("Enroll").field("wait", &self.wait).finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
struct Output {
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Badge {
    /// Wait for a badge and say what it gives, its number masked.
    Read {
        /// Give up after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
    },
}

/// Runs the command that the command line gives.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The first thing: nothing may fall back to another provider of cryptography.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        say_error("another provider of cryptography is installed");
        return Outcome::Failed.into();
    }
    let config = match Config::load(&cli.config) {
        Ok(config) => config,
        Err(error) => {
            say_error(&error.to_string());
            return match error {
                ConfigError::Unreadable { source, .. } if !files::stays_unread(&source) => {
                    Outcome::Failed.into()
                }
                ConfigError::Unreadable { .. }
                | ConfigError::Malformed { .. }
                | ConfigError::Invalid { .. } => Outcome::Usage.into(),
            };
        }
    };
    if let Some(error) = become_owner(&config.state_dir) {
        say_error(&format!("cannot go on as the owner of {}: {error}", config.state_dir.display()));
        return Outcome::Failed.into();
    }
    if let (Command::Run | Command::Enroll(_), true) = (&cli.command, is_made_by_root(&config)) {
        say_error(&format!(
            "there is no {} yet, and the agent could not use what root makes there: start the service \
             (systemctl start carepost-agent), or run this as the agent's own user (sudo -u carepost-agent)",
            config.state_dir.display()
        ));
        return Outcome::Usage.into();
    }
    let ended = match cli.command {
        Command::Run => crate::run::run(&config).map(|()| Outcome::Done),
        Command::Enroll(enroll) => enroll::enroll(&config, enroll),
        Command::Status(output) => status::status(&config, output.json),
        Command::Doctor(output) => doctor::doctor(&config, output.json),
        Command::Badge(Badge::Read { wait }) => badge::read(&config, wait),
        Command::Queue(command) => queue::queue(&config, command),
    };
    match ended {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            say_error(&in_words(&error));
            let is_configuration = matches!(error.downcast_ref(), Some(NoUser::Unknown(_)))
                || error.downcast_ref().is_some_and(NotListening::is_lasting);
            if is_configuration { Outcome::Usage.into() } else { Outcome::Failed.into() }
        }
    }
}

/// Whether root would make the state directory: then it were root's, and the keys sealed to what only root can read of
/// the hardware.
fn is_made_by_root(config: &Config) -> bool {
    config.mode == Mode::Production && !config.state_dir.exists() && rustix::process::geteuid().is_root()
}

/// An error with what led to it, each said once: some say what led to them in words of their own.
fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !words.contains(&cause) {
            let colon = if words.is_empty() { "" } else { ": " };
            words.push_str(colon);
            words.push_str(&cause);
        }
    }
    words
}

/// A line for people, or for programs that asked for one.
fn say(line: &str) {
    // A reader that has closed its end of a pipe has read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn say_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "carepost-agent: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_each_of_its_causes_once() {
        let source = std::io::Error::other("no such thing");
        let error =
            anyhow::Error::new(source).context("agent.lock: no such thing; look").context("cannot start");
        assert_eq!(in_words(&error), "cannot start: agent.lock: no such thing; look");
        assert_eq!(in_words(&anyhow::anyhow!("why").context("what")), "what: why");
    }
}

//! `carepost-agent enroll`: the same enrollment as the running agent's, on a terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;

use super::{Enroll, Outcome, say, say_error};
use crate::config::{Config, Mode};
use crate::desk::{EnrollStep, Enrolling};
use crate::files;
use crate::run::{Ended, Enroller, Opened};

/// Where a token comes from besides.
const VARIABLE: &str = "CAREPOST_ENROLL_TOKEN";

/// Enrolls, with a one-time token if one is given.
pub(super) fn enroll(config: &Config, asked: Enroll) -> anyhow::Result<Outcome> {
    if let Some(Some(_)) = &asked.token {
        say_error(&format!(
            "a token on the command line is seen by everybody on this machine, and kept by the shell: have the \
             device registered anew, then use --token alone, --token-file FILE or {VARIABLE}"
        ));
        return Ok(Outcome::Usage);
    }
    if config.mode == Mode::Production && !config.state_dir.exists() && rustix::process::geteuid().is_root() {
        // Made by root, the keys would be sealed to what only root can read of the hardware.
        say("run this as the agent's own user: sudo -u carepost-agent carepost-agent enroll");
        return Ok(Outcome::Usage);
    }
    let opened = Opened::open(config)
        .context("cannot enroll here (a running agent enrolls by itself and shows the code on its page)")?;
    if let Some(grant) = opened.vault.grant()? {
        say(&format!("already enrolled: {} at {}", grant.device_name, grant.facility_name));
        return Ok(Outcome::Done);
    }
    if let Some(token) = token(&asked)? {
        opened.keep_token(&token)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opened = Arc::new(opened);
    let upstream = opened.upstream(config, None)?;
    let mut enroller = Enroller::new(config, &opened, &upstream);
    let mut shown = String::new();
    let show = |screen: Enrolling| {
        let line = in_words(&screen);
        if line != shown {
            say(&line);
            shown = line;
        }
    };
    let ended = runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(asked.wait), enroller.run(show)).await });
    match ended {
        Ok(Ok(Ended::Enrolled(grant))) => {
            say(&format!("enrolled: {} at {}", grant.device_name, grant.facility_name));
            Ok(Outcome::Done)
        }
        Ok(Ok(Ended::Revoked)) => {
            say("the server refuses this device's key for good: ask an administrator");
            Ok(Outcome::NeedsAttention)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            say("not enrolled in time; run this again, or start the agent, to go on");
            Ok(Outcome::NotEnrolled)
        }
    }
}

/// The token, from wherever it was said to be.
fn token(asked: &Enroll) -> anyhow::Result<Option<SecretString>> {
    let stdin = || std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    let text = match (&asked.token_file, &asked.token) {
        (Some(file), _) if file == Path::new("-") => stdin()?,
        (Some(file), _) => files::read_text(file)
            .map(|text| text.to_string())
            .with_context(|| format!("cannot read {}", file.display()))?,
        (None, Some(_)) if std::io::stdin().is_terminal() => rpassword::prompt_password("Token: ")?,
        (None, Some(_)) => stdin()?,
        (None, None) => match std::env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    anyhow::ensure!(!text.is_empty(), "there is no token in what was given");
    Ok(Some(SecretString::from(text)))
}

fn in_words(screen: &Enrolling) -> String {
    match &screen.step {
        EnrollStep::Contacting { trouble: None } => format!("asking {} ...", screen.server),
        EnrollStep::Contacting { trouble: Some(trouble) } => trouble.clone(),
        EnrollStep::Code { code, .. } => format!("pairing code {code}: an administrator approves it"),
        EnrollStep::Confirm { facility_name, number } => {
            format!("{facility_name}: confirm the number {number}")
        }
    }
}

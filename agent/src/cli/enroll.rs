//! `carepost-agent enroll`: the same enrollment as the running agent's, on a terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use carepost_agent_core::enrollment::EnrollmentView;
use carepost_host::files;
use secrecy::SecretString;

use super::{Enroll, Outcome, say, say_error};
use crate::config::Config;
use crate::identity::vault::VaultError;
use crate::run::{Ended, Enroller, StateDir, token_refused};
use crate::workspace::view::Enrolling;

/// Where a token comes from besides.
const VARIABLE: &str = "CAREPOST_ENROLL_TOKEN";

/// Enrolls, with a one-time token if one is given; anew, where the server refuses the device's key for good.
pub(super) fn enroll(config: &Config, asked: Enroll) -> anyhow::Result<Outcome> {
    if let Some(Some(_)) = &asked.token {
        say_error(&format!(
            "a token on the command line is seen by everybody on this machine, and kept by the shell: have the \
             device registered anew, then use --token alone, --token-file FILE or {VARIABLE}"
        ));
        return Ok(Outcome::Usage);
    }
    let mut opened = match StateDir::open(config) {
        Ok(opened) => opened,
        Err(error) => return beside(config, &asked, error),
    };
    if opened.is_revoked()? {
        opened.enroll_anew(token(&asked)?.as_ref())?;
        // What it had is set aside where nothing has it open.
        drop(opened);
        opened = StateDir::open(config)?;
        say("this device's key was refused for good: it enrolls anew, and what it had not sent is set aside");
    } else if let Some(grant) = opened.vault.grant()? {
        say(&format!("already enrolled: {} at {}", grant.device_name, grant.facility_name));
        return Ok(Outcome::Done);
    } else if let Some(token) = token(&asked)? {
        opened.keep_token(&token)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opened = Arc::new(opened);
    let upstream = opened.upstream(config, None)?;
    let mut enroller = Enroller::new(config, &opened, &upstream);
    let mut shown = String::new();
    let show = |screen: Enrolling, _| {
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

/// The directory is not to be had: a running agent whose key was refused is told to enroll anew.
fn beside(config: &Config, asked: &Enroll, error: anyhow::Error) -> anyhow::Result<Outcome> {
    let in_use = matches!(error.downcast_ref(), Some(VaultError::InUse { .. }));
    let opened = if in_use { StateDir::beside_any(config)? } else { None };
    match opened {
        Some(opened) if opened.is_revoked()? => {
            opened.enroll_anew(token(asked)?.as_ref())?;
            say(
                "the running agent enrolls this device anew: its page and `status` show the code in a moment",
            );
            Ok(Outcome::Done)
        }
        Some(_) | None => Err(error.context(
            "cannot enroll here (a running agent enrolls by itself and shows the code on its page)",
        )),
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
            Ok(text) if !text.is_empty() => text,
            Ok(_) | Err(_) => return Ok(None),
        },
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    anyhow::ensure!(!text.is_empty(), "there is no token in what was given");
    Ok(Some(SecretString::from(text)))
}

fn in_words(screen: &Enrolling) -> String {
    let refused = screen.token_refused.as_deref().map(|why| format!("{}\n", token_refused(why)));
    refused.unwrap_or_default() + &step_in_words(screen)
}

fn step_in_words(screen: &Enrolling) -> String {
    match &screen.step {
        EnrollmentView::Code { code, .. } => format!("pairing code {code}: an administrator approves it"),
        EnrollmentView::Confirm { facility_name, number } => {
            format!("{facility_name}: confirm the number {number}")
        }
        EnrollmentView::Asking | EnrollmentView::Enrolled | EnrollmentView::Revoked => {
            screen.trouble.clone().unwrap_or_else(|| format!("asking {} ...", screen.server))
        }
    }
}

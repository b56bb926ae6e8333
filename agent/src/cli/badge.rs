//! `carepost-agent badge read`.

use std::time::Duration;

use anyhow::Context as _;

use super::{Outcome, say, say_error};
use crate::badge::read::{ReadError, read_one};
use crate::config::Config;

/// Waits for one badge and says what it gives.
pub(super) fn read(config: &Config, wait: u64) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (source, mut events) =
        crate::run::badges(config)?.context("this device is configured without a badge reader")?;
    say_error("lay a badge on the reader");
    let read = runtime.block_on(read_one(&mut events, Duration::from_secs(wait)));
    let _ = source.stop();
    match read {
        Ok(reading) => {
            say(&format!("reader   {}", reading.reader));
            say(&format!("badge    {} ({} bytes)", reading.masked_uid, reading.uid_length));
            say(&format!("ATR      {}", reading.atr));
            if reading.random {
                say("This card shows another number at each tap: it cannot be anybody's badge.");
                return Ok(Outcome::NeedsAttention);
            }
            Ok(Outcome::Done)
        }
        Err(error @ (ReadError::NoReader | ReadError::NoService)) => {
            say_error(&error.to_string());
            Ok(Outcome::NeedsAttention)
        }
        Err(error) => {
            say_error(&error.to_string());
            Ok(Outcome::Failed)
        }
    }
}

//! Unopened operation: the state directory is there, and its keys or what they seal do not open, or are not this user's.
//!
//! The page says so and why, and it is tried again until it opens. While somebody puts a file back the vault begins
//! none in its place, also where all that says that one was begun is gone meanwhile.

use std::fs::File;
use std::net::TcpListener as StdListener;
use std::sync::Arc;

use carepost_protocol::wire::heartbeat::ReaderState;
use tokio::task::spawn_blocking;

use super::outbox_only::{OPEN_EVERY, say};
use super::{After, KioskPage, open};
use crate::clock::Clock;
use crate::config::Config;
use crate::device::{Device, State};
use crate::identity::seal::SealError;
use crate::identity::vault::{VaultError, is_begun, lock, made_anew};

/// Whether the page shows why nothing opens. Where another agent has the directory, or it was copied here, or there is
/// none, this agent has nothing to serve.
pub(super) fn is_shown(config: &Config, error: &anyhow::Error) -> bool {
    let is_of_files = match error.downcast_ref() {
        Some(VaultError::InUse { .. } | VaultError::Seal(SealError::OtherHardware { .. })) => false,
        Some(_) => true,
        None => error.downcast_ref::<SealError>().is_some(),
    };
    is_of_files && config.state_dir.is_dir()
}

/// Shows why nothing opens until it does.
pub(super) async fn until_opened(
    config: &Config,
    listening: &mut Option<StdListener>,
    error: &anyhow::Error,
) -> anyhow::Result<After> {
    let (mut told, clock) = (None, Arc::new(Clock::new(None)));
    let unopened = State::Unopened { why: String::new(), phone: None };
    let device = Arc::new(Device::new(unopened, ReaderState::None, clock));
    say(&device, error.to_string(), None, &mut told);
    let page = KioskPage::up(config, listening, &device, None)?;
    let mut awaits = is_begun(&config.state_dir) && !is_partly_made(config, error);
    page.until_ended(async {
        let mut held = None;
        loop {
            // Another agent is kept out meanwhile as well. The lock itself may be what does not open.
            held = held.or_else(|| lock(&config.state_dir).ok());
            tokio::time::sleep(OPEN_EVERY).await;
            if let Some(path) = made_anew(&config.state_dir).filter(|_| awaits) {
                say(&device, VaultError::Missing { path }.to_string(), None, &mut told);
                // The lock may be gone with the rest.
                held = None;
                continue;
            }
            let (of, under) = (config.clone(), held.as_ref().map(File::try_clone).transpose()?);
            match spawn_blocking(move || open(under, &of)).await? {
                Ok(opened) => return Ok(After::Opened(opened)),
                Err(error) if is_shown(config, &error) => {
                    awaits &= !is_partly_made(config, &error);
                    say(&device, error.to_string(), None, &mut told);
                }
                Err(error) => return Err(error),
            }
        }
    })
    .await
}

/// Whether a full disk stopped this agent while it made what a directory lacks, as where it sets one aside: nobody puts
/// that back.
fn is_partly_made(config: &Config, error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(VaultError::NoRoom { .. })) && made_anew(&config.state_dir).is_some()
}

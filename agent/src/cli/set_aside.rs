//! Outboxes set aside: what was made under a key that was refused for good, before the device enrolled anew.

use anyhow::Context as _;

use super::finding::{Finding, Verdict, finding};
use super::in_words;
use super::state_copy::StateCopy;
use crate::config::Config;
use crate::identity::seal::ANEW;
use crate::identity::vault;
use crate::run::StateDir;

/// What is left to do where it opens no more: the device is enrolled anew already.
const REMOVE: &str = "remove the directory once nobody needs it";

/// What was not sent, directory by directory. Copies are looked at.
pub(super) fn set_aside(config: &Config) -> Vec<Finding> {
    let found = vault::aside(&config.state_dir).into_iter();
    found
        .map(|place| match StateCopy::begun(&place).map(|copy| unsent(config, copy)) {
            Err(error) => finding("aside", Verdict::Mind, format!("{}: {}", place.display(), in_words(&error))),
            Ok(Ok((0, 0))) => {
                let words = format!("{}: all of it was sent; remove it when you like", place.display());
                finding("aside", Verdict::Well, words)
            }
            Ok(Ok((0, events))) => {
                let words = format!(
                    "{}: every entry was sent, and {events} audit events were not; ask whoever reviews the audit log \
                     before you remove it",
                    place.display()
                );
                finding("aside", Verdict::Mind, words)
            }
            Ok(Ok((entries, _))) => {
                let words = format!(
                    "{}: never sent: {entries}. With CAREPOST_AGENT__STATE_DIR={0} `carepost-agent \
                     queue list` names them and `queue export` takes them out; have that charted, then remove it",
                    place.display()
                );
                finding("aside", Verdict::Wrong, words)
            }
            Ok(Err(error)) => finding("aside", Verdict::Wrong, format!("{}: {}", place.display(), in_words(&error))),
        })
        .collect()
}

/// The entries and the audit events that the server has not.
fn unsent(config: &Config, copy: StateCopy) -> anyhow::Result<(u64, u64)> {
    let copy = copy.made()?;
    let looked = Config { state_dir: copy.path().to_owned(), ..config.clone() };
    let count = || {
        let gone =
            || format!("what was set aside is gone: put it back if there is a copy of it; else {REMOVE}");
        let opened = StateDir::beside(&looked)?.with_context(gone)?;
        let grant = opened.vault.grant()?.with_context(gone)?;
        let counts = opened.outbox(&grant, &looked)?.counts()?;
        Ok((counts.care + counts.rejected, counts.audit))
    };
    count().map_err(|error: anyhow::Error| {
        anyhow::anyhow!(copy.of_itself(&in_words(&error).replace(ANEW, REMOVE)))
    })
}

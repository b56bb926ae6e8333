//! The confirmation prompt before what cannot be taken back: what it ends is said, and asked about. Where nobody is
//! there to answer, only --yes goes on.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use super::show;

/// Whether somebody is asked.
#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// Do not ask: for programs.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Somebody is asked, as nothing on the command line says otherwise.
    pub(super) const ASKS: Self = Self { yes: false };

    /// Whether somebody is to be asked.
    pub(super) const fn asks(&self) -> bool {
        !self.yes
    }

    /// Asks whether that is meant. Where nobody is there to say so, it is not.
    pub(super) fn ask(&self, what: &str) -> anyhow::Result<()> {
        if !self.asks() {
            return Ok(());
        }
        anyhow::ensure!(std::io::stdin().is_terminal(), "nothing was done. Say --yes to {what}");
        let mut out = std::io::stderr();
        write!(out, "About to {}.\nType yes to go on: ", show::harmless(what))?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        anyhow::ensure!(answer.trim() == "yes", "nothing was done");
        Ok(())
    }
}

//! A kiosk on a wall: charted on by a nurse without a pause, and killed without a warning.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use carepost_agent::identity::{Factors, Vault};
use carepost_agent::sqlite::FileKey;
use carepost_tests::appetite::peak_kib;
use carepost_tests::kiosk::Kiosk;
use carepost_tests::ledger::Ledger;
use carepost_tests::scene::vitals;
use carepost_tests::simulation::{Documents, mirrored};
use carepost_tests::world::Nurse;

use super::ground::Disk;

/// One run of the chaos, which all walls share.
pub(crate) struct Run {
    pub(crate) nurse: Nurse,
    pub(crate) residents: Vec<String>,
    pub(crate) ledger: Ledger,
    pub(crate) done: AtomicBool,
    pub(crate) kills: AtomicUsize,
    pub(crate) disks: AtomicUsize,
}

impl Run {
    /// Waits for so long, or until the run is done.
    pub(crate) async fn work_on(&self, lasts: Duration) {
        let ends = tokio::time::Instant::now() + lasts;
        while tokio::time::Instant::now() < ends && !self.done.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A kiosk with the key of its mirror's file, to look into it.
pub(crate) struct Wall {
    pub(crate) kiosk: Kiosk,
    pub(crate) disk: Option<Disk>,
    pub(crate) peak_mib: f64,
    mirror: PathBuf,
    key: FileKey,
}

impl Wall {
    /// An enrolled kiosk; the agent is stopped for a moment, since only one program can open its vault.
    pub(crate) async fn new(mut kiosk: Kiosk, disk: Option<Disk>) -> Result<Self> {
        kiosk.stop().await?;
        let (mirror, key) = {
            let factors = Factors::read(&kiosk.folder.join("factors"))?;
            let vault = Vault::open(&kiosk.folder.join("state"), &factors, None)?;
            (vault.mirror_path(), vault.mirror_key().clone())
        };
        if let Some(disk) = &disk {
            disk.sync()?;
        }
        kiosk.start().await?;
        Ok(Self { kiosk, disk, peak_mib: 0.0, mirror, key })
    }

    /// Charts and is killed until the run is done; the agent runs at the end.
    pub(crate) async fn live(&mut self, run: &Run) -> Result<()> {
        for life in 0_u32.. {
            self.kiosk.sign_in(&run.nurse).await?;
            let killed = AtomicBool::new(false);
            let name = self.kiosk.name.clone();
            let shot = async {
                // A life of seconds, and the end in the middle of whatever is being done.
                run.work_on(Duration::from_millis(fastrand::u64(1_000..20_000))).await;
                let over = run.done.load(Ordering::SeqCst);
                let shot = if over { Ok(()) } else { self.end().await };
                killed.store(true, Ordering::SeqCst);
                shot.map(|()| over)
            };
            let prefix = format!("{name} {life}");
            let ((), over) = tokio::join!(chart(&self.kiosk, run, &prefix, &killed), shot);
            self.peak_mib = self.peak_mib.max(peak_kib(self.kiosk.pid()).unwrap_or(0.0) / 1024.0);
            if over? {
                return Ok(());
            }
            self.kiosk.pull_the_plug().await?;
            run.kills.fetch_add(1, Ordering::Relaxed);
            if let Some(disk) = &self.disk {
                run.disks.fetch_add(1, Ordering::Relaxed);
                disk.remount()?;
            }
            self.kiosk.start().await.with_context(|| format!("{name} after its life {life}"))?;
        }
        Ok(())
    }

    /// The plug is pulled: of the disk, where it has one of its own, and of the process.
    async fn end(&self) -> Result<()> {
        match &self.disk {
            Some(disk) => disk.shut_down(),
            None => {
                let pid = self.kiosk.pid().context("the agent does not run")?.to_string();
                tokio::process::Command::new("kill").args(["-9", &pid]).status().await?;
                Ok(())
            }
        }
    }

    /// What the mirror holds, read beside the running agent.
    pub(crate) fn documents(&self) -> Result<Documents> {
        mirrored(&self.mirror, &self.key)
    }
}

/// One entry after the other, until the agent is no more or has been told to end.
async fn chart(kiosk: &Kiosk, run: &Run, prefix: &str, over: &AtomicBool) {
    for n in 0_u32.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let Some(resident) = fastrand::choice(&run.residents) else { return };
        let note = format!("{prefix} {n:05}");
        let saved = kiosk.fill_in(&format!("/residents/{resident}/chart/vitals"), &vitals(&note)).await;
        if saved.is_ok_and(|page| page.location.is_some_and(|to| to.contains("saved"))) {
            run.ledger.saved(&note);
        }
        // A nurse who charts like this has ten hands.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..100))).await;
    }
}

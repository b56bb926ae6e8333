//! The network between the devices and the server, which gets worse all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use carepost_tests::link::Link;

use super::ground::Network;

/// How long a fault may last, in milliseconds.
const LONGEST: u64 = 8_000;

/// The devices' cables.
pub(crate) struct Weather {
    pub(crate) links: Vec<Link>,
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) faults: Faults,
}

/// How often what went wrong.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) broken: AtomicUsize,
    pub(crate) cut: AtomicUsize,
    pub(crate) slowed: AtomicUsize,
    pub(crate) cut_at_a_byte: AtomicUsize,
    pub(crate) unplugged: AtomicUsize,
    pub(crate) lossy: AtomicUsize,
}

impl Weather {
    /// Bad weather until `done`: a fault on some cable, and a moment later the next one. Each cable's
    /// fault is taken back when its next one comes, or at the end.
    pub(crate) async fn storm(&self, done: &AtomicBool) -> Result<()> {
        while !done.load(Ordering::SeqCst) {
            let at = fastrand::usize(..self.links.len());
            self.fault(at).await?;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..600))).await;
        }
        self.heal()
    }

    async fn fault(&self, at: usize) -> Result<()> {
        let (Some(link), Ok(cable)) = (self.links.get(at), u8::try_from(at)) else { return Ok(()) };
        link.restore();
        link.delay(Duration::ZERO);
        let lasts = Duration::from_millis(fastrand::u64(100..LONGEST));
        let count = |of: &AtomicUsize| of.fetch_add(1, Ordering::Relaxed);
        match (fastrand::u8(..7), &self.network) {
            (0, _) => {
                count(&self.faults.broken);
                link.break_all();
            }
            (1, _) => {
                count(&self.faults.cut);
                link.cut();
                let link = link.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    link.restore();
                });
            }
            (2, _) => {
                count(&self.faults.slowed);
                link.delay(Duration::from_millis(fastrand::u64(5..400)));
            }
            (3, _) => {
                count(&self.faults.cut_at_a_byte);
                if fastrand::bool() {
                    link.cut_after_up(fastrand::u64(1..4_000));
                } else {
                    link.cut_after_down(fastrand::u64(1..20_000));
                }
            }
            (4, Some(network)) => {
                count(&self.faults.unplugged);
                network.plug(cable, false)?;
                let network = Arc::clone(network);
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    // At the end every cable is put back in any case.
                    let _ = network.plug(cable, true);
                });
            }
            (5 | 6, Some(network)) => {
                count(&self.faults.lossy);
                network.lose(cable, fastrand::u8(2..40))?;
            }
            (_, _) => {}
        }
        Ok(())
    }

    /// The weather clears up.
    pub(crate) fn heal(&self) -> Result<()> {
        for (link, cable) in self.links.iter().zip(0_u8..) {
            link.restore();
            link.delay(Duration::ZERO);
            if let Some(network) = &self.network {
                network.plug(cable, true)?;
            }
        }
        self.network.as_ref().map_or(Ok(()), |network| network.clear())
    }
}

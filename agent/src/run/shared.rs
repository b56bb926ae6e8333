//! What the tasks of an enrolled device share. Each of them has one owner, and reports to the sync what concerns it.

use std::sync::Arc;
use std::time::Duration;

use carepost_protocol::time::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;

use super::state_dir::StateDir;
use super::sync::report::Report;
use crate::clock::Clock;
use crate::device::Device;
use crate::upstream::Upstream;
use crate::workspace::Workspace;

/// See the module.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) state: Arc<StateDir>,
    pub(super) device: Arc<Device>,
    pub(super) workspace: Arc<Workspace>,
    pub(super) upstream: Upstream,
    /// To the sync.
    pub(super) reports: mpsc::Sender<Report>,
    /// The server should hear soon how this device is.
    pub(super) news: Arc<Notify>,
}

impl Shared {
    pub(super) fn clock(&self) -> &Clock {
        &self.state.clock
    }

    pub(super) async fn report(&self, report: Report) {
        // Nobody listens where the sync has ended, and its tasks end with it.
        let _ = self.reports.send(report).await;
    }

    /// The server said its time; keeping what follows from it touches the disk.
    pub(super) fn server_said(&self, server: Timestamp, sent: Option<Duration>) {
        if let Some(floor) = self.state.hear_time(server, sent) {
            let state = Arc::clone(&self.state);
            drop(spawn_blocking(move || state.keep_floor(floor)));
        }
    }
}

//! Notifications to systemd, of the program that it started; without systemd, nobody is.

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// Tells it that the program works, and keeps telling it while the runtime turns.
pub fn ready() {
    let _ = notify(&[NotifyState::Ready]);
    if let Some(watchdog) = watchdog_enabled() {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(watchdog / 3).await;
                let _ = notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Tells it that the program ends because it was told to.
pub fn stopping() {
    let _ = notify(&[NotifyState::Stopping]);
}

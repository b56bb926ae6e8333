//! Shutdown: the word that the server stops.

use tokio::sync::watch;

/// Says that the server stops: long answers end, connections finish what they have begun.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// A signal, and what raises it.
    #[must_use]
    pub fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the server stops.
    pub async fn wait(&mut self) {
        // An error means that the sender is gone, and with it the server.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

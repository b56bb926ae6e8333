//! Connections: the next one of a listener, whatever became of those before it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long it is waited after one that could not be accepted.
const AFTER_FAULT: Duration = Duration::from_millis(100);

/// The next connection. It sends at once: Nagle's algorithm would hold back each small answer until the peer
/// acknowledges the one before.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) if stream.set_nodelay(true).is_ok() => return (stream, address),
            // It is gone already.
            Ok(_) => {}
            Err(fault) => {
                // Out of file descriptors, most likely: a moment later some are free again.
                tracing::warn!(%fault, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAULT).await;
            }
        }
    }
}

//! The listener: for this device only, patient with nobody who is slow.

use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::{Limits, NotServed, serve};
use super::*;

const SOON: Duration = Duration::from_secs(60);

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

fn quick() -> Limits {
    Limits { connections: 1, head: Duration::from_millis(200), farewell: Duration::from_millis(200) }
}

/// What the peer sends until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(SOON, stream.read_to_end(&mut text)).await.expect("the kiosk closes the connection").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, hello(), quick(), std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, NotServed::NotLoopback(_)));
    assert!(refused.to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_make_room_for_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, hello(), quick(), async { drop(stopped.await) }));

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    // There is one place: the second is answered only once the first is cut, then is itself cut for idling.
    assert!(!rest(&mut slow).await.contains("hello"));
    assert!(rest(&mut next).await.ends_with("hello"));

    drop(stop);
    timeout(SOON, served).await.expect("the kiosk stops").unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

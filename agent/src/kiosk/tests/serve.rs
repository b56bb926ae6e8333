//! The listener: for this device only, patient with nobody who is slow.

use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::serve::Closing;
use super::super::{Limits, NotServed, serve};
use super::*;

const SOON: Duration = Duration::from_secs(60);

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn quick() -> Limits {
    Limits {
        connections: 1,
        strangers: 1,
        head: Duration::from_millis(200),
        farewell: Duration::from_millis(200),
    }
}

#[tokio::test]
async fn whose_a_connection_is_goes_with_its_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = async |owner: axum::Extension<Owner>| format!("{:?}", owner.0);
    let pages = Router::new().route("/", get(told));
    let limits = Limits { head: SOON, ..quick() };
    tokio::spawn(serve(listener, pages, own(), limits, std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with(&format!("User({})", own())), "{answer}");
}

#[tokio::test]
async fn strangers_get_few_places_and_keep_nobody_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // To this kiosk everybody here is a stranger.
    let limits = Limits { head: SOON, ..quick() };
    tokio::spawn(serve(listener, hello(), own() + 1, limits, std::future::pending()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut next).await.ends_with("hello"), "whoever asks is answered");
    assert_eq!(rest(&mut idle).await, "", "hung up on: it asked nothing, and held the strangers' place");
}

#[tokio::test]
async fn a_request_hears_that_the_kiosk_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (waits, mut waiting) = mpsc::channel(1);
    let wait = move |axum::Extension(closing): axum::Extension<Closing>| {
        let waits = waits.clone();
        async move {
            waits.send(()).await.unwrap();
            closing.wait().await;
            "it ends"
        }
    };
    let pages = Router::new().route("/", get(wait));
    let (stop, stopped) = oneshot::channel::<()>();
    // It is not cut.
    let limits = Limits { head: SOON, farewell: SOON, ..quick() };
    let served = tokio::spawn(serve(listener, pages, own(), limits, async { drop(stopped.await) }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    waiting.recv().await.unwrap();
    drop(stop);
    assert!(rest(&mut stream).await.ends_with("it ends"));
    timeout(SOON, served).await.expect("the kiosk ends").unwrap().unwrap();
}

/// As browsers and Java do where the machine has IPv6: the kernel shows both ends in its form.
#[tokio::test]
async fn who_speaks_ipv4_through_a_socket_of_ipv6_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mapped = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let stream = TcpStream::connect((mapped, port)).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(Owner::of(&accepted), Owner::User(own()));
    drop(stream);
    assert_eq!(Owner::of(&accepted), Owner::Gone);
}

#[tokio::test]
async fn a_closed_connection_has_no_owner() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own_end = listener.local_addr().unwrap();
    let stream = TcpStream::connect(own_end).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    assert_eq!(Owner::of(&accepted), Owner::User(own()));
    // One that listens where the other end was is not its owner.
    drop(stream);
    assert_eq!(Owner::of(&accepted), Owner::Gone);
    assert_eq!(Owner::between(peer, own_end), Owner::Gone);
    assert_eq!(Owner::between(own_end, peer), Owner::User(own()), "this end still has");
    assert_eq!(Owner::between(own_end, own_end), Owner::Gone, "the listener is connected with nobody");
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
    let refused = serve(listener, hello(), own(), quick(), std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, NotServed::NotLoopback(_)));
    assert!(refused.to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_make_room_for_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, hello(), own(), quick(), async { drop(stopped.await) }));

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

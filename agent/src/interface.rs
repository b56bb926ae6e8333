//! The address of this device's own network interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Addresses that belong to nobody (RFC 5737, RFC 3849): what the routes say of them is what they say of the
/// world.
const ELSEWHERE: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// The address that this device speaks with, by its routes; loopback while it has no other. Nothing is sent.
pub(crate) fn own_address() -> IpAddr {
    let own = ELSEWHERE.iter().find_map(|to| {
        let to: SocketAddr = to.parse().ok()?;
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

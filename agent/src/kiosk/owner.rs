//! Peer credentials: which user holds the other end of a connection on this machine. The kernel is asked
//! (sock_diag(7)), which finds one socket in some microseconds however many there are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use tokio::net::TcpStream;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// As whom the kernel shows the users that this process's user namespace does not know.
const NOBODY: u32 = 65_534;
/// Whether this process's user namespace knows every user, so that `NOBODY` is a user like any other.
static KNOWS_EVERYBODY: LazyLock<bool> = LazyLock::new(|| {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
});

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    User(u32),
    /// Nobody's any more: its process has closed it.
    Gone,
    /// The kernel does not tell.
    Untold,
}

impl Owner {
    /// The owner of a connection's other end, at this moment.
    #[must_use]
    pub fn of(stream: &TcpStream) -> Self {
        match (stream.peer_addr(), stream.local_addr()) {
            (Ok(peer), Ok(own)) => Self::between(peer, own),
            (Err(_), _) | (_, Err(_)) => Self::Gone,
        }
    }

    /// The owner of a connection of this process with itself, where the kernel tells.
    #[must_use]
    pub fn of_itself() -> Option<u32> {
        Self::of_itself_by(IPPROTO_TCP)
    }

    fn of_itself_by(protocol: u8) -> Option<u32> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let stream = std::net::TcpStream::connect(listener.local_addr().ok()?).ok()?;
        match Self::found(protocol, stream.local_addr().ok()?, stream.peer_addr().ok()?) {
            Self::User(uid) => Some(uid),
            Self::Gone | Self::Untold => None,
        }
    }

    /// The owner of the socket at `peer` that is connected with `own`.
    #[must_use]
    pub fn between(peer: SocketAddr, own: SocketAddr) -> Self {
        Self::of_protocol(IPPROTO_TCP, peer, own)
    }

    /// A kernel without the diagnosis of a protocol says of every connection what it says of one that is gone.
    fn of_protocol(protocol: u8, peer: SocketAddr, own: SocketAddr) -> Self {
        match Self::found(protocol, peer, own) {
            Self::Gone if Self::of_itself_by(protocol).is_none() => Self::Untold,
            owner @ (Self::User(_) | Self::Gone | Self::Untold) => owner,
        }
    }

    fn found(protocol: u8, peer: SocketAddr, own: SocketAddr) -> Self {
        let asked = ends(peer, own);
        let Ok(answer) = ask(&request(peer.is_ipv4(), protocol, &asked)) else { return Self::Untold };
        read(&answer, &[asked, ends(mapped(peer), mapped(own))]).unwrap_or(Self::Untold)
    }
}

/// As the kernel shows an end that speaks IPv4 through a socket of IPv6, though it finds it by either.
fn mapped(end: SocketAddr) -> SocketAddr {
    match end.ip() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), end.port()).into(),
        IpAddr::V6(_) => end,
    }
}

/// Both ends as the kernel's structures have them: ports, then addresses.
fn ends(peer: SocketAddr, own: SocketAddr) -> Vec<u8> {
    let mut ends = [peer.port().to_be_bytes(), own.port().to_be_bytes()].concat();
    for ip in [peer.ip(), own.ip()] {
        let octets = match ip {
            IpAddr::V4(ip) => [ip.octets().as_slice(), &[0; 12]].concat(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        ends.extend(octets);
    }
    ends
}

/// A `nlmsghdr`, then an `inet_diag_req_v2`.
fn request(v4: bool, protocol: u8, ends: &[u8]) -> Vec<u8> {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let mut body = vec![u8::try_from(family.as_raw()).unwrap_or_default(), protocol, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(ends);
    body.extend(0_u32.to_ne_bytes());
    body.extend(NO_COOKIE);
    let length = u32::try_from(16 + body.len()).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The kernel answers while it is asked, so nothing is waited for.
fn ask(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    rustix::net::send(&socket, request, SendFlags::empty())?;
    let mut answer = vec![0; 1024];
    let (length, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// What an `inet_diag_msg` says of the owner of a socket with these ends, in either form; none when it is not
/// understood.
fn read(answer: &[u8], ends: &[Vec<u8>; 2]) -> Option<Owner> {
    let word = |at: usize| answer.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind == NLMSG_ERROR {
        let errno = word(16)?.wrapping_neg();
        return Some(if errno == Errno::NOENT.raw_os_error().unsigned_abs() {
            Owner::Gone
        } else {
            Owner::Untold
        });
    }
    // Without the connected socket the kernel may find one that listens there: that is another's.
    let connected = ends.iter().any(|ends| answer.get(20..20 + ends.len()) == Some(ends.as_slice()));
    let (uid, inode) = (word(80)?, word(84)?);
    Some(match (connected, inode, uid) {
        // A socket that no process holds any more is shown as root's.
        (false, _, _) | (_, 0, _) => Owner::Gone,
        (_, _, NOBODY) if !*KNOWS_EVERYBODY => Owner::Untold,
        (_, _, uid) => Owner::User(uid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel says the same of a connection that is gone and of every one of a protocol that it has no
    /// diagnosis for, as it has none for TCP where the module tcp_diag is missing.
    #[test]
    fn a_kernel_without_the_diagnosis_does_not_tell_and_closes_no_connection() {
        const WITHOUT_DIAGNOSIS: u8 = 253;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, own) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        assert_eq!(Owner::of_protocol(WITHOUT_DIAGNOSIS, peer, own), Owner::Untold);
        assert_eq!(
            Owner::of_protocol(IPPROTO_TCP, peer, own),
            Owner::User(rustix::process::geteuid().as_raw())
        );
        assert_eq!(Owner::of_protocol(IPPROTO_TCP, own, own), Owner::Gone);
    }
}

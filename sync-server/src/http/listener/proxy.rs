//! The PROXY protocol, version 2: whose connection a trusted proxy passes on (haproxy's
//! `proxy-protocol.txt`, section 2.2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every header begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header after its first 16 bytes: the addresses take 36, and what a proxy adds to them is
/// passed over.
const MOST: usize = 2_048;
/// How long a header may take: the proxy says it by itself, before the client says anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a trusted proxy's connection cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It does not begin with a header.
    #[error("it sent no PROXY protocol v2 header; switch that on there, or take it out of trusted_proxies")]
    Missing,
    /// The header is not one of TCP connections, or too long.
    #[error(
        "its PROXY protocol header is not one of a TCP connection (version and command {0:#04x}, family {1:#04x}, {2} bytes)"
    )]
    Malformed(u8, u8, usize),
    /// It did not come whole.
    #[error("its PROXY protocol header broke off or took too long: {0}")]
    Broken(#[from] io::Error),
}

/// Reads the header that a connection begins with, and not a byte more: the client's address; none where
/// the proxy speaks for itself, as when it looks after the server's health.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let read = tokio::time::timeout(PATIENCE, read_patiently(stream)).await;
    read.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

async fn read_patiently(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut signature = [0; SIGNATURE.len()];
    stream.read_exact(&mut signature).await?;
    if signature != SIGNATURE {
        return Err(ProxyError::Missing);
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let malformed = || ProxyError::Malformed(command, family, length);
    if length > MOST {
        return Err(malformed());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let client: Option<(IpAddr, u16)> = match (command, family) {
        // LOCAL, and PROXY for what has no address.
        (0x20, _) | (0x21, 0x00) => return Ok(None),
        (0x21, 0x11) => source::<4>(&rest).map(|(ip, port)| (Ipv4Addr::from(ip).into(), port)),
        (0x21, 0x21) => source::<16>(&rest).map(|(ip, port)| (Ipv6Addr::from(ip).into(), port)),
        _ => None,
    };
    client.map(|client| Some(SocketAddr::from(client))).ok_or_else(malformed)
}

/// The source of a pair of addresses: both addresses, then both ports.
fn source<const N: usize>(rest: &[u8]) -> Option<([u8; N], u16)> {
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (_destination, rest) = rest.split_first_chunk::<N>()?;
    let (&[high, low, _, _], _) = rest.split_first_chunk::<4>()?;
    Some((*source, u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(bytes: &[u8]) -> Result<Option<String>, ProxyError> {
        let mut bytes = bytes;
        let address = read(&mut bytes).await?;
        assert_eq!(bytes, b"TLS", "what comes after the header is left alone");
        Ok(address.map(|address| address.to_string()))
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest, b"TLS"].concat()
    }

    #[tokio::test]
    async fn a_header_gives_the_clients_address_and_whatever_else_it_says_is_passed_over() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xC3, 0x50, 0x20, 0xFC];
        assert_eq!(check(&header(0x21, 0x11, &four)).await.unwrap().unwrap(), "192.0.2.7:50000");
        let more = [four.as_slice(), &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(check(&header(0x21, 0x11, &more)).await.unwrap().unwrap(), "192.0.2.7:50000");
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 9, 80);
        assert_eq!(check(&header(0x21, 0x21, &six)).await.unwrap().unwrap(), "[2001::9]:80");
        assert_eq!(check(&header(0x20, 0x00, &[])).await.unwrap(), None, "the proxy itself");
        assert_eq!(check(&header(0x20, 0x11, &four)).await.unwrap(), None);
        assert_eq!(check(&header(0x21, 0x00, &[])).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_header_of_a_tcp_connection_is_refused() {
        assert!(matches!(check(b"\x16\x03\x01 and so on, as TLS begins").await, Err(ProxyError::Missing)));
        assert!(matches!(check(b"PROXY TCP4 192.0.2.7").await, Err(ProxyError::Missing)), "version 1");
        for (command, family, length) in [
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x12, 12),
            (0x21, 0x31, 216),
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
        ] {
            let refused = check(&header(command, family, &vec![0; length])).await;
            assert!(
                matches!(refused, Err(ProxyError::Malformed(..))),
                "{command:#x} {family:#x}: {refused:?}"
            );
        }
        let long = check(&header(0x21, 0x11, &[0; MOST + 1])).await;
        assert!(matches!(long, Err(ProxyError::Malformed(..))), "{long:?}");
        let broken = check(&header(0x21, 0x11, &[0; 12])[..20]).await;
        assert!(matches!(broken, Err(ProxyError::Broken(_))), "{broken:?}");
    }
}

//! Networks: what an address counts as, wherever addresses are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The network that an address counts as: an IPv4 address is one, also where it is written as IPv6; of IPv6 whoever
/// has one has its whole /64.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    shared(address, 4)
}

/// The site that a network is of: whoever has a site has all its networks, which of IPv6 is a /48 of 65,536.
#[must_use]
pub fn site(network: IpAddr) -> IpAddr {
    shared(network, 3)
}

/// An address of IPv6 as far as so many of its segments say; one of IPv4 as it is.
fn shared(address: IpAddr, segments: usize) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => {
            let mut own = six.segments();
            own.iter_mut().skip(segments).for_each(|segment| *segment = 0);
            IpAddr::V6(Ipv6Addr::from(own))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_as_its_network_and_a_mapped_one_as_ipv4() {
        let of = |text: &str| client_network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(site(of("2001:db8:1:2::1")), site(of("2001:db8:1:3::1")));
        assert_ne!(site(of("2001:db8:1:2::1")), site(of("2001:db8:2:2::1")));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(site(of("192.0.2.1")), site(of("192.0.2.2")));
    }
}

//! Which addresses nothing is fetched from: those that mean something else here than elsewhere (RFC 6890, and IANA's registries of
//! special-purpose addresses).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is that is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RefusedAddress(pub &'static str);

/// Checks an address. `permitted` are networks that an operator has allowed for this host; they open what is private
/// ([`is_private_network`]), and nothing else.
///
/// # Errors
///
/// [`RefusedAddress`] says what it is.
pub fn check_address(address: IpAddr, permitted: &[IpNet]) -> Result<(), RefusedAddress> {
    // What is mapped goes to the IPv4 address.
    let address = address.to_canonical();
    match special(address) {
        None => Ok(()),
        Some((_, Reach::Private)) if permitted.iter().any(|network| network.contains(&address)) => Ok(()),
        Some((name, _)) => Err(RefusedAddress(name)),
    }
}

/// Whether a network lies within those that an operator may open for a host: loopback, private, shared and unique local addresses.
#[must_use]
pub fn is_private_network(network: &IpNet) -> bool {
    let ipv4 = IPV4.iter().map(|range| (IpNet::V4(range.network), range.reach));
    let ipv6 = IPV6.iter().map(|range| (IpNet::V6(range.network), range.reach));
    let mut private = ipv4.chain(ipv6).filter(|(_, reach)| *reach == Reach::Private);
    private.any(|(private, _)| private.contains(network))
}

/// Whether an operator may open addresses for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Never,
    Private,
}

struct Range<N> {
    network: N,
    name: &'static str,
    reach: Reach,
}

const fn ipv4(octets: [u8; 4], length: u8, name: &'static str, reach: Reach) -> Range<Ipv4Net> {
    let [a, b, c, d] = octets;
    Range { network: Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length), name, reach }
}

const fn ipv6(start: [u16; 4], length: u8, name: &'static str, reach: Reach) -> Range<Ipv6Net> {
    let [a, b, c, d] = start;
    Range { network: Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length), name, reach }
}

/// The first that matches counts.
const IPV4: [Range<Ipv4Net>; 18] = [
    ipv4([100, 100, 100, 200], 32, METADATA, Reach::Never),
    // Azure's, among addresses that are public elsewhere.
    ipv4([168, 63, 129, 16], 32, METADATA, Reach::Never),
    ipv4([127, 0, 0, 0], 8, "loopback", Reach::Private),
    ipv4([10, 0, 0, 0], 8, "private", Reach::Private),
    ipv4([172, 16, 0, 0], 12, "private", Reach::Private),
    ipv4([192, 168, 0, 0], 16, "private", Reach::Private),
    ipv4([100, 64, 0, 0], 10, "shared (CGNAT)", Reach::Private),
    ipv4([0, 0, 0, 0], 8, "unspecified or of this network", Reach::Never),
    ipv4([169, 254, 0, 0], 16, "link-local", Reach::Never),
    ipv4([192, 0, 0, 0], 24, "for protocols", Reach::Never),
    ipv4([192, 0, 2, 0], 24, DOCUMENTATION, Reach::Never),
    ipv4([192, 88, 99, 0], 24, "of 6to4 relays", Reach::Never),
    ipv4([198, 18, 0, 0], 15, "for benchmarks", Reach::Never),
    ipv4([198, 51, 100, 0], 24, DOCUMENTATION, Reach::Never),
    ipv4([203, 0, 113, 0], 24, DOCUMENTATION, Reach::Never),
    ipv4([224, 0, 0, 0], 4, "multicast", Reach::Never),
    ipv4([255, 255, 255, 255], 32, "broadcast", Reach::Never),
    ipv4([240, 0, 0, 0], 4, "reserved", Reach::Never),
];

/// The first that matches counts.
const IPV6: [Range<Ipv6Net>; 13] = [
    // All of `::/96` but loopback: the deprecated IPv4-compatible addresses, and the unspecified one.
    Range { network: Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), name: "loopback", reach: Reach::Private },
    ipv6([0, 0, 0, 0], 96, "unspecified or IPv4-compatible", Reach::Never),
    Range { network: Ipv6Net::new_assert(METADATA_OF_AWS, 128), name: METADATA, reach: Reach::Never },
    Range { network: Ipv6Net::new_assert(METADATA_OF_GOOGLE, 128), name: METADATA, reach: Reach::Never },
    ipv6([0xfc00, 0, 0, 0], 7, "unique local", Reach::Private),
    ipv6([0xfe80, 0, 0, 0], 10, "link-local", Reach::Never),
    ipv6([0xfec0, 0, 0, 0], 10, "site-local", Reach::Never),
    ipv6([0xff00, 0, 0, 0], 8, "multicast", Reach::Never),
    // Teredo is in there, whose addresses hold IPv4 addresses.
    ipv6([0x2001, 0, 0, 0], 23, "for protocols (Teredo, ORCHID)", Reach::Never),
    ipv6([0x2001, 0xdb8, 0, 0], 32, DOCUMENTATION, Reach::Never),
    // RFC 7526 has ended it.
    ipv6([0x2002, 0, 0, 0], 16, "6to4", Reach::Never),
    ipv6([0x3fff, 0, 0, 0], 20, DOCUMENTATION, Reach::Never),
    ipv6([0x64, 0xff9b, 1, 0], 48, "local NAT64", Reach::Never),
];

const METADATA: &str = "of a cloud's metadata service";
const DOCUMENTATION: &str = "for documentation";
const METADATA_OF_AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const METADATA_OF_GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
/// RFC 6052 §2.1: behind a gateway that a whole network shares, every IPv4 address is one of these.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// All that is assigned for use across the Internet.
const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What an address is that not everybody reaches alike.
fn special(address: IpAddr) -> Option<(&'static str, Reach)> {
    match address {
        IpAddr::V4(address) => of_ipv4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            // A network that is permitted is meant without a gateway.
            of_ipv4(Ipv4Addr::new(a, b, c, d)).map(|(name, _)| (name, Reach::Never))
        }
        IpAddr::V6(address) => {
            let named = IPV6.iter().find(|range| range.network.contains(&address));
            let unassigned = || (!GLOBAL_UNICAST.contains(&address)).then_some(("not global unicast", Reach::Never));
            named.map(|range| (range.name, range.reach)).or_else(unassigned)
        }
    }
}

fn of_ipv4(address: Ipv4Addr) -> Option<(&'static str, Reach)> {
    IPV4.iter().find(|range| range.network.contains(&address)).map(|range| (range.name, range.reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, permitted: &[&str], expected: Result<(), &str>) {
        let permitted: Vec<IpNet> = permitted.iter().map(|network| network.parse().unwrap()).collect();
        let found = check_address(address.parse().unwrap(), &permitted).map_err(|RefusedAddress(name)| name);
        assert_eq!(found, expected, "{address} with {permitted:?}");
    }

    /// SS-1 of the catalogue of bad inputs: the first and the last address of each range, and the neighbours outside.
    #[test]
    fn ss_1_what_is_special_is_refused_to_its_last_address() {
        for (name, refused) in [
            ("unspecified or of this network", &["0.0.0.0", "0.255.255.255"][..]),
            ("private", &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255"]),
            ("private", &["192.168.0.0", "192.168.255.255"]),
            ("shared (CGNAT)", &["100.64.0.0", "100.127.255.255"]),
            ("loopback", &["127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"]),
            ("link-local", &["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::", "fe80::1", "febf:ffff::"]),
            ("for protocols", &["192.0.0.0", "192.0.0.192", "192.0.0.255"]),
            ("for documentation", &["192.0.2.0", "192.0.2.255", "198.51.100.0", "203.0.113.255"]),
            ("for documentation", &["2001:db8::", "2001:db8:ffff:ffff::", "3fff::1", "3fff:fff:ffff::"]),
            ("of 6to4 relays", &["192.88.99.0", "192.88.99.255"]),
            ("for benchmarks", &["198.18.0.0", "198.19.255.255"]),
            ("multicast", &["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ffff::"]),
            ("reserved", &["240.0.0.0", "255.255.255.254"]),
            ("broadcast", &["255.255.255.255"]),
            ("of a cloud's metadata service", &["100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"]),
            ("unique local", &["fc00::", "fd12:3456::1", "fdff:ffff::"]),
            ("site-local", &["fec0::1", "feff::1"]),
            ("6to4", &["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"]),
            ("for protocols (Teredo, ORCHID)", &["2001::1", "2001:0:808:808::f7f7:f7f7", "2001:10::1", "2001:1ff::1"]),
            ("local NAT64", &["64:ff9b:1::a9fe:a9fe", "64:ff9b:1:ffff::808:808"]),
            ("unspecified or IPv4-compatible", &["::", "::2", "::127.0.0.1", "::8.8.8.8"]),
            ("not global unicast", &["100::1", "5f00::1", "1fff::1", "4000::1", "64:ff9c::1", "::1:0:0"]),
            // IPv4 addresses in others.
            ("loopback", &["::ffff:127.0.0.1", "64:ff9b::127.0.0.1"]),
            ("private", &["::ffff:10.0.0.1", "64:ff9b::192.168.0.1"]),
            ("link-local", &["::ffff:169.254.169.254", "64:ff9b::169.254.169.254"]),
            ("unspecified or of this network", &["::ffff:0.0.0.0", "64:ff9b::"]),
        ] {
            for address in refused {
                check(address, &[], Err(name));
            }
        }
        for public in [
            "1.0.0.0",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2a00::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            check(public, &[], Ok(()));
        }
    }

    #[test]
    fn an_operator_opens_private_networks_and_no_others() {
        check("10.1.2.3", &["10.1.0.0/16"], Ok(()));
        check("::ffff:10.1.2.3", &["10.1.0.0/16"], Ok(()));
        check("10.2.0.0", &["10.1.0.0/16"], Err("private"));
        check("127.0.0.1", &["10.0.0.0/8", "127.0.0.0/8"], Ok(()));
        check("::1", &["127.0.0.0/8"], Err("loopback"));
        check("::1", &["::1/128"], Ok(()));
        check("fd12::1", &["fc00::/7"], Ok(()));
        check("100.64.0.1", &["100.64.0.0/10"], Ok(()));
        check("8.8.8.8", &["10.0.0.0/8"], Ok(()));
        for (address, name) in [
            ("169.254.169.254", "link-local"),
            ("0.0.0.0", "unspecified or of this network"),
            ("100.100.100.200", "of a cloud's metadata service"),
            ("224.0.0.1", "multicast"),
        ] {
            check(address, &["0.0.0.0/0"], Err(name));
        }
        check("64:ff9b::10.0.0.1", &["10.0.0.0/8", "::/0"], Err("private"));
        check("fd00:ec2::254", &["fc00::/7"], Err("of a cloud's metadata service"));
        check("fe80::1", &["::/0"], Err("link-local"));

        let is_private = |network: &str| is_private_network(&network.parse().unwrap());
        for network in
            ["10.0.0.0/8", "10.1.2.3/32", "127.0.0.0/8", "192.168.7.0/24", "100.64.0.0/10", "::1/128", "fd00::/8"]
        {
            assert!(is_private(network), "{network}");
        }
        for network in ["0.0.0.0/0", "10.0.0.0/7", "8.8.8.0/24", "169.254.0.0/16", "::/0", "fe80::/10", "2000::/3"] {
            assert!(!is_private(network), "{network}");
        }
    }
}

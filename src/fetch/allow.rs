//! Whom an operator lets the server fetch from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::fetch::address::{check_address, is_private_network};
use crate::oauth::fetch_uri::{FetchHost, FetchUri, PORT_USUAL};

/// The hosts that may be fetched from. There is none unless an operator names one.
///
/// ```text
/// client.example               at port 443, at public addresses
/// client.example:8443          at that port alone
/// *.partner.example            every name below, and not partner.example itself
/// keys.corp.example=10.0.0.0/8+fd00::/8
///                              also at these private addresses
/// 10.1.2.3:8443=10.1.2.3/32    an address, likewise
/// http://127.0.0.1:8080        without TLS: this machine's own address, for tests
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    is_plain: bool,
    hosts: Hosts,
    port: u16,
    /// The private addresses that it may have.
    networks: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    One(FetchHost),
    /// All names below this one.
    Below(String),
}

/// Why a text names no hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {ALLOWED_WORDS}")]
pub struct InvalidAllowList;

const NONE: &str = "none";

/// What an allow-list may be.
pub const ALLOWED_WORDS: &str = "none, or hosts with commas between them, each a name in small letters or an address, perhaps with a port: \
     client.example, client.example:8443, *.partner.example (of at least two labels), http://127.0.0.1:PORT; behind = the loopback, \
     private, CGNAT or unique local networks in which it may be, as in keys.corp.example=10.0.0.0/8+fd00::/8";

impl AllowList {
    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether nothing may be fetched.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The private networks in which the host of an address may be; `None` where nothing may be fetched from it.
    #[must_use]
    pub fn find(&self, uri: &FetchUri) -> Option<Vec<IpNet>> {
        let matching = self.0.iter().filter(|allowed| allowed.matches(uri)).collect::<Vec<_>>();
        (!matching.is_empty()).then(|| matching.iter().flat_map(|allowed| &allowed.networks).copied().collect())
    }
}

impl FromStr for AllowList {
    type Err = InvalidAllowList;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NONE {
            return Ok(Self::default());
        }
        text.split(',').map(|one| Allowed::parse(one.trim())).collect::<Option<_>>().map(Self).ok_or(InvalidAllowList)
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.0.iter().map(Allowed::to_string).collect::<Vec<_>>();
        formatter.write_str(if hosts.is_empty() { NONE } else { "" })?;
        formatter.write_str(&hosts.join(","))
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        if text == NONE {
            return None;
        }
        let (authority, networks) = text.split_once('=').map_or((text, None), |(host, rest)| (host, Some(rest)));
        let networks = networks.map_or_else(|| Some(Vec::new()), read_networks)?;
        if let Some(below) = authority.strip_prefix("*.") {
            // Read as a host of the name below.
            let (name, port) = read_authority("https", below)?;
            let FetchHost::Name(name) = name else { return None };
            return name.contains('.').then_some(Self { is_plain: false, hosts: Hosts::Below(name), port, networks });
        }
        if let Some(authority) = authority.strip_prefix("http://") {
            let (host, port) = read_authority("http", authority).filter(|_| networks.is_empty())?;
            let FetchHost::Address(address) = host else { return None };
            return Some(Self { is_plain: true, hosts: Hosts::One(host), port, networks: vec![address.into()] });
        }
        let (host, port) = read_authority("https", authority)?;
        let is_reachable = |address: IpAddr| check_address(address, &networks).is_ok();
        match host {
            FetchHost::Address(address) if !is_reachable(address) => None,
            host => Some(Self { is_plain: false, hosts: Hosts::One(host), port, networks }),
        }
    }

    fn matches(&self, uri: &FetchUri) -> bool {
        let is_host = match (&self.hosts, uri.host()) {
            (Hosts::One(host), asked) => host == asked,
            (Hosts::Below(name), FetchHost::Name(asked)) => {
                asked.strip_suffix(name.as_str()).is_some_and(|before| before.ends_with('.'))
            }
            (Hosts::Below(_), FetchHost::Address(_)) => false,
        };
        is_host && self.port == uri.port() && self.is_plain == uri.is_plain()
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_plain { "http://" } else { "" })?;
        match &self.hosts {
            Hosts::One(host) => host.fmt(formatter)?,
            Hosts::Below(name) => write!(formatter, "*.{name}")?,
        }
        if self.is_plain || self.port != PORT_USUAL {
            write!(formatter, ":{}", self.port)?;
        }
        if self.is_plain || self.networks.is_empty() {
            return Ok(());
        }
        let networks = self.networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        write!(formatter, "={}", networks.join("+"))
    }
}

fn read_authority(scheme: &str, authority: &str) -> Option<(FetchHost, u16)> {
    let has_more = authority.contains(['/', '?']);
    let uri = FetchUri::parse(&format!("{scheme}://{authority}/")).ok().filter(|_| !has_more)?;
    Some((uri.host().clone(), uri.port()))
}

fn read_networks(text: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| text.parse::<IpNet>().ok().filter(is_private_network).map(|network| network.trunc());
    text.split('+').map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_shown_as_it_is_read() {
        for text in [
            "client.example",
            "client.example:8443",
            "*.partner.example",
            "a.example,b.example,*.c.example:1",
            "keys.corp.example=10.0.0.0/8+fd00::/8",
            "*.corp.example=192.168.0.0/16",
            "localhost:8443=127.0.0.0/8+::1/128",
            "10.1.2.3:8443=10.1.2.3/32",
            "8.8.8.8",
            "[2a00::1]:8443",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
        ] {
            assert_eq!(text.parse::<AllowList>().unwrap().to_string(), text);
        }
        assert_eq!("a.example, b.example:443".parse::<AllowList>().unwrap().to_string(), "a.example,b.example");
        assert_eq!(AllowList::default().to_string(), "none");
        for text in [
            "",
            ",",
            "a.example,",
            "none,a.example",
            "*",
            "*.example",
            "*.*.example.com",
            "a.*.example.com",
            "*.10.0.0.1",
            "A.example",
            "https://a.example",
            "a.example/keys",
            "a.example?",
            "a.example:0",
            "a.example:",
            "user@a.example",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            // Private, and no network says that this is meant.
            "10.1.2.3",
            "127.0.0.1",
            "[::ffff:10.0.0.1]",
            "169.254.169.254",
            "169.254.169.254=169.254.0.0/16",
            "a.example=",
            "a.example=10.0.0.0/8+",
            "a.example=10.0.0.0",
            "a.example=0.0.0.0/0",
            "a.example=::/0",
            "a.example=8.8.8.0/24",
            "a.example=169.254.0.0/16",
            "http://a.example:80",
            "http://10.0.0.1:80",
            "http://127.0.0.1:80=10.0.0.0/8",
        ] {
            assert_eq!(text.parse::<AllowList>().ok().filter(|list| !list.is_empty()), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_allowed_by_host_port_and_scheme() {
        let allowed = |list: &str, uri: &str| list.parse::<AllowList>().unwrap().find(&FetchUri::parse(uri).unwrap());
        let check = |list: &str, uri: &str, is_allowed: bool| {
            assert_eq!(allowed(list, uri).is_some(), is_allowed, "{list}: {uri}");
        };
        check("a.example", "https://a.example/keys", true);
        check("a.example", "https://a.example:443", true);
        check("a.example", "https://a.example:8443/keys", false);
        check("a.example:8443", "https://a.example:8443/keys", true);
        check("a.example:8443", "https://a.example/keys", false);
        check("a.example", "https://b.example/", false);
        check("a.example", "https://x.a.example/", false);
        check("a.example", "https://a.example.evil.example/", false);
        check("*.a.example", "https://x.a.example/", true);
        check("*.a.example", "https://x.y.a.example/", true);
        check("*.a.example", "https://a.example/", false);
        check("*.a.example", "https://xa.example/", false);
        check("b.example,*.a.example:1", "https://x.a.example:1/", true);
        check("8.8.8.8", "https://8.8.8.8/", true);
        check("8.8.8.8", "https://[::ffff:8.8.8.8]/", true);
        check("http://127.0.0.1:80", "http://127.0.0.1:80/", true);
        check("http://127.0.0.1:80", "http://127.0.0.1/", true);
        check("http://127.0.0.1:80", "http://127.0.0.1:81/", false);
        check("http://127.0.0.1:443", "https://127.0.0.1:443/", false);
        check("127.0.0.1:80=127.0.0.0/8", "http://127.0.0.1:80/", false);
        assert_eq!(AllowList::default().find(&FetchUri::parse("https://a.example/").unwrap()), None);
        let networks = |list: &str| allowed(list, "https://a.example/").unwrap().len();
        assert_eq!([networks("a.example"), networks("a.example=10.0.0.0/8")], [0, 1]);
        assert_eq!(networks("a.example=10.0.0.0/8+::1/128,b.example=fc00::/7,a.example"), 2);
    }
}

//! From where a request comes, as far as that can be believed.

use std::net::IpAddr;

use actix_web::dev::RequestHead;
use actix_web::http::header::{self, HeaderMap};
use ipnet::IpNet;

/// The address of whoever is before the trusted proxies: that of the peer where it is none of them. Where both `Forwarded` (RFC
/// 7239) and `X-Forwarded-For` are there and do not agree, one of them went through a proxy untouched, and neither counts.
pub(super) fn client_address(head: &RequestHead, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = head.peer_addr?.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let first_untrusted = |named: Option<Vec<Option<IpAddr>>>| {
        let named = named?;
        // The last is who spoke to our proxy; whoever that trusts named the one before.
        let mut believed = peer;
        for address in named.into_iter().rev() {
            let Some(address) = address else { break };
            believed = address;
            if !is_trusted(&address) {
                break;
            }
        }
        Some(believed)
    };
    match (first_untrusted(forwarded(head.headers())), first_untrusted(x_forwarded_for(head.headers()))) {
        (Some(address), None) | (None, Some(address)) => Some(address),
        (Some(one), Some(other)) if one == other => Some(one),
        _ => Some(peer),
    }
}

fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    elements(headers, header::FORWARDED.as_str(), |element| {
        let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
        node_address(node.trim().trim_matches('"'))
    })
}

fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    elements(headers, "x-forwarded-for", |element| node_address(element.trim()))
}

fn elements(headers: &HeaderMap, name: &str, read: impl Fn(&str) -> Option<IpAddr>) -> Option<Vec<Option<IpAddr>>> {
    let mut fields = headers.get_all(name).peekable();
    fields.peek()?;
    Some(fields.flat_map(|field| field.to_str().unwrap_or_default().split(',')).map(read).collect())
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn node_address(node: &str) -> Option<IpAddr> {
    let address = node.parse().ok();
    let bare = || node.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = || node.split_once(':').and_then(|(address, _)| address.parse().ok());
    address.or_else(bare).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[track_caller]
    fn check(peer: &str, fields: &[(&str, &str)], expected: &str) {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let request = TestRequest::default().peer_addr(format!("{peer}:1").parse().unwrap());
        let request = fields.iter().fold(request, |request, field| request.append_header(*field));
        let found = client_address(request.to_http_request().head(), &trusted);
        assert_eq!(found, Some(expected.parse().unwrap()), "{peer} {fields:?}");
    }

    #[test]
    fn only_a_trusted_proxy_says_whom_it_speaks_for() {
        check("192.0.2.1", &[("X-Forwarded-For", "198.51.100.7")], "192.0.2.1");
        check("192.0.2.1", &[("Forwarded", "for=198.51.100.7")], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[("X-Forwarded-For", "198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[("Forwarded", "proto=https; For=\"[2001:dc8::1]:4711\"")], "2001:dc8::1");
        check("[::ffff:10.0.0.1]", &[("X-Forwarded-For", "198.51.100.7:80")], "198.51.100.7");
    }

    #[test]
    fn what_the_client_wrote_itself_is_not_believed() {
        check("10.0.0.1", &[("X-Forwarded-For", "203.0.113.9, 198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[("X-Forwarded-For", "203.0.113.9, 198.51.100.7, 10.0.0.2")], "198.51.100.7");
        check("10.0.0.1", &[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.7")], "198.51.100.7");
        check("10.0.0.1", &[("X-Forwarded-For", "203.0.113.9, nonsense")], "10.0.0.1");
        check("10.0.0.1", &[("Forwarded", "for=unknown, for=10.0.0.3")], "10.0.0.3");
        check("10.0.0.1", &[("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", "198.51.100.7")], "10.0.0.1");
        check("10.0.0.1", &[("Forwarded", "for=198.51.100.7"), ("X-Forwarded-For", "198.51.100.7")], "198.51.100.7");
    }
}

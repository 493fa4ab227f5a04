//! Which names the page is asked by. A web site whose name leads to this address (DNS rebinding)
//! could read the page as its own; it is not one of them.

use std::net::IpAddr;

use crate::printable::printable;

/// Names beside addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// Takes names that the page may be asked by.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether the page may be asked by the value of a `Host` header: an address, which no web site
    /// can take for its name, or a name that is known.
    pub(super) fn admit(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let address = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let is_address = address.unwrap_or(&name).parse::<IpAddr>().is_ok();
        is_address || name == "localhost" || self.0.contains(&name)
    }
}

/// What is said to those who ask by another name.
pub(super) fn refusal(host: &str) -> String {
    let host = printable(without_port(host), 64);
    format!(
        "This page is not served as {host:?}: start `evenkeel page` with --host {host}, or ask by address.\n"
    )
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() =>
        {
            match name.starts_with('[') || !name.contains(':') {
                true => name,
                false => host,
            }
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_localhost_and_names_that_are_given_are_admitted() {
        let hosts = Hosts::new(&["Page.shop.svc".to_owned()]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:7403",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:7403",
            "localhost",
            "LOCALHOST:7403",
            "page.shop.svc:7403",
        ] {
            assert!(hosts.admit(host), "{host}");
        }
    }

    /// A web site whose name is pointed at 127.0.0.1 could read the page.
    #[test]
    fn any_other_name_is_refused() {
        let hosts = Hosts::new(&["page.shop.svc".to_owned()]);
        for host in [
            "",
            "evil.example",
            "evil.example:7403",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "shop.svc",
            "page.shop.svc.evil.example:7403",
            "[::1].evil.example",
            "127.0.0.1:7403:evil",
            "evil@127.0.0.1",
        ] {
            assert!(!hosts.admit(host), "{host}");
        }
    }
}

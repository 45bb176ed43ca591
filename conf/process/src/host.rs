//! The names under which a program answers on its own pages.
//!
//! A page of any web site may have a browser ask `http://name-of-its-own:9700/`, and have that name point to this
//! machine (DNS rebinding): for the browser it is the same site, so the page may read the answer. Such a request has
//! the site's name as its `Host`. So only names that nobody else can hold are answered to: IP addresses, `localhost`,
//! and those that the operator lists.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// Bytes of a name in a message.
const SHOWN_BYTES_MAX: usize = 100;

/// The names that are answered to, besides IP addresses and `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRefusal {
    /// `Host` is there more than once.
    Several,
    /// It is not a host, with or without a port.
    Malformed(String),
    /// A name that is not answered to.
    Unknown(String),
}

impl fmt::Display for HostRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Several => write!(f, "the request has more than one Host header"),
            Self::Malformed(host) => write!(f, "the Host header `{host}` cannot be read"),
            Self::Unknown(host) => write!(
                f,
                "the host name `{host}` is not served here: only IP addresses, localhost and configured names are"
            ),
        }
    }
}

impl Hosts {
    /// These names, in whatever case.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter();
        Self {
            names: names.map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    /// Judges a request by its `Host` headers and the host in its target. One without any is answered: no browser sends
    /// such a request.
    ///
    /// # Errors
    /// It is not to be answered.
    pub fn check<'h>(
        &self,
        headers: impl IntoIterator<Item = &'h [u8]>,
        target: Option<&str>,
    ) -> Result<(), HostRefusal> {
        let mut headers = headers.into_iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(HostRefusal::Several);
        }
        let target = target.map(str::as_bytes);
        header
            .into_iter()
            .chain(target)
            .try_for_each(|host| self.check_one(host))
    }

    fn check_one(&self, bytes: &[u8]) -> Result<(), HostRefusal> {
        let text = String::from_utf8_lossy(bytes);
        let Some(host) = without_port(&text) else {
            return Err(HostRefusal::Malformed(shown(&text)));
        };
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if is_address(host) || name == "localhost" || self.names.contains(&name) {
            return Ok(());
        }
        Err(HostRefusal::Unknown(shown(host)))
    }
}

fn is_address(host: &str) -> bool {
    match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv4()),
    }
}

fn without_port(text: &str) -> Option<&str> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(end);
    let is_port = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    (is_port && is_host).then_some(host)
}

fn shown(text: &str) -> String {
    let text = text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' });
    text.take(SHOWN_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_hold() {
        let hosts = Hosts::new(["Control.Internal".to_owned()]);
        let check = |host: &str| hosts.check([host.as_bytes()], None);
        for good in [
            "127.0.0.1",
            "127.0.0.1:9700",
            "10.1.2.3:",
            "[::1]",
            "[::1]:9700",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "control.internal:9700",
            "CONTROL.internal.",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for unknown in [
            "evil.example",
            "127.0.0.1.evil.example:9700",
            "localhost.evil.example",
            "x.localhost",
            "sub.control.internal",
            "2130706433",
            "0x7f.1",
            "[fe80::1%25lo]",
            "localhost..",
            "127.0.0.1.",
        ] {
            let found = check(unknown);
            assert!(
                matches!(found, Err(HostRefusal::Unknown(_))),
                "{unknown}: {found:?}"
            );
        }
        for malformed in [
            "",
            ":80",
            "a b",
            "localhost:x",
            "[::1",
            "[::1]x",
            "::1",
            "a,b:1,2",
            "user@localhost:1:2",
        ] {
            let found = check(malformed);
            assert!(
                matches!(found, Err(HostRefusal::Malformed(_))),
                "{malformed}: {found:?}"
            );
        }
    }

    #[test]
    fn every_place_of_a_request_is_judged() {
        let hosts = Hosts::default();
        let good: &[u8] = b"localhost";
        assert_eq!(hosts.check([good, good], None), Err(HostRefusal::Several));
        assert_eq!(hosts.check([], None), Ok(()));
        assert_eq!(hosts.check([good], Some("127.0.0.1:9700")), Ok(()));
        let refused = hosts.check([good], Some("evil.example"));
        assert_eq!(
            refused,
            Err(HostRefusal::Unknown("evil.example".to_owned()))
        );
    }
}

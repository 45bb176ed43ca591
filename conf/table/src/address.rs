//! Addresses as people write them: an IP address and a port, or what is wrong with it and what to do.
//!
//! Names are refused, not resolved: a look-up is one more thing that can fail or lie, and it would make the same file mean
//! different things to different proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::problem::Quoted;

/// What an address is for, which says what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To listen on: every address of the machine and a free port are fine.
    Listen,
    /// To connect to: there has to be somebody who can answer.
    Connect,
}

/// What is wrong with an address, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    pub message: String,
    pub hint: String,
}

/// The address that a text means.
///
/// # Errors
/// It is not an IP address with a port, or not one for this use.
pub fn parse(text: &str, purpose: Use) -> Result<SocketAddr, Objection> {
    let (message, hint) = match text.parse::<SocketAddr>() {
        Ok(address) => match unusable(address, purpose) {
            None => return Ok(address),
            Some((what, hint)) => (format!("{} {what}", Quoted(text)), hint),
        },
        Err(_) => {
            let (what, hint) = misread(text, purpose);
            (format!("{} {what}", Quoted(text)), hint)
        }
    };
    Err(Objection { message, hint })
}

/// Why nobody could be reached at an address, or nobody listen there.
fn unusable(address: SocketAddr, purpose: Use) -> Option<(String, String)> {
    // `::ffff:0.0.0.0` is what it stands for.
    let ip = address.ip().to_canonical();
    let said = |what: &str, hint: &str| Some((what.to_owned(), hint.to_owned()));
    if ip.is_multicast() {
        return said(
            "is a multicast address, which TCP does not have",
            "write the address of one machine",
        );
    }
    if ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return said(
            "is the broadcast address, which TCP does not have",
            "write the address of one machine",
        );
    }
    if purpose == Use::Listen {
        return None;
    }
    if ip.is_unspecified() {
        return said(
            "means every address of a machine: a program listens there, and nobody can be reached there",
            "write the address at which it is reached, such as 10.0.0.7, or 127.0.0.1 on this machine",
        );
    }
    if address.port() == 0 {
        return said("has port 0", "write a port from 1 to 65535");
    }
    None
}

/// What somebody most likely meant with a text that is not an address.
fn misread(text: &str, purpose: Use) -> (String, String) {
    const PLAIN: &str = "is not an IP address with a port";
    let example = example(purpose);
    let said = |what: &str, hint: String| (what.to_owned(), hint);
    let trimmed = text.trim();
    if trimmed != text && !trimmed.is_empty() {
        let what = "begins or ends with white space";
        return said(
            what,
            format!("write `{trimmed}`, without the spaces in the quotes"),
        );
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return url(scheme, rest, &example);
    }
    if text.contains('$') || text.contains("{{") || text.contains('%') && text.ends_with('%') {
        let hint = format!(
            "variables are not filled in here; have it done by what brings this file to its place, such as envsubst, \
             and write {example}"
        );
        return said("holds a variable", hint);
    }
    if let Some((address, _)) = text.split_once('/') {
        let hint = if address.parse::<SocketAddr>().is_ok() {
            format!("write `{address}` alone")
        } else {
            format!("write {example}")
        };
        return said("holds a `/`, which no address has", hint);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return said(
            PLAIN,
            format!("add the port, such as {}", SocketAddr::new(ip, 8080)),
        );
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return said("is a port without an address", format!("write {example}"));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv4Addr>().is_ok() || host.ends_with(']') => {
            bad_port(host, port)
        }
        Some(("" | "*", _)) => said("is a port without an address", format!("write {example}")),
        Some((host, _)) if host.contains(':') => said(
            PLAIN,
            "write an IPv6 address in brackets, such as [::1]:8080".to_owned(),
        ),
        Some((host, port)) if is_name(host) => said(
            PLAIN,
            format!(
                "{} is a name, and names are not resolved; write an IP address, such as {}:{port}",
                Quoted(host),
                if host == "localhost" {
                    "127.0.0.1"
                } else {
                    "10.0.0.7"
                },
            ),
        ),
        _ => said(
            PLAIN,
            format!("write an IP address and a port, such as {example}; names are not resolved"),
        ),
    }
}

fn example(purpose: Use) -> String {
    match purpose {
        Use::Listen => {
            "127.0.0.1:8080, or 0.0.0.0:8080 for every address of the machine".to_owned()
        }
        Use::Connect => "10.0.0.7:8080".to_owned(),
    }
}

fn url(scheme: &str, rest: &str, example: &str) -> (String, String) {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let write = if authority.parse::<SocketAddr>().is_ok() {
        format!("write `{authority}` alone")
    } else {
        format!("write an IP address and a port, such as {example}; names are not resolved")
    };
    let hint = if scheme.eq_ignore_ascii_case("http") {
        write
    } else {
        format!("{write}; a cell is reached over TLS by its key `tls`, and nothing else is")
    };
    ("is a URL, not an IP address with a port".to_owned(), hint)
}

fn bad_port(host: &str, port: &str) -> (String, String) {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_address =
        host.parse::<Ipv4Addr>().is_ok() || format!("{host}:1").parse::<SocketAddr>().is_ok();
    let what = match (is_address, digits) {
        (true, true) => format!("has port {port}, and the largest is 65535"),
        (true, false) => format!("has {} where its port belongs", Quoted(port)),
        (false, _) => "is not an IP address with a port".to_owned(),
    };
    let hint = if is_address {
        format!("write a port from 1 to 65535, such as {host}:8080")
    } else {
        "write an IPv6 address in brackets, such as [::1]:8080".to_owned()
    };
    (what, hint)
}

fn is_name(host: &str) -> bool {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    host.bytes().any(|byte| byte.is_ascii_alphabetic()) && host.bytes().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, purpose: Use, expected: &str) {
        let said = match parse(text, purpose) {
            Ok(address) => address.to_string(),
            Err(Objection { message, hint }) => format!("{message}; {hint}"),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn good_addresses() {
        for text in [
            "10.0.0.7:8080",
            "[::1]:9001",
            "127.0.0.1:1",
            "[fe80::1%2]:80",
        ] {
            check(text, Use::Connect, text);
            check(text, Use::Listen, text);
        }
        for text in ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:0"] {
            check(text, Use::Listen, text);
        }
    }

    #[test]
    fn nobody_is_reached_there() {
        let one = "write the address of one machine";
        for text in [
            "224.0.0.1:80",
            "239.1.2.3:80",
            "[ff02::1]:80",
            "[::ffff:224.0.0.1]:80",
        ] {
            let expected =
                format!("`{text}` is a multicast address, which TCP does not have; {one}");
            check(text, Use::Connect, &expected);
            check(text, Use::Listen, &expected);
        }
        let expected = format!(
            "`255.255.255.255:80` is the broadcast address, which TCP does not have; {one}"
        );
        check("255.255.255.255:80", Use::Connect, &expected);
        for text in ["0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"] {
            check(
                text,
                Use::Connect,
                &format!(
                    "`{text}` means every address of a machine: a program listens there, and nobody can be reached \
                     there; write the address at which it is reached, such as 10.0.0.7, or 127.0.0.1 on this machine"
                ),
            );
        }
        check(
            "10.0.0.7:0",
            Use::Connect,
            "`10.0.0.7:0` has port 0; write a port from 1 to 65535",
        );
    }

    #[test]
    fn what_people_write_instead() {
        let check = |text: &str, expected: &str| check(text, Use::Connect, expected);
        let tls = "a cell is reached over TLS by its key `tls`, and nothing else is";
        check(
            "http://10.0.0.7:8080/",
            "`http://10.0.0.7:8080/` is a URL, not an IP address with a port; write `10.0.0.7:8080` alone",
        );
        check(
            "https://10.0.0.7:8443",
            &format!(
                "`https://10.0.0.7:8443` is a URL, not an IP address with a port; write `10.0.0.7:8443` alone; {tls}"
            ),
        );
        check(
            "http://cell-1/",
            "`http://cell-1/` is a URL, not an IP address with a port; write an IP address and a port, such as \
             10.0.0.7:8080; names are not resolved",
        );
        let variable = "holds a variable; variables are not filled in here; have it done by what brings this file to its \
                        place, such as envsubst, and write 10.0.0.7:8080";
        for text in [
            "10.0.0.7:${PORT}",
            "$HOST:8080",
            "${ADDRESS}",
            "{{ host }}:80",
            "%HOST%",
        ] {
            check(text, &format!("`{text}` {variable}"));
        }
    }

    #[test]
    fn slips_of_the_pen() {
        let check = |text: &str, expected: &str| check(text, Use::Connect, expected);
        check(
            " 10.0.0.7:8080 ",
            "` 10.0.0.7:8080 ` begins or ends with white space; write `10.0.0.7:8080`, without the spaces in the quotes",
        );
        check(
            "10.0.0.7:70000",
            "`10.0.0.7:70000` has port 70000, and the largest is 65535; write a port from 1 to 65535, such as 10.0.0.7:8080",
        );
        check(
            "[::1]:99999",
            "`[::1]:99999` has port 99999, and the largest is 65535; write a port from 1 to 65535, such as [::1]:8080",
        );
        check(
            "10.0.0.7:http",
            "`10.0.0.7:http` has `http` where its port belongs; write a port from 1 to 65535, such as 10.0.0.7:8080",
        );
        check(
            "10.0.0.7:80/api",
            "`10.0.0.7:80/api` holds a `/`, which no address has; write `10.0.0.7:80` alone",
        );
        check(
            "localhost:80",
            "`localhost:80` is not an IP address with a port; `localhost` is a name, and names are not resolved; write an \
             IP address, such as 127.0.0.1:80",
        );
        check(
            "cell.internal:80",
            "`cell.internal:80` is not an IP address with a port; `cell.internal` is a name, and names are not resolved; \
             write an IP address, such as 10.0.0.7:80",
        );
        check(
            "[cell]:80",
            "`[cell]:80` is not an IP address with a port; write an IPv6 address in brackets, such as [::1]:8080",
        );
        check(
            "8080",
            "`8080` is a port without an address; write 10.0.0.7:8080",
        );
        check(
            ":8080",
            "`:8080` is a port without an address; write 10.0.0.7:8080",
        );
        check(
            "",
            "`` is not an IP address with a port; write an IP address and a port, such as 10.0.0.7:8080; names are not resolved",
        );
    }

    #[test]
    fn what_people_write_to_listen_on() {
        check(
            "*:8080",
            Use::Listen,
            "`*:8080` is a port without an address; write 127.0.0.1:8080, or 0.0.0.0:8080 for every address of the machine",
        );
    }
}

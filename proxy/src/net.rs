//! Networks of addresses, to know which peers are proxies of our own.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// A set of networks in CIDR notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<Network>,
}

/// Everything is compared as IPv6; IPv4 addresses in their mapped form (`::ffff:a.b.c.d`), so that a client reaching a
/// dual-stack listener is recognised too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    prefix: u128,
    mask: u128,
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    Address,
    Length,
    HostBits,
}

impl Networks {
    /// Adds a network such as `10.0.0.0/8`, or a single address.
    pub fn add(&mut self, text: &str) -> Result<(), NetworkError> {
        let (address, length) = text
            .split_once('/')
            .map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let (bits, offset) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let length = match length {
            Some(text) => text.parse::<u32>().map_err(|_| NetworkError::Length)?,
            None => bits,
        };
        if length > bits {
            return Err(NetworkError::Length);
        }
        let mask = u128::MAX.checked_shl(128 - (length + offset)).unwrap_or(0);
        let prefix = as_v6(address);
        if prefix & !mask != 0 {
            return Err(NetworkError::HostBits);
        }
        self.networks.push(Network { prefix, mask });
        Ok(())
    }

    pub fn contain(&self, address: IpAddr) -> bool {
        if self.networks.is_empty() {
            return false;
        }
        let address = as_v6(address);
        self.networks
            .iter()
            .any(|network| address & network.mask == network.prefix)
    }
}

fn as_v6(address: IpAddr) -> u128 {
    let v6: Ipv6Addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    u128::from(v6)
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "does not start with an IP address",
            Self::Length => "has a prefix length out of range",
            Self::HostBits => "has bits set beyond its prefix length",
        })
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership() {
        let check = |network: &str, address: &str, expected: bool| {
            let mut networks = Networks::default();
            networks.add(network).unwrap();
            assert_eq!(
                networks.contain(address.parse().unwrap()),
                expected,
                "{address} in {network}"
            );
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "fd00::1", false);
        check("::/0", "1.2.3.4", true);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
    }

    #[test]
    fn refusals() {
        let check = |text: &str, expected: NetworkError| {
            assert_eq!(Networks::default().add(text), Err(expected), "{text}");
        };
        check("example.com", NetworkError::Address);
        check("10.0.0.0/33", NetworkError::Length);
        check("10.0.0.0/", NetworkError::Length);
        check("10.0.0.1/8", NetworkError::HostBits);
    }
}

//! Networks of one size, as keys.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// How many bits of an address name its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    /// 0 to 32.
    pub ipv4: u8,
    /// 0 to 128.
    pub ipv6: u8,
}

/// An address without the bits that name a host, and how many are left. Shown as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    length: u8,
}

impl PrefixLengths {
    pub(super) fn network_of(self, address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let unused = 32 - u32::from(self.ipv4.min(32));
                let mask = u32::MAX.checked_shl(unused).unwrap_or(0);
                Network {
                    first: Ipv4Addr::from(u32::from(address) & mask).into(),
                    length: self.ipv4,
                }
            }
            IpAddr::V6(address) => {
                let unused = 128 - u32::from(self.ipv6.min(128));
                let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
                Network {
                    first: Ipv6Addr::from(u128::from(address) & mask).into(),
                    length: self.ipv6,
                }
            }
        }
    }

    /// Whether it is one of these networks, written as [`Network`] is shown.
    pub(super) fn can_be(self, key: &[u8]) -> bool {
        let text = std::str::from_utf8(key).ok();
        let address = text.and_then(|text| text.split_once('/')?.0.parse().ok());
        address.is_some_and(|address| Some(&*self.network_of(address).to_string()) == text)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

//! Headers as the proxy sends them, to cells that want to know whose connection they are given.

use std::net::{IpAddr, SocketAddr};

use super::{
    V1_BEGINNING, V2_BEGINNING, crc32c,
    tlvs::{AUTHORITY, CHECKSUM},
};

/// Version 1: a connection of the proxy's own, such as to see whether anybody is there.
pub const OWN_V1: &[u8] = b"PROXY UNKNOWN\r\n";
/// Version 2: the same.
pub const OWN_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The longest host name. What is longer is not a host name, and is left out.
const AUTHORITY_BYTES_MAX: usize = 255;

/// A connection that is passed on.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Who has made it.
    pub source: SocketAddr,
    /// Where it was made to.
    pub destination: SocketAddr,
    /// The host that the client asked for, if it said so and if it is to be passed on. Version 1 has no room for it.
    pub authority: Option<&'a str>,
}

impl Outgoing<'_> {
    /// A line of text.
    pub fn v1(&self) -> Vec<u8> {
        let (source, destination) = self.ends();
        let family = match source {
            IpAddr::V4(_) => "TCP4",
            IpAddr::V6(_) => "TCP6",
        };
        let (from, to) = (self.source.port(), self.destination.port());
        let line = format!("{family} {source} {destination} {from} {to}\r\n");
        [V1_BEGINNING, line.as_bytes()].concat()
    }

    /// Bytes, with a checksum.
    pub fn v2(&self) -> Vec<u8> {
        let mut header = V2_BEGINNING.to_vec();
        // What follows has its length once it is there.
        let (source, destination) = self.ends();
        let family = match source {
            IpAddr::V4(_) => 0x11,
            IpAddr::V6(_) => 0x21,
        };
        header.extend([0x21, family, 0, 0]);
        let length_at = header.len() - 2;
        for end in [source, destination] {
            match end {
                IpAddr::V4(it) => header.extend(it.octets()),
                IpAddr::V6(it) => header.extend(it.octets()),
            }
        }
        header.extend(self.source.port().to_be_bytes());
        header.extend(self.destination.port().to_be_bytes());
        let authority = self.authority.map(str::as_bytes);
        if let Some(authority) = authority.filter(|it| it.len() <= AUTHORITY_BYTES_MAX) {
            add(&mut header, AUTHORITY, authority);
        }
        add(&mut header, CHECKSUM, &[0; 4]);
        // At most some hundred bytes.
        let length = u16::try_from(header.len() - length_at - 2).unwrap_or(u16::MAX);
        header[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        let sum = crc32c::of(&[&header]);
        let sum_at = header.len() - 4;
        header[sum_at..].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// Both addresses, in the one family that a header has room for: IPv4 only if both are.
    fn ends(&self) -> (IpAddr, IpAddr) {
        let canonical = |end: SocketAddr| end.ip().to_canonical();
        match (canonical(self.source), canonical(self.destination)) {
            (IpAddr::V4(source), IpAddr::V6(destination)) => {
                (source.to_ipv6_mapped().into(), destination.into())
            }
            (IpAddr::V6(source), IpAddr::V4(destination)) => {
                (source.into(), destination.to_ipv6_mapped().into())
            }
            same => same,
        }
    }
}

fn add(header: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    header.push(kind);
    header.extend(length.to_be_bytes());
    header.extend(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Header, Progress, UNKNOWN, extensions, parse},
        *,
    };

    fn outgoing<'a>(source: &str, destination: &str, authority: Option<&'a str>) -> Outgoing<'a> {
        Outgoing {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            authority,
        }
    }

    fn line(source: &str, destination: &str) -> String {
        String::from_utf8(outgoing(source, destination, None).v1()).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(
            line("192.0.2.1:8080", "198.51.100.7:80"),
            "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n"
        );
        assert_eq!(
            line("[::ffff:192.0.2.1]:8080", "[::ffff:198.51.100.7]:80"),
            "PROXY TCP4 192.0.2.1 198.51.100.7 8080 80\r\n"
        );
        assert_eq!(
            line("[2001:db8::1]:1", "[2001:db8::2]:65535"),
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"
        );
        assert_eq!(
            line("192.0.2.1:8080", "[2001:db8::2]:80"),
            "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 8080 80\r\n"
        );
        assert_eq!(
            line("[2001:db8::1]:8080", "192.0.2.1:80"),
            "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 8080 80\r\n"
        );
    }

    #[test]
    fn bytes() {
        let header = outgoing("192.0.2.1:8080", "198.51.100.7:80", Some("shop.example")).v2();
        let expected: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x22\
            \xc0\0\x02\x01\xc6\x33\x64\x07\x1f\x90\0\x50\x02\0\x0cshop.example\x03\0\x04";
        assert_eq!(header[..header.len() - 4], *expected);
        let mixed = outgoing("192.0.2.1:8080", "[2001:db8::2]:80", None).v2();
        assert_eq!(mixed[13], 0x21);
        assert_eq!(
            mixed[16..32],
            *b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01"
        );
    }

    #[test]
    fn the_proxys_own() {
        let check = |header: &[u8], expected| {
            let bytes = header.len();
            let expected = Progress::Complete {
                bytes,
                header: expected,
            };
            assert_eq!(parse(header), Ok(expected));
        };
        check(OWN_V1, Header::Unknown);
        check(OWN_V2, Header::Local);
        assert_eq!(OWN_V1, [V1_BEGINNING, UNKNOWN, b"\r\n"].concat());
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_as_it_was_meant(
            source: SocketAddr,
            destination: SocketAddr,
            authority in prop::option::of("[a-z.]{1,255}"),
        ) {
            let outgoing = Outgoing { source, destination, authority: authority.as_deref() };
            let headers = [outgoing.v1(), outgoing.v2()];
            for header in &headers {
                let bytes = header.len();
                let Ok(Progress::Complete { bytes: read, header: Header::For(peer) }) = parse(header) else {
                    panic!("{}: {:?}", header.escape_ascii(), parse(header));
                };
                prop_assert_eq!(read, bytes);
                prop_assert_eq!(peer.ip().to_canonical(), source.ip().to_canonical());
                prop_assert_eq!(peer.port(), source.port());
            }
            let said = extensions(&headers[1]).find(|(kind, _)| *kind == AUTHORITY);
            prop_assert_eq!(said.map(|(_, value)| value), authority.as_deref().map(str::as_bytes));
            prop_assert!(extensions(&headers[1]).any(|(kind, _)| kind == CHECKSUM));
        }
    }
}

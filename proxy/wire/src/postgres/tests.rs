//! Every packet, whole and cut anywhere.

use super::*;

/// A packet with a right length.
fn packet_of(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(FIXED_BYTES + body.len()).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn check(bytes: &[u8], expected: Result<Packet, Fault>) {
    let expected = expected.map(|packet| {
        let bytes = bytes.len();
        Progress::Complete { bytes, packet }
    });
    assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
}

const VERSION_3: u32 = 3 << 16;
const PARAMETERS: &[u8] = b"user\0shop\0database\0\0options\0-c x=1\0\0";

#[test]
fn packets() {
    check(&SSL_REQUEST, Ok(Packet::SslRequest));
    check(&[0, 0, 0, 8, 4, 210, 22, 47], Ok(Packet::SslRequest));
    check(&GSSENC_REQUEST, Ok(Packet::GssEncRequest));
    for key in [4, 32, 256] {
        let body = vec![7; 4 + key];
        check(&packet_of(CANCEL_CODE, &body), Ok(Packet::CancelRequest));
    }
    for minor in [0, 2, 9_999] {
        let startup = packet_of(VERSION_3 | u32::from(minor), PARAMETERS);
        check(&startup, Ok(Packet::Startup { minor }));
    }
    check(
        &packet_of(VERSION_3, &[0]),
        Ok(Packet::Startup { minor: 0 }),
    );
}

#[test]
fn what_is_refused() {
    for body in [
        &b""[..],
        b"user",
        b"user\0shop",
        b"user\0shop\0",
        b"user\0\0",
        b"user\0shop\0\0\0",
        b"\0user\0shop\0\0",
    ] {
        check(&packet_of(VERSION_3, body), Err(Fault::Malformed));
    }
    for body in [0, 7, 4 + 257] {
        let body = vec![7; body];
        check(&packet_of(CANCEL_CODE, &body), Err(Fault::Malformed));
    }
    check(&packet_of(SSL_CODE, b"x"), Err(Fault::Malformed));
    check(&packet_of(GSSENC_CODE, b"x"), Err(Fault::Malformed));
    for code in [0, 2 << 16, 4 << 16, 80_877_105] {
        check(&packet_of(code, PARAMETERS), Err(Fault::Version));
    }
    for length in 0..8 {
        check(&[0, 0, 0, length], Err(Fault::Malformed));
    }
    for other in [&b"\x16"[..], b"GET / HTTP/1.1\r\n", b"Q\0\0\0", b"\0\x01"] {
        check(other, Err(Fault::NoPacket));
    }
}

#[test]
fn the_size_is_refused_before_the_rest_has_come() {
    let body = |bytes: usize| [&b"user\0"[..], &vec![b'x'; bytes - 7], b"\0\0"].concat();
    let largest = packet_of(VERSION_3, &body(PACKET_BYTES_MAX - FIXED_BYTES));
    check(&largest, Ok(Packet::Startup { minor: 0 }));
    let over = packet_of(VERSION_3, &body(PACKET_BYTES_MAX - FIXED_BYTES + 1));
    check(&over[..4], Err(Fault::TooLarge));
}

#[test]
fn an_error_has_its_fields_in_order() {
    let error = ErrorResponse {
        sqlstate: "08004",
        message: "no such\0 tenant",
        hint: Some("connect by the tenant's name"),
    };
    let fields = b"SFATAL\0VFATAL\0C08004\0Mno such tenant\0Hconnect by the tenant's name\0\0";
    let length = u32::try_from(4 + fields.len()).unwrap().to_be_bytes();
    assert_eq!(error.encode(), [b"E", &length[..], fields].concat());
    let short = ErrorResponse {
        hint: None,
        ..error
    }
    .encode();
    assert!(short.ends_with(b"Mno such tenant\0\0"));
}

fn packets_of_each_kind() -> Vec<Vec<u8>> {
    vec![
        SSL_REQUEST.to_vec(),
        GSSENC_REQUEST.to_vec(),
        packet_of(CANCEL_CODE, &[9; 8]),
        packet_of(VERSION_3, PARAMETERS),
    ]
}

#[test]
fn a_packet_ends_where_it_ends_however_it_is_cut() {
    for packet in packets_of_each_kind() {
        let followed = [&packet[..], b"\x16\x03\x01"].concat();
        assert_eq!(parse(&followed), parse(&packet));
        assert!(matches!(parse(&packet), Ok(Progress::Complete { .. })));
        for end in 0..packet.len() {
            assert_eq!(parse(&packet[..end]), Ok(Progress::Partial), "{end}");
        }
    }
}

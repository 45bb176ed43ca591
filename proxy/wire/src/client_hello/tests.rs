//! Hellos, cut by records anywhere, and what is wrong with others.

use proptest::prelude::*;

use super::*;

fn block<const LENGTH_BYTES: usize>(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[4 - LENGTH_BYTES..], &content].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &block::<2>(&[value])].concat()
}

fn name(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind][..], &block::<2>(&[name])].concat()
}

/// The extension with these names.
fn names(names: &[&[u8]]) -> Vec<u8> {
    extension(0, &block::<2>(names))
}

/// Without the message's own type and length.
fn body(extensions: &[&[u8]]) -> Vec<u8> {
    [
        &[3, 3][..],
        &[7; 32],
        &block::<1>(&[&[9; 32]]),
        &block::<2>(&[&[0x13, 0x01, 0x13, 0x02]]),
        &block::<1>(&[&[0]]),
        &block::<2>(extensions),
    ]
    .concat()
}

fn message_of(body: &[u8]) -> Vec<u8> {
    [&[MESSAGE_CLIENT_HELLO][..], &block::<3>(&[body])].concat()
}

fn record(content: &[u8]) -> Vec<u8> {
    [&[RECORD_HANDSHAKE, 3, 1][..], &block::<2>(&[content])].concat()
}

/// In one record.
fn hello(extensions: &[&[u8]]) -> Vec<u8> {
    record(&message_of(&body(extensions)))
}

fn complete(server_name: Option<&str>, has_ech: bool) -> Progress {
    let server_name = server_name.map(str::to_owned);
    Progress::Complete {
        server_name,
        has_ech,
    }
}

fn shop() -> Vec<u8> {
    names(&[&name(0, b"Shop.Example")])
}

#[test]
fn what_hellos_say() {
    let (groups, ech) = (extension(10, &[0, 2, 0, 29]), extension(0xfe0d, &[0; 40]));
    assert_eq!(parse(&hello(&[])), Ok(complete(None, false)));
    assert_eq!(parse(&hello(&[&groups])), Ok(complete(None, false)));
    assert_eq!(
        parse(&hello(&[&groups, &shop()])),
        Ok(complete(Some("shop.example"), false))
    );
    assert_eq!(
        parse(&hello(&[&shop(), &ech, &groups])),
        Ok(complete(Some("shop.example"), true))
    );
    let mut without = body(&[]);
    without.truncate(without.len() - 2);
    assert_eq!(
        parse(&record(&message_of(&without))),
        Ok(complete(None, false)),
        "without any extensions"
    );
    for version in [[3, 0], [3, 3], [3, 4]] {
        let mut hello = hello(&[&shop()]);
        hello[1..3].copy_from_slice(&version);
        assert_eq!(parse(&hello), Ok(complete(Some("shop.example"), false)));
    }
}

#[test]
fn other_protocols_are_told_apart_at_their_first_odd_byte() {
    for other in [
        &b"G"[..],
        b"\0",
        // Of version 2 of SSL; an alert; data.
        b"\x80\x2e\x01",
        b"\x15",
        b"\x17",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\0\x04\x02",
    ] {
        assert_eq!(parse(other), Err(Fault::NoHello), "{other:?}");
    }
}

#[test]
fn what_is_malformed() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = body(&[&shop()]);
        change(&mut body);
        record(&message_of(&body))
    };
    let cases = [
        ("an empty record", record(&[])),
        (
            "a record over its limit",
            [RECORD_HANDSHAKE, 3, 1, 0x40, 0x01].to_vec(),
        ),
        (
            "more in the same record",
            record(&[message_of(&body(&[])), vec![1]].concat()),
        ),
        ("an empty message", record(&message_of(&[]))),
        ("the version", with(&|body| body[0] = 2)),
        (
            "a long session",
            record(&message_of(
                &[
                    &[3, 3][..],
                    &[7; 32],
                    &block::<1>(&[&[9; 33]]),
                    &[0, 2, 1, 1, 1, 0],
                ]
                .concat(),
            )),
        ),
        ("bytes behind the extensions", with(&|body| body.push(0))),
        ("extensions that are cut", with(&|body| _ = body.pop())),
        ("the same extension twice", hello(&[&shop(), &shop()])),
        (
            "another one twice",
            hello(&[&extension(10, b""), &shop(), &extension(10, b"x")]),
        ),
        (
            "two names",
            hello(&[&names(&[&name(0, b"a"), &name(0, b"b")])]),
        ),
        (
            "a name of no known type",
            hello(&[&names(&[&name(1, b"a")])]),
        ),
        ("no name", hello(&[&names(&[])])),
        ("an empty list", hello(&[&extension(0, b"")])),
        (
            "bytes behind the list",
            hello(&[&extension(
                0,
                &[block::<2>(&[&name(0, b"a")]), vec![0]].concat(),
            )]),
        ),
    ];
    for (what, bytes) in cases {
        assert_eq!(parse(&bytes), Err(Fault::Malformed), "{what}");
    }
    // The suites and the compressions stand where they always stand.
    let suites = 2 + 32 + 1 + 32;
    for (at, byte) in [(suites + 1, 3), (suites + 1, 0), (suites + 6, 0)] {
        let bytes = with(&|body| body[at] = byte);
        assert_eq!(parse(&bytes), Err(Fault::Malformed), "{at} {byte}");
    }
}

#[test]
fn names_of_no_host_are_refused() {
    for wrong in [
        &b""[..],
        b"192.0.2.1",
        b"shop.example.",
        b"shop example",
        b"\xff",
    ] {
        let hello = hello(&[&names(&[&name(0, wrong)])]);
        assert_eq!(parse(&hello), Err(Fault::ServerName), "{wrong:?}");
    }
}

#[test]
fn the_size_is_refused_before_the_rest_has_come() {
    let fill = |bytes: usize| hello(&[&shop(), &extension(21, &vec![0; bytes])]);
    let room = HELLO_BYTES_MAX - fill(0).len();
    let largest = fill(room);
    assert_eq!(largest.len(), HELLO_BYTES_MAX);
    assert_eq!(parse(&largest), Ok(complete(Some("shop.example"), false)));
    assert_eq!(parse(&fill(room + 1)[..9]), Err(Fault::TooLarge));
    // Records that take more room than what they carry.
    let cut: Vec<u8> = message_of(&body(&[&extension(21, &[0; 4_000])]))
        .chunks(1)
        .flat_map(record)
        .collect();
    assert_eq!(parse(&cut[..HELLO_BYTES_MAX - 1]), Ok(Progress::Partial));
    assert_eq!(parse(&cut[..HELLO_BYTES_MAX]), Err(Fault::TooLarge));
    assert_eq!(parse(&cut), Err(Fault::TooLarge));
}

proptest! {
    #[test]
    fn records_may_cut_a_hello_anywhere(
        cuts in prop::collection::vec(1..40_usize, 1..20),
        more in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let message = message_of(&body(&[&extension(10, b"\0\x02\0\x1d"), &shop()]));
        let (mut rest, mut bytes) = (&message[..], Vec::new());
        for cut in cuts.into_iter().cycle() {
            let (piece, next) = rest.split_at(cut.min(rest.len()));
            bytes.extend(record(piece));
            rest = next;
            if rest.is_empty() {
                break;
            }
        }
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end]), Ok(Progress::Partial), "{}", end);
        }
        bytes.extend(more);
        prop_assert_eq!(parse(&bytes), Ok(complete(Some("shop.example"), false)));
    }
}

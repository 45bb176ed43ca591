use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

fn tenant(bytes: &[u8]) -> TenantKey {
    TenantKey::try_from(bytes).unwrap()
}

#[test]
fn length_is_limited() {
    let error = |bytes: &[u8]| TenantKey::try_from(bytes).unwrap_err();

    assert_eq!(error(b""), TenantKeyError::Empty);
    assert_eq!(error(&[b'a'; 257]), TenantKeyError::TooLong { bytes: 257 });
    assert_eq!(tenant(&[b'a'; 256]).as_bytes(), [b'a'; 256]);
}

#[test]
fn file_names() {
    #[track_caller]
    fn check(key: &[u8], name: &str) {
        assert_eq!(tenant(key).file_name(), name);
    }

    check(b"acme", "t-acme.sqlite");
    check(b"-", "t--.sqlite");
    // Device names of Windows lose their meaning behind the prefix.
    check(b"nul", "t-nul.sqlite");
    check(
        b"Acme",
        "h-37036cd8f9746d335038eca92f8a73ae5f1bca4779a1e55e5812e37743b2f5bf-acme.sqlite",
    );
    check(
        b"../../etc/passwd",
        "h-3754d6cb3a38e1185e5b382d5f3ef3f118af75bf4bf0254d1fdb8437f51423e0-______etc_passwd.sqlite",
    );
}

/// Keys that a careless mapping would send to the same file, all against all.
#[test]
fn keys_that_look_alike_keep_apart() {
    let long = [b'a'; 256];
    let mut keys: Vec<Vec<u8>> = [
        "acme",
        "Acme",
        "ACME",
        "acme ",
        "acme.",
        "acme-",
        "acme_",
        "acme\0",
        "acme/",
        "acme\\",
        "t-acme",
        "h-acme",
        "t-acme.sqlite",
        "acme.sqlite",
        "acme.sqlite-wal",
        "acme.sqlite-shm",
        ".",
        "..",
        "...",
        "/",
        "a/../acme",
        "é",
        "e\u{301}",
        "É",
        "%41",
        "A",
        "a",
        "~",
        "con",
        "CON",
    ]
    .iter()
    .map(|key| key.as_bytes().to_vec())
    .collect();
    keys.extend([
        vec![0xff],
        vec![0xfe],
        long.to_vec(),
        long[..255].to_vec(),
        long[..64].to_vec(),
        long[..65].to_vec(),
    ]);
    // A key that is the hash part of another's file name, and one that is the whole of it.
    keys.push(tenant(b"Acme").file_name()[2..66].into());
    keys.push(tenant(b"Acme").file_name().into_bytes());

    let mut owners = HashMap::new();
    for key in keys {
        let name = tenant(&key).file_name().to_ascii_lowercase();
        if let Some(other) = owners.insert(name, key.clone()) {
            panic!(
                "{} and {} share a file",
                key.escape_ascii(),
                other.escape_ascii()
            );
        }
    }
}

/// Keys near each other: a few letters that matter to file systems, or any bytes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let close = vec(
        prop::sample::select(b"aA-_./\\\0 ~\xc3\xa9".as_slice()),
        1..5,
    );
    let long = (60..=TENANT_BYTES_MAX).prop_map(|bytes| vec![b'a'; bytes]);
    let any = vec(any::<u8>(), 1..=TENANT_BYTES_MAX);
    prop_oneof![close, long, any]
}

proptest! {
    #[test]
    fn different_keys_have_different_files(left in key(), right in key()) {
        let same_file = tenant(&left).file_name().eq_ignore_ascii_case(&tenant(&right).file_name());
        prop_assert_eq!(left == right, same_file);
    }

    #[test]
    fn file_names_are_safe(key in key()) {
        let name = tenant(&key).file_name();
        let stem = name.strip_suffix(".sqlite").unwrap();
        prop_assert!(stem.starts_with("t-") || stem.starts_with("h-"));
        prop_assert!(stem.bytes().all(|byte| is_plain(byte) || byte == b'_'), "{}", name);
        prop_assert!(name.len() <= 98);
    }
}

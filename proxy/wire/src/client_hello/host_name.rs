//! Whether a name is one that a host can have.

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The name in small letters, if it is that of a host: labels of letters, digits, `-` and `_` with dots in between. None
/// at its end, as RFC 6066 wants it, and no IP address.
pub(super) fn read(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
        return None;
    }
    // No top-level domain is a number.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| name.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(is_plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES_MAX, read};

    #[test]
    fn names() {
        let long_label = "x".repeat(63);
        let longest = [long_label.as_str(); 4].join(".")[..NAME_BYTES_MAX].to_owned();
        for name in [
            "a",
            "shop.example",
            "_x.example",
            "1.2.3.example",
            "xn--bcher-kva.example",
            "a.x-1",
            longest.as_str(),
        ] {
            assert_eq!(read(name.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(read(b"Shop.EXAMPLE").as_deref(), Some("shop.example"));
        let (over, long) = (format!("{longest}x"), format!("{long_label}x.example"));
        for name in [
            "",
            ".",
            "shop.example.",
            ".example",
            "shop..example",
            "-x.example",
            "x-.example",
            "x y.example",
            "x\0.example",
            "*.example",
            "b\u{fc}cher.example",
            "192.0.2.1",
            "2001:db8::1",
            "[::1]",
            "shop.example:443",
            "1",
            &over,
            &long,
        ] {
            assert_eq!(read(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(read(b"\xff.example"), None);
    }
}

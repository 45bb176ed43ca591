//! What people write where something else is wanted, and what to answer: units, variables, and what this version
//! cannot do yet.

/// Milliseconds of the units of time.
const TIMES: [(&str, f64); 16] = [
    ("ms", 1.0),
    ("msec", 1.0),
    ("milliseconds", 1.0),
    ("s", 1e3),
    ("sec", 1e3),
    ("secs", 1e3),
    ("second", 1e3),
    ("seconds", 1e3),
    ("m", 6e4),
    ("min", 6e4),
    ("minute", 6e4),
    ("minutes", 6e4),
    ("h", 3.6e6),
    ("hour", 3.6e6),
    ("hours", 3.6e6),
    ("d", 8.64e7),
];

/// Bytes of the units of size.
const SIZES: [(&str, f64); 10] = [
    ("b", 1.0),
    ("k", 1024.0),
    ("kb", 1e3),
    ("kib", 1024.0),
    ("m", 1_048_576.0),
    ("mb", 1e6),
    ("mib", 1_048_576.0),
    ("g", 1_073_741_824.0),
    ("gb", 1e9),
    ("gib", 1_073_741_824.0),
];

/// Words of protocols that this version does not speak.
const LATER_PROTOCOLS: [&str; 11] = [
    "https", "tls", "ssl", "h2", "h2c", "http2", "http/2", "grpc", "h3", "http3", "quic",
];

/// What to do about a text where a number is wanted, if it is a number with a unit, with separators, or a variable. `key`
/// is the last part of the value's path, which ends with its unit.
pub(super) fn instead_of_number(key: &str, text: &str) -> Option<String> {
    if is_variable(text) {
        return Some(NO_VARIABLES.to_owned());
    }
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_' | ','))
        .unwrap_or(text.len());
    // A comma separates thousands, or is what others write for a decimal point.
    let is_decimal = text[..end]
        .rsplit_once(',')
        .is_some_and(|(_, rest)| rest.len() != 3);
    let comma = if is_decimal { "." } else { "" };
    let digits = text[..end].replace('_', "").replace(',', comma);
    let number: f64 = digits.parse().ok()?;
    let unit = text[end..].trim_start();
    if unit.is_empty() {
        return Some(format!("write {digits}, digits only and without quotes"));
    }
    let lower = unit.to_ascii_lowercase();
    let factor =
        |units: &[(&str, f64)]| units.iter().find(|(name, _)| *name == lower).map(|it| it.1);
    let in_unit =
        |what: &str, factor: f64| Some(format!("the unit is {what}: write {:.0}", number * factor));
    match (factor(&TIMES), factor(&SIZES)) {
        (Some(factor), _) if key.contains("_ms") => in_unit("milliseconds", factor),
        (_, Some(factor)) if key.contains("bytes") => in_unit("bytes", factor),
        _ if unit == "%" && key.contains("percent") => Some(format!("write {digits}, without `%`")),
        _ if unit.chars().all(|c| c.is_alphabetic() || c == '%') => {
            Some(format!("write the number alone, without `{unit}`"))
        }
        _ => None,
    }
}

/// What to do about variables.
pub(super) const NO_VARIABLES: &str = "variables are not filled in here; have it done by what brings this file to its \
                                       place, such as envsubst";

/// Whether somebody expects a variable to be filled in.
pub(super) fn is_variable(text: &str) -> bool {
    text.starts_with('$') || text.contains("${") || text.contains("{{")
}

/// What is wrong with a key that this version does not know but another one may, and what to do.
pub(super) fn later_key(name: &str, known: &[&str]) -> Option<(String, String)> {
    if known
        .iter()
        .any(|key| ["tls", "certificate", "certificates"].contains(key))
    {
        // TLS works here, under another name.
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let is_tls = ["tls", "ssl", "certificate", "cert"].iter().any(|word| {
        lower == *word || lower.starts_with(&format!("{word}_")) || lower == format!("{word}s")
    });
    is_tls.then(|| {
        (
            "is not a known key here".to_owned(),
            "remove it; a listener has the key `tls` for its clients, a cell for the way to it, and nothing else has TLS"
                .to_owned(),
        )
    })
}

/// What to do about the word of a protocol that this version does not speak; `known` are the words that it takes.
pub(super) fn later_protocol(text: &str, known: &str) -> Option<String> {
    let lower = text.trim().to_ascii_lowercase();
    LATER_PROTOCOLS.contains(&&*lower).then(|| {
        format!(
            "HTTP/2 does not work in this version yet: known are {known}; for TLS, give the listener or the cell the key \
             `tls`"
        )
    })
}

/// The one known key that is the given one with a unit or a limit at its end, such as `timeout_ms` for `timeout`.
pub(super) fn longer_key<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut longer = known.iter().filter(|key| {
        key.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('_'))
    });
    let found = longer.next()?;
    longer.next().is_none().then_some(*found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |key: &str, text: &str, expected: Option<&str>| {
            assert_eq!(
                instead_of_number(key, text).as_deref(),
                expected,
                "{key}: {text}"
            );
        };
        let ms = |number: &str| format!("the unit is milliseconds: write {number}");
        for (text, number) in [
            ("10s", "10000"),
            ("10 s", "10000"),
            ("1.5s", "1500"),
            ("250ms", "250"),
            ("2m", "120000"),
            ("1h", "3600000"),
            ("30 Seconds", "30000"),
        ] {
            check("head_ms", text, Some(&ms(number)));
        }
        check(
            "head_bytes_max",
            "64k",
            Some("the unit is bytes: write 65536"),
        );
        check(
            "body_bytes_max",
            "10MB",
            Some("the unit is bytes: write 10000000"),
        );
        check("max_moved_percent", "25%", Some("write 25, without `%`"));
        check("retries", "2x", Some("write the number alone, without `x`"));
        check(
            "retries",
            "1_000",
            Some("write 1000, digits only and without quotes"),
        );
        check(
            "retries",
            "1,000",
            Some("write 1000, digits only and without quotes"),
        );
        check("retries", "${RETRIES}", Some(NO_VARIABLES));
        for text in ["", "many", "-", "1-2", "1 of 2"] {
            check("retries", text, None);
        }
    }

    #[test]
    fn keys_and_words_of_later() {
        for name in [
            "tls",
            "TLS",
            "ssl",
            "tls_cert",
            "certificate",
            "certs",
            "cert_file",
        ] {
            assert!(later_key(name, &["name"]).is_some(), "{name}");
        }
        for name in ["certain", "title", "tlsx", "key"] {
            assert!(later_key(name, &["name"]).is_none(), "{name}");
        }
        assert!(later_protocol("HTTPS", "`http`").is_some());
        assert!(later_protocol("http", "`http`").is_none());
        let known = [
            "head_ms",
            "connect_ms",
            "upstream_read_ms",
            "upstream_write_ms",
        ];
        assert_eq!(longer_key("connect", &known), Some("connect_ms"));
        assert_eq!(longer_key("upstream", &known), None);
        assert_eq!(longer_key("con", &known), None);
    }
}

//! The file of keys that the proxies of a fleet share. Pure: bytes in, keys or what is wrong with them out.

use super::key::SECRET_BYTES;

/// While keys are replaced there are two or three.
pub const KEYS_MAX: usize = 16;

/// A mistake in the file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, counted from 1, if it is one line's.
    pub line: Option<u32>,
    pub message: String,
}

/// One key a line, in hexadecimal digits, the one that seals first. Blank lines and those that begin with `#` are left out.
/// What is refused is never quoted: it is secret.
pub fn parse(bytes: &[u8]) -> Result<Vec<[u8; SECRET_BYTES]>, Mistake> {
    let mut secrets = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let mistake = |message: String| Mistake {
            line: Some(number),
            message,
        };
        let secret = of_hex(line).ok_or_else(|| {
            mistake(format!(
                "is not a key of {} hexadecimal digits",
                SECRET_BYTES * 2
            ))
        })?;
        if secret.iter().all(|byte| *byte == secret[0]) {
            return Err(mistake("is no random key".to_owned()));
        }
        if secrets.contains(&secret) {
            return Err(mistake("is a key that stands further up".to_owned()));
        }
        if secrets.len() == KEYS_MAX {
            return Err(mistake(format!("is one key more than {KEYS_MAX}")));
        }
        secrets.push(secret);
    }
    if secrets.is_empty() {
        return Err(Mistake {
            line: None,
            message: "holds no key".to_owned(),
        });
    }
    Ok(secrets)
}

fn of_hex(digits: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    for (byte, digits) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let mut value = 0;
        for &digit in digits {
            value = value * 16 + char::from(digit).to_digit(16)?;
        }
        *byte = u8::try_from(value).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SECOND: &str = "F00102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";

    #[test]
    fn keys_are_read_in_their_order() {
        let text = format!("# made on Monday\n\n{FIRST}\r\n  {SECOND}");
        let secrets = parse(text.as_bytes()).unwrap();
        assert_eq!(secrets.len(), 2);
        assert_eq!(secrets[0][..3], [0, 1, 2]);
        assert_eq!(secrets[1][..3], [0xf0, 1, 2]);
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_line() {
        let check = |text: &str, line: Option<u32>, expected: &str| {
            let mistake = parse(text.as_bytes()).unwrap_err();
            assert_eq!(mistake.line, line, "{text}");
            assert!(mistake.message.contains(expected), "{}", mistake.message);
            assert!(
                !mistake.message.contains("0102"),
                "secrets are never quoted"
            );
        };
        check("", None, "holds no key");
        check("# nothing\n\n", None, "holds no key");
        let odd = "is not a key of 64 hexadecimal digits";
        check(&FIRST[1..], Some(1), odd);
        check(&format!("{FIRST}00"), Some(1), odd);
        check(&format!("{FIRST}\n{FIRST} # old"), Some(2), odd);
        check(&FIRST.replace('f', "g"), Some(1), odd);
        check(&FIRST.replace("0f", "ä"), Some(1), odd);
        check(&format!("\n{FIRST}\n{FIRST}"), Some(3), "further up");
        check(&"00".repeat(SECRET_BYTES), Some(1), "is no random key");
        let many: Vec<String> = (0..=KEYS_MAX)
            .map(|number| format!("{number:02x}{}\n", &FIRST[2..]))
            .collect();
        check(&many.concat(), Some(17), "more than 16");
    }
}

//! The header fields of a message, as borrowed bytes: what the pure rooms look at, whichever way the message came.

/// What the names begin with in which the proxy speaks, and nobody else.
pub const OWN_PREFIX: &str = "x-cellgate-";
/// Whom a request is for.
pub const OWN_TENANT: &str = "x-cellgate-tenant";
/// The cell that it goes to.
pub const OWN_CELL: &str = "x-cellgate-cell";
/// The table by which it goes there.
pub const OWN_GENERATION: &str = "x-cellgate-generation";

/// One line: a name in any case, and a value without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine<'m> {
    pub name: &'m [u8],
    pub value: &'m [u8],
}

/// All lines of a head. Those of one name stand in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct FieldLines<'m>(pub &'m [FieldLine<'m>]);

const TO_LOWER_CASE: u64 = u64::MAX / 0xff * 0x20;

/// Whether a field name, a token in any case, is `known`: letters in lower case, digits and hyphens. Eight bytes at a
/// time: of the characters of a token, setting this bit changes letters to lower case and makes none of `known` out of
/// any other.
#[inline]
pub fn is_name(name: &[u8], known: &str) -> bool {
    let known = known.as_bytes();
    if name.len() != known.len() {
        return false;
    }
    let (name, name_end) = name.as_chunks::<8>();
    let (known, known_end) = known.as_chunks::<8>();
    let is_same = |(name, known): (&[u8; 8], &[u8; 8])| {
        u64::from_le_bytes(*name) | TO_LOWER_CASE == u64::from_le_bytes(*known)
    };
    name.iter().zip(known).all(is_same)
        && name_end
            .iter()
            .zip(known_end)
            .all(|(name, known)| name | 0x20 == *known)
}

impl FieldLine<'_> {
    /// `name` is in lower case.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        is_name(self.name, name)
    }
}

impl<'m> FieldLines<'m> {
    pub fn iter(self) -> impl DoubleEndedIterator<Item = &'m FieldLine<'m>> {
        self.0.iter()
    }

    /// The values of one name.
    pub fn values(self, name: &str) -> impl DoubleEndedIterator<Item = &'m [u8]> {
        self.0
            .iter()
            .filter(move |line| line.is(name))
            .map(|line| line.value)
    }

    pub fn contain(self, name: &str) -> bool {
        self.0.iter().any(|line| line.is(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::bytes::{TOKEN, is};

    #[test]
    fn names_are_the_same_whatever_their_case() {
        for known in [
            "te",
            "x-0",
            "expect",
            "upgrade",
            "x-tenant",
            "content-length",
            "transfer-encoding",
        ] {
            for name in [known.to_owned(), known.to_uppercase()] {
                assert!(is_name(name.as_bytes(), known), "{name}");
                assert!(!is_name(&name.as_bytes()[1..], known), "{name}");
                assert!(!is_name(format!("{name}x").as_bytes(), known), "{name}");
            }
        }
    }

    #[test]
    fn no_other_character_of_a_token_is_taken_for_one_of_a_name() {
        let tokens = (0..=u8::MAX).filter(|byte| is(*byte, TOKEN));
        for byte in tokens {
            for known in (b'a'..=b'z').chain(b'0'..=b'9').chain([b'-']) {
                let expected = byte.eq_ignore_ascii_case(&known);
                for length in [1, 8] {
                    let (name, known) = (vec![byte; length], vec![known; length]);
                    let known = String::from_utf8(known).unwrap();
                    assert_eq!(is_name(&name, &known), expected, "{byte} {known}");
                }
            }
        }
    }
}

//! What a request is called on its way, so that what several programs say of it can be put together. Pure: random numbers
//! are arguments.

use std::fmt;

use smallvec::SmallVec;

/// The field with a request's id, towards cells and clients.
pub const REQUEST_ID: &str = "x-request-id";

/// Longest id that is taken over from a trusted peer.
const ID_BYTES_MAX: usize = 128;
const MADE_BYTES: usize = 32;
const LINE_START: &[u8; 14] = b"x-request-id: ";
const LINE_END: &[u8; 2] = b"\r\n";
const MADE_LINE_BYTES: usize = LINE_START.len() + MADE_BYTES + LINE_END.len();

/// An id of 1 to 128 characters out of `[A-Za-z0-9._-]`, which mean nothing in any field, log or file name. It is no
/// secret: whoever has seen some may be able to guess others.
///
/// It is held as the line that cells and clients get.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(SmallVec<[u8; MADE_LINE_BYTES]>);

impl RequestId {
    /// What another program calls it, if that can be used.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_good =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=ID_BYTES_MAX).contains(&value.len());
        (fits && value.iter().all(is_good)).then(|| {
            let mut line = SmallVec::with_capacity(LINE_START.len() + value.len() + LINE_END.len());
            for piece in [LINE_START, value, LINE_END] {
                line.extend_from_slice(piece);
            }
            Self(line)
        })
    }

    /// A new one: the random number in 32 hexadecimal digits.
    pub fn new(random: u128) -> Self {
        let mut line = [0; MADE_LINE_BYTES];
        line[..LINE_START.len()].copy_from_slice(LINE_START);
        let (digits, end) = line[LINE_START.len()..].split_at_mut(MADE_BYTES);
        for (place, half) in digits.chunks_exact_mut(8).zip([96, 64, 32, 0]) {
            #[expect(clippy::cast_possible_truncation, reason = "these bits are wanted")]
            let bits = (random >> half) as u32;
            place.copy_from_slice(&hex(bits));
        }
        end.copy_from_slice(LINE_END);
        Self(SmallVec::from_buf(line))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0[LINE_START.len()..self.0.len() - LINE_END.len()]
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("its characters are ASCII")
    }

    /// The whole line of a head: name, value and line end.
    pub fn as_line(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

/// Eight hexadecimal digits, all at the same time: each four bits are moved into a byte of their own.
fn hex(bits: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(bits);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & (0x0f * EACH);
    // Sixteen and more with six added: a letter.
    let letters = (digits + 6 * EACH) >> 4 & EACH;
    let to_letter = u64::from(b'a' - b'0' - 10);
    (digits + u64::from(b'0') * EACH + letters * to_letter).to_be_bytes()
}

/// The trace id of a `traceparent`, if that has the form of its version 00 (W3C Trace Context, section 3.2).
pub fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let is_hex = |digits: &[u8]| {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(is_digit)
    };
    let is_id = |digits: &[u8]| is_hex(digits) && digits.iter().any(|digit| *digit != b'0');
    let rest = traceparent.strip_prefix(b"00-")?;
    let (trace_id, rest) = rest.split_first_chunk::<32>()?;
    let (parent_id, flags) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
    let flags: &[u8; 2] = flags.strip_prefix(b"-")?.try_into().ok()?;
    (is_id(trace_id) && is_id(parent_id) && is_hex(flags)).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_used_is_taken_as_it_is() {
        let longest = "x".repeat(128);
        for good in ["a", "5b0c1f6e-8c0a-4a54", "A.b_C-9", &longest] {
            let id = RequestId::parse(good.as_bytes()).unwrap();
            assert_eq!(id.as_str(), good);
            let line = format!("{REQUEST_ID}: {good}\r\n");
            assert_eq!(id.as_line(), line.as_bytes());
        }
        let too_long = "x".repeat(129);
        for bad in [
            "", "a b", "a,b", "a\"b", "a/b", "\u{e9}", "a\tb", "{a}", &too_long,
        ] {
            assert_eq!(RequestId::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_new_one_is_the_number() {
        for random in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = RequestId::new(random);
            assert_eq!(id.as_str(), format!("{random:032x}"));
            let line = format!("{REQUEST_ID}: {random:032x}\r\n");
            assert_eq!(id.as_line(), line.as_bytes());
            assert_eq!(RequestId::parse(id.as_bytes()), Some(id));
        }
    }

    #[test]
    fn a_traceparent_of_version_00_has_an_id() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const PARENT: &str = "00f067aa0ba902b7";
        let of = |text: String| trace_id(text.as_bytes()).map(<[u8]>::to_vec);
        for flags in ["00", "01", "ff"] {
            assert_eq!(of(format!("00-{ID}-{PARENT}-{flags}")), Some(ID.into()));
        }
        let (no_id, no_parent) = ("0".repeat(32), "0".repeat(16));
        for bad in [
            String::new(),
            ID.to_owned(),
            format!("01-{ID}-{PARENT}-01"),
            format!("00-{no_id}-{PARENT}-01"),
            format!("00-{ID}-{no_parent}-01"),
            format!("00-{ID}-{PARENT}"),
            format!("00-{ID}-{PARENT}-1"),
            format!("00-{ID}-{PARENT}-011"),
            format!("00-{ID}-{PARENT}-01-x"),
            format!("00-{ID}-{PARENT}-0g"),
            format!("00-{}-{PARENT}-01", ID.to_uppercase()),
            format!("00-{}\"-{PARENT}-01", &ID[1..]),
        ] {
            assert_eq!(of(bad.clone()), None, "{bad}");
        }
    }
}

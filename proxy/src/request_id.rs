//! What a request is called on its way, so that what several programs say of it can be put together. Pure: random numbers
//! are arguments.

use smallvec::SmallVec;

/// The field with a request's id, towards cells and clients.
pub const REQUEST_ID: &str = "x-request-id";

/// Longest id that is taken over from a trusted peer.
const ID_BYTES_MAX: usize = 128;
const MADE_BYTES: usize = 32;

/// An id of 1 to 128 characters out of `[A-Za-z0-9._-]`, which mean nothing in any field, log or file name. It is no
/// secret: whoever has seen some may be able to guess others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(SmallVec<[u8; MADE_BYTES]>);

impl RequestId {
    /// What another program calls it, if that can be used.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_good =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=ID_BYTES_MAX).contains(&value.len());
        (fits && value.iter().all(is_good)).then(|| Self(SmallVec::from_slice(value)))
    }

    /// A new one: the random number in 32 hexadecimal digits.
    pub fn new(random: u128) -> Self {
        let mut digits = [0; MADE_BYTES];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(random.to_be_bytes()) {
            let digit = |half: u8| b"0123456789abcdef"[usize::from(half & 15)];
            pair[0] = digit(byte >> 4);
            pair[1] = digit(byte);
        }
        Self(SmallVec::from_buf(digits))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("its characters are ASCII")
    }
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
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
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

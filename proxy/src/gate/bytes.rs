//! Classes of bytes, and the scans over them that the other parts of the gate share.

pub(crate) const CR: u8 = b'\r';
pub(crate) const LF: u8 = b'\n';

/// `tchar`, RFC 9110 section 5.6.2.
pub(crate) const TOKEN: u8 = 1;
/// What may stand in a request target: every visible ASCII byte, and bytes of UTF-8 (checked as a whole elsewhere).
pub(crate) const TARGET: u8 = 1 << 1;
/// What may stand in a host name: RFC 3986 `unreserved`. The sub-delimiters and percent-encoding, which RFC 3986 also
/// allows in a `reg-name`, occur in no DNS name, and programs differ in whether they decode them.
pub(crate) const HOST_NAME: u8 = 1 << 2;
/// Letters and digits.
pub(crate) const ALNUM: u8 = 1 << 3;
/// `qdtext`, RFC 9110 section 5.6.4.
pub(crate) const QUOTED: u8 = 1 << 4;
/// What may stand in a field value or after a backslash in a quoted string: HTAB, SP, VCHAR and `obs-text`.
pub(crate) const TEXT: u8 = 1 << 5;
/// Bytes that decide whether a target needs a closer check.
pub(crate) const ODD_IN_TARGET: u8 = 1 << 6;
/// What stands in a path and a query as RFC 3986 has them. Nobody rewrites these.
pub(crate) const PLAIN_IN_TARGET: u8 = 1 << 7;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the index is below 256")]
        let byte = index as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST_NAME | ALNUM | PLAIN_IN_TARGET;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= TOKEN | HOST_NAME | PLAIN_IN_TARGET;
        }
        if matches!(
            byte,
            b'/' | b'?'
                | b':'
                | b'@'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        ) {
            class |= PLAIN_IN_TARGET;
        }
        if matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|'
        ) {
            class |= TOKEN;
        }
        if matches!(byte, b'!'..=b'~' | 0x80..) {
            class |= TARGET | TEXT;
            if byte != b'"' && byte != b'\\' {
                class |= QUOTED;
            }
        }
        if matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`') {
            class |= ODD_IN_TARGET;
        }
        if matches!(byte, b'\t' | b' ') {
            class |= TEXT | QUOTED;
        }
        table[index] = class;
        index += 1;
    }
    table
}

pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// The token that the bytes begin with, and how many letters and digits are in it.
///
/// Names are letters and hyphens, nearly all of them, and these are counted eight at a time.
#[inline]
pub(crate) fn token(bytes: &[u8]) -> (&[u8], usize) {
    let (mut end, mut letters) = (0, 0);
    while let Some(word) = bytes.get(end..).and_then(<[u8]>::first_chunk::<8>) {
        let (usual, alphabetic) = letters_and_hyphens(u64::from_le_bytes(*word));
        let bits = (!usual & HIGH_BITS).trailing_zeros() / 8 * 8;
        let before = u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0);
        end += bits as usize / 8;
        letters += count_high_bits(alphabetic & before);
        if bits < u64::BITS {
            break;
        }
    }
    for &byte in &bytes[end..] {
        let class = CLASSES[usize::from(byte)];
        if class & TOKEN == 0 {
            break;
        }
        letters += usize::from(class & ALNUM != 0);
        end += 1;
    }
    (&bytes[..end], letters)
}

/// Which bytes of a word are letters or hyphens, and which are letters: the high bit of a byte is set if it is.
fn letters_and_hyphens(word: u64) -> (u64, u64) {
    // Without their high bits no sum below carries into the next byte; what has a high bit is no letter.
    let ascii = !word & HIGH_BITS;
    let lower = (word | (ONES * 0x20)) & !HIGH_BITS;
    let from_a = lower + ONES * u64::from(0x80 - b'a');
    let beyond_z = lower + ONES * u64::from(0x7f - b'z');
    let letters = from_a & !beyond_z & ascii;
    let other_than_hyphen = ((word ^ (ONES * u64::from(b'-'))) & !HIGH_BITS) + ONES * 0x7f;
    (letters | (!other_than_hyphen & ascii), letters)
}

/// How many bytes of a word have their high bit set; no other bit may be. Programs are compiled for the oldest processors
/// by default, and these have no instruction that counts bits.
fn count_high_bits(word: u64) -> usize {
    ((word >> 7).wrapping_mul(ONES) >> 56) as usize
}

/// The classes that every one of the bytes is in.
pub(crate) fn shared_classes(bytes: &[u8]) -> u8 {
    let classes = bytes.iter().map(|&byte| CLASSES[usize::from(byte)]);
    classes.fold(u8::MAX, |common, class| common & class)
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without optional white space around it. RFC 9110 section 5.6.3: OWS is SP and HTAB, nothing else; the standard
/// library's `trim_ascii` takes more.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES * 0x80;

/// The index of the first control byte (below 0x20, or DEL), or the length when no such byte is there.
///
/// Eight bytes at a time. Subtracting 0x20 from each byte borrows into the high bit of those below it; a borrow can
/// only disturb bytes above a true hit, so the lowest hit is exact, and the lowest is all that is used.
pub(crate) fn find_control(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let delete = word ^ (ONES * 0x7f);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        let hits = (below_space | is_delete) & HIGH_BITS;
        if hits != 0 {
            return index * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest.iter().position(u8::is_ascii_control);
    words.len() * 8 + tail.unwrap_or(rest.len())
}

/// A field name reduced to its letters and digits, in lower case: what is left when a lenient program drops or replaces
/// the punctuation. Names longer than any that matters are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skeleton {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Skeleton {
    const BYTES_MAX: usize = 16;

    pub(crate) fn of(name: &[u8]) -> Self {
        let mut skeleton = Self::default();
        for &byte in name {
            skeleton.push(byte);
        }
        skeleton
    }

    pub(crate) fn push(&mut self, byte: u8) {
        if !is(byte, ALNUM) {
            return;
        }
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte.to_ascii_lowercase();
        }
        self.length = self.length.saturating_add(1);
    }

    /// Whether the name reads like one that frames or routes a message.
    pub(crate) fn frames_or_routes(&self) -> bool {
        let Some(letters) = self.bytes.get(..self.length) else {
            return false;
        };
        matches!(letters, b"host" | b"contentlength" | b"transferencoding")
    }
}

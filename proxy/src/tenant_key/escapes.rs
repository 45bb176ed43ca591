//! Percent escapes, read the way the cell's framework reads them: once.

/// The bytes that an encoded text stands for. A broken escape stands for itself here, so that a text can be compared
/// whatever it holds; [`has_broken_escape`] says whether it may be believed.
#[derive(Clone, Debug)]
pub(super) struct Decoded<'t> {
    rest: &'t [u8],
    plus: Plus,
}

/// What `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// As in a path.
    Plus,
    /// As in a query that a form wrote (`application/x-www-form-urlencoded`).
    Space,
}

impl<'t> Decoded<'t> {
    pub(super) fn new(text: &'t [u8], plus: Plus) -> Self {
        Self { rest: text, plus }
    }

    /// Whether it is these bytes.
    pub(super) fn is(self, bytes: &[u8]) -> bool {
        self.eq(bytes.iter().copied())
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let Some((byte, rest)) = escape(self.rest) {
            self.rest = rest;
            return Some(byte);
        }
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        match byte {
            b'+' if self.plus == Plus::Space => Some(b' '),
            byte => Some(*byte),
        }
    }
}

/// A `%` without two hex digits after it.
pub(super) fn has_broken_escape(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let Some((_, after)) = escape(&rest[at..]) else {
            return true;
        };
        rest = after;
    }
    false
}

/// `.` and `..` as whole segments. Dots and what separates segments may be escaped.
pub(super) fn has_dot_segments(path: &[u8]) -> bool {
    // Dots of the segment so far, as long as it is nothing but dots.
    let mut dots = Some(0);
    for byte in Decoded::new(path, Plus::Plus) {
        dots = match byte {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return true,
            b'/' | b'\\' => Some(0),
            b'.' => dots.map(|dots| dots + 1),
            _ => None,
        };
    }
    matches!(dots, Some(1 | 2))
}

/// The byte of the escape that the text begins with, and what follows it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else {
        return None;
    };
    Some((hex_digit(*high)? * 16 + hex_digit(*low)?, rest))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

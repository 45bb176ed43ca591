//! Ids and numbers that mean something, each valid by construction.

use std::{fmt, num::NonZeroU64};

use serde::Serialize;

use crate::limits;

/// The name of a cell: 1 to 63 letters, digits, `-`, `_` or `.`, the first one a letter or digit.
///
/// A cell id travels in headers, metric labels and file names, hence the narrow alphabet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CellId(Box<str>);

/// Why a text cannot be a [`CellId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellIdError {
    Empty,
    /// Longer than [`limits::CELL_ID_BYTES_MAX`].
    TooLong,
    /// It begins with a hyphen, an underscore or a dot.
    FirstCharacter,
    /// It holds a character outside the alphabet.
    Character(char),
}

impl CellId {
    /// # Errors
    /// The text is empty, too long, or holds a character that no id has.
    pub fn new(text: &str) -> Result<Self, CellIdError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let Some(first) = text.chars().next() else {
            return Err(CellIdError::Empty);
        };
        if let Some(other) = text.chars().find(|c| !allowed(*c)) {
            return Err(CellIdError::Character(other));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(CellIdError::FirstCharacter);
        }
        if text.len() > limits::CELL_ID_BYTES_MAX {
            return Err(CellIdError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// The id as the table writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CellIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a cell id is empty"),
            Self::TooLong => write!(
                f,
                "a cell id is longer than {} bytes",
                limits::CELL_ID_BYTES_MAX
            ),
            Self::FirstCharacter => {
                f.write_str("a cell id starts with neither a letter nor a digit")
            }
            Self::Character(c) => write!(f, "a cell id holds the character {c:?}"),
        }
    }
}

impl std::error::Error for CellIdError {}

/// Where a cell stands in [`Table::cells`](crate::Table::cells). Valid for the table it came from only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellIndex(u16);

impl CellIndex {
    /// # Panics
    /// When `index` is beyond [`limits::CELLS_MAX`], which no table reaches.
    pub(crate) fn new(index: usize) -> Self {
        Self(u16::try_from(index).expect("a table holds at most CELLS_MAX cells"))
    }

    /// The position, from 0 to the table's number of cells less one.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// The index as a bare number, for compact storage; [`from_number`](Self::from_number) is the way back.
    pub fn number(self) -> u16 {
        self.0
    }

    pub fn from_number(number: u16) -> Self {
        Self(number)
    }
}

/// The bytes that name a tenant, as the table writes them: 1 to 256 bytes of UTF-8 without control characters.
///
/// A request may carry other bytes (a key need not be UTF-8 to have a slot); such a key just cannot be named in a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantKey(Box<str>);

/// Why bytes cannot be a tenant key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantKeyError {
    Empty,
    /// Longer than [`limits::TENANT_KEY_BYTES_MAX`].
    TooLong,
    /// It holds an ASCII control character, a line end or a tab among them.
    ControlCharacter,
}

impl TenantKey {
    /// # Errors
    /// The text is empty, too long, or holds a control character.
    pub fn new(text: &str) -> Result<Self, TenantKeyError> {
        check_tenant_key(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes that are hashed, and compared with those of a request.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The rule for tenant keys, the same for a table's and a request's (whose bytes need not be UTF-8).
///
/// # Errors
/// The key is empty, too long, or holds an ASCII control character.
pub fn check_tenant_key(key: &[u8]) -> Result<(), TenantKeyError> {
    if key.is_empty() {
        return Err(TenantKeyError::Empty);
    }
    if key.len() > limits::TENANT_KEY_BYTES_MAX {
        return Err(TenantKeyError::TooLong);
    }
    if key.iter().any(u8::is_ascii_control) {
        return Err(TenantKeyError::ControlCharacter);
    }
    Ok(())
}

/// Whether a key begins or ends with white space: Unicode's `White_Space`, so the no-break space too.
///
/// No request can name such a tenant, since programs drop what is there: a header field that tells a cell its tenant
/// cannot even hold it (RFC 9110, section 5.5), and most frameworks trim what they read.
pub fn has_outer_white_space(key: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (key.first(), key.last())
        && first.is_ascii()
        && last.is_ascii()
    {
        // So nearly always: an ASCII byte is a character by itself, whatever stands beside it.
        return char::from(*first).is_whitespace() || char::from(*last).is_whitespace();
    }
    let begins = key
        .utf8_chunks()
        .next()
        .is_some_and(|chunk| chunk.valid().starts_with(char::is_whitespace));
    let ends = key.utf8_chunks().last().is_some_and(|chunk| {
        chunk.invalid().is_empty() && chunk.valid().ends_with(char::is_whitespace)
    });
    begins || ends
}

impl fmt::Display for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TenantKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a tenant key is empty"),
            Self::TooLong => write!(
                f,
                "a tenant key is longer than {} bytes",
                limits::TENANT_KEY_BYTES_MAX
            ),
            Self::ControlCharacter => f.write_str("a tenant key holds a control character"),
        }
    }
}

impl std::error::Error for TenantKeyError {}

/// A hash bucket, from 0 to the table's number of slots less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Slot(pub(crate) u32);

impl Slot {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a table, from 1 to [`limits::GENERATION_MAX`]. It only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// The generation of the first table that counts.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `None` when the number is out of range.
    pub fn new(number: u64) -> Option<Self> {
        let number = NonZeroU64::new(number)?;
        (number.get() <= limits::GENERATION_MAX).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The generation after this one; `None` after the largest, which is never reached by counting.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::new(self.get() + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_white_space() {
        let check = |key: &[u8], expected: bool| {
            assert_eq!(has_outer_white_space(key), expected, "{key:?}");
        };
        check(b"acme", false);
        check(b"Acme Inc", false);
        check(b"", false);
        check(b" acme", true);
        check(b"acme ", true);
        check(b"\tacme", true);
        check("\u{a0}acme".as_bytes(), true);
        check("acme\u{3000}".as_bytes(), true);
        // The last byte of `à` alone would be a no-break space in Latin-1.
        check("voilà".as_bytes(), false);
        check(b"\xa0acme", false);
        check(b"\xff acme", false);
        check(b"acme \xff", false);
        check(b"acme\xff ", true);
        check(b" \xff", true);
    }
}

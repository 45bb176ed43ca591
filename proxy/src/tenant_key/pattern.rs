//! Patterns that cut the tenant out of a value: text around one `{tenant}`.

use cellgate_table::id::TenantKeyError;

use super::{
    KeyError, RequestKey,
    escapes::{Decoded, Plus, has_broken_escape},
};

const PLACEHOLDER: &str = "{tenant}";

/// `prefix{tenant}suffix`, matched against a whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
}

impl Pattern {
    /// `None` unless `{tenant}` stands in the text exactly once and nothing else is in braces.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, suffix) = text.split_once(PLACEHOLDER)?;
        if [prefix, suffix]
            .iter()
            .any(|part| part.contains(['{', '}']))
        {
            return None;
        }
        Some(Self {
            prefix: prefix.as_bytes().into(),
            suffix: suffix.as_bytes().into(),
        })
    }

    /// The tenant, or `None` when the value does not match.
    pub fn cut<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        value
            .strip_prefix(&*self.prefix)?
            .strip_suffix(&*self.suffix)
    }

    /// Reads the key in a value that is still encoded; false when what it stands for does not match.
    pub(super) fn decode(
        &self,
        value: &[u8],
        plus: Plus,
        key: &mut RequestKey,
    ) -> Result<bool, KeyError> {
        let mut decoded = Decoded::new(value, plus);
        let length = decoded.clone().count();
        let Some(length) = length.checked_sub(self.prefix.len() + self.suffix.len()) else {
            return Ok(false);
        };
        let begins = decoded
            .by_ref()
            .take(self.prefix.len())
            .eq(self.prefix.iter().copied());
        let tenant = decoded.clone().take(length);
        let ends = decoded.skip(length).eq(self.suffix.iter().copied());
        if !begins || !ends {
            return Ok(false);
        }
        if has_broken_escape(value) {
            return Err(KeyError::Escape);
        }
        key.fill(tenant).map(|()| true)
    }

    /// True when the pattern is `{tenant}` alone.
    pub fn is_whole(&self) -> bool {
        self.prefix.is_empty() && self.suffix.is_empty()
    }
}

/// A pattern for the beginning of a path, segment by segment; more segments may follow. Like the path, it is compared
/// decoded: `/%74/acme` is `/t/acme` to the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The segments before the tenant's.
    before: Vec<Box<[u8]>>,
    tenant: Pattern,
    /// The segments after it that must match too.
    after: Vec<Box<[u8]>>,
}

impl PathPattern {
    /// Reads `/t/{tenant}/`; a `/`, `/*` or `/…` at the end says nothing more than its absence. Escapes are read as in a
    /// path; one that is broken makes it no pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/')?;
        let text = ["/…", "/...", "/*", "/"]
            .iter()
            .find_map(|ending| text.strip_suffix(ending))
            .unwrap_or(text);
        if has_broken_escape(text.as_bytes()) {
            return None;
        }
        let mut before = Vec::new();
        let mut segments = text.split('/');
        let tenant = loop {
            let segment = segments.next()?;
            if segment.contains(PLACEHOLDER) {
                break Pattern::parse(segment)?;
            }
            before.push(literal(segment)?);
        };
        Some(Self {
            before,
            tenant: Pattern {
                prefix: decoded(&tenant.prefix),
                suffix: decoded(&tenant.suffix),
            },
            after: segments.map(literal).collect::<Option<_>>()?,
        })
    }

    /// Reads the key in a path; false when the path does not match. Segments are cut out of the raw bytes, so an escaped
    /// slash is part of one. No tenant in the tenant's place is no match.
    pub(super) fn decode(&self, path: &[u8], key: &mut RequestKey) -> Result<bool, KeyError> {
        let Some(path) = path.strip_prefix(b"/") else {
            return Ok(false);
        };
        let mut segments = path.split(|byte| *byte == b'/');
        if !self
            .before
            .iter()
            .all(|wanted| is_literal(segments.next(), wanted))
        {
            return Ok(false);
        }
        let Some(tenant) = segments.next() else {
            return Ok(false);
        };
        if !self
            .after
            .iter()
            .all(|wanted| is_literal(segments.next(), wanted))
        {
            return Ok(false);
        }
        match self.tenant.decode(tenant, Plus::Plus, key) {
            Err(KeyError::Invalid(TenantKeyError::Empty)) => Ok(false),
            found => found,
        }
    }
}

fn is_literal(segment: Option<&[u8]>, wanted: &[u8]) -> bool {
    segment.is_some_and(|segment| Decoded::new(segment, Plus::Plus).is(wanted))
}

/// A segment of text alone.
fn literal(segment: &str) -> Option<Box<[u8]>> {
    (!segment.contains(['{', '}', '*'])).then(|| decoded(segment.as_bytes()))
}

fn decoded(text: &[u8]) -> Box<[u8]> {
    Decoded::new(text, Plus::Plus).collect()
}

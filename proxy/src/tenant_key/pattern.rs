//! Patterns that cut the tenant out of a value: text around one `{tenant}`.

const PLACEHOLDER: &str = "{tenant}";

/// `prefix{tenant}suffix`, matched against a whole value.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// True when the pattern is `{tenant}` alone.
    pub fn is_whole(&self) -> bool {
        self.prefix.is_empty() && self.suffix.is_empty()
    }
}

/// A pattern for the beginning of a path, segment by segment; more segments may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The segments before the tenant's, each with its leading `/`.
    before: Box<[u8]>,
    tenant: Pattern,
    /// The segments after it that must match too.
    after: Vec<Box<[u8]>>,
}

impl PathPattern {
    /// Reads `/t/{tenant}/`; a `/`, `/*` or `/…` at the end says nothing more than its absence.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/')?;
        let text = ["/…", "/...", "/*", "/"]
            .iter()
            .find_map(|ending| text.strip_suffix(ending))
            .unwrap_or(text);
        let mut before = Vec::new();
        let mut segments = text.split('/');
        let tenant = loop {
            let segment = segments.next()?;
            before.push(b'/');
            if segment.contains(PLACEHOLDER) {
                break Pattern::parse(segment)?;
            }
            if segment.contains(['{', '}', '*']) {
                return None;
            }
            before.extend_from_slice(segment.as_bytes());
        };
        let after: Vec<Box<[u8]>> = segments.map(|segment| segment.as_bytes().into()).collect();
        let plain = |segment: &[u8]| {
            !segment
                .iter()
                .any(|byte| matches!(byte, b'{' | b'}' | b'*'))
        };
        after.iter().all(|segment| plain(segment)).then_some(Self {
            before: before.into(),
            tenant,
            after,
        })
    }

    /// The tenant, or `None` when the path does not match. An empty segment in the tenant's place is no match.
    pub fn cut<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = path.strip_prefix(&*self.before)?;
        let mut segments = rest.split(|byte| *byte == b'/');
        let tenant = self.tenant.cut(segments.next()?)?;
        let follows = self
            .after
            .iter()
            .all(|wanted| segments.next() == Some(&**wanted));
        (follows && !tenant.is_empty()).then_some(tenant)
    }
}

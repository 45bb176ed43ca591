//! The header fields of a message, as borrowed bytes: what the pure rooms look at, whichever way the message came.

/// One line: a name in any case, and a value without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine<'m> {
    pub name: &'m [u8],
    pub value: &'m [u8],
}

/// All lines of a head. Those of one name stand in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct FieldLines<'m>(pub &'m [FieldLine<'m>]);

impl FieldLine<'_> {
    /// `name` is in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
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

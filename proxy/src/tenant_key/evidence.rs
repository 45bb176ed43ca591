//! What a connection proves or is vouched for: names of a verified certificate, and what a load balancer says of it.
//!
//! Kept only as far as a rule asks for it, so a connection that no such rule is about carries nothing.

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `None` where the client has shown no certificate, or is not asked for one.
    pub names: Option<CertificateNames>,
    pub extensions: Extensions,
}

/// A kind of name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    Uri,
    Dns,
    Email,
    /// The common name of the subject. All others are subject alternative names.
    Cn,
}

/// The names of a client's verified certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames(Vec<(NameKind, Option<Box<[u8]>>)>);

impl CertificateNames {
    /// Adds a name; `None` is one that is there and cannot be read.
    pub fn add(&mut self, kind: NameKind, name: Option<&[u8]>) {
        self.0.push((kind, name.map(Into::into)));
    }

    pub(super) fn of_kind(&self, kind: NameKind) -> impl Iterator<Item = Option<&[u8]>> {
        let names = self.0.iter().filter(move |(other, _)| *other == kind);
        names.map(|(_, name)| name.as_deref())
    }
}

/// Extensions of a PROXY header (TLVs).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<(u8, Box<[u8]>)>);

impl Extensions {
    pub fn add(&mut self, kind: u8, value: &[u8]) {
        self.0.push((kind, value.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn of_kind(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        let values = self.0.iter().filter(move |(other, _)| *other == kind);
        values.map(|(_, value)| &**value)
    }
}

//! Rules about what a client cannot choose: its verified certificate, and what its load balancer says of it.

use super::{
    KeyError, Pattern, RequestKey,
    evidence::{Evidence, NameKind},
    names::{cut_host, cut_text, is_host_name},
};

/// Looks into the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateRule {
    pub kind: NameKind,
    pub otherwise: Otherwise,
}

/// Looks into the PROXY header that the connection began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionRule {
    pub kind: u8,
    /// The first byte that a value has to have, which is no part of what it says.
    pub subtype: Option<u8>,
    pub form: Form,
    pub otherwise: Otherwise,
}

/// What it means that a rule about a proof finds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// By the rules after it, a client that leaves its proof out could name any tenant.
    Refuse,
    NextRule,
}

/// How the bytes of an extension are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// A host name, lower-cased.
    Host,
    /// Two lower-case digits for each byte.
    Hex,
    /// 1 to 8 bytes, the least significant one first; in decimal.
    NumberLe,
    /// The same, the most significant one first.
    NumberBe,
}

const NUMBER_BYTES_MAX: usize = 8;

impl CertificateRule {
    /// False when the next rule is to be asked.
    pub(super) fn read_key(
        self,
        evidence: Option<&Evidence>,
        pattern: Option<&Pattern>,
        key: &mut RequestKey,
    ) -> Result<bool, KeyError> {
        let Some(names) = evidence.and_then(|evidence| evidence.names.as_ref()) else {
            return self.otherwise.of(KeyError::NoCertificate);
        };
        // A subject has one common name, whatever a pattern would choose.
        if self.kind == NameKind::Cn && names.of_kind(self.kind).count() > 1 {
            return Err(KeyError::SeveralNames);
        }
        let mut is_found = false;
        for name in names.of_kind(self.kind) {
            let name = name.ok_or(KeyError::UnreadableName)?;
            let fits = match self.kind {
                NameKind::Dns => cut_proven_host(pattern, name, key)?,
                NameKind::Uri | NameKind::Email | NameKind::Cn => cut_text(pattern, name, key)?,
            };
            if fits && std::mem::replace(&mut is_found, true) {
                return Err(KeyError::SeveralNames);
            }
        }
        if is_found {
            Ok(true)
        } else {
            self.otherwise.of(KeyError::NoFittingName)
        }
    }
}

impl ExtensionRule {
    /// The type that says which host the client has asked for, be it in TLS. So it says what the client likes.
    pub const AUTHORITY: u8 = 0x02;

    /// False when the next rule is to be asked.
    pub(super) fn read_key(
        self,
        evidence: Option<&Evidence>,
        pattern: Option<&Pattern>,
        key: &mut RequestKey,
    ) -> Result<bool, KeyError> {
        let values = evidence.map(|evidence| evidence.extensions.of_kind(self.kind));
        let mut values = values.into_iter().flatten().filter_map(|value| {
            match (self.subtype, value.split_first()) {
                (None, _) => Some(value),
                (Some(subtype), Some((first, rest))) if *first == subtype => Some(rest),
                (Some(_), _) => None,
            }
        });
        let Some(value) = values.next() else {
            return self.otherwise.of(KeyError::NoExtension);
        };
        if values.next().is_some() {
            return Err(KeyError::Repeated);
        }
        if value.is_empty() {
            return Err(KeyError::NoValue);
        }
        if self.form.read(value, pattern, key)? {
            Ok(true)
        } else {
            self.otherwise.of(KeyError::NoExtension)
        }
    }
}

impl Form {
    fn read(
        self,
        value: &[u8],
        pattern: Option<&Pattern>,
        key: &mut RequestKey,
    ) -> Result<bool, KeyError> {
        match self {
            Self::Text => cut_text(pattern, value, key),
            Self::Host => cut_proven_host(pattern, value, key),
            Self::Hex => {
                let digits = value.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                key.fill(digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]))?;
                Ok(true)
            }
            Self::NumberLe | Self::NumberBe => {
                if value.len() > NUMBER_BYTES_MAX {
                    return Err(KeyError::NotANumber);
                }
                let mut bytes = [0; NUMBER_BYTES_MAX];
                bytes[NUMBER_BYTES_MAX - value.len()..].copy_from_slice(value);
                if self == Self::NumberLe {
                    bytes[NUMBER_BYTES_MAX - value.len()..].reverse();
                }
                key.set_shown(u64::from_be_bytes(bytes));
                Ok(true)
            }
        }
    }
}

impl Otherwise {
    fn of(self, error: KeyError) -> Result<bool, KeyError> {
        match self {
            Self::Refuse => Err(error),
            Self::NextRule => Ok(false),
        }
    }
}

/// A host name from whoever ought to write nothing else there.
fn cut_proven_host(
    pattern: Option<&Pattern>,
    name: &[u8],
    key: &mut RequestKey,
) -> Result<bool, KeyError> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if !is_host_name(name) {
        return Err(KeyError::NotAHostName);
    }
    cut_host(pattern, name, key)
}

//! Why a request names no tenant, or none that everybody would read alike.

use std::fmt;

use cellgate_table::id::TenantKeyError;

/// Why a request names no tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No rule matched.
    Missing,
    /// The tenant, or the name it is looked for under, stands in the request more than once.
    Repeated,
    /// The same header in another spelling (`_` for `-`), which a server behind the proxy may take for it.
    LookAlike,
    /// The name that a rule looks for is there, and has no value.
    NoValue,
    /// A `%` without two hex digits after it.
    Escape,
    /// The name of the query parameter is written with escapes (`%74enant`), which not every program decodes.
    EscapedName,
    /// A path that names the tenant and then walks away from it (`/../`).
    DotSegments,
    /// A `;` beside the tenant's query parameter, which some servers take for the end of a parameter and some do not.
    Semicolon,
    /// A comma, quote or backslash in the tenant's cookie, or the tenant's cookie behind a comma: some servers end a cookie
    /// there.
    CookieValue,
    /// White space at an end of the key, which whoever reads it next may drop.
    OuterSpace,
    /// The client has shown no certificate, which a rule demands.
    NoCertificate,
    /// Its certificate has no name that the rule is about.
    NoFittingName,
    /// Its certificate has more than one.
    SeveralNames,
    /// A name in its certificate is of a kind of text that is not read, or none at all.
    UnreadableName,
    /// The connection did not begin with a PROXY header that says what a rule demands.
    NoExtension,
    /// What ought to be a host name is not one.
    NotAHostName,
    /// What ought to be a number has more than 8 bytes.
    NotANumber,
    Invalid(TenantKeyError),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the request names no tenant"),
            Self::Repeated => f.write_str("the request names its tenant more than once"),
            Self::LookAlike => {
                f.write_str("a header looks like the tenant's but is spelt with `_`")
            }
            Self::NoValue => {
                f.write_str("the place where the request names its tenant is there, but empty")
            }
            Self::Escape => f.write_str("the tenant key holds a broken percent escape"),
            Self::EscapedName => f.write_str(
                "the name of the tenant's query parameter is written with percent escapes",
            ),
            Self::DotSegments => {
                f.write_str("the path names a tenant and holds `.` or `..` segments")
            }
            Self::Semicolon => f.write_str(
                "the query names the tenant beside a `;`, which servers read differently",
            ),
            Self::CookieValue => f.write_str(
                "the tenant's cookie holds a comma, quote or backslash, or stands behind a comma, which servers read differently",
            ),
            Self::OuterSpace => f.write_str("the tenant key begins or ends with white space"),
            Self::NoCertificate => f.write_str("the client has shown no certificate"),
            Self::NoFittingName => {
                f.write_str("the client's certificate has no name that names a tenant")
            }
            Self::SeveralNames => {
                f.write_str("the client's certificate has more than one name that could name the tenant")
            }
            Self::UnreadableName => {
                f.write_str("the client's certificate has a name that cannot be read")
            }
            Self::NoExtension => {
                f.write_str("the load balancer does not say by the PROXY protocol which tenant it is")
            }
            Self::NotAHostName => f.write_str("what has to be a host name is not one"),
            Self::NotANumber => f.write_str("what has to be a number has more than 8 bytes"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyError {}

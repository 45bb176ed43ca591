//! Cutting the tenant out of names that say what they mean.

use super::{KeyError, Pattern, RequestKey};

/// The longest host name (RFC 1035, section 2.3.4).
const HOST_NAME_BYTES_MAX: usize = 253;

/// The key in a host name, lower-cased. False when it does not fit.
pub(super) fn cut_host(
    pattern: Option<&Pattern>,
    host: &[u8],
    key: &mut RequestKey,
) -> Result<bool, KeyError> {
    let Some(host) = RequestKey::lower_cased(host) else {
        return Ok(false);
    };
    let Some(pattern) = pattern else {
        return key.set(host.as_bytes()).map(|()| true);
    };
    match pattern.cut(host.as_bytes()) {
        // A pattern stands for one label: `{tenant}.example.com` is not meant to match `a.b.example.com`.
        Some(tenant) if tenant.contains(&b'.') && !pattern.is_whole() => Ok(false),
        Some(tenant) => key.set(tenant).map(|()| true),
        None => Ok(false),
    }
}

/// The key in a value as it stands. False when it does not fit.
pub(super) fn cut_text(
    pattern: Option<&Pattern>,
    value: &[u8],
    key: &mut RequestKey,
) -> Result<bool, KeyError> {
    let tenant = match pattern {
        Some(pattern) => pattern.cut(value),
        None => Some(value),
    };
    let Some(tenant) = tenant else {
        return Ok(false);
    };
    key.set(tenant).map(|()| true)
}

/// Labels of letters, digits, `-` and `_`, none of them empty.
pub(super) fn is_host_name(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.len() <= 63 && label.iter().all(fits)
    };
    name.len() <= HOST_NAME_BYTES_MAX && name.split(|byte| *byte == b'.').all(is_label)
}

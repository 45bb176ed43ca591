//! Time since the process started, for what only compares times; and dates for people.

use std::{
    sync::LazyLock,
    time::{Instant, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process first asked.
pub fn now_ms() -> u64 {
    ms_at(Instant::now())
}

/// The same for a moment that is known already.
pub fn ms_at(moment: Instant) -> u64 {
    u64::try_from(moment.saturating_duration_since(*START).as_millis()).unwrap_or(u64::MAX)
}

/// A date such as `2026-03-01T12:00:00.123Z` (RFC 3339).
pub fn rfc3339(moment: SystemTime) -> String {
    let date = OffsetDateTime::from(moment);
    let date = date.replace_millisecond(date.millisecond()).unwrap_or(date);
    date.format(&Rfc3339).unwrap_or_default()
}

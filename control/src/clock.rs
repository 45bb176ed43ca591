//! Dates, for the database and for people.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A date such as `2026-03-01T12:00:00.123Z` (RFC 3339) for milliseconds since 1970.
pub fn rfc3339(ms: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}

/// Milliseconds since 1970 of a date as [`rfc3339`] writes it; `None` for anything else.
pub fn ms_of(date: &str) -> Option<i64> {
    let date = OffsetDateTime::parse(date, &Rfc3339).ok()?;
    i64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_readable() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_772_366_400_123), "2026-03-01T12:00:00.123Z");
        assert_eq!(ms_of("2026-03-01T12:00:00.123Z"), Some(1_772_366_400_123));
        assert_eq!(ms_of(""), None);
        assert!(now_ms() > 1_700_000_000_000);
    }
}

//! Time since the process started, for what only compares times; and dates for people.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// A moment given in seconds since 1970, which may be before it.
pub fn of_unix(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    moment.unwrap_or(UNIX_EPOCH)
}

/// Now, in seconds since 1970.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A date such as `2026-03-01T12:00:00.123Z` (RFC 3339).
pub fn rfc3339(moment: SystemTime) -> String {
    let date = OffsetDateTime::from(moment);
    let date = date.replace_millisecond(date.millisecond()).unwrap_or(date);
    date.format(&Rfc3339).unwrap_or_default()
}

/// Writes many dates one after the other, the same as [`rfc3339`] does. Most of them are of the same second, and only
/// its first date is worked out.
#[derive(Debug, Default)]
pub struct DateWriter {
    /// Since 1970.
    second: Option<u64>,
    /// That second's date, without a fraction and the `Z` at the end.
    text: String,
}

impl DateWriter {
    pub fn write(&mut self, moment: SystemTime, out: &mut Vec<u8>) {
        let Ok(since) = moment.duration_since(UNIX_EPOCH) else {
            return out.extend_from_slice(rfc3339(moment).as_bytes());
        };
        if self.second != Some(since.as_secs()) {
            self.text = rfc3339(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
            self.text.pop();
            self.second = Some(since.as_secs());
        }
        out.extend_from_slice(self.text.as_bytes());
        write_fraction(since.subsec_millis(), out);
        out.push(b'Z');
    }
}

/// Milliseconds as a decimal fraction, without zeros at its end and without anything if it is 0.
fn write_fraction(ms: u32, out: &mut Vec<u8>) {
    if ms == 0 {
        return;
    }
    let digit = |value: u32| b"0123456789"[(value % 10) as usize];
    let digits = [b'.', digit(ms / 100), digit(ms / 10), digit(ms)];
    let zeros = digits.iter().rev().take_while(|byte| **byte == b'0');
    out.extend_from_slice(&digits[..digits.len() - zeros.count()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_a_row_read_as_each_does_alone() {
        let mut dates = DateWriter::default();
        let mut check = |moment: SystemTime| {
            let mut text = Vec::new();
            dates.write(moment, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), rfc3339(moment));
        };
        let noon = UNIX_EPOCH + Duration::from_secs(1_772_366_400);
        for ms in 0..2_100 {
            check(noon + Duration::from_millis(ms) + Duration::from_nanos(999));
        }
        // Back, the first and the last that RFC 3339 can say, and before 1970.
        check(noon);
        check(UNIX_EPOCH);
        check(UNIX_EPOCH + Duration::from_millis(253_402_300_799_999));
        check(UNIX_EPOCH - Duration::from_millis(1));
    }
}

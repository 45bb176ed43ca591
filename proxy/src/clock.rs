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

/// A date such as `01/Mar/2026:12:00:00 +0000`, as the Common Log Format has it.
fn common(moment: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let date = OffsetDateTime::from(moment);
    format!(
        "{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000",
        date.day(),
        MONTHS[usize::from(u8::from(date.month())) - 1],
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

/// Writes many dates one after the other. Most of them are of the same second, and only its first date is worked out.
#[derive(Debug, Default)]
pub struct DateWriter {
    /// Since 1970.
    second: Option<u64>,
    /// That second's date in the format that is asked for; in that of RFC 3339 without a fraction and the `Z` at the end.
    text: String,
    is_common: bool,
}

impl DateWriter {
    /// The same as [`rfc3339`].
    pub fn write(&mut self, moment: SystemTime, out: &mut Vec<u8>) {
        let Ok(since) = moment.duration_since(UNIX_EPOCH) else {
            return out.extend_from_slice(rfc3339(moment).as_bytes());
        };
        if self.is_common || self.second != Some(since.as_secs()) {
            self.text = rfc3339(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
            self.text.pop();
            self.second = Some(since.as_secs());
            self.is_common = false;
        }
        out.extend_from_slice(self.text.as_bytes());
        write_fraction(since.subsec_millis(), out);
        out.push(b'Z');
    }

    /// A date such as `01/Mar/2026:12:00:00 +0000`, as the Common Log Format has it, in UTC.
    pub fn write_common(&mut self, moment: SystemTime, out: &mut Vec<u8>) {
        let second = moment.duration_since(UNIX_EPOCH).ok();
        let second = second.map(|since| since.as_secs());
        if !self.is_common || second.is_none() || self.second != second {
            self.text = common(moment);
            self.second = second;
            self.is_common = true;
        }
        out.extend_from_slice(self.text.as_bytes());
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

    #[test]
    fn dates_of_the_common_log_format() {
        let mut dates = DateWriter::default();
        let mut written = |common, moment: SystemTime| {
            let mut text = Vec::new();
            if common {
                dates.write_common(moment, &mut text);
            } else {
                dates.write(moment, &mut text);
            }
            String::from_utf8(text).unwrap()
        };
        let noon = UNIX_EPOCH + Duration::from_millis(1_772_366_400_120);
        for _ in 0..2 {
            assert_eq!(written(true, noon), "01/Mar/2026:12:00:00 +0000");
            assert_eq!(written(false, noon), "2026-03-01T12:00:00.12Z");
        }
        let later = noon + Duration::from_secs(86_399 + 305 * 86_400);
        assert_eq!(written(true, later), "01/Jan/2027:11:59:59 +0000");
        assert_eq!(
            written(true, UNIX_EPOCH - Duration::from_millis(1)),
            "31/Dec/1969:23:59:59 +0000"
        );
    }
}

//! Limits how often the log says the same.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    warn,
};
use tracing_subscriber::layer::{Context, Layer};

/// Lines are counted for so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Equal lines within a window.
const EQUAL_MAX: u32 = 5;
/// Lines of one place in the code within a window, whatever they say.
const PLACE_MAX: u32 = 200;
/// Lines that are known one by one; within a window further ones are limited by their place only.
const LINES_KNOWN_MAX: usize = 4_096;

/// Leaves out events of `info` and above that repeat others. Finer ones are logged only where somebody asked for them,
/// and are all shown.
#[derive(Debug)]
pub(super) struct RateLimit(pub(super) std::sync::Arc<Repeats>);

impl<S: Subscriber> Layer<S> for RateLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO || self.0.admit(metadata, event, Instant::now())
    }
}

/// What was logged within the present window.
#[derive(Debug)]
pub(super) struct Repeats {
    seen: Mutex<Seen>,
    suppressed: IntCounter,
}

#[derive(Debug)]
struct Seen {
    began: Instant,
    lines: HashMap<u64, u32>,
    places: HashMap<Identifier, Place>,
    /// What was left out of windows that are over, and how many lines, until it is reported.
    left_out: Vec<(String, u64)>,
}

#[derive(Debug, Default)]
struct Place {
    logged: u32,
    left_out: u64,
    /// What the lines say that are left out.
    message: String,
}

impl Repeats {
    pub(super) fn new(suppressed: IntCounter) -> Self {
        let seen = Seen {
            began: Instant::now(),
            lines: HashMap::new(),
            places: HashMap::new(),
            left_out: Vec::new(),
        };
        Self {
            seen: Mutex::new(seen),
            suppressed,
        }
    }

    fn admit(&self, metadata: &'static Metadata<'static>, event: &Event<'_>, now: Instant) -> bool {
        let mut words = Words::default();
        metadata.callsite().hash(&mut words.hasher);
        event.record(&mut words);
        let mut seen = self.seen();
        let is_admitted = seen.admit(metadata.callsite(), words, now);
        if !is_admitted {
            self.suppressed.inc();
        }
        is_admitted
    }

    /// Logs how many lines were left out, once their window is over.
    pub(super) fn report(&self) {
        // In a statement of its own: the lines below pass by here, too.
        let left_out = self.seen().take_left_out(Instant::now());
        for (message, left_out) in left_out {
            warn!(
                lines = left_out,
                message_was = message,
                "lines that repeat others were left out"
            );
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Counts are counts, whatever happened.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn admit(&mut self, place: Identifier, words: Words, now: Instant) -> bool {
        self.turn(now);
        let is_known = self.lines.len() < LINES_KNOWN_MAX;
        let line = words.hasher.finish();
        let equal = if is_known {
            let count = self.lines.entry(line).or_default();
            *count += 1;
            *count
        } else {
            self.lines.get_mut(&line).map_or(1, |count| {
                *count += 1;
                *count
            })
        };
        let place = self.places.entry(place).or_default();
        if equal > EQUAL_MAX || place.logged >= PLACE_MAX {
            place.left_out += 1;
            place.message = words.message;
            return false;
        }
        place.logged += 1;
        true
    }

    /// Begins a new window if the present one is over.
    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.began) < WINDOW {
            return;
        }
        self.began = now;
        self.lines.clear();
        for place in self.places.values_mut() {
            place.logged = 0;
            if place.left_out > 0 {
                let message = std::mem::take(&mut place.message);
                let count = std::mem::take(&mut place.left_out);
                self.left_out.push((message, count));
            }
        }
    }

    /// What was left out of windows that are over.
    fn take_left_out(&mut self, now: Instant) -> Vec<(String, u64)> {
        self.turn(now);
        std::mem::take(&mut self.left_out)
    }
}

/// What an event says.
#[derive(Default)]
struct Words {
    hasher: DefaultHasher,
    message: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        field.name().hash(&mut self.hasher);
        text.hash(&mut self.hasher);
        if field.name() == "message" {
            self.message = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::error;
    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[test]
    fn equal_lines_are_left_out_and_counted() {
        let suppressed = IntCounter::new("suppressed", "suppressed").unwrap();
        let repeats = std::sync::Arc::new(Repeats::new(suppressed.clone()));
        let lines = tempfile::NamedTempFile::new().unwrap();
        let writer = fmt::layer()
            .with_ansi(false)
            .with_writer(std::sync::Arc::new(lines.reopen().unwrap()));
        let log = tracing_subscriber::registry()
            .with(RateLimit(std::sync::Arc::clone(&repeats)))
            .with(writer);
        tracing::subscriber::with_default(log, || {
            for number in 0..20 {
                error!("the same each time");
                error!(number, "another number each time");
                tracing::debug!("asked for");
            }
            repeats.seen().began -= WINDOW;
            repeats.report();
        });
        let text = std::fs::read_to_string(lines.path()).unwrap();
        assert_eq!(text.matches("the same each time").count(), 6, "{text}");
        assert_eq!(text.matches("another number").count(), 20, "{text}");
        assert_eq!(text.matches("asked for").count(), 20, "{text}");
        assert!(text.contains("lines=15"), "{text}");
        assert_eq!(suppressed.get(), 15);
    }

    #[test]
    fn a_window_begins_anew_and_one_place_is_limited_whatever_it_says() {
        let mut seen = Seen {
            began: Instant::now(),
            lines: HashMap::new(),
            places: HashMap::new(),
            left_out: Vec::new(),
        };
        let place =
            tracing::callsite!(name: "place", kind: tracing::metadata::Kind::EVENT, fields: x);
        let place = Identifier(place);
        let mut logged = 0;
        let mut count = |seen: &mut Seen, number: u64, now| {
            let mut words = Words::default();
            number.hash(&mut words.hasher);
            logged += u32::from(seen.admit(place.clone(), words, now));
            logged
        };
        let began = seen.began;
        for number in 0..10_000 {
            count(&mut seen, number, began);
        }
        assert_eq!(count(&mut seen, 0, began), PLACE_MAX);
        assert!(seen.lines.len() <= LINES_KNOWN_MAX);
        // The stream goes on: the new window begins with a line, not with the report.
        assert_eq!(count(&mut seen, 0, began + WINDOW), PLACE_MAX + 1);
        let left_out = seen.take_left_out(began + WINDOW);
        let expected = 10_000 - u64::from(PLACE_MAX) + 1;
        assert_eq!(left_out, [(String::new(), expected)]);
        assert!(seen.take_left_out(began + WINDOW).is_empty());
    }
}

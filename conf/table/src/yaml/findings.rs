//! The problems found while a document is read, before their places are known.

use crate::{
    limits,
    problem::{Problem, Problems},
    yaml::{
        place::{At, Focus, Path, Places},
        text,
    },
};

/// Collects problems while a document is read.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    more: usize,
}

#[derive(Debug)]
struct Finding {
    path: Path,
    focus: Focus,
    message: String,
    hint: String,
}

impl Findings {
    /// True when no problem was noted.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// True when a problem more would only be counted: its text need not be made.
    pub fn is_full(&self) -> bool {
        self.found.len() >= limits::PROBLEMS_REPORTED_MAX
    }

    /// Notes a problem. `words` makes the message and the hint, and is not called once enough problems are reported: a
    /// file with a million mistakes must not cost a million texts.
    pub fn add(&mut self, at: At<'_>, focus: Focus, words: impl FnOnce() -> (String, String)) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let (message, hint) = words();
        self.found.push(Finding {
            path: at.to_path(),
            focus,
            message,
            hint,
        });
    }

    /// Looks up where each problem stands in the text.
    pub fn into_problems(self, text: &str) -> Problems {
        let text = text::without_mark(text);
        let places = Places::of(text, self.found.iter().map(|finding| &finding.path));
        let mut problems = Problems {
            more: self.more,
            ..Problems::default()
        };
        for finding in self.found {
            let place = places.find(&finding.path, finding.focus);
            problems.push(Problem {
                line: place.map(|place| place.line),
                column: place.map(|place| place.column),
                path: finding.path.text,
                message: finding.message,
                hint: finding.hint,
            });
        }
        problems.sort_by_place();
        problems
    }
}

//! The problems found while a document is read, before their places are known.

use crate::{
    problem::{Problem, Problems},
    yaml::place::{At, Focus, Path, Places},
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
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Notes a problem. `words` makes the message and the hint, and is not called once enough problems are told.
    pub fn add(&mut self, at: At<'_>, focus: Focus, words: impl FnOnce() -> (String, String)) {
        if self.found.len() >= crate::limits::PROBLEMS_TOLD_MAX {
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
        let places = Places::of(text);
        let mut problems = Problems {
            more: self.more,
            ..Problems::default()
        };
        for finding in self.found {
            let place = places
                .as_ref()
                .map(|places| places.find(&finding.path, finding.focus));
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

//! What is wrong with a file: every problem with its place, its key path and what to do, as text or JSON.

use std::fmt;

use serde::Serialize;

use crate::limits;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, from 1. `None` when the problem is the file as a whole.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The key's path, such as `cells.eu-1.endpoints[0].weight`; empty for the file as a whole.
    pub path: String,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// All that is wrong with one file, in the file's order. Never empty where it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// The file they are about, as the user named it; empty when only bytes were given.
    pub file: String,
    /// The first [`limits::PROBLEMS_REPORTED_MAX`] of them.
    pub problems: Vec<Problem>,
    /// How many more there are beyond [`limits::PROBLEMS_REPORTED_MAX`].
    pub more: usize,
}

impl Problems {
    /// A single problem with the file as a whole.
    pub fn whole_file(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::one(Problem {
            line: None,
            column: None,
            path: String::new(),
            message: message.into(),
            hint: hint.into(),
        })
    }

    /// A single problem.
    pub fn one(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// The same problems under the name of their file.
    #[must_use]
    pub fn in_file(mut self, file: impl fmt::Display) -> Self {
        self.file = file.to_string();
        self
    }

    /// Adds a problem, or only counts it when enough are reported.
    pub fn push(&mut self, problem: Problem) {
        if self.problems.len() < limits::PROBLEMS_REPORTED_MAX {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// True when a problem more would only be counted: its text need not be made.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= limits::PROBLEMS_REPORTED_MAX
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many problems there are, reported or only counted.
    pub fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    /// Puts the problems in the file's order; those without a place come first.
    pub fn sort_by_place(&mut self) {
        self.problems
            .sort_by_key(|p| (p.line.unwrap_or(0), p.column.unwrap_or(0)));
    }

    /// The first problem in one line, and how many others there are: for a log, where the list would be noise.
    pub fn summary(&self) -> String {
        match (self.problems.first(), self.count()) {
            (None, _) => "no problem".to_owned(),
            (Some(first), 1) => first.to_string(),
            (Some(first), count) => format!("{first} (and {} more)", count - 1),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// One problem a line, each as `file:line:column: path: what is wrong; what to do`, which editors can jump to.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            match (self.file.is_empty(), problem.line.is_some()) {
                (true, _) => write!(f, "{problem}")?,
                (false, true) => write!(f, "{}:{problem}", self.file)?,
                (false, false) => write!(f, "{}: {problem}", self.file)?,
            }
        }
        if self.more > 0 {
            let plural = if self.more == 1 { "" } else { "s" };
            write!(f, "\n… and {} more problem{plural}", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A piece of somebody's file within a message: between backticks, as [`Cut`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Cut(self.0))
    }
}

/// A piece of somebody's file as it may go to a terminal or a log: at most 60 characters, line ends and other control
/// characters as escapes.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'t>(pub &'t str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        const CHARS_MAX: usize = 60;
        for (number, c) in self.0.chars().enumerate() {
            match c {
                _ if number == CHARS_MAX => return f.write_char('…'),
                '"' | '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What is printed: text, JSON, grids of columns, and the progress of what takes time.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use super::{failure::Failure, terminal::plain};

/// Columns of a line of progress; a longer one would wrap, and could not be written over.
const PROGRESS_CHARS_MAX: usize = 79;

/// Prints to standard output. A reader that closes the pipe early has read what it wanted.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// The same, for bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::Output(error),
    })
}

pub fn pretty(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("plain data always serializes");
    format!("{text}\n")
}

/// Rows under headings.
pub struct Grid {
    table: Table,
}

impl std::fmt::Debug for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grid").finish_non_exhaustive()
    }
}

impl Grid {
    pub fn new(headings: &[&str]) -> Self {
        let mut grid = Self::bare();
        grid.table.set_header(headings.iter().copied());
        grid
    }

    /// Without headings.
    pub fn bare() -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        Self { table }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.map(|cell| {
            let cell = plain(&cell).replace('\n', " ");
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.table.row_count() == 0
    }

    /// Its lines, without spaces at their ends, each behind `indent`. Headings alone are nothing.
    pub fn text(&self, indent: &str) -> String {
        let mut text = String::new();
        if self.is_empty() {
            return text;
        }
        for line in self.table.lines() {
            // The library puts a space before the first column.
            let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
            text.push_str(indent);
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// How far something is, on standard error: one line that is written over on a terminal, lines otherwise.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    last: String,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            last: String::new(),
        }
    }
}

impl Progress {
    pub fn say(&mut self, text: &str) {
        let text = plain(text).replace('\n', " ");
        if text == self.last {
            return;
        }
        // Progress that cannot be reported holds nothing up.
        let _ = if self.is_terminal {
            let shown: String = text.chars().take(PROGRESS_CHARS_MAX).collect();
            let mut err = io::stderr().lock();
            write!(err, "\r\x1b[2K{shown}").and_then(|()| err.flush())
        } else {
            writeln!(io::stderr(), "{text}")
        };
        self.last = text;
    }

    /// Something beside the output that stays.
    pub fn note(text: &str) {
        let _ = writeln!(io::stderr(), "{}", plain(text));
    }

    /// Takes the line away, so that what follows has it for itself.
    pub fn end(&mut self) {
        if self.is_terminal && !self.last.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
        self.last.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_line_up_and_say_what_is_missing() {
        let mut grid = Grid::new(&["CELL", "STATE"]);
        grid.row(["eu-1".to_owned(), "active".to_owned()]);
        grid.row(["a-longer-one".to_owned(), String::new()]);
        let expected = "CELL          STATE\neu-1          active\na-longer-one  -\n";
        assert_eq!(grid.text(""), expected);
    }
}

//! Rows of one line each that fit a number of columns: what does not fit is left out, the least important column first,
//! and the last column is cut.

use super::terminal::plain;

/// Between two columns.
const GAP: usize = 2;
/// The last column, of notes, is left out rather than cut to less.
const NOTE_MIN: usize = 12;
/// What the first column, of names, is cut to at least.
const NAME_MIN: usize = 8;

/// Headings, and rows of as many cells. The first column names what a row is about; the last is of notes.
#[derive(Debug)]
pub struct Fitted<const N: usize> {
    headings: [&'static str; N],
    /// Columns that may be left out, the least important first.
    droppable: &'static [&'static str],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Fitted<N> {
    pub fn new(headings: [&'static str; N], droppable: &'static [&'static str]) -> Self {
        Self {
            headings,
            droppable,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| {
            let cell = plain(&cell).replace(['\n', '\t'], " ");
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its lines, each behind `indent` and no longer than `columns` with it. Headings alone are nothing.
    pub fn text(&self, indent: &str, columns: usize) -> String {
        if self.is_empty() {
            return String::new();
        }
        let (shown, widths) = self.layout(columns.saturating_sub(indent.len()));
        let mut text = line(indent, &shown, &widths, |at| self.headings[at]);
        for row in &self.rows {
            text.push_str(&line(indent, &shown, &widths, |at| &row[at]));
        }
        text
    }

    /// Which columns are shown, and how wide each is.
    fn layout(&self, room: usize) -> (Vec<usize>, Vec<usize>) {
        let width_of = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].chars().count());
            cells.max().unwrap_or(0).max(self.headings[at].len())
        };
        let widths: Vec<usize> = (0..N).map(width_of).collect();
        let mut shown: Vec<usize> = (0..N).collect();
        let note = N - 1;
        let needed = |shown: &[usize]| -> usize {
            let width = |at: &usize| {
                if *at == note {
                    widths[*at].min(NOTE_MIN)
                } else {
                    widths[*at]
                }
            };
            shown.iter().map(width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        for name in self.droppable {
            if needed(&shown) <= room {
                break;
            }
            shown.retain(|at| self.headings[*at] != *name);
        }
        let excess = needed(&shown).saturating_sub(room);
        let mut widths = widths.clone();
        widths[0] = widths[0]
            .saturating_sub(excess)
            .max(NAME_MIN.min(widths[0]));
        let others: usize = shown
            .iter()
            .filter(|at| **at != note)
            .map(|at| widths[*at] + GAP)
            .sum();
        widths[note] = widths[note].min(room.saturating_sub(others).max(1));
        (shown, widths)
    }
}

/// The shown cells of a row, each as wide as its column.
fn line<'t>(
    indent: &str,
    shown: &[usize],
    widths: &[usize],
    cell: impl Fn(usize) -> &'t str,
) -> String {
    let mut line = indent.to_owned();
    for (place, at) in shown.iter().enumerate() {
        if place > 0 {
            line.push_str(&" ".repeat(GAP));
        }
        let text = cut(cell(*at), widths[*at]);
        let padding = widths[*at] - text.chars().count();
        line.push_str(&text);
        line.push_str(&" ".repeat(padding));
    }
    format!("{}\n", line.trim_end())
}

/// A text of at most so many characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(width.saturating_sub(1)).collect();
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(columns: usize, expected: &str) {
        let mut fitted = Fitted::new(["CELL", "SLOTS", "ERRORS", "NOTE"], &["SLOTS", "NOTE"]);
        fitted.row(["eu-1", "65536", "0 %", ""].map(str::to_owned));
        fitted.row(["a-longer-name", "1", "12 %", "no endpoint can be reached"].map(str::to_owned));
        let text = fitted.text("  ", columns);
        assert_eq!(text, expected, "{columns}\n{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_or_cut() {
        check(
            80,
            "  CELL           SLOTS  ERRORS  NOTE
  eu-1           65536  0 %     -
  a-longer-name  1      12 %    no endpoint can be reached
",
        );
        check(
            50,
            "  CELL           SLOTS  ERRORS  NOTE
  eu-1           65536  0 %     -
  a-longer-name  1      12 %    no endpoint can b…
",
        );
        check(
            40,
            "  CELL           ERRORS  NOTE
  eu-1           0 %     -
  a-longer-name  12 %    no endpoint ca…
",
        );
        check(
            20,
            "  CELL        ERRORS
  eu-1        0 %
  a-longer-…  12 %
",
        );
    }
}

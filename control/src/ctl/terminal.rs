//! What a terminal may be shown, and how much of it fits.

use std::io::{self, IsTerminal as _};

use rustix::termios::tcgetwinsize;

/// Columns where neither a terminal nor the environment says how many there are.
const COLUMNS_DEFAULT: u16 = 100;
/// Fewer are taken for a mistake.
const COLUMNS_MIN: u16 = 40;
/// Back to the top, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Text for a terminal: what programs and people elsewhere wrote must not steer it.
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

/// How wide standard output is: as the environment's `COLUMNS` says, or as the terminal does.
pub fn columns() -> u16 {
    let named = std::env::var("COLUMNS").ok();
    let named = named.and_then(|text| text.trim().parse().ok());
    named
        .or_else(|| tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col))
        .filter(|columns| *columns > 0)
        .map_or(COLUMNS_DEFAULT, |columns| columns.max(COLUMNS_MIN))
}

/// A text that takes the place of the one before: on a terminal from the top, and as much of it as fits.
pub fn screen(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    let lines: Vec<&str> = text.lines().collect();
    // The last row is the cursor's.
    let shown = if rows > 1 && lines.len() >= rows {
        &lines[..rows - 1]
    } else {
        &lines[..]
    };
    format!("{CLEAR}{}\n", shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            plain("a\x1b[2Jb\r\nc\u{9b}"),
            "a\u{fffd}[2Jb\u{fffd}\nc\u{fffd}"
        );
    }
}

//! Plain data as YAML that means the same to every reader.
//!
//! Readers of YAML 1.1 and 1.2 disagree on what a bare word is: `no` is false to some, `12:30:45` a number, `1e3` a
//! number or a text, `2026-01-01` a date. So a text stands bare only where none of them could take it for anything else,
//! and everything else is quoted. What decides is the text alone, not what our own reader makes of it.

// The serializer's interface; what is written to here is memory.
use std::io::{Result as Written, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Words that some reader takes for a truth value, a number or nothing, in any letter case.
const NOT_TEXT: [&str; 12] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity",
];

/// The value as a YAML document in block style, ending with a line end. Mappings and lists without entries are `{}` and
/// `[]`. Keys are as good as any other text, up to the 1,024 characters that YAML grants them.
///
/// # Panics
/// The value has mappings with keys that are neither text nor number, or its own serialization fails.
pub(crate) fn to_text(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Block::default());
    value
        .serialize(&mut serializer)
        .expect("plain data always serializes, and a Vec takes whatever is written");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("all that is written is text")
}

/// Where the pen is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pen {
    /// Where a text goes without a space before it: at the start, or where a key begins.
    #[default]
    Start,
    AfterColon,
    AfterDash,
    AfterValue,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    column: usize,
    is_sequence: bool,
    is_empty: bool,
}

/// Lays out in blocks what the serializer comes upon.
#[derive(Debug, Default)]
struct Block {
    levels: Vec<Level>,
    pen: Pen,
    /// The text that is just being passed on, piece by piece.
    text: String,
}

impl Block {
    fn begin(&mut self, is_sequence: bool) {
        let column = match self.levels.last() {
            None => 0,
            // The dashes of a list stand below the key that it belongs to.
            Some(outer) if is_sequence && !outer.is_sequence => outer.column,
            Some(outer) => outer.column + 2,
        };
        self.levels.push(Level {
            column,
            is_sequence,
            is_empty: true,
        });
    }

    fn end<W: ?Sized + Write>(&mut self, writer: &mut W, empty: &str) -> Written<()> {
        match self.levels.pop() {
            Some(level) if level.is_empty => self.scalar(writer, empty),
            _ => Ok(()),
        }
    }

    /// Goes to where the next key or dash belongs.
    fn begin_entry<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        let column = self.levels.last_mut().map_or(0, |level| {
            level.is_empty = false;
            level.column
        });
        match self.pen {
            Pen::Start => Ok(()),
            Pen::AfterDash => writer.write_all(b" "),
            Pen::AfterColon | Pen::AfterValue => write!(writer, "\n{:column$}", ""),
        }
    }

    fn scalar<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> Written<()> {
        if matches!(self.pen, Pen::AfterColon | Pen::AfterDash) {
            writer.write_all(b" ")?;
        }
        self.pen = Pen::AfterValue;
        writer.write_all(text.as_bytes())
    }

    fn number<W: ?Sized + Write>(&mut self, writer: &mut W, number: &impl ToString) -> Written<()> {
        self.scalar(writer, &number.to_string())
    }
}

impl Formatter for Block {
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        self.scalar(writer, "null")
    }

    fn write_bool<W: ?Sized + Write>(&mut self, writer: &mut W, value: bool) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_i8<W: ?Sized + Write>(&mut self, writer: &mut W, value: i8) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_i16<W: ?Sized + Write>(&mut self, writer: &mut W, value: i16) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_i32<W: ?Sized + Write>(&mut self, writer: &mut W, value: i32) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_u8<W: ?Sized + Write>(&mut self, writer: &mut W, value: u8) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_u16<W: ?Sized + Write>(&mut self, writer: &mut W, value: u16) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_u32<W: ?Sized + Write>(&mut self, writer: &mut W, value: u32) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> Written<()> {
        self.number(writer, &value)
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> Written<()> {
        self.write_f64(writer, value.into())
    }

    /// Always with a point and never with an exponent: `1e3` is a text to readers of YAML 1.1.
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Written<()> {
        let mut text = value.to_string();
        if !text.contains('.') {
            text.push_str(".0");
        }
        self.scalar(writer, &text)
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> Written<()> {
        self.text.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        _: &mut W,
        fragment: &str,
    ) -> Written<()> {
        self.text.push_str(fragment);
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        _: &mut W,
        escape: CharEscape,
    ) -> Written<()> {
        self.text.push(match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => '\u{8}',
            CharEscape::FormFeed => '\u{c}',
            CharEscape::LineFeed => '\n',
            CharEscape::CarriageReturn => '\r',
            CharEscape::Tab => '\t',
            CharEscape::AsciiControl(byte) => char::from(byte),
        });
        Ok(())
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        let text = std::mem::take(&mut self.text);
        if may_be_bare(&text) {
            self.scalar(writer, &text)?;
        } else {
            self.scalar(writer, &quoted(&text))?;
        }
        self.text = text;
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _: &mut W) -> Written<()> {
        self.begin(true);
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        self.end(writer, "[]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> Written<()> {
        self.begin_entry(writer)?;
        self.pen = Pen::AfterDash;
        writer.write_all(b"-")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> Written<()> {
        self.begin(false);
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        self.end(writer, "{}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> Written<()> {
        self.begin_entry(writer)?;
        self.pen = Pen::Start;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Written<()> {
        self.pen = Pen::AfterColon;
        writer.write_all(b":")
    }
}

/// Whether no reader could take the bare text for anything but this text: it begins with a letter or a slash, holds
/// nothing that means something to YAML, and is not one of the words for truth values, numbers and nothing.
fn may_be_bare(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_harmless =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'@');
    begins_well
        && text.bytes().all(is_harmless)
        && !NOT_TEXT.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// In single quotes, where nothing but the quote itself is special; in double quotes where a character cannot stand in
/// YAML as it is, or is a line end to some readers.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;

    if text.chars().all(stands_for_itself) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push('"');
    for c in text.chars() {
        let escaped = match (c, u32::from(c)) {
            ('"' | '\\', _) => write!(quoted, "\\{c}"),
            _ if stands_for_itself(c) => write!(quoted, "{c}"),
            (_, code @ 0..=0xff) => write!(quoted, "\\x{code:02x}"),
            (_, code @ 0x100..=0xffff) => write!(quoted, "\\u{code:04x}"),
            (_, code) => write!(quoted, "\\U{code:08x}"),
        };
        escaped.expect("a String takes whatever is written");
    }
    quoted.push('"');
    quoted
}

/// What YAML 1.1 calls printable, but for line ends of any kind, the byte order mark and tabs (YAML 1.1, section 5.1).
fn stands_for_itself(c: char) -> bool {
    match c {
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn blocks() {
        let check = |value: serde_json::Value, expected: &str| {
            assert_eq!(to_text(&value), expected, "{value}");
        };
        check(json!("a"), "a\n");
        check(json!({}), "{}\n");
        check(
            json!({"a": {"b": {}, "c": [], "d": [1, -2, true, null, 2.5]}, "e": "f"}),
            "a:\n  b: {}\n  c: []\n  d:\n  - 1\n  - -2\n  - true\n  - null\n  - 2.5\ne: f\n",
        );
        check(
            json!({"a": [{"b": 1, "c": [{"d": 2}]}, [3, [4]], {}]}),
            "a:\n- b: 1\n  c:\n  - d: 2\n- - 3\n  - - 4\n- {}\n",
        );
        check(
            json!([1.0, 0.000_001, 1e20]),
            "- 1.0\n- 0.000001\n- 100000000000000000000.0\n",
        );
    }

    /// Each of them is something else than a text, or nothing at all, to some reader.
    const QUOTED: &[&str] = &[
        "",
        "y",
        "N",
        "yes",
        "No",
        "ON",
        "off",
        "True",
        "FALSE",
        "null",
        "Null",
        "~",
        "nan",
        ".nan",
        ".inf",
        "-.INF",
        "1",
        "-1",
        "+1",
        "007",
        "0o7",
        "0x10",
        "0b1",
        "1_000",
        "1e3",
        "1.5",
        ".5",
        "12:30:45",
        "1:2",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "=",
        "<<",
        "-",
        "- a",
        "?",
        ":",
        "a:",
        "a: b",
        "a #b",
        "#",
        "!a",
        "&a",
        "*a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "{}",
        "[]",
        "a,b",
        " a",
        "a ",
        "...",
        "---",
        "é",
        "a\u{a0}",
    ];

    #[test]
    fn only_what_nobody_could_mistake_is_bare() {
        for bare in [
            "acme",
            "eu-1",
            "a.b_c",
            "www.acme.example",
            "/healthz",
            "a@b",
            "E1",
            "none",
        ] {
            assert_eq!(to_text(&bare), format!("{bare}\n"));
        }
        for other in QUOTED {
            assert_eq!(to_text(&other), format!("'{other}'\n"));
        }
        let check = |text: &str, expected: &str| assert_eq!(to_text(&text), expected);
        check("it's", "'it''s'\n");
        check("say \"a\\b\"", "'say \"a\\b\"'\n");
        check("\u{85}\"\\", "\"\\x85\\\"\\\\\"\n");
        check(
            "a\nb\t\r\u{8}\u{c}\u{1}",
            "\"a\\x0ab\\x09\\x0d\\x08\\x0c\\x01\"\n",
        );
        check("\u{2028}\u{2029}\u{feff}", "\"\\u2028\\u2029\\ufeff\"\n");
        check("\u{ffff}\u{1f600}", "\"\\uffff\u{1f600}\"\n");
        // Keys are treated as other texts are.
        let map = BTreeMap::from([("no", 1), ("yes", 2), ("z", 3)]);
        assert_eq!(to_text(&map), "'no': 1\n'yes': 2\nz: 3\n");
    }
}

//! What the commands print: a result to standard output, and what is wrong to standard error, or both as JSON to standard
//! output.

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use cellgate_table::Problems;
use serde_json::{Value, json};

use super::args::Format;

/// What a command has done.
#[derive(Debug)]
pub(super) struct Done {
    /// For people.
    pub(super) summary: String,
    /// The same for programs: an object.
    pub(super) fields: Value,
}

/// Why a command has not done it.
#[derive(Debug)]
pub(super) enum Failed {
    /// A file is wrong, with each mistake in it.
    Input(Problems),
    Other(String),
}

impl Failed {
    pub(super) fn of(error: impl Display) -> Self {
        Self::Other(error.to_string())
    }

    fn text(&self) -> String {
        match self {
            Self::Input(problems) => problems.to_string(),
            Self::Other(error) => error.clone(),
        }
    }

    /// In the shape that `cellgate-proxy check` has.
    fn json(&self) -> Value {
        match self {
            Self::Input(problems) => {
                let with_file = |problem| {
                    let mut value = json!(problem);
                    value["file"] = json!(problems.file);
                    value
                };
                let all: Vec<Value> = problems.problems.iter().map(with_file).collect();
                json!({ "ok": false, "problems": all, "more": problems.more })
            }
            Self::Other(error) => json!({ "ok": false, "error": error }),
        }
    }
}

/// Prints how a command ended; returns the exit code.
pub(super) fn report(outcome: Result<Done, Failed>, output: Format) -> ExitCode {
    match (outcome, output) {
        (Ok(done), Format::Text) => print(&format!("{}\n", done.summary)),
        (Ok(done), Format::Json) => {
            let mut value = done.fields;
            value["ok"] = true.into();
            value["summary"] = done.summary.into();
            print(&pretty(&value))
        }
        (Err(failed), Format::Text) => {
            // With standard error closed there is nobody to report to.
            let _ = writeln!(io::stderr(), "{}", failed.text());
            ExitCode::FAILURE
        }
        (Err(failed), Format::Json) => {
            let _ = print(&pretty(&failed.json()));
            ExitCode::FAILURE
        }
    }
}

pub(super) fn pretty(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("plain data always serializes");
    format!("{text}\n")
}

/// A reader that closes the pipe early has read what it wanted.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

//! Why a command did not do what it was asked to, and how that is reported.

use std::{
    fmt,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use serde::Deserialize;
use serde_json::Value;

use super::terminal::plain;

/// See the module's documentation.
#[derive(Debug)]
pub enum Failure {
    /// Whoever reads what is printed has read enough.
    ClosedPipe,
    /// The command line asks for what cannot be.
    Usage(String),
    /// The daemon says no.
    Refused(Box<Problem>),
    /// Nobody answers, or not to the end.
    Unreachable {
        place: String,
        error: String,
        /// The request may have arrived, and may have been carried out.
        is_lost: bool,
    },
    /// Somebody answers, but not like the daemon of this version.
    OddAnswer {
        place: String,
        error: String,
    },
    NoToken {
        path: PathBuf,
        error: String,
    },
    /// The change stands, but what was waited for did not come.
    NotReached(String),
    /// A file cannot be read or written.
    File {
        path: PathBuf,
        error: String,
    },
    /// Standard output cannot be written.
    Output(io::Error),
    /// An import ended early.
    Import {
        cause: Box<Failure>,
        taken: usize,
    },
    /// A line of a file to import, counted from 1.
    Line {
        line: u64,
        error: String,
    },
    NoRuntime(io::Error),
}

/// An error of the API.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Problem {
    pub status: u16,
    pub detail: String,
    pub code: String,
    #[serde(default)]
    pub hint: Option<String>,
    #[serde(default)]
    pub problems: Vec<Value>,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether asking again, later, may go better.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Prints it on standard error.
    pub fn report(&self) {
        if let Self::ClosedPipe = self {
            return;
        }
        let text = plain(&self.text());
        // With standard error closed there is nobody to report to.
        let _ = write!(io::stderr(), "{text}");
    }

    /// All that there is to say: what is wrong, then whatever helps, each on a line of its own.
    pub fn text(&self) -> String {
        let mut text = format!("error: {self}\n");
        for line in self.more() {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn more(&self) -> Vec<String> {
        let hint = |text: &str| vec![format!("hint: {text}")];
        match self {
            Self::Refused(problem) => problem.more(),
            Self::Unreachable { is_lost: false, .. } => hint(
                "is cellgate-control running? its log names the address that it listens on; \
                 --server (CELLCTL_SERVER) or --socket (CELLCTL_SOCKET) say where the daemon is",
            ),
            Self::Unreachable { is_lost: true, .. } => {
                hint("if it was a change, it may have been made or not: `cellctl audit` shows")
            }
            Self::OddAnswer { .. } => {
                hint("is this the address of cellgate-control, and of the same version as cellctl?")
            }
            Self::NoToken { .. } => hint(
                "changes need the daemon's token: name its file with --token-file or CELLCTL_TOKEN_FILE, \
                 or put the token itself into CELLCTL_TOKEN",
            ),
            Self::NotReached(_) => {
                hint("the change itself is stored; `cellctl status` shows how far it is")
            }
            Self::Import { cause, .. } => {
                let mut lines = cause.more();
                lines.extend(hint(
                    "running it again is safe: what was taken stays as it is",
                ));
                lines
            }
            Self::Usage(_) => hint("see --help"),
            _ => Vec::new(),
        }
    }
}

impl Problem {
    fn more(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for problem in &self.problems {
            lines.push(one_problem(problem));
        }
        if let Some(hint) = &self.hint {
            lines.push(format!("hint: {hint}"));
        }
        if let Some(flag) = flag_for(&self.code) {
            lines.push(format!("with cellctl: {flag}"));
        }
        lines
    }
}

fn one_problem(problem: &Value) -> String {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let place = match problem["line"].as_u64() {
        Some(line) => format!("line {line}"),
        None => text("path").to_owned(),
    };
    let mut line = format!("{place}: {}", text("message"));
    if !text("hint").is_empty() {
        line.push_str("; ");
        line.push_str(text("hint"));
    }
    line
}

/// How a permission that the API asks for is given here.
fn flag_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "moves_too_much" => "--allow-move",
        "no_reason" => "--reason TEXT",
        "has_data" => "--without-data",
        "slots_unassigned" => "`cellctl slots spread`",
        "unauthorized" => "--token-file PATH, CELLCTL_TOKEN_FILE or CELLCTL_TOKEN",
        "cell_owns" => "`cellctl cell drain`, or --force --reason TEXT",
        _ => return None,
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedPipe => f.write_str("nobody reads on"),
            Self::Usage(message) | Self::NotReached(message) => f.write_str(message),
            Self::Refused(problem) => {
                // The detail of these says what follows one by one.
                let says_all_again = problem.problems.iter().any(|one| one["path"].is_string());
                let detail = if says_all_again {
                    "what was sent is wrong"
                } else {
                    problem.detail.as_str()
                };
                write!(f, "{detail} ({})", problem.code)
            }
            Self::Unreachable {
                place,
                error,
                is_lost: false,
            } => write!(f, "no connection to {place}: {error}"),
            Self::Unreachable { place, error, .. } => {
                write!(f, "the connection to {place} broke: {error}")
            }
            Self::OddAnswer { place, error } => {
                write!(f, "{place} does not answer as it should: {error}")
            }
            Self::NoToken { path, error } => {
                write!(
                    f,
                    "the token file {} cannot be read: {error}",
                    path.display()
                )
            }
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
            Self::Import { cause, taken } => {
                write!(f, "{cause}; {taken} tenants were taken before that")
            }
            Self::NoRuntime(error) => write!(f, "the runtime cannot be started: {error}"),
            Self::Line { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Failure {
        Failure::Refused(Box::new(serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn a_refusal_says_all_that_is_known() {
        let check = |json: &str, expected: &str| assert_eq!(refused(json).text(), expected);
        check(
            r#"{"title":"no such cell","status":404,"detail":"there is no cell `x`","code":"no_such_cell"}"#,
            "error: there is no cell `x` (no_such_cell)\n",
        );
        check(
            r#"{"title":"t","status":409,"detail":"9 slots move","code":"moves_too_much","hint":"say `allow_move`"}"#,
            "error: 9 slots move (moves_too_much)\n  hint: say `allow_move`\n  with cellctl: --allow-move\n",
        );
        check(
            r#"{"title":"t","status":422,"detail":"all of it","code":"bad_input","problems":[
                {"path":"endpoints[0].address","message":"is none","hint":"write one"},
                {"line":7,"message":"unknown field"}]}"#,
            "error: what was sent is wrong (bad_input)\n  endpoints[0].address: is none; write one\n  \
             line 7: unknown field\n",
        );
    }

    #[test]
    fn an_import_says_how_far_it_came() {
        let failure = Failure::Import {
            cause: Box::new(Failure::Unreachable {
                place: "http://h".to_owned(),
                error: "reset".to_owned(),
                is_lost: true,
            }),
            taken: 20_000,
        };
        let text = failure.text();
        assert!(text.contains("20000 tenants were taken"), "{text}");
        assert!(text.contains("running it again is safe"), "{text}");
    }
}

//! The command line.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::Parser;

/// One cell to put behind cellgate: a key-value service with a database file for each tenant.
///
/// Prints `demo-cell NAME listening on ADDRESS` when it is ready, and ends on SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(name = "demo-cell")]
pub struct Args {
    /// Name of the cell, sent as `x-cell` with every answer
    #[arg(long)]
    pub name: CellName,

    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Directory of the tenants' databases; created if missing
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Version of the software that the cell claims to run, shown by /whoami
    #[arg(long, default_value = "v1")]
    pub version: String,
}

/// The name of a cell: 1 to 64 of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`, so that it fits a header
/// and a ready line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellName(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cell name is 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct CellNameError;

impl CellName {
    const BYTES_MAX: usize = 64;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CellName {
    type Err = CellNameError;

    fn from_str(text: &str) -> Result<Self, CellNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.bytes().all(allowed) {
            return Err(CellNameError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn cell_names_fit_a_header() {
        #[track_caller]
        fn check(text: &str, accepted: bool) {
            assert_eq!(text.parse::<CellName>().is_ok(), accepted, "{text:?}");
        }

        check("eu-1", true);
        check("EU_1.a", true);
        check(&"a".repeat(64), true);
        check(&"a".repeat(65), false);
        check("", false);
        check("eu 1", false);
        check("eu\n1", false);
        check("zürich", false);
    }
}

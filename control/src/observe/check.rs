//! Why a check did not pass, and whose fault that is.

use std::io;

use cellgate_process::{
    descriptors::{is_caused_by_exhaustion, is_exhaustion},
    root_cause,
};

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// This machine ran out of something, so nothing was found out about the other end.
    OutOfResources(String),
    Unhealthy(String),
}

impl CheckError {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        if is_caused_by_exhaustion(error) {
            return Self::OutOfResources(innermost(error));
        }
        Self::Unhealthy(innermost(error))
    }

    pub(super) fn of_connecting(error: &io::Error) -> Self {
        if is_exhaustion(error) {
            return Self::OutOfResources(error.to_string());
        }
        Self::Unhealthy(error.to_string())
    }

    /// The same, with the path that was asked for.
    pub(super) fn at(self, path: &str) -> Self {
        match self {
            Self::OutOfResources(why) => Self::OutOfResources(format!("{path}: {why}")),
            Self::Unhealthy(why) => Self::Unhealthy(format!("{path}: {why}")),
        }
    }
}

/// In few words.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    root_cause(error).to_string()
}

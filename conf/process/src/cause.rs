//! What an error is about.

use std::error::Error;

/// The cause at the bottom: the layers above it often only say that something failed.
pub fn root_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut cause: &'e (dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

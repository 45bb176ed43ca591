//! The differences between the two ways that are allowed, each with the reason. Any other one fails.
//!
//! A difference belongs here only if no correct client and no correct cell can be any the wiser for it.

use super::{compare::Difference, scenario::Scenario};

/// A difference that is no fault.
pub(super) struct Allowed {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
    pub(super) is_this: fn(&Difference, &Scenario) -> bool,
}

/// All of them.
pub(super) static ALLOWED: [Allowed; 0] = [];

/// The one that a difference is, if it is one of them.
pub(super) fn allowed(difference: &Difference, scenario: &Scenario) -> Option<&'static str> {
    let mut allowed = ALLOWED.iter();
    let found = allowed.find(|allowed| (allowed.is_this)(difference, scenario))?;
    Some(found.name)
}

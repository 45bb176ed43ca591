//! What must hold for any bytes: shared by the fuzz target and the crate's own tests.

use cellgate_table::{limits, parse, render};

/// Reads bytes as a table. Reading must not panic; a refusal says why and where; and a table that is taken comes back
/// the same from its own canonical text.
///
/// # Panics
/// When one of these does not hold.
pub(crate) fn check(bytes: &[u8]) {
    match parse(bytes) {
        Ok(table) => {
            let text = render(&table);
            let again = parse(text.as_bytes()).expect("what is rendered can be read");
            assert!(again == table, "another table was read back from:\n{text}");
            assert!(render(&again) == text, "the table has two texts");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal without a reason");
            assert!(problems.problems.len() <= limits::PROBLEMS_REPORTED_MAX);
            for problem in &problems.problems {
                assert!(
                    !problem.message.is_empty() && !problem.hint.is_empty(),
                    "{problem:?}"
                );
                assert!(
                    problem.line != Some(0) && problem.column != Some(0),
                    "{problem:?}"
                );
                assert!(problem.to_string().lines().count() == 1, "{problem:?}");
            }
        }
    }
}

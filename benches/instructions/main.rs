//! Counts the instructions that a request costs where its way is pure, and fails if they are more than
//! `instructions/budgets.tsv` allows. It runs itself under valgrind, which counts the same in every run:
//! `docs/performance.md` says what the figures mean.
//!
//! Where the budgets do not hold, it says so and fails nothing.

mod budgets;
mod callgrind;
mod cases;
mod machine;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tikv_jemallocator::Jemalloc;

use budgets::{Budgets, Report};
use callgrind::Count;

/// The proxy's own: allocations are a part of what is counted.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const USAGE: &str = "usage: count-instructions [--write]

Counts instructions and compares with the budgets. --write makes new budgets of what was counted.";

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("this build is not the one that is counted: use `make instructions`");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] => judge(),
        ["--write"] => write(),
        [callgrind::RUN_CASES] => {
            callgrind::run_cases(cases::all());
            Ok(true)
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing is above its budget.
fn judge() -> Result<bool, String> {
    let counts = callgrind::count()?;
    if let Some(why) = machine::is_unlike_that_of_the_budgets() {
        for Count { case, instructions } in &counts {
            println!("{instructions:>12}  {case}");
        }
        println!("NOT JUDGED: {why}");
        return Ok(true);
    }
    let path = budgets_path();
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let budgets = Budgets::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let report = Report::new(&counts, &budgets, &machine::compiler());
    print!("{report}");
    Ok(report.is_within_budgets())
}

fn write() -> Result<bool, String> {
    if let Some(why) = machine::is_unlike_that_of_the_budgets() {
        return Err(format!("budgets cannot be written here: {why}"));
    }
    let counts = callgrind::count()?;
    let path = budgets_path();
    let budgets = Budgets::of(&counts, &machine::compiler());
    fs::write(&path, budgets.to_string()).map_err(|error| error.to_string())?;
    print!("{}", Report::new(&counts, &budgets, &machine::compiler()));
    println!("written: benches/instructions/budgets.tsv");
    Ok(true)
}

fn budgets_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/budgets.tsv")
}

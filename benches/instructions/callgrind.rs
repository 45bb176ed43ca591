//! Counting by valgrind's callgrind: this program runs itself under it, with all cases one after the other, and reads
//! what each of them cost.

use std::{
    env, fs,
    hint::black_box,
    io,
    path::Path,
    process::{Command, Stdio},
};

use crate::cases::Case;

/// Has this program run its cases.
pub(crate) const RUN_CASES: &str = "--run-cases";

/// Calls of a case that are counted together, so that what happens only now and then is shared out.
const CALLS: u64 = 1_000;
/// Calls before those, in which lazy initialisation happens and buffers grow.
const WARM_UP_CALLS: u64 = 100;
/// jemalloc gives memory back by the clock, and tidies up after so many bytes. Neither belongs to one call, and with the
/// former no two runs are the same.
const ALLOCATOR_SETTINGS: &str =
    "dirty_decay_ms:-1,muzzy_decay_ms:-1,tcache_gc_incr_bytes:1000000000";
/// Callgrind counts while the first of these functions runs, and writes down what it has counted when the second ends. It
/// heeds only one option for each pattern, so they are two.
const COUNTED: &str = "*counted_calls*";
const WRITTEN_DOWN: &str = "*counted_case*";

/// What one call of a case costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) case: String,
    pub(crate) instructions: u64,
}

#[inline(never)]
fn counted_calls(call: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        call();
    }
}

/// Prints the case's name too: the names come in the order of what is written down.
#[inline(never)]
fn counted_case(mut case: Case) {
    for _ in 0..WARM_UP_CALLS {
        (case.call)();
    }
    counted_calls(black_box(&mut *case.call));
    println!("{}", case.name);
}

/// Runs all cases.
pub(crate) fn run_cases(cases: Vec<Case>) {
    cases.into_iter().for_each(counted_case);
}

/// Counts all cases.
pub(crate) fn count() -> Result<Vec<Count>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.with_file_name("callgrind");
    count_in(&folder, &program).map_err(|why| format!("instructions cannot be counted: {why}"))
}

fn count_in(folder: &Path, program: &Path) -> Result<Vec<Count>, String> {
    let text = |error: io::Error| error.to_string();
    // What an earlier run left there would be taken for this one's.
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(text)?;
    }
    fs::create_dir_all(folder).map_err(text)?;
    let out = folder.join("out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={WRITTEN_DOWN}"))
        .arg(program)
        .arg(RUN_CASES)
        // The environment lies on the stack, whose place can make a copy a few instructions longer.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("_RJEM_MALLOC_CONF", ALLOCATOR_SETTINGS)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let names = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complaints = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind: {}\n{complaints}", output.status));
    }
    let counts = names.lines().zip(1..).map(|(name, part)| {
        let dump = out.with_extension(part.to_string());
        let dump = fs::read_to_string(&dump).map_err(|error| format!("{name}: {error}"))?;
        let total = total(&dump).ok_or_else(|| format!("{name}: no total was counted"))?;
        if total < CALLS {
            return Err(format!("{name}: {total} instructions cannot be all"));
        }
        Ok(Count {
            case: name.to_owned(),
            instructions: total.div_ceil(CALLS),
        })
    });
    let counts: Vec<Count> = counts.collect::<Result<_, _>>()?;
    if counts.is_empty() {
        return Err("no case was run".to_owned());
    }
    Ok(counts)
}

/// Out of a dump's line `totals: N`.
fn total(dump: &str) -> Option<u64> {
    let line = dump.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_a_dump() {
        assert_eq!(total("fn=(1) f\n3 5\n\ntotals: 5200\n"), Some(5_200));
        assert_eq!(total("summary: 5200\n"), None);
        assert_eq!(total("totals: \n"), None);
    }
}

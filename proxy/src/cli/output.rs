//! What the commands print.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use cellgate_table::{Problems, diff::Diff};
use serde_json::json;

use super::Format;

/// Longest list of moved tenants or slots that text output shows; JSON has them all.
const MOVES_SHOWN_MAX: usize = 20;

pub(super) fn describe_diff(text: &mut String, diff: &Diff) {
    let percent = diff.moved_share * 100.0;
    let _ = match (diff.rehashed, diff.moved_slots()) {
        (true, _) => writeln!(text, "the hash changes: {percent:.2} % of all keys move"),
        (false, 0) => writeln!(text, "no slot moves"),
        (false, slots) => writeln!(text, "{slots} slots move ({percent:.2} %):"),
    };
    for slot_move in diff.slot_moves.iter().take(MOVES_SHOWN_MAX) {
        let _ = writeln!(
            text,
            "  slots {}: {} -> {}",
            slot_move.slots, slot_move.from, slot_move.to
        );
    }
    rest_of(text, diff.slot_moves.len());
    let _ = match diff.tenant_moves.len() {
        0 => writeln!(text, "no tenant named in the table moves"),
        count => writeln!(text, "{count} tenants named in the table move:"),
    };
    for tenant_move in diff.tenant_moves.iter().take(MOVES_SHOWN_MAX) {
        let _ = writeln!(
            text,
            "  {}: {} -> {}",
            tenant_move.tenant, tenant_move.from, tenant_move.to
        );
    }
    rest_of(text, diff.tenant_moves.len());
    list(text, "cells added", &diff.cells_added);
    list(text, "cells removed", &diff.cells_removed);
    list(text, "cells changed", &diff.cells_changed);
    list(text, "rejects added", &diff.rejects_added);
    list(text, "rejects removed", &diff.rejects_removed);
}

fn rest_of(text: &mut String, count: usize) {
    if count > MOVES_SHOWN_MAX {
        let _ = writeln!(
            text,
            "  … and {} more (all of them with --output json)",
            count - MOVES_SHOWN_MAX
        );
    }
}

fn list(text: &mut String, title: &str, items: &[impl ToString]) {
    if items.is_empty() {
        return;
    }
    let mut names: Vec<String> = items
        .iter()
        .take(MOVES_SHOWN_MAX)
        .map(ToString::to_string)
        .collect();
    if items.len() > MOVES_SHOWN_MAX {
        names.push(format!("… and {} more", items.len() - MOVES_SHOWN_MAX));
    }
    let _ = writeln!(text, "{title}: {}", names.join(", "));
}

/// Reports problems and gives the exit code for bad input.
pub(super) fn refuse(problems: &[&Problems], output: Format) -> ExitCode {
    match output {
        Format::Text => {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            // With standard error closed there is nobody to report to.
            let _ = writeln!(io::stderr(), "{}", text.join("\n"));
        }
        Format::Json => {
            let all: Vec<serde_json::Value> =
                problems.iter().flat_map(|file| as_json(file)).collect();
            let more: usize = problems.iter().map(|file| file.more).sum();
            let _ = print_json(&json!({ "ok": false, "problems": all, "more": more }));
        }
    }
    ExitCode::FAILURE
}

pub(super) fn as_json(problems: &Problems) -> Vec<serde_json::Value> {
    let with_file = |problem| {
        let mut value = json!(problem);
        value["file"] = json!(problems.file);
        value
    };
    problems.problems.iter().map(with_file).collect()
}

pub(super) fn print_json(value: &impl serde::Serialize) -> ExitCode {
    let text = serde_json::to_string_pretty(value).expect("plain data always serializes");
    print(&format!("{text}\n"))
}

/// A reader that closes the pipe early has read what it wanted.
pub(super) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

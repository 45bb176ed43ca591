//! Tenants in bulk: a file is sent in pieces, and an answer is written as it comes.

mod pieces;

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
    time::Instant,
};

use reqwest::Method;
use serde::Deserialize as _;
use serde_json::{Value, json};

use self::pieces::{Piece, Pieces};
use super::{
    answers::Imported,
    args::TenantFormat,
    call::{Body, Call},
    client::Client,
    failure::{Failure, Problem},
    output::{Progress, print_bytes},
};

/// Bytes of the file that are read ahead.
const READ_BYTES: usize = 256 * 1024;

/// The warning that comes with the first tenants of a fleet only.
const LIMITS_MISSING: &str = "limits_missing";

/// What to import, and as what.
pub fn format_of(file: &Path, format: Option<TenantFormat>) -> Result<TenantFormat, Failure> {
    if let Some(format) = format {
        return Ok(format);
    }
    let ending = file.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Ok(TenantFormat::Csv),
        Some("ndjson" | "jsonl") => Ok(TenantFormat::Ndjson),
        _ => Err(Failure::usage(format!(
            "the name {} does not say what the file holds: say --format ndjson or --format csv",
            file.display()
        ))),
    }
}

/// Sends the file, piece by piece. The answer is what the API would say of the whole.
pub async fn import(
    client: &mut Client,
    file: &Path,
    format: TenantFormat,
) -> Result<Value, Failure> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| Failure::File {
            path: file.to_owned(),
            error: error.to_string(),
        })?)
    };
    let mut sum = Imported {
        tenants: 0,
        new: 0,
        cells: std::collections::BTreeMap::new(),
        warnings: Vec::new(),
    };
    let mut pieces = Pieces::new(BufReader::with_capacity(READ_BYTES, source), format);
    let sent = send_all(client, &mut pieces, file, &mut sum).await;
    if let Err(cause) = sent {
        return Err(match cause {
            cause if sum.tenants == 0 => cause,
            cause => Failure::Import {
                cause: Box::new(cause),
                taken: sum.tenants,
            },
        });
    }
    if sum.tenants == 0 {
        return Err(Failure::File {
            path: file.to_owned(),
            error: "there is no tenant in it".to_owned(),
        });
    }
    Ok(json!({
        "tenants": sum.tenants, "new": sum.new, "cells": sum.cells, "warnings": sum.warnings,
    }))
}

async fn send_all(
    client: &mut Client,
    pieces: &mut Pieces<BufReader<Box<dyn Read>>>,
    file: &Path,
    sum: &mut Imported,
) -> Result<(), Failure> {
    let mut progress = Progress::default();
    let begin = Instant::now();
    while let Some(piece) = pieces.next(file)? {
        let imported = send(client, piece).await?;
        // A change of one's own is no reason to stop.
        client.forget_revision();
        sum.tenants += imported.tenants;
        sum.new += imported.new;
        for (cell, count) in imported.cells {
            *sum.cells.entry(cell).or_insert(0) += count;
        }
        // How the tenants are spread is for the last piece to say; that limits are missing, for the first.
        sum.warnings.retain(|it| it.code == LIMITS_MISSING);
        sum.warnings.extend(imported.warnings);
        #[expect(clippy::cast_precision_loss, reason = "shown without digits")]
        let rate = sum.tenants as f64 / begin.elapsed().as_secs_f64().max(0.001);
        progress.say(&format!("{} tenants, {rate:.0} a second", sum.tenants));
    }
    Ok(())
}

async fn send(client: &Client, piece: Piece) -> Result<Imported, Failure> {
    let Piece {
        format,
        bytes,
        lines,
    } = piece;
    let call =
        Call::new(Method::POST, &["import", "tenants"]).body(Body::Tenants { format, bytes });
    match client.json(&call).await {
        Ok(answer) => Imported::deserialize(&answer).map_err(|error| client.odd(error.to_string())),
        Err(Failure::Refused(mut problem)) => {
            as_in_file(&mut problem, &lines);
            Err(Failure::Refused(problem))
        }
        Err(failure) => Err(failure),
    }
}

/// The daemon counts the lines of the piece that it got; people count those of their file.
fn as_in_file(problem: &mut Problem, lines: &[u64]) {
    let in_file = |line: u64| {
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        lines.get(at).copied()
    };
    for one in &mut problem.problems {
        if let Some(line) = one["line"].as_u64().and_then(in_file) {
            one["line"] = json!(line);
        }
        let path = one["path"]
            .as_str()
            .and_then(|path| path.strip_prefix("line "));
        if let Some(line) = path.and_then(|line| line.parse().ok()).and_then(in_file) {
            one["path"] = json!(format!("line {line}"));
        }
    }
}

/// Writes all tenants to standard output.
pub async fn export(client: &Client, format: TenantFormat) -> Result<(), Failure> {
    let call = Call::get(&["export", "tenants"]).with("format", &format.as_str());
    let mut answer = client.send(&call).await?;
    while let Some(piece) = client.piece(&mut answer).await? {
        print_bytes(&piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_a_file_holds() {
        let check = |file: &str, expected: Option<TenantFormat>| {
            assert_eq!(format_of(Path::new(file), None).ok(), expected, "{file}");
        };
        check("a/b.csv", Some(TenantFormat::Csv));
        check("B.CSV", Some(TenantFormat::Csv));
        check("b.ndjson", Some(TenantFormat::Ndjson));
        check("b.jsonl", Some(TenantFormat::Ndjson));
        check("-", None);
        check("b.json", None);
        let said = format_of(Path::new("b.csv"), Some(TenantFormat::Ndjson));
        assert_eq!(said.ok(), Some(TenantFormat::Ndjson));
    }

    #[test]
    fn lines_are_numbered_as_in_the_file() {
        let mut problem = Problem {
            problems: vec![
                json!({ "line": 2, "message": "m" }),
                json!({ "path": "line 3", "message": "m" }),
                json!({ "line": 9, "message": "m" }),
                json!({ "path": "key", "message": "m" }),
            ],
            ..Problem::default()
        };
        as_in_file(&mut problem, &[1, 20_002, 20_005]);
        assert_eq!(problem.problems[0]["line"], 20_002);
        assert_eq!(problem.problems[1]["path"], "line 20005");
        assert_eq!(problem.problems[2]["line"], 9);
        assert_eq!(problem.problems[3]["path"], "key");
    }
}

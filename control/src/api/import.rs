//! Tenants in bulk, in and out: lines of JSON, or CSV.

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, Version, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Answer, change},
    app::App,
    caller::{Asked, Lines, Params},
    cut_short::{CutShort, Piece},
    problem::Problem,
    view::TenantView,
};
use crate::{
    change::tenants::{self, NewTenant},
    plan::{ImportWarning, import_warnings},
    refusal::{Refusal, StorageError},
    store::TenantFilter,
    turns::Standing,
};

/// Tenants of one request, and invalid lines. A larger file is sent in pieces, each of them a change of its own.
const LINES_MAX: usize = 50_000;
/// Bytes of a line: of a tenant with as many aliases as it may have, all of them escaped.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Wrong lines that are reported one by one.
const PROBLEMS_MAX: usize = 100;
/// Tenants read together for an export.
const PAGE: usize = 5_000;
/// Pages that may wait for a slow reader.
const PAGES_WAITING: usize = 2;
const NOT_UTF8: &str = "it is not UTF-8";
/// Between two aliases in a field of CSV. No key that comes in a header can hold it.
const ALIAS_SEPARATOR: char = '|';

/// What became of the lines.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Imported {
    /// How many tenants were named.
    tenants: usize,
    /// How many of them, or of their aliases, are new.
    new: usize,
    /// How many of them live in each cell.
    cells: std::collections::BTreeMap<String, usize>,
    /// What somebody should check of where they live now.
    warnings: Vec<ImportWarning>,
}

/// A line of CSV.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: String,
    #[serde(default)]
    cell: Option<String>,
    #[serde(default)]
    pin: Option<bool>,
    #[serde(default)]
    rejected: Option<bool>,
    /// With `|` in between.
    #[serde(default)]
    aliases: Option<String>,
}

/// Register many tenants, all of them or none
///
/// `application/x-ndjson`: a tenant per line, as for `POST /v1/tenants`. `text/csv`: with a header line; columns `key`,
/// `cell`, `pin`, `rejected`, `aliases` (with `|` in between), of which only `key` has to be there.
#[utoipa::path(post, path = "/v1/import/tenants", operation_id = "import_tenants", tag = "tenants",
    request_body(content = String, content_type = "application/x-ndjson"),
    params(("reason" = Option<String>, Query, description = "Why, for the audit log")), security(("token" = [])),
    responses((status = 200, body = Imported), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn import(State(app): State<App>, asked: Asked<Lines>) -> Result<Answer, Problem> {
    let Lines { bytes, is_csv } = asked.body;
    let (batch, lines) = if is_csv {
        read_csv(&bytes)?
    } else {
        read_ndjson(&bytes)?
    };
    if batch.is_empty() {
        return Err(Problem::bad_request("there is no tenant in the body"));
    }
    change(&app, StatusCode::OK, asked.request, move |daemon, write| {
        let registered =
            tenants::register(write, &batch, &daemon.rules).map_err(|(at, refusal)| {
                let line = lines.get(at).copied().unwrap_or(0);
                in_line(line, refusal)
            })?;
        let mut cells = std::collections::BTreeMap::new();
        for tenant in &registered.tenants {
            *cells.entry(tenant.cell.to_string()).or_insert(0) += 1;
        }
        let fleet = write.read().cells()?;
        let warnings = import_warnings(
            &fleet,
            registered.is_first,
            daemon.config.cells.tenants_percent_max,
        );
        for warning in &warnings {
            tracing::warn!(code = warning.code.as_str(), "{}", warning.message);
        }
        Ok(Imported {
            tenants: registered.tenants.len(),
            new: registered.new,
            cells,
            warnings,
        })
    })
    .await
}

/// Says in which line the trouble is, where a refusal can.
fn in_line(line: usize, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NoCapacity(_) | Refusal::Storage(_) | Refusal::MovesTooMuch(_) => refusal,
        other => Refusal::bad_input(
            &format!("line {line}"),
            other.to_string(),
            "mend this line; none of the lines was taken",
        ),
    }
}

type Batch = (Vec<NewTenant>, Vec<usize>);

/// What was read so far. Whatever is sent, it takes memory for so many lines only.
#[derive(Default)]
struct Reading {
    batch: Vec<NewTenant>,
    lines: Vec<usize>,
    wrong: usize,
    /// The first of the wrong lines.
    problems: Vec<serde_json::Value>,
}

impl Reading {
    fn add(&mut self, line: usize, read: Result<NewTenant, String>) -> Result<(), Problem> {
        match read {
            Ok(tenant) => {
                self.batch.push(tenant);
                self.lines.push(line);
            }
            Err(message) => {
                self.wrong += 1;
                if self.problems.len() < PROBLEMS_MAX {
                    let problem = serde_json::json!({ "line": line, "message": message });
                    self.problems.push(problem);
                }
            }
        }
        if self.batch.len() + self.wrong <= LINES_MAX {
            return Ok(());
        }
        let detail = format!("there are more than {LINES_MAX} tenants in the body");
        Err(
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
                .hint("send it in pieces, as `cellctl tenant import` does"),
        )
    }

    fn finish(self) -> Result<Batch, Problem> {
        if self.wrong == 0 {
            return Ok((self.batch, self.lines));
        }
        let count = self.wrong;
        let detail = format!("{count} lines cannot be read; none of the lines was taken");
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_input", detail);
        problem.problems = self.problems;
        Err(problem)
    }
}

fn read_ndjson(bytes: &Bytes) -> Result<Batch, Problem> {
    let mut reading = Reading::default();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let tenant = check_length(line.len())
            .and_then(|()| serde_json::from_slice(line).map_err(|error| fault_of_json(&error)));
        reading.add(at + 1, tenant)?;
    }
    reading.finish()
}

fn read_csv(bytes: &Bytes) -> Result<Batch, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::None)
        .from_reader(&bytes[..]);
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => {
            return Err(Problem::bad_request(format!(
                "the header line cannot be read: {}",
                fault_of_csv(&error)
            )));
        }
    };
    let mut reading = Reading::default();
    let mut record = csv::ByteRecord::new();
    // Behind the header line; a quoted field may hold line ends, which no key may.
    for at in 2.. {
        let read = match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => read_record(&record, &headers),
            Err(error) => Err(fault_of_csv(&error)),
        };
        let line = record.position().map_or(at as u64, csv::Position::line);
        let line = if read.is_ok() {
            at
        } else {
            usize::try_from(line).unwrap_or(at)
        };
        reading.add(line, read)?;
    }
    reading.finish()
}

fn read_record(record: &csv::ByteRecord, headers: &csv::StringRecord) -> Result<NewTenant, String> {
    check_length(record.as_slice().len())?;
    let record = csv::StringRecord::from_byte_record(record.clone());
    let record = record.map_err(|_| NOT_UTF8.to_owned())?;
    let row = record.deserialize::<Row>(Some(headers));
    row.map(Row::tenant).map_err(|error| fault_of_csv(&error))
}

fn check_length(bytes: usize) -> Result<(), String> {
    if bytes <= LINE_BYTES_MAX {
        return Ok(());
    }
    Err(format!("it has {bytes} bytes, more than {LINE_BYTES_MAX}"))
}

/// What is wrong with a line. The parser counts lines too, from where this one begins.
fn fault_of_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let column = error.column();
    match text.strip_suffix(&format!(" at line {} column {column}", error.line())) {
        Some(fault) => format!("{fault}, at column {column}"),
        None => text,
    }
}

/// What is wrong with a line. The parser counts lines too, and records and bytes, and reports them all.
fn fault_of_csv(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} fields, and the first line {expected_len}"),
        csv::ErrorKind::Utf8 { .. } => NOT_UTF8.to_owned(),
        _ => error.to_string(),
    }
}

impl Row {
    fn tenant(self) -> NewTenant {
        let aliases = self.aliases.unwrap_or_default();
        NewTenant {
            key: self.key,
            cell: self.cell.filter(|cell| !cell.is_empty()),
            pin: self.pin.unwrap_or(false),
            rejected: self.rejected.unwrap_or(false),
            aliases: aliases
                .split(ALIAS_SEPARATOR)
                .filter(|alias| !alias.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    fn of(tenant: &NewTenant) -> Self {
        Self {
            key: tenant.key.clone(),
            cell: tenant.cell.clone(),
            pin: Some(tenant.pin),
            rejected: Some(tenant.rejected),
            aliases: Some(tenant.aliases.join(&ALIAS_SEPARATOR.to_string())),
        }
    }
}

/// As what to export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExportFormat {
    /// A tenant per line, as an import takes it.
    #[default]
    Ndjson,
    /// With a header line, as an import takes it.
    Csv,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    #[serde(default)]
    #[param(inline)]
    format: ExportFormat,
}

/// Export all tenants, in a form that an import takes
///
/// Read in pages, so that a change meanwhile may be in it or not; no tenant is missing that was there all the time.
/// An export that cannot be finished does not end properly: its last line begins with `error`, which no import takes,
/// and the connection breaks off without the end of the body. Over HTTP/1.0 nobody could see that: the answer is 505.
#[utoipa::path(get, path = "/v1/export/tenants", operation_id = "export_tenants", tag = "tenants", params(ExportQuery),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn export(
    State(app): State<App>,
    Extension(standing): Extension<Standing>,
    Params(query): Params<ExportQuery>,
    version: Version,
) -> Result<Response, Problem> {
    if version < Version::HTTP_11 {
        // There a body ends where the connection does, so half an export would look whole.
        let detail = "an export needs HTTP/1.1";
        return Err(Problem::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "http_version_not_supported",
            detail,
        )
        .hint("ask with HTTP/1.1: over HTTP/1.0 an incomplete export would look complete"));
    }
    // Before anything is answered: what has begun also ends.
    let Some(turn) = app.exports.try_take(standing) else {
        let detail = "there are too many exports under way";
        return Err(Problem::overloaded(detail, standing));
    };
    let (pages, receiver) = mpsc::channel(PAGES_WAITING);
    let format = query.format;
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let last = match write_pages(&app, format, &pages) {
            Ok(()) => Piece::End,
            Err(error) => {
                tracing::error!(%error, "an export broke off");
                Piece::Failed(failure_line(format))
            }
        };
        // The reader may be gone; one that is there waits for this.
        let _ = pages.blocking_send(last);
    });
    let kind = match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Ndjson => "application/x-ndjson",
    };
    let body = Body::new(CutShort::new(receiver));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// The last line of an export that is not whole. No import takes it.
fn failure_line(format: ExportFormat) -> Bytes {
    Bytes::from_static(match format {
        ExportFormat::Csv => {
            b"error: this export is not complete; the database could not be read\n"
        }
        ExportFormat::Ndjson => {
            b"{\"error\":\"this export is not complete; the database could not be read\"}\n"
        }
    })
}

fn write_pages(
    app: &App,
    format: ExportFormat,
    pages: &mpsc::Sender<Piece>,
) -> Result<(), StorageError> {
    let mut filter = TenantFilter::default();
    let mut is_first = true;
    loop {
        let (mut tenants, has_more) = app.store.read(|read| -> Result<_, StorageError> {
            let page = read.tenants(&filter, PAGE)?;
            let mut tenants = Vec::with_capacity(page.tenants.len());
            for tenant in &page.tenants {
                let aliases = read.aliases_of(&tenant.key)?;
                let view = TenantView::of(tenant);
                tenants.push(NewTenant {
                    key: view.key,
                    cell: Some(view.cell),
                    pin: tenant.placed_by == crate::model::PlacedBy::Pin,
                    rejected: view.rejected,
                    aliases: aliases.iter().map(ToString::to_string).collect(),
                });
            }
            Ok((tenants, page.has_more))
        })?;
        let text = match format {
            ExportFormat::Csv => as_csv(&tenants, is_first),
            ExportFormat::Ndjson => as_ndjson(&tenants),
        };
        let sent = pages.blocking_send(Piece::Page(text.into()));
        if sent.is_err() || !has_more {
            return Ok(());
        }
        is_first = false;
        filter.after = tenants.pop().map(|tenant| tenant.key);
    }
}

fn as_ndjson(tenants: &[NewTenant]) -> Vec<u8> {
    let mut text = Vec::new();
    for tenant in tenants {
        serde_json::to_writer(&mut text, tenant).expect("writing to memory never fails");
        text.push(b'\n');
    }
    text
}

fn as_csv(tenants: &[NewTenant], with_header: bool) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    if with_header {
        let written = writer.write_record(["key", "cell", "pin", "rejected", "aliases"]);
        written.expect("writing to memory never fails");
    }
    for tenant in tenants {
        let written = writer.serialize(Row::of(tenant));
        written.expect("writing to memory never fails");
    }
    writer
        .into_inner()
        .unwrap_or_else(|_| unreachable!("writing to memory never fails"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_both_ways() {
        let tenants = [
            NewTenant {
                key: "acme, inc \"x\"".to_owned(),
                cell: Some("eu-1".to_owned()),
                pin: true,
                rejected: false,
                aliases: vec!["a".to_owned(), "b".to_owned()],
            },
            NewTenant {
                key: " spaced ".to_owned(),
                ..NewTenant::default()
            },
        ];
        let (read, lines) = read_ndjson(&as_ndjson(&tenants).into()).unwrap();
        assert_eq!((&read[..], &lines[..]), (&tenants[..], &[1, 2][..]));
        let (read, lines) = read_csv(&as_csv(&tenants, true).into()).unwrap();
        assert_eq!((&read[..], &lines[..]), (&tenants[..], &[2, 3][..]));
        let (read, _) = read_csv(&Bytes::from_static(b"key\nacme\nglobex\n")).unwrap();
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = b"{\"key\":\"a\"}\nnonsense\n\n{\"key\":\"b\",\"x\":1}\n";
        let problem = read_ndjson(&Bytes::from_static(text)).unwrap_err();
        let lines: Vec<_> = problem.problems.iter().map(|one| &one["line"]).collect();
        assert_eq!(lines, [2, 4]);
        let first = problem.problems[0]["message"].as_str();
        assert_eq!(first, Some("expected ident, at column 2"));
        let text = b"key,pin\na,true\nb,perhaps\nc\n\xff,true\n";
        let problem = read_csv(&Bytes::from_static(text)).unwrap_err();
        let lines: Vec<_> = problem.problems.iter().map(|one| &one["line"]).collect();
        assert_eq!(lines, [3, 4, 5]);
        let faults: Vec<_> = problem.problems.iter().map(|one| &one["message"]).collect();
        assert_eq!(faults[1], "it has 1 fields, and the first line 2");
        assert_eq!(faults[2], "it is not UTF-8");
    }

    /// 15 MiB of them took 573 MB.
    #[test]
    fn so_many_lines_and_no_more() {
        let check = |text: &str, code: &str, problems: usize| {
            for problem in [
                read_ndjson(&Bytes::from(text.to_owned())).unwrap_err(),
                read_csv(&Bytes::from(format!("key,pin\n{text}"))).unwrap_err(),
            ] {
                assert_eq!(problem.code, code);
                assert_eq!(problem.problems.len(), problems);
            }
        };
        check(&"{}\n".repeat(LINES_MAX), "bad_input", PROBLEMS_MAX);
        check(&"{}\n".repeat(LINES_MAX + 1), "body_too_large", 0);
        let long = format!(
            "{{\"key\":\"a\",\"aliases\":[{}]}}",
            "\"\",".repeat(100_000)
        );
        check(&long, "bad_input", 1);
    }

    #[test]
    fn no_import_takes_an_export_that_broke_off() {
        assert!(read_ndjson(&failure_line(ExportFormat::Ndjson)).is_err());
        let mut csv = as_csv(&[NewTenant::default()], true);
        csv.extend_from_slice(&failure_line(ExportFormat::Csv));
        assert!(read_csv(&csv.into()).is_err());
    }
}

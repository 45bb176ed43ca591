//! `check`: what the proxy would load, or everything that is wrong, and what could not be judged.

use std::{
    collections::HashSet,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use cellgate_table::{
    Digest, Generation, Problems, Table,
    accept::{self, Accepted, Current, MoveLimits},
    diff::diff,
    parse,
    yaml::{Findings, Node, Value, parse_tree},
};
use serde_json::json;

use super::{
    Format,
    output::{as_json, describe_diff, print, print_json, refuse},
};
use crate::{
    clock,
    config::{self, Config, Listener},
    state_dir::{Kept, StartupCrashes, StateDir},
    tls::{self, CellIdentities, Dates},
    watch::{FIRST_SECONDS, folder_of, problems_of, read_table_file},
};

/// Nothing is wrong as far as could be judged, but not everything could.
const NOT_JUDGED: u8 = 3;

/// What is checked.
#[derive(Debug)]
pub(super) struct Files<'c> {
    pub(super) config: &'c Path,
    /// In the place of the configured table.
    pub(super) table: Option<PathBuf>,
    /// In the place of the last good table in the state directory.
    pub(super) against: Option<PathBuf>,
}

/// The table in force, as far as is known.
struct Base {
    /// In words.
    name: String,
    generation: Generation,
    digest: Digest,
    table: Table,
}

/// What the state directory says, as far as is known.
#[derive(Default)]
struct State {
    newest: Option<Base>,
    crashes: StartupCrashes,
}

/// A good table file.
struct Checked {
    summary: String,
    /// What works, but not as it was meant.
    warnings: Vec<Problems>,
    not_judged: Vec<String>,
}

pub(super) fn check(files: &Files<'_>, output: Format) -> ExitCode {
    let loaded = config::load(files.config);
    let config = loaded.as_ref().ok();
    let table_path = files
        .table
        .as_deref()
        .or_else(|| config.map(|config| &*config.table.path));
    let checked = table_path.map(|path| check_table(path, files.against.as_deref(), config));
    let bad_certificates = config.map(check_certificates).unwrap_or_default();
    match (loaded.as_ref().err(), checked) {
        (None, Some(Ok(checked))) if bad_certificates.is_empty() => {
            report(config, &checked, output)
        }
        (bad_config, checked) => {
            let bad_table = checked.and_then(Result::err);
            let problems = bad_config.into_iter().chain(&bad_table);
            let problems: Vec<&Problems> = problems.chain(&bad_certificates).collect();
            refuse(&problems, output)
        }
    }
}

/// Reads the certificates as the proxy does at start. One that is expired or not valid yet works there, but not for
/// clients.
fn check_certificates(config: &Config) -> Vec<Problems> {
    let listeners = config.listeners.iter();
    let judged = listeners.filter_map(|listener| {
        let judged = tls::load(listener.tls.as_ref()?, clock::unix_now());
        let problems = judged.map_or_else(|problems| problems, |(_, untimely)| untimely);
        Some(problems.into_iter().map(|problems| {
            // Of no single file.
            if problems.file.is_empty() {
                problems.in_file(format_args!("listener `{}`", listener.name))
            } else {
                problems
            }
        }))
    });
    judged.flatten().collect()
}

fn report(config: Option<&Config>, checked: &Checked, output: Format) -> ExitCode {
    let of_config = config.map(|config| &config.warnings);
    let warnings = of_config.into_iter().chain(&checked.warnings);
    let printed = match output {
        Format::Text => {
            // With standard error closed there is nobody to report to.
            for warnings in warnings {
                for line in warnings.to_string().lines() {
                    let _ = writeln!(io::stderr(), "warning: {line}");
                }
            }
            for what in &checked.not_judged {
                let _ = writeln!(io::stderr(), "not judged: {what}");
            }
            print(&checked.summary)
        }
        Format::Json => print_json(&json!({
            "ok": checked.not_judged.is_empty(),
            "problems": [],
            "warnings": warnings.flat_map(as_json).collect::<Vec<_>>(),
            "not_judged": checked.not_judged,
            "summary": checked.summary.trim_end(),
        })),
    };
    if checked.not_judged.is_empty() {
        printed
    } else {
        ExitCode::from(NOT_JUDGED)
    }
}

/// What the proxy would do with this table, judged as it judges at start: against the newest last good table.
fn check_table(
    path: &Path,
    against: Option<&Path>,
    config: Option<&Config>,
) -> Result<Checked, Problems> {
    let bytes = read_table_file(path).map_err(|error| error.into_problems(path))?;
    let mut not_judged = Vec::new();
    let state = match (against, config) {
        // Named in the place of a directory that perhaps cannot be read.
        (Some(path), _) => State {
            newest: Some(base_of_file(path)?),
            crashes: config
                .and_then(|config| known_crashes(config).ok())
                .unwrap_or_default(),
        },
        (None, Some(config)) => read_state(config, &mut not_judged)?,
        (None, None) => State::default(),
    };
    let base = state.newest;
    let in_force = base.as_ref().map(|base| base.digest);
    if let Some(problems) = state.crashes.refusal_of(Digest::of(&bytes), in_force) {
        return Err(problems.in_file(path.display()));
    }
    let current = base.as_ref().map(|base| Current {
        generation: base.generation,
        digest: base.digest,
        other_digests: &[],
        table: &base.table,
    });
    let limits = config.map_or_else(MoveLimits::default, |config| config.table.move_limits);
    let accepted = accept::take(&bytes, current, &limits)
        .map_err(|rejection| rejection.problems.in_file(path.display()))?;
    let table = match (&accepted, &base) {
        (Accepted::Changed { table, .. }, _) => table,
        (Accepted::Unchanged { .. }, Some(base)) => &base.table,
        (Accepted::Unchanged { .. }, None) => {
            unreachable!("without a table in force every table is a change")
        }
    };
    check_cell_tls(path, &bytes, table)?;
    let warnings = warnings(path, &bytes, table, config);
    let mut summary = String::new();
    describe(&mut summary, path, table);
    describe_change(&mut summary, &accepted, base.as_ref());
    Ok(Checked {
        summary,
        warnings,
        not_judged,
    })
}

/// Reads the files that the table names for TLS to cells. Those of a table in force may have become bad without harm to what
/// runs; a new one has to have good ones, and so has a proxy that starts.
fn check_cell_tls(path: &Path, bytes: &[u8], table: &Table) -> Result<(), Problems> {
    let dates = Dates::ValidAt(clock::unix_now());
    let loaded = CellIdentities::load(table, &folder_of(path), dates, None);
    if loaded.faults.is_empty() {
        return Ok(());
    }
    Err(problems_of(bytes, &loaded.faults).in_file(path.display()))
}

/// What is warned about in a good table, and in files of certificates.
fn warnings(path: &Path, bytes: &[u8], table: &Table, config: Option<&Config>) -> Vec<Problems> {
    let expired = CellIdentities::expired_authorities(table, &folder_of(path), clock::unix_now());
    let mut warnings = vec![problems_of(bytes, &expired)];
    if let Some(config) = config {
        warnings.push(unspeakable_keys(bytes, table, config));
        warnings.push(rejected_preflights(bytes, table, config));
    }
    let of_table = warnings.into_iter();
    let of_table = of_table.map(|problems| problems.in_file(path.display()));
    let listeners = config.into_iter().flat_map(|config| &config.listeners);
    let of_clients = listeners
        .filter_map(|listener| listener.tls.as_ref())
        .flat_map(|tls| tls::expired_authorities(tls, clock::unix_now()));
    of_table.chain(of_clients).collect()
}

fn base_of_file(path: &Path) -> Result<Base, Problems> {
    let bytes = read_table_file(path).map_err(|error| error.into_problems(path))?;
    let table = parse(&bytes).map_err(|problems| problems.in_file(path.display()))?;
    Ok(Base {
        name: path.display().to_string(),
        generation: table.generation().unwrap_or(Generation::FIRST),
        digest: Digest::of(&bytes),
        table,
    })
}

/// The tables that a proxy which started now would not serve by, if there is any other.
fn known_crashes(config: &Config) -> io::Result<StartupCrashes> {
    StateDir::new(config.state_dir.clone()).known_crashes(FIRST_SECONDS, SystemTime::now())
}

/// The newest last good table, and which tables are quarantined. The state directory may be another user's to read;
/// then what is in force is not known.
fn read_state(config: &Config, not_judged: &mut Vec<String>) -> Result<State, Problems> {
    let state_dir = StateDir::new(config.state_dir.clone());
    let judged = state_dir.check_owner(&config.table.path).and_then(|owner| {
        let crashes = known_crashes(config)?;
        // As at a start: what is quarantined comes last.
        let is_quarantined = |kept: &Kept| crashes.is_quarantined(kept.digest);
        let newest = match state_dir.newest(|kept| base_of(&kept, !is_quarantined(&kept)))? {
            None => state_dir.newest(|kept| base_of(&kept, is_quarantined(&kept)))?,
            newest => newest,
        };
        Ok((owner, State { newest, crashes }))
    });
    match judged {
        Ok((Ok(()), state)) => Ok(state),
        Ok((Err(refusal), _)) => Err(Problems::whole_file(refusal.to_string(), refusal.hint())),
        Err(error) => {
            not_judged.push(format!(
                "whether the table may follow the one in force, and what it would move: the state directory {} cannot be \
                 read ({error}); run this as the proxy's user, or name the table in force with --against TABLE",
                config.state_dir.display()
            ));
            Ok(State::default())
        }
    }
}

fn base_of(kept: &Kept, is_wanted: bool) -> Option<Base> {
    if !is_wanted {
        return None;
    }
    Some(Base {
        name: "the last good table".to_owned(),
        generation: kept.generation,
        digest: kept.digest,
        table: parse(&kept.bytes).ok()?,
    })
}

fn describe(text: &mut String, path: &Path, table: &Table) {
    let _ = writeln!(
        text,
        "{}: good: {} cells, {} slots, {} overrides, {} aliases, {} rejects",
        path.display(),
        table.cells().len(),
        table.hash().slots(),
        table.overrides().len(),
        table.aliases().len(),
        table.rejects().len(),
    );
}

fn describe_change(text: &mut String, accepted: &Accepted, base: Option<&Base>) {
    match (accepted, base) {
        (Accepted::Changed { table, verdict }, Some(base)) => {
            let _ = writeln!(
                text,
                "it would follow {} (generation {}) as generation {}:",
                base.name, base.generation, verdict.generation
            );
            describe_diff(text, &diff(&base.table, table));
        }
        (Accepted::Changed { verdict, .. }, None) => {
            let _ = writeln!(
                text,
                "it would be taken as generation {}",
                verdict.generation
            );
        }
        (Accepted::Unchanged { .. }, Some(base)) => {
            let _ = writeln!(
                text,
                "it says what {} says (generation {})",
                base.name, base.generation
            );
        }
        (Accepted::Unchanged { .. }, None) => {}
    }
}

/// Keys that no request can name under these rules, with their places. The tenant of an alias is reached by the alias.
fn unspeakable_keys(bytes: &[u8], table: &Table, config: &Config) -> Problems {
    let listeners = &config.listeners;
    let preflights = config.preflights.as_ref();
    let has_preflights = |key: &str| preflights.is_some_and(|to| to.tenant() == key.as_bytes());
    let by_alias: HashSet<&str> = table
        .aliases()
        .iter()
        .map(|(_, tenant)| tenant.as_str())
        .collect();
    let is_unspeakable =
        |key: &str| !by_alias.contains(key) && !has_preflights(key) && !can_produce(listeners, key);
    let mut findings = Findings::default();
    let (Ok(tree), Ok(text)) = (parse_tree(bytes), std::str::from_utf8(bytes)) else {
        return Problems::default();
    };
    let root = Value::root(&tree);
    for (section, value) in root.entries(&mut Findings::default()).into_iter().flatten() {
        match (section, value.node()) {
            ("overrides" | "aliases", Node::Mapping(_)) => {
                let entries = value
                    .entries(&mut Findings::default())
                    .into_iter()
                    .flatten();
                for (key, entry) in entries.filter(|(key, _)| is_unspeakable(key)) {
                    entry.refuse_key_with(&mut findings, || words(key, listeners));
                }
            }
            ("rejects", Node::Sequence(_)) => {
                for item in value
                    .sequence(&mut Findings::default())
                    .into_iter()
                    .flatten()
                {
                    if let Node::Text(key) = item.node()
                        && is_unspeakable(key)
                    {
                        item.refuse_with(&mut findings, || words(key, listeners));
                    }
                }
            }
            _ => {}
        }
    }
    findings.into_problems(text)
}

/// The entry that rejects the tenant of CORS preflights: browsers would get none of them answered.
fn rejected_preflights(bytes: &[u8], table: &Table, config: &Config) -> Problems {
    let Some(preflights) = &config.preflights else {
        return Problems::default();
    };
    let mut aliases = table.aliases().iter();
    let alias = aliases.find(|(alias, _)| alias.as_bytes() == preflights.tenant());
    let tenant = alias.map_or(preflights.tenant(), |(_, tenant)| tenant.as_bytes());
    let (Ok(tree), Ok(text)) = (parse_tree(bytes), std::str::from_utf8(bytes)) else {
        return Problems::default();
    };
    let root = Value::root(&tree);
    let mut unread = Findings::default();
    let sections = root.entries(&mut unread).into_iter().flatten();
    let rejects = sections.filter(|(section, _)| *section == "rejects");
    let mut findings = Findings::default();
    for (_, rejects) in rejects {
        let items = rejects.sequence(&mut unread).into_iter().flatten();
        for item in
            items.filter(|it| matches!(it.node(), Node::Text(key) if key.as_bytes() == tenant))
        {
            item.refuse_with(&mut findings, || {
                (
                    "rejects the tenant of `cors.preflight_tenant`: preflights that name no tenant are refused".to_owned(),
                    "remove it here, or let another tenant answer them".to_owned(),
                )
            });
        }
    }
    findings.into_problems(text)
}

/// Whether the rules of any listener can.
fn can_produce(listeners: &[Listener], key: &str) -> bool {
    let mut listeners = listeners.iter();
    listeners.any(|listener| listener.key_rules.can_produce(key.as_bytes()))
}

fn words(key: &str, listeners: &[Listener]) -> (String, String) {
    let lower = key.to_ascii_lowercase();
    let hint = if key.trim() != key {
        "remove the white space at its ends".to_owned()
    } else if can_produce(listeners, &lower) {
        format!("host names are lower-cased: write `{lower}`")
    } else {
        "write the key as requests name the tenant, or add a rule that finds it".to_owned()
    };
    (
        "no rule under `tenant_key` can produce this key".to_owned(),
        hint,
    )
}

//! From `proxy.yaml` to a [`Config`]: all problems of the file together.

mod cors;
mod http_options;
mod key_rules;
mod limits;
mod listeners;
mod networks;
mod tcp;
mod timeouts;
mod tls;

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};

use cellgate_process::{host::Hosts, lines::Sink};
use cellgate_table::{
    Problems, Share,
    accept::MoveLimits,
    yaml::{
        Fields, Findings, Value,
        settings::{self, milliseconds, number, section},
    },
};

use super::{
    AccessLogConfig, AccessLogFormat, Config, Ejection, InterimAnswers, TableConfig, Upstream,
};
use crate::{
    forwarding::{NameError, Trust, TrustedHeaders},
    net::Networks,
    tenant_key::UnknownTenants,
};

/// Size of `proxy.yaml`, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const TRUSTED_HEADERS_MAX: usize = 32;

const KEYS: [&str; 17] = [
    "listeners",
    "tenant_key",
    "unknown_tenants",
    "cors",
    "table",
    "state_dir",
    "admin",
    "threads",
    "direct",
    "request_id",
    "trusted_proxies",
    "trusted_headers",
    "limits",
    "timeouts",
    "upstream",
    "access_log",
    "log",
];

/// Reads the configuration file. Paths in it are relative to the file itself.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let refuse =
        |message: String, hint: &str| Problems::whole_file(message, hint).in_file(path.display());
    let size = fs::metadata(path)
        .map_err(|error| {
            refuse(
                format!("cannot be read: {error}"),
                "check the path and its permissions",
            )
        })?
        .len();
    if size > FILE_BYTES_MAX {
        let message = format!("has {size} bytes, more than {FILE_BYTES_MAX}");
        return Err(refuse(message, "check that the right file is named"));
    }
    let bytes = fs::read(path).map_err(|error| {
        refuse(
            format!("cannot be read: {error}"),
            "check the path and its permissions",
        )
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut config = parse(&bytes, folder).map_err(|problems| problems.in_file(path.display()))?;
    config.warnings = config.warnings.in_file(path.display());
    Ok(config)
}

/// Reads a configuration from bytes; paths in it are relative to `folder`.
pub fn parse(bytes: &[u8], folder: &Path) -> Result<Config, Problems> {
    let mut warnings = Findings::default();
    let config = settings::read_document(bytes, |root, findings| {
        read(root, folder, findings, &mut warnings)
    })?;
    let text = std::str::from_utf8(bytes).expect("the configuration was read from the same bytes");
    Ok(Config {
        warnings: warnings.into_problems(text),
        ..config
    })
}

fn read(
    root: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Option<Config> {
    let fields = root.fields(&KEYS, findings)?;
    let common = key_rules::read_common(&fields, findings, warnings);
    let listeners = fields
        .required("listeners", findings)
        .and_then(|v| listeners::read(&v, folder, common.as_ref(), findings, warnings));
    let unknown_tenants = read_unknown_tenants(&fields, findings);
    let preflights = match fields.optional("cors") {
        Some(value) => cors::read(&value, listeners.as_deref(), findings).map(Some),
        None => Some(None),
    };
    let table = fields
        .required("table", findings)
        .and_then(|v| read_table(&v, folder, findings));
    let state_dir = match fields.optional("state_dir") {
        Some(value) => settings::path(&value, folder, findings),
        None => Some(PathBuf::from("/var/lib/cellgate")),
    };
    let admin = read_admin(&fields, findings);
    let threads = match fields.optional("threads") {
        Some(value) => value
            .integer(1..=1024_u32, findings)
            .and_then(|n| NonZeroUsize::new(n as usize)),
        None => Some(available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    };
    let direct = read_switch(&fields, "direct", findings);
    let names_requests = read_switch(&fields, "request_id", findings);
    let trusted_proxies = match fields.optional("trusted_proxies") {
        Some(value) => networks::read(&value, findings),
        None => Some(Networks::default()),
    };
    let trusted_headers = match fields.optional("trusted_headers") {
        Some(value) => read_trusted_headers(&value, findings),
        None => Some(TrustedHeaders::default()),
    };
    let limits = limits::read(&fields, findings);
    let timeouts = timeouts::read(&fields, findings);
    let upstream = read_upstream(&fields, findings);
    let access_log = match fields.optional("access_log") {
        Some(value) => read_access_log(&value, folder, findings).map(Some),
        None => Some(None),
    };
    let log_format = settings::log_format(&fields, findings);
    let (admin, admin_hosts) = admin?;
    Some(Config {
        listeners: listeners?,
        unknown_tenants: unknown_tenants?,
        preflights: preflights?,
        table: table?,
        state_dir: state_dir?,
        admin,
        admin_hosts,
        threads: threads?,
        direct: direct?,
        names_requests: names_requests?,
        trust: Trust {
            proxies: trusted_proxies?,
            headers: trusted_headers?,
        },
        limits: limits?,
        timeouts: timeouts?,
        upstream: upstream?,
        access_log: access_log?,
        log_format: log_format?,
        warnings: Problems::default(),
    })
}

/// What is on unless it is switched off.
fn read_switch(fields: &Fields<'_>, name: &str, findings: &mut Findings) -> Option<bool> {
    match fields.optional(name) {
        Some(value) => value.choice(&[("on", true), ("off", false)], findings),
        None => Some(true),
    }
}

fn read_unknown_tenants(fields: &Fields<'_>, findings: &mut Findings) -> Option<UnknownTenants> {
    let Some(value) = fields.optional("unknown_tenants") else {
        return Some(UnknownTenants::Hash);
    };
    let choices = [
        ("hash", UnknownTenants::Hash),
        ("refuse", UnknownTenants::Refuse),
    ];
    value.choice(&choices, findings)
}

fn read_admin(fields: &Fields<'_>, findings: &mut Findings) -> Option<(SocketAddr, Hosts)> {
    section(
        fields,
        "admin",
        &["address", "hosts"],
        findings,
        |fields, findings| {
            let field = |name| fields.as_ref().and_then(|fields| fields.optional(name));
            let address = match field("address") {
                Some(value) => settings::address(&value, findings),
                None => Some(SocketAddr::from(([127, 0, 0, 1], 9600))),
            };
            let hosts = match field("hosts") {
                Some(value) => settings::host_names(&value, findings),
                None => Some(Vec::new()),
            };
            Some((address?, Hosts::new(hosts?)))
        },
    )
}

fn read_table(value: &Value<'_>, folder: &Path, findings: &mut Findings) -> Option<TableConfig> {
    let known = [
        "path",
        "max_moved_percent",
        "max_moved_overrides",
        "max_moved_total_percent",
        "unready_when_behind",
        "poll_interval_ms",
    ];
    let fields = value.fields(&known, findings)?;
    let path = fields
        .required("path", findings)
        .and_then(|v| settings::path(&v, folder, findings));
    let move_limits = settings::move_limits(&fields, findings);
    let total = match fields.optional("max_moved_total_percent") {
        Some(value) => value.number(0.0..=100.0, findings),
        None => Some(MoveLimits::default().moved_total_percent_max),
    };
    let unready_when_behind = match fields.optional("unready_when_behind") {
        Some(value) => value.boolean(findings),
        None => Some(false),
    };
    let poll = number(
        Some(&fields),
        "poll_interval_ms",
        50..=60_000_u32,
        1_000,
        findings,
    );
    Some(TableConfig {
        path: path?,
        move_limits: MoveLimits {
            moved_total_percent_max: total?,
            ..move_limits?
        },
        unready_when_behind: unready_when_behind?,
        poll_interval: Duration::from_millis(poll?.into()),
    })
}

fn read_trusted_headers(value: &Value<'_>, findings: &mut Findings) -> Option<TrustedHeaders> {
    let items = value.sequence(findings)?;
    if items.len() > TRUSTED_HEADERS_MAX {
        let message = format!("has {} entries", items.len());
        let hint = format!("list at most {TRUSTED_HEADERS_MAX} headers");
        value.refuse_key(findings, message, hint);
        return None;
    }
    let mut headers = TrustedHeaders::none();
    for item in items {
        let Some(text) = item.text(findings) else {
            continue;
        };
        if let Err(error) = headers.add(text) {
            let hint = match error {
                NameError::NotAName => "use letters, digits and `-`",
                NameError::Underscore => {
                    "use `-`: a proxy's own field has no `_`, and one that has is dropped"
                }
                NameError::NotForwarding => {
                    "name one that is dropped otherwise: `forwarded`, `x-forwarded-...`, `x-real-ip`, `x-client-ip`, \
                     `true-client-ip`, `x-original-url`, `x-rewrite-url`"
                }
                NameError::Repeated => "keep one of them",
            };
            item.refuse(findings, format!("`{text}` {error}"), hint);
        }
    }
    Some(headers)
}

fn read_upstream(fields: &Fields<'_>, findings: &mut Findings) -> Option<Upstream> {
    let known = [
        "retries",
        "idle_connections_max",
        "idle_per_cell_max",
        "idle_ms",
        "requests_per_connection_max",
        "share",
        "interim_answers",
        "ejection",
    ];
    section(fields, "upstream", &known, findings, |fields, findings| {
        let retries = number(fields.as_ref(), "retries", 0..=3_u32, 1, findings);
        let pool = number(
            fields.as_ref(),
            "idle_connections_max",
            1..=1_000_000_u32,
            4_096,
            findings,
        );
        let per_cell = number(
            fields.as_ref(),
            "idle_per_cell_max",
            1..=1_000_000_u32,
            256,
            findings,
        );
        let idle = milliseconds(fields.as_ref(), "idle_ms", 1, 30_000, findings);
        let requests = number(
            fields.as_ref(),
            "requests_per_connection_max",
            0..=u32::MAX,
            0,
            findings,
        );
        let share = read_share(fields.as_ref(), findings);
        let interim_answers = read_interim_answers(fields.as_ref(), findings);
        let ejection = match fields.and_then(|fields| fields.optional("ejection")) {
            Some(value) => {
                let known = ["after_failures", "base_ms", "max_ms", "percent_max"];
                let fields = value.fields(&known, findings)?;
                read_ejection(Some(&fields), findings)
            }
            None => read_ejection(None, findings),
        };
        Some(Upstream {
            retries: retries? as usize,
            idle_connections_max: pool? as usize,
            idle_per_cell_max: per_cell? as usize,
            idle: idle?,
            requests_per_connection_max: requests?.into(),
            share: share?,
            interim_answers: interim_answers?,
            ejection: ejection?,
        })
    })
}

fn read_share(fields: Option<&Fields<'_>>, findings: &mut Findings) -> Option<Share> {
    match fields.and_then(|fields| fields.optional("share")) {
        Some(value) => value.choice(
            &[("cell", Share::Cell), ("tenant", Share::Tenant)],
            findings,
        ),
        None => Some(Share::Cell),
    }
}

fn read_interim_answers(
    fields: Option<&Fields<'_>>,
    findings: &mut Findings,
) -> Option<InterimAnswers> {
    let choices = [
        ("guarded", InterimAnswers::Guarded),
        ("forwarded", InterimAnswers::Forwarded),
    ];
    match fields.and_then(|fields| fields.optional("interim_answers")) {
        Some(value) => value.choice(&choices, findings),
        None => Some(InterimAnswers::Guarded),
    }
}

fn read_ejection(fields: Option<&Fields<'_>>, findings: &mut Findings) -> Option<Ejection> {
    let after_failures = number(fields, "after_failures", 0..=1_000_u32, 5, findings);
    let base = milliseconds(fields, "base_ms", 1, 10_000, findings);
    let max = milliseconds(fields, "max_ms", 1, 300_000, findings);
    let percent_max = number(fields, "percent_max", 0..=100_u32, 50, findings);
    Some(Ejection {
        after_failures: after_failures?,
        base: base?,
        max: max?,
        percent_max: percent_max?,
    })
}

fn read_access_log(
    value: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<AccessLogConfig> {
    let fields = value.fields(&["path", "format", "queue_lines_max"], findings)?;
    let sink = fields
        .required("path", findings)
        .and_then(|value| settings::path(&value, Path::new(""), findings))
        .map(|path| Sink::of(&path, folder));
    let format = match fields.optional("format") {
        Some(value) => value.choice(
            &[
                ("json", AccessLogFormat::Json),
                ("combined", AccessLogFormat::Combined),
            ],
            findings,
        ),
        None => Some(AccessLogFormat::default()),
    };
    let queue = number(
        Some(&fields),
        "queue_lines_max",
        1..=10_000_000_u32,
        65_536,
        findings,
    );
    Some(AccessLogConfig {
        sink: sink?,
        format: format?,
        queue_lines_max: queue? as usize,
    })
}

#[cfg(test)]
mod tests;

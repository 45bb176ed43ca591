//! From `control.yaml` to a [`Config`]: all problems of the file together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cellgate_process::{file_in_the_way, host::Hosts};
use cellgate_table::{
    HashSpec, Problems,
    address::Use,
    limits::SLOTS_MAX,
    yaml::{
        Fields, Findings, Value,
        settings::{self, milliseconds, number, section},
    },
};

use super::{
    ApiConfig, CellRules, Config, ConnectionRules, ExecConfig, ObserveConfig, ProcessConfig,
    ProviderConfig, ProxyConfig,
};
use crate::{change::cells::STATIC, publish::TableRules};

/// Size of `control.yaml`, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
pub(super) const PROXIES_MAX: usize = 1_000;
pub(super) const PROVIDERS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 63;
const CONNECTIONS_MAX: u32 = 100_000;

const KEYS: [&str; 8] = [
    "table",
    "state_dir",
    "api",
    "proxies",
    "providers",
    "cells",
    "observe",
    "log",
];

/// Reads the configuration file. Paths in it are relative to the file itself.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let refuse =
        |message: String, hint: &str| Problems::whole_file(message, hint).in_file(path.display());
    let unreadable = |error: std::io::Error| {
        refuse(
            format!("cannot be read: {error}"),
            "check the path and its permissions",
        )
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        let message = format!("has {size} bytes, more than {FILE_BYTES_MAX}");
        return Err(refuse(message, "check that the right file is named"));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(&bytes, folder).map_err(|problems| problems.in_file(path.display()))
}

/// Reads a configuration from bytes; paths in it are relative to `folder`.
pub fn parse(bytes: &[u8], folder: &Path) -> Result<Config, Problems> {
    settings::read_document(bytes, |root, findings| read(root, folder, findings))
}

fn read(root: &Value<'_>, folder: &Path, findings: &mut Findings) -> Option<Config> {
    let fields = root.fields(&KEYS, findings)?;
    let table = fields
        .required("table", findings)
        .and_then(|value| read_table(&value, folder, findings));
    let state_dir = match fields.optional("state_dir") {
        Some(value) => read_state_dir(&value, folder, findings),
        None => Some(PathBuf::from("/var/lib/cellgate-control")),
    };
    let state_dir_or_none = state_dir.clone().unwrap_or_default();
    let api = read_api(&fields, folder, &state_dir_or_none, findings);
    let proxies = match fields.optional("proxies") {
        Some(value) => read_proxies(&value, findings),
        None => Some(Vec::new()),
    };
    let providers = match fields.optional("providers") {
        Some(value) => read_providers(&value, folder, &state_dir_or_none, findings),
        None => Some(BTreeMap::new()),
    };
    let cells = read_cells(&fields, findings);
    let observe = read_observe(&fields, findings);
    let log_format = settings::log_format(&fields, findings);
    let (table, hash) = table?;
    Some(Config {
        table,
        hash,
        state_dir: state_dir?,
        api: api?,
        proxies: proxies?,
        providers: providers?,
        cells: cells?,
        observe: observe?,
        log_format: log_format?,
    })
}

/// A folder that may have yet to be made.
fn read_state_dir(value: &Value<'_>, folder: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let path = settings::path(value, folder, findings)?;
    if let Some(file) = file_in_the_way(&path) {
        let message = format!("{} is a file, and a folder is wanted", file.display());
        let hint = "name a folder, which is made if it is missing; or move that file away";
        value.refuse(findings, message, hint);
        return None;
    }
    Some(path)
}

fn read_table(
    value: &Value<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<(TableRules, HashSpec)> {
    let known = [
        "path",
        "seed",
        "slots",
        "max_moved_percent",
        "max_moved_overrides",
        "kept",
        "name_tenants",
    ];
    let fields = value.fields(&known, findings)?;
    let path = fields
        .required("path", findings)
        .and_then(|value| settings::path(&value, folder, findings));
    let seed = number(Some(&fields), "seed", 0..=u64::MAX, 0, findings);
    let slots = number(Some(&fields), "slots", 1..=SLOTS_MAX, 65_536, findings);
    let move_limits = settings::move_limits(&fields, findings);
    let kept = number(Some(&fields), "kept", 2..=1_000_u32, 20, findings);
    let names_all_tenants = match fields.optional("name_tenants") {
        Some(value) => value.choice(&[("moved", false), ("all", true)], findings),
        None => Some(false),
    };
    let rules = TableRules {
        path: path?,
        move_limits: move_limits?,
        kept_max: kept? as usize,
        names_all_tenants: names_all_tenants?,
    };
    Some((rules, HashSpec::new(seed?, slots?)?))
}

fn read_api(
    fields: &Fields<'_>,
    folder: &Path,
    state_dir: &Path,
    findings: &mut Findings,
) -> Option<ApiConfig> {
    let known = [
        "address",
        "socket",
        "token_file",
        "hosts",
        "requests_per_second_max",
        "body_bytes_max",
        "connections_with_token_max",
        "connections_without_token_max",
        "head_ms",
        "idle_ms",
        "stall_ms",
    ];
    section(fields, "api", &known, findings, |fields, findings| {
        let fields = fields.as_ref();
        let field = |name| fields.and_then(|fields| fields.optional(name));
        let address = match field("address") {
            Some(value) => settings::address(&value, findings),
            None => Some(([127, 0, 0, 1], 9700).into()),
        };
        let socket = match field("socket") {
            Some(value) => settings::path(&value, folder, findings).map(Some),
            None => Some(None),
        };
        let token_file = match field("token_file") {
            Some(value) => settings::path(&value, folder, findings),
            None => Some(state_dir.join("token")),
        };
        let hosts = match field("hosts") {
            Some(value) => settings::host_names(&value, findings),
            None => Some(Vec::new()),
        };
        let rate = number(
            fields,
            "requests_per_second_max",
            1..=1_000_000_u32,
            500,
            findings,
        );
        let body = number(
            fields,
            "body_bytes_max",
            1_024..=1_073_741_824_u32,
            16 * 1024 * 1024,
            findings,
        );
        let connections = read_connections(fields, findings);
        Some(ApiConfig {
            address: address?,
            socket: socket?,
            token_file: token_file?,
            hosts: Hosts::new(hosts?),
            requests_per_second_max: rate?,
            body_bytes_max: body? as usize,
            connections: connections?,
        })
    })
}

fn read_connections(
    fields: Option<&Fields<'_>>,
    findings: &mut Findings,
) -> Option<ConnectionRules> {
    let mut count =
        |name, least, default| number(fields, name, least..=CONNECTIONS_MAX, default, findings);
    let with_token = count("connections_with_token_max", 1, 64);
    // With fewer, callers close each other's connections before a request is read.
    let without_token = count("connections_without_token_max", 8, 128);
    let head = milliseconds(fields, "head_ms", 100, 10_000, findings);
    let idle = milliseconds(fields, "idle_ms", 100, 60_000, findings);
    let stall = milliseconds(fields, "stall_ms", 100, 30_000, findings);
    Some(ConnectionRules {
        with_token_max: with_token? as usize,
        without_token_max: without_token? as usize,
        head: head?,
        idle: idle?,
        stall: stall?,
    })
}

fn read_proxies(value: &Value<'_>, findings: &mut Findings) -> Option<Vec<ProxyConfig>> {
    let items = value.sequence(findings)?;
    if items.len() > PROXIES_MAX {
        let message = format!("has {} entries", items.len());
        value.refuse_key(
            findings,
            message,
            format!("list at most {PROXIES_MAX} proxies"),
        );
        return None;
    }
    let mut proxies: Vec<ProxyConfig> = Vec::new();
    for item in items {
        let Some(fields) = item.fields(&["name", "admin"], findings) else {
            continue;
        };
        let name = fields
            .required("name", findings)
            .and_then(|value| read_name(&value, findings));
        let admin = fields
            .required("admin", findings)
            .and_then(|value| settings::address_of(&value, Use::Connect, findings));
        let (Some(name), Some(admin)) = (name, admin) else {
            continue;
        };
        if proxies.iter().any(|other| other.name == name) {
            item.refuse(
                findings,
                format!("the name `{name}` is duplicated"),
                "give each proxy its own name",
            );
        }
        proxies.push(ProxyConfig { name, admin });
    }
    Some(proxies)
}

fn read_name(value: &Value<'_>, findings: &mut Findings) -> Option<String> {
    let text = value.text(findings)?;
    if is_name(text) {
        return Some(text.to_owned());
    }
    let hint = format!(
        "use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`, the first one a letter or digit"
    );
    value.refuse(findings, format!("`{text}` is not a name"), hint);
    None
}

/// Names obey the same rule as the ids of cells.
fn is_name(text: &str) -> bool {
    cellgate_table::CellId::new(text).is_ok()
}

fn read_providers(
    value: &Value<'_>,
    folder: &Path,
    state_dir: &Path,
    findings: &mut Findings,
) -> Option<BTreeMap<String, ProviderConfig>> {
    let entries = value.entries(findings)?;
    if entries.len() > PROVIDERS_MAX {
        let message = format!("has {} entries", entries.len());
        value.refuse_key(
            findings,
            message,
            format!("list at most {PROVIDERS_MAX} providers"),
        );
        return None;
    }
    let mut providers = BTreeMap::new();
    for (name, value) in entries {
        if name == STATIC || !is_name(name) {
            let hint = "give the provider another name; `static` is always there";
            value.refuse_key(findings, "is not a name for a provider", hint);
            continue;
        }
        let Some(provider) = read_provider(&value, folder, state_dir, findings) else {
            continue;
        };
        if providers.insert(name.to_owned(), provider).is_some() {
            value.refuse_key(findings, "is duplicated", "keep one of them");
        }
    }
    Some(providers)
}

fn read_provider(
    value: &Value<'_>,
    folder: &Path,
    state_dir: &Path,
    findings: &mut Findings,
) -> Option<ProviderConfig> {
    #[derive(Clone, Copy)]
    enum Kind {
        Process,
        Exec,
    }
    const PROCESS_KEYS: [&str; 4] = ["type", "command", "directory", "ports"];
    const EXEC_KEYS: [&str; 4] = ["type", "command", "timeout_ms", "describe_interval_ms"];
    // Which keys there may be depends on the type, so that is read first, past everything else.
    let mut unread = Findings::default();
    let all: Vec<&str> = PROCESS_KEYS.iter().chain(&EXEC_KEYS).copied().collect();
    let any = value.fields(&all, &mut unread);
    let Some(kind) = any.and_then(|fields| fields.optional("type")) else {
        let fields = value.fields(&all, findings)?;
        let _ = fields.required("type", findings);
        return None;
    };
    match kind.choice(
        &[("process", Kind::Process), ("exec", Kind::Exec)],
        findings,
    )? {
        Kind::Process => {
            let fields = value.fields(&PROCESS_KEYS, findings)?;
            let command = read_command(&fields, folder, findings);
            let directory = match fields.optional("directory") {
                Some(value) => settings::path(&value, folder, findings),
                None => Some(state_dir.join("cells")),
            };
            let ports = match fields.optional("ports") {
                Some(value) => read_ports(&value, findings).map(Some),
                None => Some(None),
            };
            Some(ProviderConfig::Process(ProcessConfig {
                command: command?,
                directory: directory?,
                ports: ports?,
            }))
        }
        Kind::Exec => {
            let fields = value.fields(&EXEC_KEYS, findings)?;
            let command = read_command(&fields, folder, findings);
            let timeout = milliseconds(Some(&fields), "timeout_ms", 100, 600_000, findings);
            let describe =
                milliseconds(Some(&fields), "describe_interval_ms", 100, 60_000, findings);
            Some(ProviderConfig::Exec(ExecConfig {
                command: command?,
                timeout: timeout?,
                describe_interval: describe?,
            }))
        }
    }
}

/// A program and its arguments. A program with a `/` in its name is searched from the folder of the configuration, one
/// without on the `PATH`.
fn read_command(
    fields: &Fields<'_>,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    let value = fields.required("command", findings)?;
    let items = value.sequence(findings)?;
    if items.len() == 0 {
        value.refuse(findings, "is empty", "list the program and its arguments");
        return None;
    }
    let mut command = Vec::new();
    for item in items {
        command.push(item.text(findings)?.to_owned());
    }
    if command[0].contains('/') {
        let program = folder.join(&command[0]);
        let Some(text) = program.to_str() else {
            value.refuse(findings, "is not text", "use a path of plain text");
            return None;
        };
        text.clone_into(&mut command[0]);
    }
    Some(command)
}

fn read_ports(value: &Value<'_>, findings: &mut Findings) -> Option<(u16, u16)> {
    let text = value.text(findings)?;
    let ports = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)))
        .filter(|(first, last)| *first > 0 && first <= last);
    if ports.is_none() {
        let hint = "write the first and the last port, within 1 to 65535, such as \"9001-9099\"";
        value.refuse(findings, format!("`{text}` is not a range of ports"), hint);
    }
    ports
}

fn read_cells(fields: &Fields<'_>, findings: &mut Findings) -> Option<CellRules> {
    let known = [
        "warm_checks",
        "warming_ms_max",
        "first_table_cells",
        "first_table_settle_ms",
        "tenants_percent_max",
    ];
    section(fields, "cells", &known, findings, |fields, findings| {
        let fields = fields.as_ref();
        let warm_checks = number(fields, "warm_checks", 1..=100_u32, 2, findings);
        let warming = milliseconds(fields, "warming_ms_max", 100, 60_000, findings);
        let cells = number(fields, "first_table_cells", 1..=4_096_u32, 1, findings);
        let settle = milliseconds(fields, "first_table_settle_ms", 0, 3_000, findings);
        let percent = number(fields, "tenants_percent_max", 1..=100_u32, 60, findings);
        Some(CellRules {
            warm_checks: warm_checks?,
            warming_limit: warming?,
            first_table_cells: cells? as usize,
            first_table_settle: settle?,
            tenants_percent_max: percent?,
        })
    })
}

fn read_observe(fields: &Fields<'_>, findings: &mut Findings) -> Option<ObserveConfig> {
    let known = ["interval_ms", "timeout_ms", "window_ms"];
    section(fields, "observe", &known, findings, |fields, findings| {
        let fields = fields.as_ref();
        let interval = milliseconds(fields, "interval_ms", 50, 1_000, findings);
        let timeout = milliseconds(fields, "timeout_ms", 10, 1_000, findings);
        let window = milliseconds(fields, "window_ms", 1_000, 30_000, findings);
        Some(ObserveConfig {
            interval: interval?,
            timeout: timeout?,
            window: window?.max(Duration::from_secs(1)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match parse(text.as_bytes(), Path::new("/etc/cellgate")) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn the_least_there_can_be() {
        let config = parse(b"table: { path: table.yaml }\n", Path::new("/etc/cellgate")).unwrap();
        assert_eq!(config.table.path, Path::new("/etc/cellgate/table.yaml"));
        assert_eq!(
            config.api.token_file,
            Path::new("/var/lib/cellgate-control/token")
        );
        assert_eq!(config.hash, HashSpec::new(0, 65_536).unwrap());
        assert_eq!(config.api.address.to_string(), "127.0.0.1:9700");
        assert!(config.proxies.is_empty() && config.providers.is_empty());
    }

    #[test]
    fn all_there_can_be() {
        let text = r#"
table: { path: t.yaml, seed: 7, slots: 16, max_moved_percent: 5, max_moved_overrides: 9, kept: 3, name_tenants: all }
state_dir: state
api: { address: "127.0.0.1:0", socket: api.sock, token_file: secret, requests_per_second_max: 3, body_bytes_max: 4096,
  hosts: [control.internal], connections_with_token_max: 9, connections_without_token_max: 10, head_ms: 100, idle_ms: 200, stall_ms: 300 }
proxies: [{ name: edge-1, admin: "127.0.0.1:9600" }, { name: edge-2, admin: "127.0.0.1:9601" }]
providers:
  local: { type: process, command: [bin/demo-cell, --name, "{cell}"], directory: cells, ports: "9001-9010" }
  cloud: { type: exec, command: [terraform-cell], timeout_ms: 5000, describe_interval_ms: 500 }
cells: { warm_checks: 1, warming_ms_max: 5000, first_table_cells: 3, first_table_settle_ms: 0 }
observe: { interval_ms: 100, timeout_ms: 50, window_ms: 2000 }
log: { format: json }
"#;
        assert_eq!(problems(text), Vec::<String>::new());
        let config = parse(text.as_bytes(), Path::new("/etc")).unwrap();
        let ProviderConfig::Process(local) = &config.providers["local"] else {
            panic!("not a process provider");
        };
        assert_eq!(local.command[0], "/etc/bin/demo-cell");
        assert_eq!(local.ports, Some((9001, 9010)));
        let ProviderConfig::Exec(cloud) = &config.providers["cloud"] else {
            panic!("not an exec provider");
        };
        assert_eq!(cloud.command, ["terraform-cell"]);
        assert_eq!(config.api.token_file, Path::new("/etc/secret"));
    }

    #[test]
    fn every_mistake_is_reported() {
        let check = |text: &str, expected: &[&str]| {
            let reported = problems(text);
            assert!(
                reported.len() == expected.len()
                    && reported.iter().zip(expected).all(|(t, e)| t.starts_with(e)),
                "{text}\n{reported:#?}"
            );
        };
        check("{}", &["1:1: the key `table` is missing"]);
        check(
            "table: { path: t, kept: 1 }\nobserve: { intervall_ms: 5 }\nstatedir: x\n",
            &[
                "1:25: table.kept: is 1, out of range",
                "2:12: observe.intervall_ms: is not a known key; did you mean `interval_ms`?",
                "3:1: statedir: is not a known key; did you mean `state_dir`?",
            ],
        );
        check(
            "table: { path: t }\napi: { hosts: [a.b, \"*\", \"a:1\"], connections_without_token_max: 7 }\n",
            &[
                "2:21: api.hosts[1]: `*` is not a host name",
                "2:26: api.hosts[2]: `a:1` is not a host name",
                "2:65: api.connections_without_token_max: is 7, out of range",
            ],
        );
        check(
            "table: { path: t }\nproviders:\n  static: { type: process, command: [a] }\n  a: { command: [b] }\n  \
             b: { type: exec, command: [], ports: \"1-2\" }\n  c: { type: process, command: [x], ports: \"9-1\" }\n",
            &[
                "3:3: providers.static: is not a name for a provider",
                "4:3: providers.a: the key `type` is missing",
                "5:29: providers.b.command: is empty",
                "5:33: providers.b.ports: is not a known key",
                "6:44: providers.c.ports: `9-1` is not a range of ports",
            ],
        );
        check(
            "table: { path: t }\nproxies: [{ name: a, admin: \"127.0.0.1:1\" }, { name: a, admin: nowhere }, { name: a, admin: \"127.0.0.1:2\" }]\n",
            &[
                "2:64: proxies[1].admin: `nowhere` is not an IP address with a port",
                "2:75: proxies[2]: the name `a` is duplicated",
            ],
        );
    }
}

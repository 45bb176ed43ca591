//! Settings: numbers, times, addresses and paths as configuration files write them, each with its range and default.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value as Json;

use super::{Fields, Findings, Value, parse_tree, slips};
use crate::{
    accept::MoveLimits,
    address::{self, Use},
    problem::{Problems, Quoted},
};

/// The longest time that can be configured: a day.
pub const MS_MAX: u32 = 86_400_000;
const HOST_NAME_BYTES_MAX: usize = 255;

/// Reads a whole file with `read`, which notes what is wrong and gives `None` where it cannot go on.
///
/// # Errors
/// The file is not YAML, or everything that `read` noted, each with its place.
pub fn read_document<T>(
    bytes: &[u8],
    read: impl FnOnce(&Value<'_>, &mut Findings) -> Option<T>,
) -> Result<T, Problems> {
    let tree = parse_tree(bytes)?;
    let mut findings = Findings::default();
    match read(&Value::root(&tree), &mut findings) {
        Some(value) if findings.is_empty() => Ok(value),
        _ => {
            let text =
                std::str::from_utf8(bytes).expect("the tree was read from the same bytes as text");
            Err(findings.into_problems(text))
        }
    }
}

/// Reads a mapping that may be left out whole: then every field has its default.
pub fn section<T>(
    fields: &Fields<'_>,
    name: &str,
    known: &[&str],
    findings: &mut Findings,
    read: impl FnOnce(Option<Fields<'_>>, &mut Findings) -> Option<T>,
) -> Option<T> {
    match fields.optional(name) {
        None => read(None, findings),
        Some(value) => {
            let fields = value.fields(known, findings)?;
            read(Some(fields), findings)
        }
    }
}

/// A whole number with a default.
pub fn number<N>(
    fields: Option<&Fields<'_>>,
    name: &str,
    range: std::ops::RangeInclusive<N>,
    default: N,
    findings: &mut Findings,
) -> Option<N>
where
    N: Copy + Into<i128> + TryFrom<i128>,
{
    match fields.and_then(|fields| fields.optional(name)) {
        Some(value) => value.integer(range, findings),
        None => Some(default),
    }
}

/// A time in milliseconds with a default.
pub fn milliseconds(
    fields: Option<&Fields<'_>>,
    name: &str,
    least: u32,
    default: u32,
    findings: &mut Findings,
) -> Option<Duration> {
    number(fields, name, least..=MS_MAX, default, findings)
        .map(|ms| Duration::from_millis(ms.into()))
}

/// An IP address with a port to listen on; port 0 takes a free one, which the log then names.
pub fn address(value: &Value<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    address_of(value, Use::Listen, findings)
}

/// An IP address with a port.
pub fn address_of(value: &Value<'_>, purpose: Use, findings: &mut Findings) -> Option<SocketAddr> {
    let text = value.text(findings)?;
    match address::parse(text, purpose) {
        Ok(address) => Some(address),
        Err(objection) => {
            value.refuse(findings, objection.message, objection.hint);
            None
        }
    }
}

pub fn path(value: &Value<'_>, folder: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let text = value.text(findings)?;
    if text.is_empty() {
        value.refuse(findings, "is empty", "name a file or directory");
        return None;
    }
    if text.trim() != text {
        let hint = format!("write `{}`, without the spaces in the quotes", text.trim());
        value.refuse(findings, "begins or ends with white space", hint);
        return None;
    }
    if slips::is_variable(text) {
        value.refuse(
            findings,
            format!("{} holds a variable", Quoted(text)),
            slips::NO_VARIABLES,
        );
        return None;
    }
    if text.starts_with("~/") {
        let hint = "write the whole path of the folder; only shells know `~`";
        value.refuse(findings, format!("{} begins with `~`", Quoted(text)), hint);
        return None;
    }
    Some(folder.join(text))
}

/// Host names, without ports, that a program answers to on its own pages.
pub fn host_names(value: &Value<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let items = value.sequence(findings)?;
    let mut names = Vec::new();
    for item in items {
        let Some(text) = item.text(findings) else {
            continue;
        };
        let is_part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > HOST_NAME_BYTES_MAX || !text.bytes().all(is_part_of_name)
        {
            let hint = "write a name such as `control.internal`, without a port, `http://` or `*`";
            item.refuse(findings, format!("`{text}` is not a host name"), hint);
            continue;
        }
        names.push(text.strip_suffix('.').unwrap_or(text).to_owned());
    }
    Some(names)
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The program's own log, on standard error.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape of the section is wanted here")]
pub struct LogSection {
    /// `text` or `json`, on standard error. Default `text`.
    format: Option<LogFormat>,
}

/// The format in the section `log`.
pub fn log_format(fields: &Fields<'_>, findings: &mut Findings) -> Option<LogFormat> {
    section(fields, "log", &["format"], findings, |fields, findings| {
        let Some(value) = fields.and_then(|fields| fields.optional("format")) else {
            return Some(LogFormat::Text);
        };
        let choices = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        value.choice(&choices, findings)
    })
}

/// `max_moved_percent` and `max_moved_overrides`: how much one table may move.
pub fn move_limits(fields: &Fields<'_>, findings: &mut Findings) -> Option<MoveLimits> {
    let default = MoveLimits::default();
    let moved_percent_max = match fields.optional("max_moved_percent") {
        Some(value) => value.number(0.0..=100.0, findings),
        None => Some(default.moved_percent_max),
    };
    let overrides_default = u32::try_from(default.moved_overrides_max).unwrap_or(u32::MAX);
    let overrides = number(
        Some(fields),
        "max_moved_overrides",
        0..=u32::MAX,
        overrides_default,
        findings,
    );
    Some(MoveLimits {
        moved_percent_max: moved_percent_max?,
        moved_overrides_max: overrides? as usize,
        ..default
    })
}

/// The JSON schema of a configuration file, out of a type of its shape.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::default();
    settings
        .transforms
        .push(Box::new(RecursiveTransform(refuse_blanks)));
    settings.into_generator().into_root_schema_for::<T>()
}

/// A key may be left out, but one that is there is not blank: an optional value is not also `null`.
fn refuse_blanks(schema: &mut Schema) {
    if let Some(Json::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [kind] = &types[..] {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    if let Some(Json::Array(kinds)) = schema.get_mut("anyOf") {
        kinds.retain(|kind| kind.get("type").is_none_or(|kind| kind != "null"));
        if let [kind] = &mut kinds[..]
            && let Json::Object(kind) = kind.take()
        {
            schema.remove("anyOf");
            for (key, value) in kind {
                schema.insert(key, value);
            }
        }
    }
}

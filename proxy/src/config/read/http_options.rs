//! The part of `proxy.yaml` that says what a listener answers by itself, and what it adds to answers.

use std::net::SocketAddr;

use cellgate_table::yaml::{Fields, Findings, Value, settings};

use crate::{
    config::{Hsts, HttpOptions, RedirectHttps},
    gate::is_plain_path,
};

/// Their names among the keys of a listener.
pub(super) const KEYS: [&str; 4] = ["health_path", "redirect_https", "acme", "hsts"];
const HEALTH_PATH_BYTES_MAX: usize = 256;
const HTTPS_PORT: u16 = 443;
/// Ten years, in seconds.
const MAX_AGE_S_MAX: u32 = 315_360_000;
/// What the lists that browsers come with ask for: a year, in seconds.
const PRELOAD_AGE_S_MIN: u32 = 31_536_000;

pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<HttpOptions> {
    let has_tls = fields.optional("tls").is_some();
    let health_path = match fields.optional("health_path") {
        Some(value) => read_health_path(&value, findings).map(Some),
        None => Some(None),
    };
    let port = match fields.optional("redirect_https") {
        Some(value) => read_redirect(&value, has_tls, findings).map(Some),
        None => Some(None),
    };
    let acme = match fields.optional("acme") {
        Some(value) => {
            let redirects = fields.optional("redirect_https").is_some();
            read_acme(&value, redirects, findings).map(Some)
        }
        None => Some(None),
    };
    let hsts = match fields.optional("hsts") {
        Some(value) => read_hsts(&value, has_tls, findings).map(Some),
        None => Some(None),
    };
    let (port, acme) = (port?, acme?);
    Some(HttpOptions {
        health_path: health_path?,
        redirect_https: port.map(|port| RedirectHttps { port, acme }),
        hsts: hsts?,
    })
}

fn read_health_path(value: &Value<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let path = value.text(findings)?;
    let hint = "write a path such as `/healthz`, without a query";
    if !path.starts_with('/') || !is_plain_path(path.as_bytes()) {
        value.refuse(findings, format!("`{path}` is not a path"), hint);
        return None;
    }
    if path.len() > HEALTH_PATH_BYTES_MAX {
        let message = format!(
            "has {} bytes, more than {HEALTH_PATH_BYTES_MAX}",
            path.len()
        );
        value.refuse(findings, message, hint);
        return None;
    }
    Some(path.into())
}

fn read_redirect(value: &Value<'_>, has_tls: bool, findings: &mut Findings) -> Option<u16> {
    let fields = value.fields(&["port"], findings)?;
    let port = match fields.optional("port") {
        Some(value) => value.integer(1..=u16::MAX, findings)?,
        None => HTTPS_PORT,
    };
    if has_tls {
        let hint = "write it at the listener whose clients speak plain HTTP, or remove `tls`";
        value.refuse_key(findings, "is at a listener that has `tls`", hint);
        return None;
    }
    Some(port)
}

fn read_acme(value: &Value<'_>, redirects: bool, findings: &mut Findings) -> Option<SocketAddr> {
    let fields = value.fields(&["address"], findings)?;
    let address = fields.required("address", findings)?;
    let read = settings::address(&address, findings)?;
    if read.port() == 0 {
        let hint = "write the port on which the ACME client waits for challenges";
        address.refuse(findings, "has port 0", hint);
        return None;
    }
    if !redirects {
        let hint = "add `redirect_https: {}`, or remove it: elsewhere challenges go to cells like any other request";
        value.refuse_key(findings, "is at a listener without `redirect_https`", hint);
        return None;
    }
    Some(read)
}

fn read_hsts(value: &Value<'_>, has_tls: bool, findings: &mut Findings) -> Option<Hsts> {
    let known = ["max_age_s", "include_subdomains", "preload"];
    let fields = value.fields(&known, findings)?;
    let max_age = fields
        .required("max_age_s", findings)
        .and_then(|value| value.integer(0..=MAX_AGE_S_MAX, findings));
    let mut flag = |name| match fields.optional(name) {
        Some(value) => value.boolean(findings),
        None => Some(false),
    };
    let (include_subdomains, preload) = (flag("include_subdomains"), flag("preload"));
    if !has_tls {
        let hint = "write it at a listener with `tls`: browsers ignore it in plain HTTP";
        value.refuse_key(findings, "is at a listener without `tls`", hint);
        return None;
    }
    let (max_age, include_subdomains, preload) = (max_age?, include_subdomains?, preload?);
    if preload && (!include_subdomains || max_age < PRELOAD_AGE_S_MIN) {
        let hint = format!(
            "add `include_subdomains: true` and `max_age_s` of {PRELOAD_AGE_S_MIN} or more"
        );
        let message = "has `preload` without what the preload lists ask for";
        value.refuse(findings, message, hint);
        return None;
    }
    Some(Hsts::new(max_age, include_subdomains, preload))
}

//! The part of `proxy.yaml` that says where clients connect.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::Path,
};

use cellgate_table::yaml::{Fields, Findings, Value, settings};

use super::{
    http_options,
    key_rules::{self, Common},
    networks, tcp, tls,
};
use crate::{
    config::{Listener, ListenerProtocol, ProxyProtocol, Starttls},
    tls::{Alpn, TlsSettings},
};

const LISTENERS_MAX: usize = 64;
const KEYS: [&str; 10] = [
    "name",
    "address",
    "protocol",
    "ipv6_only",
    "proxy_protocol",
    "allow",
    "tcp",
    "tls",
    key_rules::KEY,
    tcp::STARTTLS,
];

pub(super) fn read(
    value: &Value<'_>,
    folder: &Path,
    common: Option<&Common>,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Option<Vec<Listener>> {
    let items = value.sequence(findings)?;
    if items.len() == 0 || items.len() > LISTENERS_MAX {
        let message = format!("has {} entries", items.len());
        value.refuse_key(
            findings,
            message,
            format!("list 1 to {LISTENERS_MAX} listeners"),
        );
        return None;
    }
    let (mut listeners, mut read_items) = (Vec::<Listener>::new(), Vec::new());
    for item in items {
        if let Some(listener) = read_one(&item, folder, common, findings, warnings) {
            key_rules::warn_of_listener(&item, &listener, warnings);
            refuse_conflicts(&item, &listener, &listeners, findings);
            listeners.push(listener);
            read_items.push(item);
        }
    }
    for (item, listener) in read_items.iter().zip(&listeners) {
        refuse_own_acme(item, listener, &listeners, findings);
    }
    Some(listeners)
}

/// A challenge that comes to the proxy itself would be passed on again, until no place is left.
fn refuse_own_acme(
    item: &Value<'_>,
    listener: &Listener,
    listeners: &[Listener],
    findings: &mut Findings,
) {
    let acme = listener.http.redirect_https.and_then(|it| it.acme);
    let own = acme.and_then(|acme| listeners.iter().find(|it| takes(it, acme)));
    if let Some(own) = own {
        let message = format!("`acme` leads to where the listener `{}` listens", own.name);
        let hint = "write the address on which the ACME client waits for challenges";
        item.refuse(findings, message, hint);
    }
}

/// Whether a connection to this address of the machine comes to the listener.
fn takes(listener: &Listener, address: SocketAddr) -> bool {
    let own = listener.address;
    let is_any = own.ip().is_unspecified() && address.ip().is_loopback();
    own == address || (is_any && own.port() == address.port())
}

fn read_one(
    item: &Value<'_>,
    folder: &Path,
    common: Option<&Common>,
    findings: &mut Findings,
    warnings: &mut Findings,
) -> Option<Listener> {
    let keys: Vec<&str> = KEYS.into_iter().chain(http_options::KEYS).collect();
    let fields = item.fields(&keys, findings)?;
    let name = fields
        .required("name", findings)
        .and_then(|v| v.text(findings));
    let address = fields
        .required("address", findings)
        .and_then(|v| read_address(&v, findings));
    let carries = tcp::read_protocol(&fields, findings);
    let ipv6_only = read_ipv6_only(&fields, address, findings);
    let proxy_protocol = match fields.optional("proxy_protocol") {
        Some(value) => read_proxy_protocol(&value, findings).map(Some),
        None => Some(None),
    };
    let allow = match fields.optional("allow") {
        Some(value) => networks::read_some(&value, findings).map(Some),
        None => Some(None),
    };
    let tcp = tcp::read(&fields, carries, findings);
    let tls = match fields.optional("tls") {
        Some(value) => tls::read(&value, folder, findings).map(Some),
        None => Some(None),
    };
    let http = http_options::read(&fields, findings);
    let key_rules = carries.and_then(|carries| {
        key_rules::read_of_listener(item, &fields, carries, common, findings, warnings)
    });
    let (tcp, protocol) = tcp?;
    let tls = tls?.map(|settings| TlsSettings {
        alpn: alpn_of(protocol),
        ..settings
    });
    Some(Listener {
        name: name?.to_owned(),
        address: address?,
        ipv6_only: ipv6_only?,
        proxy_protocol: proxy_protocol?,
        allow: allow?,
        tcp,
        tls,
        http: http?,
        key_rules: key_rules?,
        protocol,
    })
}

/// An IPv4 address in the form of IPv6 could be bound only without `ipv6_only`, and would be a second name of one address.
fn read_address(value: &Value<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    let address = settings::address(value, findings)?;
    let ip = address.ip().to_canonical();
    if ip != address.ip() {
        let v4 = SocketAddr::new(ip, address.port());
        let message = format!("{address} is an IPv4 address in the form of IPv6");
        value.refuse(findings, message, format!("write `{v4}`"));
        return None;
    }
    Some(address)
}

fn alpn_of(protocol: ListenerProtocol) -> Alpn {
    match protocol {
        ListenerProtocol::Http => Alpn::Http,
        ListenerProtocol::Tcp(relaying) => match relaying.starttls {
            Some(Starttls::PostgreSql) => Alpn::PostgreSql,
            None => Alpn::Any,
        },
    }
}

fn read_ipv6_only(
    fields: &Fields<'_>,
    address: Option<SocketAddr>,
    findings: &mut Findings,
) -> Option<bool> {
    let Some(value) = fields.optional("ipv6_only") else {
        return Some(false);
    };
    let ipv6_only = value.boolean(findings)?;
    if ipv6_only && address.is_some_and(|address| address.is_ipv4()) {
        let hint = "leave it out, or listen on an IPv6 address such as `[::]:8080`";
        value.refuse(findings, "the address of the listener is IPv4", hint);
        return None;
    }
    Some(ipv6_only)
}

fn read_proxy_protocol(value: &Value<'_>, findings: &mut Findings) -> Option<ProxyProtocol> {
    let fields = value.fields(&["from", "required"], findings)?;
    let from = fields
        .required("from", findings)
        .and_then(|v| networks::read_some(&v, findings));
    let required = match fields.optional("required") {
        Some(value) => value.boolean(findings),
        None => Some(false),
    };
    Some(ProxyProtocol {
        from: from?,
        required: required?,
    })
}

fn refuse_conflicts(
    item: &Value<'_>,
    listener: &Listener,
    others: &[Listener],
    findings: &mut Findings,
) {
    if others.iter().any(|other| other.name == listener.name) {
        item.refuse(
            findings,
            format!("the name `{}` is duplicated", listener.name),
            "give each listener its own name",
        );
    }
    if listener.address.port() == 0 {
        return;
    }
    if others.iter().any(|other| other.address == listener.address) {
        item.refuse(
            findings,
            format!("{} is duplicated", listener.address),
            "give each listener its own address",
        );
    } else if let Some(other) = others.iter().find(|other| share_ipv4(other, listener)) {
        item.refuse(
            findings,
            format!(
                "{} and the listener `{}` would both take the IPv4 connections of port {}",
                listener.address,
                other.name,
                listener.address.port()
            ),
            "leave the IPv4 listener out, or set `ipv6_only: true` on `[::]`",
        );
    }
}

/// Whether one of them listens on all of IPv6, IPv4 with it, and the other one on IPv4.
fn share_ipv4(one: &Listener, other: &Listener) -> bool {
    let takes_both =
        |listener: &Listener| listener.address.ip() == Ipv6Addr::UNSPECIFIED && !listener.ipv6_only;
    one.address.port() == other.address.port()
        && (takes_both(one) && other.address.is_ipv4()
            || takes_both(other) && one.address.is_ipv4())
}

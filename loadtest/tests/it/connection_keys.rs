//! Tenants by what a connection shows: certificates of clients, headers of load balancers, networks. What a client says
//! in its requests changes none of it.

mod balancers;

use std::net::SocketAddr;

use rcgen::SanType;
use rustls::version::TLS13;

use crate::support::{
    origin::Origin,
    proxy::{Plan, Proxy, TENANT},
    tls::{Authority, Certificates, Pem, client},
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    a_certificate_names_the_tenant,
    without_a_certificate_the_next_rule_is_asked_where_it_may_be,
    a_network_is_a_tenant,
    a_preflight_proves_who_it_is_for_like_any_request,
    each_listener_has_its_own_rules,
);

const SERVER: &str = "shop.example.com";
const BY_URI: &str = r#"{ client_cert: uri, pattern: "spiffe://example.com/tenant/{tenant}" }"#;

/// A cell, certificates of a server, and whoever signs those of clients.
struct World {
    cell: Origin,
    servers: Authority,
    clients: Authority,
    files: Certificates,
}

impl World {
    fn new() -> Self {
        let world = Self {
            cell: Origin::well_behaved(),
            servers: Authority::new(),
            clients: Authority::new(),
            files: Certificates::new(),
        };
        let pem = world.servers.server(&[SERVER]);
        world.files.write_pair("shop", &pem);
        world.files.write("clients.ca", &world.clients.pem());
        world
    }

    /// Of a listener: TLS that asks clients for certificates.
    fn tls(&self, mode: &str) -> String {
        let ca = self.files.path("clients.ca");
        let (folder, ca) = (self.files.folder().display(), ca.display());
        format!("tls: {{ directory: {folder}, client_auth: {{ mode: {mode}, ca: {ca} }} }}")
    }

    fn plan(&self, mode: &str, rules: &str) -> Plan {
        Proxy::in_front_of(self.cell.address())
            .set(
                "listeners",
                &format!("[{}]", listener("edge", &self.tls(mode))),
            )
            .set("tenant_key", rules)
    }

    fn client(&self, names: &[SanType]) -> Pem {
        self.clients.client_with(names)
    }

    #[track_caller]
    fn ask(&self, address: SocketAddr, identity: Option<&Pem>, request: &Request) -> Answer {
        let config = self.servers.client_config(&[&TLS13], identity);
        let tls = client(&config, SERVER);
        let connection = Connection::try_open_tls(address, tls);
        connection.expect("it is let in").exchange(request)
    }

    #[track_caller]
    fn check_tenant(&self, answer: &Answer, tenant: &str) {
        check_tenant(&self.cell, answer, tenant);
    }
}

fn listener(name: &str, options: &str) -> String {
    format!(r#"{{ name: {name}, address: "127.0.0.1:0", {options} }}"#)
}

/// The cell was asked for this tenant last.
#[track_caller]
fn check_tenant(cell: &Origin, answer: &Answer, tenant: &str) {
    assert_eq!(answer.verdict(), (200, None), "{}", answer.text());
    let received = cell.received().concat();
    let named = received.rsplit("x-cellgate-tenant: ").next().unwrap();
    assert_eq!(named.split(r"\r\n").next(), Some(tenant), "{received}");
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn get() -> Request {
    Request::get("/ok/7")
}

fn a_certificate_names_the_tenant() {
    let world = World::new();
    let acme = uri("spiffe://example.com/tenant/acme");
    let other = uri("spiffe://example.com/tenant/other");
    let good = world.client(std::slice::from_ref(&acme));
    // Only one of its names fits.
    let with_others = world.client(&[
        dns("acme.example"),
        acme.clone(),
        uri("https://acme.example"),
    ]);
    let two = world.client(&[acme, other]);
    let of_another_kind = world.client(&[dns("acme.example")]);
    // The header is a rule where nobody asks for certificates, and no way around one here.
    let request = get().header(TENANT, "other");
    for mode in ["required", "optional"] {
        let proxy = world.plan(mode, &format!("[{BY_URI}]")).start();
        let ask = |identity| world.ask(proxy.address(), identity, &request);
        world.check_tenant(&ask(Some(&good)), "acme");
        world.check_tenant(&ask(Some(&with_others)), "acme");
        let before = world.cell.received().len();
        assert_eq!(ask(Some(&two)).verdict(), (400, Some("bad_tenant_key")));
        let answer = ask(Some(&of_another_kind));
        assert_eq!(answer.verdict(), (403, Some("no_certificate")));
        if mode == "optional" {
            assert_eq!(ask(None).verdict(), (403, Some("no_certificate")));
        }
        assert_eq!(world.cell.received().len(), before);
    }
    let proxy = world
        .plan(
            "optional",
            r#"[{ client_cert: dns, pattern: "{tenant}.example" }]"#,
        )
        .start();
    let answer = world.ask(proxy.address(), Some(&of_another_kind), &request);
    world.check_tenant(&answer, "acme");
}

fn without_a_certificate_the_next_rule_is_asked_where_it_may_be() {
    let world = World::new();
    let good = world.client(&[uri("spiffe://example.com/tenant/acme")]);
    let by_uri = BY_URI.replace(" }", ", required: false }");
    let rules = format!("[{by_uri}, {{ header: {TENANT} }}]");
    let proxy = world.plan("optional", &rules).start();
    let ask = |identity, request| world.ask(proxy.address(), identity, &request);
    let named = || get().header(TENANT, "other");
    world.check_tenant(&ask(Some(&good), named()), "acme");
    world.check_tenant(&ask(None, named()), "other");
    let answer = ask(None, get());
    assert_eq!(answer.verdict(), (400, Some("no_tenant_key")));
    // The same order with a rule that has to find something.
    let rules = format!("[{BY_URI}, {{ header: {TENANT} }}]");
    let proxy = world.plan("optional", &rules).start();
    let answer = world.ask(proxy.address(), None, &named());
    assert_eq!(answer.verdict(), (403, Some("no_certificate")));
}

fn a_network_is_a_tenant() {
    let cell = Origin::well_behaved();
    let rule = "[{ source_network: { ipv4: 24, ipv6: 64 } }]";
    let plan = || Proxy::in_front_of(cell.address()).set("tenant_key", rule);
    let said = |address: &str| get().header("x-forwarded-for", address);
    // Whoever connects itself has one, whatever it says.
    let proxy = plan().start();
    let answer = said("203.0.113.66").send(proxy.address());
    check_tenant(&cell, &answer, "127.0.0.0/24");
    let proxy = plan().set("trusted_proxies", "[127.0.0.0/8]").start();
    for (address, tenant) in [
        ("203.0.113.66", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.66", "203.0.113.0/24"),
    ] {
        check_tenant(&cell, &said(address).send(proxy.address()), tenant);
    }
}

/// Nobody can show a certificate for a tenant by asking for no tenant.
fn a_preflight_proves_who_it_is_for_like_any_request() {
    let world = World::new();
    let good = world.client(&[uri("spiffe://example.com/tenant/acme")]);
    let preflight = Request::new("OPTIONS", "/ok/7")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PUT");
    let plan = |rules: &str| {
        world
            .plan("optional", rules)
            .set("cors", "{ preflight_tenant: web }")
    };
    let proxy = plan(&format!("[{BY_URI}, {{ header: {TENANT} }}]")).start();
    let answer = world.ask(proxy.address(), None, &preflight);
    assert_eq!(answer.verdict(), (403, Some("no_certificate")));
    assert_eq!(world.cell.connections(), 0);
    let answer = world.ask(proxy.address(), Some(&good), &preflight);
    world.check_tenant(&answer, "acme");
    // Where no proof is needed, it is a preflight.
    let by_uri = BY_URI.replace(" }", ", required: false }");
    let proxy = plan(&format!("[{by_uri}, {{ header: {TENANT} }}]")).start();
    let answer = world.ask(proxy.address(), None, &preflight);
    world.check_tenant(&answer, "web");
}

fn each_listener_has_its_own_rules() {
    let world = World::new();
    let good = world.client(&[uri("spiffe://example.com/tenant/acme")]);
    let proven = format!("{}, tenant_key: [{BY_URI}]", world.tls("optional"));
    let listeners = [
        listener("edge", ""),
        listener("proven", &proven),
        listener("fixed", "tenant_key: [{ tenant: internal }]"),
    ];
    let proxy = Proxy::in_front_of(world.cell.address())
        .set(
            "listeners",
            &format!("[{}]", listeners.join(", ").replace(", }", " }")),
        )
        .start();
    let address_of = |name: &str| proxy.address_of(name);
    let request = get().header(TENANT, "other");
    world.check_tenant(&request.send(proxy.address()), "other");
    world.check_tenant(&request.send(address_of("fixed")), "internal");
    let proven = address_of("proven");
    world.check_tenant(&world.ask(proven, Some(&good), &request), "acme");
    let answer = world.ask(proven, None, &request);
    assert_eq!(answer.verdict(), (403, Some("no_certificate")));
}

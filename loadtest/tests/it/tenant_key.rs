//! Each rule that finds the tenant in a request, live.

use std::net::SocketAddr;

use crate::support::{
    fleet::Fleet,
    proxy::Proxy,
    ways::both_ways,
    wire::{Answer, Connection, Request},
};

both_ways!(
    header,
    host,
    path,
    query,
    cookie,
    source_ip,
    spellings_do_not_move_a_tenant,
    the_first_rule_that_matches_decides,
);

/// A proxy with these rules before a single cell.
struct Rules {
    proxy: Proxy,
    _fleet: Fleet,
}

impl Rules {
    fn start(rules: &str) -> Self {
        Self::start_behind(rules, "[]")
    }

    /// Behind proxies of these networks.
    fn start_behind(rules: &str, trusted: &str) -> Self {
        let fleet = Fleet::start(1);
        let proxy = Proxy::plan()
            .set("tenant_key", rules)
            .set("trusted_proxies", trusted)
            .table(fleet.table())
            .start();
        Self {
            proxy,
            _fleet: fleet,
        }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// The request is for this tenant.
    #[track_caller]
    fn check(&self, request: &Request, tenant: &str) {
        assert_for(&request.send(self.address()), tenant);
    }

    /// The request is for nobody.
    #[track_caller]
    fn check_refused(&self, request: &Request, reason: &str) {
        let answer = request.send(self.address());
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.header("x-cellgate-reason"), Some(reason));
        assert_eq!(answer.header("x-cell"), None, "no cell was asked");
    }

    /// A request for this host, which [`Request`] would name otherwise.
    #[track_caller]
    fn get_host(&self, target: &str, host: &str) -> Answer {
        let mut connection = Connection::open(self.address());
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        connection.send(request).unwrap();
        connection.answer("GET").unwrap()
    }
}

#[track_caller]
fn assert_for(answer: &Answer, tenant: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-tenant"), Some(tenant));
}

fn header() {
    let rules = Rules::start("[{ header: x-customer, pattern: \"c-{tenant}-eu\" }]");
    rules.check(&Request::get("/").header("X-Customer", "c-acme-eu"), "acme");
    rules.check(
        &Request::get("/").header("x-customer", "c-a-c-me-eu"),
        "a-c-me",
    );
    rules.check_refused(
        &Request::get("/").header("x-customer", "acme"),
        "no_tenant_key",
    );
    rules.check_refused(&Request::get("/"), "no_tenant_key");
    let twice = Request::get("/").header("x-customer", "c-acme-eu");
    rules.check_refused(&twice.header("x-customer", "c-acme-eu"), "bad_tenant_key");
    rules.check_refused(
        &Request::get("/").header("x_customer", "c-acme-eu"),
        "bad_tenant_key",
    );
}

fn host() {
    let rules = Rules::start("[{ host: \"{tenant}.example.com\" }]");
    for host in [
        "acme.example.com",
        "ACME.Example.COM",
        "acme.example.com:8080",
        "ACME.example.com.:80",
    ] {
        assert_for(&rules.get_host("/", host), "acme");
    }
    for host in [
        "example.com",
        "a.b.example.com",
        "acme.example.com.evil",
        "127.0.0.1",
    ] {
        let answer = rules.get_host("/", host);
        assert_eq!(
            answer.header("x-cellgate-reason"),
            Some("no_tenant_key"),
            "{host}"
        );
    }
    let absolute = rules.get_host("http://acme.example.com/", "acme.example.com");
    assert_for(&absolute, "acme");
}

fn path() {
    let rules = Rules::start("[{ path: \"/t/{tenant}/\" }]");
    rules.check(&Request::get("/t/acme/orders?x=1"), "acme");
    rules.check(&Request::get("/t/Acme/"), "Acme");
    rules.check(&Request::get("/t/a%2Fb/"), "a/b");
    rules.check(&Request::get("/t/a%2fb/"), "a/b");
    rules.check(&Request::get("/t/%61cme/"), "acme");
    rules.check_refused(&Request::get("/orders"), "no_tenant_key");
    rules.check_refused(&Request::get("/t//orders"), "no_tenant_key");
    for spelling in [
        "acme%",
        "acme%zz",
        "acme%00",
        "acme%0D%0A",
        "%20acme",
        "acme%C2%A0",
    ] {
        let request = Request::get(&format!("/t/{spelling}/"));
        rules.check_refused(&request, "bad_tenant_key");
    }
    rules.check_refused(&Request::get("/t/acme/../other/"), "bad_tenant_key");
    rules.check_refused(&Request::get("/t/acme/%2e%2e/other/"), "bad_tenant_key");
}

fn query() {
    let rules = Rules::start("[{ query: tenant }]");
    rules.check(&Request::get("/x?a=1&tenant=acme&b=2"), "acme");
    rules.check(&Request::get("/x?tenant=a+b"), "a b");
    rules.check(&Request::get("/x?tenant=a%2Bb"), "a+b");
    rules.check(&Request::get("/x?tenant=%61cme"), "acme");
    rules.check_refused(&Request::get("/x"), "no_tenant_key");
    rules.check_refused(&Request::get("/x?Tenant=acme"), "no_tenant_key");
    rules.check_refused(
        &Request::get("/x?tenant=acme&tenant=acme"),
        "bad_tenant_key",
    );
    for query in [
        "tenant",
        "tenant=",
        "tenant=%",
        "%74enant=acme",
        "tenant=+acme",
    ] {
        let request = Request::get(&format!("/x?{query}"));
        rules.check_refused(&request, "bad_tenant_key");
    }
}

fn cookie() {
    let rules = Rules::start("[{ cookie: tenant }]");
    let with = |cookie: &str| Request::get("/").header("cookie", cookie);
    rules.check(&with("tenant=acme"), "acme");
    rules.check(&with("a=1; tenant=\"acme\"; b=2"), "acme");
    rules.check(&with("a=1").header("cookie", "tenant=acme"), "acme");
    rules.check_refused(&with("xtenant=acme"), "no_tenant_key");
    for cookie in [
        "tenant=acme; tenant=other",
        "tenant=acme, tenant=other",
        "tenant=ac\"me",
        "tenant=",
    ] {
        rules.check_refused(&with(cookie), "bad_tenant_key");
    }
}

fn source_ip() {
    let direct = Rules::start("[{ source_ip: true }]");
    direct.check(&Request::get("/"), "127.0.0.1");
    let forwarded = Request::get("/").header("x-forwarded-for", "192.0.2.7");
    direct.check(&forwarded, "127.0.0.1");

    let behind = Rules::start_behind("[{ source_ip: true }]", "[\"127.0.0.0/8\"]");
    behind.check(&forwarded, "192.0.2.7");
    // What stands left of the last untrusted address is hearsay.
    let chain = Request::get("/").header("x-forwarded-for", "10.9.9.9, 192.0.2.7, 127.0.0.5");
    behind.check(&chain, "192.0.2.7");
    // Empty members of the list are dropped, and balancers write ports.
    for chain in [
        "192.0.2.7,,127.0.0.5",
        "192.0.2.7:1234 , 127.0.0.5",
        "\"[::ffff:192.0.2.7]:47011\"",
    ] {
        let request = Request::get("/").header("x-forwarded-for", chain);
        behind.check(&request, "192.0.2.7");
    }
}

/// One tenant lives in one cell, however a request spells it, and the cell gets the target as it was sent.
fn spellings_do_not_move_a_tenant() {
    let fleet = Fleet::start(2);
    let rules = "[{ path: \"/t/{tenant}/\" }, { query: tenant }, { header: x-tenant-id }]";
    let table = fleet.table().pin("a/b", "cell-2").pin("acme", "cell-2");
    let table = table.alias("old name", "acme").reject("e/vil");
    let proxy = Proxy::plan().set("tenant_key", rules).table(table).start();
    let check = |request: Request, tenant: &str, target: &str| {
        let answer = request.send(proxy.address());
        assert_for(&answer, tenant);
        assert_eq!(answer.header("x-cell"), Some("cell-2"), "{target}");
    };
    for target in [
        "/t/a%2fb/",
        "/t/a%2Fb/",
        "/t/%61%2Fb/",
        "/?tenant=a%2fb",
        "/?tenant=a/b",
    ] {
        check(Request::get(target), "a/b", target);
    }
    check(Request::get("/").header("x-tenant-id", "a/b"), "a/b", "/");
    for target in ["/t/old%20name/", "/t/ol%64%20name/", "/?tenant=old+name"] {
        check(Request::get(target), "acme", target);
    }
    for target in ["/t/e%2fvil/", "/t/e%2Fvil/", "/?tenant=e%2Fvi%6c"] {
        let answer = Request::get(target).send(proxy.address());
        assert_eq!(answer.status, 403, "{target}");
    }
    // Asked for the canonical key, `/explain` says the same.
    assert_eq!(proxy.explain("a/b")["cell"], "cell-2");
    assert_eq!(proxy.explain("old name")["tenant"], "acme");
}

fn the_first_rule_that_matches_decides() {
    let rules = Rules::start(
        "[{ header: x-tenant-id }, { query: tenant }, { path: \"/t/{tenant}/\" }, { source_ip: true }]",
    );
    let request = Request::get("/t/by-path/?tenant=by-query");
    rules.check(
        &request.clone().header("x-tenant-id", "by-header"),
        "by-header",
    );
    rules.check(&request, "by-query");
    rules.check(&Request::get("/t/by-path/"), "by-path");
    rules.check(&Request::get("/"), "127.0.0.1");
}

//! What a listener with TLS adds to answers, and what it says of TLS to cells, also behind the PROXY protocol.

use std::process::Command;

use super::{NAME, World, listener};
use crate::support::{
    origin::{OK, Origin},
    proxy::{Proxy, TENANT},
    tls::client,
    ways::both_ways,
    wire::{Connection, Request},
};

both_ways!(
    browsers_are_kept_on_https,
    a_cell_has_the_first_word,
    curl_remembers_it,
    behind_the_proxy_protocol_tls_is_tls,
);

const VALUE: &str = "max-age=3600; includeSubDomains";

impl World {
    fn with_options(&self, cell: &Origin, options: &str) -> Proxy {
        let folder = self.certificates.folder().display();
        let with_tls = listener(&format!("{{ directory: {folder} }}, {options}"));
        Proxy::in_front_of(cell.address())
            .set("listeners", &with_tls)
            .start()
    }
}

fn browsers_are_kept_on_https() {
    let cell = Origin::well_behaved();
    let world = World::new();
    let options = "hsts: { max_age_s: 3600, include_subdomains: true }, health_path: /healthz";
    let proxy = world.with_options(&cell, options);
    let request = |host: &str, line: &str, fields: &str| {
        let mut connection = world.connect(&proxy);
        let head = format!("{line} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
        let answer = connection.exchange_bytes(line.split(' ').next().unwrap(), head);
        let hsts = answer.header("strict-transport-security");
        (answer.status, hsts.map(str::to_owned))
    };
    let ours = Some(VALUE.to_owned());
    let line = format!("GET {OK}1");
    let tenant = format!("{TENANT}: a\r\n");
    assert_eq!(request(NAME, &line, &tenant), (200, ours.clone()));
    assert_eq!(
        request(&format!("{NAME}:8443"), &line, &tenant),
        (200, ours.clone())
    );
    // The proxy's own answers.
    assert_eq!(request(NAME, &line, ""), (400, ours.clone()));
    assert_eq!(request(NAME, "GET /healthz", ""), (200, ours.clone()));
    assert_eq!(
        request(NAME, "POST /x", "expect: x\r\n"),
        (417, ours.clone())
    );
    assert_eq!(
        request("a b", &line, ""),
        (400, ours.clone()),
        "by the name in the handshake"
    );
    // An IP address is not a name.
    for host in ["127.0.0.1", "127.0.0.1:8443", "[::1]:443"] {
        assert_eq!(request(host, &line, &tenant), (200, None), "{host}");
        assert_eq!(request(host, &line, ""), (400, None), "{host}");
    }
    // Without the option nothing is added.
    let proxy = world.with_options(&cell, "health_path: /healthz");
    let answer = world
        .connect(&proxy)
        .exchange(&Request::get(&line[4..]).header(TENANT, "a"));
    assert_eq!(answer.header("strict-transport-security"), None);
}

fn a_cell_has_the_first_word() {
    let world = World::new();
    for (fields, expected) in [
        (
            "Strict-Transport-Security: max-age=0\r\n",
            vec!["max-age=0"],
        ),
        ("x-strict: max-age=0\r\n", vec![VALUE]),
        (
            "connection: strict-transport-security\r\nstrict-transport-security: max-age=0\r\n",
            vec![VALUE],
        ),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
        let cell = Origin::answering(answer);
        let options = "hsts: { max_age_s: 3600, include_subdomains: true }";
        let proxy = world.with_options(&cell, options);
        let answer = world
            .connect(&proxy)
            .exchange(&Request::get("/").header(TENANT, "a"));
        let all = answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("strict-transport-security"));
        let all: Vec<&str> = all
            .map(|(_, value)| str::from_utf8(value).unwrap())
            .collect();
        assert_eq!(all, expected, "{fields}");
    }
}

fn curl_remembers_it() {
    let cell = Origin::well_behaved();
    let world = World::new();
    let proxy = world.with_options(&cell, "hsts: { max_age_s: 3600, include_subdomains: true }");
    let port = proxy.address().port();
    let remembered = world.certificates.path("hsts.txt");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--header", "x-tenant-id: a"])
        .arg("--cacert")
        .arg(world.certificates.path("authority.ca"))
        .arg("--hsts")
        .arg(&remembered)
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .arg(format!("https://{NAME}:{port}{OK}7"))
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(remembered).expect("curl has written it");
    // The dot is for the names below.
    assert!(text.contains(&format!(".{NAME} ")), "{text}");
}

fn behind_the_proxy_protocol_tls_is_tls() {
    let cell = Origin::well_behaved();
    let world = World::new();
    let options = "proxy_protocol: { from: [127.0.0.1] }, health_path: /healthz, hsts: { max_age_s: 3600, include_subdomains: true }";
    let proxy = world.with_options(&cell, options);
    let mut connection = Connection::open(proxy.address());
    connection
        .send("PROXY TCP4 192.0.2.7 192.0.2.8 1000 443\r\n")
        .unwrap();
    let mut connection = connection.start_tls(client(&world.client(), NAME)).unwrap();
    let request = Request::get(&format!("{OK}1")).header(TENANT, "a");
    let request = request.header("x-forwarded-proto", "http");
    let request = request.header("x-forwarded-for", "198.51.100.1");
    let answer = connection.exchange(&request);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("strict-transport-security"), Some(VALUE));
    let received = cell.received().concat();
    assert!(received.contains("x-forwarded-proto: https"), "{received}");
    assert!(
        received.contains("x-forwarded-for: 192.0.2.7"),
        "{received}"
    );
    assert!(!received.contains("198.51.100.1"), "{received}");
    assert_eq!(connection.exchange(&Request::get("/healthz")).status, 200);
}

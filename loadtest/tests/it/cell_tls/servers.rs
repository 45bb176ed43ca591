//! Servers of other people.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use super::*;
use crate::support::{
    PATIENCE, process::Process, proxy::TENANT, wait_until, ways::both_ways, wire::Request,
};

both_ways!(nginx_is_met_over_both_versions, a_server_in_python_is_met);

/// A port that nobody had just now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn start(program: &str, arguments: &[&str], address: SocketAddr) -> Option<Process> {
    if Command::new(program).arg("--help").output().is_err() {
        eprintln!("SKIPPED: there is no {program}");
        return None;
    }
    let server = Process::start(program, Command::new(program).args(arguments));
    wait_until("the server listens", PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    Some(server)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Asks often enough that connections are used again.
fn ask_all(proxy: &Proxy) {
    for number in 0..30 {
        let request = Request::get("/").header(TENANT, "acme");
        let answer = request.send(proxy.address());
        assert_eq!(answer.status, 200, "{number}: {answer:?}\n{}", proxy.log());
        assert_eq!(answer.text().trim(), "hello", "{number}");
    }
}

fn nginx_is_met_over_both_versions() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let world = World::new();
        world.folder.write_pair("server", &world.server);
        world
            .folder
            .write_pair("proxy", &world.authority.client("proxy", 7));
        let (address, folder) = (free_port(), world.folder.folder());
        let at = |name: &str| world.folder.path(name).display().to_string();
        let config = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; \
             uwsgi_temp_path {temp}; scgi_temp_path {temp};\n\
             server {{ listen {address} ssl; ssl_protocols {version}; ssl_certificate {certificate}; \
             ssl_certificate_key {key}; ssl_verify_client on; ssl_client_certificate {ca}; \
             location / {{ return 200 hello; }} }} }}",
            pid = at("nginx.pid"),
            temp = at("temp"),
            certificate = at("server.crt"),
            key = at("server.key"),
            ca = at("ca.pem"),
        );
        let config = write(folder, "nginx.conf", &config);
        let Some(_server) = start("nginx", &["-c", &config], address) else {
            return;
        };
        let tls = world.tls(&world.shown("proxy"));
        let proxy = Proxy::plan().table(table(address, &tls)).start();
        ask_all(&proxy);
        wait_until("connections are used again", PATIENCE, || {
            proxy.metric("upstream_connections_reused_total", &[]) >= Some(15.0)
        });
        // Without a certificate it answers by itself.
        let proxy = Proxy::plan().table(table(address, &world.tls(""))).start();
        let answer = proxy.get("acme", "/");
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains("No required SSL certificate"),
            "{answer:?}"
        );
    }
}

const PYTHON: &str = r#"
import http.server, ssl, sys
address, certificate, key, ca = sys.argv[1:5]
class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *args):
        pass
host, port = address.split(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Hello)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = ssl.TLSVersion[sys.argv[5]]
context.maximum_version = ssl.TLSVersion[sys.argv[5]]
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"#;

fn a_server_in_python_is_met() {
    for version in ["TLSv1_2", "TLSv1_3"] {
        let world = World::new();
        world.folder.write_pair("server", &world.server);
        world
            .folder
            .write_pair("proxy", &world.authority.client("proxy", 7));
        let address = free_port();
        let at = |name: &str| world.folder.path(name).display().to_string();
        let script = write(world.folder.folder(), "server.py", PYTHON);
        let arguments = [
            script,
            address.to_string(),
            at("server.crt"),
            at("server.key"),
            at("ca.pem"),
            version.to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Some(_server) = start("python3", &arguments, address) else {
            return;
        };
        let tls = world.tls(&world.shown("proxy"));
        let proxy = Proxy::plan().table(table(address, &tls)).start();
        ask_all(&proxy);
        let proxy = Proxy::plan().table(table(address, &world.tls(""))).start();
        let answer = proxy.get("acme", "/");
        assert_eq!(
            answer.verdict(),
            (502, Some("connect_failed")),
            "{version}: {answer:?}"
        );
    }
}

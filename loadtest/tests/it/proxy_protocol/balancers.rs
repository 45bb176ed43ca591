//! Real programs in front.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use super::{FROM_HERE, plan};
use crate::support::{
    PATIENCE, heavy::skip, origin::Origin, process::Process, proxy::Proxy, wait_until,
};

/// Debian keeps servers where not everybody looks.
const FOLDERS: &str = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/local/sbin";
/// Where the client is: another address than the load balancer's.
const CLIENT: &str = "127.0.0.5";

fn find(program: &str) -> Option<String> {
    let paths = FOLDERS
        .split(':')
        .map(|folder| format!("{folder}/{program}"));
    paths.into_iter().find(|path| Path::new(path).exists())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// What curl says of a GET by the client: the status.
fn curl(address: SocketAddr, options: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "10", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code}", "--header", "x-tenant-id: a"])
        .args([
            "--header",
            "x-forwarded-for: 203.0.113.66",
            "--interface",
            CLIENT,
        ])
        .args(options)
        .arg(format!("http://{address}/x"))
        .output()
        .expect("curl is here");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_as_a_load_balancer() {
    if find("curl").is_none() {
        return skip("it needs curl");
    }
    let cell = Origin::well_behaved();
    let proxy = plan(&cell, FROM_HERE).start();
    assert_eq!(curl(proxy.address(), &["--haproxy-protocol"]), "200");
    assert!(cell.has_received(r"x-forwarded-for: 127.0.0.5\r\n"));
    // Without the header: closed, which curl calls 000.
    assert_eq!(curl(proxy.address(), &[]), "000");
}

#[test]
fn haproxy_in_front() {
    let (Some(haproxy), Some(_)) = (find("haproxy"), find("curl")) else {
        return skip("it needs haproxy and curl");
    };
    for sends in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options authority,crc32c,unique-id,ssl,cert-cn",
    ] {
        let cell = Origin::well_behaved();
        let proxy = plan(&cell, "from: [127.0.0.1], required: true")
            .set("trusted_proxies", "[127.0.0.1]")
            .start();
        let (_process, _folder, address) = start_haproxy(&haproxy, &proxy, sends);
        wait_until(
            "it asks on its own behalf, and is answered",
            PATIENCE,
            || cell.received().concat().matches("GET /probe").count() >= 3,
        );
        for _ in 0..3 {
            assert_eq!(curl(address, &[]), "200", "{sends}");
        }
        let received = cell.received().concat();
        let of_client = received.matches(r"x-forwarded-for: 127.0.0.5\r\n").count();
        assert_eq!(of_client, 3, "{sends}: {received}");
        assert!(!received.contains("203.0.113.66"), "{sends}: {received}");
        assert_eq!(
            proxy.count_in_log("connection closed"),
            0,
            "{}",
            proxy.log()
        );
    }
}

/// With checks by HTTP: a server that fails one is down, and its clients get 503.
fn start_haproxy(program: &str, proxy: &Proxy, sends: &str) -> (Process, TempDir, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let config = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         listen edge\n  bind {address}\n  unique-id-format %{{+X}}o%Ts\n  option httpchk\n\
         \x20 http-check send meth GET uri /probe ver HTTP/1.1 hdr host h hdr x-tenant-id a\n\
         \x20 default-server inter 100 fall 1 rise 1\n\
         \x20 server cellgate {} check check-send-proxy {sends}\n",
        proxy.address()
    );
    let folder = TempDir::new().expect("the temporary directory can be written to");
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, config).expect("the scratch directory is ours");
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&path);
    let process = Process::start("haproxy", &mut command);
    wait_until("haproxy listens", PATIENCE, || {
        std::net::TcpStream::connect(address).is_ok()
    });
    (process, folder, address)
}

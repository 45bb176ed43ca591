//! Two servers of Redis, chosen by the address that a client comes from.

use std::process::{Command, Stdio};

use super::*;
use crate::support::{
    heavy::skip,
    programs::{find, free_address, haproxy, redis},
};

/// What redis-cli says.
fn ask(address: SocketAddr, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// redis-cli cannot choose where it comes from: a program before it does, and says nothing of its own.
#[test]
fn redis_cli_has_its_server_by_address() {
    let servers = [free_address(), free_address()];
    let (Some(_first), Some(_second), Some(_)) =
        (redis(servers[0]), redis(servers[1]), find("redis-cli"))
    else {
        return skip("it needs redis-server and redis-cli");
    };
    let sources = [("127.0.0.2", "first"), ("127.0.0.3", "second")];
    let table = TableText::new([("first", vec![servers[0]]), ("second", vec![servers[1]])])
        .pin("127.0.0.2", "first")
        .pin("127.0.0.3", "second");
    let proxy = plan(table, "").start();
    let addresses = [free_address(), free_address()];
    let sections: Vec<_> = (sources.iter().zip(addresses))
        .map(|((source, name), address)| {
            format!(
                "listen {name}\n  bind {address}\n  source {source}\n  server cellgate {}\n",
                proxy.address()
            )
        })
        .collect();
    let Some(_haproxy) = haproxy(&sections.concat(), &addresses) else {
        return skip("it needs haproxy");
    };
    let large = "x".repeat(3_000_000);
    for ((source, name), address) in sources.into_iter().zip(addresses) {
        assert_eq!(ask(address, &["set", "name", name], b""), "OK");
        assert_eq!(
            ask(address, &["-x", "set", "large"], large.as_bytes()),
            "OK"
        );
        assert_eq!(ask(address, &["strlen", "large"], b""), "3000000");
        assert!(ask(address, &["get", "large"], b"") == large);
        // A line comes a moment after its connection's end.
        let cells = wait_for("its lines", PATIENCE, || {
            let cells: Vec<_> = (entries(&proxy).into_iter())
                .filter(|entry| entry["tenant"] == source && entry["bytes_from_cell"] != 0)
                .map(|entry| entry["cell"].clone())
                .collect();
            (cells.len() >= 4).then_some(cells)
        });
        assert!(cells.iter().all(|cell| cell == name), "{cells:?}");
    }
    // Asked without anything in between.
    for (server, (_, name)) in servers.into_iter().zip(sources) {
        assert_eq!(ask(server, &["get", "name"], b""), name);
    }
}

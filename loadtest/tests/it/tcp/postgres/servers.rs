//! Real servers and their client.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::*;
use crate::support::{heavy::skip, process::Process, tls::Pem};

/// A server that calls itself `name`, with this certificate. It is gone when it is dropped.
pub(super) struct Server {
    _process: Process,
    _folder: TempDir,
    pub(super) port: u16,
}

/// Where Debian keeps the programs, of the newest version.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<_> = (versions.flatten())
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .collect();
    folders.sort();
    folders.pop()
}

/// PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Command {
    if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
}

impl Server {
    pub(super) fn start(programs: &Path, name: &str, pem: &Pem) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = unprivileged(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=tester", "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .local_addr()
            .unwrap()
            .port();
        let (certificate, key) = (folder.path().join("s.crt"), folder.path().join("s.key"));
        fs::write(&certificate, &pem.certificate).unwrap();
        fs::write(&key, &pem.key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(&key, Some(65_534), Some(65_534)).unwrap();
        }
        let mut command = unprivileged(&programs.join("postgres"));
        command.arg("-D").arg(&data).current_dir(folder.path());
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", folder.path().display()),
            "fsync=off".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
            format!("cluster_name={name}"),
        ] {
            command.arg("-c").arg(setting);
        }
        let process = Process::start(format!("postgres {name}"), &mut command);
        wait_until("PostgreSQL listens", PATIENCE, || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self {
            _process: process,
            _folder: folder,
            port,
        }
    }
}

/// What the server that psql gets to calls itself.
fn asked(proxy: &Proxy, name: &str, ca: &Path, further: &str) -> Result<String, String> {
    let port = proxy.address().port();
    let target = format!(
        "host={name} hostaddr=127.0.0.1 port={port} user=tester dbname=postgres connect_timeout=10 \
         sslrootcert={} {further}",
        ca.display()
    );
    let output = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command",
            "show cluster_name",
        ])
        .arg(&target)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn two_servers_by_name() {
    let psql = Command::new("psql").arg("--version").output();
    let (Some(programs), Ok(_)) = (programs(), psql) else {
        return skip("it needs PostgreSQL's server and psql");
    };
    let (authority, folder) = (Authority::new(), Certificates::new());
    let ca = folder.write("ca.pem", &authority.pem());
    let names = [("acme.example", "acme"), ("other.example", "other")];
    let servers = names.map(|(name, id)| Server::start(&programs, id, &authority.server(&[name])));
    let table = |lines: &dyn Fn(&str) -> String| {
        let cells = [("acme", &servers[0]), ("other", &servers[1])]
            .map(|(id, server)| (id, vec![([127, 0, 0, 1], server.port).into()]));
        let mut table = TableText::new(cells)
            .pin("acme", "acme")
            .pin("other", "other");
        for (name, id) in names {
            let line = lines(name);
            if !line.is_empty() {
                table = table.cell_line(id, &line);
            }
        }
        table
    };
    folder.write_pair("both", &authority.server(&names.map(|(name, _)| name)));
    let ours = format!(", tls: {{ directory: {} }}", folder.folder().display());
    let verified = |name: &str| format!("tls: {{ server_name: {name}, ca: {} }}", ca.display());
    for (table, ours) in [(table(&|_| String::new()), ""), (table(&verified), &ours)] {
        let proxy = postgres(table, ours).start();
        for (name, id) in names {
            let answer = asked(&proxy, name, &ca, "sslmode=verify-full");
            assert_eq!(answer.as_deref(), Ok(id), "{ours}");
        }
        let refused = asked(&proxy, "acme.example", &ca, "sslmode=disable").unwrap_err();
        assert!(refused.contains("sslmode=require"), "{refused}");
    }
}

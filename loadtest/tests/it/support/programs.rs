//! Servers of other people, started for a test.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{PATIENCE, process::Process, wait_until};

/// Debian keeps servers where not everybody looks.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];
/// Where Debian keeps what nginx needs for anything but HTTP.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(program));
    paths.find(|path| path.exists())
}

/// An address that nobody had just now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("the socket is bound")
}

/// A server that is gone when it is dropped, with its folder.
pub(crate) struct Server {
    _process: Process,
    _folder: TempDir,
}

impl Server {
    /// Starts it, and waits until it listens everywhere.
    #[track_caller]
    fn start(command: &mut Command, folder: TempDir, addresses: &[SocketAddr]) -> Self {
        let name = Path::new(command.get_program()).display().to_string();
        let process = Process::start(&name, command.current_dir(folder.path()));
        for address in addresses {
            wait_until(&format!("{name} listens"), PATIENCE, || {
                TcpStream::connect(address).is_ok()
            });
        }
        Self {
            _process: process,
            _folder: folder,
        }
    }
}

fn folder() -> TempDir {
    TempDir::new().expect("the temporary directory can be written to")
}

fn write(folder: &TempDir, name: &str, text: impl fmt::Display) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text.to_string()).expect("the scratch directory is ours");
    path
}

/// `HAProxy` with these sections, such as `listen`, for connections; `None` if it is not installed.
#[track_caller]
pub(crate) fn haproxy(sections: &str, addresses: &[SocketAddr]) -> Option<Server> {
    let program = find("haproxy")?;
    let folder = folder();
    let config = format!(
        "global\n  maxconn 100\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n{sections}"
    );
    let path = write(&folder, "haproxy.cfg", config);
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(path);
    Some(Server::start(&mut command, folder, addresses))
}

/// nginx with these servers in its section `stream`; `None` if it is not installed, or only for HTTP.
#[track_caller]
pub(crate) fn nginx_stream(servers: &str, addresses: &[SocketAddr]) -> Option<Server> {
    let program = find("nginx")?;
    if !Path::new(NGINX_STREAM).exists() {
        return None;
    }
    let folder = folder();
    let pid = folder.path().join("nginx.pid");
    let config = format!(
        "load_module {NGINX_STREAM};\ndaemon off; master_process off; pid {}; error_log stderr; events {{}}\n\
         stream {{\n{servers}\n}}\n",
        pid.display()
    );
    let path = write(&folder, "nginx.conf", config);
    let mut command = Command::new(program);
    command.arg("-e").arg("stderr").arg("-c").arg(path);
    Some(Server::start(&mut command, folder, addresses))
}

/// Redis at this address, empty; `None` if it is not installed.
#[track_caller]
pub(crate) fn redis(address: SocketAddr) -> Option<Server> {
    let program = find("redis-server")?;
    let folder = folder();
    let mut command = Command::new(program);
    command
        .args(["--bind", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no"]);
    Some(Server::start(&mut command, folder, &[address]))
}

//! Clients that post on kept connections, across restarts: what they lose here, and what they lose where others restart.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    chain::Chain,
    clients::{Clients, Open, Tally, closes, post},
};
use crate::support::{
    PATIENCE,
    cell::DemoCell,
    heavy::{alone, figure, is_acceptance, skip},
    process::{Process, Signal},
    proxy::{ONLY, Proxy},
    wait_until,
};

const CLIENTS: usize = 48;
/// Debian keeps servers where not everybody looks.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// From before the first restart until after the last one.
struct Course {
    restarts: usize,
    /// Between two of them.
    pause: Duration,
}

impl Course {
    fn run(&self, address: SocketAddr, mut restart: impl FnMut()) -> Tally {
        let mut clients = Clients::new();
        clients.add("posting", CLIENTS, |number| {
            let mut kept = None;
            Box::new(move |_| {
                let mut open = kept.take().map_or_else(|| Open::connect(address), Ok)?;
                let answer = post(&mut open, &format!("tenant-{number}"), number)?;
                if !closes(&answer) {
                    kept = Some(open);
                }
                Ok(())
            })
        });
        thread::sleep(self.pause);
        for _ in 0..self.restarts {
            restart();
            thread::sleep(self.pause);
        }
        clients.finish()
    }
}

fn find(program: &str) -> Option<String> {
    let paths = FOLDERS.map(|folder| format!("{folder}/{program}"));
    paths.into_iter().find(|path| Path::new(path).exists())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A proxy of other people in a folder of its own, in front of the cell.
struct Other {
    process: Process,
    folder: TempDir,
    address: SocketAddr,
}

impl Other {
    #[track_caller]
    fn start(
        program: &str,
        config: impl Fn(&Path, SocketAddr) -> String,
        options: &[&str],
    ) -> Self {
        let (folder, address) = (TempDir::new().unwrap(), free_address());
        let path = folder.path().join("config");
        fs::write(&path, config(folder.path(), address)).unwrap();
        let mut command = Command::new(program);
        command.args(options).arg(&path).current_dir(folder.path());
        let process = Process::start(program, &mut command);
        wait_until("it listens", PATIENCE, || {
            TcpStream::connect(address).is_ok()
        });
        Self {
            process,
            folder,
            address,
        }
    }

    /// With its workers, which would outlive a master that is killed.
    fn end(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_for_exit(PATIENCE);
    }
}

fn run_ours(course: &Course, cell: SocketAddr) -> Tally {
    let plan = Proxy::in_front_of(cell);
    let proxy = plan.set("timeouts", "{ drain_idle_ms: 10000 }").start();
    let address = proxy.address();
    let mut chain = Chain::new(proxy);
    let tally = course.run(address, || chain.hand_over());
    chain.end();
    tally
}

/// `nginx -s reload` with two workers, connections kept on both sides.
fn run_nginx(program: &str, course: &Course, cell: SocketAddr) -> Tally {
    let config = |folder: &Path, address: SocketAddr| {
        let mut temp = String::new();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            write!(temp, "{kind}_temp_path {0}/temp; ", folder.display()).unwrap();
        }
        let user = if rustix::process::geteuid().is_root() {
            "user root; "
        } else {
            ""
        };
        format!(
            "{user}daemon off; worker_processes 2; pid {folder}/pid; error_log stderr error; events {{}}\n\
             http {{ access_log off; {temp}keepalive_timeout 3600s; keepalive_requests 1000000;\n\
             upstream cell {{ server {cell}; keepalive 64; keepalive_requests 1000000; }}\n\
             server {{ listen {address} backlog=4096; location / {{ proxy_pass http://cell; proxy_http_version 1.1; \
             proxy_set_header X-Cellgate-Tenant a; proxy_set_header Connection \"\"; }} }} }}\n",
            folder = folder.display()
        )
    };
    let mut nginx = Other::start(program, config, &["-c"]);
    let path = nginx.folder.path().join("config");
    let tally = course.run(nginx.address, || {
        let reload = Command::new(program)
            .args(["-s", "reload", "-c"])
            .arg(&path)
            .output();
        let reload = reload.expect("it is there");
        assert!(reload.status.success(), "{reload:?}");
    });
    nginx.end();
    tally
}

/// Master and worker, and SIGUSR2 for the master.
fn run_haproxy(program: &str, course: &Course, cell: SocketAddr, option: &str) -> Tally {
    let config = |folder: &Path, address: SocketAddr| {
        format!(
            "global\n  nbthread 2\n  hard-stop-after 60s\n  mworker-max-reloads 1000\n\
             \x20 stats socket {folder}/stats mode 600 level admin expose-fd listeners\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  http-reuse always\n\
             \x20 backlog 4096\n  {option}\n\
             frontend edge\n  bind {address}\n  http-request set-header x-cellgate-tenant a\n  default_backend cell\n\
             backend cell\n  server cell {cell}\n",
            folder = folder.display()
        )
    };
    let mut haproxy = Other::start(program, config, &["-W", "-f"]);
    let tally = course.run(haproxy.address, || haproxy.process.signal(Signal::USR2));
    haproxy.end();
    tally
}

/// The others' figures depend on the machine, and are only stated.
#[test]
fn posts_on_kept_connections_beside_other_proxies() {
    let _alone = alone();
    let course = if is_acceptance() {
        let pause = Duration::from_secs(1);
        Course {
            restarts: 30,
            pause,
        }
    } else {
        let pause = Duration::from_millis(400);
        Course { restarts: 3, pause }
    };
    let cell = DemoCell::start(ONLY);
    let report = |name: &str, tally: &Tally| {
        let requests = tally.total() + tally.failed.len();
        figure(format!(
            "{CLIENTS} clients that post on kept connections, {} restarts, {name}: {} of {requests} failed",
            course.restarts,
            tally.failed.len()
        ));
        assert!(
            tally.total() > 10 * CLIENTS,
            "{name}: {:?}",
            tally.failed.first()
        );
    };
    let ours = run_ours(&course, cell.address());
    report("by hand-over", &ours);
    if let Some(program) = find("nginx") {
        let theirs = run_nginx(&program, &course, cell.address());
        report("nginx -s reload", &theirs);
    } else {
        skip("there is no nginx to compare with");
    }
    if let Some(program) = find("haproxy") {
        for (name, option) in [
            ("HAProxy, SIGUSR2", ""),
            (
                "HAProxy, SIGUSR2, idle-close-on-response",
                "option idle-close-on-response",
            ),
        ] {
            let theirs = run_haproxy(&program, &course, cell.address(), option);
            report(name, &theirs);
        }
    } else {
        skip("there is no haproxy to compare with");
    }
    ours.check();
}

//! The tests of npm's `http-cache-tests` say of the proxy what they say of its origin alone: the
//! proxy caches nothing, and changes nothing that concerns caches.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::support::{
    PATIENCE,
    gauges::wait_until_idle,
    heavy::{figure, skip},
    process::Process,
    proxy::Proxy,
    ways::Way,
};

/// The tests ask in the clear.
const WAYS: [Way; 2] = [Way::Direct, Way::General];

const VERSION: &str = "0.4.5";
const TESTS_MIN: usize = 300;

/// Makes the origin listen on loopback only, whatever it asks for.
const ON_LOOPBACK: &str = r#"data:text/javascript,import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port) { return listen.call(this, port, "127.0.0.1"); };"#;

/// They take their time and wait for most of it, so the origin and the proxies of both ways are judged at the same time.
#[test]
fn cache_tests_judge_the_proxy_as_they_judge_its_origin() {
    let package = match installed() {
        Ok(package) => package,
        Err(why) => return skip(why),
    };
    let origin = Process::start(
        "the origin of the cache tests",
        node(&package).args(["--import", ON_LOOPBACK, "server/server.mjs"]),
    );
    let address = origin.wait_for_line("its address", PATIENCE, |line| {
        let address = line.strip_prefix("Listening on http://")?;
        address.trim_end_matches('/').parse::<SocketAddr>().ok()
    });
    let proxies = WAYS.map(|way| {
        Proxy::in_front_of(address)
            .set("tenant_key", "[{ source_ip: true }]")
            .set("direct", way.switch())
            .start()
    });

    let package = package.as_path();
    let (alone, through) = thread::scope(|scope| {
        let judge = |server| scope.spawn(move || verdicts(package, server));
        let alone = judge(address);
        let through = proxies.each_ref().map(|proxy| judge(proxy.address()));
        let end = |judge: thread::ScopedJoinHandle<'_, _>| judge.join().expect("the tests run");
        (end(alone), through.map(end))
    });
    assert!(alone.len() >= TESTS_MIN, "only {} tests ran", alone.len());
    for ((way, proxy), through) in WAYS.iter().zip(&proxies).zip(&through) {
        compare(*way, &alone, through);
        wait_until_idle(proxy);
    }
}

/// Fails unless the tests say of the proxy what they say of the origin alone.
#[track_caller]
fn compare(way: Way, alone: &BTreeMap<String, Verdict>, through: &BTreeMap<String, Verdict>) {
    let excused = alone
        .iter()
        .filter(|(id, verdict)| verdict.is_cut_off() && through.get(*id) != Some(verdict))
        .count();
    let differ: Vec<String> = alone
        .iter()
        .filter(|(id, verdict)| {
            !verdict.agrees_with(through.get(*id)) && !is_refused_by_rule(id, through.get(*id))
        })
        .map(|(id, verdict)| format!("{id}: {verdict:?}, through the proxy {:?}", through.get(id)))
        .collect();
    figure(format!(
        "{way:?}: {} cache tests, {} verdicts differ; {excused} where the origin cuts its answer off and the proxy has to \
         say so",
        alone.len(),
        differ.len(),
    ));
    assert!(differ.is_empty(), "{way:?}: {}", differ.join("\n"));
    assert_eq!(alone.len(), through.len());
}

/// Where the origin's answer names a transfer coding that nobody knows, so that its end cannot be
/// known either, the proxy refuses it. The test cannot be set up with it or without it.
fn is_refused_by_rule(id: &str, through: Option<&Verdict>) -> bool {
    let refused = Verdict::Failed(
        "Setup".to_owned(),
        "Response 1 status is 502, not 200".to_owned(),
    );
    id == "headers-store-Transfer-Encoding" && through == Some(&refused)
}

/// What a test says: passed, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// The kind of the failure, and its message.
    Failed(String, String),
}

impl Verdict {
    fn of(value: &Value) -> Self {
        if value == true {
            return Self::Passed;
        }
        let text = |at: usize| value[at].as_str().unwrap_or_default().to_owned();
        Self::Failed(text(0), text(1))
    }

    /// There was no whole answer: the origin closes the connection, or breaks the protocol, because
    /// the test wants it to.
    fn is_cut_off(&self) -> bool {
        matches!(self, Self::Failed(kind, _) if kind == "FetchError")
    }

    /// Where the origin cuts its answer off, the proxy has one of its own to give: its client sees
    /// an answer, and the test fails for another reason. It must not pass.
    fn agrees_with(&self, through: Option<&Self>) -> bool {
        let Some(through) = through else { return false };
        self == through || (self.is_cut_off() && *through != Self::Passed)
    }
}

/// The directory of the package, which is installed there if it is not yet.
fn installed() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("http-cache-tests-{VERSION}"));
    let package = home.join("node_modules/http-cache-tests");
    let whole = home.join("installed");
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    let lock = File::create(home.join("lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if whole.exists() {
        return Ok(package);
    }
    let install = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(&home)
        .arg(format!("http-cache-tests@{VERSION}"))
        .stdin(Stdio::null())
        .output();
    match install {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("npm is missing".to_owned()),
        Err(error) => Err(format!("npm cannot be run: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "npm cannot install http-cache-tests {VERSION}: {said}"
            ))
        }
        Ok(_) => {
            File::create(whole).map_err(|error| error.to_string())?;
            Ok(package)
        }
    }
}

/// Node in the package's directory, with the settings that npm would give it.
fn node(package: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .current_dir(package)
        .env("npm_package_config_protocol", "http")
        .env("npm_package_config_port", "0")
        .env("npm_package_config_id", "")
        .env("npm_package_config_pidfile", "server.pid");
    command
}

#[track_caller]
fn verdicts(package: &Path, server: SocketAddr) -> BTreeMap<String, Verdict> {
    let output = node(package)
        .args(["--no-warnings", "cli.mjs"])
        .env("npm_package_config_base", format!("http://{server}"))
        .stdin(Stdio::null())
        .output()
        .expect("node is here, for npm is");
    let said = String::from_utf8_lossy(&output.stderr);
    let results: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("the tests print no results: {error}: {said}"));
    let verdict = |(id, value): (String, Value)| (id, Verdict::of(&value));
    results.into_iter().map(verdict).collect()
}

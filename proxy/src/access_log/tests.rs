//! The log as a file: lines, rotation, a full queue, a full disk.

use std::{fs, net::IpAddr, time::Instant};

use tempfile::TempDir;

use super::*;
use crate::{
    answer::Reason,
    exchange::{Connection, Scheme},
    gate::Refusal,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn connection() -> Connection {
    Connection::new(IpAddr::from([192, 0, 2, 1]), "edge".into(), Scheme::Http)
}

struct Scene {
    log: AccessLog,
    writer: Option<AccessLogWriter>,
    metrics: Arc<Metrics>,
}

impl Scene {
    fn new(path: &Path, queue_lines_max: usize) -> Self {
        let config = AccessLogConfig {
            path: path.to_owned(),
            queue_lines_max,
        };
        let metrics = Arc::new(Metrics::new());
        let (log, writer) = AccessLog::open(Some(&config), &metrics).unwrap();
        Self {
            log,
            writer,
            metrics,
        }
    }

    fn write(&self, reason: Reason) {
        self.log
            .write(|| Entry::refused_unread(&connection(), reason, None));
    }

    fn dropped(&self) -> u64 {
        self.metrics.access_log_dropped.get()
    }

    fn finish(&mut self) {
        self.writer.take().unwrap().finish();
    }
}

fn reasons(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_line_is_json() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let mut scene = Scene::new(&path, 10);
    scene.write(Reason::RequestTimeout);
    scene.finish();
    let text = fs::read_to_string(&path).unwrap();
    let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
    let time = line["time"].take();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    let expected = serde_json::json!({
        "time": null, "listener": "edge", "client": "192.0.2.1", "status": 408, "reason": "request_timeout",
        "duration_ms": 0.0, "request_body_bytes": 0, "response_body_bytes": 0,
    });
    assert_eq!(line, expected);
}

#[test]
fn a_refusal_of_the_gate_is_named() {
    let entry = Entry::refused_unread(&connection(), Reason::BadRequest, Some(Refusal::BareLf));
    let line = serde_json::to_value(entry).unwrap();
    assert_eq!(line["reason"], "bad_request");
    assert_eq!(line["refusal"], "bare_lf");
}

#[test]
fn lines_reach_the_file_soon_even_while_more_come() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let scene = Scene::new(&path, 1_000);
    let began = Instant::now();
    while reasons_seen(&path) == 0 {
        // Closer together than the time after which a quiet log is flushed.
        scene.write(Reason::BadRequest);
        thread::sleep(Duration::from_millis(10));
        assert!(began.elapsed() < PATIENCE, "no line came through");
    }
    assert_eq!(scene.dropped(), 0);
}

/// Whole lines in the file.
fn reasons_seen(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().matches('\n').count()
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew() {
    let folder = TempDir::new().unwrap();
    let (path, moved) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let mut scene = Scene::new(&path, 10);
    scene.write(Reason::BadRequest);
    wait_until("the first line comes", || reasons_seen(&path) == 1);
    #[expect(clippy::disallowed_methods, reason = "what a log rotation does")]
    fs::rename(&path, &moved).unwrap();
    scene.write(Reason::Rejected);
    wait_until("the second line comes", || reasons_seen(&moved) == 2);
    scene.log.reopen();
    wait_until("the new file comes", || path.exists());
    scene.write(Reason::NoTable);
    scene.finish();
    assert_eq!(reasons(&moved), ["bad_request", "rejected"]);
    assert_eq!(reasons(&path), ["no_table"]);
    assert_eq!(scene.dropped(), 0);
}

#[test]
fn a_full_queue_drops_and_counts() {
    // A queue that nobody empties.
    let (queue, lines) = sync_channel(3);
    let metrics = Arc::new(Metrics::new());
    let log = AccessLog {
        sender: Some(Sender {
            queue,
            metrics: Arc::clone(&metrics),
            reopen: Arc::default(),
        }),
    };
    for _ in 0..5 {
        log.write(|| Entry::refused_unread(&connection(), Reason::BadRequest, None));
    }
    assert_eq!(metrics.access_log_dropped.get(), 2);
    assert_eq!(lines.try_iter().count(), 3);
}

#[test]
fn a_full_disk_drops_and_counts() {
    let mut scene = Scene::new(Path::new("/dev/full"), 1_000);
    for _ in 0..100 {
        scene.write(Reason::BadRequest);
    }
    scene.finish();
    assert_eq!(scene.dropped(), 100);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_start() {
    let config = AccessLogConfig {
        path: PathBuf::from("/proc/no/such/folder"),
        queue_lines_max: 1,
    };
    assert!(AccessLog::open(Some(&config), &Arc::new(Metrics::new())).is_err());
}

#[test]
fn without_a_log_no_entry_is_made() {
    let (log, writer) = AccessLog::open(None, &Arc::new(Metrics::new())).unwrap();
    assert!(writer.is_none());
    log.write(|| panic!("nobody wants this entry"));
    log.reopen();
}

/// Of a request whose body never came the log says what its head said.
#[test]
fn a_body_that_never_came_leaves_a_line() {
    let head = b"POST /up?x HTTP/1.1\r\naccept: */*\r\nHOST:  example.com \r\n\r\n";
    for (reason, status) in [(None, 0), (Some(Reason::RequestTimeout), 408)] {
        let took = Duration::from_millis(7);
        let entry = Entry::body_unread(&connection(), head, reason, took);
        let line = serde_json::to_value(entry).unwrap();
        let code = reason.map(Reason::code);
        assert_eq!(
            (&line["status"], line["reason"].as_str()),
            (&status.into(), code)
        );
        assert_eq!(
            (&line["method"], &line["target"]),
            (&"POST".into(), &"/up?x".into())
        );
        assert_eq!(
            (&line["host"], &line["duration_ms"]),
            (&"example.com".into(), &7.0.into())
        );
    }
}

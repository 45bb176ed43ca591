//! The log as a file, and what its lines say.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use cellgate_process::lines::Sink;
use tempfile::TempDir;

use super::*;
use crate::{
    answer::Reason,
    config::Listener,
    exchange::{Connection, Scheme},
    gate::Refusal,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn connection() -> Connection {
    let edge = Listener::new("edge", ([127, 0, 0, 1], 8080).into());
    Connection::new(IpAddr::from([192, 0, 2, 1]), edge.into(), Scheme::Http)
}

struct Scene {
    log: AccessLog,
    writer: Option<LinesWriter>,
    metrics: Metrics,
}

impl Scene {
    fn new(path: &Path, queue_lines_max: usize) -> Self {
        let config = AccessLogConfig {
            sink: Sink::File(path.to_owned()),
            format: AccessLogFormat::Json,
            queue_lines_max,
        };
        let metrics = Metrics::new();
        let (log, writer) = AccessLog::start(Some(&config), &metrics);
        Self {
            log,
            writer,
            metrics,
        }
    }

    fn write(&self, reason: Reason) {
        let connection = connection();
        self.log
            .write(|| Entry::refused_unread(&connection, reason, None));
    }

    fn dropped(&self) -> u64 {
        self.metrics.access_log_dropped.get()
    }

    fn finish(&mut self) {
        self.writer.take().unwrap().finish(PATIENCE);
    }
}

fn reasons(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect()
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

fn read(entry: &Entry<'_>) -> serde_json::Value {
    let mut line = Vec::new();
    entry.render_json(&mut DateWriter::default(), &mut line);
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_refusal_of_the_gate_is_named() {
    let connection = connection();
    let line = read(&Entry::refused_unread(
        &connection,
        Reason::BadRequest,
        Some(Refusal::BareLf),
    ));
    assert_eq!(line["reason"], "bad_request");
    assert_eq!(line["refusal"], "bare_lf");
}

#[test]
fn without_a_log_no_entry_is_made() {
    let (log, writer) = AccessLog::start(None, &Metrics::new());
    assert!(writer.is_none());
    assert!(!log.is_on());
    log.write(|| -> Entry<'_> { panic!("nobody wants this entry") });
    log.reopen();
}

/// Of a request whose body never came the log says what its head said.
#[test]
fn a_body_that_never_came_leaves_a_line() {
    let head = b"POST /up?x HTTP/1.1\r\naccept: */*\r\nHOST:  example.com \r\n\r\n";
    for (reason, status) in [(None, 0), (Some(Reason::RequestTimeout), 408)] {
        let took = Duration::from_millis(7);
        let connection = connection();
        let line = read(&Entry::body_unread(&connection, head, reason, took));
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

#[test]
fn after_the_end_lines_are_dropped_and_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let mut scene = Scene::new(&path, 10);
    scene.write(Reason::BadRequest);
    scene.finish();
    scene.write(Reason::Rejected);
    assert_eq!(reasons(&path), ["bad_request"]);
    assert_eq!(scene.dropped(), 1);
}

//! The log as a file: lines, rotation, a full queue, a full disk.

use std::{
    fs,
    io::{self, BufRead as _},
    net::IpAddr,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

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
        let connection = connection();
        self.log
            .write(|| Entry::refused_unread(&connection, reason, None));
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

fn read(entry: &Entry<'_>) -> serde_json::Value {
    let mut line = Vec::new();
    entry.render(&mut DateWriter::default(), &mut line);
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

/// A log whose queue nobody empties.
fn unread_log(lines_max: usize) -> AccessLog {
    AccessLog {
        sink: Some(Sink {
            queue: Arc::new(Queue::new(lines_max)),
            metrics: Arc::new(Metrics::new()),
        }),
    }
}

#[test]
fn a_full_queue_drops_and_counts() {
    let log = unread_log(3);
    let connection = connection();
    for _ in 0..5 {
        log.write(|| Entry::refused_unread(&connection, Reason::BadRequest, None));
    }
    log.write(|| panic!("no line is made without a place for it"));
    let sink = log.sink.unwrap();
    assert_eq!(sink.metrics.access_log_dropped.get(), 3);
    assert_eq!(taken(&sink.queue).matches('\n').count(), 3);
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

/// Writes a line that says which one it is.
fn write_numbered(log: &AccessLog, connection: &Connection, number: usize) {
    let head = format!("GET /{number} HTTP/1.1");
    log.write(|| Entry::body_unread(connection, head.as_bytes(), None, Duration::ZERO));
}

/// The numbers in the lines of a listener, in their order.
fn numbers(text: &str, listener: &str) -> Vec<usize> {
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["listener"] == listener)
        .map(|line| line["target"].as_str().unwrap()[1..].parse().unwrap())
        .collect()
}

/// What waits, as the writer gets it.
fn taken(queue: &Queue) -> String {
    let mut text = String::new();
    for shard in 0..queue::SHARDS {
        let mut taken = Vec::new();
        queue.take(shard, &mut taken, &mut Vec::new());
        for batch in taken {
            queue.release(&batch);
            text.push_str(std::str::from_utf8(&batch.bytes).unwrap());
        }
    }
    text
}

#[test]
fn lines_of_many_batches_stay_in_order() {
    const COUNT: usize = 5_000;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let mut scene = Scene::new(&path, 100_000);
    let listeners = ["one", "two", "three"];
    thread::scope(|threads| {
        for listener in listeners {
            let connection = Connection::new(connection().peer, listener.into(), Scheme::Http);
            let log = &scene.log;
            threads.spawn(move || {
                for number in 0..COUNT {
                    write_numbered(log, &connection, number);
                }
            });
        }
    });
    scene.finish();
    assert_eq!(scene.dropped(), 0);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() > 10 * queue::BATCH_BYTES);
    for listener in listeners {
        assert!(numbers(&text, listener).into_iter().eq(0..COUNT));
    }
}

/// As a log rotation does it, again and again, while lines come.
#[test]
fn no_line_is_lost_or_torn_by_opening_the_file_anew() {
    const ROTATIONS: usize = 5;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let mut scene = Scene::new(&path, 1_000_000);
    let connection = connection();
    let mut written = 0;
    let mut text = String::new();
    for rotation in 0..ROTATIONS {
        let moved = folder.path().join(rotation.to_string());
        // Some wait when the file is moved, and some come between that and the new file.
        for _ in 0..1_000 {
            write_numbered(&scene.log, &connection, written);
            written += 1;
        }
        #[expect(clippy::disallowed_methods, reason = "what a log rotation does")]
        fs::rename(&path, &moved).unwrap();
        let last_before = written;
        write_numbered(&scene.log, &connection, written);
        scene.log.reopen();
        let began = Instant::now();
        while !path.exists() {
            written += 1;
            write_numbered(&scene.log, &connection, written);
            assert!(began.elapsed() < PATIENCE, "the new file comes");
        }
        written += 1;
        let old = fs::read_to_string(&moved).unwrap();
        assert!(
            numbers(&old, "edge").contains(&last_before),
            "what came before the wish for a new file stands in the old one"
        );
        text.push_str(&old);
    }
    scene.finish();
    text.push_str(&fs::read_to_string(&path).unwrap());
    assert_eq!(scene.dropped(), 0);
    assert!(numbers(&text, "edge").into_iter().eq(0..written));
}

/// A pipe that nobody reads, as the writer sees it: writing stands still, and does not fail.
#[test]
fn a_writer_that_stands_still_costs_lines_and_no_time() {
    const LINES_MAX: usize = 2_000;
    let (reader, writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
    let mut scene = Scene::new(&path, LINES_MAX);
    drop(writer);
    let connection = connection();
    let mut written = 0;
    let began = Instant::now();
    while scene.dropped() < 1_000 {
        write_numbered(&scene.log, &connection, written);
        written += 1;
        assert!(began.elapsed() < PATIENCE, "nothing is dropped");
    }
    // Nothing of what waits is lost once somebody reads.
    let reading = thread::spawn(move || {
        let lines = io::BufReader::new(reader).lines();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    });
    scene.finish();
    let read = numbers(&reading.join().unwrap(), "edge");
    assert_eq!(read.len() as u64, written as u64 - scene.dropped());
    assert!(read.len() >= LINES_MAX, "{}", read.len());
    assert!(read.is_sorted());
}

/// However long the lines are: what waits is limited in bytes too.
#[test]
fn long_lines_are_limited_by_their_bytes() {
    let log = unread_log(8_192);
    let head = [b"GET /".as_slice(), &b"x".repeat(16 * 1024)].concat();
    let connection = connection();
    for _ in 0..8_192 {
        log.write(|| Entry::body_unread(&connection, &head, None, Duration::ZERO));
    }
    let sink = log.sink.unwrap();
    let dropped = usize::try_from(sink.metrics.access_log_dropped.get()).unwrap();
    let waiting = taken(&sink.queue);
    assert!((7 << 20..=8 << 20).contains(&waiting.len()));
    assert_eq!(waiting.matches('\n').count(), 8_192 - dropped);
    // Room again.
    assert!(sink.queue.place().is_some());
}

/// The writer sleeps without a limit when nothing comes, and a single line is not held back until another one comes.
#[test]
fn a_last_line_reaches_the_file_by_itself() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let scene = Scene::new(&path, 1_000);
    for count in 1..4 {
        scene.write(Reason::BadRequest);
        wait_until("the line comes", || reasons_seen(&path) == count);
        // Long enough for the writer to turn to its long sleep.
        thread::sleep(queue::FLUSH_AFTER * 3);
    }
}

/// A small queue is emptied before it is full, not only after the time to flush.
#[test]
fn a_small_queue_does_not_wait_for_the_time_to_flush() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("access.log");
    let mut scene = Scene::new(&path, 10);
    let began = Instant::now();
    for round in 1..=40 {
        for _ in 0..5 {
            scene.write(Reason::BadRequest);
        }
        wait_until("five lines come", || reasons_seen(&path) == round * 5);
    }
    assert!(
        began.elapsed() < queue::FLUSH_AFTER * 20,
        "{:?}",
        began.elapsed()
    );
    scene.finish();
    assert_eq!(scene.dropped(), 0);
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

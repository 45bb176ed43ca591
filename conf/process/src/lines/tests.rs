//! Lines on their way: order, rotation, a full queue, a full disk, a reader that stands still.

use std::{
    fs,
    io::BufRead as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const FLUSH_AFTER: Duration = Duration::from_millis(100);

struct Scene {
    lines: Lines,
    writer: Option<LinesWriter>,
}

impl Scene {
    fn new(path: &Path, lines_max: usize) -> Self {
        let settings = settings(lines_max);
        let (lines, writer) = start("test", Sink::File(path.to_owned()), settings, None);
        Self {
            lines,
            writer: Some(writer),
        }
    }

    fn write(&self, line: &str) {
        write(&self.lines, Shard::default(), line);
    }

    fn dropped(&self) -> u64 {
        self.lines.dropped.get()
    }

    fn finish(&mut self) {
        self.writer.take().unwrap().finish(PATIENCE);
    }
}

fn settings(lines_max: usize) -> Settings {
    Settings {
        lines_max,
        flush_after: FLUSH_AFTER,
        dropped: IntCounter::new("dropped", "dropped").unwrap(),
    }
}

fn write(lines: &Lines, shard: Shard, line: &str) {
    if let Some(place) = lines.place() {
        lines.fill(place, shard, format!("{line}\n").as_bytes());
    }
}

/// Writes a line that says which one it is, and whose.
fn write_numbered(lines: &Lines, shard: Shard, who: &str, number: usize) {
    write(lines, shard, &format!("{who} {number}"));
}

/// The numbers in somebody's lines, in their order.
fn numbers(text: &str, who: &str) -> Vec<usize> {
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .filter(|(name, _)| *name == who)
        .map(|(_, number)| number.parse().unwrap())
        .collect()
}

/// Whole lines in the file.
fn lines_in(path: &Path) -> usize {
    fs::read_to_string(path)
        .unwrap_or_default()
        .matches('\n')
        .count()
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
fn lines_reach_the_file_soon_even_while_more_come() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let scene = Scene::new(&path, 1_000);
    let began = Instant::now();
    while lines_in(&path) == 0 {
        // Closer together than the time after which a quiet log is flushed.
        scene.write("a line");
        thread::sleep(Duration::from_millis(10));
        assert!(began.elapsed() < PATIENCE, "no line came through");
    }
    assert_eq!(scene.dropped(), 0);
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew() {
    let folder = TempDir::new().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let mut scene = Scene::new(&path, 10);
    scene.write("one");
    wait_until("the first line comes", || lines_in(&path) == 1);
    #[expect(clippy::disallowed_methods, reason = "what a log rotation does")]
    fs::rename(&path, &moved).unwrap();
    scene.write("two");
    wait_until("the second line comes", || lines_in(&moved) == 2);
    scene.lines.reopen();
    wait_until("the new file comes", || path.exists());
    scene.write("three");
    scene.finish();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    assert_eq!(scene.dropped(), 0);
}

/// Lines whose queue nobody empties.
fn unread(lines_max: usize) -> Lines {
    let settings = settings(lines_max);
    Lines {
        queue: Arc::new(Queue::new(lines_max, FLUSH_AFTER)),
        dropped: settings.dropped,
    }
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
fn a_full_queue_drops_and_counts() {
    let lines = unread(3);
    for _ in 0..5 {
        write(&lines, Shard::default(), "a line");
    }
    assert!(lines.place().is_none());
    assert_eq!(lines.dropped.get(), 3);
    assert_eq!(taken(&lines.queue).matches('\n').count(), 3);
}

/// Whatever is wrong with a sink: it costs lines, which are counted, and no time at the end.
#[test]
fn a_sink_that_is_of_no_use_drops_and_counts() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let sinks = [
        Path::new("/dev/full"),
        Path::new("/proc/no/such/folder"),
        folder.path(),
        &pipe,
    ];
    for sink in sinks {
        let mut scene = Scene::new(sink, 1_000);
        for _ in 0..100 {
            scene.write("a line");
        }
        let began = Instant::now();
        scene.finish();
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{}",
            sink.display()
        );
        assert_eq!(scene.dropped(), 100, "{}", sink.display());
    }
}

#[test]
fn lines_of_many_batches_stay_in_order() {
    const COUNT: usize = 50_000;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let mut scene = Scene::new(&path, 1_000_000);
    let names = ["one", "two", "three"];
    thread::scope(|threads| {
        for name in names {
            let lines = &scene.lines;
            threads.spawn(move || {
                for number in 0..COUNT {
                    write_numbered(lines, Shard::of(&name), name, number);
                }
            });
        }
    });
    scene.finish();
    assert_eq!(scene.dropped(), 0);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() > 10 * queue::BATCH_BYTES);
    for name in names {
        assert!(numbers(&text, name).into_iter().eq(0..COUNT));
    }
}

/// As a log rotation does it, again and again, while lines come.
#[test]
fn no_line_is_lost_or_torn_by_opening_the_file_anew() {
    const ROTATIONS: usize = 5;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let mut scene = Scene::new(&path, 1_000_000);
    let shard = Shard::default();
    let mut written = 0;
    let mut text = String::new();
    wait_until("the file comes", || path.exists());
    for rotation in 0..ROTATIONS {
        let moved = folder.path().join(rotation.to_string());
        // Some wait when the file is moved, and some come between that and the new file.
        for _ in 0..1_000 {
            write_numbered(&scene.lines, shard, "a", written);
            written += 1;
        }
        #[expect(clippy::disallowed_methods, reason = "what a log rotation does")]
        fs::rename(&path, &moved).unwrap();
        let last_before = written;
        write_numbered(&scene.lines, shard, "a", written);
        scene.lines.reopen();
        let began = Instant::now();
        while !path.exists() {
            written += 1;
            write_numbered(&scene.lines, shard, "a", written);
            assert!(began.elapsed() < PATIENCE, "the new file comes");
        }
        written += 1;
        let old = fs::read_to_string(&moved).unwrap();
        assert!(
            numbers(&old, "a").contains(&last_before),
            "what came before the order to open a new file stands in the old one"
        );
        text.push_str(&old);
    }
    scene.finish();
    text.push_str(&fs::read_to_string(&path).unwrap());
    assert_eq!(scene.dropped(), 0);
    assert!(numbers(&text, "a").into_iter().eq(0..written));
}

/// A pipe that nobody reads, as the writer sees it: writing stands still, and does not fail.
fn unread_pipe() -> (io::PipeReader, io::PipeWriter, PathBuf) {
    let (reader, writer) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd()));
    (reader, writer, path)
}

#[test]
fn a_writer_that_stands_still_costs_lines_and_no_time() {
    const LINES_MAX: usize = 10_000;
    let (reader, writer, path) = unread_pipe();
    let mut scene = Scene::new(&path, LINES_MAX);
    let mut written = 0;
    let began = Instant::now();
    while scene.dropped() < 1_000 {
        write_numbered(&scene.lines, Shard::default(), "a", written);
        written += 1;
        assert!(began.elapsed() < PATIENCE, "nothing is dropped");
    }
    // Nothing of what waits is lost once somebody reads.
    let reading = thread::spawn(move || {
        let lines = io::BufReader::new(reader).lines();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    });
    scene.finish();
    drop(writer);
    let read = numbers(&reading.join().unwrap(), "a");
    assert_eq!(read.len(), written - 1_000);
    assert!(read.len() >= LINES_MAX, "{}", read.len());
    assert!(read.is_sorted());
}

#[test]
fn a_writer_that_stands_still_is_not_waited_for_at_the_end() {
    let (_reader, _writer, path) = unread_pipe();
    let mut scene = Scene::new(&path, 100_000);
    for _ in 0..100_000 {
        scene.write("a line");
    }
    let began = Instant::now();
    scene.finish();
    assert!(began.elapsed() < STUCK_AFTER * 3, "{:?}", began.elapsed());
}

/// However long the lines are: what waits is limited in bytes too.
#[test]
fn long_lines_are_limited_by_their_bytes() {
    let lines = unread(8_192);
    let long = "x".repeat(16 * 1024);
    for _ in 0..8_192 {
        write(&lines, Shard::default(), &long);
    }
    let dropped = usize::try_from(lines.dropped.get()).unwrap();
    let waiting = taken(&lines.queue);
    assert!((7 << 20..=8 << 20).contains(&waiting.len()));
    assert_eq!(waiting.matches('\n').count(), 8_192 - dropped);
    // Room again.
    assert!(lines.place().is_some());
}

/// The writer sleeps without a limit when nothing comes, and a single line is not held back until another one comes.
#[test]
fn a_last_line_reaches_the_file_by_itself() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let scene = Scene::new(&path, 1_000);
    for count in 1..4 {
        scene.write("a line");
        wait_until("the line comes", || lines_in(&path) == count);
        // Long enough for the writer to turn to its long sleep.
        thread::sleep(FLUSH_AFTER * 3);
    }
}

/// A small queue is emptied before it is full, not only after the time to flush.
#[test]
fn a_small_queue_does_not_wait_for_the_time_to_flush() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let mut scene = Scene::new(&path, 10);
    let began = Instant::now();
    for round in 1..=40 {
        for _ in 0..5 {
            scene.write("a line");
        }
        wait_until("five lines come", || lines_in(&path) == round * 5);
    }
    assert!(began.elapsed() < FLUSH_AFTER * 20, "{:?}", began.elapsed());
    scene.finish();
    assert_eq!(scene.dropped(), 0);
}

#[test]
fn after_the_end_lines_are_dropped_and_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    let mut scene = Scene::new(&path, 10);
    scene.write("before");
    scene.finish();
    scene.write("after");
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
    assert_eq!(scene.dropped(), 1);
}

#[test]
fn a_chore_is_done_while_no_line_comes() {
    let folder = TempDir::new().unwrap();
    let done = IntCounter::new("done", "done").unwrap();
    let counter = done.clone();
    let (_lines, writer) = start(
        "test",
        Sink::File(folder.path().join("log")),
        settings(10),
        Some(Box::new(move || counter.inc())),
    );
    wait_until("the chore is done twice", || done.get() >= 2);
    writer.finish(PATIENCE);
}

//! What a line of the access log costs the thread of its request: rendered, and handed in to a log that is written to
//! nowhere.

use std::{borrow::Cow, hint::black_box, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use cellgate_proxy::{
    access_log::{AccessLog, Entry},
    clock::DateWriter,
    config::AccessLogConfig,
    exchange::{Connection, Scheme},
    metrics::Metrics,
};
use criterion::{Criterion, criterion_group, criterion_main};

/// As a small request that a cell answered leaves it.
fn usual(connection: &Connection) -> Entry<'_> {
    let head = b"GET /api/v1/orders?page=2 HTTP/1.1\r\nhost: shop.example.com\r\n";
    let took = Duration::from_micros(1_234);
    let mut entry = Entry::body_unread(connection, head, None, took);
    entry.status = 200;
    entry.response_body_bytes = 512;
    entry.tenant = Some(Cow::Borrowed(b"tenant-000012ab"));
    entry.cell = Some(Cow::Borrowed("cell-2"));
    entry.endpoint = Some(([10, 0, 2, 17], 8080).into());
    entry.generation = Some(1_234);
    entry.tries = Some(1);
    entry
}

fn access_log(criterion: &mut Criterion) {
    let connection = Connection::new(IpAddr::from([192, 0, 2, 133]), "edge".into(), Scheme::Http);
    let mut group = criterion.benchmark_group("access log");
    let (mut dates, mut line) = (DateWriter::default(), Vec::new());
    let entry = usual(&connection);
    group.bench_function("render", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&entry).render(&mut dates, &mut line);
            black_box(line.len())
        });
    });
    group.bench_function("make", |bencher| {
        bencher.iter(|| usual(black_box(&connection)));
    });

    let config = AccessLogConfig {
        path: PathBuf::from("/dev/null"),
        queue_lines_max: 65_536,
    };
    let metrics = Arc::new(Metrics::new());
    let (log, writer) = AccessLog::open(Some(&config), &metrics).expect("it can be written");
    group.bench_function("make and hand in", |bencher| {
        bencher.iter(|| log.write(|| usual(black_box(&connection))));
    });
    group.finish();
    if let Some(writer) = writer {
        writer.finish();
    }
    println!("dropped: {}", metrics.access_log_dropped.get());
}

criterion_group!(benches, access_log);
criterion_main!(benches);

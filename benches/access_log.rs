//! What a line of the access log costs the thread of its request: rendered, and handed in to a log that is written to
//! nowhere.

use std::{hint::black_box, net::IpAddr, time::Duration};

use cellgate_benches::{connection, usual_entry};
use cellgate_process::lines::Sink;
use cellgate_proxy::{
    access_log::AccessLog,
    clock::DateWriter,
    config::{AccessLogConfig, AccessLogFormat},
    metrics::Metrics,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn access_log(criterion: &mut Criterion) {
    let connection = connection(IpAddr::from([192, 0, 2, 133]));
    let mut group = criterion.benchmark_group("access log");
    let (mut dates, mut line) = (DateWriter::default(), Vec::new());
    let entry = usual_entry(&connection);
    group.bench_function("render", |bencher| {
        bencher.iter(|| {
            line.clear();
            black_box(&entry).render_json(&mut dates, &mut line);
            black_box(line.len())
        });
    });
    group.bench_function("make", |bencher| {
        bencher.iter(|| usual_entry(black_box(&connection)));
    });

    let config = AccessLogConfig {
        sink: Sink::File("/dev/null".into()),
        format: AccessLogFormat::Json,
        queue_lines_max: 65_536,
    };
    let metrics = Metrics::new();
    let (log, writer) = AccessLog::start(Some(&config), &metrics);
    group.bench_function("make and hand in", |bencher| {
        bencher.iter(|| log.write(|| usual_entry(black_box(&connection))));
    });
    group.finish();
    if let Some(writer) = writer {
        writer.finish(Duration::from_secs(5));
    }
    println!("dropped: {}", metrics.access_log_dropped.get());
}

criterion_group!(benches, access_log);
criterion_main!(benches);

//! What a change of the table costs, away from the requests: parse, compare, build.

use std::hint::black_box;

use cellgate_benches::{accepted, table, table_text};
use cellgate_proxy::{metrics::Metrics, snapshot::Snapshot};
use cellgate_table::{diff::diff, parse, render};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.sample_size(10);
    for overrides in [0, 1_000, 100_000] {
        let text = table_text(overrides);
        group.bench_with_input(
            BenchmarkId::new("parse", overrides),
            &text,
            |bencher, text| {
                bencher.iter(|| parse(black_box(text.as_bytes())));
            },
        );
        let table = table(overrides);
        group.bench_with_input(
            BenchmarkId::new("render", overrides),
            &table,
            |bencher, table| {
                bencher.iter(|| render(black_box(table)));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("diff", overrides),
            &table,
            |bencher, table| {
                bencher.iter(|| diff(black_box(table), black_box(table)));
            },
        );
    }
    group.finish();
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    let metrics = Metrics::new();
    for overrides in [1_000, 100_000, 1_000_000] {
        let table = table(overrides);
        group.bench_with_input(
            BenchmarkId::new("build", overrides),
            &table,
            |bencher, table| {
                bencher.iter_batched(
                    || accepted(table.clone()),
                    |accepted| Snapshot::build(accepted, None, &metrics),
                    BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(benches, change, snapshot);
criterion_main!(benches);

//! From a key to its cell, as every request does it: keys in scattered order, so that caches help as little as they do
//! in real traffic.

use std::hint::black_box;

use cellgate_benches::{InlineKey, scattered_keys, table};
use cellgate_proxy::route::Routes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Keys looked up per round, far more than fit into a core's caches together with the table.
const KEYS: usize = 200_000;

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1)).sample_size(30);
    for overrides in [1_000, 100_000, 1_000_000] {
        let routes = Routes::new(&table(overrides));
        let pinned = scattered_keys(overrides, KEYS);
        let others: Vec<InlineKey> = pinned
            .iter()
            .map(|key| InlineKey::new(&format!("{key}-other")))
            .collect();
        let pinned: Vec<InlineKey> = pinned.iter().map(|key| InlineKey::new(key)).collect();
        for (name, keys) in [("override", &pinned), ("slot", &others)] {
            let mut keys = keys.iter().cycle();
            group.bench_function(BenchmarkId::new(name, overrides), |bencher| {
                bencher.iter(|| {
                    let key = keys.next().expect("the cycle never ends");
                    black_box(routes.route(black_box(key.as_bytes())).cell)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);

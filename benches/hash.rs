//! From a key to its slot.

use std::hint::black_box;

use cellgate_table::HashSpec;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn hash(criterion: &mut Criterion) {
    let spec = HashSpec::new(0, 65_536).expect("the slots are in range");
    let mut group = criterion.benchmark_group("hash");
    for length in [4, 16, 36, 256] {
        let key = vec![b'k'; length];
        group.bench_with_input(BenchmarkId::new("slot", length), &key, |bencher, key| {
            bencher.iter(|| spec.slot(black_box(key)));
        });
    }
    group.finish();
}

criterion_group!(benches, hash);
criterion_main!(benches);

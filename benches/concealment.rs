//! Each fill on 128×28×28 with 10 % of the entries missing.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tensorwire_benches::{mask, tensor};
use tensorwire_concealment::{Calibration, ClipRule, Fill, ImageDigest};

const SHAPE: (usize, usize, usize) = (128, 28, 28);

fn fills(criterion: &mut Criterion) {
    let mut calibration = Calibration::new(SHAPE).expect("a shape");
    for seed in 0..8_u8 {
        let digest = ImageDigest::new([seed; 16]);
        calibration
            .add(tensor(SHAPE, u64::from(seed)).view(), digest)
            .expect("finite");
    }
    let bundle = calibration
        .finish("bench", [0; 32], ClipRule::MinMax)
        .expect("a bundle");
    let mask = mask(SHAPE, 0.1, 1);
    let mut received = tensor(SHAPE, 100);

    let mut group = criterion.benchmark_group("128×28×28, 10 % missing");
    group.throughput(Throughput::Elements(received.len() as u64));
    for fill in Fill::ALL {
        group.bench_function(fill.name(), |bencher| {
            bencher.iter(|| fill.apply(received.view_mut(), mask.view(), Some(&bundle)));
        });
    }
    group.finish();
}

criterion_group!(benches, fills);
criterion_main!(benches);

//! Each method on 128×28×28 and on 64×56×56, with 10 % missing: entry by entry, in packets of four
//! rows, and in whole channels.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array3;
use tensorwire_benches::{mask, tensor};
use tensorwire_concealment::{
    AltecTable, Bundle, Calibration, ClipRule, Concealer, ImageDigest, Method,
};

const ROWS: usize = 4;

/// The bundle of eight tensors, with weights for ALTeC that cost what trained ones cost.
fn bundle(shape: (usize, usize, usize)) -> Arc<Bundle> {
    let mut calibration = Calibration::new(shape)
        .expect("a shape")
        .with_covariance()
        .expect("few channels");
    for seed in 0..8_u8 {
        let digest = ImageDigest::new([seed; 16]);
        calibration
            .add(tensor(shape, u64::from(seed)).view(), digest)
            .expect("finite");
    }
    let bundle = calibration
        .finish("bench", [0; 32], ClipRule::MinMax)
        .expect("a bundle");
    let channels = shape.0;
    let weights = vec![1.0 / (channels + 1) as f32; channels * (channels + 1)];
    let table = AltecTable::new(ROWS, channels, weights).expect("a table");
    Arc::new(bundle.with_altec(table).expect("of the shape"))
}

/// A tenth of the packets of four rows is missing.
fn row_mask((channels, height, width): (usize, usize, usize)) -> Array3<bool> {
    let packets = mask((channels, height.div_ceil(ROWS), 1), 0.1, 1);
    Array3::from_shape_fn((channels, height, width), |(c, i, _)| {
        packets[(c, i / ROWS, 0)]
    })
}

/// A tenth of the channels is missing.
fn channel_mask((channels, height, width): (usize, usize, usize)) -> Array3<bool> {
    let lost = mask((channels, 1, 1), 0.1, 1);
    Array3::from_shape_fn((channels, height, width), |(c, _, _)| lost[(c, 0, 0)])
}

fn methods(criterion: &mut Criterion) {
    for shape in [(128, 28, 28), (64, 56, 56)] {
        let bundle = bundle(shape);
        let clean = tensor(shape, 100);
        let losses = [
            ("elements", mask(shape, 0.1, 1)),
            ("rows", row_mask(shape)),
            ("channels", channel_mask(shape)),
        ];
        for (kind, mask) in losses {
            let (c, h, w) = shape;
            let mut group = criterion.benchmark_group(format!("{c}×{h}×{w}, 10 % of {kind}"));
            group.throughput(Throughput::Elements(clean.len() as u64));
            group.sample_size(10);
            for &method in Method::ALL {
                let mut concealer =
                    Concealer::new(method, shape, Some(Arc::clone(&bundle))).expect("a bundle");
                let mut received = clean.clone();
                group.bench_function(method.name(), |bencher| {
                    bencher.iter(|| {
                        black_box(concealer.conceal(received.view_mut(), mask.view()))
                            .expect("shapes that fit")
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, methods);
criterion_main!(benches);

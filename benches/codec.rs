//! Each coder with each map, and what the alignment of restart intervals costs.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tensorwire_benches::tensor;
use tensorwire_codec::{ClipRange, Coder, Decoder, Encoder, Format, Map, Quantiser, Shape};

/// Shapes of EfficientNet-Lite0's and ResNet-34's splits.
const SHAPES: [(usize, usize, usize); 3] = [(40, 28, 28), (80, 14, 14), (128, 28, 28)];

fn format(dim: (usize, usize, usize), coder: Coder, map: impl Fn(Shape) -> Map) -> Format {
    let shape = Shape::of(dim).expect("a shape");
    let range = ClipRange::new(-4.0, 4.0).expect("a range");
    let quantiser = Quantiser::new(range, 256).expect("a quantiser");
    Format::new(shape, quantiser, map(shape), coder).expect("they go together")
}

fn coders(criterion: &mut Criterion) {
    let jpeg = Coder::Jpeg { quality: 60 };
    for dim in SHAPES {
        let (c, h, w) = dim;
        let mut group = criterion.benchmark_group(format!("{c}×{h}×{w}"));
        group.throughput(Throughput::Elements((c * h * w) as u64));
        let tensor = tensor(dim, 1);
        for (name, format) in [
            (
                "raw rows",
                format(dim, Coder::Raw, |s| Map::rows_for(s, 256, Map::SLICE_BYTES)),
            ),
            (
                "raw random",
                format(dim, Coder::Raw, |s| {
                    Map::random_for(1, s, 256, Map::SLICE_BYTES)
                }),
            ),
            ("raw mosaic", format(dim, Coder::Raw, Map::mosaic)),
            (
                "jpeg q60",
                format(dim, jpeg, |s| {
                    Map::mosaic_for(s, 256, jpeg, Map::SLICE_BYTES)
                }),
            ),
        ] {
            let mut encoder = Encoder::new(&format);
            group.bench_function(format!("{name} encode"), |bencher| {
                bencher.iter(|| black_box(encoder.encode(tensor.view()).expect("finite")));
            });
            let encoded = encoder.encode(tensor.view()).expect("finite");
            let mut decoder = Decoder::new(&format);
            let mut decoded = decoder.decode(|slice| Some(encoded.slice(slice)));
            group.bench_function(format!("{name} decode"), |bencher| {
                bencher.iter(|| {
                    // One slice in ten is missing.
                    let arrived = |i: usize| (!i.is_multiple_of(10)).then(|| encoded.slice(i));
                    decoder.decode_into(arrived, &mut decoded);
                });
            });
        }
        group.finish();
    }
}

/// Prints the bytes of restart-aligned slices beside those of one interval over the same mosaic.
fn restart_overhead(_criterion: &mut Criterion) {
    println!("restart alignment, bytes of entropy-coded segments (headers and markers aside)");
    println!(
        "{:>12} {:>8} {:>12} {:>12} {:>9}",
        "tensor", "quality", "one interval", "slices", "overhead"
    );
    for dim in SHAPES {
        let tensor = tensor(dim, 1);
        for quality in [20, 40, 60, 80, 95] {
            let coder = Coder::Jpeg { quality };
            let sliced = format(dim, coder, |s| {
                Map::mosaic_for(s, 256, coder, Map::SLICE_BYTES)
            });
            let Map::Mosaic { columns, .. } = sliced.map() else {
                continue;
            };
            let tiles = u32::from(columns) * (dim.0 as u32).div_ceil(u32::from(columns));
            let all = tiles * (dim.1 as u32).div_ceil(8) * (dim.2 as u32).div_ceil(8);
            let one = format(dim, coder, |_| Map::Mosaic {
                columns,
                blocks: all as u16,
            });
            let bytes = |format: &Format| {
                Encoder::new(format)
                    .encode(tensor.view())
                    .expect("finite")
                    .bytes()
                    .len()
            };
            let (one, slices) = (bytes(&one), bytes(&sliced));
            let overhead = 100.0 * (slices as f64 / one as f64 - 1.0);
            let (c, h, w) = dim;
            let name = format!("{c}×{h}×{w}");
            println!("{name:>12} {quality:>8} {one:>12} {slices:>12} {overhead:>8.2}%");
        }
    }
}

criterion_group!(benches, restart_overhead, coders);
criterion_main!(benches);

//! Tensors and losses for the benches: synthetic, but correlated as feature maps are.

use ndarray::Array3;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A seeded tensor of `(channels, height, width)`: in each channel a few smooth waves and some noise,
/// roughly within −4 to 4.
pub fn tensor(shape: (usize, usize, usize), seed: u64) -> Array3<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut uniform = move || (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
    let (channels, height, width) = shape;
    let mut tensor = Array3::zeros(shape);
    for mut channel in tensor.outer_iter_mut() {
        let waves: Vec<[f32; 4]> = (0..3)
            .map(|_| {
                [
                    uniform() * 9.0,
                    uniform() * 9.0,
                    uniform() * 6.3,
                    uniform() * 1.5,
                ]
            })
            .collect();
        for ((y, x), value) in channel.indexed_iter_mut() {
            let (v, u) = (y as f32 / height as f32, x as f32 / width as f32);
            let wave = |w: &[f32; 4]| w[3] * (w[0] * u + w[1] * v + w[2]).sin();
            *value = waves.iter().map(wave).sum::<f32>() + 0.4 * (uniform() - 0.5);
        }
    }
    debug_assert_eq!(tensor.len(), channels * height * width);
    tensor
}

/// A seeded mask in which a share of the entries is missing.
pub fn mask(shape: (usize, usize, usize), missing: f32, seed: u64) -> Array3<bool> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    Array3::from_shape_simple_fn(shape, || {
        (random.next_u32() >> 8) as f32 / (1 << 24) as f32 >= missing
    })
}

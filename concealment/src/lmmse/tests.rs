use faer::{Mat, Side, linalg::solvers::Solve};
use ndarray::ArrayView3;
use proptest::prelude::*;

use super::*;
use crate::covariance::{Accumulator, window::Layout};

type Shape = (usize, usize, usize);

/// Random numbers that are the same on every machine (SplitMix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly Gaussian, of unit variance.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A Gaussian field whose covariance is known: correlation `rho` to the neighbours in a row and in a
/// column, the same for each channel, and channels mixed.
struct Field {
    shape: Shape,
    covariance: Mat<f64>,
    root: Mat<f64>,
}

impl Field {
    fn new(shape: Shape, rho: f64) -> Self {
        let (channels, height, width) = shape;
        let mix = Mat::from_fn(channels, channels, |row, column| {
            if row == column {
                1.0
            } else {
                0.8 / (1.0 + row.abs_diff(column) as f64)
            }
        });
        let across = &mix * mix.transpose();
        let plane = height * width;
        let covariance = Mat::from_fn(channels * plane, channels * plane, |a, b| {
            let (p, q) = (a % plane, b % plane);
            let far = (p / width).abs_diff(q / width) + (p % width).abs_diff(q % width);
            across[(a / plane, b / plane)] * rho.powi(i32::try_from(far).unwrap())
        });
        let root = covariance.llt(Side::Lower).unwrap().L().to_owned();
        Self {
            shape,
            covariance,
            root,
        }
    }

    fn draw(&self, random: &mut Random) -> Vec<f32> {
        let white = Mat::from_fn(self.root.ncols(), 1, |_, _| random.normal());
        let drawn = &self.root * white;
        drawn.col(0).iter().map(|&value| narrow(value)).collect()
    }

    fn measure(&self, images: usize, random: &mut Random) -> Covariance {
        let mut accumulator = Accumulator::new(self.shape).unwrap();
        for _ in 0..images {
            let tensor = self.draw(random);
            accumulator.add(ArrayView3::from_shape(self.shape, &tensor).unwrap());
        }
        accumulator.finish(&vec![0.0; self.root.nrows()])
    }

    /// The mean of the missing entries given the others.
    fn exact(&self, tensor: &[f32], received: &[bool]) -> Vec<f32> {
        let places = |wanted| -> Vec<usize> {
            (0..received.len())
                .filter(|&place| received[place] == wanted)
                .collect()
        };
        let (known, missing) = (places(true), places(false));
        let part = |rows: &[usize], columns: &[usize]| {
            Mat::from_fn(rows.len(), columns.len(), |row, column| {
                self.covariance[(rows[row], columns[column])]
            })
        };
        let values = Mat::from_fn(known.len(), 1, |row, _| f64::from(tensor[known[row]]));
        let weights = part(&known, &known).llt(Side::Lower).unwrap().solve(values);
        let means = part(&missing, &known) * weights;
        let mut filled = tensor.to_vec();
        for (row, &place) in missing.iter().enumerate() {
            filled[place] = narrow(means[(row, 0)]);
        }
        filled
    }
}

/// The mean of the missing entries given the others in the model itself, by a dense solution.
fn dense(covariance: &Covariance, mean: &[f32], tensor: &[f32], received: &[bool]) -> Vec<f64> {
    let (channels, height, width) = covariance.shape();
    let plane = height * width;
    let layout = Layout::new(height, width, covariance.reach());
    let side = channels * plane;
    let mut matrix = Mat::<f64>::zeros(side, side);
    for (pixel, situation) in layout.situations().enumerate() {
        let factor = &covariance.factors()[situation];
        let window = &layout.windows()[situation];
        for (channel, (before, own)) in factor.rows().enumerate() {
            let row = channel * plane + pixel;
            for (place, value) in before.enumerate() {
                let back = layout.steps_back(window[place / channels]);
                matrix[(row, place % channels * plane + pixel - back)] = f64::from(value);
            }
            for (other, value) in own.enumerate() {
                matrix[(row, other * plane + pixel)] = f64::from(value);
            }
        }
    }
    let precision = matrix.transpose() * &matrix;
    let scale = |place: usize| f64::from(covariance.scales()[place / plane]);
    let missing: Vec<usize> = (0..side).filter(|&place| !received[place]).collect();
    let known = Mat::from_fn(side, 1, |place, _| {
        let deviation = (f64::from(tensor[place]) - f64::from(mean[place])) / scale(place);
        if received[place] { deviation } else { 0.0 }
    });
    let pull = &precision * known;
    let system = Mat::from_fn(missing.len(), missing.len(), |row, column| {
        precision[(missing[row], missing[column])]
    });
    let right = Mat::from_fn(missing.len(), 1, |row, _| -pull[(missing[row], 0)]);
    let solution = system.llt(Side::Lower).unwrap().solve(right);
    let mut filled: Vec<f64> = tensor.iter().map(|&value| f64::from(value)).collect();
    for (row, &place) in missing.iter().enumerate() {
        filled[place] = f64::from(mean[place]) + scale(place) * solution[(row, 0)];
    }
    filled
}

fn fill(covariance: &Covariance, mean: &[f32], tensor: &[f32], received: &[bool]) -> Vec<f32> {
    let mut solver = Solver::new(covariance);
    let mut filled: Vec<f32> = tensor
        .iter()
        .zip(received)
        .map(|(&value, &received)| if received { value } else { f32::NAN })
        .collect();
    let mut again = filled.clone();
    for entries in [&mut filled, &mut again] {
        let shape = covariance.shape();
        solver.fill(
            Holes {
                entries,
                received,
                shape,
            },
            mean,
        );
    }
    assert!(
        filled
            .iter()
            .zip(&again)
            .all(|(a, b)| a.to_bits() == b.to_bits()),
        "the second time gives the same"
    );
    filled
}

fn squared_error(filled: &[f32], truth: &[f32]) -> f64 {
    let squares = filled
        .iter()
        .zip(truth)
        .map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum()
}

/// Masks of the kinds that maps lead to.
fn masks((channels, height, width): Shape, random: &mut Random) -> Vec<(&'static str, Vec<bool>)> {
    let plane = height * width;
    let entries = channels * plane;
    let rows: Vec<bool> = (0..channels * height)
        .map(|_| random.uniform() > 0.3)
        .collect();
    vec![
        (
            "elements",
            (0..entries).map(|_| random.uniform() > 0.3).collect(),
        ),
        (
            "rows",
            (0..entries).map(|entry| rows[entry / width]).collect(),
        ),
        (
            "a channel",
            (0..entries)
                .map(|entry| entry / plane != channels / 2)
                .collect(),
        ),
        (
            "most",
            (0..entries).map(|_| random.uniform() > 0.8).collect(),
        ),
    ]
}

#[test]
fn the_solver_finds_the_conditional_mean_of_the_model() {
    let mut random = Random(1);
    for (shape, rho) in [
        ((3, 6, 7), 0.8),
        ((5, 5, 4), 0.0),
        ((4, 1, 6), 0.5),
        ((4, 6, 1), 0.5),
    ] {
        let field = Field::new(shape, rho);
        let covariance = field.measure(60, &mut random);
        let mean: Vec<f32> = (0..field.root.nrows())
            .map(|_| narrow(random.normal()))
            .collect();
        let tensor = field.draw(&mut random);
        for (name, received) in masks(shape, &mut random) {
            let filled = fill(&covariance, &mean, &tensor, &received);
            let exact = dense(&covariance, &mean, &tensor, &received);
            let error: f64 = filled
                .iter()
                .zip(&exact)
                .map(|(&a, b)| (f64::from(a) - b).powi(2))
                .sum();
            let size: f64 = exact
                .iter()
                .zip(&mean)
                .map(|(a, &b)| (a - f64::from(b)).powi(2))
                .sum();
            // Where most is missing, the last rounds would bring the more.
            let bound = if name == "most" { 0.1 } else { 0.005 };
            assert!(error < bound * size, "{shape:?} {name}: {error} of {size}");
        }
    }
}

#[test]
fn a_field_of_known_covariance_is_filled_as_well_as_can_be() {
    let mut random = Random(2);
    // The correlations of the first are those of an autoregression on the window; the second has
    // none in space.
    for (shape, rho) in [((3, 6, 7), 0.8), ((4, 5, 5), 0.0)] {
        let field = Field::new(shape, rho);
        let covariance = field.measure(400, &mut random);
        let mean = vec![0.0; field.root.nrows()];
        let mut errors = [0.0; 4];
        let (mut best, mut plain) = ([0.0; 4], [0.0; 4]);
        for _ in 0..30 {
            let tensor = field.draw(&mut random);
            for (number, (_, received)) in masks(shape, &mut random).into_iter().enumerate() {
                let filled = fill(&covariance, &mean, &tensor, &received);
                errors[number] += squared_error(&filled, &tensor);
                best[number] += squared_error(&field.exact(&tensor, &received), &tensor);
                let zeros = tensor.iter().zip(&received);
                let zeros: Vec<f32> = zeros.map(|(&v, &r)| if r { v } else { 0.0 }).collect();
                plain[number] += squared_error(&zeros, &tensor);
            }
        }
        for ((error, best), plain) in errors.into_iter().zip(best).zip(plain) {
            assert!(error < 1.1 * best, "{shape:?}: {error}, at best {best}");
            assert!(error < plain, "{shape:?}: {error}, the mean leaves {plain}");
        }
    }
}

#[test]
fn a_channel_that_never_varied_is_filled_with_its_mean() {
    let shape = (2, 4, 4);
    let mut random = Random(3);
    let mut accumulator = Accumulator::new(shape).unwrap();
    let mut mean = vec![0.0; 32];
    for _ in 0..20 {
        let tensor: Vec<f32> = (0..32)
            .map(|entry| {
                if entry < 16 {
                    7.5
                } else {
                    narrow(random.normal())
                }
            })
            .collect();
        accumulator.add(ArrayView3::from_shape(shape, &tensor).unwrap());
        mean.iter_mut()
            .zip(&tensor)
            .for_each(|(mean, value)| *mean += value / 20.0);
    }
    mean[..16].fill(7.5);
    let covariance = accumulator.finish(&mean);
    let received: Vec<bool> = (0..32).map(|entry| entry % 3 > 0).collect();
    let filled = fill(&covariance, &mean, &[1.0; 32], &received);
    for entry in (0..16).filter(|entry| entry % 3 == 0) {
        assert!((filled[entry] - 7.5).abs() < 1e-3, "{}", filled[entry]);
    }
}

#[test]
fn a_lost_twin_is_restored_from_the_other() {
    let shape = (2, 5, 5);
    let mut random = Random(4);
    let draw = |random: &mut Random| {
        let one: Vec<f32> = (0..25).map(|_| narrow(random.normal())).collect();
        let other: Vec<f32> = one.iter().map(|value| -2.0 * value).collect();
        [one, other].concat()
    };
    let mut accumulator = Accumulator::new(shape).unwrap();
    for _ in 0..1000 {
        let tensor = draw(&mut random);
        accumulator.add(ArrayView3::from_shape(shape, &tensor).unwrap());
    }
    let mean = vec![0.0; 50];
    let covariance = accumulator.finish(&mean);
    let truth = draw(&mut random);
    let received: Vec<bool> = (0..50).map(|entry| entry < 25).collect();
    let filled = fill(&covariance, &mean, &truth, &received);
    let size = squared_error(&mean, &truth);
    assert!(squared_error(&filled, &truth) < 1e-3 * size);
}

proptest! {
    #[test]
    fn received_entries_keep_their_bits_and_the_rest_is_finite(
        shape in (1_usize..5, 1_usize..7, 1_usize..7),
        seed in any::<u64>(),
        share in 0.0..1.0_f64,
        size in prop::sample::select(vec![1e-30_f32, 1.0, 1e15]),
    ) {
        let mut random = Random(seed);
        let entries = shape.0 * shape.1 * shape.2;
        let mut accumulator = Accumulator::new(shape).unwrap();
        for _ in 0..3 {
            let tensor: Vec<f32> = (0..entries).map(|_| narrow(random.normal())).collect();
            accumulator.add(ArrayView3::from_shape(shape, &tensor).unwrap());
        }
        let mean = vec![0.5; entries];
        let covariance = accumulator.finish(&mean);
        let tensor: Vec<f32> = (0..entries).map(|_| size * narrow(random.normal())).collect();
        let received: Vec<bool> = (0..entries).map(|_| random.uniform() > share).collect();
        let filled = fill(&covariance, &mean, &tensor, &received);
        for ((filled, value), received) in filled.iter().zip(&tensor).zip(received) {
            prop_assert!(filled.is_finite());
            prop_assert!(!received || filled.to_bits() == value.to_bits());
        }
    }

    #[test]
    fn any_covariance_that_can_be_read_gives_finite_entries(
        shape in (1_usize..4, 1_usize..4, 1_usize..4),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let entries = shape.0 * shape.1 * shape.2;
        let mut accumulator = Accumulator::new(shape).unwrap();
        accumulator.add(ArrayView3::from_shape(shape, &vec![1.0; entries]).unwrap());
        let mut bytes = Vec::new();
        accumulator.finish(&vec![1.0; entries]).encode(&mut bytes);
        // Noise in the coefficients, which lie behind the scales of the channels.
        for byte in &mut bytes[2 + 4 * shape.0..] {
            if random.uniform() < 0.3 {
                *byte = random.0.to_le_bytes()[5];
            }
        }
        let Ok(covariance) = Covariance::decode(&bytes, shape) else {
            return Ok(());
        };
        let tensor: Vec<f32> = (0..entries).map(|_| 1e15 * narrow(random.normal())).collect();
        let received: Vec<bool> = (0..entries).map(|_| random.uniform() > 0.5).collect();
        let filled = fill(&covariance, &vec![0.0; entries], &tensor, &received);
        prop_assert!(filled.iter().all(|value| value.is_finite()));
    }
}

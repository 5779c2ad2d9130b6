//! What the loss of each channel costs: which of them is worth protecting first.

use anyhow::Result;
use ndarray::{Array3, Axis};
use tensorwire_concealment::{Importance, LossKind, Method};

use super::bench::{Bench, Mean, Whole};

/// A channel, as measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// How far the prediction moves where this channel alone is lost and concealed, 0..=1.
    pub(super) shift: Mean,
    /// The same, relative to the mean of all channels, after shrinking.
    pub(super) importance: f64,
}

/// Loses and conceals one channel after the other, on so many images.
pub(super) fn measure(bench: &Bench<'_>, images: usize) -> Result<Vec<Measured>> {
    let channels = bench.shape().0;
    let concealer = || Ok(bench.concealer(Method::Auto)?.with_kind(LossKind::Channels));
    let images = bench.each(
        "weighing channels",
        images,
        concealer,
        |concealer, _, whole: &Whole| {
            let mut mask = Array3::from_elem(bench.shape(), true);
            let mut shifts = Vec::with_capacity(channels);
            for channel in 0..channels {
                mask.index_axis_mut(Axis(0), channel).fill(false);
                shifts.push(bench.trial(whole, &mask, concealer)?.shift);
                mask.index_axis_mut(Axis(0), channel).fill(true);
            }
            Ok(shifts)
        },
    )?;
    Ok(weigh(&images, channels))
}

/// Weighs channels by their shifts, of which each image has one a channel.
fn weigh(images: &[Vec<f64>], channels: usize) -> Vec<Measured> {
    let of_channel = |channel: usize| images.iter().filter_map(move |image| image.get(channel));
    let image_mean = |image: &Vec<f64>| image.iter().sum::<f64>() / channels as f64;
    let shifts: Vec<Mean> = (0..channels)
        .map(|channel| Mean::of(of_channel(channel).copied()))
        .collect();
    let centre = Mean::of(images.iter().map(image_mean)).mean;
    // Paired: that an image moves easily says nothing of a channel.
    let excess: Vec<Mean> = (0..channels)
        .map(|channel| {
            let pairs = of_channel(channel).zip(images);
            Mean::of(pairs.map(move |(shift, image)| shift - image_mean(image)))
        })
        .collect();
    let importance = shrunk(&excess, centre);
    shifts
        .into_iter()
        .zip(importance)
        .map(|(shift, importance)| Measured { shift, importance })
        .collect()
}

/// The section for these channels.
pub(super) fn section(channels: &[Measured]) -> Result<Importance> {
    #[expect(clippy::cast_possible_truncation, reason = "numbers around 1")]
    let costs: Vec<f32> = channels
        .iter()
        .map(|channel| channel.importance.max(0.0) as f32)
        .collect();
    Ok(Importance::from_costs(&costs)?)
}

/// 1 plus each channel's excess over `centre`, the mean of them all, relative to it and drawn towards 0
/// as far as its own error calls for.
///
/// With s² the variance of the excesses beyond what their errors explain, and e the error of one, it
/// keeps s²/(s² + e²) of its size (James–Stein with unequal variances). Where nothing but noise was
/// seen, all become 1.
fn shrunk(excess: &[Mean], centre: f64) -> Vec<f64> {
    if centre <= 0.0 {
        return vec![1.0; excess.len()];
    }
    let spread = |one: &Mean| one.mean.powi(2) - one.error.powi(2);
    let beyond = excess.iter().map(spread).sum::<f64>() / excess.len() as f64;
    let relative = |one: &Mean| {
        let kept = if beyond > 0.0 {
            beyond / (beyond + one.error.powi(2))
        } else {
            0.0
        };
        1.0 + kept * one.mean / centre
    };
    excess.iter().map(relative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(values: &[f64], error: f64) -> Vec<Mean> {
        let one = |&mean: &f64| Mean { mean, error };
        values.iter().map(one).collect()
    }

    #[test]
    fn noise_is_drawn_to_the_mean() {
        let shrunk = |error: f64| shrunk(&means(&[-1.0, 1.0], error), 2.0);
        assert_eq!(shrunk(0.0), [0.5, 1.5]);
        // Variance 1, error² ½: half the variance is left, and half of each distance.
        let half = shrunk(0.5_f64.sqrt());
        assert!((half[0] - 0.75).abs() < 1e-9 && (half[1] - 1.25).abs() < 1e-9);
        assert_eq!(shrunk(2.0), [1.0, 1.0]);
        assert_eq!(shrunk(f64::INFINITY), [1.0, 1.0]);
        assert_eq!(super::shrunk(&means(&[0.0, 0.0], 0.0), 0.0), [1.0, 1.0]);
    }

    #[test]
    fn images_that_move_easily_are_no_noise() {
        // The second channel moves every image thrice as far as the first, however far that is.
        let images: Vec<Vec<f64>> = (1..=50)
            .map(|index| {
                let scale = 0.01 + 0.001 * f64::from(index % 7);
                vec![scale, 3.0 * scale]
            })
            .collect();
        let weighed = weigh(&images, 2);
        assert!((weighed[0].importance - 0.5).abs() < 0.01, "{weighed:?}");
        assert!((weighed[1].importance - 1.5).abs() < 0.01, "{weighed:?}");
        assert!((weighed[1].shift.mean - 3.0 * weighed[0].shift.mean).abs() < 1e-12);
    }
}

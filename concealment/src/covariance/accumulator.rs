//! Second moments of the window over calibration tensors.

use faer::{Accum, Mat, Par, linalg::matmul::matmul};
use ndarray::ArrayView3;

use super::{
    Covariance, fit,
    window::{Layout, Offset, Reach},
};

/// Sums of products over calibration tensors.
///
/// Memory: 8 (n + 1)² C² bytes for each situation, n being the pixels of its window; 5 MiB for 48
/// channels of 14×14, 7 MiB for 128 of 28×28, and at most 120 MiB. Adding a tensor costs
/// (n + 1)² C² multiplications for each of its pixels: 2 to 10 ms. The same tensors in the same
/// order give the same covariance.
#[derive(Debug, Clone)]
pub(crate) struct Accumulator {
    shape: (usize, usize, usize),
    layout: Layout,
    reach: Reach,
    images: usize,
    /// The first tensor. Products are taken of differences from it, so that a mean that is large
    /// against the deviations does not drown them.
    reference: Vec<f32>,
    moments: Vec<Moments>,
}

/// What is summed for the pixels of one situation.
#[derive(Debug, Clone)]
struct Moments {
    pixels: Vec<usize>,
    /// Steps back to the pixels of the window, then zero for the pixel itself.
    steps: Vec<usize>,
    products: Mat<f64>,
}

impl Accumulator {
    /// Starts with nothing, or gives `None` where no covariance
    /// [is supported](Covariance::is_supported).
    pub(crate) fn new(shape: (usize, usize, usize)) -> Option<Self> {
        Self::with_reach(shape, Reach::of(shape))
    }

    pub(super) fn with_reach(shape: (usize, usize, usize), reach: Reach) -> Option<Self> {
        if !Covariance::is_supported(shape) {
            return None;
        }
        let (channels, height, width) = shape;
        let layout = Layout::new(height, width, reach);
        let mut moments: Vec<Moments> = layout
            .windows()
            .iter()
            .map(|window| {
                let side = (window.len() + 1) * channels;
                let back = |&offset: &Offset| layout.steps_back(offset);
                Moments {
                    pixels: Vec::new(),
                    steps: window.iter().map(back).chain([0]).collect(),
                    products: Mat::zeros(side, side),
                }
            })
            .collect();
        for (pixel, situation) in layout.situations().enumerate() {
            if let Some(moments) = moments.get_mut(situation) {
                moments.pixels.push(pixel);
            }
        }
        Some(Self {
            shape,
            layout,
            reach,
            images: 0,
            reference: Vec::new(),
            moments,
        })
    }

    /// Adds a tensor of the shape given at the start. Its entries are finite.
    pub(crate) fn add(&mut self, tensor: ArrayView3<'_, f32>) {
        if self.images == 0 {
            self.reference = tensor.iter().copied().collect();
        }
        self.images += 1;
        let differences: Vec<f32> = tensor
            .iter()
            .zip(&self.reference)
            .map(|(&value, &reference)| value - reference)
            .collect();
        for moments in &mut self.moments {
            let products = moments.products_of(&differences, self.shape);
            moments.products += products;
        }
    }

    /// The covariance about the dataset mean, given by entry.
    pub(crate) fn finish(mut self, mean: &[f32]) -> Covariance {
        let differences: Vec<f32> = mean
            .iter()
            .zip(&self.reference)
            .map(|(&mean, &reference)| mean - reference)
            .collect();
        let images = crate::number::count(self.images.max(1));
        let mut situations = Vec::with_capacity(self.moments.len());
        for moments in &mut self.moments {
            let samples = images * crate::number::count(moments.pixels.len());
            let mut products = std::mem::replace(&mut moments.products, Mat::new());
            if self.images > 0 {
                products -= faer::Scale(images) * moments.products_of(&differences, self.shape);
            }
            situations.push(fit::Moments {
                covariance: faer::Scale(samples.recip()) * products,
                samples,
            });
        }
        fit::fit(
            self.shape,
            self.reach,
            self.layout.windows(),
            situations,
            images,
        )
    }
}

impl Moments {
    /// Σ z zᵀ over the pixels, z being the channels of each pixel of the window in turn.
    fn products_of(
        &self,
        tensor: &[f32],
        (channels, height, width): (usize, usize, usize),
    ) -> Mat<f64> {
        let plane = height * width;
        let side = self.steps.len() * channels;
        let value = |row: usize, column: usize| {
            let (step, channel) = (row / channels, row % channels);
            let pixel = self.pixels.get(column).zip(self.steps.get(step));
            pixel
                .and_then(|(pixel, step)| tensor.get(channel * plane + pixel - step))
                .copied()
                .unwrap_or(0.0)
        };
        let samples = Mat::from_fn(side, self.pixels.len(), value);
        let mut products = Mat::<f32>::zeros(side, side);
        matmul(
            products.as_mut(),
            Accum::Replace,
            samples.as_ref(),
            samples.transpose(),
            1.0,
            Par::Seq,
        );
        Mat::from_fn(side, side, |row, column| {
            // The product is symmetric but for rounding.
            f64::from(products[(row.max(column), row.min(column))])
        })
    }
}

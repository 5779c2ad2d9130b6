//! The one place where sums in f64 become f32 values.

/// Nearest f32, held within the finite range: a finite `value` never becomes infinite.
pub(crate) fn narrow(value: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32 is the purpose, and the clamp keeps it finite"
    )]
    {
        value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}

/// A count as f64; exact up to 2⁵³.
pub(crate) fn count(entries: usize) -> f64 {
    entries as f64
}

/// Partial sums kept side by side, so that additions do not wait for each other.
const LANES: usize = 16;

/// Sum of the products of two slices, in f32. The order of the additions depends on the length
/// alone. Inlined, so that it is compiled for the vectors that its caller may use.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let tail = a_tail.iter().zip(b_tail).map(|(&a, &b)| a * b);
    sums.iter().sum::<f32>() + tail.sum::<f32>()
}

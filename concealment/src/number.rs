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

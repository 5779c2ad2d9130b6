//! Logarithms in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D), to the base 2.
//!
//! Products of a few dozen factors are sums here, reduced once. Whole symbols are multiplied by the
//! kernels of `reed_solomon_erasure`, whose field is the same.

use super::MAX_SOURCE;

const POLYNOMIAL: u16 = 0x11D;
const ELEMENTS: usize = 256;
/// The order of the multiplicative group: logarithms are taken modulo this.
const ORDER: u32 = 255;

const EXP: [u8; ORDER as usize] = exponentials();
const LOG: [u8; ELEMENTS] = logarithms();
static SOURCE_PRODUCTS: [[u8; ELEMENTS]; MAX_SOURCE + 1] = source_products();

/// The logarithm of the product of the elements whose logarithms were added; any multiple of 255 is 0.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Log(u32);

impl Log {
    /// The logarithm of the difference of two points; 0, as of no factor, where they are the same.
    pub(super) fn of_difference(a: u8, b: u8) -> Self {
        Self(LOG[usize::from(a ^ b)].into())
    }

    /// The logarithm of the product of the differences between `x` and the points 0 … k − 1 other than x;
    /// k is at most [`MAX_SOURCE`].
    pub(super) fn of_source_differences(k: usize, x: u8) -> Self {
        Self(SOURCE_PRODUCTS[k][usize::from(x)].into())
    }

    /// The logarithm of the product.
    pub(super) const fn times(self, other: Self) -> Self {
        Self((self.0 + other.0) % ORDER)
    }

    /// The logarithm of the quotient.
    pub(super) const fn over(self, other: Self) -> Self {
        Self((self.0 + ORDER - other.0 % ORDER) % ORDER)
    }

    /// The element.
    pub(super) const fn exp(self) -> u8 {
        EXP[(self.0 % ORDER) as usize]
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an element is reduced below 2^8"
)]
const fn exponentials() -> [u8; ORDER as usize] {
    let mut table = [0; ORDER as usize];
    let mut element = 1;
    let mut log = 0;
    while log < table.len() {
        table[log] = element as u8;
        element <<= 1;
        if element >= ELEMENTS as u16 {
            element ^= POLYNOMIAL;
        }
        log += 1;
    }
    table
}

/// The logarithm of every element but 0, which has none and counts as 1.
#[expect(clippy::cast_possible_truncation, reason = "logarithms are below 255")]
const fn logarithms() -> [u8; ELEMENTS] {
    let mut table = [0; ELEMENTS];
    let mut log = 0;
    while log < EXP.len() {
        table[EXP[log] as usize] = log as u8;
        log += 1;
    }
    table
}

/// For every k and x, the sum of the logarithms of x − 0 … x − (k − 1).
const fn source_products() -> [[u8; ELEMENTS]; MAX_SOURCE + 1] {
    let mut table = [[0; ELEMENTS]; MAX_SOURCE + 1];
    let mut k = 0;
    while k < MAX_SOURCE {
        let mut x = 0;
        while x < ELEMENTS {
            let sum = table[k][x] as u32 + LOG[x ^ k] as u32;
            table[k + 1][x] = (sum % ORDER) as u8;
            x += 1;
        }
        k += 1;
    }
    table
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "points are below 256")]
mod tests {
    use super::*;
    use reed_solomon_erasure::galois_8;

    #[test]
    fn the_field_is_that_of_the_kernels() {
        for a in 1..=255 {
            for b in 1..=255 {
                let (log_a, log_b) = (Log::of_difference(a, 0), Log::of_difference(0, b));
                assert_eq!(log_a.times(log_b).exp(), galois_8::mul(a, b));
                assert_eq!(log_a.over(log_b).exp(), galois_8::div(a, b));
            }
        }
    }

    #[test]
    fn the_generator_has_order_255() {
        let mut elements = EXP;
        elements.sort_unstable();
        assert!((1..=255).eq(elements));
    }

    #[test]
    fn products_of_source_differences_leave_out_the_point_itself() {
        for k in 0..=MAX_SOURCE {
            for x in 0..=255u8 {
                let factors = (0..k as u8).filter(|s| *s != x).map(|s| x ^ s);
                let product = factors.fold(1, galois_8::mul);
                assert_eq!(Log::of_source_differences(k, x).exp(), product);
            }
        }
    }
}

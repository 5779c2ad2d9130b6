//! The code: interpolation of a polynomial over GF(2^8) (wire-format.md, section 4.4).
//!
//! Byte n of the k source symbols are the values at the points 0 … k − 1 of a polynomial of degree below
//! k; byte n of the repair symbol with index r is its value at k + r. Any k values determine the
//! polynomial, and so all the others: encoding and recovering are the same interpolation. For values at
//! the points X, Lagrange's coefficient of the value at i for that at x is
//!
//! ```text
//! Π (x − j) / ((x − i) · Π (i − j)),   both products over the points j of X, the second without i
//! ```
//!
//! X is 0 … k − 1 less the absent source points and plus as many repair points, and the products over
//! 0 … k − 1 come from a table. So the coefficients cost O(k · absent) sums of logarithms, no matrix is
//! inverted and none is kept.

use std::iter::zip;

use reed_solomon_erasure::galois_8;

use super::field::Log;

/// The most source symbols of a block.
pub const MAX_SOURCE: usize = 64;
/// The greatest field point of a symbol: k + repair index is at most this.
pub const MAX_POINT: u8 = 254;

/// Why symbols cannot be computed: the caller's arguments are not those of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// No symbol, or more than [`MAX_SOURCE`], was given.
    #[error("a block has 1 to 64 source symbols")]
    SourceCount,
    /// A point is beyond [`MAX_POINT`].
    #[error("k + repair index is at most 254")]
    Point,
    /// A point is given twice.
    #[error("two symbols at one point")]
    Repeated,
    /// A wanted position is beyond the block, or was given.
    #[error("not the position of a missing source symbol")]
    NotMissing,
    /// A symbol is longer than the longest of its block.
    #[error("a symbol longer than those of its block")]
    Length,
}

/// The points at which the values of a polynomial are known.
struct Known {
    k: usize,
    /// The source points that are not known, and as many repair points that are.
    absent: Points,
    repairs: Points,
}

impl Known {
    /// All source points of a block.
    fn sources(k: usize) -> Result<Self, CodeError> {
        if k == 0 || k > MAX_SOURCE {
            return Err(CodeError::SourceCount);
        }
        Ok(Self {
            k,
            absent: Points::default(),
            repairs: Points::default(),
        })
    }

    /// As many points as the block has source symbols.
    fn any(points: impl ExactSizeIterator<Item = u8>) -> Result<Self, CodeError> {
        let mut known = Self::sources(points.len())?;
        let mut seen = [false; MAX_POINT as usize + 1];
        for point in points {
            let seen = seen.get_mut(usize::from(point)).ok_or(CodeError::Point)?;
            if std::mem::replace(seen, true) {
                return Err(CodeError::Repeated);
            }
            if usize::from(point) >= known.k {
                known.repairs.push(point);
            }
        }
        for (position, seen) in zip(0.., &seen[..known.k]) {
            if !seen {
                known.absent.push(position);
            }
        }
        Ok(known)
    }

    /// A point, known or not, with what it contributes to its coefficients.
    fn at(&self, point: u8) -> Factor {
        let differences = Log::of_source_differences(self.k, point)
            .times(self.repairs.differences(point))
            .over(self.absent.differences(point));
        Factor { point, differences }
    }
}

/// A point with the product of the differences between it and the known points other than it.
#[derive(Clone, Copy, Default)]
struct Factor {
    point: u8,
    differences: Log,
}

impl Factor {
    /// Lagrange's coefficient of the value at this point, which is known, for that at `wanted`, which is
    /// not.
    fn coefficient(self, wanted: Self) -> u8 {
        let difference = Log::of_difference(wanted.point, self.point);
        let divisor = self.differences.times(difference);
        wanted.differences.over(divisor).exp()
    }
}

/// A few points of the field.
struct Points {
    points: [u8; MAX_SOURCE],
    len: usize,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            points: [0; MAX_SOURCE],
            len: 0,
        }
    }
}

impl Points {
    /// Adds a point; there are at most [`MAX_SOURCE`].
    fn push(&mut self, point: u8) {
        self.points[self.len] = point;
        self.len += 1;
    }

    fn iter(&self) -> impl Iterator<Item = u8> {
        self.points[..self.len].iter().copied()
    }

    /// The product of the differences between `x` and the points other than x.
    fn differences(&self, x: u8) -> Log {
        self.iter().fold(Log::default(), |product, point| {
            product.times(Log::of_difference(x, point))
        })
    }
}

/// The coefficient of the source symbol at `position` in the repair symbol with this index, of a block of
/// `k`; none where there is no such block, position or symbol.
pub(super) fn coefficient(k: usize, repair_index: u8, position: u8) -> Option<u8> {
    let known = Known::sources(k).ok()?;
    let point = u8::try_from(k).ok()?.checked_add(repair_index)?;
    if point > MAX_POINT || usize::from(position) >= k {
        return None;
    }
    Some(known.at(position).coefficient(known.at(point)))
}

/// Writes the repair symbol with this index, of the block of these source symbols in order, in place of
/// what `out` held. It is as long as the longest of them; shorter ones count as padded with zeros.
///
/// The symbol does not depend on how many others are made of the block.
///
/// # Errors
/// If the symbols are none or more than [`MAX_SOURCE`], or their number and the repair index exceed
/// [`MAX_POINT`]; `out` is then empty.
pub fn encode<'a>(
    symbols: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    repair_index: u8,
    out: &mut Vec<u8>,
) -> Result<(), CodeError> {
    out.clear();
    let known = Known::sources(symbols.len())?;
    #[expect(clippy::cast_possible_truncation, reason = "k is at most 64")]
    let k = known.k as u8;
    let point = k.checked_add(repair_index).ok_or(CodeError::Point)?;
    if point > MAX_POINT {
        return Err(CodeError::Point);
    }
    let length = symbols.clone().map(<[u8]>::len).max().unwrap_or_default();
    out.resize(length, 0);
    let repair = known.at(point);
    for (position, symbol) in zip(0..k, symbols) {
        add_multiple(known.at(position).coefficient(repair), symbol, out);
    }
    Ok(())
}

/// Computes source symbols of a block of k from k other symbols of it, and writes them in place of what
/// `out` held, in the order of `missing`, `length` bytes each.
///
/// `received` are those k symbols with their points: the position in the block for a source symbol,
/// k + repair index for a repair symbol. A symbol shorter than `length`, which is that of the repair
/// symbols, counts as padded with zeros. `missing` are the positions wanted: none that was received.
///
/// What comes out of symbols that are not of one block is wrong, which cannot be told here: see
/// [`open_symbol`](super::open_symbol).
///
/// # Errors
/// If the symbols are none or more than [`MAX_SOURCE`], a point is beyond [`MAX_POINT`] or comes twice,
/// a wanted position is not missing or comes twice, or a symbol is longer than `length`; `out` is then
/// empty.
pub fn recover(
    received: &[(u8, &[u8])],
    missing: &[u8],
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodeError> {
    out.clear();
    let known = Known::any(received.iter().map(|(point, _)| *point))?;
    if received.iter().any(|(_, symbol)| symbol.len() > length) {
        return Err(CodeError::Length);
    }
    let mut wanted = [Factor::default(); MAX_SOURCE];
    if missing.len() > known.absent.len {
        return Err(CodeError::NotMissing);
    }
    for (n, (wanted, position)) in zip(&mut wanted, missing).enumerate() {
        if !known.absent.iter().any(|absent| absent == *position) {
            return Err(CodeError::NotMissing);
        }
        if missing[..n].contains(position) {
            return Err(CodeError::Repeated);
        }
        *wanted = known.at(*position);
    }
    out.resize(missing.len() * length, 0);
    if length == 0 {
        return Ok(());
    }
    for (point, symbol) in received {
        let known = known.at(*point);
        for (wanted, out) in zip(wanted, out.chunks_exact_mut(length)) {
            add_multiple(known.coefficient(wanted), symbol, out);
        }
    }
    Ok(())
}

/// Adds a multiple of a symbol to another that is at least as long.
pub(super) fn add_multiple(coefficient: u8, symbol: &[u8], sum: &mut [u8]) {
    // The kernel takes the first byte's address.
    if let Some(sum) = sum.get_mut(..symbol.len()).filter(|sum| !sum.is_empty()) {
        galois_8::mul_slice_xor(coefficient, symbol, sum);
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "points are below 256")]
mod tests;

//! Fills tensor after tensor of one stream.

mod choice;
mod error;
mod tools;

#[cfg(test)]
mod tests;

pub use error::ConcealError;

use std::{mem, sync::Arc, time::Duration};

use ndarray::{ArrayView3, ArrayViewMut3};

use crate::{
    bundle::{Bundle, Policy},
    kind::LossKind,
    mask::Losses,
    method::{Holes, Method},
};
use choice::Circumstances;
use tools::{Aids, Tools};

/// Largest magnitude of a received entry that methods other than the simple fills reckon with, 2⁵⁰:
/// the sum of the squares of as many as a tensor may have still fits an f32.
const USABLE: f32 = (1_u64 << 50) as f32;

/// Estimates the entries that did not arrive, tensor after tensor of one stream.
///
/// Three promises hold for every method, tensor and mask:
///
/// - a received entry keeps its bits;
/// - a filled entry is finite, and what it held before is never read;
/// - the result does not depend on the memory layout of tensor and mask.
///
/// The same tensors in the same order give the same results. Views that are contiguous in C, H, W
/// order are filled in place, others cost a copy. Memory is kept from tensor to tensor: after the
/// first ones all but the low-rank methods and LMMSE allocate nothing.
#[derive(Debug)]
pub struct Concealer {
    method: Method,
    shape: (usize, usize, usize),
    side: Option<Arc<Bundle>>,
    kind: Option<LossKind>,
    budget: Duration,
    packet_rows: Option<usize>,
    /// The last tensor as it was concealed; empty if there is none or no method asks for it.
    previous: Vec<f32>,
    keeps_previous: bool,
    tools: Tools,
    /// Copies of tensors and masks of other layouts, or with entries that cannot be reckoned with.
    copy: Copy,
    usable: Copy,
}

/// A tensor and its mask, held from one tensor to the next for its memory.
#[derive(Debug, Default)]
struct Copy {
    entries: Vec<f32>,
    received: Vec<bool>,
}

impl Concealer {
    /// A concealer for tensors of this shape (channels, rows, columns).
    ///
    /// # Errors
    ///
    /// [`ConcealError::BundleShape`]; [`ConcealError::NeedsBundle`] and
    /// [`ConcealError::MissingSection`] if the method needs what is not there. `auto` needs nothing
    /// and uses what there is.
    pub fn new(
        method: Method,
        shape: (usize, usize, usize),
        side: Option<Arc<Bundle>>,
    ) -> Result<Self, ConcealError> {
        if let Some(bundle) = side.as_ref().filter(|bundle| bundle.shape() != shape) {
            return Err(ConcealError::BundleShape {
                tensor: shape,
                bundle: bundle.shape(),
            });
        }
        if let Some(error) = choice::lacks(method, side.as_deref()) {
            return Err(error);
        }
        let of_policy =
            |policy: &Policy| policy.rows().iter().any(|row| row.method.uses_previous());
        let keeps_previous = method.uses_previous()
            || method == Method::Auto
                && side
                    .as_deref()
                    .and_then(Bundle::policy)
                    .is_some_and(of_policy);
        Ok(Self {
            method,
            shape,
            side,
            kind: None,
            budget: Duration::MAX,
            packet_rows: None,
            previous: Vec::new(),
            keeps_previous,
            tools: Tools::default(),
            copy: Copy::default(),
            usable: Copy::default(),
        })
    }

    /// Tells `auto` what the loss of a packet looks like under the stream's map.
    ///
    /// Default: judged for each tensor from its mask. `Channels` if at least half of the missing
    /// entries lie in wholly lost channels; else `Rows` if at least half of the others lie in
    /// wholly lost rows; else `Blocks` if a missing entry's right neighbour is missing too at least
    /// every other time and at least twice as often as chance would have it; else `Elements`.
    #[must_use]
    pub const fn with_kind(mut self, kind: LossKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Holds `auto` to methods that cost no more than this a tensor, by the bundle's policy. Default:
    /// no limit. Without a policy for the kind of loss nothing is known of costs, and it has no
    /// effect.
    #[must_use]
    pub const fn with_budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Tells [`Caltec`](Method::Caltec) how many rows of a channel a packet holds; 0 counts as 1.
    ///
    /// Default: judged for each tensor from its mask. The greatest common divisor of the places where
    /// runs of wholly lost rows begin and end, or the smallest multiple of it that has 48 entries;
    /// and where no whole row was lost, as few rows as have 192 entries.
    #[must_use]
    pub const fn with_packet_rows(mut self, rows: usize) -> Self {
        self.packet_rows = Some(rows);
        self
    }

    /// The method asked for.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Shape of the tensors as (channels, rows, columns).
    #[must_use]
    pub const fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// Forgets the previous tensor: call it where a stream starts anew.
    pub fn forget(&mut self) {
        self.previous.clear();
    }

    /// Fills every entry of `tensor` (C×H×W) whose `mask` (C×H×W, `true` = received) is `false`,
    /// and returns the method that did it: the one chosen by `auto`, and
    /// [`Spatial`](Method::Spatial) where there was no previous tensor to look at.
    ///
    /// # Errors
    ///
    /// [`ConcealError::TensorShape`] and [`ConcealError::MaskShape`]; the tensor is left as it was.
    pub fn conceal(
        &mut self,
        mut tensor: ArrayViewMut3<'_, f32>,
        mask: ArrayView3<'_, bool>,
    ) -> Result<Method, ConcealError> {
        if tensor.dim() != self.shape {
            return Err(ConcealError::TensorShape {
                expected: self.shape,
                given: tensor.dim(),
            });
        }
        if mask.dim() != self.shape {
            return Err(ConcealError::MaskShape {
                tensor: self.shape,
                mask: mask.dim(),
            });
        }
        if let (Some(entries), Some(received)) = (tensor.as_slice_mut(), mask.as_slice()) {
            return Ok(self.conceal_flat(entries, received));
        }
        let mut copy = mem::take(&mut self.copy);
        // `iter` walks any layout in C, H, W order.
        copy.refill(tensor.iter().copied(), mask.iter().copied());
        let method = self.conceal_flat(&mut copy.entries, &copy.received);
        tensor
            .iter_mut()
            .zip(&copy.entries)
            .for_each(|(entry, &filled)| *entry = filled);
        self.copy = copy;
        Ok(method)
    }

    fn conceal_flat(&mut self, entries: &mut [f32], received: &[bool]) -> Method {
        let method = self.choose(received);
        if entries.is_empty() {
            return method;
        }
        if (is_simple(method) && !self.keeps_previous) || !has_unusable(entries, received) {
            self.fill(method, entries, received);
            self.remember(entries);
            return method;
        }
        let mut usable = mem::take(&mut self.usable);
        usable.refill(
            entries.iter().copied(),
            entries
                .iter()
                .zip(received)
                .map(|(&entry, &received)| received && is_usable(entry)),
        );
        self.fill(method, &mut usable.entries, &usable.received);
        self.remember(&usable.entries);
        for ((entry, &received), &filled) in entries.iter_mut().zip(received).zip(&usable.entries) {
            *entry = if received { *entry } else { filled };
        }
        self.usable = usable;
        method
    }

    fn choose(&self, received: &[bool]) -> Method {
        let has_previous = !self.previous.is_empty();
        match self.method {
            Method::Auto => Circumstances {
                side: self.side.as_deref(),
                kind: self.kind,
                budget: self.budget,
                has_previous,
            }
            .choose(&Losses::of(received, self.shape)),
            method if method.uses_previous() && !has_previous => Method::Spatial,
            method => method,
        }
    }

    fn fill(&mut self, method: Method, entries: &mut [f32], received: &[bool]) {
        let holes = Holes {
            entries: &mut *entries,
            received,
            shape: self.shape,
        };
        let previous = Some(&*self.previous).filter(|previous| !previous.is_empty());
        let aids = Aids {
            side: self.side.as_ref(),
            previous,
            packet_rows: self.packet_rows,
        };
        self.tools.fill(method, holes, aids);
        if !is_simple(method) {
            let mean = self.side.as_deref().map_or(&[][..], Bundle::mean);
            make_finite(entries, received, mean);
        }
    }

    fn remember(&mut self, entries: &[f32]) {
        if self.keeps_previous {
            self.previous.clear();
            self.previous.extend_from_slice(entries);
        }
    }
}

impl Copy {
    fn refill(&mut self, entries: impl Iterator<Item = f32>, received: impl Iterator<Item = bool>) {
        self.entries.clear();
        self.entries.extend(entries);
        self.received.clear();
        self.received.extend(received);
    }
}

/// The simple fills see to non-finite entries themselves.
fn is_simple(method: Method) -> bool {
    Method::SIMPLE.contains(&method)
}

fn is_usable(entry: f32) -> bool {
    entry.abs() <= USABLE
}

/// Whether a received entry cannot be reckoned with.
fn has_unusable(entries: &[f32], received: &[bool]) -> bool {
    // Without a way out of the loop it vectorises.
    entries
        .iter()
        .zip(received)
        .fold(false, |found, (&entry, &received)| {
            found | (received & !is_usable(entry))
        })
}

/// Puts the dataset mean, or zero, where a method's sums have overflowed.
fn make_finite(entries: &mut [f32], received: &[bool], mean: &[f32]) {
    let overflown = entries
        .iter()
        .zip(received)
        .fold(false, |found, (entry, &received)| {
            found | (!received & !entry.is_finite())
        });
    if overflown {
        for (index, (entry, &received)) in entries.iter_mut().zip(received).enumerate() {
            if !received && !entry.is_finite() {
                *entry = mean.get(index).copied().unwrap_or(0.0);
            }
        }
    }
}

//! The way of a frame to a tensor, in steps that overlap with those of other frames.

use anyhow::Result;
use tensorwire_protocol::Slices;

/// Where frames come from.
///
/// A frame takes three steps: capture, compute, encode. Each runs in a thread of its own, at most one
/// frame at a time and in order, so that the model works on a frame while the one before is encoded and
/// the next captured. What a step leaves to the next one it hands over inside a closure.
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use tensorwire_endpoints::edge::{Captured, Computed, Encoded, FrameSource};
/// use tensorwire_protocol::Slices;
///
/// struct Counter;
///
/// impl FrameSource for Counter {
///     fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
///         let image = number.to_be_bytes();
///         Ok(Some(Captured::new(format!("count {number}"), None, move || {
///             let tensor = image.map(|byte| byte / 2);
///             Ok(Computed::new(move |_budget| {
///                 let slices = Slices::new(Bytes::copy_from_slice(&tensor), vec![4, 8])?;
///                 Ok(Encoded::from(slices))
///             }))
///         })))
///     }
/// }
/// ```
pub trait FrameSource: Send + Sync + 'static {
    /// Captures frame `number` of the stream, counted from 0; none after the last one.
    ///
    /// # Errors
    /// If the frame cannot be read. If a step fails, the frame is skipped, and the stream goes on.
    fn capture(self: std::sync::Arc<Self>, number: u64) -> Result<Option<Captured>>;

    /// Whether all three steps take microseconds and never wait; default not. Then they need no threads,
    /// whose waking would take longer.
    fn is_quick(&self) -> bool {
        false
    }

    /// Bytes of the smallest slices that the coder can make of a frame, if it has a choice and minds the
    /// budget; default none. Frames are dropped only when not even these would be in time.
    fn least_bytes(&self) -> Option<usize> {
        None
    }
}

type Compute = Box<dyn FnOnce() -> Result<Computed> + Send>;
type Encode = Box<dyn FnOnce(Option<usize>) -> Result<Encoded> + Send>;

/// A captured frame, which waits for the model.
pub struct Captured {
    /// What the frame is called.
    pub name: String,
    /// Its class, if it is known.
    pub label: Option<u32>,
    compute: Compute,
}

/// A computed tensor, which waits for the coder.
pub struct Computed {
    encode: Encode,
}

/// A coded tensor, which waits for the network.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by sources, field by field")]
pub struct Encoded {
    /// The step of the stream's ladder that it is coded by; 0 where there is no choice.
    pub step: u8,
    /// Its slices.
    pub slices: Slices,
}

impl From<Slices> for Encoded {
    /// A tensor of step 0.
    fn from(slices: Slices) -> Self {
        Self { step: 0, slices }
    }
}

impl Captured {
    /// A frame of which `compute` makes a tensor.
    pub fn new(
        name: String,
        label: Option<u32>,
        compute: impl FnOnce() -> Result<Computed> + Send + 'static,
    ) -> Self {
        let compute = Box::new(compute);
        Self {
            name,
            label,
            compute,
        }
    }

    pub(super) fn compute(self) -> Result<Computed> {
        (self.compute)()
    }
}

impl Computed {
    /// A tensor which `encode` encodes. It is told how many bytes the slices may have to arrive in time
    /// ([`byte_budget`](tensorwire_protocol::admission::byte_budget)), none where nothing limits them; a
    /// coder without a choice does not mind.
    pub fn new(encode: impl FnOnce(Option<usize>) -> Result<Encoded> + Send + 'static) -> Self {
        let encode = Box::new(encode);
        Self { encode }
    }

    pub(super) fn encode(self, budget: Option<usize>) -> Result<Encoded> {
        (self.encode)(budget)
    }
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Captured")
            .field("name", &self.name)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Computed").finish_non_exhaustive()
    }
}

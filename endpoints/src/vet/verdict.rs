//! What a child says.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::sandbox::Sandbox;
use crate::digest::Digest;
use crate::model::Dimensions;

/// The longest report that is read, bytes.
pub(super) const MAX_REPORT: u64 = 16 * 1_024;
/// The longest reason in words that is passed on, characters.
const MAX_REASON: usize = 400;

/// What a model that passed is like, and what it cost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Verdict {
    #[cbor(n(0), with = "minicbor::bytes")]
    digest: [u8; 32],
    #[n(1)]
    input: [u32; 3],
    #[n(2)]
    split: [u32; 3],
    /// Classes that it tells apart.
    #[n(3)]
    pub classes: u32,
    /// The most memory that it took beyond the program's own, bytes: while it was loaded, as a rule.
    #[n(4)]
    pub memory: u64,
    #[n(5)]
    load_us: u64,
    #[n(6)]
    run_us: u64,
}

/// All that a child can say.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Report {
    /// The model passed.
    #[n(0)]
    Passed(#[n(0)] Verdict),
    /// It did not, in words.
    #[n(1)]
    Failed(#[n(0)] String),
    /// It asked for more memory than there was.
    #[n(2)]
    Memory,
    /// There was no model; what the child could not do.
    #[n(3)]
    Probed(#[n(0)] Sandbox),
}

/// What was measured of a model.
pub(super) struct Measured {
    pub(super) digest: Digest,
    pub(super) input: Dimensions,
    pub(super) split: Dimensions,
    pub(super) classes: usize,
    pub(super) memory: u64,
    pub(super) load: Duration,
    pub(super) run: Duration,
}

impl Verdict {
    pub(super) fn new(measured: &Measured) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            digest: *measured.digest.as_bytes(),
            input: axes(measured.input),
            split: axes(measured.split),
            classes: u32::try_from(measured.classes).unwrap_or(u32::MAX),
            memory: measured.memory,
            load_us: micros(measured.load),
            run_us: micros(measured.run),
        }
    }

    /// SHA-256 of the model that was tried.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        Digest::from_bytes(self.digest)
    }

    /// Channels, height and width of the image that it takes.
    #[must_use]
    pub const fn input(&self) -> [u32; 3] {
        self.input
    }

    /// Channels, height and width of the tensor at the split.
    #[must_use]
    pub const fn split(&self) -> [u32; 3] {
        self.split
    }

    /// Time to load and split it.
    #[must_use]
    pub const fn load(&self) -> Duration {
        Duration::from_micros(self.load_us)
    }

    /// Time that the cloud's part takes for one tensor on one core, after the first: the longest of a few. It
    /// does not depend on the tensor, but on what else the machine does.
    #[must_use]
    pub const fn run(&self) -> Duration {
        Duration::from_micros(self.run_us)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers always encode; if not, the verdict is not found again.
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// The verdict that was kept, if it is one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        minicbor::decode(bytes).ok()
    }
}

impl Report {
    /// Decodes what a child said: it has run a stranger's model, and is not believed more than that.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let report = minicbor::decode(bytes).ok()?;
        Some(match report {
            Self::Failed(reason) => Self::Failed(shown(&reason)),
            other => other,
        })
    }
}

/// Words of a child, fit to be shown and sent.
pub(super) fn shown(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(MAX_REASON).collect()
}

fn axes(dimensions: Dimensions) -> [u32; 3] {
    let (channels, height, width) = dimensions.as_tuple();
    [channels, height, width].map(|axis| u32::try_from(axis).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn verdicts_survive() {
        let dimensions = |channels| Dimensions {
            channels,
            height: 8,
            width: 6,
        };
        let verdict = Verdict::new(&Measured {
            digest: Digest::of(b"model"),
            input: dimensions(1),
            split: dimensions(4),
            classes: 10,
            memory: 5 << 20,
            load: Duration::from_millis(12),
            run: Duration::from_micros(345),
        });
        assert_eq!(Verdict::decode(&verdict.encode()), Some(verdict.clone()));
        assert_eq!(
            (verdict.split(), verdict.run().as_micros()),
            ([4, 8, 6], 345)
        );
        let report = Report::Passed(verdict);
        let bytes = minicbor::to_vec(&report).unwrap();
        assert_eq!(Report::decode(&bytes), Some(report));
        assert_eq!(Report::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn a_child_cannot_say_what_cannot_be_shown() {
        let words = format!("a\u{1b}[2Jb\n{}", "x".repeat(1_000));
        let bytes = minicbor::to_vec(Report::Failed(words)).unwrap();
        let Some(Report::Failed(words)) = Report::decode(&bytes) else {
            panic!("it decodes")
        };
        assert_eq!((words.len(), words.contains('\u{1b}')), (400, false));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::decode(&bytes);
            let _ = Verdict::decode(&bytes);
        }
    }
}

//! How much a session may send, and when (`spec/rate-control.md`).
//!
//! Reports feed four observers: `delay` knows the queue, `dispersion` the bottleneck, `loss_step` losses
//! that are no chance, `circuit` silence. From them `window` decides how many bytes may be in flight,
//! beside `rivals` perhaps, and `pacer` when the next packet leaves; `controller` joins them for the session.

mod circuit;
mod controller;
mod delay;
mod dispersion;
mod loss_step;
mod pacer;
mod path;
mod rivals;
mod window;

pub use path::{IP_UDP_HEADER, Path, PeerLoad};

pub(crate) use circuit::Change;
pub(crate) use controller::{Arrived, Controller, Report, Sending};

/// What bounds the rate of DATA and REPAIR packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum RateControl {
    /// Nothing: what is handed over is sent at once.
    #[default]
    Off,
    /// A rate that the caller knows the path to have.
    Fixed {
        /// Bits a second, IP and UDP headers included: 10,000 to 100,000,000,000.
        bits_per_second: u64,
    },
    /// A rate that follows the path, by delay, marks and losses.
    Adaptive(AdaptiveRate),
}

/// Bounds of a rate that follows the path, bits a second with IP and UDP headers: each 10,000 to
/// 100,000,000,000, `least` ≤ `start` ≤ `most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct AdaptiveRate {
    /// At which a sender that knows nothing of the path begins; default 5 Mbit/s.
    pub start: u64,
    /// Below which it does not fall on an empty path; default 100 kbit/s. While packets queue it is less
    /// by as much as they take longer, and four packets in flight where that is more.
    pub least: u64,
    /// Above which it never rises; default 1 Gbit/s.
    pub most: u64,
}

impl Default for AdaptiveRate {
    fn default() -> Self {
        Self {
            start: 5_000_000,
            least: 100_000,
            most: 1_000_000_000,
        }
    }
}

impl RateControl {
    /// The least rate that may be asked for, bits a second.
    pub const LEAST: u64 = 10_000;
    /// The greatest rate that may be asked for, bits a second.
    pub const MOST: u64 = 100_000_000_000;

    /// The rate that is out of range or order, if one is.
    pub(crate) fn invalid(&self) -> Option<u64> {
        let valid = Self::LEAST..=Self::MOST;
        match *self {
            Self::Off => None,
            Self::Fixed { bits_per_second } => {
                (!valid.contains(&bits_per_second)).then_some(bits_per_second)
            }
            Self::Adaptive(AdaptiveRate { start, least, most }) => {
                let outside = [least, start, most]
                    .into_iter()
                    .find(|r| !valid.contains(r));
                let unordered = (least > start || start > most).then_some(start);
                outside.or(unordered)
            }
        }
    }
}

//! A stand-in for the model, so that the network is what is measured.
//!
//! `tw-edge --stand-in BYTES` streams tensors of so many pseudo-random bytes, and `tw-cloud --stand-in`
//! checks and answers them; neither loads a model. Such a stream says so by the name of its split, which
//! no real model may have.
//!
//! Every slice carries the time of its capture on the system's monotonic clock, so that any slice that
//! arrives tells how old its tensor is. That is a measurement only where both ends run on one machine,
//! as they do in network namespaces: two machines share no such clock.
//!
//! - `content`: what is in a slice.
//! - [`source`]: the edge's frames. [`handler`]: the cloud's side.
//! - [`report`]: what both write down at their end; [`path`]: what the edge knew meanwhile.

mod content;
pub mod handler;
pub mod path;
pub mod report;
pub mod source;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_protocol::wire::FrameNumber;
use tensorwire_protocol::{OutgoingTensor, Redundancy, Session, Slices, Time};

use crate::digest::Digest;
use crate::stream::StreamDescription;

/// What the split of every such stream is called, up to a name of its own: `stand-in/4f3a…`.
pub const PREFIX: &str = "stand-in/";
/// Bytes of a tensor, and of a slice, unless something else is asked for.
pub const BYTES: u32 = 12_000;
/// Bytes of a slice; the last may be shorter. Eight of them fill a packet, sealed or not.
const SLICE_BYTES: u32 = 142;

/// Nanoseconds of the system's monotonic clock, which the programs of one machine share.
#[must_use]
pub fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// The format of tensors that have `bytes` bytes when they are coded.
///
/// # Errors
/// If so many bytes are none, or more than the codec's largest tensor.
pub fn format(bytes: u32) -> Result<Format> {
    let shape = Shape::new(1, 1, bytes)?;
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0)?, 256)?;
    let entries = SLICE_BYTES.min(bytes);
    let map = Map::Random { seed: 0, entries };
    Ok(Format::new(shape, quantiser, map, Coder::Raw)?)
}

/// A tensor of `bytes` bytes, captured now.
///
/// # Errors
/// If it has more bytes than the wire format carries.
pub fn tensor(bytes: u32) -> Result<Slices> {
    content::tensor(usize::try_from(bytes)?, monotonic())
}

/// The description of a stream of such tensors, with a name that no other has.
///
/// # Errors
/// If the system has no random numbers.
pub fn describe(format: &Format) -> Result<StreamDescription> {
    let name = getrandom::u64().context("no random numbers from the system")?;
    let split = format!("{PREFIX}{name:016x}");
    let nothing = Digest::from_bytes([0; Digest::SIZE]);
    Ok(StreamDescription::new(format, &split, nothing, None)?)
}

/// Whether a stream is one of these.
#[must_use]
pub fn is_stand_in(stream: &StreamDescription) -> bool {
    stream.split.starts_with(PREFIX)
}

/// What one tensor is on the wire, parity aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct OnWire {
    /// DATA packets.
    pub packets: u64,
    /// Their bytes of UDP payload, headers and checksums included.
    pub bytes: u64,
}

impl OnWire {
    /// Sends one tensor of the stream on a network that takes everything at once, and counts.
    ///
    /// # Errors
    /// If the stream cannot be.
    pub fn of(stream: &StreamDescription) -> Result<Self> {
        let mut config = stream.config()?;
        config.redundancy = Redundancy::Off;
        let mut session = Session::new(config, Time::ZERO)?;
        let slices: Slices = content::tensor(stream.format()?.shape().entries(), 0)?;
        let tensor = OutgoingTensor {
            frame: FrameNumber(0),
            captured: Time::ZERO,
            step: 0,
            slices,
        };
        let mut buffer = Vec::new();
        // A session's first word is a report, whatever it sends.
        while session.poll_transmit(Time::ZERO, &mut buffer).is_some() {}
        session.send_tensor(Time::ZERO, tensor)?;
        let mut counted = Self {
            packets: 0,
            bytes: 0,
        };
        while session.poll_transmit(Time::ZERO, &mut buffer).is_some() {
            counted.packets += 1;
            counted.bytes += buffer.len() as u64;
        }
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_the_bytes_asked_for_and_a_name_of_its_own() {
        let format = format(BYTES).unwrap();
        assert_eq!(format.slice_count(), 85);
        let (first, second) = (describe(&format).unwrap(), describe(&format).unwrap());
        assert!(is_stand_in(&first) && first.split != second.split);
        assert!(format_is_refused(0));
    }

    fn format_is_refused(bytes: u32) -> bool {
        format(bytes).is_err()
    }

    #[test]
    fn on_the_wire_it_is_eleven_packets_with_their_headers() {
        let stream = describe(&format(BYTES).unwrap()).unwrap();
        let wire = OnWire::of(&stream).unwrap();
        assert_eq!(wire.packets, 11);
        // At most 4 % of a full packet is overhead.
        assert!((12_000..12_000 + 11 * 48).contains(&wire.bytes), "{wire:?}");
    }

    #[test]
    fn the_clock_goes_forward() {
        let (first, second) = (monotonic(), monotonic());
        assert!(first > 0 && second >= first);
    }
}

//! What a session tells its caller.

use std::time::Duration;

use bytes::Bytes;

use crate::paths::PathId;
use crate::time::Time;
use crate::wire::{CloseCode, FrameNumber, NoticeReason, ResultStatus, TensorId};

/// How a tensor ended at its receiver (wire-format.md, section 8.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ReleaseReason {
    /// All slices have arrived.
    Complete,
    /// All slices have arrived or were repaired.
    Recovered,
    /// The deadline came with slices missing.
    Deadline,
    /// A limit of memory forced it out.
    Evicted,
    /// A newer tensor was released, and only the latest is wanted.
    Superseded,
    /// Nothing had arrived by its deadline.
    Lost,
    /// Nothing more could have arrived before its deadline.
    Exhausted,
    /// A reason that this version does not know, 7 to 15.
    Other(u8),
}

impl ReleaseReason {
    /// The number on the wire, 0 to 15.
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Recovered => 1,
            Self::Deadline => 2,
            Self::Evicted => 3,
            Self::Superseded => 4,
            Self::Lost => 5,
            Self::Exhausted => 6,
            Self::Other(code) => code & 0xF,
        }
    }

    /// The reason with this number.
    pub const fn from_code(code: u8) -> Self {
        match code & 0xF {
            0 => Self::Complete,
            1 => Self::Recovered,
            2 => Self::Deadline,
            3 => Self::Evicted,
            4 => Self::Superseded,
            5 => Self::Lost,
            6 => Self::Exhausted,
            other => Self::Other(other),
        }
    }

    /// One word for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Recovered => "recovered",
            Self::Deadline => "deadline",
            Self::Evicted => "evicted",
            Self::Superseded => "superseded",
            Self::Lost => "lost",
            Self::Exhausted => "exhausted",
            Self::Other(_) => "other",
        }
    }
}

/// The greatest missing share on the wire.
pub(crate) const WHOLE_ON_WIRE: u16 = 4_095;

/// A released tensor, its bytes aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its number.
    pub id: TensorId,
    /// The frame it was made from.
    pub frame: FrameNumber,
    /// When that frame was captured, mapped to this endpoint's clock.
    pub captured: Time,
    /// The step of the stream's ladder that it is coded by, below [`Config::steps`](crate::Config::steps).
    pub step: u8,
    /// When its first packet arrived.
    pub first_arrival: Time,
    /// When it was released.
    pub released: Time,
    /// Why then.
    pub reason: ReleaseReason,
    /// Source packets that arrived, duplicates aside.
    pub packets_received: u32,
    /// Source packets that were lost and computed from REPAIR packets.
    pub packets_recovered: u32,
    /// Source packets that were sent.
    pub packets: u32,
    /// Slices that arrived or were recovered.
    pub slices_received: u16,
    /// Slices that it was cut into.
    pub slices: u16,
}

impl TensorInfo {
    /// A tensor of which nothing is known but its numbers and its slices, for receivers that are no
    /// [`Session`](crate::Session): every count is 0, every time the epoch, the reason `Lost`.
    pub const fn new(id: TensorId, frame: FrameNumber, slices: u16) -> Self {
        Self {
            id,
            frame,
            captured: Time::ZERO,
            step: 0,
            first_arrival: Time::ZERO,
            released: Time::ZERO,
            reason: ReleaseReason::Lost,
            packets_received: 0,
            packets_recovered: 0,
            packets: 0,
            slices_received: 0,
            slices,
        }
    }

    /// Missing slices as a share of all, 0 to 1.
    pub fn missing_share(&self) -> f64 {
        f64::from(self.slices - self.slices_received) / f64::from(self.slices)
    }

    /// The missing share in 4,095ths, as wire-format.md section 5 rounds it.
    pub(crate) fn missing_on_wire(&self) -> u16 {
        let (all, received) = (u32::from(self.slices), u32::from(self.slices_received));
        let whole = u32::from(WHOLE_ON_WIRE);
        let rounded = ((all - received) * whole + all / 2) / all.max(1);
        let least = u16::from(received < all);
        let most = WHOLE_ON_WIRE - u16::from(received > 0);
        u16::try_from(rounded).map_or(most, |share| share.clamp(least, most))
    }
}

/// A released tensor: what arrived of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedTensor {
    pub(crate) info: TensorInfo,
    pub(crate) bytes: Bytes,
    /// Offset and length of each slice in `bytes`; none where the slice is missing.
    pub(crate) spans: Vec<Option<(u32, u32)>>,
}

impl ReceivedTensor {
    /// A tensor whose slices lie in `bytes` at these offsets and lengths, missing ones being none, for
    /// receivers that are no [`Session`](crate::Session). None if there are not as many as `info` says,
    /// or one reaches beyond the bytes.
    pub fn new(info: TensorInfo, bytes: Bytes, spans: Vec<Option<(u32, u32)>>) -> Option<Self> {
        let inside =
            |&(offset, len): &(u32, u32)| u64::from(offset) + u64::from(len) <= bytes.len() as u64;
        let right = spans.len() == usize::from(info.slices)
            && spans.iter().flatten().count() == usize::from(info.slices_received)
            && spans.iter().flatten().all(inside);
        right.then_some(Self { info, bytes, spans })
    }

    /// Number, times, reason and counts.
    pub const fn info(&self) -> &TensorInfo {
        &self.info
    }

    /// The slice with this index, as it was sent; none if it is missing.
    pub fn slice(&self, index: usize) -> Option<&[u8]> {
        let (offset, len) = (*self.spans.get(index)?)?;
        self.bytes.get(offset as usize..)?.get(..len as usize)
    }

    /// All slices in order, missing ones as none.
    pub fn slices(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.spans.len()).map(|index| self.slice(index))
    }
}

/// A result that came back from the cloud.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ReceivedResult {
    /// The tensor it answers.
    pub tensor: TensorId,
    /// The frame that tensor was made from.
    pub frame: FrameNumber,
    /// How the tensor was released.
    pub reason: ReleaseReason,
    /// Missing slices as a share of all, 0 to 1, in steps of 1/4,095.
    pub missing_share: f32,
    /// How the model fared.
    pub status: ResultStatus,
    /// Time to decode, conceal and run the model.
    pub compute: Duration,
    /// The application's bytes.
    pub payload: Bytes,
}

impl ReceivedResult {
    /// A result without payload for a tensor that was whole, for receivers that are no
    /// [`Session`](crate::Session).
    pub const fn new(tensor: TensorId, frame: FrameNumber, status: ResultStatus) -> Self {
        Self {
            tensor,
            frame,
            reason: ReleaseReason::Complete,
            missing_share: 0.0,
            status,
            compute: Duration::ZERO,
            payload: Bytes::new(),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// Our caller closed it.
    Local(CloseCode),
    /// The peer closed it (only in protected mode).
    Peer(CloseCode),
    /// As many datagrams failed to open as the cipher allows: someone forges.
    FailedOpenings,
    /// A key has sealed as many datagrams as it may, and the peer confirmed none of them, so that it could
    /// not be changed.
    KeyUsedUp,
}

/// What happened. Poll until there is no more after every call that changes a session.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A tensor was released: every one once, in order of completion.
    Tensor(ReceivedTensor),
    /// Consecutive tensors of which nothing arrived by their deadline.
    Lost {
        /// The first of them.
        first: TensorId,
        /// How many.
        count: u64,
    },
    /// A tensor was given up because a newer one was released (only with `latest_only`).
    Superseded(TensorInfo),
    /// The peer skipped frames.
    FramesSkipped {
        /// Why.
        reason: NoticeReason,
        /// The first of them.
        first: FrameNumber,
        /// How many.
        count: u8,
    },
    /// The peer abandoned tensors before it had sent all of them.
    TensorsAbandoned {
        /// Why.
        reason: NoticeReason,
        /// The first of them.
        first: TensorId,
        /// How many.
        count: u8,
    },
    /// A result came back.
    Result(ReceivedResult),
    /// Nothing was heard of the peer since a packet that was sent so long ago: DATA and REPAIR packets are
    /// held back, tensors are abandoned at their deadlines, and PINGs go on.
    CircuitOpened {
        /// Time since that packet.
        silence: Duration,
    },
    /// The peer was heard of again, and sending goes on as on a new path.
    CircuitClosed,
    /// The peer has moved to another address, which is validated: datagrams go there from now on.
    PathChanged {
        /// The new path.
        path: PathId,
        /// Whether only the port differs; otherwise what was known of delay and rate is forgotten.
        same_host: bool,
    },
    /// The session has ended, once: it takes nothing any more, and sends no more than CLOSE. Tensors in
    /// progress still meet their end at their deadlines.
    Ended(EndReason),
    /// The peer reports how a tensor of ours ended there.
    Delivery {
        /// The tensor.
        tensor: TensorId,
        /// How it ended.
        reason: ReleaseReason,
        /// Missing slices as a share of all, 0 to 1, in steps of 1/4,095.
        missing_share: f32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(slices_received: u16, slices: u16) -> TensorInfo {
        TensorInfo {
            id: TensorId(0),
            frame: FrameNumber(0),
            captured: Time::ZERO,
            step: 0,
            first_arrival: Time::ZERO,
            released: Time::ZERO,
            reason: ReleaseReason::Deadline,
            packets_received: 1,
            packets_recovered: 0,
            packets: 1,
            slices_received,
            slices,
        }
    }

    #[test]
    fn a_tensor_is_made_only_of_slices_that_are_there() {
        let bytes = Bytes::from_static(b"abcdef");
        let tensor = |received, spans| ReceivedTensor::new(info(received, 2), bytes.clone(), spans);
        let made = tensor(1, vec![None, Some((4, 2))]).unwrap();
        assert_eq!(made.slices().collect::<Vec<_>>(), [None, Some(&b"ef"[..])]);
        assert_eq!(tensor(1, vec![None, Some((4, 3))]), None);
        assert_eq!(tensor(1, vec![None, Some((u32::MAX, 2))]), None);
        assert_eq!(tensor(2, vec![None, Some((4, 2))]), None);
        assert_eq!(tensor(1, vec![Some((0, 6))]), None);
    }

    #[test]
    fn the_share_on_the_wire_never_hides_a_missing_or_a_present_slice() {
        assert_eq!(info(10, 10).missing_on_wire(), 0);
        assert_eq!(info(5, 10).missing_on_wire(), 2_048);
        assert_eq!(info(0, 10).missing_on_wire(), 4_095);
        assert_eq!(info(u16::MAX - 1, u16::MAX).missing_on_wire(), 1);
        assert_eq!(info(1, u16::MAX).missing_on_wire(), 4_094);
    }

    #[test]
    fn every_number_is_a_reason_and_back() {
        for code in 0..16 {
            assert_eq!(ReleaseReason::from_code(code).code(), code);
        }
    }
}

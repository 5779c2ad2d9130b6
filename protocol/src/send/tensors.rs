//! Tensors that wait to be sent, and their packets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::flight::repair_room;
use super::notices::Notices;
use super::packetiser::{self, Planned};
use crate::config::Config;
use crate::interleave::{Order, Orders};
use crate::rate::IP_UDP_HEADER;
use crate::stats::Stats;
use crate::time::{Time, micros};
use crate::wire::{
    Coding, DataHead, FrameNumber, HEADER_LEN, InterleaverKind, MessageType, NoticeReason,
    TRAILER_ROOM, TensorId, put_fragment, put_header, put_slices,
};

/// The longest step of frame numbers that their 16 bits on the wire tell.
const MAX_FRAME_STEP: u64 = 0x7FFF;

/// The slices of a coded tensor: one run of bytes and where each slice ends in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slices {
    bytes: Bytes,
    ends: Vec<u32>,
}

/// Why slices do not make a tensor: the caller is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// The ends of the slices must not decrease, and the last must be the end of the bytes.
    #[error("slice {0} ends before it starts, or the last does not end where the bytes end")]
    Ends(usize),
    /// A slice is longer than the wire format carries.
    #[error("slice {0} is longer than 16,777,215 bytes")]
    TooLong(usize),
}

impl Slices {
    /// Slices that lie one after another in `bytes`; `ends` are the offsets where they end.
    ///
    /// # Errors
    /// If `ends` decrease, go beyond the bytes or stop short of them, or a slice exceeds 2^24 − 1 bytes.
    pub fn new(bytes: Bytes, ends: Vec<u32>) -> Result<Self, SliceError> {
        let mut start = 0;
        for (i, &end) in ends.iter().enumerate() {
            let len = end.checked_sub(start).ok_or(SliceError::Ends(i))?;
            if len > crate::wire::MAX_SLICE {
                return Err(SliceError::TooLong(i));
            }
            start = end;
        }
        if start as usize != bytes.len() {
            return Err(SliceError::Ends(ends.len().saturating_sub(1)));
        }
        Ok(Self { bytes, ends })
    }

    /// Number of slices.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no slice.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all slices together.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The slice with this index; none beyond the last.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.bytes
            .get(start as usize..*self.ends.get(index)? as usize)
    }
}

/// A tensor to send.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct OutgoingTensor {
    /// The frame it was made from; greater than that of the tensor before.
    pub frame: FrameNumber,
    /// When that frame was captured, by this endpoint's clock. The deadline counts from here.
    pub captured: Time,
    /// The step of the stream's ladder that it is coded by, from 0 to below [`Config::steps`]; 0 where
    /// there is no choice.
    pub step: u8,
    /// The coded tensor, in as many slices as the stream has.
    pub slices: Slices,
}

/// Why a tensor was not accepted for sending. The tensor has no number: the next one takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session has ended: open another.
    #[error("the session has ended; open another")]
    Ended,
    /// The queue is full: the path is slower than the stream. Skip the frame.
    #[error("{0} tensors wait already; skip the frame, or poll for packets more often")]
    QueueFull(usize),
    /// The tensor has another number of slices than the stream.
    #[error("{found} slices in a stream of {expected}")]
    SliceCount {
        /// Slices of the stream's tensors.
        expected: u16,
        /// Slices of this one.
        found: usize,
    },
    /// The stream has no such step.
    #[error("step {step} in a stream of {steps}")]
    Step {
        /// The step of this tensor.
        step: u8,
        /// Steps of the stream's ladder.
        steps: u8,
    },
    /// Frames are numbered by capture: a frame cannot follow a later one, nor one 32,768 back.
    #[error("frame {frame} cannot follow frame {last}")]
    FrameOrder {
        /// Frame of this tensor.
        frame: FrameNumber,
        /// Frame of the tensor before; 0 if this is the first.
        last: FrameNumber,
    },
    /// The tensor takes more packets than the wire format can number. Raise the MSS.
    #[error("more than 65,536 packets; raise the MSS or lower the quality")]
    TooLarge,
}

/// The DATA packet that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) tensor: u64,
    pub(crate) captured: Time,
    /// Its place among the source packets of the tensor, and how many there are.
    pub(crate) index: u32,
    pub(crate) count: u32,
    /// Importance of its slices.
    pub(crate) weight: f32,
}

/// The sending half: a bounded queue of tensors in the order of their numbers.
#[derive(Debug)]
pub(crate) struct TensorQueue {
    mss: u16,
    slices: u16,
    steps: u8,
    deadline: Duration,
    most: usize,
    interleaver: InterleaverKind,
    /// Of each slice; none if all are alike.
    importance: Option<Arc<[f32]>>,
    next: TensorId,
    last_frame: Option<FrameNumber>,
    queue: VecDeque<Queued>,
    notices: Notices,
    /// When the newest tensor was captured, and the smoothed time from one to the next.
    captured: Option<Time>,
    interval: Option<Duration>,
}

/// Time between tensors that is told from a pause.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// `sources` bytes of source packets and the parity that they will have.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parity is at most twice its sources"
)]
fn with_parity(sources: usize, parity: f64) -> usize {
    sources + (sources as f64 * parity) as usize
}

#[derive(Debug)]
struct Queued {
    id: TensorId,
    tensor: OutgoingTensor,
    order: Order,
    packets: Vec<Planned>,
    sent: usize,
    with_notice: bool,
}

/// How a tensor is coded, as its packets tell.
const fn coding(tensor: &OutgoingTensor) -> Coding {
    Coding {
        delta: false,
        step: tensor.step,
    }
}

impl Queued {
    /// Bytes of all its packets.
    fn waiting_in_all(&self) -> usize {
        self.bytes_of(self.packets.len())
    }

    /// Bytes of the packets that wait.
    fn waiting(&self) -> usize {
        self.bytes_of(self.packets.len() - self.sent.min(self.packets.len()))
    }

    /// Bytes of so many packets, its slices being spread evenly over all.
    fn bytes_of(&self, left: usize) -> usize {
        let all = self.packets.len().max(1);
        let count = u32::try_from(all).unwrap_or(u32::MAX);
        let head = HEADER_LEN
            + DataHead::size(count, coding(&self.tensor), self.with_notice)
            + TRAILER_ROOM;
        self.tensor.slices.bytes() * left / all + left * (head + IP_UDP_HEADER)
    }

    /// Importance of the slices of a packet, `importance` being that of each slice.
    fn weight(&self, planned: Planned, importance: &[f32]) -> f32 {
        let of = |position: u16| {
            let slice = self.order.get(usize::from(position));
            slice
                .and_then(|slice| importance.get(usize::from(*slice)))
                .copied()
                .unwrap_or(1.0)
        };
        match planned {
            Planned::Slices { first, count } => (first..first + count).map(of).sum(),
            Planned::Fragment { position, .. } => of(position),
        }
    }
}

impl TensorQueue {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mss: config.mss - repair_room(config),
            slices: config.slices,
            steps: config.steps,
            deadline: config.deadline,
            most: config.send_queue,
            interleaver: config.interleaving.kind,
            importance: config.importance.clone(),
            next: TensorId::default(),
            last_frame: None,
            queue: VecDeque::new(),
            notices: Notices::default(),
            captured: None,
            interval: None,
        }
    }

    /// The number that the next tensor will have.
    pub(crate) const fn next_id(&self) -> TensorId {
        self.next
    }

    /// The newest frame that was sent.
    pub(crate) const fn last_frame(&self) -> Option<FrameNumber> {
        self.last_frame
    }

    /// Bytes of the source packets that wait, IP and UDP headers included; a little more than they are.
    /// Each tensor will have `parity` REPAIR packets for a source packet.
    pub(crate) fn waiting(&self, parity: f64) -> usize {
        let sources = self.queue.iter().map(Queued::waiting).sum();
        with_parity(sources, parity)
    }

    /// Bits a second at which the tensor that is next takes the interval of tensors, or the time until its
    /// deadline where there is none yet.
    pub(crate) fn spread(&self, parity: f64) -> Option<u64> {
        let bytes = with_parity(self.queue.front()?.waiting_in_all(), parity);
        let interval = micros(self.interval.unwrap_or(self.deadline)).max(1);
        Some((bytes as u64).saturating_mul(8_000_000) / interval)
    }

    pub(crate) fn push(
        &mut self,
        tensor: OutgoingTensor,
        orders: &mut Orders,
    ) -> Result<TensorId, SendError> {
        if self.queue.len() >= self.most {
            return Err(SendError::QueueFull(self.queue.len()));
        }
        if tensor.slices.len() != usize::from(self.slices) {
            let found = tensor.slices.len();
            return Err(SendError::SliceCount {
                expected: self.slices,
                found,
            });
        }
        if tensor.step >= self.steps {
            return Err(SendError::Step {
                step: tensor.step,
                steps: self.steps,
            });
        }
        let frame = tensor.frame;
        let last = self.last_frame.unwrap_or_default();
        let in_order = self.last_frame.is_none() || frame > last;
        if !in_order || frame.0 - last.0 > MAX_FRAME_STEP {
            return Err(SendError::FrameOrder { frame, last });
        }
        let order = orders.get(self.interleaver);
        let lengths: Vec<u32> = order
            .iter()
            .map(|slice| {
                let slice = tensor.slices.get(usize::from(*slice));
                slice.map_or(0, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            })
            .collect();
        let with_notice = !self.notices.is_empty();
        let packets = packetiser::plan(&lengths, self.mss, coding(&tensor), with_notice)
            .ok_or(SendError::TooLarge)?;
        let id = self.next;
        self.next = id.next();
        self.last_frame = Some(tensor.frame);
        let before = self.captured.replace(tensor.captured);
        if let Some(since) = before.map(|before| tensor.captured - before)
            && since <= LONGEST_INTERVAL
        {
            self.interval = Some(self.interval.map_or(since, |mean| (mean * 7 + since) / 8));
        }
        self.queue.push_back(Queued {
            id,
            tensor,
            order,
            packets,
            sent: 0,
            with_notice,
        });
        Ok(id)
    }

    pub(crate) fn skip(
        &mut self,
        reason: NoticeReason,
        first: FrameNumber,
        count: u64,
        stats: &mut Stats,
    ) {
        self.notices.add(reason, first.0, count, stats);
    }

    /// Abandons the tensors that can no longer arrive in time.
    pub(crate) fn abandon_late(&mut self, now: Time, stats: &mut Stats) {
        while let Some(queued) = self.queue.front()
            && queued.tensor.captured + self.deadline <= now
        {
            stats.tensors_abandoned += 1;
            self.notices
                .add(NoticeReason::TensorDeadline, queued.id.0, 1, stats);
            self.queue.pop_front();
        }
    }

    /// Writes the next packet, header and body, into `out`. None if none waits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "planning bounds packets to 65,536, and `Slices` the slices to 2^24 − 1 bytes"
    )]
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u32,
    ) -> Option<Written> {
        let queued = self.queue.front_mut()?;
        let planned = queued.packets.get(queued.sent).copied()?;
        let notice = if queued.with_notice {
            self.notices.take()
        } else {
            None
        };
        let (first_position, fragment) = match planned {
            Planned::Slices { first, .. } => (first, false),
            Planned::Fragment { position, .. } => (position, true),
        };
        let head = DataHead {
            tensor_id: queued.id.wire(),
            frame_number: queued.tensor.frame.wire(),
            capture_timestamp: queued.tensor.captured.wire(),
            packet_index: queued.sent as u16,
            packet_count: queued.packets.len() as u32,
            interleaver: self.interleaver,
            coding: coding(&queued.tensor),
            notice,
            first_position,
        };
        put_header(
            out,
            MessageType::Data,
            head.flags(fragment),
            config.remote_connection,
            packet_number,
        );
        head.encode(out);
        let slice_at = |position: u16| {
            let index = queued
                .order
                .get(usize::from(position))
                .copied()
                .unwrap_or(0);
            queued
                .tensor
                .slices
                .get(usize::from(index))
                .unwrap_or_default()
        };
        match planned {
            Planned::Slices { first, count } => {
                put_slices(out, (first..first + count).map(slice_at));
            }
            Planned::Fragment {
                position,
                offset,
                len,
            } => {
                let slice = slice_at(position);
                let part = slice
                    .get(offset as usize..(offset + len) as usize)
                    .unwrap_or_default();
                put_fragment(out, offset, slice.len() as u32, part);
            }
        }
        let importance = self.importance.as_deref();
        let written = Written {
            tensor: queued.id.0,
            captured: queued.tensor.captured,
            index: queued.sent as u32,
            count: queued.packets.len() as u32,
            weight: importance.map_or(1.0, |all| queued.weight(planned, all)),
        };
        queued.sent += 1;
        if queued.sent == queued.packets.len() {
            self.queue.pop_front();
        }
        Some(written)
    }
}

//! A sequence of operations on two sessions and the datagrams between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::protected::Guarded;
use super::{Input, assert_bounded, drain, slices};
use crate::wire::{Ecn, FrameNumber, InterleaverKind, NoticeReason, ResultStatus, seal};
use crate::{
    Adaptive, AdaptiveRate, Config, Event, Interleaving, OutgoingResult, OutgoingTensor,
    RateControl, ReceivedTensor, Redundancy, ReleaseReason, Session, Slices, TensorInfo, Time,
};

/// Datagrams kept on the way in one direction.
const MOST_IN_FLIGHT: usize = 400;

/// Steps of the ladder; the frames take turns.
const STEPS: u8 = 3;

/// Lets the bytes choose a stream, and then operation after operation.
///
/// # Panics
/// If a tensor ends twice or not at all, a slice is not what was sent although no forged datagram
/// went in, a result comes twice, or a session breaks its limits or spins.
pub fn session_ops(data: &[u8]) {
    World::run(&mut Input(data), None);
}

pub(super) struct World {
    pub(super) edge: Session,
    pub(super) cloud: Session,
    pub(super) now: Time,
    pub(super) up: Vec<Vec<u8>>,
    pub(super) down: Vec<Vec<u8>>,
    /// Of protected sessions, and what chose them.
    pub(super) guarded: Option<(Guarded, u8)>,
    frame: u64,
    /// Step and slices of each tensor.
    sent: BTreeMap<u64, (u8, Slices)>,
    /// Ranges of tensors that have met their end: first, and one more than the last.
    ended: BTreeMap<u64, u64>,
    answers: BTreeSet<u64>,
    newest: Option<TensorInfo>,
    /// A datagram that no sender made went in with a trailer that fits.
    forged: bool,
}

impl World {
    pub(super) fn run(input: &mut Input<'_>, guarded: Option<(Guarded, u8)>) {
        let Some(mut world) = Self::new(input, guarded) else {
            return;
        };
        while !input.is_empty() {
            world.step(input);
            world.settle();
        }
        world.finish();
    }

    fn new(input: &mut Input<'_>, guarded: Option<(Guarded, u8)>) -> Option<Self> {
        let slices = 1 + u16::from(input.byte()) % 64;
        let mut config = Config::new(slices);
        config.mss = 576 + 8 * u16::from(input.byte());
        let flags = input.byte();
        config.latest_only = flags & 1 != 0;
        config.steps = STEPS;
        config.interleaving = Interleaving {
            kind: match flags >> 1 & 3 {
                0 => InterleaverKind::Sequential,
                1 => InterleaverKind::Stride,
                _ => InterleaverKind::Random,
            },
            stride: 1 + u16::from(flags >> 3) % slices,
            seed: flags.into(),
        };
        if flags & 0x80 != 0 {
            config.limits.tensors_in_progress = 3;
            config.limits.tensor_bytes = 6_000;
            config.limits.bytes_in_progress = 9_000;
            config.limits.results = 2;
        }
        let repair = input.byte();
        let now = Time::from_millis((repair & 0xF).into());
        config.redundancy = match repair >> 4 & 3 {
            0 => Redundancy::Off,
            1 => Redundancy::Fixed { ratio: 0.25 },
            2 => Redundancy::Fixed { ratio: 1.5 },
            _ => Redundancy::Adaptive(Adaptive {
                most: 1.0,
                ..Adaptive::default()
            }),
        };
        config.rate = match repair & 0xF {
            0..12 => RateControl::Off,
            12 => RateControl::Fixed {
                bits_per_second: 1_000_000,
            },
            _ => RateControl::Adaptive(AdaptiveRate::default()),
        };
        config.ecn = repair & 0xF == 15;
        config.retransmission = repair & 0x40 != 0;
        config.span = if repair & 0x80 != 0 { 3 } else { 1 };
        let (edge, cloud) = match &guarded {
            Some((guarded, choice)) => guarded.protect(&config, *choice),
            None => (config.clone(), config),
        };
        Some(Self {
            edge: Session::new(edge, now).ok()?,
            cloud: Session::new(cloud, now).ok()?,
            now,
            up: Vec::new(),
            down: Vec::new(),
            guarded,
            frame: 0,
            sent: BTreeMap::new(),
            ended: BTreeMap::new(),
            answers: BTreeSet::new(),
            newest: None,
            forged: false,
        })
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let operations = if self.guarded.is_some() { 16 } else { 12 };
        match input.byte() % operations {
            0 | 1 => self.send(input),
            2 => self.wait(Duration::from_micros(input.below(65_536) as u64 * 4)),
            3 => {
                for datagram in std::mem::take(&mut self.up) {
                    let ecn = if self.edge.config().ecn {
                        Ecn::Ce
                    } else {
                        Ecn::NotEct
                    };
                    let _ = self.hand(true, ecn, &datagram);
                }
            }
            4 => {
                for datagram in std::mem::take(&mut self.down) {
                    let _ = self.hand(false, Ecn::NotEct, &datagram);
                }
            }
            5 => self.deliver(input, |_, _| true),
            6 => self.deliver(input, |datagram, _| {
                datagram.clear();
                false
            }),
            7 => {
                let which = input.below(self.up.len());
                if let Some(copy) = self.up.get(which).cloned() {
                    self.up.push(copy);
                }
            }
            8 => self.deliver(input, |datagram, input| {
                let bit = input.below(datagram.len() * 8);
                if let Some(byte) = datagram.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                false
            }),
            9 => self.forge(input),
            10 => {
                let count = 1 + input.below(600) as u64;
                let reason = NoticeReason::from_code(input.byte() & 0x7F);
                self.edge
                    .skip_frames(reason, FrameNumber(self.frame), count);
                self.frame += count;
            }
            11 => self.answer(input),
            guarded => self.guarded_step(input, guarded - 12),
        }
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let (base, spread) = (input.below(1_000), usize::from(input.byte()) + 1);
        let large = input.byte();
        let count = usize::from(self.edge.config().slices);
        let lengths = (0..count).map(|i| {
            let large = if i == usize::from(large) { 3_000 } else { 0 };
            base / count + i * 37 % spread + large
        });
        let Some(slices) = slices(lengths, self.frame) else {
            return;
        };
        let step = u8::try_from(self.frame % u64::from(STEPS)).unwrap_or(0);
        let tensor = OutgoingTensor {
            frame: FrameNumber(self.frame),
            captured: self.now - Duration::from_micros(input.below(30_000) as u64),
            step,
            slices: slices.clone(),
        };
        if let Ok(id) = self.edge.send_tensor(self.now, tensor) {
            self.sent.insert(id.0, (step, slices));
            self.frame += 1;
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.edge.handle_timeout(self.now);
        self.cloud.handle_timeout(self.now);
    }

    /// Takes one datagram out of either direction, and hands over what is made of it, if anything; `change`
    /// tells whether it is still what it was.
    fn deliver(
        &mut self,
        input: &mut Input<'_>,
        change: impl Fn(&mut Vec<u8>, &mut Input<'_>) -> bool,
    ) {
        let upwards = input.byte() & 1 == 0;
        let way = if upwards {
            &mut self.up
        } else {
            &mut self.down
        };
        if way.is_empty() {
            return;
        }
        let mut datagram = way.swap_remove(input.below(way.len()));
        let genuine = change(&mut datagram, input);
        if !datagram.is_empty() {
            let taken = self.hand(upwards, Ecn::NotEct, &datagram);
            let believed = taken.is_ok() && !genuine && self.guarded.is_some();
            assert!(!believed, "a changed datagram was accepted");
        }
    }

    /// Changes some bytes of a datagram, or makes one up, with a trailer that fits; in protected mode only
    /// if the keys are known.
    fn forge(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.up.len() + 1);
        let mut datagram = self.up.get(which).cloned().unwrap_or_else(|| {
            let mut head = vec![0x90 | (input.byte() % 9), 0, 0, 0, 0, 0, 0, 0, input.byte()];
            head.extend_from_slice(input.bytes(40));
            head.extend_from_slice(&[0; 4]);
            head
        });
        let mut change = |datagram: &mut Vec<u8>| {
            for _ in 0..1 + input.byte() % 3 {
                let at = 1 + input.below(40);
                let value = input.byte();
                if let Some(byte) = datagram.get_mut(at) {
                    *byte = value;
                }
            }
        };
        let before = datagram.clone();
        let sealed = match &self.guarded {
            None => {
                datagram.truncate(datagram.len().saturating_sub(4));
                change(&mut datagram);
                seal(&mut datagram);
                self.forged = true;
                true
            }
            Some((guarded, _)) => match guarded.reseal(&datagram, true, &mut change) {
                Some(resealed) => {
                    datagram = resealed;
                    self.forged = true;
                    true
                }
                None => {
                    change(&mut datagram);
                    datagram == before
                }
            },
        };
        let upwards = input.byte() & 1 == 0;
        let taken = self.hand(upwards, Ecn::NotEct, &datagram);
        assert!(sealed || taken.is_err(), "a forged datagram was accepted");
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let Some(tensor) = self.newest.take() else {
            return;
        };
        let payload = vec![7; input.below(1_100)];
        let result = OutgoingResult {
            tensor,
            status: ResultStatus::Done,
            compute: Duration::from_millis(1),
            payload: Bytes::from(payload),
        };
        let _ = self.cloud.send_result(self.now, result);
    }

    /// Polls both sides dry and checks what they tell.
    fn settle(&mut self) {
        assert_bounded(&self.cloud);
        let Self { up, down, .. } = self;
        drain(&mut self.edge, self.now, |d| up.push(d));
        drain(&mut self.cloud, self.now, |d| down.push(d));
        up.truncate(MOST_IN_FLIGHT);
        down.truncate(MOST_IN_FLIGHT);
        while let Some(event) = self.cloud.poll_event() {
            match event {
                Event::Tensor(tensor) => self.released(&tensor),
                Event::Superseded(info) => self.end(info.id.0, 1),
                Event::Lost { first, count } => self.end(first.0, count),
                _ => {}
            }
        }
        while let Some(event) = self.edge.poll_event() {
            if let Event::Result(result) = event {
                assert!(self.answers.insert(result.tensor.0), "a result came twice");
            }
        }
    }

    fn released(&mut self, tensor: &ReceivedTensor) {
        let info = *tensor.info();
        self.end(info.id.0, 1);
        self.newest = Some(info);
        let received = tensor.slices().flatten().count();
        assert_eq!(received, usize::from(info.slices_received));
        assert!(info.packets_received + info.packets_recovered > 0);
        assert!(info.packets_received + info.packets_recovered <= info.packets);
        let reason = match (info.slices_received == info.slices, info.packets_recovered) {
            (true, 0) => Some(ReleaseReason::Complete),
            (true, _) => Some(ReleaseReason::Recovered),
            (false, _) => None,
        };
        match info.reason {
            ReleaseReason::Complete | ReleaseReason::Recovered => {
                assert_eq!(reason, Some(info.reason));
            }
            _ => assert_eq!(reason, None, "whole, and released as {:?}", info.reason),
        }
        assert!(info.step < STEPS, "step {}", info.step);
        if self.forged {
            return;
        }
        let sent = self.sent.get(&info.id.0);
        assert_eq!(sent.map(|(step, _)| *step), Some(info.step));
        for (index, slice) in tensor.slices().enumerate() {
            let sent = sent.and_then(|(_, slices)| slices.get(index));
            assert!(
                slice.is_none() || slice == sent,
                "slice {index} of {info:?}"
            );
        }
    }

    fn end(&mut self, first: u64, count: u64) {
        let before = self.ended.range(..first + count).next_back();
        let apart = before.is_none_or(|(_, end)| *end <= first);
        assert!(apart, "{count} tensors from {first} ended twice");
        self.ended.insert(first, first + count);
    }

    /// Lets every deadline pass: then nothing is in progress and no number is left out.
    fn finish(mut self) {
        self.wait(Duration::from_secs(120));
        self.settle();
        assert_eq!(self.cloud.tensors_in_progress(), 0);
        if self.cloud.config().span == 1 {
            // Otherwise the newest are kept for blocks to come.
            assert_eq!(self.cloud.buffered_bytes(), 0);
        }
        let mut next = 0;
        for (first, end) in &self.ended {
            assert_eq!(*first, next, "a tensor without an end");
            next = *end;
        }
    }
}

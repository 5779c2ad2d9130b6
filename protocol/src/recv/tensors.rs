//! The tensors in progress, and how each meets its end (wire-format.md, section 8.2).

use std::collections::VecDeque;

use super::assembly::{Accepted, Assembly};
use super::seen::Seen;
use crate::config::Config;
use crate::event::{Event, ReceivedTensor, ReleaseReason, TensorInfo, WHOLE_ON_WIRE};
use crate::interleave::Orders;
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{Data, FrameNumber, MAX_RELEASE_REPORTS, ReleaseReport, TensorId};

/// What a tensor's end has to tell: to the caller, and to the peer.
#[derive(Debug)]
pub(crate) enum End {
    Released(ReceivedTensor),
    Superseded(TensorInfo),
    Lost { first: TensorId, count: u64 },
}

impl End {
    /// The reports to the peer: one for each tensor, but of a range of lost ones only for as many of
    /// the newest as a message names.
    pub(crate) fn reports(&self) -> impl Iterator<Item = ReleaseReport> + use<> {
        let (ids, reason, missing) = match self {
            Self::Released(ReceivedTensor { info, .. }) | Self::Superseded(info) => {
                let id = info.id.0;
                (id..id + 1, info.reason, info.missing_on_wire())
            }
            Self::Lost { first, count } => {
                let named = (*count).min(MAX_RELEASE_REPORTS as u64);
                let end = first.0 + count;
                (end - named..end, ReleaseReason::Lost, WHOLE_ON_WIRE)
            }
        };
        ids.map(move |id| ReleaseReport {
            tensor_id: TensorId(id).wire(),
            reason: reason.code(),
            missing,
        })
    }

    pub(crate) fn event(self) -> Event {
        match self {
            Self::Released(tensor) => Event::Tensor(tensor),
            Self::Superseded(info) => Event::Superseded(info),
            Self::Lost { first, count } => Event::Lost { first, count },
        }
    }
}

#[derive(Debug)]
enum Slot {
    /// Packets have arrived.
    Live(Box<Assembly>),
    /// A later tensor has arrived, this one has not.
    Unseen { deadline: Time },
    /// Met its end.
    Done,
}

/// The tensors from the oldest in progress to the newest known.
#[derive(Debug)]
pub(crate) struct TensorWindow {
    /// Number of the tensor in the first slot; all before it have met their end.
    first: u64,
    slots: VecDeque<Slot>,
    /// Frame of the tensor with the greatest number.
    newest_frame: FrameNumber,
    memory: usize,
    complete: Seen,
    ends: VecDeque<End>,
}

impl TensorWindow {
    pub(crate) fn new() -> Self {
        Self {
            first: 0,
            slots: VecDeque::new(),
            newest_frame: FrameNumber::default(),
            memory: 0,
            complete: Seen::default(),
            ends: VecDeque::new(),
        }
    }

    /// The number of the tensor that a packet belongs to, and of its frame.
    pub(crate) fn numbers(&self, data: &Data<'_>) -> (TensorId, FrameNumber) {
        let id = TensorId::extend(data.tensor_id(), TensorId(self.next_id()));
        let frame = FrameNumber::extend(data.frame_number(), self.newest_frame.next());
        (id, frame)
    }

    /// Files a packet, whose slices are among those of the stream; false, counted, if it is dropped.
    /// `captured` is the mapped time of capture.
    pub(crate) fn add(
        &mut self,
        now: Time,
        data: &Data<'_>,
        captured: Time,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) -> bool {
        let (id, frame) = self.numbers(data);
        let cost = Assembly::cost(data);
        let deadline = captured + config.deadline;
        if id.0 >= self.next_id() {
            self.make_room(now, id, deadline, config, orders, stats);
            self.newest_frame = frame;
        }
        match self.slot(id) {
            Some(Slot::Live(assembly)) => match assembly.judge(data) {
                Accepted::New => {}
                Accepted::Duplicate => {
                    stats.duplicates += 1;
                    return false;
                }
                Accepted::Conflict => {
                    stats.conflicts += 1;
                    return false;
                }
            },
            Some(Slot::Unseen { .. }) if deadline <= now => {
                stats.late += 1;
                self.lose(id.0, 1, stats);
                return false;
            }
            Some(Slot::Unseen { .. }) => {}
            Some(Slot::Done) | None => {
                self.count_late(id, stats);
                return false;
            }
        }
        if !self.make_memory(now, id, cost, config, orders, stats) {
            stats.over_limit += 1;
            return false;
        }
        // Making memory can have ended this tensor too, where only the latest is wanted.
        let Some(slot) = self.index(id).and_then(|i| self.slots.get_mut(i)) else {
            self.count_late(id, stats);
            return false;
        };
        if let Slot::Unseen { .. } = slot {
            let assembly = Assembly::new(data, frame, captured, now, config.slices);
            *slot = Slot::Live(Box::new(assembly));
        }
        let Slot::Live(assembly) = slot else {
            self.count_late(id, stats);
            return false;
        };
        let before = assembly.memory();
        assembly.add(data);
        self.memory += assembly.memory() - before;
        if assembly.is_complete() {
            self.release(now, id, ReleaseReason::Complete, config, orders, stats);
        }
        true
    }

    /// Bytes kept on behalf of the peer, of all tensors in progress.
    pub(crate) const fn memory(&self) -> usize {
        self.memory
    }

    /// Tensors in progress: some of their packets have arrived.
    pub(crate) fn live(&self) -> usize {
        let live = self.slots.iter();
        live.filter(|slot| matches!(slot, Slot::Live(_))).count()
    }

    /// Releases or gives up what has reached its deadline.
    pub(crate) fn expire(
        &mut self,
        now: Time,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) {
        while let Some((id, _)) = self.earliest(config).filter(|(_, at)| *at <= now) {
            self.end(
                now,
                TensorId(id),
                ReleaseReason::Deadline,
                config,
                orders,
                stats,
            );
        }
    }

    /// The earliest deadline of a tensor in progress.
    pub(crate) fn next_deadline(&self, config: &Config) -> Option<Time> {
        self.earliest(config).map(|(_, at)| at)
    }

    /// The next end to tell.
    pub(crate) fn poll_end(&mut self) -> Option<End> {
        self.ends.pop_front()
    }

    fn earliest(&self, config: &Config) -> Option<(u64, Time)> {
        let deadlines = (self.first..)
            .zip(&self.slots)
            .filter_map(|(id, slot)| match slot {
                Slot::Live(assembly) => Some((id, assembly.captured + config.deadline)),
                Slot::Unseen { deadline } => Some((id, *deadline)),
                Slot::Done => None,
            });
        deadlines.min_by_key(|(_, at)| *at)
    }

    fn index(&self, id: TensorId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    fn slot(&self, id: TensorId) -> Option<&Slot> {
        self.slots.get(self.index(id)?)
    }

    /// One more than the greatest number known.
    fn next_id(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn set(&mut self, index: usize, slot: Slot) -> Slot {
        self.slots
            .get_mut(index)
            .map_or(Slot::Done, |old| std::mem::replace(old, slot))
    }

    fn count_late(&self, id: TensorId, stats: &mut Stats) {
        let counter = if self.complete.contains(id.0) {
            &mut stats.duplicates
        } else {
            &mut stats.late
        };
        *counter += 1;
    }

    /// Opens slots up to `id`; the oldest end where the window would grow beyond its limit.
    fn make_room(
        &mut self,
        now: Time,
        id: TensorId,
        deadline: Time,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) {
        let most = config.limits.tensors_in_progress as u64;
        while !self.slots.is_empty() && id.0 - self.first >= most {
            self.end(
                now,
                TensorId(self.first),
                ReleaseReason::Evicted,
                config,
                orders,
                stats,
            );
        }
        if id.0 - self.first >= most {
            let lost = id.0 - self.first - most + 1;
            self.lose(self.first, lost, stats);
            self.first += lost;
        }
        while self.next_id() <= id.0 {
            self.slots.push_back(Slot::Unseen { deadline });
        }
    }

    /// Makes room for `cost` bytes of tensor `id`, the oldest other tensors giving way.
    fn make_memory(
        &mut self,
        now: Time,
        id: TensorId,
        cost: usize,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) -> bool {
        let limits = &config.limits;
        let own = match self.slot(id) {
            Some(Slot::Live(assembly)) => assembly.memory(),
            _ => 0,
        };
        if own + cost > limits.tensor_bytes.min(limits.bytes_in_progress) {
            return false;
        }
        while self.memory + cost > limits.bytes_in_progress {
            let live = (self.first..).zip(&self.slots);
            let oldest = live
                .filter(|(other, slot)| *other != id.0 && matches!(slot, Slot::Live(_)))
                .map(|(other, _)| other)
                .next();
            let Some(oldest) = oldest else { return false };
            self.release(
                now,
                TensorId(oldest),
                ReleaseReason::Evicted,
                config,
                orders,
                stats,
            );
        }
        true
    }

    /// Ends a tensor, whatever has arrived of it.
    fn end(
        &mut self,
        now: Time,
        id: TensorId,
        reason: ReleaseReason,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) {
        match self.slot(id) {
            Some(Slot::Live(_)) => self.release(now, id, reason, config, orders, stats),
            Some(Slot::Unseen { .. }) => self.lose(id.0, 1, stats),
            Some(Slot::Done) | None => self.pop_done(),
        }
    }

    fn release(
        &mut self,
        now: Time,
        id: TensorId,
        reason: ReleaseReason,
        config: &Config,
        orders: &mut Orders,
        stats: &mut Stats,
    ) {
        let Some(index) = self.index(id) else { return };
        let Slot::Live(assembly) = self.set(index, Slot::Done) else {
            return;
        };
        self.memory -= assembly.memory();
        let counter = match reason {
            ReleaseReason::Complete => {
                self.complete.insert(id.0);
                &mut stats.tensors_complete
            }
            ReleaseReason::Evicted => &mut stats.tensors_evicted,
            _ => &mut stats.tensors_deadline,
        };
        *counter += 1;
        let info = assembly.info(id, now, reason);
        let order = orders.get(assembly.interleaver());
        self.ends
            .push_back(End::Released(assembly.release(info, &order)));
        if config.latest_only {
            self.supersede(now, index, stats);
        }
        self.pop_done();
    }

    /// Gives up every tensor before the one with this index.
    fn supersede(&mut self, now: Time, index: usize, stats: &mut Stats) {
        for older in 0..index {
            let id = self.first + older as u64;
            match self.set(older, Slot::Done) {
                Slot::Live(assembly) => {
                    self.memory -= assembly.memory();
                    stats.tensors_superseded += 1;
                    let info = assembly.info(TensorId(id), now, ReleaseReason::Superseded);
                    self.ends.push_back(End::Superseded(info));
                }
                Slot::Unseen { .. } => self.tell_lost(id, 1, stats),
                Slot::Done => {}
            }
        }
    }

    fn lose(&mut self, first: u64, count: u64, stats: &mut Stats) {
        if let Some(index) = self.index(TensorId(first)) {
            self.set(index, Slot::Done);
        }
        self.tell_lost(first, count, stats);
        self.pop_done();
    }

    fn tell_lost(&mut self, first: u64, count: u64, stats: &mut Stats) {
        stats.tensors_lost += count;
        if let Some(End::Lost {
            first: before,
            count: more,
        }) = self.ends.back_mut()
            && before.0 + *more == first
        {
            *more += count;
            return;
        }
        self.ends.push_back(End::Lost {
            first: TensorId(first),
            count,
        });
    }

    fn pop_done(&mut self) {
        while let Some(Slot::Done) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

//! Tensors as they come out of reliable streams: released when whole, or at their deadline with the
//! slices that arrived whole (spec/carriers.md, section 5).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::TensorId;
use tensorwire_protocol::{Config, Event, ReceivedTensor, ReleaseReason, Stats, TensorInfo, Time};

use super::frame::TensorHead;

/// Bytes kept for each slice of a tensor in progress, besides its own.
const SLICE_BOOK_KEEPING: usize = 4;
/// Most tensors from the oldest that has not ended to the newest. A sender leaves fewer out: what its
/// queue holds at most, and streams that overtake each other.
const MOST_SLOTS: usize = 4_096;

/// A tensor in progress.
#[derive(Debug)]
struct Assembly {
    head: TensorHead,
    captured: Time,
    first_arrival: Time,
    bytes: Vec<u8>,
}

impl Assembly {
    fn memory(&self) -> usize {
        self.bytes.len() + self.head.ends.len() * SLICE_BOOK_KEEPING
    }

    /// Slices of which every byte has arrived: they come in order.
    fn whole_slices(&self) -> usize {
        let arrived = self.bytes.len();
        self.head
            .ends
            .partition_point(|end| *end as usize <= arrived)
    }
}

/// What is known of a tensor.
#[derive(Debug)]
enum Slot {
    /// Nothing has arrived of it, and nothing that arrives after this moment counts.
    Unseen(Time),
    Live(Assembly),
    Done,
}

/// What a receiver may keep, and how long it waits.
#[derive(Debug)]
pub(super) struct Intake {
    slices: u16,
    deadline: Duration,
    latest_only: bool,
    tensors: usize,
    bytes: usize,
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    live: usize,
    memory: usize,
    events: VecDeque<Event>,
    /// No deadline comes before: looking at every slot for each message would cost too much.
    quiet_until: Time,
}

impl Intake {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            slices: config.slices,
            deadline: config.deadline,
            latest_only: config.latest_only,
            tensors: config.limits.tensors_in_progress,
            bytes: config.limits.bytes_in_progress,
            first: 0,
            slots: VecDeque::new(),
            live: 0,
            memory: 0,
            events: VecDeque::new(),
            quiet_until: Time::ZERO,
        }
    }

    /// Bytes kept of tensors in progress.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.memory
    }

    /// What happened since the last call.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A tensor begins, captured at `captured` by our clock. Whether it is wanted: its bytes are to be
    /// thrown away where it is not.
    pub(super) fn begin(
        &mut self,
        now: Time,
        head: TensorHead,
        captured: Time,
        stats: &mut Stats,
    ) -> bool {
        self.expire(now, stats);
        let id = head.id.0;
        let Some(index) = id.checked_sub(self.first) else {
            stats.late += 1;
            return false;
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index >= MOST_SLOTS + self.slots.len() {
            stats.conflicts += 1;
            return false;
        }
        let unseen_until = captured + self.deadline;
        self.quiet_until = self.quiet_until.min(unseen_until);
        while self.slots.len() <= index {
            self.slots.push_back(Slot::Unseen(unseen_until));
        }
        match self.slots.get(index) {
            Some(Slot::Unseen(_)) => {}
            Some(Slot::Live(_)) => {
                stats.conflicts += 1;
                return false;
            }
            Some(Slot::Done) | None => {
                stats.late += 1;
                return false;
            }
        }
        if captured + self.deadline <= now {
            stats.late += 1;
            self.lose(id, stats);
            self.pop_done();
            return false;
        }
        let assembly = Assembly {
            captured,
            first_arrival: now,
            bytes: Vec::new(),
            head,
        };
        self.live += 1;
        self.memory += assembly.memory();
        let whole = assembly.head.bytes() == 0;
        self.set(id, Slot::Live(assembly));
        while self.slots.len() > MOST_SLOTS {
            self.end(self.first, ReleaseReason::Evicted, now, stats);
        }
        self.keep_within_limits(now, stats);
        if whole {
            self.end(id, ReleaseReason::Complete, now, stats);
        }
        true
    }

    /// More bytes of a tensor that began. Whether it still wants them.
    pub(super) fn extend(
        &mut self,
        now: Time,
        id: TensorId,
        bytes: &[u8],
        stats: &mut Stats,
    ) -> bool {
        let Some(assembly) = self.assembly(id.0) else {
            return false;
        };
        assembly.bytes.extend_from_slice(bytes);
        let whole = assembly.bytes.len() >= assembly.head.bytes();
        self.memory += bytes.len();
        if whole {
            // A deadline that came first has been met by nobody; what is whole is of use.
            self.end(id.0, ReleaseReason::Complete, now, stats);
            return false;
        }
        self.keep_within_limits(now, stats);
        self.is_live(id)
    }

    /// Whether a tensor has begun and not ended.
    pub(super) fn is_live(&self, id: TensorId) -> bool {
        let slot =
            id.0.checked_sub(self.first)
                .and_then(|i| usize::try_from(i).ok());
        matches!(slot.and_then(|i| self.slots.get(i)), Some(Slot::Live(_)))
    }

    /// Ends what has passed its deadline.
    pub(super) fn expire(&mut self, now: Time, stats: &mut Stats) {
        if now < self.quiet_until {
            return;
        }
        for id in self.first..self.first + self.slots.len() as u64 {
            if self.end_of(id).is_some_and(|end| end <= now) {
                self.end(id, ReleaseReason::Deadline, now, stats);
            }
        }
        self.pop_done();
        let ends = self.slots.iter().filter_map(|slot| self.slot_end(slot));
        self.quiet_until = ends.min().unwrap_or(Time::from_micros(u64::MAX));
    }

    /// When to look for deadlines that have come: at the earliest, or before it where that one's tensor has
    /// ended; none while no tensor is waited for.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        (!self.slots.is_empty()).then_some(self.quiet_until)
    }

    fn slot_end(&self, slot: &Slot) -> Option<Time> {
        match slot {
            Slot::Unseen(end) => Some(*end),
            Slot::Live(assembly) => Some(assembly.captured + self.deadline),
            Slot::Done => None,
        }
    }

    fn end_of(&self, id: u64) -> Option<Time> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        self.slot_end(self.slots.get(index)?)
    }

    fn assembly(&mut self, id: u64) -> Option<&mut Assembly> {
        let index = usize::try_from(id.checked_sub(self.first)?).ok()?;
        match self.slots.get_mut(index)? {
            Slot::Live(assembly) => Some(assembly),
            Slot::Unseen(_) | Slot::Done => None,
        }
    }

    fn set(&mut self, id: u64, new: Slot) -> Slot {
        let index = id
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok());
        match index.and_then(|i| self.slots.get_mut(i)) {
            Some(slot) => std::mem::replace(slot, new),
            None => Slot::Done,
        }
    }

    /// Forces the oldest tensors out while there are too many.
    fn keep_within_limits(&mut self, now: Time, stats: &mut Stats) {
        while self.live > self.tensors || (self.memory > self.bytes && self.live > 0) {
            let live = self
                .slots
                .iter()
                .position(|slot| matches!(slot, Slot::Live(_)));
            let Some(oldest) = live else { return };
            let id = self.first + oldest as u64;
            self.end(id, ReleaseReason::Evicted, now, stats);
        }
    }

    /// Ends a tensor, whatever has arrived of it.
    fn end(&mut self, id: u64, reason: ReleaseReason, now: Time, stats: &mut Stats) {
        match self.set(id, Slot::Done) {
            Slot::Unseen(_) => self.lose(id, stats),
            Slot::Live(assembly) => {
                self.live -= 1;
                self.memory -= assembly.memory();
                if assembly.whole_slices() == 0 {
                    self.lose(id, stats);
                } else {
                    self.release(id, assembly, reason, now, stats);
                }
            }
            Slot::Done => {}
        }
        self.pop_done();
    }

    fn release(
        &mut self,
        id: u64,
        assembly: Assembly,
        reason: ReleaseReason,
        now: Time,
        stats: &mut Stats,
    ) {
        let counter = match reason {
            ReleaseReason::Complete => &mut stats.tensors_complete,
            ReleaseReason::Evicted => &mut stats.tensors_evicted,
            _ => &mut stats.tensors_deadline,
        };
        *counter += 1;
        let info = self.info(&assembly, reason, now);
        let mut start = 0;
        let spans = assembly.head.ends.iter().enumerate().map(|(index, end)| {
            let span = (start, *end - start);
            start = *end;
            (index < usize::from(info.slices_received)).then_some(span)
        });
        let spans = spans.collect();
        if let Some(tensor) = ReceivedTensor::new(info, Bytes::from(assembly.bytes), spans) {
            self.events.push_back(Event::Tensor(tensor));
        }
        if self.latest_only {
            self.supersede(id, now, stats);
        }
    }

    fn info(&self, assembly: &Assembly, reason: ReleaseReason, now: Time) -> TensorInfo {
        let mut info = TensorInfo::new(assembly.head.id, assembly.head.frame, self.slices);
        info.captured = assembly.captured;
        info.step = assembly.head.step;
        info.first_arrival = assembly.first_arrival;
        info.released = now;
        info.reason = reason;
        info.slices_received = u16::try_from(assembly.whole_slices()).unwrap_or(u16::MAX);
        info
    }

    /// Gives up every tensor before this one.
    fn supersede(&mut self, newest: u64, now: Time, stats: &mut Stats) {
        for id in self.first..newest {
            match self.set(id, Slot::Done) {
                Slot::Unseen(_) => self.lose(id, stats),
                Slot::Live(assembly) => {
                    self.live -= 1;
                    self.memory -= assembly.memory();
                    stats.tensors_superseded += 1;
                    let info = self.info(&assembly, ReleaseReason::Superseded, now);
                    self.events.push_back(Event::Superseded(info));
                }
                Slot::Done => {}
            }
        }
    }

    fn lose(&mut self, id: u64, stats: &mut Stats) {
        self.set(id, Slot::Done);
        stats.tensors_lost += 1;
        if let Some(Event::Lost { first, count }) = self.events.back_mut()
            && first.0 + *count == id
        {
            *count += 1;
            return;
        }
        let first = TensorId(id);
        self.events.push_back(Event::Lost { first, count: 1 });
    }

    fn pop_done(&mut self) {
        while let Some(Slot::Done) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;

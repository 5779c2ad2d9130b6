//! What comes in: packets to tensors, repair symbols to packets, within the limits of memory.

use super::{Scope, Slot, TensorWindow, Unseen};
use crate::event::ReleaseReason;
use crate::recv::assembly::{Accepted, Assembly, Packet};
use crate::recv::repairs::{Holding, Recovered, Repairs, Stored};
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{Repair, TensorId};

/// What became of a source packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filed {
    New,
    /// Its tensor had met its end.
    Late,
    /// A duplicate, or beyond a limit.
    Dropped,
    /// It contradicts others, so nothing it says can be relied on.
    Conflict,
}

impl TensorWindow {
    /// Files a packet, whose slices are among those of the stream; counts it if it is dropped.
    /// `captured` is the mapped time of capture.
    pub(crate) fn add(
        &mut self,
        packet: &Packet<'_>,
        captured: Time,
        scope: &mut Scope<'_>,
    ) -> Filed {
        let (now, data) = (scope.now, &packet.data);
        let (id, frame) = self.numbers(data);
        let cost = Assembly::cost(packet);
        if id.0 >= self.next_id() {
            self.make_room(id, captured, scope);
        }
        if id.0 >= self.frame_of {
            (self.newest_frame, self.frame_of) = (frame, id.0);
        }
        match self.slot(id) {
            Some(Slot::Live(assembly)) => match assembly.judge(data) {
                Accepted::New => {}
                Accepted::Duplicate => {
                    scope.stats.duplicates += 1;
                    return Filed::Dropped;
                }
                Accepted::Conflict => {
                    scope.stats.conflicts += 1;
                    return Filed::Conflict;
                }
            },
            Some(Slot::Unseen(_)) if captured + scope.config.deadline <= now => {
                scope.stats.late += 1;
                self.lose(id.0, 1, scope.stats);
                return Filed::Dropped;
            }
            Some(Slot::Unseen(_)) => {}
            Some(Slot::Done) | None => {
                self.count_late(id, scope.stats);
                return Filed::Late;
            }
        }
        if !self.make_memory(id, cost, true, scope) {
            scope.stats.over_limit += 1;
            return Filed::Dropped;
        }
        // Making memory can have ended this tensor too, where only the latest is wanted.
        let Some(slot) = self.index(id).and_then(|i| self.slots.get_mut(i)) else {
            self.count_late(id, scope.stats);
            return Filed::Dropped;
        };
        if let Slot::Unseen(unseen) = slot {
            let new = |books, room| {
                let slices = scope.config.slices;
                Assembly::new(data, frame, captured, now, slices, books, room)
            };
            let mut assembly = self.spare.tensor(&scope.config.limits, new);
            assembly.passage.outspanned = unseen.outspanned;
            assembly.passage.repairs = unseen.repairs;
            if unseen.repairs.is_some() {
                assembly.passage.greatest = assembly.packets() - 1;
            }
            *slot = Slot::Live(assembly);
        }
        let Slot::Live(assembly) = slot else {
            self.count_late(id, scope.stats);
            return Filed::Dropped;
        };
        let before = assembly.memory();
        assembly.add(packet);
        self.repairs.touch(id.0, u32::from(data.packet_index()));
        self.memory += assembly.memory() - before;
        if !packet.recovered {
            assembly.passage.newest = now;
            let index = u32::from(data.packet_index());
            assembly.passage.greatest = assembly.passage.greatest.max(index);
        }
        let complete = assembly.is_complete();
        let repaired = assembly.was_repaired();
        if !packet.recovered {
            self.follow(id, now);
        }
        if complete {
            let reason = if repaired {
                ReleaseReason::Recovered
            } else {
                ReleaseReason::Complete
            };
            self.release(id, reason, scope);
        }
        Filed::New
    }

    /// Keeps a REPAIR packet; false, counted, if it is dropped.
    pub(crate) fn add_repair(&mut self, repair: &Repair<'_>, scope: &mut Scope<'_>) -> bool {
        let newest = self.newest_of(repair);
        if repair.span > scope.config.span {
            scope.stats.conflicts += 1;
            return false;
        }
        let most = scope.config.limits.tensors_in_progress as u64;
        if !self.slots.is_empty() && newest.0.saturating_sub(self.first) >= most {
            // It would force out tensors in progress.
            scope.stats.over_limit += 1;
            return false;
        }
        if newest.0 >= self.next_id() {
            // Its capture is not known yet: it was not later than now.
            self.make_room(newest, scope.now, scope);
        }
        let oldest = (newest.0 + 1).saturating_sub(u64::from(repair.span));
        if !(oldest..=newest.0).any(|id| self.is_open(id)) {
            let counter = if self.complete.contains(newest.0) {
                &mut scope.stats.repairs_unneeded
            } else {
                &mut scope.stats.repairs_late
            };
            *counter += 1;
            return false;
        }
        let cost = Repairs::cost(repair);
        if !self.make_memory(newest, cost, false, scope) {
            scope.stats.over_limit += 1;
            return false;
        }
        let before = self.repairs.memory();
        let stored = self.repairs.add(newest.0, repair);
        self.memory += self.repairs.memory() - before;
        let counter = match stored {
            Stored::New => {
                self.note_repair(newest, repair, scope);
                return true;
            }
            Stored::Duplicate => &mut scope.stats.duplicates,
            Stored::Conflict => &mut scope.stats.conflicts,
            Stored::TooMany => &mut scope.stats.over_limit,
        };
        *counter += 1;
        false
    }

    /// Notes what the arrival of a REPAIR packet tells of its tensor and those before it.
    fn note_repair(&mut self, newest: TensorId, repair: &Repair<'_>, scope: &Scope<'_>) {
        self.follow(newest, scope.now);
        let blocks = u32::from(repair.block_count);
        let all = u32::from(repair.repair_count) * blocks;
        let nth = u32::from(repair.repair_index) * blocks + u32::from(repair.block_index) + 1;
        let seen = |before: Option<(u32, u32)>| {
            let seen = before.map_or(nth, |(seen, _)| seen.max(nth));
            Some((seen.min(all), all))
        };
        match self.slot_mut(newest) {
            Some(Slot::Live(assembly)) => {
                let last = assembly.packets() - 1;
                let passage = &mut assembly.passage;
                passage.newest = scope.now;
                // Source packets go first, so all of them have passed.
                passage.greatest = last;
                passage.repairs = seen(passage.repairs);
            }
            Some(Slot::Unseen(unseen)) => {
                unseen.newest = scope.now;
                unseen.repairs = seen(unseen.repairs);
            }
            Some(Slot::Done) | None => {}
        }
    }

    /// Computes what can be computed of lost source packets: symbols of as many bytes as the result says,
    /// one after another in `out`, in the order of `found`.
    pub(crate) fn recover(
        &mut self,
        out: &mut Vec<u8>,
        found: &mut Vec<Recovered>,
        stats: &mut Stats,
    ) -> usize {
        let before = self.repairs.memory();
        let Self {
            first,
            slots,
            past,
            repairs,
            ..
        } = self;
        let holding = |id: u64| {
            let index = id.checked_sub(*first).and_then(|i| usize::try_from(i).ok());
            match index.map(|index| slots.get(index)) {
                Some(Some(Slot::Live(assembly))) => Holding::Live(assembly),
                Some(Some(Slot::Unseen(_))) => Holding::Unseen,
                _ => past
                    .iter()
                    .find(|past| past.id == id)
                    .map_or(Holding::Gone, Holding::Released),
            }
        };
        let length = repairs.recover(holding, out, found, &mut stats.conflicts);
        self.memory -= before - self.repairs.memory();
        length
    }

    /// Opens slots up to `id`; the oldest end where the window would grow beyond its limit.
    fn make_room(&mut self, id: TensorId, captured: Time, scope: &mut Scope<'_>) {
        let most = scope.config.limits.tensors_in_progress as u64;
        while !self.slots.is_empty() && id.0 - self.first >= most {
            self.end(TensorId(self.first), ReleaseReason::Evicted, scope);
        }
        if id.0 - self.first >= most {
            let lost = id.0 - self.first - most + 1;
            self.lose(self.first, lost, scope.stats);
            self.first += lost;
        }
        while self.next_id() <= id.0 {
            self.slots.push_back(Slot::Unseen(Unseen {
                captured,
                newest: scope.now,
                repairs: None,
                outspanned: None,
            }));
        }
    }

    /// Makes room for `cost` bytes of tensor `id`: released tensors give way first. For a source packet
    /// the oldest blocks of REPAIR packets do then, and at last the oldest other tensors; DATA never
    /// yields to REPAIR.
    fn make_memory(
        &mut self,
        id: TensorId,
        cost: usize,
        data: bool,
        scope: &mut Scope<'_>,
    ) -> bool {
        let limits = &scope.config.limits;
        let own = match self.slot(id) {
            Some(Slot::Live(assembly)) => assembly.memory(),
            _ => 0,
        };
        if own + cost > limits.tensor_bytes.min(limits.bytes_in_progress) {
            return false;
        }
        while self.memory() + cost > limits.bytes_in_progress {
            if self.past.pop_front().is_some() {
                continue;
            }
            if !data {
                return false;
            }
            let before = self.repairs.memory();
            if let Some(dropped) = self.repairs.drop_oldest() {
                self.memory -= before - self.repairs.memory();
                scope.stats.over_limit += dropped;
                continue;
            }
            let live = (self.first..).zip(&self.slots);
            let oldest = live
                .filter(|(other, slot)| *other != id.0 && matches!(slot, Slot::Live(_)))
                .map(|(other, _)| other)
                .next();
            let Some(oldest) = oldest else {
                return false;
            };
            self.release(TensorId(oldest), ReleaseReason::Evicted, scope);
        }
        true
    }
}

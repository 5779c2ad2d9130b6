//! How tensors meet their end.

use super::{Scope, Slot, TensorWindow};
use crate::event::ReleaseReason;
use crate::recv::end::End;
use crate::recv::past::Past;
use crate::stats::Stats;
use crate::wire::TensorId;

impl TensorWindow {
    /// Ends a tensor, whatever has arrived of it.
    pub(super) fn end(&mut self, id: TensorId, reason: ReleaseReason, scope: &mut Scope<'_>) {
        match self.slot(id) {
            Some(Slot::Live(_)) => self.release(id, reason, scope),
            Some(Slot::Unseen(_)) => self.lose(id.0, 1, scope.stats),
            Some(Slot::Done) | None => self.pop_done(),
        }
    }

    pub(super) fn release(&mut self, id: TensorId, reason: ReleaseReason, scope: &mut Scope<'_>) {
        let Some(index) = self.index(id) else { return };
        let Slot::Live(mut assembly) = self.set(index, Slot::Done) else {
            return;
        };
        self.memory -= assembly.memory();
        let stats = &mut *scope.stats;
        if matches!(reason, ReleaseReason::Complete | ReleaseReason::Recovered) {
            self.complete.insert(id.0);
        }
        let counter = match reason {
            ReleaseReason::Complete => &mut stats.tensors_complete,
            ReleaseReason::Recovered => &mut stats.tensors_recovered,
            ReleaseReason::Evicted => &mut stats.tensors_evicted,
            ReleaseReason::Exhausted => &mut stats.tensors_exhausted,
            _ => &mut stats.tensors_deadline,
        };
        *counter += 1;
        let info = assembly.info(id, scope.now, reason);
        let order = scope.orders.get(assembly.interleaver());
        let past = (scope.config.span > 1).then(|| Past::new(id.0, &assembly));
        let tensor = assembly.release(info, &order);
        self.spare.released(tensor.bytes.len());
        self.spare.keep(assembly);
        if let Some(past) = past {
            let place = self.past.partition_point(|other| other.id < past.id);
            self.past.insert(place, past.with(tensor.bytes.clone()));
            // Joined fragments may have made it longer than what was counted.
            while self.memory() > scope.config.limits.bytes_in_progress
                && self.past.pop_front().is_some()
            {}
        }
        self.ends.push_back(End::Released(tensor));
        if scope.config.latest_only {
            self.supersede(index, scope);
        }
        self.pop_done();
    }

    /// Gives up every tensor before the one with this index.
    pub(super) fn supersede(&mut self, index: usize, scope: &mut Scope<'_>) {
        for older in 0..index {
            let id = self.first + older as u64;
            match self.set(older, Slot::Done) {
                Slot::Live(assembly) => {
                    self.memory -= assembly.memory();
                    scope.stats.tensors_superseded += 1;
                    let info = assembly.info(TensorId(id), scope.now, ReleaseReason::Superseded);
                    self.ends.push_back(End::Superseded(info));
                    self.spare.keep(assembly);
                }
                Slot::Unseen(_) => self.tell_lost(id, 1, scope.stats),
                Slot::Done => {}
            }
        }
    }

    pub(super) fn lose(&mut self, first: u64, count: u64, stats: &mut Stats) {
        if let Some(index) = self.index(TensorId(first)) {
            self.set(index, Slot::Done);
        }
        self.tell_lost(first, count, stats);
        self.pop_done();
    }

    pub(super) fn tell_lost(&mut self, first: u64, count: u64, stats: &mut Stats) {
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

    pub(super) fn pop_done(&mut self) {
        while let Some(Slot::Done) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        // The oldest block that a tensor in progress can be in goes back so far.
        let (first, span) = (self.first, self.span);
        let gone = |past: &Past| past.id + span <= first;
        while self.past.front().is_some_and(gone) {
            self.past.pop_front();
        }
        let before = self.repairs.memory();
        let Self {
            first,
            slots,
            repairs,
            ..
        } = self;
        repairs.forget(|id| {
            let index = id.checked_sub(*first).and_then(|i| usize::try_from(i).ok());
            let slot = index.map(|index| slots.get(index));
            // What has not been opened yet is still to come.
            matches!(slot, Some(None | Some(Slot::Live(_) | Slot::Unseen(_))))
        });
        self.memory -= before - self.repairs.memory();
    }
}

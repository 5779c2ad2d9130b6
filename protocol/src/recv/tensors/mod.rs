//! The tensors in progress, and how each meets its end (wire-format.md, section 8.2).

mod ends;
mod intake;
mod spare;

pub(crate) use intake::Filed;

use std::collections::VecDeque;

use self::spare::Spare;
use crate::config::Config;
use crate::event::ReleaseReason;
use crate::fec;
use crate::interleave::Orders;
use crate::recv::assembly::Assembly;
use crate::recv::end::End;
use crate::recv::exhaustion::Prospect;
use crate::recv::past::Past;
use crate::recv::repairs::Repairs;
use crate::recv::seen::Seen;
use crate::stats::Stats;
use crate::time::Time;
use crate::wire::{Data, FrameNumber, Repair, TensorId};

/// What the window works with in one call.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) orders: &'a mut Orders,
    pub(crate) stats: &'a mut Stats,
    pub(crate) prospect: Prospect<'a>,
}

#[derive(Debug)]
enum Slot {
    /// Packets have arrived.
    Live(Box<Assembly>),
    /// A later tensor or a REPAIR packet has arrived, none of its source packets.
    Unseen(Unseen),
    /// Met its end.
    Done,
}

/// A tensor of which no source packet has arrived.
#[derive(Debug)]
struct Unseen {
    /// When it was captured, at the latest.
    captured: Time,
    /// When its newest REPAIR packet arrived, or what first told of it.
    newest: Time,
    /// As in [`Passage`](crate::recv::assembly::Passage).
    repairs: Option<(u32, u32)>,
    /// As in [`Passage`](super::assembly::Passage).
    outspanned: Option<Time>,
}

impl Slot {
    /// When it meets its end if nothing more comes, and how.
    fn end(
        &self,
        now: Time,
        config: &Config,
        prospect: &Prospect<'_>,
    ) -> Option<(Time, ReleaseReason)> {
        let (passed, outspanned, spanned, captured) = match self {
            Self::Live(assembly) => (
                prospect.passed(now, assembly.packets(), &assembly.passage),
                assembly.passage.outspanned,
                // A block that spans it has a packet of a later tensor too.
                (assembly.packets() as usize) < fec::MAX_SOURCE,
                assembly.captured,
            ),
            Self::Unseen(unseen) => (
                prospect.passed_unseen(now, unseen.newest, unseen.repairs),
                unseen.outspanned,
                true,
                unseen.captured,
            ),
            Self::Done => return None,
        };
        let deadline = captured + config.deadline;
        let passed = if config.span > 1 && spanned {
            prospect.outspanned(outspanned)
        } else {
            Some(passed)
        };
        let exhausted = passed.map_or(deadline, |passed| {
            prospect.exhausted(captured, passed, deadline)
        });
        Some(if exhausted < deadline {
            (exhausted, ReleaseReason::Exhausted)
        } else {
            (deadline, ReleaseReason::Deadline)
        })
    }
}

/// The tensors from the oldest in progress to the newest known.
#[derive(Debug)]
pub(crate) struct TensorWindow {
    /// Number of the tensor in the first slot; all before it have met their end.
    first: u64,
    slots: VecDeque<Slot>,
    /// Frame of the tensor with the greatest number of which a source packet came, and that number.
    newest_frame: FrameNumber,
    frame_of: u64,
    memory: usize,
    repairs: Repairs,
    /// Tensors that a block spans.
    span: u64,
    /// Released tensors, in order of number, that a block of one in progress or to come may span.
    past: VecDeque<Past>,
    complete: Seen,
    ends: VecDeque<End>,
    spare: Spare,
}

impl TensorWindow {
    pub(crate) fn new(span: u8) -> Self {
        Self {
            span: span.into(),
            first: 0,
            slots: VecDeque::new(),
            newest_frame: FrameNumber::default(),
            frame_of: 0,
            memory: 0,
            repairs: Repairs::default(),
            past: VecDeque::new(),
            complete: Seen::default(),
            ends: VecDeque::new(),
            spare: Spare::default(),
        }
    }

    /// The number of the tensor that a packet belongs to, and of its frame.
    pub(crate) fn numbers(&self, data: &Data<'_>) -> (TensorId, FrameNumber) {
        let id = TensorId::extend(data.tensor_id(), TensorId(self.next_id()));
        let frame = FrameNumber::extend(data.frame_number(), self.newest_frame.next());
        (id, frame)
    }

    /// Whether the tensor is known to have been sent.
    pub(crate) fn knows(&self, id: TensorId) -> bool {
        id.0 < self.next_id()
    }

    /// The number of the newest tensor of a block.
    pub(crate) fn newest_of(&self, repair: &Repair<'_>) -> TensorId {
        TensorId::extend(repair.tensor_id, TensorId(self.next_id()))
    }

    /// Bytes kept on behalf of the peer: of all tensors in progress, and of those released that blocks
    /// to come may span.
    pub(crate) fn memory(&self) -> usize {
        self.memory + self.past.iter().map(Past::memory).sum::<usize>()
    }

    /// Tensors in progress: some of their packets have arrived.
    pub(crate) fn live(&self) -> usize {
        let live = self.slots.iter();
        live.filter(|slot| matches!(slot, Slot::Live(_))).count()
    }

    /// Releases or gives up what has reached its deadline, or what nothing can help any more.
    pub(crate) fn expire(&mut self, scope: &mut Scope<'_>) {
        while let Some((id, at, reason)) = self.earliest(scope.now, scope.config, &scope.prospect)
            && at <= scope.now
        {
            self.end(TensorId(id), reason, scope);
        }
    }

    /// When the next tensor in progress meets its end.
    pub(crate) fn next_end(
        &self,
        now: Time,
        config: &Config,
        prospect: &Prospect<'_>,
    ) -> Option<Time> {
        self.earliest(now, config, prospect).map(|(_, at, _)| at)
    }

    /// When the sender should be told, for the first time or again, what is missing of a tensor whose packets
    /// have passed.
    pub(crate) fn next_passing(
        &self,
        now: Time,
        config: &Config,
        prospect: &Prospect<'_>,
    ) -> Option<Time> {
        let live = self.slots.iter().filter_map(|slot| match slot {
            Slot::Live(assembly) => told_at(assembly, now, config, prospect),
            _ => None,
        });
        live.min()
    }

    /// Whether the packets of a tensor have passed, with some missing, and its sender should be told.
    pub(crate) fn take_passed(
        &mut self,
        now: Time,
        config: &Config,
        prospect: &Prospect<'_>,
    ) -> bool {
        let mut passed = false;
        for slot in &mut self.slots {
            if let Slot::Live(assembly) = slot
                && told_at(assembly, now, config, prospect).is_some_and(|at| at <= now)
            {
                let times = assembly.passage.told.map_or(0, |(times, _)| times);
                assembly.passage.told = Some((times.saturating_add(1), now));
                passed = true;
            }
        }
        passed
    }

    /// The next end to tell.
    pub(crate) fn poll_end(&mut self) -> Option<End> {
        self.ends.pop_front()
    }

    fn earliest(
        &self,
        now: Time,
        config: &Config,
        prospect: &Prospect<'_>,
    ) -> Option<(u64, Time, ReleaseReason)> {
        let ends = (self.first..).zip(&self.slots).filter_map(|(id, slot)| {
            let (at, reason) = slot.end(now, config, prospect)?;
            Some((id, at, reason))
        });
        ends.min_by_key(|(_, at, _)| *at)
    }

    /// Notes that packets of tensor `id` have come, and those of earlier ones therefore have passed.
    fn follow(&mut self, id: TensorId, now: Time) {
        let earlier = self.first..id.0;
        for (slot, earlier) in self.slots.iter_mut().zip(earlier) {
            let outspanned = (earlier + self.span <= id.0).then_some(now);
            match slot {
                Slot::Live(assembly) => {
                    let passage = &mut assembly.passage;
                    passage.followed.get_or_insert(now);
                    passage.outspanned = passage.outspanned.or(outspanned);
                }
                Slot::Unseen(unseen) => unseen.outspanned = unseen.outspanned.or(outspanned),
                Slot::Done => {}
            }
        }
    }

    fn index(&self, id: TensorId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    fn slot(&self, id: TensorId) -> Option<&Slot> {
        self.slots.get(self.index(id)?)
    }

    fn slot_mut(&mut self, id: TensorId) -> Option<&mut Slot> {
        let index = self.index(id)?;
        self.slots.get_mut(index)
    }

    fn is_open(&self, id: u64) -> bool {
        matches!(
            self.slot(TensorId(id)),
            Some(Slot::Live(_) | Slot::Unseen(_))
        )
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
}

/// When the sender should next be told what is missing of a tensor; never in a stream that sends nothing
/// again.
fn told_at(
    assembly: &Assembly,
    now: Time,
    config: &Config,
    prospect: &Prospect<'_>,
) -> Option<Time> {
    if !prospect.retransmission {
        return None;
    }
    match assembly.passage.told {
        None => Some(prospect.passed(now, assembly.packets(), &assembly.passage)),
        Some((times, at)) => {
            prospect.reported_again(times, at, assembly.captured + config.deadline)
        }
    }
}

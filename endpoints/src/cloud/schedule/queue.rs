//! Which tensors are computed next: an order without clock, threads or model.
//!
//! Every session has a *lane*, a queue of its own of which only the first is ever eligible, and only while
//! none of the lane is at work: what a session conceals depends on what it concealed before.
//!
//! **Rule.** Among lanes that are within their share, the first that is due earliest goes first; one that
//! can no longer be answered in time goes after all that can. A lane is within its share while it is at
//! most [`AHEAD`] of its mean tensors ahead of the lane that has been served least, of those that have work.
//! Lanes beyond their share go only where no other can.
//!
//! So a session is served in the order of deadlines as long as all can be served; where they cannot, lanes
//! that always have work are served for equal times, to within `AHEAD + 1` tensors, whatever their deadlines
//! and however many tensors they bring (start-time fair queueing, Goyal, Vin and Cheng 1996, decides who may
//! go; earliest deadline first, who does). A lane saves no credit while it has no work.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tensorwire_protocol::Time;

use super::sizes::Sizes;

/// Mean tensors of its own by which a lane may be ahead of the one that was served least. More lets
/// deadlines decide longer; fewer makes a burst of one session hurt the others less.
pub const AHEAD: u32 = 4;
/// The share of a new sample in a mean cost, as one in so many; of the first samples it is the plain mean.
const GAIN: u32 = 8;
/// Tensors that workers have to have begun since one of them last found nothing to do, before several run
/// together: where there is little to do, throughput is no gain, and the first would wait for the last.
pub const BUSY: usize = 16;

/// Names a lane. None is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(u64);

/// What may be computed together with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Group {
    /// Tensors with the same name run together.
    pub id: u64,
    /// How many at once.
    pub sizes: Sizes,
}

/// Something to be done for a session.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Job<T> {
    /// When it should be done. None for what costs next to nothing and is not waited for, which goes first.
    pub due: Option<Time>,
    /// What it may be computed together with.
    pub group: Option<Group>,
    /// The thing.
    pub item: T,
}

/// Where a lane is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It has no work.
    Idle,
    /// Within its share, and its first can be answered in time, as far as was looked.
    OnTime(Time),
    /// Within its share, but its first is too late.
    Late(Time),
    /// Beyond its share until the least served has had so much.
    Ahead(Duration),
    /// Its first is at work.
    AtWork,
}

#[derive(Debug)]
struct Lane<T> {
    jobs: VecDeque<Job<T>>,
    place: Place,
    /// Service that it has had, counted so that idle lanes do not fall behind.
    served: Duration,
    /// Mean cost of its tensors, and how many are in it, up to [`GAIN`].
    cost: Duration,
    samples: u32,
    /// Whether what is at work counts into the mean.
    measured: bool,
}

/// The lanes, and the order of what waits in them.
///
/// [`push`](Self::push) what is to be done, ask for the [`next`](Self::next) whenever a worker is free, and
/// tell when a lane's is [`done`](Self::done). Each takes a time logarithmic in the number of lanes.
#[derive(Debug)]
pub struct Queue<T> {
    lanes: HashMap<LaneId, Lane<T>>,
    opened: u64,
    workers: usize,
    /// Begun since a worker last found nothing to do.
    streak: usize,
    on_time: BTreeSet<(Time, LaneId)>,
    late: BTreeSet<(Time, LaneId)>,
    ahead: BTreeSet<(Duration, LaneId)>,
    /// Lanes within their share whose first may run with others.
    groups: BTreeSet<(u64, Time, LaneId)>,
    /// Lanes with work, by their service.
    backlog: BTreeSet<(Duration, LaneId)>,
    /// The least service of a lane with work; never falls.
    floor: Duration,
    waiting: usize,
    at_work: usize,
}

impl<T> Queue<T> {
    /// No lanes yet, for so many workers, at least one: a run takes no more than a worker's part of what
    /// could run together, so that none stays idle for a larger run of another.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            opened: 0,
            workers: workers.max(1),
            streak: 0,
            on_time: BTreeSet::new(),
            late: BTreeSet::new(),
            ahead: BTreeSet::new(),
            groups: BTreeSet::new(),
            backlog: BTreeSet::new(),
            floor: Duration::ZERO,
            waiting: 0,
            at_work: 0,
        }
    }

    /// A new lane. It is served as if it had been among the least served all the time.
    pub fn open(&mut self) -> LaneId {
        let id = LaneId(self.opened);
        self.opened += 1;
        self.lanes.insert(
            id,
            Lane {
                jobs: VecDeque::new(),
                place: Place::Idle,
                served: self.floor,
                cost: Duration::ZERO,
                samples: 0,
                measured: false,
            },
        );
        id
    }

    /// Removes a lane and gives back what waited in it. What is at work of it goes on, and need not be told
    /// to be done.
    pub fn close(&mut self, id: LaneId) -> VecDeque<Job<T>> {
        self.withdraw(id);
        let Some(lane) = self.lanes.remove(&id) else {
            return VecDeque::new();
        };
        self.backlog.remove(&(lane.served, id));
        self.waiting -= lane.jobs.len();
        self.at_work -= usize::from(lane.place == Place::AtWork);
        self.settle();
        lane.jobs
    }

    /// Adds to the end of a lane. Gives it back if there is no such lane.
    ///
    /// # Errors
    /// If there is no such lane.
    pub fn push(&mut self, id: LaneId, job: Job<T>) -> Result<(), Job<T>> {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Err(job);
        };
        lane.jobs.push_back(job);
        self.waiting += 1;
        if lane.place == Place::Idle {
            lane.served = lane.served.max(self.floor);
            self.backlog.insert((lane.served, id));
            self.settle();
            self.enter(id);
        }
        Ok(())
    }

    /// What a worker that is free at `now` does next, the most urgent first: usually one thing, or as many
    /// as their group says, of as many lanes. Never waits for more to come.
    ///
    /// A run takes several only where workers have been [`BUSY`], and where the first is not made late by it.
    pub fn next(&mut self, now: Time) -> Option<Vec<(LaneId, T)>> {
        let Some(leader) = self.leader(now) else {
            self.streak = 0;
            return None;
        };
        let mut run = Vec::new();
        for id in self.companions(leader, now) {
            run.extend(self.start(id));
        }
        self.streak = self.streak.saturating_add(run.len());
        Some(run)
    }

    /// What was at work of a lane is done, at this cost: its part of a run that had several.
    pub fn done(&mut self, id: LaneId, cost: Duration) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if lane.place != Place::AtWork {
            return;
        }
        self.at_work -= 1;
        lane.place = Place::Idle;
        self.backlog.remove(&(lane.served, id));
        lane.served = lane.served.saturating_add(cost);
        if lane.measured {
            let before = lane.samples.min(GAIN - 1);
            lane.cost = lane.cost.saturating_mul(before).saturating_add(cost) / (before + 1);
            lane.samples = before + 1;
        }
        if !lane.jobs.is_empty() {
            self.backlog.insert((lane.served, id));
        }
        self.settle();
        self.enter(id);
    }

    /// The mean cost of a lane's tensors; none before the first.
    #[must_use]
    pub fn cost(&self, id: LaneId) -> Option<Duration> {
        let lane = self.lanes.get(&id).filter(|lane| lane.samples > 0);
        lane.map(|lane| lane.cost)
    }

    /// Whether a free worker would find something to do.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !(self.on_time.is_empty() && self.late.is_empty() && self.ahead.is_empty())
    }

    /// Whether nothing waits and nothing is at work.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.waiting == 0 && self.at_work == 0
    }

    /// What waits, in all lanes.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Service that a lane has had, idle times made up for; for tests of fairness.
    #[cfg(test)]
    pub(super) fn served(&self, id: LaneId) -> Duration {
        self.lanes
            .get(&id)
            .map_or(Duration::ZERO, |lane| lane.served)
    }

    /// The lane that goes first.
    fn leader(&mut self, now: Time) -> Option<LaneId> {
        while let Some((due, id)) = self.on_time.first().copied() {
            let lane = self.lanes.get_mut(&id)?;
            let dated = lane.jobs.front().is_some_and(|job| job.due.is_some());
            if !dated || now + lane.cost <= due {
                return Some(id);
            }
            lane.place = Place::Late(due);
            self.on_time.remove(&(due, id));
            self.late.insert((due, id));
        }
        let late = self.late.first().map(|(_, id)| *id);
        late.or_else(|| self.ahead.first().map(|(_, id)| *id))
    }

    /// The leader, and those that run with it.
    fn companions(&self, leader: LaneId, now: Time) -> Vec<LaneId> {
        let mut run = vec![leader];
        let Some(lane) = self.lanes.get(&leader) else {
            return run;
        };
        let Some(Job {
            group: Some(group),
            due,
            ..
        }) = lane.jobs.front()
        else {
            return run;
        };
        if self.streak < BUSY {
            return run;
        }
        let (first, last) = (
            (group.id, Time::ZERO, LaneId(0)),
            (group.id, Time::from_micros(u64::MAX), LaneId(u64::MAX)),
        );
        let most = group.sizes.largest();
        let mut others: Vec<_> = self
            .groups
            .range(first..=last)
            .map(|(_, due, id)| (*due, *id))
            .filter(|(_, id)| *id != leader)
            .take((most * self.workers).saturating_sub(1))
            .collect();
        let part = (others.len() + 1).div_ceil(self.workers);
        let mut size = group.sizes.largest_within(part);
        let in_time = |size: usize| {
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            due.is_none_or(|due| now + lane.cost.saturating_mul(size) <= due)
        };
        // A leader that is late already is not made so.
        while size > 1 && in_time(1) && !in_time(size) {
            size = group.sizes.largest_within(size - 1);
        }
        // Those in time before those that are not; each by its time.
        others.sort_by_key(|(due, id)| (self.is_late(*id), *due, *id));
        run.extend(others.into_iter().map(|(_, id)| id).take(size - 1));
        run
    }

    fn is_late(&self, id: LaneId) -> bool {
        let lane = self.lanes.get(&id);
        lane.is_some_and(|lane| matches!(lane.place, Place::Late(_)))
    }

    fn start(&mut self, id: LaneId) -> Option<(LaneId, T)> {
        self.withdraw(id);
        let lane = self.lanes.get_mut(&id)?;
        let job = lane.jobs.pop_front()?;
        lane.place = Place::AtWork;
        lane.measured = job.due.is_some();
        self.waiting -= 1;
        self.at_work += 1;
        Some((id, job.item))
    }

    /// Puts a lane that is not at work where it belongs.
    fn enter(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let Some(job) = lane.jobs.front() else {
            lane.place = Place::Idle;
            return;
        };
        let from = lane.served.saturating_sub(lane.cost.saturating_mul(AHEAD));
        if from > self.floor {
            lane.place = Place::Ahead(from);
            self.ahead.insert((from, id));
            return;
        }
        let due = job.due.unwrap_or(Time::ZERO);
        lane.place = Place::OnTime(due);
        self.on_time.insert((due, id));
        if let Some(group) = job.group {
            self.groups.insert((group.id, due, id));
        }
    }

    /// Takes a lane from where it waits.
    fn withdraw(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get(&id) else {
            return;
        };
        match lane.place {
            Place::OnTime(due) => self.on_time.remove(&(due, id)),
            Place::Late(due) => self.late.remove(&(due, id)),
            Place::Ahead(from) => self.ahead.remove(&(from, id)),
            Place::Idle | Place::AtWork => return,
        };
        if let Some(job) = lane.jobs.front()
            && let Some(group) = job.group
        {
            let due = job.due.unwrap_or(Time::ZERO);
            self.groups.remove(&(group.id, due, id));
        }
    }

    /// Raises the floor to the least service of a lane with work, and lets in who is within their share now.
    fn settle(&mut self) {
        if let Some((least, _)) = self.backlog.first() {
            self.floor = self.floor.max(*least);
        }
        while let Some((from, id)) = self.ahead.first().copied() {
            if from > self.floor {
                return;
            }
            self.ahead.remove(&(from, id));
            self.enter(id);
        }
    }
}

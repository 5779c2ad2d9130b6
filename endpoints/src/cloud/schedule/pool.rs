//! The workers, and what they share.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tensorwire_protocol::{Event, TensorInfo, Time};
use tokio::sync::mpsc;

use super::demand::{self, Demand, Newcomer, Overloaded};
use super::handler::{Answer, TensorHandler};
use super::queue::{Group, Job, LaneId, Queue};
use super::sizes::Sizes;
use super::work::{self, Done, Work};
use crate::clock::Clock;
use crate::model::{BATCH_SIZES, SharedModel};

/// What came of something that a lane was given, in their order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Served {
    /// A tensor was answered.
    Answered(Answered),
    /// The handler has heard of something else.
    Observed,
    /// The handler panicked: the lane does nothing more.
    Failed,
}

/// An answer, and what it cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answered {
    /// The tensor.
    pub tensor: TensorInfo,
    /// The answer.
    pub answer: Answer,
    /// Time that it took; of a run of several, its part.
    pub compute: Duration,
    /// From when its session had nothing before it until now: `compute`, and what others took of the
    /// workers. None if it was not computed.
    pub occupied: Option<Duration>,
}

/// What the workers are asked for at the moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct PoolLoad {
    /// Workers.
    pub workers: usize,
    /// Sessions.
    pub sessions: usize,
    /// Tensors (and other events) that wait for a worker.
    pub waiting: usize,
    /// What the sessions ask for, their rates times what their tensors take, as a share of all workers;
    /// beyond 1 where it is more than they can do.
    pub share: f64,
    /// Mean time of a tensor over the sessions that have had one answered.
    pub service: Option<Duration>,
}

/// The seat of a lane: who answers its tensors, and where the answers go.
struct Seat {
    /// None while at work.
    handler: Option<Box<dyn TensorHandler>>,
    model: Option<Arc<SharedModel>>,
    served: mpsc::UnboundedSender<Served>,
    /// When what is at work of it came, or the one before was done, whichever was later.
    since: Time,
    /// When the last of it was done.
    free: Time,
    demand: Demand,
    /// It was closed while at work, and this is still to be told.
    leaving: Option<Vec<Event>>,
}

/// What waits in a lane.
struct Task {
    event: Event,
    came: Time,
}

struct State {
    queue: Queue<Task>,
    seats: HashMap<LaneId, Seat>,
    /// Workers that wait.
    asleep: usize,
    stopping: bool,
}

/// Workers and lanes.
pub(super) struct Pool {
    state: Mutex<State>,
    /// There may be something to do.
    ready: Condvar,
    clock: Clock,
    workers: usize,
}

impl Pool {
    /// Lanes for so many workers, which the caller starts as threads that [`work`](Self::work).
    pub(super) fn new(workers: usize, clock: Clock) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::new(workers),
                seats: HashMap::new(),
                asleep: 0,
                stopping: false,
            }),
            ready: Condvar::new(),
            clock,
            workers,
        }
    }

    /// A panic elsewhere does not take the lock away: nothing of ours panics while it is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane for this handler.
    pub(super) fn open(
        &self,
        mut handler: Box<dyn TensorHandler>,
        interval: Option<Duration>,
    ) -> (LaneId, mpsc::UnboundedReceiver<Served>) {
        let now = self.clock.now();
        let model = handler.stages().map(|stages| Arc::clone(stages.model()));
        let (served, receiver) = mpsc::unbounded_channel();
        let mut state = self.lock();
        let id = state.queue.open();
        let seat = Seat {
            handler: Some(handler),
            model,
            served,
            since: now,
            free: now,
            demand: Demand::new(now, interval),
            leaving: None,
        };
        state.seats.insert(id, seat);
        (id, receiver)
    }

    /// Takes what happened on a lane's session; a tensor should be answered at `due`.
    pub(super) fn push(&self, id: LaneId, event: Event, due: Option<Time>) {
        let now = self.clock.now();
        let mut state = self.lock();
        let State {
            queue,
            seats,
            asleep,
            ..
        } = &mut *state;
        let Some(seat) = seats.get_mut(&id) else {
            return;
        };
        if matches!(event, Event::Tensor(_)) {
            seat.demand.arrived(now);
        }
        let group = match &seat.model {
            Some(model) if due.is_some() => Some(group(model)),
            _ => None,
        };
        let item = Task { event, came: now };
        // A lane whose handler failed has a seat no more.
        let _ = queue.push(id, Job { due, group, item });
        if *asleep > 0 && queue.is_ready() {
            self.ready.notify_one();
        }
    }

    /// Ends a lane. Tensors that wait are dropped; what else happened is still told.
    pub(super) fn close(&self, id: LaneId) {
        let mut state = self.lock();
        let left = state.queue.close(id).into_iter().map(|job| job.item.event);
        let mut left: Vec<Event> = left
            .filter(|event| !matches!(event, Event::Tensor(_)))
            .collect();
        let Some(seat) = state.seats.get_mut(&id) else {
            return;
        };
        let at_work = seat.handler.is_none();
        let seat = if at_work {
            seat.leaving = Some(std::mem::take(&mut left));
            None
        } else {
            state.seats.remove(&id)
        };
        drop(state);
        if let Some(seat) = seat {
            leave(seat.handler, &left);
        }
    }

    /// Does what there is to do until the pool is stopped.
    pub(super) fn work(&self) {
        let mut state = self.lock();
        while !state.stopping {
            let State {
                queue,
                seats,
                asleep,
                ..
            } = &mut *state;
            let Some(run) = queue.next(self.clock.now()) else {
                *asleep += 1;
                state = self
                    .ready
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
                continue;
            };
            if *asleep > 0 && queue.is_ready() {
                self.ready.notify_one();
            }
            let take = |(lane, task): (LaneId, Task)| {
                let seat = seats.get_mut(&lane)?;
                seat.since = seat.free.max(task.came);
                let handler = seat.handler.take()?;
                let event = task.event;
                Some(Work {
                    lane,
                    event,
                    handler,
                })
            };
            let run = run.into_iter().filter_map(take).collect();
            drop(state);
            let done = work::run(run);
            let now = self.clock.now();
            state = self.lock();
            let mut gone = Vec::new();
            for done in done {
                gone.extend(state.settle(done, now));
            }
            if !gone.is_empty() {
                drop(state);
                for (handler, left) in gone {
                    leave(handler, &left);
                }
                state = self.lock();
            }
        }
    }

    /// Whether there is room for another session.
    pub(super) fn admit(&self, most: f64, newcomer: Newcomer) -> Result<(), Overloaded> {
        demand::admit(self.workers, self.load().share, most, newcomer)
    }

    /// What the workers are asked for.
    pub(super) fn load(&self) -> PoolLoad {
        let now = self.clock.now();
        let state = self.lock();
        let (mut asked, mut sum, mut known) = (0.0, Duration::ZERO, 0);
        for (id, seat) in &state.seats {
            let own = state.queue.cost(*id);
            if let Some(own) = own {
                sum = sum.saturating_add(own);
                known += 1;
            }
            let cost = own.or_else(|| seat.model.as_ref()?.service());
            let share = seat.demand.rate(now) * cost.unwrap_or_default().as_secs_f64();
            // A lane has one tensor at work at most. (Infinity times 0 is NaN, and no share.)
            asked += if share.is_nan() { 0.0 } else { share.min(1.0) };
        }
        PoolLoad {
            workers: self.workers,
            sessions: state.seats.len(),
            waiting: state.queue.waiting(),
            share: asked / self.workers as f64,
            service: (known > 0).then(|| sum / known),
        }
    }

    /// Ends the workers once they are done with what they are at. What waits is dropped.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.ready.notify_all();
    }
}

/// A handler that is gone, and what it is still to be told.
type Gone = (Option<Box<dyn TensorHandler>>, Vec<Event>);

impl State {
    /// Puts a handler back on its seat and tells what it did; gives it back where the lane is closed.
    fn settle(&mut self, done: Done, now: Time) -> Option<Gone> {
        let Done {
            lane,
            event,
            handler,
            answer,
            cost,
        } = done;
        self.queue.done(lane, cost);
        let seat = self.seats.get_mut(&lane)?;
        seat.free = now;
        let failed = handler.is_none();
        let served = match (&event, answer) {
            (Event::Tensor(tensor), Some(answer)) => Served::Answered(Answered {
                tensor: *tensor.info(),
                answer,
                compute: cost,
                occupied: Some(now - seat.since),
            }),
            (Event::Tensor(_), None) => Served::Failed,
            _ if failed => Served::Failed,
            _ => Served::Observed,
        };
        let _ = seat.served.send(served);
        let left = seat.leaving.take();
        if failed {
            self.queue.close(lane);
            self.seats.remove(&lane);
            return None;
        }
        if let Some(left) = left {
            self.seats.remove(&lane);
            return Some((handler, left));
        }
        seat.handler = handler;
        None
    }
}

/// Tells a handler what is left, and lets it go.
fn leave(handler: Option<Box<dyn TensorHandler>>, left: &[Event]) {
    // If it panics now, that harms nobody.
    let _ = crate::caught::caught(move || {
        if let Some(mut handler) = handler {
            left.iter().for_each(|event| handler.observe(event));
        }
    });
}

/// What the tensors of a model may be computed together with.
fn group(model: &Arc<SharedModel>) -> Group {
    let used = BATCH_SIZES.into_iter().filter(|size| model.uses(*size));
    Group {
        // Unique while a seat keeps the model.
        id: Arc::as_ptr(model).addr() as u64,
        sizes: used.fold(Sizes::NONE, Sizes::with),
    }
}

//! The inference of all sessions: one pool of workers, in the order of deadlines, fair where it is too much.
//!
//! A session has a [`Lane`]; its [`TensorHandler`] answers its tensors one at a time, by whichever worker is
//! free. [`queue`] says which tensor goes first. Tensors of the same model and split that wait at the same
//! time run at once, where that computes more of them (see [`SharedModel`](crate::model::SharedModel)); no
//! worker ever waits for more to come.
//!
//! Every tensor is answered. One that can no longer be answered in time is computed all the same, after
//! those that can; how many of a session may wait is the data path's matter
//! ([`limit_waiting`](crate::datapath::SessionHandle::limit_waiting)), which answers those beyond with
//! `Busy`.

mod demand;
mod handler;
mod lane;
mod pool;
pub mod queue;
mod sizes;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tensorwire_protocol::Event;

use self::demand::Newcomer;
use self::pool::Pool;
use self::queue::Queue;
use self::work::Work;
use crate::clock::Clock;

pub use self::demand::Overloaded;
pub use self::handler::{Answer, Stages, TensorHandler};
pub use self::lane::Lane;
pub use self::pool::{Answered, PoolLoad, Served};
pub use self::sizes::Sizes;

/// Does what a worker does with these, of a session each, in this thread: in one run, if they are several.
/// Gives back the handlers that did not panic.
pub(crate) fn compute(
    tensors: Vec<(Event, Box<dyn TensorHandler>)>,
) -> Vec<Box<dyn TensorHandler>> {
    let mut lanes = Queue::<()>::new(1);
    let work = tensors.into_iter().map(|(event, handler)| Work {
        lane: lanes.open(),
        event,
        handler,
    });
    let done = work::run(work.collect());
    done.into_iter().filter_map(|done| done.handler).collect()
}

/// How the tensors of all sessions are served.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct ScheduleConfig {
    /// Threads that compute. None: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// Share of the workers' time that sessions may ask for; one that would make it more is refused. Default
    /// 0.9: with less than a tenth to spare, queues grow long in any order.
    pub max_load: f64,
    /// A session of which nothing was heard for so long is closed; none: never. Default 60 s.
    pub idle: Option<Duration>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            workers: None,
            max_load: 0.9,
            idle: Some(Duration::from_secs(60)),
        }
    }
}

/// The workers of a cloud. Copies are the same; the workers end when the last copy and the last lane are
/// gone, each after what it is at.
#[derive(Clone)]
pub struct Schedule {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    config: ScheduleConfig,
}

impl Schedule {
    /// Starts the workers. The clock must be the one that the sessions count by.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(config: ScheduleConfig, clock: Clock) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.workers.map_or(cores, NonZeroUsize::get);
        let pool = Arc::new(Pool::new(workers, clock));
        let schedule = Self {
            inner: Arc::new(Inner { pool, config }),
        };
        for number in 0..workers {
            let pool = Arc::clone(&schedule.inner.pool);
            let thread = std::thread::Builder::new().name(format!("tw-worker-{number}"));
            // A failure drops the schedule, which ends those that were started.
            thread.spawn(move || pool.work())?;
        }
        Ok(schedule)
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &ScheduleConfig {
        &self.inner.config
    }

    /// Whether there is room for a session whose frames come at this interval, if that is known, and are
    /// handled by this handler.
    ///
    /// # Errors
    /// Why not, with the figures.
    pub fn admit(
        &self,
        handler: &mut dyn TensorHandler,
        interval: Option<Duration>,
    ) -> Result<(), Overloaded> {
        let service = handler.stages().and_then(|stages| stages.model().service());
        let newcomer = Newcomer { interval, service };
        self.pool().admit(self.inner.config.max_load, newcomer)
    }

    /// A lane for a session whose tensors are released at this deadline at the latest, and whose frames come
    /// at this interval, if that is known.
    #[must_use]
    pub fn open(
        &self,
        handler: Box<dyn TensorHandler>,
        deadline: Duration,
        interval: Option<Duration>,
    ) -> Lane {
        let (id, served) = self.pool().open(handler, interval);
        Lane::new(self.clone(), id, served, deadline)
    }

    /// What the workers are asked for at the moment.
    #[must_use]
    pub fn load(&self) -> PoolLoad {
        self.pool().load()
    }

    fn pool(&self) -> &Pool {
        &self.inner.pool
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("config", &self.inner.config)
            .field("load", &self.load())
            .finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.stop();
    }
}

//! A stage of the pipeline: what waits for it, and the thread that it works in.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// What waits for a stage, oldest first. A newer one takes the place of the oldest where there is no
/// room.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<T>,
    most: usize,
}

impl<T> Queue<T> {
    /// Room for `most`, at least one.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            most: most.max(1),
        }
    }

    /// Adds the newest; the one that it supersedes, if there was no room.
    #[must_use]
    pub(super) fn push(&mut self, newest: T) -> Option<T> {
        let superseded = self.is_full().then(|| self.waiting.pop_front()).flatten();
        self.waiting.push_back(newest);
        superseded
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front()
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.front()
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// How long a job takes, and what it makes.
#[derive(Debug)]
enum Job<T> {
    /// In a thread of its own.
    Thread(JoinHandle<(Duration, Result<T>)>),
    /// Done where it was started.
    Here(Duration, Result<T>),
}

/// A thread at work on one frame, `K` being what is kept of the frame meanwhile.
#[derive(Debug)]
pub(super) struct Worker<K, T> {
    /// Whether there is a thread. Waking one costs more than the work of a source that is quick.
    threaded: bool,
    job: Option<(K, Job<T>)>,
}

/// What came of a job.
#[derive(Debug)]
pub(super) struct Done<K, T> {
    pub(super) kept: K,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) made: Result<T>,
}

impl<K, T: Send + 'static> Worker<K, T> {
    /// A worker with nothing to do, in a thread of its own or not.
    pub(super) const fn idle(threaded: bool) -> Self {
        Self {
            threaded,
            job: None,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// What is kept of the frame at work.
    pub(super) fn kept(&self) -> Option<&K> {
        self.job.as_ref().map(|(kept, _)| kept)
    }

    /// Starts on a frame. The one before has to be done.
    pub(super) fn start(
        &mut self,
        clock: Clock,
        kept: K,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) {
        let timed = move || {
            let start = clock.now();
            let made = work();
            (clock.now() - start, made)
        };
        let job = if self.threaded {
            Job::Thread(tokio::task::spawn_blocking(timed))
        } else {
            let (took, made) = timed();
            Job::Here(took, made)
        };
        self.job = Some((kept, job));
    }

    /// What came of the frame at work, where that was done at once.
    pub(super) fn done_here(&mut self) -> Option<Done<K, T>> {
        let here = |job: &mut (K, Job<T>)| matches!(job.1, Job::Here(..));
        match self.job.take_if(here)? {
            (kept, Job::Here(took, made)) => Some(Done { kept, took, made }),
            (_, Job::Thread(_)) => None,
        }
    }

    /// Waits for the frame at work; for ever if there is none. Nothing is lost if the wait is given up.
    pub(super) async fn done(&mut self) -> Done<K, T> {
        let ended = match &mut self.job {
            Some((_, Job::Thread(job))) => Some(job.await),
            Some((_, Job::Here(..))) => None,
            None => std::future::pending().await,
        };
        let (kept, took, made) = match (self.job.take(), ended) {
            (Some((kept, Job::Here(took, made))), _) => (kept, took, made),
            (Some((kept, _)), Some(Ok((took, made)))) => (kept, took, made),
            (Some((kept, _)), Some(Err(error))) => (kept, Duration::ZERO, Err(error.into())),
            _ => return std::future::pending().await,
        };
        Done { kept, took, made }
    }

    /// Waits no more for the frame at work.
    pub(super) fn forget(&mut self) -> Option<K> {
        self.job.take().map(|(kept, _)| kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_waits_and_the_oldest_is_superseded() {
        let mut queue = Queue::new(2);
        assert_eq!(
            [queue.push(1), queue.push(2), queue.push(3)],
            [None, None, Some(1)]
        );
        assert_eq!(queue.len(), 2);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()],
            [Some(2), Some(3), None]
        );
        assert_eq!(Queue::new(0).push(1), None);
    }

    #[tokio::test]
    async fn a_job_is_told_once_also_if_it_panics() {
        let mut worker = Worker::idle(true);
        let clock = Clock::start();
        worker.start(clock, 7, || Ok("made"));
        assert!(!worker.is_idle());
        // Giving up the wait loses nothing.
        let never = tokio::time::timeout(Duration::ZERO, worker.done()).await;
        let done = match never {
            Ok(done) => done,
            Err(_) => worker.done().await,
        };
        assert_eq!((done.kept, done.made.unwrap()), (7, "made"));
        assert!(worker.is_idle());
        worker.start(clock, 8, || panic!("a source that fails"));
        let done = worker.done().await;
        assert_eq!(done.kept, 8);
        assert!(done.made.is_err());
    }

    #[tokio::test]
    async fn a_quick_job_is_done_where_it_is_started() {
        let mut worker = Worker::idle(false);
        let here = std::thread::current().id();
        worker.start(Clock::start(), 7, move || {
            Ok(std::thread::current().id() == here)
        });
        assert!(!worker.is_idle());
        let done = worker.done().await;
        assert_eq!((done.kept, done.made.unwrap()), (7, true));
        assert!(worker.is_idle());
    }
}

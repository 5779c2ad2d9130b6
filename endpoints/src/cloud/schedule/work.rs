//! What a worker does with what it was given.

use std::time::{Duration, Instant};

use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{Event, ReceivedTensor};

use super::handler::{Answer, Stages, TensorHandler};
use super::queue::LaneId;
use crate::caught::caught;
use crate::model::ModelError;

/// Something to be done for a lane, and who does it.
pub(super) struct Work {
    pub(super) lane: LaneId,
    pub(super) event: Event,
    pub(super) handler: Box<dyn TensorHandler>,
}

/// What came of it.
pub(super) struct Done {
    pub(super) lane: LaneId,
    pub(super) event: Event,
    /// None if it panicked: its state is not to be relied on.
    pub(super) handler: Option<Box<dyn TensorHandler>>,
    /// None if it panicked, or the event was no tensor.
    pub(super) answer: Option<Answer>,
    /// Time that it took; of what ran together, its part.
    pub(super) cost: Duration,
}

impl Done {
    /// What came of `work` in the time `cost`: an answer, none for what is no tensor, or a panic.
    fn of(work: Work, answered: Result<Option<Answer>, String>, cost: Duration) -> Self {
        let Work {
            lane,
            event,
            mut handler,
        } = work;
        let sound = answered.is_ok();
        let answer = answered.ok().flatten();
        if answer.is_some()
            && let Some(stages) = handler.stages()
        {
            stages.model().took(cost);
        }
        Self {
            lane,
            event,
            handler: sound.then_some(handler),
            answer,
            cost,
        }
    }
}

/// Does one thing, or several that run together, in their order.
pub(super) fn run(mut work: Vec<Work>) -> Vec<Done> {
    match work.pop() {
        Some(only) if work.is_empty() => vec![alone(only)],
        Some(last) => {
            work.push(last);
            together(work)
        }
        None => Vec::new(),
    }
}

fn alone(mut work: Work) -> Done {
    let start = Instant::now();
    let answered = caught(|| match &work.event {
        Event::Tensor(tensor) => Some(work.handler.handle(tensor)),
        event => {
            work.handler.observe(event);
            None
        }
    });
    let cost = start.elapsed();
    Done::of(work, answered, cost)
}

/// A tensor on its way through the stages.
struct Staged {
    work: Work,
    /// How it goes, or that the handler panicked.
    state: Result<Result<(), ResultStatus>, String>,
    cost: Duration,
}

fn together(work: Vec<Work>) -> Vec<Done> {
    let mut staged: Vec<Staged> = work.into_iter().map(prepare).collect();
    let start = Instant::now();
    let mut scores = scores(&mut staged).into_iter();
    let ready = staged.iter().filter(|staged| staged.is_ready()).count();
    let part = start.elapsed() / u32::try_from(ready.max(1)).unwrap_or(u32::MAX);
    let finish = |staged: Staged| {
        let scores = staged.is_ready().then(|| scores.next()).flatten();
        finish(staged, scores, part)
    };
    staged.into_iter().map(finish).collect()
}

impl Staged {
    const fn is_ready(&self) -> bool {
        matches!(self.state, Ok(Ok(())))
    }
}

fn tensor_and_stages(work: &mut Work) -> Option<(&ReceivedTensor, &mut dyn Stages)> {
    match (&work.event, work.handler.stages()) {
        (Event::Tensor(tensor), Some(stages)) => Some((tensor, stages)),
        _ => None,
    }
}

fn prepare(mut work: Work) -> Staged {
    let start = Instant::now();
    let state = caught(|| match tensor_and_stages(&mut work) {
        Some((tensor, stages)) => stages.prepare(tensor),
        // Only tensors of handlers with stages are in a group.
        None => Err(ResultStatus::ModelFailed),
    });
    Staged {
        work,
        state,
        cost: start.elapsed(),
    }
}

/// The scores of those that are ready, in their order.
fn scores(staged: &mut [Staged]) -> Vec<Result<Vec<f32>, ModelError>> {
    let ready = staged.iter_mut().filter(|staged| staged.is_ready());
    let stages: Vec<&mut dyn Stages> = ready
        .filter_map(|staged| staged.work.handler.stages())
        .collect();
    let Some(model) = stages.first().map(|stages| stages.model()) else {
        return Vec::new();
    };
    let features: Vec<_> = stages.iter().map(|stages| stages.features()).collect();
    // The engine's panics are errors already.
    caught(|| model.run_each(&features)).unwrap_or_default()
}

fn finish(staged: Staged, scores: Option<Result<Vec<f32>, ModelError>>, part: Duration) -> Done {
    let Staged {
        mut work,
        state,
        mut cost,
    } = staged;
    let start = Instant::now();
    let finished = state.and_then(|prepared| {
        if prepared.is_ok() {
            cost += part;
        }
        let scores = scores.and_then(Result::ok);
        let scores = prepared.and_then(|()| scores.ok_or(ResultStatus::ModelFailed));
        caught(|| work.handler.stages().map(|stages| stages.finish(scores)))
    });
    cost += start.elapsed();
    Done::of(work, finished, cost)
}

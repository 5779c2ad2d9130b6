//! The edges, the workers, and what is measured of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tensorwire_codec::{EncodedTensor, Encoder};
use tensorwire_concealment::Method;
use tensorwire_protocol::wire::{FrameNumber, TensorId};
use tensorwire_protocol::{Event, ReceivedTensor, TensorInfo, Time};
use tokio::time::Instant;

use super::Options;
use crate::classifier::{Classifier, ClassifierOpener, Concealment, SideInformation};
use crate::clock::{Clock, millis};
use crate::cloud::TensorHandler;
use crate::cloud::schedule::{Lane, Schedule, ScheduleConfig, Served, compute};
use crate::model::{BATCH_SIZES, Keep, Learnt, SharedModel};
use crate::options::LoadedModel;
use crate::statistics::Percentiles;
use crate::stream::StreamDescription;

/// Single tensors that tell the service time.
const PROBES: u32 = 20;
/// The least interval of an edge's frames at light load: timers of a millisecond spread no faster ones.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);
/// So far from one edge's frames to the next one's, as a share of the interval: the golden ratio spreads
/// any number of them, and leaves some close together.
const PHASE: f64 = 0.618_033_988_749_894_8;

/// What all rounds share.
pub(super) struct Bench {
    loaded: LoadedModel,
    side: Option<SideInformation>,
    stream: StreamDescription,
    /// Tensors of the first images.
    tensors: Vec<Coded>,
    clock: Clock,
    schedule: ScheduleConfig,
    edges: usize,
    in_flight: u8,
}

/// Workers with one size of runs.
pub(super) struct Arm {
    opener: ClassifierOpener,
    model: Arc<SharedModel>,
    schedule: Schedule,
    learnt: Vec<Learnt>,
}

/// What a row is made of.
#[derive(Default)]
pub(super) struct Measured {
    latencies: Vec<f64>,
    seconds: f64,
}

impl Bench {
    pub(super) fn load(options: &Options) -> Result<Self> {
        let loaded = options.model.load()?;
        let side = loaded.bundle(options.bundle.as_deref())?;
        let format = options.codec.format(loaded.shape()?, side.as_ref())?;
        let digest = side.as_ref().map(|side| side.digest);
        let (split, model) = (&loaded.split, loaded.model.digest());
        let stream = StreamDescription::new(&format, split, model, digest)?;
        let edge = loaded.model.edge(split)?;
        let (mut encoder, dataset) = (Encoder::new(&format), loaded.images(&options.images)?);
        let mut tensors = Vec::new();
        for index in 0..dataset.len().min(usize::from(options.edges)) {
            let image = loaded
                .description
                .input
                .prepare(dataset.get(index)?.image)?;
            let coded = encoder.encode(edge.run(image.view())?.view())?;
            tensors.push(Coded::of(&coded));
        }
        ensure!(!tensors.is_empty(), "there is no image");
        let schedule = ScheduleConfig {
            workers: options.workers,
            ..ScheduleConfig::default()
        };
        Ok(Self {
            loaded,
            side,
            stream,
            tensors,
            clock: Clock::start(),
            schedule,
            edges: usize::from(options.edges),
            in_flight: options.in_flight,
        })
    }

    pub(super) fn split(&self) -> &str {
        &self.loaded.split
    }

    /// Workers whose runs take up to `batch` tensors.
    pub(super) fn arm(&self, batch: usize, keep: Keep) -> Result<Arm> {
        let (model, split) = (Arc::clone(&self.loaded.model), &self.loaded.split);
        let opener =
            ClassifierOpener::new(model, self.side.clone(), Concealment::new(Method::Auto));
        let mut classifier = self.classifier(&opener)?;
        let stages = classifier.stages().context("a classifier has stages")?;
        let model = Arc::clone(stages.model());
        let learnt = model.learn(&self.loaded.model, split, batch, keep);
        // Single tensors, as the workers would take them, tell what light load is.
        for tensor in self.tensors.iter().cycle().take(PROBES as usize) {
            let start = self.clock.now();
            classifier.handle(&tensor.at(self.clock.now())?);
            model.took(self.clock.now() - start);
        }
        Ok(Arm {
            opener,
            model,
            schedule: Schedule::start(self.schedule, self.clock)?,
            learnt,
        })
    }

    fn classifier(&self, opener: &ClassifierOpener) -> Result<Classifier> {
        let opened = opener.classifier(&self.stream);
        opened.map_err(|refuse| anyhow::anyhow!(refuse.reason))
    }

    /// The interval of an edge's frames at which all ask for this share of the workers' time, or for less.
    pub(super) fn interval(&self, arms: &[Arm], share: f64) -> Result<Duration> {
        let arm = arms.first().context("a size of runs is needed")?;
        let service = arm.model.service().context("a service time")?;
        let edges = u32::try_from(self.edges)?;
        let interval = (service * edges).div_f64(share * arm.workers() as f64);
        Ok(interval.max(LEAST_INTERVAL))
    }

    /// CPU time of tensors in one thread, microseconds each, as many of as many sessions as a run of this
    /// arm takes: what others do on the machine tells on it little.
    pub(super) fn compute(&self, arm: &Arm, time: Duration, each: &mut Vec<f64>) -> Result<()> {
        let size = BATCH_SIZES.into_iter().filter(|size| arm.uses(*size));
        let size = size.max().unwrap_or(1);
        let mut handlers: Vec<Box<dyn TensorHandler>> = Vec::new();
        for _ in 0..size {
            handlers.push(Box::new(self.classifier(&arm.opener)?));
        }
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            let mut tensors = Vec::new();
            for (handler, tensor) in handlers.into_iter().zip(self.tensors.iter().cycle()) {
                tensors.push((Event::Tensor(tensor.at(self.clock.now())?), handler));
            }
            let start = thread_time();
            handlers = compute(tensors);
            each.push((thread_time() - start).as_secs_f64() * 1e6 / size as f64);
            ensure!(handlers.len() == size, "a classifier failed");
        }
        Ok(())
    }

    /// Lets every edge stream for `time`: a tensor each `interval`, or another whenever one is answered.
    pub(super) fn round(
        &self,
        arm: &Arm,
        interval: Option<Duration>,
        time: Duration,
        measured: &mut Measured,
    ) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        runtime.block_on(async {
            let start = Instant::now();
            let end = start + time;
            let mut edges = tokio::task::JoinSet::new();
            for edge in 0..self.edges {
                let handler = Box::new(self.classifier(&arm.opener)?);
                let deadline = Duration::from_millis(u64::from(self.stream.deadline_ms));
                let lane = arm.schedule.open(handler, deadline, interval);
                let tensor = self.tensors.get(edge % self.tensors.len());
                let tensor = tensor.context("a tensor for each edge")?.clone();
                let stream = Stream {
                    lane,
                    tensor,
                    clock: self.clock,
                };
                match interval {
                    None => edges.spawn(stream.saturate(self.in_flight, end)),
                    Some(interval) => {
                        let phase = (edge as f64 * PHASE).fract();
                        edges.spawn(stream.pace(start + interval.mul_f64(phase), interval, end))
                    }
                };
            }
            while let Some(latencies) = edges.join_next().await {
                measured.latencies.extend(latencies??);
            }
            measured.seconds += start.elapsed().as_secs_f64();
            Ok(())
        })
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

impl Arm {
    pub(super) fn uses(&self, size: usize) -> bool {
        self.model.uses(size)
    }

    pub(super) fn workers(&self) -> usize {
        self.schedule.load().workers
    }

    /// What the model gains with the sizes that were tried.
    pub(super) fn gains(&self) -> Vec<(usize, f64)> {
        let gains = self.learnt.iter();
        gains
            .filter_map(|learnt| Some((learnt.size, learnt.gain.as_ref().ok()?.factor)))
            .collect()
    }
}

impl Measured {
    pub(super) const fn tensors(&self) -> usize {
        self.latencies.len()
    }

    pub(super) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let latencies = Percentiles::of(self.latencies.clone());
        latencies.at(percent).unwrap_or(f64::NAN)
    }
}

/// A tensor as it came out of the coder.
#[derive(Clone)]
struct Coded {
    bytes: Bytes,
    spans: Vec<Option<(u32, u32)>>,
}

impl Coded {
    fn of(tensor: &EncodedTensor) -> Self {
        let (mut start, mut spans) = (0, Vec::new());
        for end in tensor.ends() {
            spans.push(Some((start, end - start)));
            start = *end;
        }
        let bytes = tensor.bytes().clone();
        Self { bytes, spans }
    }

    /// As if it had been captured at this time and arrived whole at once.
    fn at(&self, captured: Time) -> Result<ReceivedTensor> {
        let slices = u16::try_from(self.spans.len())?;
        let mut info = TensorInfo::new(TensorId(0), FrameNumber(0), slices);
        info.captured = captured;
        info.slices_received = slices;
        let tensor = ReceivedTensor::new(info, self.bytes.clone(), self.spans.clone());
        tensor.context("a coded tensor is whole")
    }
}

/// One edge.
struct Stream {
    lane: Lane,
    tensor: Coded,
    clock: Clock,
}

impl Stream {
    /// Keeps so many tensors in flight; the latencies in milliseconds.
    async fn saturate(mut self, in_flight: u8, end: Instant) -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        for _ in 0..in_flight {
            self.push()?;
        }
        while self.lane.unserved() > 0 {
            latencies.push(self.answer().await?);
            if Instant::now() < end {
                self.push()?;
            }
        }
        Ok(latencies)
    }

    /// A tensor each interval from `next` on.
    async fn pace(
        mut self,
        mut next: Instant,
        interval: Duration,
        end: Instant,
    ) -> Result<Vec<f64>> {
        let mut latencies = Vec::new();
        while next < end || self.lane.unserved() > 0 {
            tokio::select! {
                () = tokio::time::sleep_until(next), if next < end => {
                    self.push()?;
                    next += interval;
                }
                latency = self.answer(), if self.lane.unserved() > 0 => latencies.push(latency?),
            }
        }
        Ok(latencies)
    }

    fn push(&mut self) -> Result<()> {
        let tensor = self.tensor.at(self.clock.now())?;
        self.lane.push(Event::Tensor(tensor));
        Ok(())
    }

    /// The latency of the next answer.
    async fn answer(&mut self) -> Result<f64> {
        match self.lane.next().await {
            Some(Served::Answered(answered)) => {
                Ok(millis(self.clock.now() - answered.tensor.captured))
            }
            _ => anyhow::bail!("a classifier failed"),
        }
    }
}

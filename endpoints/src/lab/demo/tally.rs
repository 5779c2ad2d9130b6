//! Counting what came of a stream.

use std::time::Duration;

use tensorwire_concealment::Method;

use super::keep::Arrived;
use super::report::{LatencyMs, Row, StagesMs, Top1};
use crate::clock::millis;
use crate::edge::SentTensor;

/// What is tried on each incomplete tensor.
pub(super) const METHODS: [Method; 5] = [
    Method::Zero,
    Method::ChannelMean,
    Method::DatasetMean,
    Method::Hybrid,
    Method::Auto,
];

/// The sums of one stream.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) tensors: usize,
    pub(super) complete: usize,
    pub(super) concealed: usize,
    pub(super) dropped: usize,
    pub(super) missing: f64,
    pub(super) bytes: usize,
    /// Right answers with each method, in the order of [`METHODS`].
    pub(super) right: [usize; METHODS.len()],
    pub(super) stages: Stages,
}

impl Tally {
    /// The figures of the table.
    pub(super) fn row(self, loss: f64, clean: &[bool]) -> Row {
        let tensors = self.tensors.max(1) as f64;
        let share = |count: usize| count as f64 / tensors;
        let [zero, channel_mean, dataset_mean, hybrid, auto] = self.right.map(share);
        let top1 = Top1 {
            clean: share(clean.iter().filter(|right| **right).count()),
            zero,
            channel_mean,
            dataset_mean,
            hybrid,
            auto,
        };
        Row {
            loss,
            tensors: self.tensors,
            complete: self.complete,
            concealed: self.concealed,
            dropped: self.dropped,
            missing_share: self.missing / tensors,
            bytes_per_tensor: self.bytes as f64 / tensors,
            top1,
            latency_ms: LatencyMs::of(self.stages.total),
            stages_ms: StagesMs {
                read: LatencyMs::of(self.stages.read),
                edge_model: LatencyMs::of(self.stages.edge_model),
                encode: LatencyMs::of(self.stages.encode),
                network: LatencyMs::of(self.stages.network),
                queue: LatencyMs::of(self.stages.queue),
                conceal: LatencyMs::of(self.stages.conceal),
                cloud_model: LatencyMs::of(self.stages.cloud_model),
                way_back: LatencyMs::of(self.stages.way_back),
            },
        }
    }
}

/// Times of every answered tensor, stage by stage, milliseconds.
#[derive(Default)]
pub(super) struct Stages {
    read: Vec<f64>,
    edge_model: Vec<f64>,
    encode: Vec<f64>,
    network: Vec<f64>,
    queue: Vec<f64>,
    conceal: Vec<f64>,
    cloud_model: Vec<f64>,
    way_back: Vec<f64>,
    total: Vec<f64>,
}

impl Stages {
    /// Adds the times of one answered tensor.
    pub(super) fn push(&mut self, sent: &SentTensor, arrived: &Arrived, latency: Duration) {
        // Both ends count by one clock here, so that the stages add up to the whole.
        let made = sent.handed - sent.captured;
        let network = arrived.info.released - sent.handed;
        let queue = arrived.began - arrived.info.released;
        let before = made + network + queue + arrived.conceal + arrived.model;
        for (stage, time) in [
            (
                &mut self.read,
                made.saturating_sub(sent.model + sent.encode),
            ),
            (&mut self.edge_model, sent.model),
            (&mut self.encode, sent.encode),
            (&mut self.network, network),
            (&mut self.queue, queue),
            (&mut self.conceal, arrived.conceal),
            (&mut self.cloud_model, arrived.model),
            (&mut self.way_back, latency.saturating_sub(before)),
            (&mut self.total, latency),
        ] {
            stage.push(millis(time));
        }
    }
}

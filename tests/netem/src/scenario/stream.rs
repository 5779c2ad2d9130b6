//! What the edge streams, and what runs of one scenario have of their own.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Cloud, Flow, FlowKind, Loss};
use crate::carrier::Carrier;
use crate::quantity::{Fps, Parity, Seconds};

/// Bytes of a stand-in's tensor where the scenario does not say.
const BYTES: u32 = 12_000;
/// What a scenario says in keys of its own, or what would leave nothing to be measured.
const NO_OPTIONS: [&str; 8] = [
    "--stand-in",
    "--json",
    "--connect",
    "--quiet",
    "--listen",
    "--identity",
    "--service-ms",
    "--cache-dir",
];

/// What tensors are made of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// Pseudo-random bytes at the edge, and nothing that computes at the cloud: the network alone.
    #[default]
    StandIn,
    /// The built-in model on its labelled images: what is right in time is counted.
    Model,
}

/// What the edge streams.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stream {
    #[serde(default)]
    pub(crate) source: Source,
    /// Of a stand-in's tensor.
    pub(crate) bytes: Option<u32>,
    pub(crate) fps: Option<Fps>,
    /// Instead of `fps`: as many as the session takes.
    #[serde(default)]
    pub(crate) unlimited: bool,
    pub(crate) tensors: Option<u64>,
    pub(crate) seconds: Option<Seconds>,
    pub(crate) deadline_ms: u32,
    /// The deadline of the carriers `tcp` and `quic-stream`, which deliver everything, late rather than
    /// never: a longer one shows how late. As the others' where it is missing.
    pub(crate) reliable_deadline_ms: Option<u32>,
    /// Each is a run of its own.
    #[serde(default = "Stream::carriers")]
    pub(crate) carriers: Vec<Carrier>,
    /// `tw-edge --fec`.
    pub(crate) parity: Option<String>,
    /// `tw-edge --most-parity`.
    pub(crate) most_parity: Option<Parity>,
    /// `tw-edge --drop-rule`.
    pub(crate) drop_rule: Option<String>,
    /// `tw-edge --span`.
    pub(crate) span: Option<u8>,
    #[serde(default = "yes")]
    pub(crate) retransmission: bool,
    /// Further options of `tw-edge`, as they are.
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

const fn yes() -> bool {
    true
}

/// The same scenario in another way; what is missing here is as elsewhere in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What its rows are called.
    pub(crate) name: Option<String>,
    pub(crate) loss: Option<Loss>,
    pub(crate) parity: Option<String>,
    pub(crate) most_parity: Option<Parity>,
    /// Options of `tw-edge`, after those of the stream.
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

impl Case {
    /// Whether options go with what is streamed.
    pub(super) fn check(&self) -> Result<()> {
        check_options("case", &self.options)
    }
}

impl Stream {
    fn carriers() -> Vec<Carrier> {
        vec![Carrier::default()]
    }

    /// Bytes of a stand-in's tensor.
    pub(crate) fn stand_in_bytes(&self) -> u32 {
        self.bytes.unwrap_or(BYTES)
    }

    /// Whether the keys go together, and with the rest of the scenario.
    pub(super) fn check(&self, cloud: &Cloud, flows: &[Flow]) -> Result<()> {
        ensure!(
            (8..=16_777_215).contains(&self.stand_in_bytes()),
            "stream.bytes: 8 to 16777215 can be"
        );
        ensure!(
            self.fps.is_some() != self.unlimited,
            "stream: either `fps` or `unlimited = true`"
        );
        ensure!(
            self.tensors.is_some() != self.seconds.is_some(),
            "stream: either `tensors` or `seconds`"
        );
        ensure!(
            self.fps.is_some() || self.tensors.is_none(),
            "stream.tensors: an unlimited stream is as long as its `seconds`"
        );
        ensure!(
            self.tensors
                .is_none_or(|count| (1..=1_000_000).contains(&count)),
            "stream.tensors: 1 to 1000000 can be"
        );
        ensure!(
            self.seconds.is_none_or(|seconds| seconds.0 > 0.0),
            "stream.seconds: more than 0 are needed"
        );
        let reliable = self.reliable_deadline_ms.unwrap_or(self.deadline_ms);
        for (name, deadline) in [
            ("deadline_ms", self.deadline_ms),
            ("reliable_deadline_ms", reliable),
        ] {
            ensure!(
                (1..=60_000).contains(&deadline),
                "stream.{name}: 1 to 60000 can be"
            );
        }
        ensure!(!self.carriers.is_empty(), "stream.carriers: none");
        check_options("stream", &self.options)?;
        check_options("cloud", &cloud.options)?;
        if self.source == Source::Model {
            self.check_model(cloud, flows)?;
        }
        Ok(())
    }

    /// What a stream of the model's tensors cannot have.
    fn check_model(&self, cloud: &Cloud, flows: &[Flow]) -> Result<()> {
        ensure!(
            self.bytes.is_none(),
            "stream.bytes: a model's tensors have the bytes that its coder makes of them; `bytes` is for \
             `source = \"stand-in\"`"
        );
        ensure!(
            !self.unlimited,
            "stream.unlimited: accuracy in time is a share of the frames that a camera captures; give `fps`"
        );
        ensure!(
            self.reliable_deadline_ms.is_none(),
            "stream.reliable_deadline_ms: what comes after the deadline is not in time, whatever carries it"
        );
        ensure!(
            cloud.service_ms.is_none(),
            "cloud.service_ms: the model takes the time that it takes; `service_ms` is for \
             `source = \"stand-in\"`"
        );
        ensure!(
            flows.iter().all(|flow| flow.kind != FlowKind::Tsp),
            "flow: a `tsp` flow is another stream like the first, and a second model on the same processor \
             would be measured, too; `tcp` flows can be beside a model"
        );
        Ok(())
    }
}

fn check_options(of: &str, options: &[String]) -> Result<()> {
    for option in options {
        let name = option.split('=').next().unwrap_or(option);
        ensure!(
            !NO_OPTIONS.contains(&name),
            "{of}.options: the laboratory gives `{name}` itself; leave it out"
        );
    }
    Ok(())
}

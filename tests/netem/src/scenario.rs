//! Scenario files: what the network is like, what crosses it, and what changes meanwhile.
//!
//! TOML, read strictly: an unknown key, a value out of range or two keys that contradict each other are
//! errors that say where and why. `docs/netem.md` describes every key.

mod stream;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tensorwire_protocol::link::{LossModel, LossSpecError, NetemError};

use crate::quantity::{Mbps, Millis, Seconds};

pub(crate) use stream::{Case, Source, Stream};

/// Longest name of a case or a window.
const MAX_NAME: usize = 40;
/// Most flows beside the stream, steps and windows.
const MAX_ITEMS: usize = 64;
/// Longest scenario file, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A scenario as its file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The file's name without its end.
    #[serde(skip)]
    pub(crate) name: String,
    /// What the scenario is for.
    pub(crate) about: String,
    pub(crate) path: Network,
    pub(crate) stream: Stream,
    #[serde(default)]
    pub(crate) cloud: Cloud,
    /// Runs of the same scenario with other losses, parity and options.
    #[serde(default)]
    pub(crate) case: Vec<Case>,
    /// What changes on the path.
    #[serde(default)]
    pub(crate) step: Vec<Step>,
    /// What else crosses the path.
    #[serde(default)]
    pub(crate) flow: Vec<Flow>,
    /// Parts of the run that are reported on their own.
    #[serde(default)]
    pub(crate) window: Vec<Window>,
}

/// The path from the edge to the cloud, and back.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) rate_mbps: Mbps,
    /// One way; the way back has the same.
    pub(crate) delay_ms: Millis,
    #[serde(default)]
    pub(crate) jitter_ms: Option<Millis>,
    #[serde(default)]
    pub(crate) loss: Loss,
    #[serde(default)]
    pub(crate) back_loss: Loss,
    /// No limit where it is missing.
    pub(crate) back_rate_mbps: Option<Mbps>,
    /// What the bottleneck's queue holds, as time at its rate.
    pub(crate) queue_ms: Option<Millis>,
    /// What the bottleneck's queue holds.
    pub(crate) queue_bytes: Option<u32>,
    pub(crate) aqm: Option<Aqm>,
    /// Whether the AQM marks instead of dropping.
    #[serde(default)]
    pub(crate) ecn: bool,
    /// Refused, with the reason.
    #[serde(default, skip_serializing)]
    seed: Option<toml::Value>,
}

/// Active queue management.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Aqm {
    /// RFC 8289.
    Codel,
}

/// A loss model that netem has.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Loss {
    /// As it was written.
    text: String,
    /// In the words of `tc`; none where nothing is lost.
    pub(crate) netem: Option<String>,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            text: "none".to_owned(),
            netem: None,
        }
    }
}

impl TryFrom<String> for Loss {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let model = match text.parse::<LossModel>() {
            Ok(model) => model,
            Err(LossSpecError::Trace) => return Err(NetemError::Trace.to_string()),
            Err(error) => return Err(error.to_string()),
        };
        let netem = match model {
            LossModel::None => None,
            model => Some(model.netem().map_err(|error| error.to_string())?),
        };
        Ok(Self { text, netem })
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.text
    }
}

impl Loss {
    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// What the cloud does with tensors.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cloud {
    /// Time that each tensor takes.
    pub(crate) service_ms: Option<Millis>,
    /// Further options of `tw-cloud`, as they are.
    #[serde(default)]
    pub(crate) options: Vec<String>,
}

/// A change on the path, from a moment on.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at_s: Seconds,
    pub(crate) rate_mbps: Option<Mbps>,
    pub(crate) delay_ms: Option<Millis>,
    pub(crate) jitter_ms: Option<Millis>,
    pub(crate) loss: Option<Loss>,
}

/// Something else that crosses the path.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flow {
    pub(crate) kind: FlowKind,
    /// Of a TCP flow.
    pub(crate) congestion: Option<String>,
    #[serde(default = "Flow::start")]
    pub(crate) start_s: Seconds,
    /// At the end of the run where it is missing.
    pub(crate) stop_s: Option<Seconds>,
}

impl Flow {
    const fn start() -> Seconds {
        Seconds(0.0)
    }
}

/// Kinds of flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FlowKind {
    /// As much as TCP lets through.
    Tcp,
    /// Another stream like the first.
    Tsp,
}

/// A part of the run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) name: String,
    pub(crate) from_s: Seconds,
    pub(crate) to_s: Seconds,
}

impl Scenario {
    /// Reads a scenario file.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let size = fs::metadata(file).with_context(|| format!("cannot read {shown}"))?;
        ensure!(size.len() <= MAX_FILE, "{shown} is larger than a megabyte");
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        let name = PathBuf::from(file);
        let name = name.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("{shown} is no scenario"))
    }

    /// Reads a scenario.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        scenario.name = name.to_owned();
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        self.check_path()?;
        self.stream.check(&self.cloud, &self.flow)?;
        self.check_cases()?;
        let most = [
            self.case.len(),
            self.step.len(),
            self.flow.len(),
            self.window.len(),
        ];
        ensure!(
            most.into_iter().all(|count| count <= MAX_ITEMS),
            "more than {MAX_ITEMS} cases, steps, flows or windows"
        );
        for (step, next) in self.step.iter().zip(self.step.iter().skip(1)) {
            ensure!(
                step.at_s < next.at_s,
                "step: the one at {} s comes after the one at {} s",
                next.at_s.0,
                step.at_s.0
            );
        }
        for flow in &self.flow {
            let after = flow.stop_s.is_none_or(|stop| flow.start_s < stop);
            ensure!(after, "flow: it stops before it starts");
            ensure!(
                flow.kind == FlowKind::Tcp || flow.congestion.is_none(),
                "flow: a `tsp` flow is like the stream, and `congestion` is for `tcp`"
            );
        }
        for window in &self.window {
            ensure!(
                window.from_s < window.to_s,
                "window `{}` ends before it begins",
                window.name
            );
            ensure!(
                !window.name.is_empty() && window.name.len() <= MAX_NAME,
                "window: a name has 1 to {MAX_NAME} bytes"
            );
        }
        Ok(())
    }

    fn check_cases(&self) -> Result<()> {
        for (number, case) in self.case.iter().enumerate() {
            case.check()?;
            let Some(name) = &case.name else { continue };
            ensure!(
                !name.is_empty() && name.len() <= MAX_NAME,
                "case: a name has 1 to {MAX_NAME} bytes"
            );
            let mut before = self.case.iter().take(number);
            ensure!(
                !before.any(|other| other.name == case.name && other.loss == case.loss),
                "case `{name}`: another has the same name and loss, and nobody could tell their rows apart"
            );
        }
        Ok(())
    }

    fn check_path(&self) -> Result<()> {
        let path = &self.path;
        if path.seed.is_some() {
            bail!(
                "path.seed: netem before Linux 6.6 has no seed, and draws other losses at every start; the \
                 simulator and `tw-lab link` have one"
            );
        }
        let queue = path.queue_ms.is_some() || path.queue_bytes.is_some();
        ensure!(
            path.queue_ms.is_none() || path.queue_bytes.is_none(),
            "path: both `queue_ms` and `queue_bytes`; one is enough"
        );
        ensure!(
            path.queue_bytes
                .is_none_or(|bytes| (1_600..=1 << 30).contains(&bytes)),
            "path.queue_bytes: 1600 (a packet) to 1073741824 can be"
        );
        ensure!(
            path.aqm.is_none() || queue,
            "path.aqm: it manages a queue; give `queue_ms` or `queue_bytes`, too"
        );
        ensure!(
            !path.ecn || path.aqm.is_some(),
            "path.ecn: only an AQM marks; give `aqm = \"codel\"`, too"
        );
        let changes_rate = self.step.iter().any(|step| step.rate_mbps.is_some());
        ensure!(
            queue || !changes_rate,
            "step.rate_mbps: without `queue_ms` or `queue_bytes` the rate is netem's, which decides when a \
             packet leaves as it comes, and cannot change for those that wait"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;

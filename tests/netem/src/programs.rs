//! The programs of a run and their arguments: the only place that knows the options of the endpoints.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::network::CLOUD;
use crate::scenario::Source;

/// Unanswered tensors at a time: as many as the edge takes, so that no capture waits for an answer and
/// a stalled carrier is not spared the tensors that it delays.
const IN_FLIGHT: u16 = 1_024;

/// Congestion controls of carriers that have their own; any other is the session's.
const CONGESTION: [&str; 2] = ["cubic", "bbr"];

/// Where the programs are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Programs {
    pub(crate) edge: PathBuf,
    pub(crate) cloud: PathBuf,
    /// This program.
    pub(crate) netem: PathBuf,
}

impl Programs {
    /// The endpoints in `folder`, or beside this program.
    pub(crate) fn find(folder: Option<&Path>) -> Result<Self> {
        let netem = std::env::current_exe().context("cannot tell where this program is")?;
        let folder = folder.or_else(|| netem.parent());
        let folder = folder.unwrap_or_else(|| Path::new(".")).to_owned();
        let folder = std::path::absolute(folder)?;
        let found = |name: &str| {
            let program = folder.join(name);
            if !program.is_file() {
                bail!(
                    "there is no {}; build it with `cargo build --release --bins`, or say where it is with \
                     --bin",
                    program.display()
                );
            }
            Ok(program)
        };
        Ok(Self {
            edge: found("tw-edge")?,
            cloud: found("tw-cloud")?,
            netem,
        })
    }
}

/// A program in a namespace.
pub(crate) fn command(namespace: &str, program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    command.arg(program).args(arguments);
    command
}

/// The arguments of `tw-edge`, whose counts go to `json`; without a number of frames it streams until
/// it is told to end.
pub(crate) fn edge(cell: &Cell, frames: Option<u64>, json: &Path) -> Vec<String> {
    let stream = &cell.stream;
    // Nobody else is in the laboratory.
    let mut arguments = vec!["--insecure".to_owned()];
    if cell.carrier.name == "tcp" {
        arguments.push("--plain".to_owned());
    }
    let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    add("--connect", CLOUD.to_owned());
    if stream.source == Source::StandIn {
        add("--stand-in", stream.stand_in_bytes().to_string());
    }
    add("--fps", cell.fps().to_string());
    if let Some(frames) = frames {
        add("--frames", frames.to_string());
    }
    add("--in-flight", IN_FLIGHT.to_string());
    add("--deadline-ms", stream.deadline_ms.to_string());
    if let Some(parity) = &stream.parity {
        add("--fec", parity.clone());
    }
    if let Some(most) = stream.most_parity {
        add("--most-parity", most.0.to_string());
    }
    if let Some(span) = stream.span {
        add("--span", span.to_string());
    }
    if cell.carrier.name != "udp" {
        add("--carrier", cell.carrier.name.clone());
    }
    if let Some(congestion) = &cell.carrier.congestion {
        let option = if CONGESTION.contains(&congestion.as_str()) {
            "--congestion"
        } else {
            "--rate-control"
        };
        add(option, congestion.clone());
    }
    if let Some(rule) = &stream.drop_rule {
        add("--drop-rule", rule.clone());
    }
    add("--json", json.display().to_string());
    // What it says of each frame of a model is measured.
    if stream.source == Source::StandIn {
        arguments.push("--quiet".to_owned());
    }
    if !stream.retransmission {
        arguments.push("--no-retransmission".to_owned());
    }
    arguments.extend(stream.options.iter().cloned());
    arguments
}

/// The arguments of `tw-cloud`, whose records go to `json` where it has any: a stand-in's.
pub(crate) fn cloud(cell: &Cell, json: &Path) -> Vec<String> {
    let mut arguments = ["--listen", CLOUD].map(str::to_owned).to_vec();
    if cell.stream.source == Source::StandIn {
        arguments.extend(["--stand-in", "--json"].map(str::to_owned));
        arguments.push(json.display().to_string());
    }
    // For TCP.
    arguments.push("--plain".to_owned());
    // Not the one that a user's own cloud shows.
    let identity = json.with_extension("pem").display().to_string();
    arguments.extend(["--identity".to_owned(), identity]);
    if let Some(service) = cell.cloud.service_ms.filter(|service| service.0 > 0.0) {
        arguments.extend(["--service-ms".to_owned(), service.0.to_string()]);
    }
    arguments.extend(cell.cloud.options.iter().cloned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const TEXT: &str = "
about = 'x'
[path]
rate_mbps = 20
delay_ms = 20
[stream]
fps = 30
tensors = 3000
deadline_ms = 35
most_parity = 0.4
retransmission = false
drop_rule = 'off'
carriers = ['tcp/bbr', 'udp/adaptive']
[cloud]
service_ms = 66.6
";

    #[test]
    fn the_options_of_the_endpoints() {
        let cells = Scenario::parse("x", TEXT).unwrap().cells(&[], None);
        let (cell, adaptive) = (&cells[0], &cells[1]);
        let arguments = edge(cell, cell.frames(), Path::new("/tmp/e.json")).join(" ");
        assert_eq!(
            arguments,
            "--insecure --plain --connect 10.77.3.1:4433 --stand-in 12000 --fps 30 --frames 3000 --in-flight 1024 --deadline-ms 35 \
             --most-parity 0.4 --carrier tcp --congestion bbr --drop-rule off --json /tmp/e.json --quiet --no-retransmission"
        );
        let arguments = edge(adaptive, None, Path::new("/tmp/e.json")).join(" ");
        assert!(
            arguments.contains("--rate-control adaptive") && !arguments.contains("--frames"),
            "{arguments}"
        );
        assert_eq!(
            cloud(cell, Path::new("/tmp/c.json")).join(" "),
            "--listen 10.77.3.1:4433 --stand-in --json /tmp/c.json --plain --identity /tmp/c.pem --service-ms 66.6"
        );
    }

    #[test]
    fn the_options_with_a_model() {
        let text = TEXT
            .replace(
                "fps = 30",
                "fps = 100\nsource = 'model'\noptions = ['--coder', 'jpeg']",
            )
            .replace(
                "[cloud]\nservice_ms = 66.6",
                "[cloud]\noptions = ['--conceal', 'zero']\n[[case]]\noptions = ['--quality', '95']",
            );
        let cells = Scenario::parse("x", &text).unwrap().cells(&[], None);
        let arguments = edge(&cells[1], Some(9), Path::new("/tmp/e.json")).join(" ");
        assert_eq!(
            arguments,
            "--insecure --connect 10.77.3.1:4433 --fps 100 --frames 9 --in-flight 1024 --deadline-ms 35 --most-parity 0.4 \
             --rate-control adaptive --drop-rule off --json /tmp/e.json --no-retransmission --coder jpeg --quality 95"
        );
        assert_eq!(
            cloud(&cells[1], Path::new("/tmp/c.json")).join(" "),
            "--listen 10.77.3.1:4433 --plain --identity /tmp/c.pem --conceal zero"
        );
    }

    #[test]
    fn missing_programs_are_named() {
        let error = Programs::find(Some(Path::new("/nowhere"))).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("/nowhere/tw-edge") && error.contains("cargo build"),
            "{error}"
        );
    }
}

//! One run, in a kernel that has netem and a network of its own to spoil.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::frame::ModelRun;
use crate::network::{self, LINE, Words};
use crate::program::{PATIENCE, Program};
use crate::programs::{self, Programs};
use crate::queue::{Watch, monotonic_us, sample};
use crate::record::{CloudFile, EdgeFile, Record};
use crate::scenario::{FlowKind, Source};

/// Of what an edge gives its last answers.
const ANSWERS: Duration = Duration::from_secs(5);
/// Where captures, uploads and what is said of frames are written during a run: a file system in memory.
const MEMORY: &str = "/run";
/// Port of the first TCP flow.
const PORT: u16 = 5_000;

/// What there is to run, and where its record goes.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Plan {
    pub(crate) cell: Cell,
    pub(crate) programs: Programs,
    /// Whether both ends capture.
    pub(crate) pcap: bool,
    /// A folder of this run alone.
    pub(crate) folder: PathBuf,
    /// Where the paths in options begin.
    pub(crate) start: PathBuf,
}

impl Plan {
    /// The file with everything that was measured.
    pub(crate) fn record(&self) -> PathBuf {
        self.folder.join("record.json")
    }
}

/// Runs a plan.
pub(crate) fn run(plan: &Path) -> Result<()> {
    let plan: Plan = read(plan)?;
    for words in network::setup(&plan.cell) {
        obey(&words)?;
    }
    let record = Run { plan: &plan }.measure()?;
    fs::write(plan.record(), serde_json::to_vec(&record)?)?;
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let shown = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("cannot make sense of {shown}"))
}

/// Runs a command of the network.
fn obey(words: &Words) -> Result<()> {
    output(words).map(|_| ())
}

fn output(words: &Words) -> Result<String> {
    let [program, arguments @ ..] = words.0.as_slice() else {
        bail!("an empty command");
    };
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run `{program}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{words}` fails: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What happens at a moment of a run.
enum Action {
    Change(Vec<Words>),
    Start(usize),
    Stop(usize),
}

/// A flow at work: its source, and where its counts will be.
struct Running {
    flow: usize,
    source: Program,
    /// Of a TCP flow.
    sink: Option<Program>,
    json: PathBuf,
}

struct Run<'a> {
    plan: &'a Plan,
}

impl Run<'_> {
    fn measure(&self) -> Result<Record> {
        let Plan {
            cell,
            programs,
            folder,
            start,
            ..
        } = self.plan;
        let json = folder.join("cloud.json");
        let mut arguments = programs::cloud(cell, &json);
        arguments.extend(self.capture("tw-cloud"));
        // Not where a user's own cloud keeps them, so that each run uploads what it needs.
        if cell.stream.source == Source::Model {
            arguments.extend(["--cache-dir".to_owned(), format!("{MEMORY}/uploads")]);
        }
        let mut command = programs::command("cloud", &programs.cloud, &arguments);
        command.current_dir(start);
        let mut cloud = Program::start("tw-cloud", folder, command)?;
        cloud.wait_for("Ctrl-C ends")?;

        let watch = Watch::start()?;
        let (mut edge, edge_json) = self.edge("tw-edge", cell.frames())?;
        edge.wait_for("streaming `")?;
        let started_us = monotonic_us();
        let flows = self.go_through(&mut edge)?;
        // It waits for answers that may come as late as the deadline.
        let deadline = Duration::from_millis(cell.stream.deadline_ms.into());
        edge.end_well(PATIENCE + deadline)?;
        let ended_us = monotonic_us();
        let (mut edges, mut model) = (Vec::new(), None);
        match cell.stream.source {
            Source::StandIn => edges.push((None, read(&edge_json)?)),
            Source::Model => {
                let said = fs::read_to_string(lines("tw-edge"))?;
                fs::write(folder.join("tw-edge.jsonl"), &said)?;
                model = Some(ModelRun::new(read(&edge_json)?, &said)?);
            }
        }
        let mut sinks = Vec::new();
        for flow in flows {
            let number = flow.flow;
            match flow.end()? {
                Counted::Edge(edge) => edges.push((Some(number), *edge)),
                Counted::Sink(counts) => sinks.push((number, counts)),
            }
        }
        let queue = watch.finish()?;
        cloud.signal(Signal::INT);
        cloud.end_well(PATIENCE)?;
        if self.plan.pcap {
            self.keep_captures()?;
        }
        let cloud = match cell.stream.source {
            Source::StandIn => read(&json)?,
            Source::Model => CloudFile::default(),
        };
        Ok(Record {
            started_us,
            ended_us,
            cloud,
            edges,
            model,
            sinks,
            queue,
            line: line()?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
        })
    }

    /// The arguments with which a program captures, in memory: a write to the disk takes longer than a
    /// tensor.
    fn capture(&self, name: &str) -> impl Iterator<Item = String> {
        let file = format!("{MEMORY}/{name}.pcapng");
        let arguments = || ["--pcap".to_owned(), file, "--pcap-secrets".to_owned()];
        self.plan.pcap.then(arguments).into_iter().flatten()
    }

    /// Takes the captures to where they are kept.
    fn keep_captures(&self) -> Result<()> {
        for entry in fs::read_dir(MEMORY)? {
            let file = entry?.path();
            if let Some(name) = file
                .file_name()
                .filter(|_| file.extension().is_some_and(|e| e == "pcapng"))
            {
                fs::copy(&file, self.plan.folder.join(name)).context("cannot keep a capture")?;
            }
        }
        Ok(())
    }

    /// Starts an edge.
    fn edge(&self, name: &str, frames: Option<u64>) -> Result<(Program, PathBuf)> {
        let Plan {
            cell,
            programs,
            folder,
            ..
        } = self.plan;
        let json = folder.join(format!("{name}.json"));
        let mut arguments = programs::edge(cell, frames, &json);
        arguments.extend(self.capture(name));
        let mut command = programs::command("edge", &programs.edge, &arguments);
        command.current_dir(&self.plan.start);
        let to = match cell.stream.source {
            Source::StandIn => Stdio::null(),
            Source::Model => File::create(lines(name))?.into(),
        };
        Ok((Program::start_with(name, folder, command, to)?, json))
    }

    /// Goes through what happens during the run, until the stream's edge is to end. All flows that were
    /// started.
    fn go_through(&self, edge: &mut Program) -> Result<Vec<Running>> {
        let cell = &self.plan.cell;
        let length = cell.seconds();
        let mut actions: Vec<(f64, Action)> = network::steps(cell)
            .into_iter()
            .map(|(at, words)| (at, Action::Change(words)))
            .collect();
        for (flow, number) in cell.flows.iter().zip(0..) {
            actions.push((flow.start_s.0, Action::Start(number)));
            if let Some(stop) = flow.stop_s {
                actions.push((stop.0, Action::Stop(number)));
            }
        }
        actions.retain(|(at, _)| *at < length);
        actions.sort_by(|a, b| a.0.total_cmp(&b.0));
        let start = Instant::now();
        let mut flows: Vec<Running> = Vec::new();
        for (at, action) in actions {
            if !wait_until(edge, start, at)? {
                return Ok(flows);
            }
            match action {
                Action::Change(commands) => commands.iter().try_for_each(obey)?,
                Action::Start(number) => flows.push(self.start(number)?),
                Action::Stop(number) => {
                    let mut of = flows.iter().filter(|running| running.flow == number);
                    of.by_ref().for_each(Running::stop);
                }
            }
        }
        // A stream of so many tensors ends by itself, soon after its last one.
        let grace = if cell.frames().is_some() {
            length * 0.1 + ANSWERS.as_secs_f64()
        } else {
            0.0
        };
        if wait_until(edge, start, length + grace)? {
            edge.signal(Signal::INT);
        }
        Ok(flows)
    }

    fn start(&self, number: usize) -> Result<Running> {
        let Plan {
            cell,
            programs,
            folder,
            ..
        } = self.plan;
        let flow = cell.flows.get(number).context("no such flow")?;
        if flow.kind == FlowKind::Tsp {
            let (source, json) = self.edge(&format!("tw-edge-{number}"), None)?;
            return Ok(Running {
                flow: number,
                source,
                sink: None,
                json,
            });
        }
        let port = PORT + u16::try_from(number)?;
        let json = folder.join(format!("flow-{number}.json"));
        let program = |name: &str, space: &str, arguments: [String; 3]| {
            let command = programs::command(space, &programs.netem, &arguments);
            Program::start(&format!("{name}-{number}"), folder, command)
        };
        let at = format!("10.77.3.1:{port}");
        let shown = json.display().to_string();
        let mut sink = program("sink", "cloud", ["sink".to_owned(), at.clone(), shown])?;
        sink.wait_for("listening")?;
        let congestion = flow.congestion.clone();
        let congestion = congestion.unwrap_or_else(|| "cubic".to_owned());
        let source = program("source", "edge", ["source".to_owned(), at, congestion])?;
        Ok(Running {
            flow: number,
            source,
            sink: Some(sink),
            json,
        })
    }
}

/// Where an edge's lines go, one a frame, in memory for the same reason as captures.
fn lines(name: &str) -> PathBuf {
    Path::new(MEMORY).join(format!("{name}.jsonl"))
}

/// Waits for a moment of the run; false if the stream's edge ended before.
fn wait_until(edge: &mut Program, start: Instant, at: f64) -> Result<bool> {
    let at = start + Duration::from_secs_f64(at);
    while let Some(left) = at.checked_duration_since(Instant::now()) {
        if edge.child.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
    Ok(true)
}

/// What a flow has counted.
enum Counted {
    Edge(Box<EdgeFile>),
    Sink(Vec<(u64, u64)>),
}

impl Running {
    fn stop(&self) {
        self.source.signal(match self.sink {
            Some(_) => Signal::KILL,
            None => Signal::INT,
        });
    }

    fn end(mut self) -> Result<Counted> {
        if let (Some(_), Some(status)) = (&self.sink, self.source.child.try_wait()?)
            && status.code().is_some()
        {
            bail!("{} ends early: {}", self.source.name, self.source.said());
        }
        self.stop();
        match &mut self.sink {
            Some(sink) => {
                self.source.end(PATIENCE)?;
                sink.end_well(PATIENCE)?;
                Ok(Counted::Sink(read(&self.json)?))
            }
            None => {
                self.source.end_well(PATIENCE)?;
                Ok(Counted::Edge(Box::new(read(&self.json)?)))
            }
        }
    }
}

/// Packets that the line behind the bottleneck has carried, and those that it has lost.
fn line() -> Result<(u64, u64)> {
    let (space, device) = LINE;
    let words = [
        "tc", "-n", space, "-s", "-j", "qdisc", "show", "dev", device,
    ];
    let said = output(&Words(words.map(str::to_owned).to_vec()))?;
    let counted = sample(0, &said)?;
    Ok((counted.packets, counted.dropped))
}

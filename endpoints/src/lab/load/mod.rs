//! `tw-lab load`: many edges from one process, to find out how many a cloud holds.

mod swarm;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use super::output::{print, write_rows};
use super::table::{Table, figures, words};
use crate::identity::EdgeIdentity;
use crate::options::EdgeIdentityOptions;
use crate::statistics::Percentiles;
use swarm::{Count, Plan, Swarm};
use usage::{Usage, drops};

/// The share of the processors at which they are what limits.
const BUSY: f64 = 0.9;
/// Trials of a search at most.
const TRIALS: usize = 8;

/// Streams from many edges at a time, without models, to a cloud that was started with --stand-in, and
/// says what it held
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Address of the cloud
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    connect: SocketAddr,
    #[command(flatten)]
    identity: EdgeIdentityOptions,
    /// Edges, each with a session of its own
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    edges: u32,
    /// Frames a second of each
    #[arg(long, default_value_t = 30.0, value_parser = parse_fps)]
    fps: f64,
    /// Bytes of a tensor
    #[arg(long, value_name = "N", default_value_t = crate::stand_in::BYTES, value_parser = clap::value_parser!(u32).range(8..=16_777_215))]
    bytes: u32,
    /// Longest time from capture to release, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    deadline_ms: u32,
    /// Seconds to stream
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Sockets that the edges share
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    sockets: u16,
    /// Send each datagram in a system call of its own, instead of those that are due at once in one
    #[arg(long)]
    no_gso: bool,
    /// Neither encrypt nor authenticate the tensors, where the cloud lets edges do so
    #[arg(long)]
    plain: bool,
    /// The cloud's process, if it runs on this machine: its processor time and memory are measured, too
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Find the largest number of edges, up to --edges, of which no tensor is lost, late or refused
    #[arg(long)]
    ramp: bool,
    /// Write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-cloud --stand-in --sessions 1000 --gso & tw-lab load --edges 1000 --pid $!
      whether this machine holds a thousand edges of 30 tensors a second, 12 kB each
  tw-lab load --connect 192.0.2.7:4433 --edges 2000 --ramp --json load.json
      how many edges another machine holds";

fn parse_fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fps) if (0.1..=1_000.0).contains(&fps) => Ok(fps),
        _ => Err("0.1 to 1000 frames a second".to_owned()),
    }
}

/// One load, and what it came to.
#[derive(Serialize, Clone, Debug)]
struct Row {
    edges: u64,
    fps: f64,
    bytes: u32,
    deadline_ms: u32,
    seconds: u32,
    gso: bool,
    plain: bool,
    /// Processors of this machine.
    cores: usize,
    /// Whether every tensor was released whole and answered in time.
    held: bool,
    /// What limits it, if it was not held.
    limit: Option<String>,
    sent: u64,
    refused: u64,
    whole: u64,
    partial: u64,
    late: u64,
    lost: u64,
    busy: u64,
    unanswered: u64,
    /// Datagrams that the system threw away for want of room in sockets; none where it does not tell.
    cloud_drops: Option<u64>,
    edge_drops: Option<u64>,
    /// From capture to answer.
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    /// By how much captures were late: the generator's own trouble.
    lateness_p99_ms: Option<f64>,
    /// Processor seconds while it streamed, of this program and of the cloud.
    edge_cpu_s: Option<f64>,
    cloud_cpu_s: Option<f64>,
    /// Bytes of memory that the cloud uses more for each session.
    cloud_memory_per_session: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// If the cloud cannot be reached, or refuses a session.
#[tokio::main]
pub async fn run(options: &Options) -> Result<()> {
    let identity = options.identity.identity(&options.connect.to_string())?;
    let rows = if options.ramp {
        search(options, &identity).await?
    } else {
        vec![load(options, &identity, options.edges as usize).await?]
    };
    print(format!("{}\n", table(&rows)))?;
    for row in &rows {
        if let Some(limit) = &row.limit {
            print(format!("{} edges: {limit}\n", row.edges))?;
        }
    }
    if let Some(path) = &options.json {
        write_rows(path, &rows)?;
    }
    Ok(())
}

/// Halves the distance between a number that is held and one that is not.
async fn search(options: &Options, identity: &EdgeIdentity) -> Result<Vec<Row>> {
    let (mut held, mut not, mut rows) = (0, None, Vec::new());
    let mut edges = options.edges as usize;
    for _ in 0..TRIALS {
        let row = load(options, identity, edges).await?;
        eprintln!(
            "{edges} edges: {}",
            if row.held { "held" } else { "not held" }
        );
        if row.held {
            held = edges;
        } else {
            not = Some(edges);
        }
        rows.push(row);
        let Some(not) = not else { break };
        edges = usize::midpoint(held, not);
        if edges == held || not - held <= options.edges as usize / 50 {
            break;
        }
    }
    rows.sort_by_key(|row| row.edges);
    Ok(rows)
}

/// Streams once from so many edges.
async fn load(options: &Options, identity: &EdgeIdentity, edges: usize) -> Result<Row> {
    let plan = Plan {
        cloud: options.connect,
        edges,
        sockets: usize::from(options.sockets).min(edges),
        interval: Duration::from_secs_f64(1.0 / options.fps),
        bytes: options.bytes,
        deadline: Duration::from_millis(options.deadline_ms.into()),
        time: Duration::from_secs(options.seconds.into()),
        gso: !options.no_gso,
        plain: options.plain,
    };
    let (cloud, own) = (options.pid, std::process::id());
    if cloud.is_some_and(|pid| Usage::of(pid).is_none()) {
        bail!(
            "nothing can be told of process {}",
            options.pid.unwrap_or(0)
        );
    }
    let usage = || (cloud.and_then(Usage::of), Usage::of(own));
    let (idle, _) = usage();
    let mut swarm = Swarm::open(plan, identity).await?;
    let own_drops = |swarm: &Swarm| swarm.ports().filter_map(drops).reduce(|a, b| a + b);
    let port = options.connect.port();
    let before = (usage(), drops(port), own_drops(&swarm));
    let streamed = swarm.stream().await;
    let after = (usage(), drops(port), own_drops(&swarm));
    swarm.close().await;
    let count = streamed.context("the cloud went away")?;
    let local = options.connect.ip().is_loopback();
    let more = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
    let spent = |before: Option<Usage>, after: Option<Usage>| {
        Some(after?.cpu.saturating_sub(before?.cpu).as_secs_f64())
    };
    let (before_usage, after_usage) = (before.0, after.0);
    let mut row = Row::new(options, edges, &count);
    row.cloud_drops = local.then(|| more(before.1, after.1)).flatten();
    row.edge_drops = more(before.2, after.2);
    row.cloud_cpu_s = spent(before_usage.0, after_usage.0);
    row.edge_cpu_s = spent(before_usage.1, after_usage.1);
    row.cloud_memory_per_session = idle
        .zip(after_usage.0)
        .map(|(idle, loaded)| loaded.memory.saturating_sub(idle.memory) / edges.max(1) as u64);
    row.limit = row.limited();
    Ok(row)
}

impl Row {
    fn new(options: &Options, edges: usize, count: &Count) -> Self {
        let latencies = Percentiles::of(count.latencies.clone());
        let lateness = Percentiles::of(count.lateness.clone());
        let trouble = count.refused
            + count.partial
            + count.late
            + count.lost
            + count.busy
            + count.unanswered();
        Self {
            edges: edges as u64,
            fps: options.fps,
            bytes: options.bytes,
            deadline_ms: options.deadline_ms,
            seconds: options.seconds,
            gso: !options.no_gso,
            plain: options.plain,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            held: trouble == 0,
            limit: None,
            sent: count.sent,
            refused: count.refused,
            whole: count.whole,
            partial: count.partial,
            late: count.late,
            lost: count.lost,
            busy: count.busy,
            unanswered: count.unanswered(),
            cloud_drops: None,
            edge_drops: None,
            latency_p50_ms: latencies.at(50.0).map(|micros| micros / 1e3),
            latency_p99_ms: latencies.at(99.0).map(|micros| micros / 1e3),
            lateness_p99_ms: lateness.at(99.0).map(|micros| micros / 1e3),
            edge_cpu_s: None,
            cloud_cpu_s: None,
            cloud_memory_per_session: None,
        }
    }

    /// What limits the load, in words, unless it was held.
    fn limited(&self) -> Option<String> {
        if self.held {
            return None;
        }
        let used = self.edge_cpu_s.unwrap_or(0.0) + self.cloud_cpu_s.unwrap_or(0.0);
        let share = used / (self.cores as f64 * f64::from(self.seconds));
        let [cloud, edge] = [self.cloud_drops, self.edge_drops].map(|drops| drops.unwrap_or(0));
        let mut words = Vec::new();
        if share > BUSY {
            words.push(format!(
                "the {} processors are busy to {:.0} % with edges and cloud",
                self.cores,
                100.0 * share
            ));
        } else if self.lateness_p99_ms.is_some_and(|late| late > 5.0) {
            words.push("the edges come late: other programs use the processors".to_owned());
        }
        if cloud + edge > 0 {
            words.push(format!(
                "the system threw away {cloud} datagrams to the cloud and {edge} to the edges for \
                 want of room"
            ));
        }
        if words.is_empty() {
            words.push("neither processors nor sockets: the cloud or the network".to_owned());
        }
        Some(words.join("; "))
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        figures("edges"),
        words("held"),
        figures("sent"),
        figures("whole"),
        figures("partial"),
        figures("late"),
        figures("lost"),
        figures("busy"),
        figures("unanswered"),
        figures("refused"),
        figures("drops"),
        figures("p50_ms"),
        figures("p99_ms"),
        figures("late_p99_ms"),
        figures("edge_cpu"),
        figures("cloud_cpu"),
        figures("kB/session"),
    ]);
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
    for row in rows {
        let share = |cpu: Option<f64>| ms(cpu.map(|cpu| 100.0 * cpu / f64::from(row.seconds)));
        let drops = [row.cloud_drops, row.edge_drops];
        table.row([
            row.edges.to_string(),
            if row.held { "yes" } else { "no" }.to_owned(),
            row.sent.to_string(),
            row.whole.to_string(),
            row.partial.to_string(),
            row.late.to_string(),
            row.lost.to_string(),
            row.busy.to_string(),
            row.unanswered.to_string(),
            row.refused.to_string(),
            drops
                .map(|drops| drops.map_or_else(|| "–".to_owned(), |drops| drops.to_string()))
                .join("/"),
            ms(row.latency_p50_ms),
            ms(row.latency_p99_ms),
            ms(row.lateness_p99_ms),
            share(row.edge_cpu_s),
            share(row.cloud_cpu_s),
            row.cloud_memory_per_session
                .map_or_else(|| "–".to_owned(), |bytes| (bytes / 1_024).to_string()),
        ]);
    }
    table
}

//! `tw-lab link`: the link emulator between separate processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tensorwire_protocol::link::{LinkConfig, LinkStats, LossModel};

use super::output::print;
use super::table::{Table, count, figures, words};
use super::trace::LossSource;
use crate::capture::{self, Recorder};
use crate::clock::Clock;
use crate::relay::Relay;
use crate::shutdown::Stop;

/// What a path does to datagrams, the share lost aside.
#[derive(Args, Clone, Copy, Debug)]
pub struct PathOptions {
    /// Mean length of a loss burst, packets: 1 for independent losses, more for Gilbert's model
    #[arg(long, value_name = "PACKETS", default_value_t = 1.0)]
    burst: f64,
    /// Propagation time each way, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10.0, value_parser = parse_amount)]
    delay_ms: f64,
    /// Further delay, uniform from zero to this, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1.0, value_parser = parse_amount)]
    jitter_ms: f64,
    /// Rate of the bottleneck each way, Mbit/s; 0 for no limit
    #[arg(long, value_name = "MBPS", default_value_t = 20.0, value_parser = parse_amount)]
    rate_mbps: f64,
    /// Queue before the bottleneck, KiB
    #[arg(long, value_name = "KIB", default_value_t = 256)]
    queue_kib: u32,
    /// Seed of losses and jitter: the same seed, the same fate of packet after packet. With 0 a recorded
    /// trace begins at its first packet on the way to the cloud, else anywhere
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

fn parse_amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1e6).contains(&amount) {
        Ok(amount)
    } else {
        Err("0 to 1000000".to_owned())
    }
}

impl PathOptions {
    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The loss model of this share lost, with the bursts of these options.
    ///
    /// # Errors
    /// If the losses cannot be so.
    pub fn losses(&self, loss: f64) -> Result<LossModel> {
        if !self.burst.is_finite() || self.burst < 1.0 {
            bail!(
                "bursts of {} packets; give 1 (independent losses) or more",
                self.burst
            );
        }
        Ok(if loss == 0.0 || self.burst == 1.0 {
            LossModel::independent(loss)?
        } else {
            LossModel::gilbert(loss, self.burst)?
        })
    }

    /// Both directions of the path with these losses. `run` tells one run's seeds from another's.
    #[must_use]
    pub fn directions(&self, model: &LossModel, run: u64) -> [LinkConfig; 2] {
        let milliseconds = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10^12, as the options are parsed"
        )]
        let rate = (self.rate_mbps * 1e6) as u64;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(2 * run);
        let up = LinkConfig {
            loss: model.clone(),
            delay: milliseconds(self.delay_ms),
            jitter: milliseconds(self.jitter_ms),
            rate: (rate > 0).then_some(rate),
            queue: self.queue_kib as usize * 1024,
            seed,
            ..LinkConfig::default()
        };
        let down = LinkConfig {
            seed: seed + 1,
            ..up.clone()
        };
        [up, down]
    }
}

/// Relay datagrams between processes through an emulated bad link, both ways.
///
/// Start it between edge and cloud: `tw-edge --connect` goes to it, QUIC and TSP alike (not TCP). Ctrl-C
/// ends it and prints what became of the datagrams.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Where the edge connects to
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4434")]
    listen: SocketAddr,
    /// The cloud's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    to: SocketAddr,
    /// Share of datagrams lost, 0 to 1
    #[arg(long, default_value_t = 0.05)]
    loss: f64,
    /// Gilbert–Elliott losses instead: probabilities of turning bad, of turning good, of loss while good
    /// and of loss while bad
    #[arg(long, value_name = "P,R,GOOD,BAD", value_delimiter = ',', conflicts_with_all = ["loss", "burst"])]
    gilbert_elliott: Option<Vec<f64>>,
    /// A loss model instead: iid:5%, gilbert:RATE,BURST, gilbert-elliott:P,R,GOOD,BAD,
    /// periodic:EVERY,BURST[,OFFSET], trace:FILE or received:FILE
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["loss", "burst", "gilbert_elliott"])]
    loss_model: Option<LossSource>,
    #[command(flatten)]
    path: PathOptions,
    /// Write the datagrams as pcapng, before the losses and behind them, replacing the file
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab link --loss 0.1 --burst 4 --delay-ms 20
      one datagram in ten is lost, four in a row on average
  tw-lab link --loss-model periodic:20,1
      every twentieth
  tw-lab link --loss-model trace:losses.csv --seed 0
      what was recorded, from the first packet on (files: `tw-lab trace --help`)
  tw-lab link --pcap link.pcapng
      keeps the datagrams; `tw-lab trace capture link.pcapng --out losses.csv` says which were lost";

impl Options {
    fn losses(&self) -> Result<LossModel> {
        if let Some(source) = &self.loss_model {
            return source.load();
        }
        match self.gilbert_elliott.as_deref() {
            None => self.path.losses(self.loss),
            Some(&[to_bad, to_good, good, bad]) => {
                Ok(LossModel::gilbert_elliott(to_bad, to_good, good, bad)?)
            }
            Some(_) => bail!("--gilbert-elliott takes four probabilities, as in 0.01,0.25,0,1"),
        }
    }
}

/// Relays until Ctrl-C.
///
/// # Errors
/// If the losses cannot be so, or a socket cannot be bound.
#[tokio::main]
pub async fn run(options: &Options) -> Result<()> {
    let stop = Stop::listen();
    let losses = options.losses()?;
    let [up, down] = options.path.directions(&losses, 0);
    let (listen, to) = (options.listen, options.to);
    let clock = Clock::start();
    let recorder = Recorder::create_if(options.pcap.as_deref(), clock)?;
    let relay = Relay::bind(listen, to, up, down, clock).await;
    let mut relay = relay.with_context(|| format!("cannot relay from {listen} to {to}"))?;
    if let Some(recorder) = &recorder {
        relay.record(recorder)?;
    }
    eprintln!(
        "relaying from {} to {to}, losses {losses}; Ctrl-C ends.",
        relay.local_addr()?
    );
    let stats = relay.stats();
    tokio::select! {
        () = relay.run() => {}
        () = stop.requested() => {}
    }
    let stats = *stats.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = [
        ("to the cloud, TSP", stats.up.tsp),
        ("to the cloud, QUIC", stats.up.quic),
        ("to the edge, TSP", stats.down.tsp),
        ("to the edge, QUIC", stats.down.quic),
    ];
    print(table(&rows).to_string())?;
    capture::finish(recorder)
}

fn table(directions: &[(&str, LinkStats)]) -> Table {
    let mut table = Table::new(&[
        words("direction"),
        figures("datagrams"),
        figures("delivered"),
        figures("lost"),
        figures("overflowed"),
        figures("on their way"),
    ]);
    for (name, stats) in directions {
        let rest = stats.offered - stats.delivered - stats.lost - stats.overflowed;
        let counts = [
            stats.offered,
            stats.delivered,
            stats.lost,
            stats.overflowed,
            rest,
        ];
        let [offered, delivered, lost, overflowed, rest] =
            counts.map(|n| count(usize::try_from(n).unwrap_or(usize::MAX)));
        table.row([
            (*name).to_owned(),
            offered,
            delivered,
            lost,
            overflowed,
            rest,
        ]);
    }
    table
}

//! `tw-lab link`: the link emulator between separate processes.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tensorwire_protocol::link::{LinkConfig, LinkStats, LossModel};

use super::output::print;
use super::table::{Table, count, figures, words};
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
    /// Seed of losses and jitter: the same seed, the same fate of packet after packet
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

    /// Both directions of the path with this share of losses. `run` tells one run's seeds from
    /// another's.
    ///
    /// # Errors
    /// If the losses cannot be so.
    pub fn directions(&self, loss: f64, run: u64) -> Result<[LinkConfig; 2]> {
        Ok(self.with_losses(self.losses(loss)?, run))
    }

    /// The loss model of this share.
    fn losses(&self, loss: f64) -> Result<LossModel> {
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

    /// Both directions of the path with these losses.
    fn with_losses(&self, model: LossModel, run: u64) -> [LinkConfig; 2] {
        let milliseconds = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10^12, as the options are parsed"
        )]
        let rate = (self.rate_mbps * 1e6) as u64;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(2 * run);
        let up = LinkConfig {
            loss: model,
            delay: milliseconds(self.delay_ms),
            jitter: milliseconds(self.jitter_ms),
            rate: (rate > 0).then_some(rate),
            queue: self.queue_kib as usize * 1024,
            seed,
            ..LinkConfig::default()
        };
        [
            up,
            LinkConfig {
                seed: seed + 1,
                ..up
            },
        ]
    }
}

/// Relay datagrams between processes through an emulated bad link, both ways.
///
/// Start it between edge and cloud: `tw-edge --data` sends the data path to it, the control connection
/// goes straight to the cloud. Ctrl-C ends it and prints what became of the datagrams.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Where the edge sends its datagrams
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4435")]
    listen: SocketAddr,
    /// The cloud's data address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4434")]
    to: SocketAddr,
    /// Share of datagrams lost, 0 to 1
    #[arg(long, default_value_t = 0.05)]
    loss: f64,
    /// Gilbert–Elliott losses instead: probabilities of turning bad, of turning good, of loss while good
    /// and of loss while bad
    #[arg(long, value_name = "P,R,GOOD,BAD", value_delimiter = ',', conflicts_with_all = ["loss", "burst"])]
    gilbert_elliott: Option<Vec<f64>>,
    #[command(flatten)]
    path: PathOptions,
}

/// Relays until Ctrl-C.
///
/// # Errors
/// If the losses cannot be so, or a socket cannot be bound.
#[tokio::main]
pub async fn run(options: &Options) -> Result<()> {
    let stop = Stop::listen();
    let losses = match options.gilbert_elliott.as_deref() {
        None => options.path.losses(options.loss)?,
        Some(&[to_bad, to_good, good, bad]) => {
            LossModel::gilbert_elliott(to_bad, to_good, good, bad)?
        }
        Some(_) => bail!("--gilbert-elliott takes four probabilities, as in 0.01,0.25,0,1"),
    };
    let [up, down] = options.path.with_losses(losses, 0);
    let (listen, to) = (options.listen, options.to);
    let relay = Relay::bind(listen, to, up, down, Clock::start()).await;
    let relay = relay.with_context(|| format!("cannot relay from {listen} to {to}"))?;
    eprintln!(
        "relaying from {} to {to}: {}; Ctrl-C ends.",
        relay.local_addr()?,
        up.loss
    );
    let stats = relay.stats();
    tokio::select! {
        () = relay.run() => {}
        () = stop.requested() => {}
    }
    let stats = *stats.lock().unwrap_or_else(PoisonError::into_inner);
    print(table(&[("to the cloud", stats.up), ("to the edge", stats.down)]).to_string())
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

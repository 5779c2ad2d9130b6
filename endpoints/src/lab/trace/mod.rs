//! `tw-lab trace`: recorded losses, and the models that fit them.

mod capture;
mod fit;
mod read;
mod source;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use ndarray::Array1;
use ndarray_npy::WriteNpyExt as _;
use tensorwire_protocol::link::{LossModel, LossProcess, LossTrace};

pub use source::LossSource;

use super::output::{check_folders, print, write_file};
use super::table::{count, percent};

/// Fits loss models to recorded losses, makes traces, takes them from captures, and puts models in the words of `tc`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Capture(capture::Options),
    Fit(fit::Options),
    Make(MakeOptions),
    Netem(NetemOptions),
}

const EXAMPLES: &str = "\
Examples:
  tw-lab trace fit losses.csv
      the model that fits what was recorded
  tw-lab link --loss-model trace:losses.csv --seed 0
      exactly these losses on the way to the cloud, from the first packet on
  tw-lab trace make gilbert:5%,4 --packets 100000 --seed 7 --out losses.npy
      a trace of 100,000 packets
  tw-lab trace netem gilbert:5%,4
      the same losses by the kernel
  tw-lab trace capture cloud.pcapng --out losses.csv
      what did not reach the cloud

Models: none, iid:RATE, gilbert:RATE,BURST, gilbert-elliott:P,R,GOOD,BAD, periodic:EVERY,BURST[,OFFSET],
trace:FILE (1 = lost) and received:FILE (1 = received); rates may be in per cent.
Files: CSV with a line a packet (0 or 1, `lost` or `received`, or columns `packet,lost`), or npy of any
shape, of which the entries in C order are 0 and 1; or a capture, pcapng or pcap, of which the losses on
the way to the cloud are taken.";

/// Writes the losses of a model as a trace: 1 is a lost packet.
#[derive(Args, Debug)]
struct MakeOptions {
    /// The model, such as gilbert:5%,4
    #[arg(value_name = "MODEL")]
    model: LossSource,
    /// Packets of the trace
    #[arg(long, value_name = "N", value_parser = parse_packets)]
    packets: usize,
    /// Seed: the same seed, the same losses
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Where the trace goes, FILE.csv or FILE.npy; a file that is there already is replaced
    #[arg(long, value_name = "FILE", value_parser = parse_out)]
    out: PathBuf,
}

/// Prints the `tc` command that has the kernel lose packets by a model, as root, on what a network
/// device sends.
///
/// Linux and iproute2 6.6 or newer take `seed N` behind it, for losses that repeat.
#[derive(Args, Debug)]
struct NetemOptions {
    /// The model, such as gilbert:5%,4
    #[arg(value_name = "MODEL")]
    model: LossSource,
    /// The network device
    #[arg(long, value_name = "DEVICE", default_value = DEVICE)]
    dev: String,
}

/// The network device of a `tc` command.
const DEVICE: &str = "eth0";

fn parse_packets(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(packets @ 1..=LossTrace::MAX_PACKETS) => Ok(packets),
        _ => Err(format!("1 to {}", LossTrace::MAX_PACKETS)),
    }
}

fn parse_out(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if is_npy(&path) || path.extension() == Some(OsStr::new("csv")) {
        Ok(path)
    } else {
        Err("a file of .csv or .npy is needed".to_owned())
    }
}

fn is_npy(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("npy"))
}

/// Fits, makes, or prints.
///
/// # Errors
/// If a file cannot be read or written, or the model is nothing for netem.
pub fn run(options: &Options) -> Result<()> {
    match &options.command {
        Command::Capture(options) => capture::run(options),
        Command::Fit(options) => fit::run(options),
        Command::Make(options) => make(options),
        Command::Netem(options) => {
            let model = options.model.load()?;
            print(tc(&options.dev, &model.netem()?))
        }
    }
}

/// The command that sets these netem arguments.
fn tc(device: &str, arguments: &str) -> String {
    format!("tc qdisc replace dev {device} root netem {arguments}")
}

fn make(options: &MakeOptions) -> Result<()> {
    check_folders([&Some(options.out.clone())])?;
    let mut process = LossProcess::new(options.model.load()?, options.seed);
    let trace = LossTrace::new((0..options.packets).map(|_| process.next_is_lost()))?;
    write(&options.out, &trace)
}

/// Writes a trace, and says what is in it.
fn write(path: &Path, trace: &LossTrace) -> Result<()> {
    let bytes = if is_npy(path) {
        npy(trace)?
    } else {
        csv(trace)?.into_bytes()
    };
    write_file(path, &bytes)?;
    print(format!(
        "{}: {} packets, {} of them lost ({}) in {} bursts",
        path.display(),
        count(trace.packets()),
        count(trace.lost()),
        percent(trace.rate()),
        count(trace.bursts())
    ))
}

fn npy(trace: &LossTrace) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    Array1::from_iter(trace.fates().map(u8::from)).write_npy(&mut bytes)?;
    Ok(bytes)
}

fn csv(trace: &LossTrace) -> Result<String> {
    let mut text = "packet,lost\n".to_owned();
    for (packet, lost) in trace.fates().enumerate() {
        writeln!(text, "{packet},{}", u8::from(lost))?;
    }
    Ok(text)
}

/// The model with figures of six digits, which is more than any trace can say.
fn rounded(model: &LossModel) -> LossModel {
    // Six digits and an exponent always parse.
    let round = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    let made = match *model {
        LossModel::Independent { rate } => LossModel::independent(round(rate)),
        LossModel::GilbertElliott {
            loss_good: 0.0,
            loss_bad: 1.0,
            ..
        } => LossModel::gilbert(round(model.rate()), round(model.mean_burst())),
        LossModel::GilbertElliott {
            to_bad,
            to_good,
            loss_good,
            loss_bad,
        } => LossModel::gilbert_elliott(
            round(to_bad),
            round(to_good),
            round(loss_good),
            round(loss_bad),
        ),
        _ => return model.clone(),
    };
    // Rounding can take a chain over the edge of what chains can be.
    made.unwrap_or_else(|_| model.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_written_reads_the_same() {
        let model: LossModel = "gilbert:0.3,3".parse().unwrap();
        let mut process = LossProcess::new(model, 4);
        let trace = LossTrace::new((0..1_000).map(|_| process.next_is_lost())).unwrap();
        for bytes in [npy(&trace).unwrap(), csv(&trace).unwrap().into_bytes()] {
            assert_eq!(read::trace(&bytes, true).unwrap(), trace);
            assert_eq!(
                read::trace(&bytes, false).unwrap() == trace,
                !bytes.starts_with(b"\x93NUMPY"),
                "the header of a CSV file says what is lost"
            );
        }
    }

    #[test]
    fn figures_are_rounded_to_six_digits() {
        for (model, expected) in [
            ("none", "none"),
            ("iid:0.012345678", "iid:0.0123457"),
            (
                "gilbert:0.0123456789,3.3333333333",
                "gilbert:0.0123457,3.33333",
            ),
            (
                "gilbert-elliott:0.000123456789,0.2,0.001,0.66666666",
                "gilbert-elliott:0.000123457,0.2,0.001,0.666667",
            ),
            // Alternating: half of all is lost, and no burst is longer than a packet.
            ("gilbert-elliott:1,1,0,1", "gilbert:0.5,1"),
            ("periodic:3,1", "periodic:3,1"),
        ] {
            assert_eq!(rounded(&model.parse().unwrap()).to_string(), expected);
        }
    }
}

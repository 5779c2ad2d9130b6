//! `tw-lab trace capture`: which packets of a capture were lost.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tensorwire_protocol::link::LossTrace;
use tensorwire_protocol::wire::{self, extend};

use super::{parse_out, write};
use crate::capture::flow::{Heading, Point, survey};
use crate::capture::{Reader, Record, udp};
use crate::lab::output::check_folders;
use crate::lab::replay::{choose, parse_session};

/// Writes which packets of a session were lost as a trace: 1 is a lost packet.
///
/// A capture at the receiver shows gaps in the packet numbers: what was lost between the first and the
/// last that arrived. With a capture at the sender too (`--sent`), and in one of the link emulator, which
/// saw both sides, it is what was sent and did not arrive.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// The capture, where the packets arrived
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A capture where they were sent
    #[arg(long, value_name = "FILE")]
    sent: Option<PathBuf>,
    /// Which way
    #[arg(long, value_enum, default_value_t = Way::Cloud)]
    to: Way,
    /// Which session, by a connection ID in hexadecimal, if there are several
    #[arg(long, value_name = "ID", value_parser = parse_session)]
    session: Option<u32>,
    /// Where the trace goes, FILE.csv or FILE.npy; a file that is there already is replaced
    #[arg(long, value_name = "FILE", value_parser = parse_out)]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab trace capture cloud.pcapng --out losses.csv
      what did not reach the cloud
  tw-lab trace capture edge.pcapng --sent cloud.pcapng --to edge --out losses.npy
      what did not reach the edge, by both ends
  tw-lab trace fit cloud.pcapng
      the model that fits, without a file between";

/// A way of packets.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// From the edge to the cloud
    Cloud,
    /// From the cloud to the edge
    Edge,
}

impl Way {
    const fn heading(self) -> Heading {
        match self {
            Self::Cloud => Heading::ToCloud,
            Self::Edge => Heading::ToEdge,
        }
    }

    /// The end at which these packets arrive.
    const fn end(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Edge => "edge",
        }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    check_folders([&Some(options.out.clone())])?;
    let sent = options.sent.as_deref();
    let trace = trace(&options.file, sent, options.to, options.session)?;
    write(&options.out, &trace)
}

/// What was lost on the way to the cloud in the only session of a capture.
pub(super) fn to_cloud(path: &Path) -> Result<LossTrace> {
    trace(path, None, Way::Cloud, None)
}

fn trace(path: &Path, sent: Option<&Path>, way: Way, session: Option<u32>) -> Result<LossTrace> {
    let mut numbers = Numbers::read(path, way, session)?;
    if let Some(path) = sent {
        let other = Numbers::read(path, way, session)?;
        ensure!(
            !other.sent.is_empty(),
            "{} was not made where packets are sent to the {}",
            path.display(),
            way.end()
        );
        numbers.sent = other.sent;
    }
    if numbers.arrived.is_empty() && !numbers.sent.is_empty() && sent.is_none() {
        bail!(
            "{} was made where packets are sent to the {end}, and shows no losses; give a capture of the \
             {end}, and this one with --sent",
            path.display(),
            end = way.end()
        );
    }
    numbers
        .trace()
        .with_context(|| format!("{} gives no trace", path.display()))
}

/// Packet numbers of one way of a session, in order, each once.
struct Numbers {
    sent: Vec<u64>,
    arrived: Vec<u64>,
}

impl Numbers {
    fn read(path: &Path, way: Way, session: Option<u32>) -> Result<Self> {
        let survey = survey(&mut Reader::open(path)?);
        if let Some(error) = &survey.failed {
            // Packets that were captured and cannot be read are not lost.
            bail!("{} cannot be read to its end: {error}", path.display());
        }
        let flow = choose(path, &survey, session)?;
        let mut numbers = Self {
            sent: Vec::new(),
            arrived: Vec::new(),
        };
        let mut newest = [0; 2];
        let mut reader = Reader::open(path)?;
        while let Some(record) = reader.next() {
            let Record::Packet(packet) = record? else {
                continue;
            };
            let Some(interface) = reader.interface(packet.interface) else {
                continue;
            };
            let Ok(udp) = udp(interface.link, &packet.bytes) else {
                continue;
            };
            let Ok((header, _)) = wire::open(udp.payload, None) else {
                continue;
            };
            let sight = flow.sight(interface, &packet, Some(header.connection));
            let Some((_, point)) = sight.filter(|(heading, _)| *heading == way.heading()) else {
                continue;
            };
            let [sent, arrived] = &mut newest;
            let (list, newest) = match point {
                Point::Sent => (&mut numbers.sent, sent),
                Point::Arrived => (&mut numbers.arrived, arrived),
            };
            let number = extend(u64::from(header.packet_number), 32, *newest);
            *newest = number.max(*newest);
            ensure!(
                list.len() < LossTrace::MAX_PACKETS,
                "{} has more than {} packets of the session; cut it",
                path.display(),
                LossTrace::MAX_PACKETS
            );
            list.push(number);
        }
        for list in [&mut numbers.sent, &mut numbers.arrived] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(numbers)
    }

    /// What was sent and did not arrive; where that is not known, what is missing between the first and
    /// the last that arrived.
    fn trace(&self) -> Result<LossTrace> {
        let arrived = |number: &u64| self.arrived.binary_search(number).is_ok();
        if !self.sent.is_empty() {
            return Ok(LossTrace::new(
                self.sent.iter().map(|number| !arrived(number)),
            )?);
        }
        let (Some(first), Some(last)) = (self.arrived.first(), self.arrived.last()) else {
            bail!("no packet of the session arrived this way");
        };
        Ok(LossTrace::new(
            (*first..=*last).map(|number| !arrived(&number)),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_what_was_sent_counts_where_it_is_known() {
        let fates = |sent: &[u64], arrived: &[u64]| -> Vec<bool> {
            let numbers = Numbers {
                sent: sent.to_vec(),
                arrived: arrived.to_vec(),
            };
            numbers.trace().unwrap().fates().collect()
        };
        assert_eq!(fates(&[], &[7, 8, 11]), [false, false, true, true, false]);
        // Before the first and behind the last that arrived, too; what was not captured when it was sent
        // has no fate.
        assert_eq!(fates(&[5, 6, 8, 9], &[6, 7, 8]), [true, false, false, true]);
        let none = Numbers {
            sent: vec![],
            arrived: vec![],
        };
        assert!(none.trace().is_err());
        let far = Numbers {
            sent: vec![],
            arrived: vec![0, 1 << 40],
        };
        assert!(far.trace().is_err(), "no trace is as long");
    }
}

//! `tw-lab inspect`: what is in a capture, decoded.

mod extract;
mod filter;
mod line;

use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use tensorwire_protocol::wire::{self, Message, is_tsp};

use super::replay::parse_session;
use crate::capture::{Interface, NotUdp, Packet, Reader, Record, Udp, udp};

use extract::Corpus;
use filter::{Filter, Kind};
use line::Line;

/// Prints the packets of a capture decoded, one a line: time since the first, whether it was received
/// (in) or sent (out) where the capture says, session, packet number, and the message, or why it is
/// refused.
///
/// Reads pcapng and pcap of raw IP, Ethernet, Linux cooked and BSD loopback links. In captures of other
/// programs, datagrams that do not look like TSP are passed over, and counted.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The capture
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only messages of these types, with commas between
    #[arg(long = "type", value_name = "TYPE", value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only messages about this tensor (its number's low 16 bits)
    #[arg(long, value_name = "N")]
    tensor: Option<u64>,
    /// Only datagrams of this session, by a connection ID in hexadecimal
    #[arg(long, value_name = "ID", value_parser = parse_session)]
    session: Option<u32>,
    /// Print each as a line of JSON
    #[arg(long)]
    json: bool,
    /// Write each distinct message into this folder instead, a file each: a corpus for the fuzz target
    /// `datagram`
    #[arg(long, value_name = "FOLDER", conflicts_with = "json")]
    extract: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab inspect cloud.pcapng --tensor 17
      the packets of one tensor, its repair, and what was reported about it
  tw-lab inspect cloud.pcapng --type feedback,refused --json
      for programs
  tw-lab inspect dump.pcap --extract fuzz/corpus/datagram
      seeds for fuzzing";

/// What became of packets that are not printed, and how many there were.
#[derive(Default)]
struct Passed {
    packets: u64,
    not_tsp: u64,
    unread: BTreeMap<String, u64>,
    missed: u64,
}

/// Reads and prints.
///
/// # Errors
/// If the file cannot be read to its end: what is before has been printed.
pub fn run(options: &Options) -> Result<()> {
    let mut reader = Reader::open(&options.file)?;
    let filter = Filter {
        kinds: options.kinds.clone(),
        tensor: options.tensor,
        session: options.session,
    };
    let mut corpus = options.extract.as_deref().map(Corpus::open).transpose()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut passed = Passed::default();
    let mut first_ns = None;
    let mut failed = None;
    while let Some(record) = reader.next() {
        let packet = match record {
            Ok(Record::Packet(packet)) => packet,
            Ok(_) => continue,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        passed.packets += 1;
        passed.missed = passed.missed.saturating_add(packet.missed);
        let Some(interface) = reader.interface(packet.interface) else {
            continue;
        };
        let found = datagram(interface, &packet, &mut passed);
        let Some(udp) = found else { continue };
        let since = packet
            .time_ns
            .saturating_sub(*first_ns.get_or_insert(packet.time_ns));
        let line = Line::new(interface, &packet, since, &udp);
        if !filter.wants(&line, interface) {
            continue;
        }
        if let Some(corpus) = &mut corpus {
            corpus.add(&line, udp.payload)?;
            continue;
        }
        let text = if options.json {
            serde_json::to_string(&line)?
        } else {
            line.to_string()
        };
        match writeln!(out, "{text}") {
            // Whoever reads has what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to standard output")?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        flushed => flushed.context("cannot write to standard output")?,
    }
    drop(out);
    passed.tell();
    if let Some(corpus) = corpus {
        super::output::print(corpus.summary())?;
    }
    failed.map_or(Ok(()), |error| {
        let read = passed.packets;
        Err(error).with_context(|| {
            format!(
                "{} is read to this point only, {read} packets",
                options.file.display()
            )
        })
    })
}

/// The datagram in a packet, if it is to be looked at.
fn datagram<'a>(interface: &Interface, packet: &'a Packet, passed: &mut Passed) -> Option<Udp<'a>> {
    match udp(interface.link, &packet.bytes) {
        // On our own sockets, whatever comes is told.
        Ok(udp) if is_tsp(udp.payload) || interface.note.is_some() => Some(udp),
        Ok(_) | Err(NotUdp::NotIp | NotUdp::NotUdp) => {
            passed.not_tsp += 1;
            None
        }
        Err(error) => {
            *passed.unread.entry(error.to_string()).or_default() += 1;
            None
        }
    }
}

impl Passed {
    /// Says on standard error what is not printed.
    fn tell(&self) {
        if self.not_tsp > 0 {
            eprintln!("{} packets that are no TSP are not shown", self.not_tsp);
        }
        for (error, packets) in &self.unread {
            eprintln!("{packets} packets not read: {error}");
        }
        if self.missed > 0 {
            eprintln!("the capture missed {} packets", self.missed);
        }
    }
}

/// The message in a datagram, or why it is refused.
fn decode(
    datagram: &[u8],
) -> Result<(wire::Header, Message<'_>), (Option<wire::Header>, wire::Refusal)> {
    let (header, body) = wire::open(datagram, None).map_err(|refusal| (None, refusal))?;
    match Message::decode(&header, body) {
        Ok(message) => Ok((header, message)),
        Err(refusal) => Err((Some(header), refusal)),
    }
}

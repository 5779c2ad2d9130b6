//! `tw-lab replay`: a receiver on captured packets, in virtual time.

mod receiver;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tensorwire_protocol::wire::connection_of;
use tensorwire_protocol::{Config, Time};

use super::output::print;
use crate::capture::flow::{Flow, Heading, Survey, survey};
use crate::capture::{Reader, Record, Role, udp};
use crate::stream::StreamDescription;

use receiver::{Receiver, Timing};
pub use report::{Latency, Report};

/// Runs a receiver on captured packets and arrival times, in virtual time, and reports as if live.
///
/// A capture that `tw-cloud --pcap` made is replayed as it ran: every timeout is handled when it was,
/// every report leaves when it did, and the counts are those that the cloud had. With other options, or
/// from elsewhere (a link emulator, an edge, any other program), timeouts are handled when they are due.
/// The same file and options always give the same report.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The capture, pcapng or pcap
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which session, by a connection ID in hexadecimal, if there are several
    #[arg(long, value_name = "ID", value_parser = parse_session)]
    session: Option<u32>,
    /// Take what is streamed from this capture of `tw-cloud` or `tw-edge`, where FILE does not say it
    #[arg(long, value_name = "CAPTURE")]
    stream_from: Option<PathBuf>,
    /// Another deadline: longest time from capture to release, milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    deadline_ms: Option<u32>,
    /// Wait for no retransmission: release incomplete tensors as soon as their packets have passed
    #[arg(long)]
    no_retransmission: bool,
    /// Give up older tensors as soon as a newer one is released
    #[arg(long)]
    latest_only: bool,
    /// Print each FEEDBACK that the receiver sends, a line each, before the report
    #[arg(long, conflicts_with = "json")]
    feedback: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tw-lab replay cloud.pcapng
      what the cloud saw, once more
  tw-lab replay cloud.pcapng --deadline-ms 50
      the same packets at the same times, had the deadline been 50 ms
  tw-lab replay tcpdump.pcap --stream-from edge.pcapng
      what tcpdump caught at the cloud, the edge having said what it streams

A replay changes what the receiver does, not what was sent to it: packets that were sent again are in the
capture whatever the options.";

/// Reads a connection ID as logs and `tw-lab inspect` print it.
pub(in crate::lab) fn parse_session(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u32::from_str_radix(digits, 16) {
        Ok(id) if id < 1 << 24 => Ok(id),
        _ => Err(
            "a connection ID of up to six hexadecimal digits is needed, as in c95b84".to_owned(),
        ),
    }
}

/// Replays and prints.
///
/// # Errors
/// If the file cannot be read, or has no session that can be replayed.
pub fn run(options: &Options) -> Result<()> {
    let mut lines = Vec::new();
    let (report, failed) = replay(options, &mut |line| {
        if options.feedback {
            lines.push(line());
        }
    })?;
    if !lines.is_empty() {
        print(lines.join("\n"))?;
    }
    print(if options.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.text()
    })?;
    match failed {
        None => Ok(()),
        Some(error) => Err(error)
            .with_context(|| format!("{} is read to this point only", options.file.display())),
    }
}

/// Replays the session that the options name. `tell` hears of each FEEDBACK. Where the file is damaged,
/// the report is about what is before, and the error comes with it.
///
/// # Errors
/// If the file cannot be read, or has no session that can be replayed.
pub fn replay(
    options: &Options,
    tell: &mut dyn FnMut(&dyn Fn() -> String),
) -> Result<(Report, Option<anyhow::Error>)> {
    let survey = look(&options.file)?;
    let flow = choose(&options.file, &survey, options.session)?;
    let stream = match (&flow.session, &options.stream_from) {
        (Some(session), _) => session.stream.clone(),
        (None, Some(from)) => described(from, flow)?,
        (None, None) => bail!(
            "{} does not say what was streamed; name a capture of tw-cloud or tw-edge that does with \
             --stream-from",
            options.file.display()
        ),
    };
    let changed = options.deadline_ms.is_some() || options.no_retransmission || options.latest_only;
    let config = config(options, &stream, flow)?;
    let as_it_ran = flow.role == Some(Role::Cloud) && flow.ticks && flow.missed == 0 && !changed;
    let timing = match flow {
        _ if as_it_ran => Timing::Live,
        flow if flow.to_edge.is_some() => Timing::Due,
        _ => Timing::Free,
    };
    // Before the first packet lies what was captured before it.
    let origin = match (&flow.session, flow.origin_ns) {
        (Some(_), Some(origin)) => origin,
        _ => flow.first_ns.saturating_sub(120_000_000_000),
    };
    let time = |time_ns: u64| Time::from_micros(time_ns.saturating_sub(origin) / 1_000);
    let begin = match &flow.session {
        Some(session) => Time::from_micros(session.opened_us),
        None => time(flow.first_ns),
    };
    let mut report_line = |at: Time, message: &tensorwire_protocol::wire::Message<'_>| {
        let since = (at - begin).as_micros();
        tell(&|| {
            format!(
                "{:>5}.{:06} {message}",
                since / 1_000_000,
                since % 1_000_000
            )
        });
    };
    let mut receiver = Receiver::new(config.clone(), timing, begin, &mut report_line)?;
    let mut last = begin;
    let mut reader = Reader::open(&options.file)?;
    let mut failed = None;
    while let Some(record) = reader.next() {
        match record {
            Ok(Record::Packet(packet)) => {
                let Some(interface) = reader.interface(packet.interface) else {
                    continue;
                };
                let place = interface.note.as_ref().map(|note| note.role);
                let Ok(udp) = udp(interface.link, &packet.bytes) else {
                    continue;
                };
                let sight = flow.sight(interface, &packet, connection_of(udp.payload));
                // Of the two sides of a link, that of the receiver counts.
                let Some((heading, _)) = sight.filter(|_| place != Some(Role::LinkEdge)) else {
                    continue;
                };
                let at = time(packet.time_ns);
                last = last.max(at);
                match heading {
                    Heading::ToCloud => receiver.arrived(at, udp.ecn, udp.payload),
                    Heading::ToEdge => receiver.sent(at, udp.payload),
                }
            }
            Ok(Record::Tick { interface, time_ns }) if flow.interface == Some(interface) => {
                receiver.ticked(time(time_ns));
            }
            Ok(_) => {}
            Err(error) => failed = Some(error.into()),
        }
    }
    let (stats, tally, in_progress) = receiver.finish();
    let report = Report::new(
        flow,
        &stream,
        &config,
        timing,
        last - begin,
        &stats,
        tally,
        in_progress,
    );
    Ok((report, failed))
}

/// The first look at a capture.
fn look(path: &Path) -> Result<Survey> {
    Ok(survey(&mut Reader::open(path)?))
}

/// The session with this connection ID, or the only one.
pub(in crate::lab) fn choose<'a>(
    path: &Path,
    survey: &'a Survey,
    id: Option<u32>,
) -> Result<&'a Flow> {
    let path = path.display();
    let has = |flow: &&Flow| {
        let mut ids = [Some(flow.to_cloud), flow.to_edge].into_iter().flatten();
        id.is_none_or(|id| ids.any(|found| found.value() == id))
    };
    let found: Vec<&Flow> = survey.flows.iter().filter(has).collect();
    match (found.as_slice(), id) {
        ([flow], _) => Ok(flow),
        ([], Some(id)) => bail!("{path} has no session {id:06x}"),
        ([], None) => match &survey.failed {
            Some(error) => bail!("{path} has no session with tensors before it ends: {error}"),
            None => bail!("{path} has no session with tensors"),
        },
        (several, _) => {
            let ids = several.iter().take(20);
            let ids: Vec<String> = ids
                .map(|flow| format!("{:06x}", flow.to_cloud.value()))
                .collect();
            bail!(
                "{path} has {} sessions; choose one with --session: {}",
                several.len(),
                ids.join(", ")
            );
        }
    }
}

/// What is streamed in a session, by another capture: in the session with its IDs, or the only one.
fn described(path: &Path, flow: &Flow) -> Result<StreamDescription> {
    let survey = look(path)?;
    let same = survey.flows.iter().find(|other| other.has(flow.to_cloud));
    let other = match same {
        Some(other) => other,
        None => choose(path, &survey, None)?,
    };
    let session = other.session.as_ref();
    let session = session
        .with_context(|| format!("{} does not say either what was streamed", path.display()))?;
    Ok(session.stream.clone())
}

fn config(options: &Options, stream: &StreamDescription, flow: &Flow) -> Result<Config> {
    let mut config = stream
        .config()
        .context("the capture describes a stream that cannot be")?;
    config.local_connection = flow.to_cloud;
    config.remote_connection = flow.to_edge.unwrap_or_default();
    if let Some(deadline) = options.deadline_ms {
        config.deadline = Duration::from_millis(deadline.into());
    }
    config.retransmission &= !options.no_retransmission;
    config.latest_only |= options.latest_only;
    Ok(config)
}

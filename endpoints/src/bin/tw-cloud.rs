//! The cloud endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use serde::Serialize;
use tensorwire_concealment::Method;
use tensorwire_endpoints::capture::{self, Recording, Role};
use tensorwire_endpoints::carrier::Carrier;
use tensorwire_endpoints::classifier::{ClassifierOpener, Concealment, advice};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Cloud, CloudConfig, CloudNotice, Policy};
use tensorwire_endpoints::datapath::PathStats;
use tensorwire_endpoints::lab::output::write_file;
use tensorwire_endpoints::model::{Keep, LEAST_GAIN};
use tensorwire_endpoints::options::{
    CaptureOptions, CloudIdentityOptions, ModelOptions, PolicyOptions, ScheduleOptions,
    UploadOptions,
};
use tensorwire_endpoints::shutdown::{self, Stop};
use tensorwire_endpoints::stand_in::handler::{Ledger, StandInOpener};
use tensorwire_endpoints::stand_in::report::SessionReport;
use tensorwire_endpoints::vet;
use tensorwire_protocol::wire::ConnectionId;

/// Receives feature tensors, fills what was lost, finishes the inference, sends results back.
#[derive(Parser, Debug)]
#[command(name = "tw-cloud", version, after_help = EXAMPLES)]
struct Options {
    /// Address to listen at: one UDP port for everything, and with the carrier tcp the TCP port of the same
    /// number
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    listen: SocketAddr,
    /// Carriers that edges may choose from, with commas between [default: all]
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',', default_values_t = Carrier::ALL, hide_default_value = true)]
    carriers: Vec<Carrier>,
    /// Let datagrams that are due at once leave in one system call (generic segmentation offload)
    #[arg(long)]
    gso: bool,
    #[command(flatten)]
    identity: CloudIdentityOptions,
    #[command(flatten)]
    model: ModelOptions,
    /// Side-information bundle, made by `tw-lab calibrate` [default: the built-in one, if it fits]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// How missing entries are filled: auto, zero, channel-mean, dataset-mean, hybrid, spatial,
    /// temporal, motion, altec, caltec, silrtc, halrtc or lmmse; auto takes what the bundle's
    /// measurements say is best for the loss at hand
    #[arg(long, value_name = "METHOD", default_value_t = Method::Auto)]
    conceal: Method,
    /// Longest time that auto may take for a tensor, by the bundle's measurements, milliseconds
    /// [default: no limit]
    #[arg(long, value_name = "MS", value_parser = parse_budget)]
    conceal_budget_ms: Option<Duration>,
    /// Sessions at a time, 1 to 16384
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    sessions: u16,
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    uploads: UploadOptions,
    #[command(flatten)]
    schedule: ScheduleOptions,
    /// Load no model: serve edges that were started with --stand-in, and no others, to measure the
    /// network
    #[arg(long, conflicts_with_all = ["model", "description", "split", "bundle", "conceal", "conceal_budget_ms"])]
    stand_in: bool,
    /// Time that each tensor takes, as a model would, milliseconds [default: none]
    #[arg(long, value_name = "MS", requires = "stand_in", value_parser = parse_budget)]
    service_ms: Option<Duration>,
    /// Write a record of each session to this file at the end
    #[arg(long, value_name = "FILE", requires = "stand_in")]
    json: Option<PathBuf>,
    #[command(flatten)]
    capture: CaptureOptions,
}

const EXAMPLES: &str = "\
Examples:
  tw-cloud
      serves the built-in Fashion-MNIST model on 127.0.0.1:4433
  tw-cloud --listen 0.0.0.0:4433 --model m.onnx --description m.toml --bundle m.twb --conceal lmmse
      serves a model of your own on every interface
  tw-cloud --listen 0.0.0.0:4433 --allow models.txt --cache-dir /var/cache/tensorwire
      serves the models that the file lists, as edges bring them
  tw-cloud --listen 0.0.0.0:4433 --tokens tokens
      lets in only edges that know a token (`tw-lab token cam-3 >> tokens` makes one)
  tw-cloud --pcap cloud.pcapng --pcap-secrets
      captures what its edges send and get, to be opened by `tw-lab replay cloud.pcapng`

Ctrl-C or SIGTERM ends it once its edges are done, or the grace is over; a second one at once.

Exit status: 0 after Ctrl-C, 1 on failure, 2 on wrong usage, 130 after a second Ctrl-C.";

fn parse_budget(text: &str) -> Result<Duration, String> {
    let ms: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if ms <= 0.0 {
        return Err("a time above 0 is needed".to_owned());
    }
    Duration::try_from_secs_f64(ms / 1e3).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    if let Some(code) = vet::child_process() {
        return code;
    }
    shutdown::report(run(Options::parse()))
}

#[tokio::main]
async fn run(options: Options) -> Result<()> {
    let (identity, from) = options.identity.identity()?;
    if options.identity.print_pin {
        println!("{}", identity.fingerprint());
        return Ok(());
    }
    let stop = Stop::listen();
    let model = if options.stand_in {
        None
    } else {
        Some(Serving::prepare(&options)?)
    };
    let config = CloudConfig {
        listen: options.listen,
        carriers: options.carriers.iter().copied().collect(),
        gso: options.gso,
        sessions: usize::from(options.sessions),
    };
    let clock = Clock::start();
    // Bound first: a second cloud on the same port must not begin the capture of the first anew.
    let cloud = Cloud::bind(config, identity, clock).await?;
    let cloud = cloud.with_policy(Policy {
        upload_bytes: model.as_ref().map_or(0, |serving| serving.upload_limit),
        ..options.policy.policy()
    });
    let cloud = cloud.with_schedule(options.schedule.config())?;
    if let Some(advice) = cloud.path().buffer_advice() {
        eprintln!("{advice}");
    }
    let local = cloud.local_addr();
    let recorder = options.capture.recorder(clock)?;
    if let Some(recorder) = &recorder {
        cloud.path().record(recorder.tap(Role::Cloud, local));
    }

    match &model {
        Some(serving) => eprintln!("{}", serving.banner),
        None => eprintln!("model       none: a stand-in, to measure the network"),
    }
    let plain = options.policy.plain;
    if options.capture.recording() == Recording::Datagrams {
        eprintln!(
            "capturing   sealed sessions without their secrets (--pcap-secrets): nothing opens those"
        );
    }
    let unprotected = if plain {
        "; streams that ask for it are neither encrypted nor authenticated"
    } else {
        ""
    };
    eprintln!("listening   {local} (UDP: QUIC, and TSP with keys from it{unprotected})");
    if cloud.has_tcp() {
        let taken = if plain {
            "not encrypted"
        } else {
            "not encrypted, so refused without --plain"
        };
        eprintln!("listening   {local} (TCP: {taken})");
    }
    introduce(&cloud, &from);
    eprintln!("carriers    {}", config.carriers);
    eprintln!("Ctrl-C ends.");

    let (notices, mut inbox) = Cloud::notices();
    let ledger = Ledger::default();
    let mut sessions = Sessions::new(ledger.clone());
    let log = tokio::spawn(async move {
        let mut totals = Totals::default();
        while let Some(notice) = inbox.recv().await {
            totals.add(&notice);
            sessions.add(&notice);
            log(&notice);
        }
        (totals, sessions)
    });
    let path = cloud.path().clone();
    match model {
        Some(serving) => {
            let opener = Arc::new(serving.opener);
            cloud.serve(opener, notices, stop.requested()).await;
        }
        None => {
            let service = options.service_ms.unwrap_or_default();
            let opener = Arc::new(StandInOpener::new(clock, service, ledger));
            cloud.serve(opener, notices, stop.requested()).await;
        }
    }
    let (totals, sessions) = log.await?;
    if let Some(path) = &options.json {
        write_file(path, &serde_json::to_vec(&sessions)?)?;
    }
    eprintln!(
        "{} sessions, {} refused; {} tensors; {} datagrams that named no session, {} of QUIC dropped",
        totals.sessions,
        totals.refused,
        totals.tensors,
        path.strays(),
        path.port_stats().quic_dropped
    );
    capture::finish(recorder)
}

/// Says who the cloud is, whom it lets in, and how edges connect.
fn introduce(cloud: &Cloud, from: &str) {
    let (identity, address) = (cloud.identity(), cloud.local_addr());
    eprintln!("certificate {from}");
    let host = if address.ip().is_unspecified() {
        format!("HOST:{}", address.port())
    } else {
        address.to_string()
    };
    eprintln!(
        "edges       tw-edge --connect {host} --pin {}",
        identity.fingerprint()
    );
    eprintln!("lets in     {}", identity.lets_in());
    if identity.lets_anybody_in() && !address.ip().is_loopback() {
        eprintln!(
            "warning     anybody who reaches this address can stream to this cloud; --tokens, --client-ca or \
             --client-pin say who may"
        );
    }
}

/// A model to serve.
struct Serving {
    opener: ClassifierOpener,
    banner: String,
    /// The largest upload, bytes.
    upload_limit: u64,
}

impl Serving {
    fn prepare(options: &Options) -> Result<Self> {
        let loaded = options.model.load()?;
        let side = loaded.bundle(options.bundle.as_deref())?;
        let mut concealment = Concealment::new(options.conceal);
        concealment.budget = options.conceal_budget_ms;
        let bundle = side.as_ref().map(|side| Arc::clone(&side.bundle));
        concealment
            .concealer(loaded.shape()?.as_tuple(), None, bundle)
            .map_err(|error| anyhow::anyhow!(advice(&error)))?;
        let taken = options.uploads.uploads()?;
        let allowed = options.uploads.allowed(&loaded, side.as_ref())?;
        let banner = format!(
            "model       {} ({})\nconcealment {}\nuploads     {}",
            loaded.description.name,
            loaded.model.digest(),
            options.conceal,
            taken.banner
        );
        let opener = ClassifierOpener::new(loaded.model, side, concealment);
        Ok(Self {
            opener: opener
                .with_allowed(allowed)
                .with_uploads(taken.uploads)
                .with_batch(
                    usize::from(options.schedule.batch),
                    Keep::Gaining(LEAST_GAIN),
                ),
            banner,
            upload_limit: taken.limit,
        })
    }
}

/// The records of sessions with stand-ins, as they are written down.
#[derive(Serialize)]
struct Sessions {
    #[serde(skip)]
    ledger: Ledger,
    /// Names of the streams of open sessions.
    #[serde(skip)]
    open: HashMap<ConnectionId, String>,
    sessions: Vec<SessionReport>,
}

impl Sessions {
    fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            open: HashMap::new(),
            sessions: Vec::new(),
        }
    }

    fn add(&mut self, notice: &CloudNotice) {
        match notice {
            CloudNotice::Opened {
                connection, stream, ..
            } => {
                self.open.insert(*connection, stream.split.clone());
            }
            CloudNotice::Closed {
                connection,
                stats,
                reason,
            } => {
                let Some(stream) = self.open.remove(connection) else {
                    return;
                };
                if let Some(record) = self.ledger.record(&stream) {
                    let report = SessionReport::new(&stream, &record, reason, stats.as_deref());
                    self.sessions.push(report);
                }
            }
            _ => {}
        }
    }
}

/// What a cloud did in all.
#[derive(Default)]
struct Totals {
    sessions: u64,
    refused: u64,
    tensors: u64,
}

impl Totals {
    const fn add(&mut self, notice: &CloudNotice) {
        match notice {
            CloudNotice::Opened { .. } => self.sessions += 1,
            CloudNotice::Refused { .. } => self.refused += 1,
            CloudNotice::Closed {
                stats: Some(stats), ..
            } => {
                let session = &stats.session;
                self.tensors += session.tensors_complete + session.tensors_deadline;
                self.tensors += session.tensors_evicted;
            }
            _ => {}
        }
    }
}

fn log(notice: &CloudNotice) {
    match notice {
        CloudNotice::Opened {
            connection,
            peer,
            carrier,
            stream,
            name,
        } => eprintln!(
            "session {:06x} opened by {} over {}: `{}` {}×{}×{}, deadline {} ms, MSS {}",
            connection.value(),
            who(*peer, name.as_deref()),
            carrier.name(),
            stream.split,
            stream.channels,
            stream.height,
            stream.width,
            stream.deadline_ms,
            stream.mss
        ),
        CloudNotice::Refused { peer, reason, name } => {
            eprintln!("refused {}: {reason}", who(*peer, name.as_deref()))
        }
        CloudNotice::Closed {
            connection,
            stats,
            reason,
        } => {
            eprintln!("session {:06x} closed: {reason}", connection.value());
            if let Some(stats) = stats {
                log_stats(stats);
            }
        }
        _ => {}
    }
}

/// An edge, by its name if it has one.
fn who(peer: SocketAddr, name: Option<&str>) -> String {
    name.map_or_else(|| peer.to_string(), |name| format!("{name} ({peer})"))
}

fn log_stats(stats: &PathStats) {
    let session = &stats.session;
    eprintln!(
        "  tensors: {} complete, {} at the deadline, {} evicted, {} superseded, {} lost; {} not computed \
         because the model was behind",
        session.tensors_complete,
        session.tensors_deadline,
        session.tensors_evicted,
        session.tensors_superseded,
        session.tensors_lost,
        stats.busy
    );
    if session.datagrams_received == 0 && session.bytes_received > 0 {
        eprintln!(
            "  streams: {} bytes received, {} sent; {} tensors late, {} conflicting",
            session.bytes_received, session.bytes_sent, session.late, session.conflicts
        );
    } else {
        eprintln!(
            "  datagrams: {} received, {} refused, {} ignored, {} duplicate, {} late, {} conflicting, {} over \
             a limit; {} sent, {} not sent",
            session.datagrams_received,
            session.refused.total(),
            session.ignored,
            session.duplicates,
            session.late,
            session.conflicts,
            session.over_limit,
            session.datagrams_sent,
            stats.send_failed
        );
    }
    if session.results_expired + session.events_dropped > 0 {
        eprintln!(
            "  {} results never acknowledged, {} events not told",
            session.results_expired, session.events_dropped
        );
    }
}

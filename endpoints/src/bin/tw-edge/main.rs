//! The edge endpoint.

mod news;
mod reload;
mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tensorwire_endpoints::capture;
use tensorwire_endpoints::carrier::Carrier;
use tensorwire_endpoints::clip;
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::description::Description;
use tensorwire_endpoints::edge::{Connector, FrameSource, Pace, Protection, Reconnect, Route};
use tensorwire_endpoints::lab::output::write_file;
use tensorwire_endpoints::options::{
    CaptureOptions, CarrierOptions, CodecOptions, EdgeIdentityOptions, ImageOptions, ModelOptions,
    OfferOptions, QualityOptions, RateOptions, RecoveryOptions, StreamOptions, describe, interval,
    parse_fps, verified_words,
};
use tensorwire_endpoints::shutdown::{self, Stop};
use tensorwire_endpoints::source::ImageSource;
use tensorwire_endpoints::stand_in::path::PathLog;
use tensorwire_endpoints::stand_in::report::EdgeReport;
use tensorwire_endpoints::stand_in::source::StandInSource;
use tensorwire_endpoints::stand_in::{self, OnWire};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_endpoints::upload::Offers;

use news::News;
use report::Report;

/// Runs the first part of a model on images, streams the feature tensors to a cloud, prints what it
/// answers: one line of JSON a frame on standard output, a summary on standard error.
#[derive(Parser, Debug)]
#[command(name = "tw-edge", version, after_help = EXAMPLES, args_override_self = true)]
struct Options {
    /// The cloud's address, HOST:PORT
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    connect: String,
    #[command(flatten)]
    identity: EdgeIdentityOptions,
    #[command(flatten)]
    carrier: CarrierOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    offers: OfferOptions,
    #[command(flatten)]
    images: ImageOptions,
    /// Side-information bundle, made by `tw-lab calibrate`: gives the clip range [default: the built-in
    /// one, if it fits]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    codec: CodecOptions,
    #[command(flatten)]
    quality: QualityOptions,
    #[command(flatten)]
    stream: StreamOptions,
    #[command(flatten)]
    recovery: RecoveryOptions,
    #[command(flatten)]
    rate: RateOptions,
    /// Frames a second; 0 for as fast as the session takes them
    #[arg(long, default_value_t = 30.0, value_parser = parse_fps)]
    fps: f64,
    /// Frames to stream; the images start again when they end [default: each image once]
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// Frames in the making or unanswered at a time, 1 to 1024; the next capture waits while there are as
    /// many
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    in_flight: u16,
    /// Seconds that a cloud which goes away may stay away: frames are skipped meanwhile, and the stream goes
    /// on by itself; or `never` [default: 60]
    #[arg(long, value_name = "SECONDS", default_value = "60", hide_default_value = true, value_parser = parse_reconnect)]
    reconnect: Reconnect,
    /// On SIGHUP, read further options from this file, one a line as on the command line, and change the
    /// stream to them without a gap: another split, codec, deadline, redundancy or rate control. Options
    /// that are not about the stream change nothing
    #[arg(long, value_name = "FILE")]
    reload: Option<PathBuf>,
    /// Print no line a frame
    #[arg(long)]
    quiet: bool,
    /// Stream pseudo-random tensors of so many bytes (8 to 16777215) instead of a model's, to a cloud
    /// that was started with --stand-in, until Ctrl-C or --frames: measures the network
    #[arg(long, value_name = "BYTES", num_args = 0..=1, default_missing_value = "12000",
        conflicts_with_all = ["model", "description", "split", "images", "rows", "bundle", "coder", "quality",
            "levels", "clip", "map", "adaptive_quality"],
        value_parser = clap::value_parser!(u32).range(8..=16_777_215))]
    stand_in: Option<u32>,
    /// Write a summary to this file at the end, as JSON: frames, tensors by outcome, frames skipped by
    /// reason
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    capture: CaptureOptions,
}

const EXAMPLES: &str = "\
Examples:
  tw-edge
      streams the built-in 1,000 images to a cloud on this machine
  tw-edge --connect 192.0.2.7:4433 --pin SHA256 --token-file cam-3
      streams to the cloud that prints this fingerprint, and shows it a token
  tw-edge --connect 192.0.2.7:4433 --fps 15 --coder jpeg --quality 60 --deadline-ms 50
      sends JPEG slices, and has tensors released at most 50 ms after capture
  tw-edge --rate-control 5mbit --drop-rule predictive --deadline-ms 60 --json summary.json
      sends at 5 Mbit/s at most, computes no frame that would come too late, says why in the lines
      and in the summary
  tw-edge --model m.onnx --description m.toml --split add_4 --bundle m.twb --images photos
      a model and images of your own (a cloud that lacks the model and the bundle is sent them)

  tw-edge --fps 15 --reload edge.options
      changes to the options in that file (`--split add_2`, say) whenever it gets SIGHUP
  tw-edge --plain --carrier tcp --congestion bbr
      sends tensors over TCP instead, to compare, or where UDP does not get through

Exit status: 0 when done or after Ctrl-C, 1 on failure, 2 on wrong usage.";

fn parse_reconnect(text: &str) -> Result<Reconnect, String> {
    if text == "never" {
        return Ok(Reconnect::Never);
    }
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let seconds = seconds.ok_or_else(|| format!("`{text}` is neither `never` nor a time"))?;
    Duration::try_from_secs_f64(seconds)
        .map(Reconnect::For)
        .map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    shutdown::report(start(Options::parse()))
}

/// Runs as a task of the runtime: its threads take turns with the data path's without waking the main
/// thread for each step of a frame.
#[tokio::main]
async fn start(options: Options) -> Result<()> {
    tokio::spawn(async move { run(&options).await }).await?
}

async fn run(options: &Options) -> Result<()> {
    let stop = Stop::listen();
    let addresses = options.connect.to_socket_addrs();
    let addresses: Vec<SocketAddr> = addresses
        .with_context(|| format!("`{}` is no address; give HOST:PORT", options.connect))?
        .collect();
    let identity = options.identity.identity(&options.connect)?;
    let Prepared {
        stream,
        protection,
        source,
        description,
        offers,
    } = match options.stand_in {
        Some(bytes) => Prepared::stand_in(bytes, options)?,
        None => Prepared::model(options)?,
    };
    let mut counted = match options.stand_in {
        Some(_) => Some(EdgeReport::new(&stream.split, OnWire::of(&stream)?)),
        None => None,
    };
    let ladder = stream.ladder()?;
    let format = *ladder.best();

    let route = options.carrier.route();
    // Before a capture is begun, whose file may have held another.
    route.validate(options.capture.recording())?;
    let clock = Clock::start();
    let recorder = options.capture.recorder(clock)?;
    let interval = interval(options.fps);
    let connector = Connector::new(
        addresses,
        identity,
        route,
        stream.clone(),
        protection,
        clock,
    )
    .with_interval(interval)
    .with_statistics();
    let connector = match offers {
        Some(offers) => connector.with_blobs(Arc::new(offers)),
        None => connector,
    };
    let mut edge = tokio::select! {
        connected = connector.connect(recorder.as_ref()) => connected?,
        () = stop.requested() => return Ok(()),
    };
    edge.set_reconnect(options.reconnect);
    let news = News::default();
    if let Some(notices) = edge.notices() {
        tokio::spawn(news.clone().follow(notices));
    }
    if let Some(file) = options.reload.clone() {
        let changer = edge.changer();
        tokio::spawn(async move { reload::on_signal(&file, changer).await });
    }
    let cloud = edge.cloud()?;
    eprintln!(
        "streaming `{}` {} in {} slices to {cloud}; {}",
        stream.split,
        format.shape(),
        format.slice_count(),
        protection_of(&route)
    );
    eprintln!("the cloud: {}", verified_words(edge.verified()?));
    if ladder.len() > 1 {
        eprintln!("adaptive quality: {}", describe(&ladder));
    }
    let rule = options.rate.drop_rule.rule();
    edge.set_drop_rule(rule, usize::from(options.rate.queue));
    let mut report = Report::new(description, options.quiet, ladder.len());
    let pace = Pace {
        interval,
        in_flight: usize::from(options.in_flight),
    };
    let path_log = PathLog::default();
    if counted.is_some() {
        tokio::spawn(path_log.clone().follow(edge.watch()?));
    }
    let streamed = edge
        .stream(source, pace, stop.requested(), |outcome| {
            if let Some(counted) = &mut counted {
                counted.tell(&outcome);
            }
            report.tell(outcome);
        })
        .await;
    let stats = edge.stats().await.ok();
    edge.close().await;
    let written = options.json.as_deref().map(|path| {
        let json = match &mut counted {
            Some(counted) => {
                counted.finish(stats.as_ref(), &path_log);
                serde_json::to_vec_pretty(counted)
            }
            None => serde_json::to_vec_pretty(&report.counted(rule, news.sessions())),
        };
        write_file(path, &json?)
    });
    report.summary(stats.as_ref());
    news.sessions().summary();
    let written = written.unwrap_or(Ok(()));
    let captured = capture::finish(recorder);
    streamed.and(written).and(captured)
}

/// What keeps others from reading and forging tensors.
const fn protection_of(route: &Route) -> &'static str {
    match route.carrier {
        Carrier::Udp if route.plain => {
            "the data path is plain UDP, neither encrypted nor authenticated"
        }
        Carrier::Udp => "the data path is encrypted with keys of the QUIC connection",
        Carrier::Tcp => "the data path is plain TCP, not encrypted",
        _ => "the data path is QUIC, encrypted",
    }
}

/// What there is to stream.
struct Prepared {
    stream: StreamDescription,
    protection: Protection,
    source: Arc<dyn FrameSource>,
    /// What the classes are called, where there are any.
    description: Option<Description>,
    /// What the cloud may be given.
    offers: Option<Offers>,
}

impl Prepared {
    /// The tensors of a model.
    fn model(options: &Options) -> Result<Self> {
        let loaded = options.model.load()?;
        let side = loaded.bundle(options.bundle.as_deref())?;
        if loaded.guessed {
            eprintln!(
                "no description of the model: pixels are scaled to 0..1; --description says otherwise"
            );
        }
        let offers = options.offers;
        let offers = offers.offers(&loaded, side.as_ref(), options.bundle.as_ref());
        let dataset = loaded.images(&options.images)?;
        let mut codec = options.codec.clone();
        if codec.clip.is_none() && side.is_none() {
            let (range, images) = clip::of_first_images(&loaded, &dataset)?;
            let (low, high) = (range.low(), range.high());
            eprintln!(
                "no bundle: clip range {low:.3},{high:.3}, by the first {images} images; --clip or --bundle \
                 says otherwise"
            );
            codec.clip = Some(range);
        }
        let quality = (options.quality).quality(&codec, loaded.shape()?, side.as_ref())?;
        let ladder = quality.ladder().clone();
        let format = *ladder.best();
        let digest = side.as_ref().map(|side| side.digest);
        let mut stream =
            StreamDescription::with_ladder(&ladder, &loaded.split, loaded.model.digest(), digest)?;
        options.stream.apply(&mut stream);
        let mut protection = options
            .recovery
            .apply(&mut stream, &format, side.as_ref())?;
        protection.rate = options.rate.control(options.carrier.carrier);
        protection.ecn = options.rate.ecn;
        let frames = options.frames.unwrap_or(dataset.len() as u64);
        let source = ImageSource::new(&loaded, dataset, quality, side, frames)?;
        Ok(Self {
            stream,
            protection,
            source: Arc::new(source),
            description: Some(loaded.description),
            offers: (!offers.is_empty()).then_some(offers),
        })
    }

    /// Tensors of `bytes` bytes that stand in for a model's.
    fn stand_in(bytes: u32, options: &Options) -> Result<Self> {
        let format = stand_in::format(bytes)?;
        let mut stream = stand_in::describe(&format)?;
        options.stream.apply(&mut stream);
        let mut protection = options.recovery.apply(&mut stream, &format, None)?;
        protection.rate = options.rate.control(options.carrier.carrier);
        protection.ecn = options.rate.ecn;
        let frames = options.frames.unwrap_or(u64::MAX);
        Ok(Self {
            stream,
            protection,
            source: Arc::new(StandInSource::new(format.shape().entries(), frames)),
            description: None,
            offers: None,
        })
    }
}

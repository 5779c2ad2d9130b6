//! The streams of the demonstration: one session for each share of loss.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::ProgressBar;
use tensorwire_codec::{Decoded, Format};
use tensorwire_concealment::Concealer;
use tensorwire_protocol::link::LossModel;
use tensorwire_protocol::wire::FrameNumber;
use tokio::sync::oneshot;

use super::Options;
use super::keep::{ANSWERING, Arrived, DemoOpener};
use super::report::Row;
use super::tally::{METHODS, Tally};
use crate::capture::{self, Recorder, Role};
use crate::carrier::Carrier;
use crate::classifier::{ClassifierOpener, Concealment, SideInformation, loss_kind};
use crate::clock::Clock;
use crate::cloud::{Cloud, CloudConfig, Policy};
use crate::edge::{Edge, FrameSource, Outcome, Pace, Route};
use crate::identity::{CloudIdentity, EdgeIdentity};
use crate::images::Dataset;
use crate::lab::parallel::{in_order, progress};
use crate::model::{CloudModel, top_k};
use crate::options::{LoadedModel, check_unseen, interval};
use crate::quality::Quality;
use crate::relay::Relay;
use crate::shutdown::Stop;
use crate::source::ImageSource;
use crate::stream::StreamDescription;

/// Tensors without an answer at a time.
const IN_FLIGHT: usize = 32;

/// What all streams share.
struct Setting<'a> {
    options: &'a Options,
    clock: Clock,
    loaded: LoadedModel,
    dataset: Dataset,
    side: Option<SideInformation>,
    format: Format,
    cloud: CloudModel,
    /// For each frame: whether the model in one piece is right.
    clean: Vec<bool>,
}

/// Streams with each of these losses.
pub(super) async fn all(options: &Options, models: &[(f64, LossModel)]) -> Result<Vec<Row>> {
    let stop = Stop::listen();
    let clock = Clock::start();
    let recorder = Recorder::create_if(options.pcap.as_deref(), clock)?;
    let setting = Setting::load(options, clock)?;
    let bar = progress("streaming", models.len() * options.tensors as usize);
    let mut streams = vec![];
    for (run, (loss, model)) in (0..).zip(models) {
        let streamed = setting.stream(model, run, &stop, &bar, recorder.as_ref());
        let streamed = streamed.await;
        let streamed =
            streamed.with_context(|| format!("the stream with losses {model} failed"))?;
        ensure!(!stop.is_requested(), "interrupted");
        streams.push((*loss, streamed));
    }
    bar.finish_and_clear();
    capture::finish(recorder)?;
    streams
        .into_iter()
        .map(|(loss, streamed)| setting.row(loss, streamed))
        .collect()
}

impl<'a> Setting<'a> {
    fn load(options: &'a Options, clock: Clock) -> Result<Self> {
        let loaded = options.model.load()?;
        let side = loaded.bundle(options.bundle.as_deref())?;
        side.as_ref().context(
            "the demonstration needs a bundle: give --bundle (`tw-lab calibrate` makes one)",
        )?;
        let dataset = loaded.images(&options.images)?;
        let format = options.codec.format(loaded.shape()?, side.as_ref())?;
        let cloud = loaded.model.cloud(&loaded.split)?;
        let clean = clean(&loaded, &dataset, side.as_ref(), options.tensors as usize)?;
        Ok(Self {
            options,
            clock,
            loaded,
            dataset,
            side,
            format,
            cloud,
            clean,
        })
    }

    /// Streams all frames through a link with these losses.
    async fn stream(
        &self,
        losses: &LossModel,
        run: u64,
        stop: &Stop,
        bar: &ProgressBar,
        recorder: Option<&Recorder>,
    ) -> Result<Streamed> {
        let clock = self.clock;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let cloud = CloudConfig {
            listen: local,
            carriers: [Carrier::Udp].into_iter().collect(),
            gso: false,
            sessions: 1,
        };
        let identity = CloudIdentity::for_this_run()?;
        let pinned = EdgeIdentity::pinned(identity.fingerprint());
        let mut cloud = Cloud::bind(cloud, identity, clock).await?;
        if self.options.pcap.is_some() {
            // What is protected cannot be looked into.
            cloud = cloud.with_policy(Policy::default().with_plain());
        }
        let address = cloud.local_addr();
        if let Some(recorder) = recorder {
            cloud.path().record(recorder.tap(Role::Cloud, address));
        }
        let relay = self.relay(address, losses, run, clock).await?;
        let through = relay.local_addr()?;

        let received = Arc::new(Mutex::new(HashMap::new()));
        let model = Arc::clone(&self.loaded.model);
        let opener = DemoOpener {
            classifiers: ClassifierOpener::new(
                model,
                self.side.clone(),
                Concealment::new(ANSWERING),
            ),
            received: Arc::clone(&received),
            clock,
        };
        let (done, is_done) = oneshot::channel::<()>();
        let (notices, _ignored) = Cloud::notices();
        let relay = tokio::spawn(relay.run());
        let serving = tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
            // An error says that nobody can end it any more, which is the end, too.
            let _ = is_done.await;
        }));

        let outcomes = self.edge((through, &pinned), clock, stop, bar).await;
        drop(done);
        serving.await?;
        relay.abort();
        let received =
            std::mem::take(&mut *received.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Streamed {
            outcomes: outcomes?,
            received,
        })
    }

    async fn relay(
        &self,
        cloud: SocketAddr,
        losses: &LossModel,
        run: u64,
        clock: Clock,
    ) -> Result<Relay> {
        let [up, down] = self.options.path.directions(losses, run);
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Relay::bind(front, cloud, up, down, clock)
            .await
            .context("cannot start the link emulator")
    }

    async fn edge(
        &self,
        (cloud, identity): (SocketAddr, &EdgeIdentity),
        clock: Clock,
        stop: &Stop,
        bar: &ProgressBar,
    ) -> Result<Vec<Outcome>> {
        let digest = self.side.as_ref().map(|side| side.digest);
        let (split, model) = (&self.loaded.split, self.loaded.model.digest());
        let mut stream = StreamDescription::new(&self.format, split, model, digest)?;
        self.options.stream.apply(&mut stream);
        let protection =
            self.options
                .recovery
                .apply(&mut stream, &self.format, self.side.as_ref())?;
        let (dataset, side) = (self.dataset.clone(), self.side.clone());
        let frames = u64::from(self.options.tensors);
        let quality = Quality::fixed(&self.format);
        let source = ImageSource::new(&self.loaded, dataset, quality, side, frames)?;
        let source: Arc<dyn FrameSource> = Arc::new(source);
        // A capture is to be looked into; this is all one process.
        let route = Route {
            plain: self.options.pcap.is_some(),
            ..Route::default()
        };
        let mut edge = Edge::connect(cloud, identity, route, stream, protection, clock).await?;
        let pace = Pace {
            interval: interval(self.options.fps),
            in_flight: IN_FLIGHT,
        };
        let mut outcomes = vec![];
        let streamed = edge
            .stream(source, pace, stop.requested(), |outcome| {
                bar.inc(1);
                outcomes.push(outcome);
            })
            .await;
        edge.close().await;
        streamed?;
        Ok(outcomes)
    }

    /// Tries the methods on what arrived, and sums up.
    fn row(&self, loss: f64, streamed: Streamed) -> Result<Row> {
        let Streamed {
            outcomes,
            mut received,
        } = streamed;
        let mut tally = Tally::default();
        let mut incomplete = vec![];
        for outcome in outcomes {
            tally.tensors += 1;
            match outcome {
                Outcome::Answered { sent, latency, .. } => {
                    tally.bytes += sent.bytes;
                    let Some(arrived) = received.remove(&sent.frame) else {
                        // Answered without the model, because that was behind.
                        tally.missing += 1.0;
                        tally.dropped += 1;
                        continue;
                    };
                    tally.stages.push(&sent, &arrived, latency);
                    tally.missing += arrived.info.missing_share();
                    match arrived.incomplete {
                        None => {
                            tally.complete += 1;
                            let right = arrived.answer.is_some() && arrived.answer == sent.label;
                            tally
                                .right
                                .iter_mut()
                                .for_each(|count| *count += usize::from(right));
                        }
                        Some(decoded) => incomplete.push((sent.label, decoded)),
                    }
                }
                Outcome::Dropped { sent, .. } | Outcome::Unanswered { sent } => {
                    tally.bytes += sent.bytes;
                    tally.missing += 1.0;
                    tally.dropped += 1;
                }
                Outcome::Skipped { frame, reason, .. } => {
                    bail!("frame {frame} was not sent: {reason}")
                }
            }
        }
        tally.concealed = incomplete.len();
        let right = |concealers: &mut Vec<Concealer>, item: usize| -> Result<Vec<bool>> {
            let (label, decoded) = incomplete.get(item).context("no such tensor")?;
            concealers
                .iter_mut()
                .map(|concealer| self.is_right(concealer, *label, decoded))
                .collect()
        };
        in_order(
            "concealing",
            incomplete.len(),
            || self.concealers(),
            right,
            |rights| {
                tally
                    .right
                    .iter_mut()
                    .zip(rights)
                    .for_each(|(count, right)| *count += usize::from(right));
                Ok(())
            },
        )?;
        Ok(tally.row(loss, &self.clean))
    }

    /// One for each of [`METHODS`].
    fn concealers(&self) -> Result<Vec<Concealer>> {
        let (shape, kind) = (self.format.shape().dim(), loss_kind(&self.format));
        let bundle = self.side.as_ref().map(|side| &side.bundle);
        METHODS
            .iter()
            .map(|method| Ok(Concealment::new(*method).concealer(shape, kind, bundle.cloned())?))
            .collect()
    }

    fn is_right(
        &self,
        concealer: &mut Concealer,
        label: Option<u32>,
        decoded: &Decoded,
    ) -> Result<bool> {
        let mut tensor = decoded.tensor.clone();
        // Only incomplete tensors come here: the one before is not the last of the stream.
        concealer.forget();
        concealer.conceal(tensor.view_mut(), decoded.mask.view())?;
        let logits = self.cloud.run(tensor.view())?;
        Ok(best(&logits).is_some_and(|class| Some(class) == label))
    }
}

/// Whether the model in one piece is right, frame by frame.
fn clean(
    loaded: &LoadedModel,
    dataset: &Dataset,
    side: Option<&SideInformation>,
    frames: usize,
) -> Result<Vec<bool>> {
    let whole = loaded.model.whole()?;
    let input = &loaded.description.input;
    let mut right = vec![];
    let images = dataset.len().min(frames);
    in_order(
        "classifying",
        images,
        || Ok(()),
        |(), index| {
            let sample = dataset.get(index)?;
            check_unseen(side, &sample.name, &sample.digest)?;
            let label = sample.label.context("the images need labels")?;
            let logits = whole.run(input.prepare(sample.image)?.view())?;
            Ok(best(&logits) == Some(label))
        },
        |is_right| {
            right.push(is_right);
            Ok(())
        },
    )?;
    Ok(right.iter().copied().cycle().take(frames).collect())
}

/// The best class.
pub(super) fn best(logits: &[f32]) -> Option<u32> {
    top_k(logits, 1)
        .first()
        .and_then(|(class, _)| u32::try_from(*class).ok())
}

/// What came of one stream.
struct Streamed {
    outcomes: Vec<Outcome>,
    received: HashMap<FrameNumber, Arrived>,
}

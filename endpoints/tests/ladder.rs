//! Tensors of one stream coded by different steps of its ladder, from edge to cloud in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ndarray::Array3;
use tensorwire_codec::{
    Classification, ClipRange, Coder, Decoder, Encoder, Format, Ladder, Map, Quantiser, Shape, Step,
};
use tensorwire_endpoints::classifier::{ClassifierOpener, Concealment};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Answer, Cloud, CloudConfig, CloudNotice, Opener, TensorHandler};
use tensorwire_endpoints::control::{self, Message, Open, Refuse};
use tensorwire_endpoints::datapath::DataPath;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection,
};
use tensorwire_endpoints::embedded;
use tensorwire_endpoints::model::top_k;
use tensorwire_endpoints::options::{CodecOptions, ModelOptions, QualityOptions};
use tensorwire_endpoints::quality::Quality;
use tensorwire_endpoints::quic;
use tensorwire_endpoints::source::{ImageSource, slices};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::wire::{ConnectionId, FrameNumber, ResultStatus};
use tensorwire_protocol::{Event, OutgoingTensor, ReceivedTensor};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);

/// What each tensor in turn may have, bytes.
const BUDGETS: [Option<usize>; 6] = [None, Some(400), Some(1), Some(0), Some(300), Some(250)];

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// 256 entries: 256 bytes, 128, 64, and JPEG of some quality.
fn ladder() -> Ladder {
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::Mosaic {
        columns: 2,
        blocks: 1,
    };
    let shape = Shape::new(4, 8, 8).unwrap();
    let best = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let step = |levels, coder| Step { levels, coder };
    let further = [
        step(16, Coder::Raw),
        step(4, Coder::Raw),
        step(256, Coder::Jpeg { quality: 10 }),
    ];
    Ladder::new(best, &further).unwrap()
}

fn stream(ladder: &Ladder) -> StreamDescription {
    let model = Digest::of("model");
    let mut stream = StreamDescription::with_ladder(ladder, "split", model, None).unwrap();
    // Nothing is lost here, and how busy the machine is must not matter.
    stream.deadline_ms = 30_000;
    stream
}

fn tensor(number: u64) -> Array3<f32> {
    Array3::from_shape_fn((4, 8, 8), |(c, y, x)| {
        ((c * 64 + y * 8 + x) as f32 * 0.01 + number as f32).sin()
    })
}

/// Answers each tensor with its step and what it decodes to.
struct Decoding {
    ladder: Ladder,
}

struct DecodingOpener;

impl Opener for DecodingOpener {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        let ladder = stream.ladder().unwrap();
        Ok(Box::new(Decoding { ladder }))
    }
}

fn digest(tensor: &Array3<f32>) -> Digest {
    let bytes = tensor.iter().flat_map(|entry| entry.to_be_bytes());
    Digest::of(bytes.collect::<Vec<u8>>())
}

impl TensorHandler for Decoding {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        let step = tensor.info().step;
        let format = self.ladder.format(step).unwrap();
        let decoded = Decoder::new(format).decode(|slice| tensor.slice(slice));
        let mut payload = vec![step, decoded.missing_entries() as u8];
        payload.extend(digest(&decoded.tensor).as_bytes());
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::from(payload),
        }
    }
}

/// Six frames, each with its budget.
struct Frames {
    quality: Mutex<Quality>,
}

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        let Some(&budget) = BUDGETS.get(number as usize) else {
            return Ok(None);
        };
        Ok(Some(Captured::new(number.to_string(), None, move || {
            // The path would have room for any.
            Ok(Computed::new(move |_budget| {
                let mut quality = self.quality.lock().unwrap();
                let coded = quality.encode(tensor(number).view(), budget)?;
                Ok(Encoded {
                    step: coded.step,
                    slices: slices(coded.tensor)?,
                })
            }))
        })))
    }
}

async fn start<O: Opener>(
    opener: O,
) -> (SocketAddr, mpsc::Receiver<CloudNotice>, oneshot::Sender<()>) {
    let config = CloudConfig {
        listen: local(),
        data: local(),
        sessions: 4,
        any_source: false,
    };
    let cloud = Cloud::bind(config, Clock::start()).await.unwrap();
    let address = cloud.local_addr().unwrap();
    let (notices, inbox) = Cloud::notices();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
        let _ = stopped.await;
    }));
    (address, inbox, stop)
}

/// What became of the frames, by frame.
async fn outcomes(
    cloud: SocketAddr,
    stream: StreamDescription,
    source: Arc<dyn FrameSource>,
) -> Vec<(u8, usize, Bytes)> {
    let mut edge = Edge::connect(cloud, None, stream, Protection::default(), Clock::start())
        .await
        .unwrap();
    let pace = Pace {
        interval: Duration::ZERO,
        in_flight: 1,
    };
    let mut found = vec![];
    edge.stream(source, pace, std::future::pending(), |outcome| {
        let Outcome::Answered { sent, result, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(sent.frame, FrameNumber(found.len() as u64));
        assert_eq!(result.status, ResultStatus::Done);
        found.push((sent.step, sent.bytes, result.payload));
    })
    .await
    .unwrap();
    edge.close().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_step_changes_in_mid_stream_and_every_tensor_decodes_to_its_levels() {
    let (cloud, _notices, _stop) = start(DecodingOpener).await;
    let ladder = ladder();
    let quality = Quality::adaptive(ladder.clone(), vec![256, 128, 64, 40]).unwrap();
    let source = Frames {
        quality: Mutex::new(quality),
    };
    let found = outcomes(cloud, stream(&ladder), Arc::new(source)).await;
    let steps: Vec<u8> = found.iter().map(|(step, ..)| *step).collect();
    assert_eq!(steps, [0, 0, 3, 3, 3, 3]);
    let all = [0, 1, 2, 3];
    let quality = |step: u8| {
        let mut quality = Quality::adaptive(ladder.clone(), vec![256, 128, 64, 40]).unwrap();
        quality.encode(
            tensor(0).view(),
            Some([256, 128, 64, 40][usize::from(step)]),
        )
    };
    assert!(all.iter().all(|step| quality(*step).unwrap().step >= *step));
    for (number, (step, bytes, payload)) in (0..).zip(&found) {
        let format = ladder.format(*step).unwrap();
        let coded = Encoder::new(format).encode(tensor(number).view()).unwrap();
        let decoded = Decoder::new(format).decode(|slice| Some(coded.slice(slice)));
        assert_eq!(*bytes, coded.bytes().len());
        assert_eq!(payload[..2], [*step, 0]);
        assert_eq!(&payload[2..], digest(&decoded.tensor).as_bytes());
    }
}

//! Tensors of one stream coded by different steps of its ladder, from edge to cloud in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

#[path = "support/in_process.rs"]
mod in_process;
#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use ndarray::Array3;
use tensorwire_codec::{
    Chooser, Classification, ClipRange, Coder, Decoder, Encoder, Format, Ladder, Map, Quantiser,
    Shape, Step,
};
use tensorwire_concealment::{Bundle, StepCoder};
use tensorwire_endpoints::classifier::{ClassifierOpener, Concealment};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Answer, CloudNotice, Opener, Policy, TensorHandler};
use tensorwire_endpoints::control::channel::write;
use tensorwire_endpoints::control::{
    Capabilities, Ciphers, ControlReader, Features, Hello, Message, Open, Refuse, SessionNumber,
};
use tensorwire_endpoints::datapath::DataPath;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Outcome, Pace, Protection, Route,
};
use tensorwire_endpoints::embedded;
use tensorwire_endpoints::identity::CloudIdentity;
use tensorwire_endpoints::model::{EdgeModel, top_k};
use tensorwire_endpoints::options::{CodecOptions, LoadedModel, ModelOptions, QualityOptions};
use tensorwire_endpoints::quality::Quality;
use tensorwire_endpoints::quic;
use tensorwire_endpoints::source::slices;
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::wire::{ConnectionId, FrameNumber, ResultStatus};
use tensorwire_protocol::{Event, OutgoingTensor, ReceivedTensor};
use tokio::sync::mpsc;

use in_process::{anybody, local, start, start_under};
use support::{edge_to, json_lines, run, start_cloud, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that tensors of the steps take.
const BYTES: [usize; 4] = [256, 128, 64, 40];

/// What each tensor in turn may have, bytes, and the step that it gets: down at once, up with patience.
fn budgets() -> Vec<(Option<usize>, u8)> {
    let down = [(None, 0), (Some(200), 1), (Some(100), 2), (Some(1), 3)];
    let room = (1..Chooser::PATIENCE).map(|_| (Some(1_000), 3));
    let up = [(Some(1_000), 0), (None, 0)];
    down.into_iter().chain(room).chain(up).collect()
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

/// Frames, each with its budget.
struct Frames {
    quality: Mutex<Quality>,
}

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        let Some(&(budget, _)) = budgets().get(number as usize) else {
            return Ok(None);
        };
        Ok(Some(Captured::new(number.to_string(), None, move || {
            Ok(Computed::new(move |_| {
                let coded = self
                    .quality
                    .lock()
                    .unwrap()
                    .encode(tensor(number).view(), budget)?;
                Ok(Encoded {
                    step: coded.step,
                    slices: slices(coded.tensor)?,
                })
            }))
        })))
    }
}

/// What became of the frames, by frame.
async fn outcomes(
    cloud: SocketAddr,
    stream: StreamDescription,
    source: Arc<dyn FrameSource>,
) -> Vec<(u8, usize, Bytes)> {
    let mut edge = Edge::connect(
        cloud,
        &anybody(),
        Route::default(),
        stream,
        Protection::default(),
        Clock::start(),
    )
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
    let quality = Quality::adaptive(ladder.clone(), BYTES.to_vec(), None).unwrap();
    let source = Frames {
        quality: Mutex::new(quality),
    };
    let found = outcomes(cloud, stream(&ladder), Arc::new(source)).await;
    let steps: Vec<u8> = found.iter().map(|(step, ..)| *step).collect();
    let expected: Vec<u8> = budgets().iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, expected);
    for (number, (step, bytes, payload)) in (0..).zip(&found) {
        let format = ladder.format(*step).unwrap();
        let coded = Encoder::new(format).encode(tensor(number).view()).unwrap();
        let decoded = Decoder::new(format).decode(|slice| Some(coded.slice(slice)));
        assert_eq!(*bytes, coded.bytes().len());
        assert_eq!(payload[..2], [*step, 0]);
        assert_eq!(&payload[2..], digest(&decoded.tensor).as_bytes());
    }
}

/// What the first four of the built-in images may have: 9,408 bytes are 256 levels, 7,105 are 64, 4,737
/// are 16 and 2,369 are 4.
const OF_IMAGES: [Option<usize>; 4] = [None, Some(7_500), Some(4_800), Some(2_000)];

/// The built-in images, each with a budget of its own.
struct Images {
    loaded: LoadedModel,
    edge: EdgeModel,
    quality: Mutex<Quality>,
}

impl Images {
    fn tensor(&self, number: usize) -> Array3<f32> {
        let image = embedded::images().unwrap().get(number).unwrap().image;
        let image = self.loaded.description.input.prepare(image).unwrap();
        self.edge.run(image.view()).unwrap()
    }
}

impl FrameSource for Images {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        let Some(&budget) = OF_IMAGES.get(number as usize) else {
            return Ok(None);
        };
        Ok(Some(Captured::new(number.to_string(), None, move || {
            let tensor = self.tensor(number as usize);
            Ok(Computed::new(move |_| {
                let coded = self.quality.lock().unwrap().encode(tensor.view(), budget)?;
                Ok(Encoded {
                    step: coded.step,
                    slices: slices(coded.tensor)?,
                })
            }))
        })))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_classifier_decodes_any_step() {
    let model = ModelOptions {
        model: None,
        description: None,
        split: None,
    };
    let loaded = model.load().unwrap();
    let side = loaded.bundle(None).unwrap();
    let concealment = Concealment::new(tensorwire_concealment::Method::Zero);
    let opener = ClassifierOpener::new(Arc::clone(&loaded.model), None, concealment);
    let (cloud, _notices, _stop) = start(opener).await;

    let parsed = Streaming::parse_from(["x", "--adaptive-quality", "--ladder", "256,64,16,4"]);
    let shape = loaded.shape().unwrap();
    let quality = parsed.quality.quality(&parsed.codec, shape, side.as_ref());
    let ladder = quality.unwrap().ladder().clone();
    // Knowing bytes alone, it takes the best that fits.
    let quality = Quality::adaptive(ladder.clone(), vec![9_408, 7_105, 4_737, 2_369], None);
    let quality = quality.unwrap();
    let model = loaded.model.digest();
    let mut stream = StreamDescription::with_ladder(&ladder, &loaded.split, model, None).unwrap();
    stream.deadline_ms = 30_000;
    let rest = loaded.model.cloud(&loaded.split).unwrap();
    let source = Arc::new(Images {
        edge: loaded.model.edge(&loaded.split).unwrap(),
        loaded,
        quality: Mutex::new(quality),
    });
    let found = outcomes(cloud, stream, Arc::clone(&source) as Arc<dyn FrameSource>).await;
    assert_eq!(found.len(), OF_IMAGES.len());
    for (number, (step, bytes, payload)) in found.iter().enumerate() {
        assert_eq!(usize::from(*step), number);
        let tensor = source.tensor(number);
        let format = ladder.format(*step).unwrap();
        let coded = Encoder::new(format).encode(tensor.view()).unwrap();
        assert_eq!(*bytes, coded.bytes().len());
        let decoded = Decoder::new(format).decode(|slice| Some(coded.slice(slice)));
        let logits = rest.run(decoded.tensor.view()).unwrap();
        let expected: Vec<u32> = top_k(&logits, 3).iter().map(|(c, _)| *c as u32).collect();
        let answered = Classification::decode(payload).unwrap().classes;
        let answered: Vec<u32> = answered.iter().map(|(class, _)| *class).collect();
        assert_eq!(answered, expected, "step {step}");
    }
}

/// The options of an edge that this is about.
#[derive(Parser)]
struct Streaming {
    #[command(flatten)]
    codec: CodecOptions,
    #[command(flatten)]
    quality: QualityOptions,
}

#[test]
fn a_ladder_is_named_or_that_of_the_bundle() {
    let model = ModelOptions {
        model: None,
        description: None,
        split: None,
    };
    let loaded = model.load().unwrap();
    let side = loaded.bundle(None).unwrap();
    let shape = loaded.shape().unwrap();
    let made = |arguments: &[&str], bundle: bool| {
        let side = side.as_ref().filter(|_| bundle);
        let asked = Streaming::try_parse_from([&["x"][..], arguments].concat());
        let asked = asked.map_err(|error| error.to_string())?;
        let quality = asked.quality.quality(&asked.codec, shape, side);
        let quality = quality.map_err(|error| format!("{error:#}"))?;
        let steps = quality.ladder().formats().iter().map(Format::step);
        Ok::<Vec<Step>, String>(steps.collect())
    };
    let raw = |levels: &[u16]| {
        let step = |&levels: &u16| Step {
            levels,
            coder: Coder::Raw,
        };
        levels.iter().map(step).collect::<Vec<Step>>()
    };
    let jpeg = |qualities: &[u8]| {
        let step = |&quality: &u8| Step {
            levels: 256,
            coder: Coder::Jpeg { quality },
        };
        qualities.iter().map(step).collect::<Vec<Step>>()
    };
    let adaptive = "--adaptive-quality";
    let on_jpeg = ["--coder", "jpeg", adaptive];
    assert_eq!(made(&["--levels", "7"], true), Ok(raw(&[7])));
    assert_eq!(made(&[adaptive], true), Ok(raw(&[256, 64, 16, 8, 4])));
    let clip = [adaptive, "--clip=-4,4"];
    assert_eq!(made(&clip, false), Ok(raw(&[256, 64, 16, 8, 4])));
    assert_eq!(made(&on_jpeg, true), Ok(jpeg(&[95, 80, 60, 40, 20, 10, 5])));
    let some = [&on_jpeg[..], &["--ladder", "80,20"]].concat();
    assert_eq!(made(&some, true), Ok(jpeg(&[80, 20])));
    for (arguments, bundle, says) in [
        (&["--ladder", "64,4"][..], true, "--adaptive-quality"),
        (&[adaptive, "--levels", "64"], true, "--levels"),
        (
            &[adaptive, "--ladder", "4,64"],
            true,
            "best to the smallest",
        ),
        (&[adaptive, "--ladder", "64,1"], true, "2 to 256"),
        (
            &["--coder", "jpeg", adaptive, "--ladder", "80,33"],
            true,
            "Jpeg { quality: 33 }",
        ),
        (
            &["--coder", "jpeg", adaptive, "--ladder", "101"],
            true,
            "1 to 100",
        ),
        (
            &["--coder", "jpeg", adaptive, "--clip=-4,4"],
            false,
            "tw-lab calibrate",
        ),
    ] {
        let error = made(arguments, bundle).unwrap_err();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}

/// A session whose edge has agreed on one step and sends tensors of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_not_agreed_on_is_counted_and_answered_by_nothing() {
    let identity = CloudIdentity::for_this_run().unwrap();
    // The edge that is written by hand here protects nothing.
    let policy = Policy::default().with_plain();
    let (cloud, mut notices, _stop) = start_under(DecodingOpener, identity, policy).await;
    let ladder = ladder();
    let agreed = stream(&Ladder::from(*ladder.best()));
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let (events, mut inbox) = mpsc::channel(64);
    let config = stream(&ladder).config().unwrap();
    let session = path.open(config, None, events).await.unwrap();

    let client = quic::client(local(), quic::Tuning::default(), &anybody()).unwrap();
    let (connection, _) = quic::connect(&client, cloud, &anybody()).await.unwrap();
    let (mut send, receive) = connection.open_bi().await.unwrap();
    let mut receive = ControlReader::new(receive);
    let capabilities = Capabilities::new(0b1111, Ciphers::ALL, Features::default());
    let hello = Hello::new(capabilities);
    write(&mut send, &hello.into()).await.unwrap();
    let open = Open::new(SessionNumber(1), agreed, session.connection().value());
    write(&mut send, &open.into()).await.unwrap();
    let Message::Welcome(_) = receive.next().await.unwrap() else {
        panic!("refused");
    };
    let Message::Accept(accept) = receive.next().await.unwrap() else {
        panic!("refused");
    };
    let remote = ConnectionId::new(accept.connection);
    session.attach(remote, Some(cloud)).await.unwrap();

    for (frame, step) in [(0, 3), (1, 1), (2, 0)] {
        let format = ladder.format(step).unwrap();
        let coded = Encoder::new(format).encode(tensor(frame).view()).unwrap();
        let tensor = OutgoingTensor {
            frame: FrameNumber(frame),
            captured: session.clock().now(),
            step,
            slices: slices(coded).unwrap(),
        };
        session.send_tensor(tensor).await.unwrap().unwrap();
    }
    let answered = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(Event::Result(result)) = inbox.recv().await {
                return result;
            }
        }
    });
    let answered = answered.await.expect("an answer to the tensor of step 0");
    assert_eq!((answered.frame, answered.payload[0]), (FrameNumber(2), 0));
    connection.close(0_u32.into(), b"done");
    let stats = loop {
        let notice = tokio::time::timeout(PATIENCE, notices.recv()).await;
        if let Some(CloudNotice::Closed { stats, .. }) = notice.expect("a notice") {
            break stats.unwrap();
        }
    };
    assert_eq!(stats.session.tensors_complete, 1);
    // A packet each.
    assert_eq!(stats.session.conflicts, 2);
    assert_eq!(stats.session.refused.total(), 0);
}

#[test]
fn the_programs_say_which_step_a_tensor_is_of() {
    let (cloud, address) = start_cloud(&[]);
    let stream = [
        "--frames",
        "20",
        "--deadline-ms",
        "10000",
        "--drop-rule",
        "off",
        "--rate-control",
        "off",
    ];
    let adaptive = ["--coder", "jpeg", "--adaptive-quality", "--ladder", "80,40"];
    let output = run(edge_to(&address, &[&stream[..], &adaptive].concat()));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines = json_lines(&text(&output.stdout));
    assert_eq!(lines.len(), 20, "{stderr}");
    // Nothing limits what the first may have; the others need not have it if it is worth nothing.
    assert_eq!(lines[0]["step"], 0, "{lines:?}");
    let of_step = |step: u64| lines.iter().filter(|line| line["step"] == step).count();
    let (best, other) = (of_step(0), of_step(1));
    assert_eq!(best + other, 20, "{lines:?}");
    assert!(
        stderr.contains("adaptive quality: 0: JPEG 80, 1: JPEG 40"),
        "{stderr}"
    );
    let by_step = format!("tensors by step: 0: {best}, 1: {other}");
    assert!(stderr.contains(&by_step), "{stderr}");

    // 33 ms of 1 Mbit/s are 3,906 bytes without headers: room for 8 levels, not for 16.
    let slow = [
        "--frames",
        "8",
        "--rate-control",
        "1mbit",
        "--drop-rule",
        "off",
    ];
    let raw = [
        "--fps",
        "30",
        "--deadline-ms",
        "10000",
        "--adaptive-quality",
    ];
    let output = run(edge_to(&address, &[&slow[..], &raw].concat()));
    let lines = json_lines(&text(&output.stdout));
    assert_eq!(lines.len(), 8, "{}", text(&output.stderr));
    for line in lines {
        assert!(line["step"].as_u64().unwrap() >= 3, "{line}");
        assert!(line["bytes"].as_u64().unwrap() <= 3_906, "{line}");
    }

    let output = run(edge_to(&address, &stream));
    let lines = json_lines(&text(&output.stdout));
    assert!(
        lines.iter().all(|line| line.get("step").is_none()),
        "{lines:?}"
    );
    drop(cloud);
}

#[test]
fn calibration_measures_what_each_step_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, json) = (file("made.twb"), file("rows.json"));
    let mut command = support::lab();
    // Nothing is judged without images that are held out, but tensors have bytes all the same.
    let images = ["--quick", "--rows", "0..30", "--hold-out", "0"];
    command.arg("calibrate").args(images);
    command.args(["--out", &out, "--json", &json]);
    let output = run(command);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let said = text(&output.stdout);
    assert!(
        said.contains("at each quality") && said.contains("LADDER 204"),
        "{said}"
    );
    let bundle = Bundle::from_bytes(&fs::read(&out).unwrap()).unwrap();
    let ladder = bundle.ladder().unwrap();
    assert_eq!((ladder.bytes_images(), ladder.accuracy_images()), (30, 0));
    let steps = ladder.steps();
    // 9,408 entries of 8 to 2 bits; every slice ends on a whole byte.
    let of_raw: Vec<u32> = steps[..5].iter().map(|step| step.p95_bytes).collect();
    assert_eq!(of_raw, [9_408, 7_105, 4_737, 3_553, 2_369]);
    let of_jpeg: Vec<StepCoder> = steps[5..].iter().map(|step| step.coder).collect();
    let qualities = [95, 80, 60, 40, 20, 10, 5];
    assert_eq!(
        of_jpeg,
        qualities.map(|quality| StepCoder::Jpeg { quality })
    );
    assert!(steps.iter().all(|step| step.drop == 0.0));
    let rows: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = rows["rows"].as_array().unwrap().iter();
    let rows: Vec<_> = rows.filter(|row| row["section"] == "ladder").collect();
    assert_eq!((rows.len(), rows[0].get("top1")), (12, None));
    for (step, row) in steps.iter().zip(rows) {
        assert_eq!(row["bytes_p95"].as_f64(), Some(f64::from(step.p95_bytes)));
        assert_eq!(row["levels"], step.levels);
    }
}

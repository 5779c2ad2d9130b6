//! Edges that bring their own models to a cloud that has never seen them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "what goes wrong here fails the test"
)]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../src/model/tests/graph.rs"]
mod graph;
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use graph::{file, residual, weights};
use prost::Message as _;
use support::{Running, edge_to, json_lines, run, start_cloud, text};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_concealment::Method;
use tensorwire_endpoints::carrier::{Carrier, Carriers};
use tensorwire_endpoints::classifier::{ClassifierOpener, Concealment};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{Cloud, CloudConfig, Policy};
use tensorwire_endpoints::control::{ControlWriter, Offer, Want};
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{Blobs, Connector, Edge, Protection, Refused, Route};
use tensorwire_endpoints::embedded;
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity};
use tensorwire_endpoints::store::{Store, StoreLimits};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_endpoints::upload::header::Header;
use tensorwire_endpoints::upload::{Allowed, Offers, Uploads};
use tensorwire_endpoints::vet::{VetLimits, Vetter};
use tokio::sync::oneshot;

/// A model with `classes` classes, whose images are 8×6 and grey.
fn model(classes: i64) -> Vec<u8> {
    let mut graph = residual();
    graph.initializer[3] = weights("w_head", &[4, classes]);
    file(graph).encode_to_vec()
}

/// A folder with a model and images for it, as an edge has them.
fn edge_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.onnx"), model(3)).unwrap();
    let mut images = vec![0, 0, 8, 3];
    for length in [5_u32, 8, 6] {
        images.extend(length.to_be_bytes());
    }
    images.extend((0..5 * 48_u32).map(|i| (i * 37 % 256) as u8));
    std::fs::write(dir.path().join("images.idx3"), images).unwrap();
    dir
}

fn arguments(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (model, images) = (path("m.onnx"), path("images.idx3"));
    let own = ["--model", &model, "--split", "add_1", "--images", &images];
    let calm = ["--deadline-ms", "5000", "--clip=-2,2"];
    own.iter()
        .chain(&calm)
        .map(|word| (*word).to_owned())
        .collect()
}

/// Streams the folder's images to a cloud: frames that were answered, and what went wrong.
fn stream_to(address: &str, dir: &Path, more: &[&str]) -> (usize, String) {
    let arguments = arguments(dir);
    let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    all.extend(more);
    let output = run(edge_to(address, &all));
    let lines = json_lines(&text(&output.stdout));
    let answered = lines.iter().filter(|line| line["outcome"] == "answered");
    (answered.count(), text(&output.stderr))
}

fn end(cloud: Running) -> String {
    cloud.interrupt();
    let (code, _, said) = cloud.end();
    assert_eq!(code, Some(0), "{said}");
    said
}

#[test]
fn a_cloud_started_empty_serves_an_edge_that_brings_its_model() {
    let (edge, cache) = (edge_folder(), tempfile::tempdir().unwrap());
    let cache = cache.path().join("cache");
    let cached = cache.to_str().unwrap();
    let (cloud, address) = start_cloud(&["--cache-dir", cached]);
    let said = cloud.said("uploads").to_owned();
    assert!(said.contains("256 MiB") && said.contains(cached), "{said}");
    let (answered, said) = stream_to(&address, edge.path(), &["--no-uploads"]);
    assert!(answered == 0 && said.contains("does not send"), "{said}");
    let (answered, said) = stream_to(&address, edge.path(), &[]);
    assert_eq!(answered, 5, "{said}");
    end(cloud);
    // The next cloud on the folder has it.
    let (cloud, address) = start_cloud(&["--cache-dir", cached]);
    let (answered, said) = stream_to(&address, edge.path(), &["--no-uploads"]);
    assert_eq!(answered, 5, "{said}");
    end(cloud);
    // Unless it is damaged.
    let blob = cache.join("blobs").join(Digest::of(model(3)).to_string());
    std::fs::write(&blob, b"damaged").unwrap();
    let (cloud, address) = start_cloud(&["--cache-dir", cached]);
    let (answered, said) = stream_to(&address, edge.path(), &["--no-uploads"]);
    assert!(answered == 0 && said.contains("does not send"), "{said}");
    let (answered, said) = stream_to(&address, edge.path(), &[]);
    assert_eq!(answered, 5, "{said}");
    end(cloud);
    assert_eq!(std::fs::read(blob).unwrap(), model(3));
}

#[test]
fn clouds_say_what_they_do_not_take() {
    let (edge, cache) = (edge_folder(), tempfile::tempdir().unwrap());
    let list = cache.path().join("list.txt");
    let (cached, listed) = (cache.path().to_str().unwrap(), list.to_str().unwrap());
    let refusal = |options: &[&str]| {
        let (cloud, address) = start_cloud(&[&["--cache-dir", cached], options].concat());
        let (answered, said) = stream_to(&address, edge.path(), &[]);
        assert_eq!(answered, 0, "{said}");
        end(cloud);
        said
    };
    let said = refusal(&["--no-uploads"]);
    assert!(said.contains("takes none"), "{said}");
    std::fs::write(&list, "built-in\n").unwrap();
    let said = refusal(&["--allow", listed]);
    assert!(said.contains("not on its list"), "{said}");
    assert!(
        !cache
            .path()
            .join("blobs")
            .join(Digest::of(model(3)).to_string())
            .exists()
    );
    // A list that names it lets it run, and the built-in one no more.
    std::fs::write(&list, format!("{}  the edge's\n", Digest::of(model(3)))).unwrap();
    let (cloud, address) = start_cloud(&["--cache-dir", cached, "--allow", listed]);
    let (answered, said) = stream_to(&address, edge.path(), &[]);
    assert_eq!(answered, 5, "{said}");
    let output = run(edge_to(&address, &["--frames", "1"]));
    let said = text(&output.stderr);
    assert!(said.contains("not on its list"), "{said}");
    end(cloud);
}

// In this process

struct InProcess {
    address: SocketAddr,
    pin: Digest,
    _cache: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

async fn cloud(limits: StoreLimits, memory: u64) -> InProcess {
    let cache = tempfile::tempdir().unwrap();
    let store = Store::new(cache.path(), limits);
    let vetting = VetLimits::new(512 << 20, Duration::from_secs(20));
    let vetter = Vetter::with_program(env!("CARGO_BIN_EXE_tw-cloud"), vetting);
    let uploads = Arc::new(Uploads::new(store, vetter, memory));
    let concealment = Concealment::new(Method::Zero);
    let opener = ClassifierOpener::new(Arc::new(embedded::model().unwrap()), None, concealment)
        .with_allowed(Allowed::everything())
        .with_uploads(Some(uploads));
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = CloudConfig {
        listen: local,
        carriers: Carriers::ALL,
        gso: false,
        sessions: 4,
    };
    let identity = CloudIdentity::for_this_run().unwrap();
    let pin = identity.fingerprint();
    let cloud = Cloud::bind(config, identity, Clock::start()).await.unwrap();
    let cloud = cloud.with_policy(Policy {
        upload_bytes: limits.blob,
        // TCP is not encrypted.
        ..Policy::default().with_plain()
    });
    let address = cloud.local_addr();
    let (notices, mut inbox) = Cloud::notices();
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(cloud.serve(Arc::new(opener), notices, async {
        let _ = stopped.await;
    }));
    InProcess {
        address,
        pin,
        _cache: cache,
        _stop: stop,
    }
}

/// Asks for a session of this file, whatever it is, over this carrier.
async fn open_with(
    cloud: &InProcess,
    bytes: &[u8],
    carrier: Carrier,
    blobs: Arc<dyn Blobs>,
) -> anyhow::Result<Edge> {
    let shape = Shape::new(4, 8, 6).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-2.0, 2.0).unwrap(), 256).unwrap();
    let format = Format::new(shape, quantiser, Map::ChannelRows { rows: 8 }, Coder::Raw).unwrap();
    let stream = StreamDescription::new(&format, "add_1", Digest::of(bytes), None).unwrap();
    let route = Route {
        carrier,
        ..Route::default()
    };
    let clouds = vec![cloud.address];
    let identity = EdgeIdentity::pinned(cloud.pin);
    let (protection, clock) = (Protection::default(), Clock::start());
    let connector = Connector::new(clouds, identity, route, stream, protection, clock);
    connector.with_blobs(blobs).connect(None).await
}

async fn open_over(cloud: &InProcess, bytes: &[u8], carrier: Carrier) -> anyhow::Result<Edge> {
    let offers = Offers::none().with_bytes(bytes.to_vec());
    open_with(cloud, bytes, carrier, Arc::new(offers)).await
}

async fn open(cloud: &InProcess, bytes: &[u8]) -> anyhow::Result<Edge> {
    open_over(cloud, bytes, Carrier::Udp).await
}

async fn refused(cloud: &InProcess, bytes: &[u8]) -> String {
    let error = open(cloud, bytes).await.map(|_| ()).unwrap_err();
    let Some(Refused(refuse)) = error.downcast_ref() else {
        panic!("not a refusal: {error:#}")
    };
    format!("{:?}: {}", refuse.code(), refuse.shown())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_come_over_every_carrier_s_connection() {
    let cloud = cloud(StoreLimits::default(), 1 << 30).await;
    for (classes, carrier) in (3..).zip(Carrier::ALL) {
        let edge = open_over(&cloud, &model(classes), carrier).await;
        edge.unwrap_or_else(|error| panic!("{}: {error:#}", carrier.name()))
            .close()
            .await;
    }
}

/// An edge whose streams end after a tenth of the blob.
struct Stuttering(Vec<u8>);

impl Blobs for Stuttering {
    fn answer(&self, want: Want, connection: quinn::Connection, writer: ControlWriter) {
        let blob = self.0.clone();
        tokio::spawn(async move {
            let (offset, total) = (want.offset, blob.len() as u64);
            let digest = want.digest();
            writer.send(Offer::new(digest, total)).await.unwrap();
            let mut stream = connection.open_uni().await.unwrap();
            let header = Header {
                digest,
                offset,
                total,
            };
            stream.write_all(&header.encode()).await.unwrap();
            let start = usize::try_from(offset).unwrap();
            let end = blob.len().min(start + blob.len() / 10);
            stream.write_all(&blob[start..end]).await.unwrap();
            stream.finish().unwrap();
            let _ = stream.stopped().await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_streams_end_early_comes_nevertheless() {
    let cloud = cloud(StoreLimits::default(), 1 << 30).await;
    let blobs = Arc::new(Stuttering(model(3)));
    open_with(&cloud, &model(3), Carrier::Udp, blobs)
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_models_are_refused_and_others_served() {
    let limits = StoreLimits {
        blob: 100_000,
        ..StoreLimits::default()
    };
    let cloud = cloud(limits, 1 << 30).await;
    let good = open(&cloud, &model(3)).await.unwrap();
    let told = refused(&cloud, b"garbage").await;
    assert!(
        told.starts_with("Vetting") && told.contains("ONNX"),
        "{told}"
    );
    let told = refused(&cloud, &vec![0; 100_001]).await;
    assert!(told.contains("100001") && told.contains("100000"), "{told}");
    let mut graph = residual();
    graph
        .initializer
        .push(graph::indices("shape_of_much", &[1 << 14, 1 << 14]));
    graph.node.insert(
        0,
        graph::node("ConstantOfShape", &["shape_of_much"], "much"),
    );
    graph
        .node
        .insert(1, graph::node("ReduceMax", &["much"], "most"));
    graph
        .node
        .iter_mut()
        .find(|node| node.output == ["b"])
        .unwrap()
        .output[0] = "c".to_owned();
    let at = graph
        .node
        .iter()
        .position(|node| node.output == ["add_1"])
        .unwrap();
    graph
        .node
        .insert(at, graph::node("Add", &["c", "most"], "b"));
    let told = refused(&cloud, &file(graph).encode_to_vec()).await;
    assert_eq!(told, "Vetting: the model needs more than 512 MiB");
    // Nobody else was harmed.
    assert!(good.stats().await.is_ok());
    open(&cloud, &model(4)).await.unwrap().close().await;
    good.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_in_use_share_a_limit_of_memory() {
    // What one of them takes is below this, and what two take above.
    let cloud = cloud(StoreLimits::default(), 1).await;
    let told = refused(&cloud, &model(3)).await;
    assert!(told.starts_with("Memory"), "{told}");
}

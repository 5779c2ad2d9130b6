//! Captures of real sessions: replayed, inspected, and what they say was lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

#[allow(
    dead_code,
    reason = "shared by several tests that do not use all of it"
)]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser as _;
use serde_json::Value;
use support::{edge_to, json_lines, lab, run, start_cloud, text};
use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
use tensorwire_endpoints::capture::{Recorder, Role};
use tensorwire_endpoints::carrier::{Carrier, Carriers};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::cloud::{
    Answer, Cloud, CloudConfig, CloudNotice, Opener, Policy, TensorHandler,
};
use tensorwire_endpoints::control::Refuse;
use tensorwire_endpoints::datapath::PathStats;
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::edge::{
    Captured, Computed, Edge, Encoded, FrameSource, Pace, Protection, Route,
};
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity};
use tensorwire_endpoints::lab::replay;
use tensorwire_endpoints::lab::replay::Report;
use tensorwire_endpoints::relay::{Relay, RelayStats};
use tensorwire_endpoints::stream::StreamDescription;
use tensorwire_protocol::link::{LinkConfig, LossModel};
use tensorwire_protocol::wire::{Close, CloseCode, ConnectionId, Ecn, Message, Ping, ResultStatus};
use tensorwire_protocol::{Adaptive, ReceivedTensor, Redundancy, Slices, Time};
use tokio::sync::oneshot;

const FRAMES: u64 = 250;
const SLICE: u32 = 200;

fn stream() -> StreamDescription {
    let shape = Shape::new(16, 32, 32).unwrap();
    let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
    let map = Map::ChannelRows { rows: 8 };
    let format = Format::new(shape, quantiser, map, Coder::Raw).unwrap();
    let mut stream = StreamDescription::new(&format, "split", Digest::of("m"), None).unwrap();
    stream.deadline_ms = 45;
    stream.retransmission = true;
    stream
}

struct Frames;

impl FrameSource for Frames {
    fn capture(self: Arc<Self>, number: u64) -> anyhow::Result<Option<Captured>> {
        let bytes = Bytes::from(vec![7; 64 * SLICE as usize]);
        let slices = Slices::new(bytes, (1..=64).map(|i| SLICE * i).collect())?;
        let encode = move |_budget| Ok(Encoded { step: 0, slices });
        let compute = move || Ok(Computed::new(encode));
        Ok((number < FRAMES).then(|| Captured::new(number.to_string(), None, compute)))
    }
}

/// A model that is behind now and then, so that some tensors are answered with `Busy`.
struct Slow;

impl Opener for Slow {
    fn open(&self, _stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        Ok(Box::new(Self))
    }
}

impl TensorHandler for Slow {
    fn handle(&mut self, tensor: &ReceivedTensor) -> Answer {
        if tensor.info().id.0 % 100 == 50 {
            std::thread::sleep(Duration::from_millis(250));
        }
        Answer {
            status: ResultStatus::Done,
            payload: Bytes::copy_from_slice(&tensor.info().id.0.to_be_bytes()),
        }
    }
}

/// The captures of one session at each of its ends and between them, and what was counted live.
struct Live {
    folder: tempfile::TempDir,
    cloud: PathStats,
    link: RelayStats,
    /// Whether the sockets' buffers held everything, which a machine that is busy enough can prevent.
    kernel_lost_nothing: bool,
}

impl Live {
    fn file(&self, name: &str) -> String {
        file(&self.folder, name)
    }
}

fn file(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// Streams through a link that loses a tenth in bursts, delays and reorders: sealed, with the secrets in the
/// captures of both ends, or plain.
async fn live(carrier: Carrier, plain: bool) -> Live {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let create = |name: &str| {
        let path = folder.path().join(name);
        match plain || name == "link" {
            true => Recorder::create(&path, clock).unwrap(),
            false => Recorder::create_with_secrets(&path, clock).unwrap(),
        }
    };
    let [at_cloud, at_link, at_edge] = ["cloud", "link", "edge"].map(create);
    let local: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = CloudConfig {
        listen: local,
        carriers: Carriers::ALL,
        gso: false,
        sessions: 1,
    };
    let identity = CloudIdentity::for_this_run().unwrap();
    let pinned = EdgeIdentity::pinned(identity.fingerprint());
    let cloud = Cloud::bind(config, identity, clock).await.unwrap();
    let cloud = cloud.with_policy(Policy::default().with_plain());
    let address = cloud.local_addr();
    cloud.path().record(at_cloud.tap(Role::Cloud, address));
    let up = LinkConfig {
        loss: LossModel::gilbert(0.15, 3.0).unwrap(),
        delay: Duration::from_millis(8),
        jitter: Duration::from_millis(3),
        rate: Some(60_000_000),
        seed: 5,
        ..LinkConfig::default()
    };
    let down = LinkConfig {
        seed: 6,
        ..up.clone()
    };
    let mut relay = Relay::bind(local, address, up, down, clock).await.unwrap();
    relay.record(&at_link).unwrap();
    let (through, counted) = (relay.local_addr().unwrap(), relay.stats());
    let relay = tokio::spawn(relay.run());
    let (notices, mut told) = Cloud::notices();
    let (done, is_done) = oneshot::channel::<()>();
    let serving = tokio::spawn(cloud.serve(Arc::new(Slow), notices, async {
        let _ = is_done.await;
    }));

    let protection = Protection {
        redundancy: Redundancy::Adaptive(Adaptive::default()),
        ..Protection::default()
    };
    let route = Route {
        carrier,
        plain,
        ..Route::default()
    };
    // TSP in QUIC is captured at the ends, and nothing of it between.
    let cloud_or_link = match carrier {
        Carrier::Udp => through,
        _ => address,
    };
    let edge = Edge::connect_recorded(
        cloud_or_link,
        &pinned,
        route,
        stream(),
        protection,
        clock,
        Some(&at_edge),
    );
    let mut edge = edge.await.unwrap();
    let pace = Pace {
        interval: Duration::from_millis(6),
        in_flight: 64,
    };
    let never = std::future::pending();
    edge.stream(Arc::new(Frames), pace, never, drop)
        .await
        .unwrap();
    // What is still on its way arrives before the cloud counts for the last time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = edge.stats().await.unwrap().session;
    edge.close().await;
    let cloud = loop {
        if let CloudNotice::Closed { stats, .. } = told.recv().await.unwrap() {
            break *stats.unwrap();
        }
    };
    drop(done);
    serving.await.unwrap();
    let link = *counted.lock().unwrap();
    relay.abort();
    let _ = relay.await;
    for recorder in [at_cloud, at_link, at_edge] {
        assert_eq!(recorder.finish().unwrap().missed, 0);
    }
    let counts = [
        (sent.datagrams_sent, link.up.tsp.offered),
        (link.up.tsp.delivered, cloud.session.datagrams_received),
        (cloud.session.datagrams_sent, link.down.tsp.offered),
        (link.down.tsp.delivered, sent.datagrams_received),
    ];
    Live {
        folder,
        cloud,
        link,
        kernel_lost_nothing: counts.iter().all(|(put, got)| put == got),
    }
}

fn replayed(arguments: &[&str]) -> Report {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: replay::Options,
    }
    let options = Command::parse_from([&["replay"], arguments].concat()).options;
    let (report, failed) = replay::replay(&options, &mut |_| {}).unwrap();
    assert!(failed.is_none(), "{failed:?}");
    report
}

/// Replays the capture of a cloud as it ran; every count is that of the live cloud.
fn replayed_as_it_ran(live: &Live) -> Report {
    let stats = live.cloud.session;
    let report = replayed(&[&live.file("cloud")]);
    assert!(report.as_it_ran);
    assert_eq!(report.missed + report.out_of_step, 0);
    assert_eq!(
        report.sent_same, report.sent_live,
        "every datagram it sent, byte by byte"
    );
    assert_eq!(report.sent_live, stats.datagrams_sent);
    for (what, replayed, counted) in [
        ("complete", report.complete, stats.tensors_complete),
        ("recovered", report.recovered, stats.tensors_recovered),
        ("exhausted", report.exhausted, stats.tensors_exhausted),
        ("deadline", report.deadline, stats.tensors_deadline),
        ("evicted", report.evicted, stats.tensors_evicted),
        ("superseded", report.superseded, stats.tensors_superseded),
        ("lost", report.lost, stats.tensors_lost),
        (
            "packets recovered",
            report.packets_recovered,
            stats.packets_recovered,
        ),
        ("datagrams", report.datagrams, stats.datagrams_received),
        ("duplicates", report.duplicates, stats.duplicates),
        ("late", report.late, stats.late + stats.repairs_late),
        ("refused", report.refused, stats.refused.total()),
    ] {
        assert_eq!(replayed, counted, "{what}");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_quic_datagrams_are_captured_alike() {
    let live = live(Carrier::QuicDatagram, true).await;
    let report = replayed_as_it_ran(&live);
    // A busy machine leaves frames out.
    assert!(report.tensors > 0 && report.tensors <= FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_at_the_cloud_replays_to_the_counts_of_the_live_cloud() {
    let live = live(Carrier::Udp, true).await;
    let (report, cloud) = (replayed_as_it_ran(&live), live.file("cloud"));
    // The losses and the model were bad enough that this says something.
    assert!(
        report.recovered > 0 && report.whole_share < Some(1.0),
        "{report:?}"
    );
    assert!(live.cloud.busy > 0, "{:?}", live.cloud);

    // The same file and options, the same report.
    assert_eq!(replayed(&[&cloud]), report);
    let due = replayed(&[&cloud, "--deadline-ms", "45"]);
    assert_eq!(replayed(&[&cloud, "--deadline-ms", "45"]), due);
    assert!(!due.as_it_ran && due.tensors == report.tensors);

    // Longer deadlines miss less, shorter ones more.
    let [short, long] = ["20", "400"].map(|ms| replayed(&[&cloud, "--deadline-ms", ms]));
    assert!(short.whole_share < due.whole_share && due.whole_share <= long.whole_share);
    let impatient = replayed(&[&cloud, "--no-retransmission"]);
    assert!(impatient.whole_share < due.whole_share);

    // The link emulator saw the same datagrams reach the cloud, but does not know what they are.
    let link = live.file("link");
    let behind = replayed(&[&link, "--stream-from", &live.file("edge")]);
    assert_eq!(behind.datagrams, live.link.up.tsp.delivered);
    assert_eq!(behind.tensors, report.tensors);
    let refused = run_lab(&["replay", &link]);
    assert_eq!(refused.0, 1);
    assert!(refused.2.contains("--stream-from"), "{}", refused.2);
    // What the edge sent, had nothing been lost.
    let ideal = replayed(&[&live.file("edge")]);
    assert!(ideal.whole_share > report.whole_share);

    losses(&live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_stream_is_opened_by_the_secrets_in_its_capture() {
    let live = live(Carrier::Udp, false).await;
    let report = replayed_as_it_ran(&live);
    assert!(report.recovered > 0 && report.whole_share < Some(1.0));
    assert_eq!(report.refused, 0);

    let [cloud, edge, link] = ["cloud", "edge", "link"].map(|name| live.file(name));
    let kinds = |file: &str, kind: &str| {
        let (code, said, errors) = run_lab(&["inspect", file, "--type", kind]);
        assert_eq!(code, 0, "{errors}");
        said.lines().count() as u64
    };
    for opened in [&cloud, &edge] {
        assert_eq!(kinds(opened, "refused"), 0);
        assert!(kinds(opened, "data") >= 11 * report.tensors);
    }
    // Between them nobody has the secrets.
    assert_eq!(kinds(&link, "data"), 0);
    assert!(kinds(&link, "refused") >= report.datagrams);
    #[cfg(unix)]
    for file in [&cloud, &edge] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// What each capture says was lost is what the emulator lost.
fn losses(live: &Live) {
    let [cloud, link, edge] = ["cloud", "link", "edge"].map(|name| live.file(name));
    let out = live.file("trace.csv");
    let trace = |arguments: &[&str]| {
        let all = [&["trace", "capture"], arguments, &["--out", &out]].concat();
        let (code, _, errors) = run_lab(&all);
        assert_eq!(code, 0, "{errors}");
        let text = std::fs::read_to_string(&out).unwrap();
        let fates = text.lines().skip(1).map(|line| line.ends_with(",1"));
        fates.collect::<Vec<bool>>()
    };
    let lost = |fates: &[bool]| fates.iter().filter(|lost| **lost).count() as u64;
    let ways = [
        ("cloud", live.link.up.tsp, &cloud, &edge),
        ("edge", live.link.down.tsp, &edge, &cloud),
    ];
    for (to, counted, arrived, sent) in ways {
        let link = trace(&[&link, "--to", to]);
        assert_eq!(link.len() as u64, counted.offered, "to the {to}");
        assert_eq!(lost(&link), counted.lost, "to the {to}");
        let both_ends = trace(&[arrived, "--sent", sent, "--to", to]);
        if !live.kernel_lost_nothing {
            continue;
        }
        assert_eq!(both_ends, link);
        // The receiver alone knows nothing of what was lost last.
        let last = link.iter().rposition(|lost| !lost).unwrap();
        let first = link.iter().position(|lost| !lost).unwrap();
        assert_eq!(trace(&[arrived, "--to", to]), link[first..=last]);
    }
    let (code, fitted, _) = run_lab(&["trace", "fit", &link]);
    assert!(code == 0 && fitted.contains("gilbert"), "{fitted}");
    let (code, _, errors) = run_lab(&["trace", "capture", &edge, "--out", &out]);
    assert!(code == 1 && errors.contains("--sent"), "{errors}");
}

fn run_lab(arguments: &[&str]) -> (i32, String, String) {
    let mut command = lab();
    command.args(arguments);
    let output = run(command);
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

fn datagram(message: &Message<'_>, connection: u32, number: u32) -> Vec<u8> {
    let mut bytes = vec![];
    message.encode(&mut bytes, ConnectionId::new(connection), number);
    bytes
}

/// A capture at a cloud, of a handful of datagrams.
fn small(path: &Path) {
    let recorder = Recorder::create(path, Clock::start()).unwrap();
    let tap = recorder.tap(Role::Cloud, ([192, 0, 2, 1], 4_434).into());
    let peer = ([192, 0, 2, 9], 50_000).into();
    let [own, other] = [0xABCD, 0xEF].map(ConnectionId::new);
    let ping = Message::Ping(Ping {
        report_timestamp: 77,
        padding: 2,
    });
    let close = Message::Close(Close {
        code: CloseCode::from_code(0),
        reason: "so \"long\"",
    });
    let at = Time::from_micros;
    tap.session(at(0), own, other, &stream(), None);
    tap.received(at(500), peer, Ecn::NotEct, &datagram(&ping, 0xABCD, 0));
    tap.sent(
        at(1_750),
        Some(own),
        peer,
        Ecn::NotEct,
        &datagram(&close, 0xEF, 9),
    );
    tap.received(
        at(1_000_000),
        peer,
        Ecn::Ce,
        &datagram(&ping, 0xABCD, 4_000_000_000),
    );
    let mut damaged = datagram(&ping, 0xABCD, 2);
    damaged[9] ^= 1;
    tap.received(at(2_000_500), peer, Ecn::NotEct, &damaged);
    tap.received(at(2_000_600), peer, Ecn::NotEct, b"hello");
    recorder.finish().unwrap();
}

#[test]
fn inspect_prints_a_line_a_packet() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "small.pcapng");
    small(path.as_ref());
    let (code, said, errors) = run_lab(&["inspect", &path]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let expected = r#"
    0.000000 in  00abcd      0 PING timestamp=77 padding=2
    0.001250 out 00abcd      9 CLOSE code=0 reason="so \"long\""
    0.999500 in  00abcd 4000000000 CE PING timestamp=77 padding=2
    2.000000 in  00abcd      - refused: integrity (19 bytes)
    2.000100 in  ------      - refused: length (5 bytes)
"#;
    assert_eq!(format!("\n{said}"), expected);

    let lines = |arguments: &[&str]| {
        let (code, said, errors) = run_lab(&[&["inspect", &path], arguments].concat());
        assert_eq!(code, 0, "{errors}");
        said
    };
    assert_eq!(lines(&["--type", "ping,close"]).lines().count(), 3);
    assert_eq!(lines(&["--type", "refused"]).lines().count(), 2);
    assert_eq!(lines(&["--session", "abcd"]).lines().count(), 4);
    assert_eq!(
        lines(&["--session", "ef"]).lines().count(),
        4,
        "by either of its IDs"
    );
    assert_eq!(lines(&["--session", "1"]), "");
    assert_eq!(lines(&["--tensor", "1"]), "");
    let rows = json_lines(&lines(&["--json"]));
    assert_eq!(rows[1]["direction"], "out");
    assert_eq!(rows[1]["source"], "192.0.2.1:4434");
    assert_eq!(rows[2]["ecn"], 3);
    assert_eq!(rows[3]["refused"], "integrity");
    assert_eq!(rows[4]["session"], Value::Null);
    let apart = rows[2]["time_ns"].as_u64().unwrap() - rows[0]["time_ns"].as_u64().unwrap();
    assert_eq!(apart, 999_500_000);

    // Two PINGs that differ in number alone are one seed.
    let corpus = file(&folder, "corpus");
    let said = lines(&["--type", "ping", "--extract", &corpus]);
    assert!(said.contains("1 files of 2 datagrams"), "{said}");
    let seed = std::fs::read_dir(&corpus).unwrap().next().unwrap().unwrap();
    assert!(seed.file_name().to_str().unwrap().starts_with("ping-"));
    let ping = Message::Ping(Ping {
        report_timestamp: 77,
        padding: 2,
    });
    assert_eq!(
        std::fs::read(seed.path()).unwrap(),
        datagram(&ping, 0xABCD, 0)
    );
}

#[test]
fn damaged_captures_are_read_as_far_as_they_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "small.pcapng");
    small(path.as_ref());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 250]).unwrap();
    let (code, said, errors) = run_lab(&["inspect", &path]);
    assert_eq!(code, 1);
    assert!(said.lines().count() >= 3, "{said}");
    assert!(
        errors.contains("read to this point only") && errors.contains("ends within"),
        "{errors}"
    );
    for command in ["inspect", "replay"] {
        for (name, content, says) in [
            (
                "text",
                &b"packet,lost\n0,1\n"[..],
                "neither pcapng nor pcap",
            ),
            ("empty", b"", "neither pcapng nor pcap"),
        ] {
            let path = file(&folder, name);
            std::fs::write(&path, content).unwrap();
            let (code, _, errors) = run_lab(&[command, &path]);
            assert!(code == 1 && errors.contains(says), "{errors}");
        }
        let (code, _, errors) = run_lab(&[command, "/nowhere/x"]);
        assert!(code == 1 && errors.contains("/nowhere/x"), "{errors}");
    }
}

#[test]
fn the_programs_capture_and_a_capture_that_cannot_be_is_told_first() {
    let folder = tempfile::tempdir().unwrap();
    let [cloud_file, edge_file] = ["cloud.pcapng", "edge.pcapng"].map(|name| file(&folder, name));
    let (cloud, address) = start_cloud(&["--pcap", &cloud_file, "--pcap-secrets"]);
    let common = [
        "--frames",
        "10",
        "--fps",
        "50",
        "--quiet",
        "--deadline-ms",
        "10000",
        "--pcap-secrets",
    ];
    let refused = run(edge_to(&address, &["--pcap", &edge_file]));
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("--pcap-secrets") && errors.contains("--plain"),
        "{errors}"
    );
    assert!(!Path::new(&edge_file).exists());
    let refused = run(edge_to(
        &address,
        &[&common[..], &["--pcap", "/nowhere/x.pcapng"]].concat(),
    ));
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("cannot write the capture /nowhere/x.pcapng"),
        "{errors}"
    );
    assert!(!errors.contains("streaming"), "{errors}");

    let output = run(edge_to(
        &address,
        &[&common[..], &["--pcap", &edge_file]].concat(),
    ));
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("datagrams in "), "{errors}");
    cloud.interrupt();
    let (code, _, said) = cloud.end();
    assert_eq!(code, Some(0), "{said}");
    // A busy machine leaves frames out.
    let counts = said.split("tensors: ").nth(1).expect(&said);
    let complete: u64 = counts.split(' ').next().unwrap().parse().unwrap();
    assert!(complete > 0, "{said}");

    let (code, said, errors) = run_lab(&["replay", &cloud_file, "--json"]);
    assert_eq!(code, 0, "{errors}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["complete"], &report["as_it_ran"]),
        (&complete.into(), &true.into())
    );
    assert_eq!(report["captured_at"], "cloud");
    let (code, said, errors) = run_lab(&["replay", &edge_file, "--feedback"]);
    assert_eq!(code, 0, "{errors}");
    assert!(
        said.contains(" FEEDBACK timestamp=") && said.contains("captured at the edge"),
        "{said}"
    );
}

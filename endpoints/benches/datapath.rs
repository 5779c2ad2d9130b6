//! What a gigabyte on the data path costs in processor time, on loopback, both ends together: TSP
//! sessions beside quinn datagrams in the same run.
//!
//! `cargo bench -p tensorwire-endpoints --bench datapath [-- SECONDS]`. Here, and not among the other
//! benches, because it needs what takes long to compile.
#![allow(clippy::expect_used, reason = "a bench may fail")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::Runtime as _;
use rustix::time::{ClockId, clock_gettime};
use tensorwire_endpoints::clock::Clock;
use tensorwire_endpoints::datapath::DataPath;
use tensorwire_endpoints::identity::{CloudIdentity, EdgeIdentity, Trust};
use tensorwire_endpoints::quic::{self, Tuning};
use tensorwire_protocol::wire::{FrameNumber, ResultStatus};
use tensorwire_protocol::{Cipher, Config, Event, OutgoingResult, OutgoingTensor, Secrets, Slices};
use tokio::sync::{Semaphore, mpsc};

/// Bytes of a tensor, and of a slice.
const TENSOR: usize = 12_000;
const SLICE: usize = 142;
/// Tensors, and bytes of them, that are under way at a time.
const UNDER_WAY: usize = 16;
/// Bytes of a QUIC datagram: with what QUIC adds, as long as a full TSP datagram.
const DATAGRAM: usize = 1_160;

/// Processor seconds of this process.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Bytes delivered, and what they cost.
struct Cost {
    bytes: u64,
    cpu: f64,
    wall: f64,
}

impl Cost {
    fn print(&self, name: &str) {
        let gigabytes = self.bytes as f64 / 1e9;
        println!(
            "{name:<42} {:>7.2} CPU-s/GB {:>7.2} Gbit/s",
            self.cpu / gigabytes,
            8.0 * gigabytes / self.wall
        );
    }
}

/// Measures what happens from now on until the time is up.
async fn measure(time: Duration, delivered: &AtomicU64) -> Cost {
    // What comes first is slower.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (start, before, bytes) = (Instant::now(), cpu(), delivered.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    Cost {
        bytes: delivered.load(Ordering::Relaxed) - bytes,
        cpu: cpu() - before,
        wall: start.elapsed().as_secs_f64(),
    }
}

/// Tensors of a TSP session, each answered, as many under way as may be.
async fn tsp(gso: bool, cipher: Option<Cipher>, time: Duration) -> Cost {
    let clock = Clock::start();
    let [edge, cloud] = [
        DataPath::bind_with(local(), clock, gso)
            .await
            .expect("a port"),
        DataPath::bind_with(local(), clock, gso)
            .await
            .expect("a port"),
    ];
    let slices = TENSOR.div_ceil(SLICE);
    let mut config = Config::new(u16::try_from(slices).expect("few"));
    config.deadline = Duration::from_secs(2);
    let (at_edge, mut edge_events) = mpsc::channel(1_024);
    let (at_cloud, mut cloud_events) = mpsc::channel(1_024);
    let sender = edge
        .open(config.clone(), None, at_edge)
        .await
        .expect("valid");
    let receiver = cloud.open(config, None, at_cloud).await.expect("valid");
    let (to, from) = (cloud.local_addr(), edge.local_addr());
    if let Some(cipher) = cipher {
        let (up, down) = ([1; 32], [2; 32]);
        for (session, secrets) in [
            (&sender, Secrets::new(cipher, up, down)),
            (&receiver, Secrets::new(cipher, down, up)),
        ] {
            let protected = session.protect(secrets, None).await.expect("it runs");
            protected.expect("it has not begun");
        }
    }
    sender
        .attach(receiver.connection(), Some(to))
        .await
        .expect("it runs");
    receiver
        .attach(sender.connection(), Some(from))
        .await
        .expect("it runs");

    let delivered = Arc::new(AtomicU64::new(0));
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let count = Arc::clone(&delivered);
    let answering = tokio::spawn(async move {
        while let Some(event) = cloud_events.recv().await {
            let Event::Tensor(tensor) = event else {
                continue;
            };
            count.fetch_add(TENSOR as u64, Ordering::Relaxed);
            let result = OutgoingResult {
                tensor: *tensor.info(),
                status: ResultStatus::Done,
                compute: Duration::ZERO,
                payload: Bytes::new(),
            };
            if receiver.send_result(result).await.is_err() {
                return;
            }
        }
    });
    let freed = Arc::clone(&room);
    let hearing = tokio::spawn(async move {
        while let Some(event) = edge_events.recv().await {
            if matches!(event, Event::Result(_)) {
                freed.add_permits(1);
            }
        }
    });
    let sending = tokio::spawn(async move {
        let ends = (1..=slices).map(|i| u32::try_from((i * SLICE).min(TENSOR)).expect("few"));
        let slices = Slices::new(Bytes::from(vec![7; TENSOR]), ends.collect()).expect("in order");
        for frame in 0.. {
            room.acquire().await.expect("open").forget();
            let tensor = OutgoingTensor {
                frame: FrameNumber(frame),
                captured: clock.now(),
                step: 0,
                slices: slices.clone(),
            };
            if !matches!(sender.send_tensor(tensor).await, Ok(Ok(_))) {
                // The queue is full: as if it had been answered.
                room.add_permits(1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let cost = measure(time, &delivered).await;
    for task in [sending, answering, hearing] {
        task.abort();
    }
    cost
}

/// Datagrams of a quinn connection, as fast as it takes them.
async fn quinn_datagrams(gso: bool, time: Duration) -> Cost {
    let tuning = Tuning {
        gso,
        ..Tuning::default()
    };
    let identity = CloudIdentity::for_this_run().expect("random numbers");
    let socket = || {
        let socket = std::net::UdpSocket::bind(local()).expect("a port");
        quinn::TokioRuntime
            .wrap_udp_socket(socket)
            .expect("a runtime")
    };
    let server = quic::server(socket(), tuning, &identity).expect("a server");
    let address = server.local_addr().expect("bound");
    let anybody = EdgeIdentity::new(Trust::Any);
    let client = quic::client_on(socket(), tuning, &anybody).expect("a client");
    let delivered = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&delivered);
    let receiving = tokio::spawn(async move {
        let incoming = server.accept().await.expect("open");
        let connection = incoming.await.expect("a handshake");
        while let Ok(datagram) = connection.read_datagram().await {
            count.fetch_add(datagram.len() as u64, Ordering::Relaxed);
        }
    });
    let (connection, _) = quic::connect(&client, address, &anybody)
        .await
        .expect("connects");
    let sending = tokio::spawn(async move {
        let payload = Bytes::from(vec![7; DATAGRAM]);
        while connection.send_datagram_wait(payload.clone()).await.is_ok() {}
    });
    let cost = measure(time, &delivered).await;
    sending.abort();
    receiving.abort();
    cost
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(3));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(async {
        for gso in [true, false] {
            let words = if gso {
                "one call a batch"
            } else {
                "one call each"
            };
            let ciphers = [
                ("plain", None),
                ("AES-128-GCM", Some(Cipher::Aes128Gcm)),
                ("ChaCha20-Poly1305", Some(Cipher::ChaCha20Poly1305)),
            ];
            for (name, cipher) in ciphers {
                let cost = tsp(gso, cipher, time).await;
                cost.print(&format!("TSP, {name}, {words}"));
            }
            let cost = quinn_datagrams(gso, time).await;
            cost.print(&format!("quinn datagrams, {words}"));
        }
    });
}

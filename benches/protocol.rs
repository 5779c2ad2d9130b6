//! Packetising and assembling a tensor of 12,000 bytes and one of 300,000, by slices of 144 bytes, plain and
//! protected; and sealing and opening single datagrams.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use std::cell::RefCell;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tensorwire_protocol::protection::Keys;
use tensorwire_protocol::wire::{Ecn, FrameNumber};
use tensorwire_protocol::{
    Cipher, Config, OutgoingTensor, PathId, Protection, Secrets, Session, Slices, Time,
};

const SLICE: usize = 144;

/// Two sessions that know each other, and the tensors that they exchange.
struct Pair {
    edge: Session,
    cloud: Session,
    slices: Slices,
    frame: u64,
    now: Time,
    buffer: Vec<u8>,
}

impl Pair {
    fn new(bytes: usize, cipher: Option<Cipher>) -> Self {
        let count = bytes.div_ceil(SLICE);
        let ends = (1..=count).map(|i| (i * SLICE).min(bytes) as u32).collect();
        let slices = Slices::new(Bytes::from(vec![7; bytes]), ends).expect("in order");
        let [edge, cloud] = [(1, 2), (2, 1)].map(|(send, receive)| {
            let mut config = Config::new(count as u16);
            if let Some(cipher) = cipher {
                let secrets = Secrets::new(cipher, [send; 32], [receive; 32]);
                config.protection = Protection::Protected(secrets);
            }
            Session::new(config, Time::ZERO).expect("valid")
        });
        Self {
            edge,
            cloud,
            slices,
            frame: 0,
            now: Time::ZERO,
            buffer: Vec::new(),
        }
    }

    /// Gives the edge the next tensor and hands each of its datagrams to `take`.
    fn packetise(&mut self, mut take: impl FnMut(&[u8])) {
        self.now = Time::from_millis(10 * self.frame);
        let frame = FrameNumber(self.frame);
        let tensor = OutgoingTensor {
            frame,
            captured: self.now,
            step: 0,
            slices: self.slices.clone(),
        };
        self.edge
            .send_tensor(self.now, tensor)
            .expect("an empty queue");
        self.frame += 1;
        while self
            .edge
            .poll_transmit(self.now, &mut self.buffer)
            .is_some()
        {
            take(&self.buffer);
        }
    }

    fn assemble(&mut self, datagrams: &mut [Vec<u8>]) {
        for datagram in datagrams {
            self.cloud
                .handle_from(self.now, PathId::default(), Ecn::NotEct, datagram)
                .expect("a datagram of the edge's");
        }
        while let Some(event) = self.cloud.poll_event() {
            black_box(event);
        }
    }
}

/// What datagrams are protected with, and how that is called.
const MODES: [(&str, Option<Cipher>); 3] = [
    ("plain", None),
    ("aes-128-gcm", Some(Cipher::Aes128Gcm)),
    ("chacha20-poly1305", Some(Cipher::ChaCha20Poly1305)),
];

fn sessions(criterion: &mut Criterion) {
    for bytes in [12_000, 300_000] {
        let mut group = criterion.benchmark_group(format!("{bytes} bytes"));
        group.throughput(Throughput::Bytes(bytes as u64));
        for (mode, cipher) in MODES {
            group.bench_function(format!("packetise {mode}"), |bencher| {
                let mut pair = Pair::new(bytes, cipher);
                bencher.iter(|| {
                    pair.packetise(|datagram| {
                        black_box(datagram);
                    })
                });
            });
            group.bench_function(format!("assemble {mode}"), |bencher| {
                let pair = RefCell::new(Pair::new(bytes, cipher));
                bencher.iter_batched(
                    || {
                        let mut datagrams = vec![];
                        pair.borrow_mut()
                            .packetise(|datagram| datagrams.push(datagram.to_vec()));
                        datagrams
                    },
                    |mut datagrams| pair.borrow_mut().assemble(&mut datagrams),
                    // The next batch's packets must not arrive before this one's.
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }
}

/// Sealing and opening a full datagram where it stands: the CPU time of protection for each byte, both ends.
fn sealed(criterion: &mut Criterion) {
    const BODY: usize = 1_175;
    let mut group = criterion.benchmark_group("a datagram of 1200 bytes");
    group.throughput(Throughput::Bytes(1_200));
    for cipher in Cipher::ALL {
        let keys = Keys::new(cipher, &[7; 32]);
        group.bench_function(format!("seal and open {}", cipher.name()), |bencher| {
            let mut datagram = Vec::with_capacity(1_200);
            let mut number = 0;
            bencher.iter(|| {
                datagram.clear();
                datagram.resize(9 + BODY, 0x90);
                assert!(keys.seal(number, &mut datagram));
                assert!(keys.open(number, &mut datagram).is_some());
                number += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sessions, sealed);
criterion_main!(benches);

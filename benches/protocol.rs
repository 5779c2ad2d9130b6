//! Packetising and assembling a tensor of 12,000 bytes and one of 300,000, by slices of 144 bytes.
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
use tensorwire_protocol::wire::FrameNumber;
use tensorwire_protocol::{Config, OutgoingTensor, Session, Slices, Time};

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
    fn new(bytes: usize) -> Self {
        let count = bytes.div_ceil(SLICE);
        let ends = (1..=count).map(|i| (i * SLICE).min(bytes) as u32).collect();
        let slices = Slices::new(Bytes::from(vec![7; bytes]), ends).expect("in order");
        let config = Config::new(count as u16);
        Self {
            edge: Session::new(config.clone(), Time::ZERO).expect("valid"),
            cloud: Session::new(config, Time::ZERO).expect("valid"),
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

    fn assemble(&mut self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.cloud
                .handle_datagram(self.now, datagram)
                .expect("a datagram of the edge's");
        }
        while let Some(event) = self.cloud.poll_event() {
            black_box(event);
        }
    }
}

fn sessions(criterion: &mut Criterion) {
    for bytes in [12_000, 300_000] {
        let mut group = criterion.benchmark_group(format!("{bytes} bytes"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("packetise", |bencher| {
            let mut pair = Pair::new(bytes);
            bencher.iter(|| {
                pair.packetise(|datagram| {
                    black_box(datagram);
                })
            });
        });
        group.bench_function("assemble", |bencher| {
            let pair = RefCell::new(Pair::new(bytes));
            bencher.iter_batched(
                || {
                    let mut datagrams = vec![];
                    pair.borrow_mut()
                        .packetise(|datagram| datagrams.push(datagram.to_vec()));
                    datagrams
                },
                |datagrams| pair.borrow_mut().assemble(&datagrams),
                // The next batch's packets must not arrive before this one's.
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, sessions);
criterion_main!(benches);

//! Reed–Solomon code on packets of 1,200 bytes, per tensor of one block: m repair symbols, and m source
//! symbols recovered from them, others each time.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "criterion's macros make undocumented items, and a bench may fail"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tensorwire_protocol::fec::{MAX_SOURCE, encode, recover};

/// 1,200 bytes less header, room for the trailer, and what a REPAIR says of its block.
const SYMBOL: usize = 1_200 - 9 - 16 - 8;
const BLOCKS: [(usize, usize); 5] = [(6, 4), (11, 4), (16, 4), (32, 8), (64, 16)];

/// A block, its buffers and what is lost of it.
struct Block {
    source: Vec<Vec<u8>>,
    repair: Vec<Vec<u8>>,
    recovered: Vec<u8>,
    random: Xoshiro256PlusPlus,
}

impl Block {
    fn new(k: usize, m: usize) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(k as u64);
        let mut source = vec![vec![0; SYMBOL]; k];
        source
            .iter_mut()
            .for_each(|symbol| random.fill_bytes(symbol));
        Self {
            source,
            repair: vec![Vec::new(); m],
            recovered: Vec::new(),
            random,
        }
    }

    fn encode(&mut self) {
        for (index, out) in (0..).zip(&mut self.repair) {
            let symbols = self.source.iter().map(Vec::as_slice);
            encode(symbols, index, out).expect("a block within the limits");
        }
    }

    /// Loses as many source packets as there are repair packets, and recovers them.
    fn recover(&mut self) {
        let (k, m) = (self.source.len(), self.repair.len());
        let mut positions: [u8; MAX_SOURCE] = std::array::from_fn(|i| i as u8);
        let mut received: [(u8, &[u8]); MAX_SOURCE] = [(0, &[]); MAX_SOURCE];
        for (i, (received, repair)) in received.iter_mut().zip(&self.repair).enumerate() {
            let pick = self.random.next_u32() as usize % (k - i);
            positions.swap(i, i + pick);
            *received = ((k + i) as u8, repair);
        }
        let (lost, arrived) = positions[..k].split_at(m);
        for (received, position) in received[m..].iter_mut().zip(arrived) {
            *received = (*position, &self.source[usize::from(*position)]);
        }
        recover(&received[..k], lost, SYMBOL, &mut self.recovered).expect("enough symbols");
        let first = &self.source[usize::from(lost[0])];
        assert_eq!(&self.recovered[..SYMBOL], first.as_slice());
    }
}

fn fec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fec");
    for (k, m) in BLOCKS {
        group.throughput(Throughput::Bytes((k * SYMBOL) as u64));
        let mut block = Block::new(k, m);
        group.bench_function(format!("{k}+{m} encode"), |bencher| {
            bencher.iter(|| black_box(&mut block).encode());
        });
        group.bench_function(format!("{k}+{m} encode and recover"), |bencher| {
            bencher.iter(|| {
                let block = black_box(&mut block);
                block.encode();
                block.recover();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fec);
criterion_main!(benches);

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use reed_solomon_erasure::galois_8::ReedSolomon;

use super::*;

fn repair(symbols: &[Vec<u8>], index: u8) -> Vec<u8> {
    let mut out = vec![0xAA; 3];
    encode(symbols.iter().map(Vec::as_slice), index, &mut out).unwrap();
    out
}

fn repairs(symbols: &[Vec<u8>], count: usize) -> Vec<Vec<u8>> {
    (0..count as u8).map(|r| repair(symbols, r)).collect()
}

fn padded(symbol: &[u8], length: usize) -> Vec<u8> {
    let mut padded = symbol.to_vec();
    padded.resize(length, 0);
    padded
}

/// Symbols of a block of at most `most`, of at most 40 bytes each.
fn blocks(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=most)
}

/// A block, and k of the points 0 … 254 in any order.
fn blocks_with_points() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    blocks(MAX_SOURCE).prop_flat_map(|symbols| {
        let k = symbols.len();
        // Half of the picks among the source symbols and the first repair symbols.
        let near = subsequence((0..(2 * k) as u8).collect::<Vec<_>>(), k).prop_shuffle();
        let far = subsequence((0..=MAX_POINT).collect::<Vec<_>>(), k).prop_shuffle();
        (Just(symbols), prop_oneof![near, far])
    })
}

/// Any k of k + m symbols give the others, for k + m = 20. More than k symbols contain k, and a repair
/// symbol does not depend on m: so this is every pattern of at most m losses for every k + m ≤ 20.
#[test]
fn every_pattern_of_at_most_m_losses_is_recovered() {
    const ALL: usize = 20;
    let source: Vec<_> = (1..=ALL as u32)
        .map(|i| i.wrapping_mul(0x9E37_79B9).to_be_bytes().to_vec())
        .collect();
    let (mut out, mut expected, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let mut patterns = 0;
    for k in 1..=ALL {
        let source = &source[..k];
        let repairs = repairs(source, ALL - k);
        let mut received = Vec::new();
        for arrived in (0_u32..1 << ALL).filter(|set| set.count_ones() as usize == k) {
            received.clear();
            missing.clear();
            expected.clear();
            for (point, symbol) in zip(0.., source.iter().chain(&repairs)) {
                if arrived >> point & 1 == 1 {
                    received.push((point, symbol.as_slice()));
                } else if usize::from(point) < k {
                    missing.push(point);
                    expected.extend_from_slice(symbol);
                }
            }
            recover(&received, &missing, 4, &mut out).unwrap();
            assert_eq!(out, expected, "k = {k}, arrived {arrived:020b}");
            patterns += 1;
        }
    }
    assert_eq!(patterns, (1 << ALL) - 1, "all sets but the empty one");
}

#[test]
fn the_rows_are_those_of_the_library() {
    for k in 1..=MAX_SOURCE {
        let unit = |i| (0..k).map(|j| u8::from(i == j)).collect::<Vec<_>>();
        let mut shards: Vec<_> = (0..k).map(unit).collect();
        let rows = repairs(&shards, usize::from(MAX_POINT) + 1 - k);
        shards.resize(k + rows.len(), vec![0; k]);
        let library = ReedSolomon::new(k, rows.len()).unwrap();
        library.encode(&mut shards).unwrap();
        assert_eq!(rows, shards[k..], "k = {k}");
    }
}

proptest! {
    #[test]
    fn any_k_symbols_give_the_others((source, points) in blocks_with_points()) {
        let length = source.iter().map(Vec::len).max().unwrap();
        let k = source.len();
        let symbols: Vec<_> = points
            .iter()
            .map(|point| match source.get(usize::from(*point)) {
                Some(symbol) => symbol.clone(),
                None => repair(&source, point - k as u8),
            })
            .collect();
        let received: Vec<_> = zip(points.iter().copied(), symbols.iter().map(Vec::as_slice)).collect();
        let missing: Vec<_> = (0..k as u8).rev().filter(|i| !points.contains(i)).collect();
        let mut out = vec![1; 9];
        recover(&received, &missing, length, &mut out).unwrap();
        let expected: Vec<_> = missing
            .iter()
            .flat_map(|i| padded(&source[usize::from(*i)], length))
            .collect();
        prop_assert_eq!(&out, &expected);

        // A part of what is missing is the same alone.
        if let Some(last) = missing.last() {
            recover(&received, &[*last], length, &mut out).unwrap();
            prop_assert_eq!(&out, &expected[expected.len() - length..]);
        }
    }

    #[test]
    fn symbols_are_those_of_the_library(source in blocks(24), count in 1..12_usize, lost: Index) {
        let length = source.iter().map(Vec::len).max().unwrap().max(1);
        let k = source.len();
        let ours = repairs(&source, count);
        let mut shards: Vec<_> = source.iter().map(|s| padded(s, length)).collect();
        shards.resize(k + count, vec![0; length]);
        let library = ReedSolomon::new(k, count).unwrap();
        library.encode(&mut shards).unwrap();
        for (ours, theirs) in zip(&ours, &shards[k..]) {
            prop_assert_eq!(&padded(ours, length), theirs);
        }

        let lost = lost.index(k);
        let mut arrived: Vec<_> = shards.iter().cloned().map(Some).collect();
        arrived[lost] = None;
        library.reconstruct(&mut arrived).unwrap();
        let mut received: Vec<_> = zip(0.., shards.iter().map(Vec::as_slice)).collect();
        received.remove(lost);
        received.truncate(k);
        let mut out = Vec::new();
        recover(&received, &[lost as u8], length, &mut out).unwrap();
        prop_assert_eq!(Some(out), arrived.swap_remove(lost));
    }

    #[test]
    fn the_code_is_linear(
        (a, b) in (1..=MAX_SOURCE, 1..70_usize).prop_flat_map(|(k, length)| {
            let block = prop::collection::vec(prop::collection::vec(any::<u8>(), length), k);
            (block.clone(), block)
        }),
        index in 0..=MAX_POINT - MAX_SOURCE as u8,
    ) {
        let add = |a: &[u8], b: &[u8]| zip(a, b).map(|(a, b)| a ^ b).collect::<Vec<_>>();
        let sum: Vec<_> = zip(&a, &b).map(|(a, b)| add(a, b)).collect();
        prop_assert_eq!(repair(&sum, index), add(&repair(&a, index), &repair(&b, index)));
    }

    #[test]
    fn nothing_that_is_asked_for_panics(
        received in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..70),
        missing in prop::collection::vec(any::<u8>(), 0..70),
        length in 0..24_usize,
    ) {
        let received: Vec<_> = received.iter().map(|(point, s)| (*point, s.as_slice())).collect();
        let mut out = vec![7; 100];
        match recover(&received, &missing, length, &mut out) {
            Ok(()) => prop_assert_eq!(out.len(), missing.len() * length),
            Err(_) => prop_assert!(out.is_empty()),
        }
    }
}

#[test]
fn blocks_beyond_the_limits_are_refused() {
    let symbols = vec![vec![1, 2, 3]; 65];
    let encode = |k: usize, index| {
        let mut out = vec![0];
        let result = encode(symbols[..k].iter().map(Vec::as_slice), index, &mut out);
        assert_eq!(out.is_empty(), result.is_err());
        result
    };
    assert_eq!(encode(0, 0), Err(CodeError::SourceCount));
    assert_eq!(encode(65, 0), Err(CodeError::SourceCount));
    assert_eq!(encode(64, 190), Ok(()));
    assert_eq!(encode(64, 191), Err(CodeError::Point));
    assert_eq!(encode(64, 255), Err(CodeError::Point));
    assert_eq!(encode(1, 253), Ok(()));
    assert_eq!(encode(1, 254), Err(CodeError::Point));
}

#[test]
fn contradictory_points_are_refused() {
    let recover = |points: &[u8], missing: &[u8]| {
        let received: Vec<_> = points.iter().map(|point| (*point, &b"abc"[..])).collect();
        let mut out = vec![0];
        let result = recover(&received, missing, 3, &mut out);
        assert!(out.len() == if result.is_ok() { 3 * missing.len() } else { 0 });
        result
    };
    assert_eq!(recover(&[], &[]), Err(CodeError::SourceCount));
    let many: Vec<_> = (0..65).collect();
    assert_eq!(recover(&many, &[]), Err(CodeError::SourceCount));
    assert_eq!(recover(&[0, 2, 255], &[1]), Err(CodeError::Point));
    assert_eq!(recover(&[0, 2, 2], &[1]), Err(CodeError::Repeated));
    assert_eq!(recover(&[0, 7, 7], &[1]), Err(CodeError::Repeated));
    assert_eq!(recover(&[0, 7, 8], &[1, 1]), Err(CodeError::Repeated));
    assert_eq!(recover(&[0, 2, 7], &[0]), Err(CodeError::NotMissing));
    assert_eq!(recover(&[0, 2, 7], &[3]), Err(CodeError::NotMissing));
    assert_eq!(recover(&[0, 2, 7], &[1, 2]), Err(CodeError::NotMissing));
    assert_eq!(recover(&[0, 1, 2], &[1]), Err(CodeError::NotMissing));
    assert_eq!(recover(&[0, 1, 2], &[]), Ok(()));
    assert_eq!(recover(&[254, 2, 7], &[1, 0]), Ok(()));
    assert_eq!(recover(&[254, 2, 7], &[]), Ok(()));
}

#[test]
fn a_symbol_longer_than_its_block_is_refused() {
    let mut out = Vec::new();
    let received = [(0, &b"abc"[..]), (2, &b"ab"[..])];
    assert_eq!(
        recover(&received, &[1], 2, &mut out),
        Err(CodeError::Length)
    );
    assert_eq!(recover(&received, &[1], 3, &mut out), Ok(()));
}

#[test]
fn one_source_symbol_is_repeated_by_each_of_its_repair_symbols() {
    let symbols = [b"as it is".to_vec()];
    for index in 0..=253 {
        assert_eq!(repair(&symbols, index), symbols[0]);
    }
}

#[test]
fn buffers_that_have_grown_are_used_again() {
    let symbols = vec![vec![5; 100]; 8];
    let mut out = Vec::with_capacity(200);
    let at = out.as_ptr();
    encode(symbols.iter().map(Vec::as_slice), 3, &mut out).unwrap();
    let received: Vec<_> = zip(2.., symbols.iter().map(Vec::as_slice)).collect();
    recover(&received, &[0, 1], 100, &mut out).unwrap();
    assert_eq!((out.as_ptr(), out.capacity()), (at, 200));
}

//! A block of source packets: encoded, some of it lost, recovered; then lied about.

use super::Input;
use crate::fec::{MAX_POINT, MAX_SOURCE, encode, open_symbol, put_symbol, recover};

/// Lets the bytes choose a block, its repair symbols, what arrives and in what order; then calls the
/// decoder with points, positions and lengths that need not fit each other.
///
/// # Panics
/// If k symbols of a block do not give the others exactly, or a buffer is not of the size asked for.
pub fn fec_roundtrip(data: &[u8]) {
    let mut input = Input(data);
    let bodies = bodies(&mut input);
    let k = bodies.len();
    let symbols: Vec<_> = bodies
        .iter()
        .map(|(flags, body)| {
            let mut symbol = Vec::new();
            put_symbol(*flags, body, &mut symbol);
            symbol
        })
        .collect();
    let length = symbols.iter().map(Vec::len).max().unwrap_or_default();
    let repair = |point: u8| {
        let mut symbol = Vec::new();
        let index = point - u8::try_from(k).unwrap_or(MAX_POINT);
        let result = encode(symbols.iter().map(Vec::as_slice), index, &mut symbol);
        assert_eq!(result, Ok(()));
        assert_eq!(symbol.len(), length);
        symbol
    };

    let mut points: Vec<u8> = (0..=MAX_POINT).collect();
    // Each lost packet makes room for one of the repair packets, which come after the source packets.
    let near = 1 + input.below(points.len());
    for place in 0..k {
        let other = match input.byte() {
            0..0x80 => place,
            pick => (usize::from(pick) * 37 + place) % near.max(k),
        };
        points.swap(place, other);
    }
    let (arrived, _) = points.split_at(k);
    let mut received: Vec<_> = arrived
        .iter()
        .map(|point| match symbols.get(usize::from(*point)) {
            Some(symbol) => (*point, symbol.clone()),
            None => (*point, repair(*point)),
        })
        .collect();
    let missing: Vec<u8> = (0..=MAX_POINT)
        .take(k)
        .filter(|position| !arrived.contains(position))
        .collect();

    let mut out = Vec::new();
    assert_eq!(
        recover(&borrowed(&received), &missing, length, &mut out),
        Ok(())
    );
    assert_eq!(out.len(), missing.len() * length);
    for (symbol, position) in out.chunks_exact(length).zip(&missing) {
        let (flags, body) = &bodies[usize::from(*position)];
        assert_eq!(open_symbol(symbol), Ok((*flags, *body)));
    }

    lie(&mut input, &mut received, missing, length);
}

/// Changes what arrived and what is asked for. The results are only held to their sizes.
fn lie(
    input: &mut Input<'_>,
    received: &mut Vec<(u8, Vec<u8>)>,
    mut missing: Vec<u8>,
    mut length: usize,
) {
    let mut out = Vec::new();
    for _ in 0..8 {
        let place = input.below(received.len());
        match input.byte() % 6 {
            0 => received[place].0 = input.byte(),
            1 => received[place].1.truncate(input.below(length + 1)),
            2 => received[place].1.push(input.byte()),
            3 => missing.push(input.byte()),
            4 => length = input.below(2 * length + 2),
            _ if received.len() > 1 => drop(received.remove(place)),
            _ => received.push((input.byte(), Vec::new())),
        }
        match recover(&borrowed(received), &missing, length, &mut out) {
            Ok(()) => assert_eq!(out.len(), missing.len() * length),
            Err(_) => assert!(out.is_empty()),
        }
        for symbol in out.chunks(length.max(1)) {
            if let Ok((_, body)) = open_symbol(symbol) {
                assert!(body.len() < symbol.len());
            }
        }
    }
}

fn borrowed(symbols: &[(u8, Vec<u8>)]) -> Vec<(u8, &[u8])> {
    symbols
        .iter()
        .map(|(point, symbol)| (*point, symbol.as_slice()))
        .collect()
}

/// Flags and bodies of the source packets.
fn bodies<'a>(input: &mut Input<'a>) -> Vec<(u8, &'a [u8])> {
    let k = 1 + usize::from(input.byte()) % MAX_SOURCE;
    (0..k)
        .map(|_| {
            let flags = input.byte() & 0x7F;
            let length = usize::from(input.byte());
            (flags, input.bytes(length))
        })
        .collect()
}

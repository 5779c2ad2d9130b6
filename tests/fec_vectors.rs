//! The vectors of spec/vectors/fec were written from the text of the specification; field, matrix,
//! symbols and REPAIR packets agree with every one, and every loss that a block survives is recovered.

use serde::{Deserialize, Deserializer};
use tensorwire_protocol::fec::{MAX_SOURCE, encode, open_symbol, put_symbol, recover};
use tensorwire_protocol::wire::{ConnectionId, Message, open};
use tensorwire_tests::vectors;

/// Bytes, in the file as hexadecimal digits.
#[derive(Clone, PartialEq, Debug)]
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|hex| Self(vectors::unhex(&hex)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    powers: Hex,
    products: Vec<Product>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    a: u8,
    b: u8,
    product: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    k: usize,
    repair_index: u8,
    row: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    connection: u32,
    blocks: Vec<Block>,
    lies: Vec<Lie>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    name: String,
    sources: Vec<Source>,
    repairs: Vec<Repair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    datagram: Hex,
    symbol: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repair {
    index: u8,
    row: u8,
    symbol: Hex,
    datagram: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lie {
    name: String,
    symbol: Hex,
    error: String,
}

/// The product of a and b. The field has no interface of its own, but of two source symbols the repair
/// symbol at point x is (x ⊕ 1) D0 ⊕ x D1.
fn product(a: u8, b: u8) -> u8 {
    match b {
        0 => 0,
        1 => a,
        2..=254 => repaired(&[&[0], &[a]], b - 2)[0],
        // The point 255 is no symbol's: 255 a = 254 a ⊕ a.
        255 => product(a, 254) ^ a,
    }
}

fn repaired(symbols: &[&[u8]], index: u8) -> Vec<u8> {
    let mut out = Vec::new();
    encode(symbols.iter().copied(), index, &mut out).unwrap();
    out
}

#[test]
fn the_field_is_that_of_the_specification() {
    let field: Field = vectors::fec("field.toml");
    let Hex(powers) = field.powers;
    assert_eq!(powers.len(), 255);
    assert_eq!(powers[0], 1);
    for pair in powers.windows(2) {
        assert_eq!(product(pair[0], 2), pair[1]);
    }
    assert_eq!(product(powers[254], 2), 1);
    for Product { a, b, product: ab } in field.products {
        assert_eq!(product(a, b), ab, "{a} × {b}");
        assert_eq!(product(b, a), ab, "{b} × {a}");
    }
}

#[test]
fn rows_of_the_matrix_are_those_of_the_specification() {
    let matrix: Matrix = vectors::fec("matrix.toml");
    for Row {
        k,
        repair_index,
        row,
    } in matrix.rows
    {
        let unit = |i| (0..k).map(|j| u8::from(i == j)).collect::<Vec<_>>();
        let symbols: Vec<_> = (0..k).map(unit).collect();
        let symbols: Vec<_> = symbols.iter().map(Vec::as_slice).collect();
        let ours = repaired(&symbols, repair_index);
        assert_eq!(Hex(ours), row, "k = {k}, repair index {repair_index}");
    }
}

#[test]
fn symbols_are_those_of_the_specification() {
    let file: Blocks = vectors::fec("blocks.toml");
    let connection = Some(ConnectionId::new(file.connection));
    for block in &file.blocks {
        for source in &block.sources {
            let (header, body) = open(&source.datagram.0, connection).unwrap();
            let message = Message::decode(&header, body).unwrap();
            assert!(matches!(message, Message::Data(_)), "{message}");
            let mut symbol = Vec::new();
            put_symbol(header.flags, body, &mut symbol);
            assert_eq!(Hex(symbol), source.symbol, "{}", block.name);
        }
        let symbols: Vec<_> = block.sources.iter().map(|s| &s.symbol.0[..]).collect();
        for repair in &block.repairs {
            let (header, body) = open(&repair.datagram.0, connection).unwrap();
            let Ok(Message::Repair(packet)) = Message::decode(&header, body) else {
                panic!("{}: no REPAIR", block.name);
            };
            assert_eq!(usize::from(packet.k), symbols.len());
            assert_eq!(packet.repair_index, repair.index);
            assert_eq!(packet.symbol, repair.symbol.0);
            assert_eq!(packet.row(), repair.row);
            let ours = repaired(&symbols, repair.row);
            assert_eq!(Hex(ours), repair.symbol, "{}", block.name);
        }
    }
}

/// As many source packets as the block has repair packets, from every place on.
#[test]
fn lost_source_packets_are_recovered_from_the_repair_packets_of_the_specification() {
    let file: Blocks = vectors::fec("blocks.toml");
    let connection = Some(ConnectionId::new(file.connection));
    for block in &file.blocks {
        let k = block.sources.len();
        let lost_at_once = block.repairs.len().min(k);
        for first in 0..k {
            let is_lost = |position: usize| (position + k - first) % k < lost_at_once;
            let (missing, arrived): (Vec<usize>, Vec<usize>) = (0..k).partition(|p| is_lost(*p));
            let sources = arrived
                .iter()
                .map(|p| (*p as u8, &block.sources[*p].symbol.0[..]));
            let repairs = block
                .repairs
                .iter()
                .map(|r| (k as u8 + r.row, &r.symbol.0[..]));
            let received: Vec<_> = sources.chain(repairs).take(k).collect();
            let length = block.repairs[0].symbol.0.len();
            let wanted: Vec<_> = missing.iter().map(|p| *p as u8).collect();
            let mut out = Vec::new();
            recover(&received, &wanted, length, &mut out).unwrap();
            for (symbol, position) in out.chunks_exact(length).zip(missing) {
                let (flags, body) = open_symbol(symbol).unwrap();
                let source = &block.sources[position].datagram.0;
                let (header, original) = open(source, connection).unwrap();
                assert_eq!((flags, body), (header.flags, original), "{}", block.name);
            }
        }
    }
}

#[test]
fn a_symbol_that_lies_is_found_out() {
    let file: Blocks = vectors::fec("blocks.toml");
    for lie in file.lies {
        let error = open_symbol(&lie.symbol.0).expect_err(&lie.name).to_string();
        assert!(error.starts_with(&lie.error), "{}: {error}", lie.name);
    }
}

#[test]
fn the_vectors_cover_what_they_should() {
    let matrix: Matrix = vectors::fec("matrix.toml");
    let file: Blocks = vectors::fec("blocks.toml");
    for k in [1, 2, 3, 8, MAX_SOURCE] {
        assert!(matrix.rows.iter().any(|row| row.k == k), "k = {k}");
    }
    assert!(
        matrix
            .rows
            .iter()
            .any(|row| row.k == MAX_SOURCE && row.repair_index == 190)
    );
    assert!(file.blocks.len() >= 8 && file.lies.len() >= 4);
    let uneven = |block: &Block| {
        let mut lengths = block.sources.iter().map(|s| s.symbol.0.len());
        let first = lengths.next();
        lengths.any(|length| Some(length) != first)
    };
    assert!(file.blocks.iter().any(uneven));
}

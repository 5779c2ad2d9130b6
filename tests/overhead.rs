//! Header, slice lengths and room for a tag take at most 4 % of a full packet at the default MSS.

use ndarray::Array3;
use tensorwire_codec::{ClipRange, Coder, Encoder, Format, Map, Quantiser, Shape};
use tensorwire_protocol::{Session, Time};
use tensorwire_tests::{configs, stream, tensor};

const MSS: usize = 1_200;
/// The trailer of plain mode is 12 bytes shorter than the room that is left for it.
const TAG_INSTEAD_OF_CRC: usize = 12;

/// What the packets of such a tensor take beyond its slices, as a share of a full packet's payload;
/// on average over all packets, the number of packets, and the fewest that would hold the bytes.
fn measure(lengths: &[usize]) -> (f64, usize, usize) {
    let (edge, _) = configs(stream(u16::try_from(lengths.len()).unwrap(), |_| ()));
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let (sent, packets) = tensor(&mut edge, Time::ZERO, 0, lengths);
    let bytes: usize = packets
        .iter()
        .map(|packet| packet.len() + TAG_INSTEAD_OF_CRC)
        .sum();
    let beyond = (bytes - sent.bytes()) as f64 / packets.len() as f64;
    (
        beyond / MSS as f64,
        packets.len(),
        sent.bytes().div_ceil(MSS - 40),
    )
}

#[test]
fn slices_of_one_size_cost_at_most_4_percent() {
    for len in [9, 20, 36, 72, 100, 128, 144, 145, 150] {
        let (share, packets, fewest) = measure(&vec![len; 12_000 / len]);
        println!(
            "{len:>4} bytes each: {:.2} % of 1,200; {packets} packets, {fewest} at least",
            share * 100.0
        );
        assert!(share <= 0.04, "{len}: {share}");
        assert!(packets <= fewest + 1, "{len}: {packets} for {fewest}");
    }
}

/// Slices of sizes spread evenly between two, in no order.
fn varied(least: usize, most: usize) -> Vec<usize> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        least + (state >> 8) as usize % (most - least + 1)
    };
    (0..120).map(|_| next()).collect()
}

#[test]
fn slices_of_varied_sizes_cost_half_a_percent_more_at_most() {
    let spreads = [
        (140, 150, 0.04),
        (120, 150, 0.04),
        (90, 150, 0.04),
        (60, 150, 0.04),
        (30, 150, 0.045),
        (0, 150, 0.045),
    ];
    for (least, most, limit) in spreads {
        let (share, packets, fewest) = measure(&varied(least, most));
        println!(
            "{least:>3} to {most} bytes: {:.2} % of 1,200; {packets} packets, {fewest} at least",
            share * 100.0
        );
        assert!(share <= limit, "{least} to {most}: {share}");
        assert!(
            packets <= fewest + 1,
            "{least} to {most}: {packets} for {fewest}"
        );
    }
}

/// A tensor whose channels are smooth waves with some noise, some busier than others.
fn features(shape: (usize, usize, usize)) -> Array3<f32> {
    let mut state = 7_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    Array3::from_shape_fn(shape, |(c, y, x)| {
        let (c, y, x) = (c as f32, y as f32, x as f32);
        let busy = 0.2 + (c * 0.37).sin().abs();
        2.0 * (0.3 * x + c).sin() * (0.2 * y - 0.5 * c).cos() + busy * noise()
    })
}

#[test]
fn jpeg_slices_cost_at_most_4_percent() {
    for shape in [(40, 28, 28), (80, 14, 14), (48, 14, 14), (128, 28, 28)] {
        for quality in [20, 40, 60, 80, 90, 95] {
            let coder = Coder::Jpeg { quality };
            let dim = Shape::of(shape).unwrap();
            let map = Map::mosaic_for(dim, 256, coder, Map::JPEG_SLICE_BYTES);
            let range = ClipRange::new(-4.0, 4.0).unwrap();
            let format = Format::new(dim, Quantiser::new(range, 256).unwrap(), map, coder).unwrap();
            let encoded = Encoder::new(&format)
                .encode(features(shape).view())
                .unwrap();
            let lengths: Vec<_> = encoded.iter().map(<[u8]>::len).collect();
            let (share, packets, fewest) = measure(&lengths);
            println!(
                "{dim} q{quality}: slices of {} on average, {} at most; {:.2} %; {packets} packets, \
                 {fewest} at least",
                lengths.iter().sum::<usize>() / lengths.len(),
                lengths.iter().max().unwrap(),
                share * 100.0
            );
            assert!(share <= 0.04, "{dim} q{quality}: {share}");
            // Of slices beyond an eighth of the MSS a packet can leave more room empty.
            let small = lengths.iter().all(|len| *len <= MSS / 8);
            let more = if small { 1 } else { 1 + fewest / 20 };
            assert!(
                packets <= fewest + more,
                "{dim} q{quality}: {packets} for {fewest}"
            );
        }
    }
}

#[test]
fn large_tensors_take_at_most_one_packet_more_than_their_bytes() {
    let range = ClipRange::new(-4.0, 4.0).unwrap();
    for shape in [(40, 28, 28), (128, 28, 28), (256, 14, 14), (256, 28, 28)] {
        let dim = Shape::of(shape).unwrap();
        for map in [
            Map::random_for(1, dim, 256, Map::SLICE_BYTES),
            Map::rows_for(dim, 256, Map::SLICE_BYTES),
        ] {
            let quantiser = Quantiser::new(range, 256).unwrap();
            let format = Format::new(dim, quantiser, map, Coder::Raw).unwrap();
            let encoded = Encoder::new(&format)
                .encode(features(shape).view())
                .unwrap();
            let lengths: Vec<_> = encoded.iter().map(<[u8]>::len).collect();
            let (share, packets, fewest) = measure(&lengths);
            println!(
                "{dim} {map:?}: {:.2} %; {packets} packets, {fewest} at least",
                share * 100.0
            );
            assert!(share <= 0.04, "{dim} {map:?}: {share}");
            assert!(
                packets <= fewest + 1,
                "{dim} {map:?}: {packets} for {fewest}"
            );
        }
    }
}

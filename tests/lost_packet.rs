//! A lost packet costs exactly its own slices: every other entry is what it is without loss, bit for
//! bit, with JPEG as with raw slices.

use std::time::Duration;

use ndarray::Array3;
use tensorwire_codec::{ClipRange, Coder, Decoder, Encoder, Format, Map, Quantiser, Shape};
use tensorwire_protocol::wire::FrameNumber;
use tensorwire_protocol::{Config, Event, OutgoingTensor, ReceivedTensor, Session, Slices, Time};

/// How late a packet may be on a path that has not reordered any.
const WINDOW: Duration = Duration::from_millis(1);

fn tensor(shape: (usize, usize, usize)) -> Array3<f32> {
    Array3::from_shape_fn(shape, |(c, y, x)| {
        let (c, y, x) = (c as f32, y as f32, x as f32);
        2.0 * (0.3 * x + c).sin() * (0.2 * y - 0.5 * c).cos() + (c * y * x * 0.7).sin()
    })
}

/// Sends a coded tensor without the packets in `lost`; what is released, and how many packets it took.
fn send(slices: &Slices, lost: &[usize]) -> (ReceivedTensor, usize) {
    let config = Config::new(u16::try_from(slices.len()).unwrap());
    let deadline = config.deadline;
    let mut edge = Session::new(config.clone(), Time::ZERO).unwrap();
    let mut cloud = Session::new(config, Time::ZERO).unwrap();
    let (frame, slices) = (FrameNumber(0), slices.clone());
    edge.send_tensor(
        Time::ZERO,
        OutgoingTensor {
            frame,
            captured: Time::ZERO,
            step: 0,
            slices,
        },
    )
    .unwrap();
    let (mut datagram, mut packets) = (Vec::new(), 0);
    while let Some(transmit) = edge.poll_transmit(Time::ZERO, &mut datagram) {
        if transmit.kind == tensorwire_protocol::wire::MessageType::Data {
            packets += 1;
            if lost.contains(&(packets - 1)) {
                continue;
            }
        }
        cloud.handle_datagram(Time::ZERO, &datagram).unwrap();
    }
    // All arrive at one moment, so that no packet is expected later than the reordering window.
    assert!(deadline > WINDOW);
    cloud.handle_timeout(Time::ZERO + WINDOW);
    loop {
        if let Event::Tensor(tensor) = cloud.poll_event().expect("a release") {
            return (tensor, packets);
        }
    }
}

#[test]
fn every_other_entry_is_unchanged() {
    let shape = Shape::new(80, 14, 14).unwrap();
    let range = ClipRange::new(-4.0, 4.0).unwrap();
    let jpeg = Coder::Jpeg { quality: 80 };
    for (coder, map) in [
        (
            jpeg,
            Map::mosaic_for(shape, 256, jpeg, Map::JPEG_SLICE_BYTES),
        ),
        (Coder::Raw, Map::random_for(1, shape, 256, Map::SLICE_BYTES)),
        (Coder::Raw, Map::rows_for(shape, 256, Map::SLICE_BYTES)),
    ] {
        let format = Format::new(shape, Quantiser::new(range, 256).unwrap(), map, coder).unwrap();
        let encoded = Encoder::new(&format)
            .encode(tensor(shape.dim()).view())
            .unwrap();
        let slices = Slices::new(encoded.bytes().clone(), encoded.ends().to_vec()).unwrap();
        let mut decoder = Decoder::new(&format);
        let (whole, packets) = send(&slices, &[]);
        let whole = decoder.decode(|slice| whole.slice(slice));
        assert_eq!(whole.missing_entries(), 0);
        for lost in 0..packets {
            let (received, _) = send(&slices, &[lost]);
            assert_eq!(received.info().packets_received as usize, packets - 1);
            let decoded = decoder.decode(|slice| received.slice(slice));
            assert!(decoded.refused.is_empty());
            let mut missing = vec![false; shape.entries()];
            for slice in (0..slices.len()).filter(|slice| received.slice(*slice).is_none()) {
                let entries = format.slice_entries(slice);
                entries
                    .into_iter()
                    .for_each(|entry| missing[entry as usize] = true);
            }
            assert!(
                missing.contains(&true) && missing.contains(&false),
                "{coder:?} packet {lost}"
            );
            let arrived = decoded.mask.iter().zip(&decoded.tensor).zip(&whole.tensor);
            for (missing, ((received, value), unharmed)) in missing.into_iter().zip(arrived) {
                assert_eq!(*received, !missing);
                assert!(
                    missing || value.to_bits() == unharmed.to_bits(),
                    "{coder:?} packet {lost}"
                );
            }
        }
    }
}

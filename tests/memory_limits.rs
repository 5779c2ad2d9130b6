//! Whatever a peer sends, a session keeps no more than its limits say, and goes on working.

use proptest::prelude::*;
use tensorwire_protocol::wire::{Message, open, seal};
use tensorwire_protocol::{Config, Event, Session, Time};
use tensorwire_tests::{CLOUD, configs, stream};

/// A hostile sender: DATA packets written by hand.
#[derive(Default)]
struct Hostile {
    number: u32,
}

#[derive(Clone, Copy, Default)]
struct Fields {
    tensor: u16,
    frame: u16,
    captured: u32,
    index: u16,
    /// Packet count less one; always beyond 255, for the wide form.
    last: u16,
    position: u16,
    flags: u8,
}

const WIDE: u8 = 0x10;
const FRAGMENT: u8 = 0x20;

impl Hostile {
    fn data(&mut self, fields: Fields, content: &[u8]) -> Vec<u8> {
        self.number += 1;
        let Fields {
            tensor,
            frame,
            captured,
            index,
            last,
            position,
            flags,
        } = fields;
        let end = if index == last { 0x40 } else { 0 };
        let mut out = vec![0b1001_0000, flags | end | WIDE];
        out.extend_from_slice(&CLOUD.value().to_be_bytes()[1..]);
        out.extend_from_slice(&self.number.to_be_bytes());
        for field in [tensor, frame] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(&captured.to_be_bytes());
        for field in [index, last, position] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(content);
        seal(&mut out);
        let (header, body) = open(&out, None).unwrap();
        assert!(
            Message::decode(&header, body).is_ok(),
            "hostile, and well formed"
        );
        out
    }
}

/// Hands a datagram over and checks every bound.
fn take(session: &mut Session, now: Time, datagram: &[u8]) {
    let limits = session.config().limits;
    session.handle_datagram(now, datagram).unwrap();
    assert!(session.buffered_bytes() <= limits.bytes_in_progress);
    assert!(session.tensors_in_progress() <= limits.tensors_in_progress);
    while session.poll_event().is_some() {}
}

fn small() -> Config {
    let (_, cloud) = configs(stream(u16::MAX, |c| {
        c.limits.tensor_bytes = 800_000;
        c.limits.bytes_in_progress = 1_000_000;
        c.limits.tensors_in_progress = 16;
    }));
    cloud
}

/// The next tensor still arrives whole, after what the hostile peer did.
fn still_works(mut cloud: Session, mut hostile: Hostile, tensor: u16) {
    let before = cloud.stats().tensors_complete;
    for (index, slices) in (0..5).zip([16_383, 16_383, 16_383, 16_383, 3_u16]) {
        let fields = Fields {
            tensor,
            index,
            last: 300,
            position: index * 16_383,
            ..Fields::default()
        };
        // Slices of no bytes: base and width 0.
        let mut content = (0x4000 | slices).to_be_bytes().to_vec();
        if slices < 64 {
            content.remove(0);
            content[0] = 3;
        }
        content.push(0);
        take(&mut cloud, Time::ZERO, &hostile.data(fields, &content));
    }
    assert_eq!(cloud.stats().tensors_complete, before + 1);
}

#[test]
fn packets_of_the_most_empty_slices() {
    let mut cloud = Session::new(small(), Time::ZERO).unwrap();
    let mut hostile = Hostile::default();
    for i in 0..2_000_u16 {
        let (tensor, index) = (i / 4, i % 4);
        let fields = Fields {
            tensor,
            index,
            last: 300,
            position: index * 16_383,
            ..Fields::default()
        };
        // 16,383 slices, base and width 0.
        take(
            &mut cloud,
            Time::ZERO,
            &hostile.data(fields, &[0x7F, 0xFF, 0]),
        );
    }
    assert!(cloud.stats().tensors_evicted > 0);
    still_works(cloud, hostile, 500);
}

#[test]
fn fragments_of_the_longest_slices() {
    let mut cloud = Session::new(small(), Time::ZERO).unwrap();
    let mut hostile = Hostile::default();
    for i in 0..3_000_u16 {
        // Offset 4 × i and length 16,777,215, as varints of four bytes; a byte of payload.
        let mut content = (0x8000_4000 + 4 * u32::from(i)).to_be_bytes().to_vec();
        content.extend_from_slice(&(0x8000_0000_u32 | 0xFF_FFFF).to_be_bytes());
        content.extend_from_slice(&[7; 1_100]);
        let fields = Fields {
            tensor: i / 100,
            index: i % 1_000,
            last: 65_535,
            position: i,
            flags: FRAGMENT,
            ..Fields::default()
        };
        take(&mut cloud, Time::ZERO, &hostile.data(fields, &content));
    }
    assert!(cloud.stats().tensors_evicted > 0);
    still_works(cloud, hostile, 30);
}

#[test]
fn numbers_that_jump() {
    let mut cloud = Session::new(small(), Time::ZERO).unwrap();
    let mut hostile = Hostile::default();
    for i in 0..2_000_u16 {
        let fields = Fields {
            tensor: i.wrapping_mul(30_000),
            last: 300,
            ..Fields::default()
        };
        take(&mut cloud, Time::ZERO, &hostile.data(fields, &[1, 9]));
    }
    // The first jump is back from nothing; every other loses all between.
    assert!(cloud.stats().tensors_lost > 20_000_000);
    assert_eq!(cloud.stats().events_dropped, 0);
    still_works(cloud, hostile, 1_999_u16.wrapping_mul(30_000) + 1);
}

#[test]
fn packets_that_contradict_the_first() {
    let mut cloud = Session::new(small(), Time::ZERO).unwrap();
    let mut hostile = Hostile::default();
    let good = Fields {
        last: 300,
        ..Fields::default()
    };
    take(
        &mut cloud,
        Time::ZERO,
        &hostile.data(good, &[2, 0x20, 1, 2]),
    );
    let conflicting = [
        Fields {
            index: 1,
            last: 301,
            ..good
        },
        Fields {
            index: 1,
            captured: 1,
            ..good
        },
        Fields {
            index: 1,
            frame: 1,
            ..good
        },
        Fields {
            index: 1,
            flags: 1,
            ..good
        },
        // Positions that are taken, or beyond the last.
        Fields {
            index: 1,
            position: 1,
            ..good
        },
        Fields {
            index: 1,
            position: u16::MAX - 1,
            ..good
        },
        Fields {
            tensor: 5,
            position: u16::MAX - 1,
            ..good
        },
    ];
    for fields in conflicting {
        let before = cloud.buffered_bytes();
        take(
            &mut cloud,
            Time::ZERO,
            &hostile.data(fields, &[2, 0x20, 1, 2]),
        );
        assert_eq!(cloud.buffered_bytes(), before, "left no trace");
    }
    assert_eq!(cloud.stats().conflicts, 7);
    assert_eq!(
        cloud.stats().tensors_lost,
        0,
        "a packet beyond the last slice opens no gap"
    );
    take(
        &mut cloud,
        Time::ZERO,
        &hostile.data(good, &[2, 0x20, 1, 2]),
    );
    assert_eq!(cloud.stats().duplicates, 1);
}

#[test]
fn fragments_that_overlap_or_disagree() {
    let mut cloud = Session::new(small(), Time::ZERO).unwrap();
    let mut hostile = Hostile::default();
    let mut send = |index, offset: u8, length: [u8; 2], flags| {
        let fields = Fields {
            index,
            last: 300,
            flags,
            ..Fields::default()
        };
        let mut content = if flags == FRAGMENT {
            vec![offset]
        } else {
            vec![1]
        };
        if flags == FRAGMENT {
            content.extend_from_slice(&length);
        }
        content.extend_from_slice(&[7; 5]);
        take(&mut cloud, Time::ZERO, &hostile.data(fields, &content));
        (cloud.stats().conflicts, cloud.buffered_bytes())
    };
    let hundred = [0x40, 100];
    let (none, kept) = send(0, 10, hundred, FRAGMENT);
    assert_eq!(none, 0);
    assert_eq!(
        send(1, 14, hundred, FRAGMENT),
        (1, kept),
        "starts within the first"
    );
    assert_eq!(
        send(1, 6, hundred, FRAGMENT),
        (2, kept),
        "ends within the first"
    );
    assert_eq!(
        send(1, 10, hundred, FRAGMENT),
        (3, kept),
        "the same bytes under another index"
    );
    assert_eq!(
        send(1, 20, [0x40, 101], FRAGMENT),
        (4, kept),
        "of a longer slice"
    );
    assert_eq!(send(1, 0, [0; 2], 0), (5, kept), "the whole slice, shorter");
    assert_eq!(
        send(1, 15, hundred, FRAGMENT),
        (5, 2 * kept),
        "follows the first"
    );
    assert_eq!(send(2, 5, hundred, FRAGMENT), (5, 3 * kept), "precedes it");
}

#[test]
fn a_tensor_of_which_only_packets_beyond_a_limit_arrive_is_lost() {
    let mut config = small();
    config.limits.tensor_bytes = 10;
    let deadline = Time::ZERO + config.deadline;
    let mut cloud = Session::new(config, Time::ZERO).unwrap();
    let fields = Fields {
        last: 300,
        ..Fields::default()
    };
    let packet = Hostile::default().data(fields, &[1; 20]);
    cloud.handle_datagram(Time::ZERO, &packet).unwrap();
    cloud.handle_timeout(deadline);
    assert_eq!(cloud.stats().over_limit, 1);
    let events: Vec<_> = std::iter::from_fn(|| cloud.poll_event()).collect();
    assert!(
        matches!(events[..], [Event::Lost { count: 1, .. }]),
        "{events:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_well_formed(
        packets in prop::collection::vec(
            (any::<[u16; 4]>(), any::<bool>(), 0_u32..500_000, 0_u8..3, 1_usize..400), 1..200),
        latest_only: bool,
    ) {
        let mut config = small();
        config.latest_only = latest_only;
        config.limits.bytes_in_progress = 20_000;
        config.limits.tensor_bytes = 9_000;
        let mut cloud = Session::new(config, Time::ZERO).unwrap();
        let mut hostile = Hostile::default();
        for ([tensor, frame, index, position], fragment, captured, interleaver, len) in packets {
            let last = 300 + tensor % 2;
            let fields = Fields {
                tensor: tensor % 40,
                frame: frame % 3,
                captured,
                index: index % last,
                last,
                position: position % 1_000,
                flags: interleaver | if fragment { FRAGMENT } else { 0 },
            };
            // A fragment from offset 9 of a slice of 4,009 bytes; or one slice.
            let mut content = if fragment { vec![9, 0x4F, 0xA9] } else { vec![1] };
            content.resize(content.len() + len, 5);
            take(&mut cloud, Time::from_micros(u64::from(captured)), &hostile.data(fields, &content));
        }
        cloud.handle_timeout(Time::from_millis(1_000_000_000));
        while cloud.poll_event().is_some() {}
        prop_assert_eq!((cloud.buffered_bytes(), cloud.tensors_in_progress()), (0, 0));
    }
}

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use proptest::prelude::*;

use super::*;

const BOTH: [Endianness; 2] = [Endianness::Big, Endianness::Little];

/// Everything in a file, and what ended it.
fn read(file: &[u8]) -> (Vec<Record>, Option<ReadError>) {
    let mut reader = match Reader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (vec![], Some(error)),
    };
    let mut records = vec![];
    for record in &mut reader {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    assert!(reader.next().is_none());
    (records, None)
}

fn packets(file: &[u8]) -> Vec<Packet> {
    let (records, failed) = read(file);
    assert!(failed.is_none(), "{failed:?}");
    let packets = records.into_iter().filter_map(|record| match record {
        Record::Packet(packet) => Some(packet),
        _ => None,
    });
    packets.collect()
}

fn interface(
    link: DataLink,
    options: Vec<InterfaceDescriptionOption<'static>>,
) -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        linktype: link,
        snaplen: 0,
        options,
    }
}

/// A packet with a time stamp in whatever units.
fn packet(interface_id: u32, timestamp: u64, data: &[u8]) -> EnhancedPacketBlock<'_> {
    EnhancedPacketBlock {
        interface_id,
        timestamp: Duration::from_nanos(timestamp),
        original_len: 9_000,
        data: Cow::Borrowed(data),
        options: vec![
            EnhancedPacketOption::Flags(2),
            EnhancedPacketOption::DropCount(3),
        ],
    }
}

/// A file of another library, with what ours do not have: two interfaces, comments, unknown blocks.
fn foreign(endianness: Endianness) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(vec![], endianness).unwrap();
    let binary = InterfaceDescriptionOption::IfTsResol(0x80 | 10);
    let options = vec![InterfaceDescriptionOption::IfName("eth0".into()), binary];
    writer
        .write_pcapng_block(interface(DataLink::ETHERNET, options))
        .unwrap();
    let unknown = UnknownBlock::new(0xBAD, 20, &[1; 8]);
    writer.write_pcapng_block(unknown).unwrap();
    let offset = InterfaceDescriptionOption::IfTsOffset(u64::MAX - 1);
    writer
        .write_pcapng_block(interface(DataLink::LINUX_SLL2, vec![offset]))
        .unwrap();
    // 1.5 s in 1,024ths of a second, and 7.25 s in microseconds, less 2 s.
    writer
        .write_pcapng_block(packet(0, 1_536, b"abcde"))
        .unwrap();
    writer
        .write_pcapng_block(packet(1, 7_250_000, b""))
        .unwrap();
    let simple = SimplePacketBlock {
        original_len: 3,
        data: Cow::Borrowed(b"xyz"),
    };
    writer.write_pcapng_block(simple).unwrap();
    writer.into_inner()
}

#[test]
fn files_of_another_library_in_either_byte_order() {
    for endianness in BOTH {
        let file = foreign(endianness);
        let expected = |interface, time_ns, bytes: &[u8]| Packet {
            interface,
            time_ns,
            direction: Some(Direction::Sent),
            missed: 3,
            bytes: bytes.to_vec(),
        };
        let simple = Packet {
            direction: None,
            missed: 0,
            ..expected(0, 0, b"xyz")
        };
        assert_eq!(
            packets(&file),
            [
                expected(0, 1_500_000_000, b"abcde"),
                expected(1, 5_250_000_000, b""),
                simple
            ]
        );
        let mut reader = Reader::new(&file[..]).unwrap();
        assert_eq!(reader.by_ref().count(), 3);
        let links: Vec<u32> = reader.interfaces().iter().map(|i| i.link).collect();
        assert_eq!(links, [1, 276]);
        assert_eq!(reader.interface(0).unwrap().name.as_deref(), Some("eth0"));
        // A second section counts its interfaces anew.
        let both = [file.clone(), foreign(Endianness::Big)].concat();
        let interfaces: Vec<usize> = packets(&both).iter().map(|p| p.interface).collect();
        assert_eq!(interfaces, [0, 1, 0, 2, 3, 2]);
    }
}

#[test]
fn the_classic_format_in_microseconds_and_nanoseconds() {
    for endianness in BOTH {
        for ts_resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            let header = PcapHeader {
                datalink: DataLink::RAW,
                ts_resolution,
                endianness,
                ..PcapHeader::default()
            };
            let mut writer = PcapWriter::with_header(vec![], header).unwrap();
            let time = Duration::new(1_700_000_000, 123_456_789);
            writer
                .write_packet(&PcapPacket::new(time, 900, b"abc"))
                .unwrap();
            writer.write_packet(&PcapPacket::new(time, 0, b"")).unwrap();
            let file = writer.into_writer();
            let found = packets(&file);
            let expected = match ts_resolution {
                TsResolution::MicroSecond => 1_700_000_000_123_456_000,
                TsResolution::NanoSecond => 1_700_000_000_123_456_789,
            };
            let [one, two] = found.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!((one.time_ns, one.bytes.as_slice()), (expected, &b"abc"[..]));
            assert_eq!((two.time_ns, two.bytes.len()), (expected, 0));
            assert_eq!(
                Reader::new(&file[..]).unwrap().interface(0).unwrap().link,
                101
            );
            for length in 4..file.len() {
                let (records, failed) = read(&file[..length]);
                // The ends of the header and of the first packet are ends that a file may have.
                let whole = [24, 24 + 16 + 3].contains(&length);
                assert_eq!(failed.is_none(), whole, "{length}: {failed:?}");
                assert_eq!(records.len(), usize::from(length >= 43));
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_gives_what_is_before_and_says_where_it_ends() {
    let file = foreign(Endianness::Little);
    let mut most = 0;
    for length in 0..file.len() {
        let (records, failed) = read(&file[..length]);
        assert!(records.len() >= most, "{length}");
        most = records.len();
        match failed {
            None => {}
            Some(ReadError::Truncated { at, .. }) => assert_eq!(at, length as u64),
            Some(ReadError::NoCapture) => assert_eq!(length, 0),
            Some(error) => panic!("{length}: {error}"),
        }
    }
    assert_eq!(most, 2);
}

#[test]
fn what_is_damaged_is_said_plainly() {
    let file = foreign(Endianness::Little);
    let section = 28;
    let changed = |place: usize, value: u8| {
        let mut file = file.clone();
        file[place] = value;
        let (_, failed) = read(&file);
        failed.unwrap().to_string()
    };
    for (place, value, says) in [
        (8, 0, "no byte order"),
        (12, 2, "another version"),
        (section + 4, 7, "length that cannot be"),
        (section + 7, 0x7F, "longer than there are"),
        (file.len() - 4, 9, "lengths differ"),
    ] {
        let error = changed(place, value);
        assert!(
            error.contains(says) && error.contains("at byte"),
            "{place}: {error}"
        );
    }
    assert!(matches!(read(b"<html>").1, Some(ReadError::NoCapture)));
    assert!(matches!(read(b"\x89PNG\r\n").1, Some(ReadError::NoCapture)));
    // A packet of an interface that there is not.
    let mut writer = PcapNgWriter::with_endianness(vec![], Endianness::Little).unwrap();
    writer
        .write_pcapng_block(UnknownBlock::new(6, 32, &[0; 20]))
        .unwrap();
    let error = read(writer.get_ref()).1.unwrap().to_string();
    assert!(error.contains("contradict"), "{error}");
}

#[test]
fn time_stamps_saturate() {
    let seconds = |units, offset, timestamp| Resolution { units, offset }.nanoseconds(timestamp);
    assert_eq!(seconds(1, 0, u64::MAX), u64::MAX);
    assert_eq!(seconds(1, i64::MIN, 5), 0);
    assert_eq!(seconds(u128::MAX, 0, u64::MAX), 0);
    assert_eq!(seconds(1 << 32, 1, 1 << 31), 1_500_000_000);
}

proptest! {
    /// Whatever a file holds, reading it ends, and what is read is no more than the file.
    #[test]
    fn any_bytes_are_read_without_harm(
        start in prop::sample::select(vec![
            vec![],
            0x0A0D_0D0A_u32.to_be_bytes().to_vec(),
            0xA1B2_C3D4_u32.to_be_bytes().to_vec(),
            0xA1B2_3C4D_u32.to_le_bytes().to_vec(),
            foreign(Endianness::Little),
            foreign(Endianness::Big),
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let file = [start, bytes].concat();
        let (records, _) = read(&file);
        prop_assert!(records.len() <= file.len());
    }

    #[test]
    fn any_change_is_read_without_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        big in any::<bool>(),
    ) {
        let mut file = foreign(if big { Endianness::Big } else { Endianness::Little });
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        let (records, _) = read(&file);
        let bytes = records.iter().map(|record| match record {
            Record::Packet(packet) => packet.bytes.len(),
            _ => 0,
        });
        prop_assert!(bytes.sum::<usize>() <= file.len());
    }
}

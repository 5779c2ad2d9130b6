//! Deciding which slices go into which packet.

use super::partition;
use crate::wire::{Coding, DataHead, HEADER_LEN, SlicesSize, TRAILER_ROOM, fragment_overhead};

/// What one source packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Planned {
    /// Whole slices, from `first` position on.
    Slices { first: u16, count: u16 },
    /// A part of the slice at `position`.
    Fragment {
        position: u16,
        offset: u32,
        len: u32,
    },
}

/// The most packets of one tensor.
pub(crate) const MAX_PACKETS: usize = 65_536;

/// Plans the packets of a tensor whose slices have `lengths`, in order of position.
///
/// Packets are filled with whole slices up to `mss` bytes, then balanced: their payloads differ by
/// at most the largest slice, where a few packets more than the fewest allow it. A slice is fragmented only if it does not fit into a packet alone.
/// None if the tensor takes more than 65,536 packets.
pub(crate) fn plan(
    lengths: &[u32],
    mss: u16,
    coding: Coding,
    notice: bool,
) -> Option<Vec<Planned>> {
    let room = |packets| {
        let head = HEADER_LEN + DataHead::size(packets, coding, notice) + TRAILER_ROOM;
        usize::from(mss).saturating_sub(head)
    };
    let narrow = plan_within(lengths, room(1));
    if narrow.len() <= 256 {
        return Some(narrow);
    }
    let wide = plan_within(lengths, room(257));
    (wide.len() <= MAX_PACKETS).then_some(wide)
}

/// Plans packets that have `room` bytes each for slices and their lengths.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a tensor has at most 65,535 slices"
)]
fn plan_within(lengths: &[u32], room: usize) -> Vec<Planned> {
    let mut packets = Vec::new();
    let mut position = 0;
    for run in lengths.chunk_by(|a, b| fits_alone(*a, room) && fits_alone(*b, room)) {
        match run {
            [slice] if !fits_alone(*slice, room) => {
                fragment(&mut packets, position as u16, *slice, room);
            }
            _ => {
                let mut start = position;
                for end in balance(run, room) {
                    let end = position + end;
                    let (first, count) = (start as u16, (end - start) as u16);
                    packets.push(Planned::Slices { first, count });
                    start = end;
                }
            }
        }
        position += run.len();
    }
    packets
}

fn fits_alone(slice: u32, room: usize) -> bool {
    sized([slice].iter()).fits(room)
}

fn sized<'a>(lengths: impl Iterator<Item = &'a u32>) -> SlicesSize {
    let mut size = SlicesSize::default();
    lengths.for_each(|len| size.push(*len as usize));
    size
}

/// The ends of the packets of a run of slices, each of which fits into a packet.
fn balance(run: &[u32], room: usize) -> Vec<usize> {
    let filled = fill(run, room);
    // Balanced packets can be fuller than filled ones, so a tight tensor may need some more. A few
    // tries keep the cost linear; slices as large as packets, or empty ones, can fail them all.
    let fewest = filled.len();
    for more in [0, 1, 2, fewest / 32, fewest / 16, fewest / 8] {
        let Some(ends) = partition::balanced(run, fewest + more) else {
            continue;
        };
        let mut start = 0;
        let all_fit = ends.iter().all(|&end| {
            let size = sized(run.iter().take(end).skip(start));
            start = end;
            size.fits(room)
        });
        if all_fit {
            return ends;
        }
    }
    filled
}

/// Fills packet after packet: the fewest packets there can be.
fn fill(run: &[u32], room: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut size = SlicesSize::default();
    for (i, len) in run.iter().enumerate() {
        let mut with = size;
        with.push(*len as usize);
        if i > 0 && !with.fits(room) {
            ends.push(i);
            with = sized([*len].iter());
        }
        size = with;
    }
    ends.push(run.len());
    ends
}

/// Cuts a slice into equal fragments.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no room exceeds 65,000 bytes, no end the length of the slice"
)]
fn fragment(packets: &mut Vec<Planned>, position: u16, slice: u32, room: usize) {
    let most = (room - fragment_overhead(slice)) as u32;
    let parts = slice.div_ceil(most);
    let mut offset = 0;
    for part in 1..=parts {
        let end = (u64::from(slice) * u64::from(part) / u64::from(parts)) as u32;
        packets.push(Planned::Fragment {
            position,
            offset,
            len: end - offset,
        });
        offset = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads(lengths: &[u32], plan: &[Planned]) -> Vec<u32> {
        plan.iter()
            .map(|packet| match *packet {
                Planned::Slices { first, count } => lengths[usize::from(first)..]
                    [..usize::from(count)]
                    .iter()
                    .sum(),
                Planned::Fragment { len, .. } => len,
            })
            .collect()
    }

    #[test]
    fn slices_of_145_bytes_fill_the_default_mss_eight_at_a_time() {
        let plan = plan(&[145; 80], 1_200, Coding::default(), false).unwrap();
        assert_eq!(plan.len(), 10);
        assert!(
            plan.iter()
                .all(|p| matches!(p, Planned::Slices { count: 8, .. }))
        );
    }

    #[test]
    fn a_slice_larger_than_a_packet_is_cut_into_equal_fragments() {
        let plan = plan(&[10, 4_000, 10], 1_200, Coding::default(), false).unwrap();
        let sizes = payloads(&[10, 4_000, 10], &plan);
        assert_eq!(sizes, [10, 1_000, 1_000, 1_000, 1_000, 10]);
        assert_eq!(
            plan[1],
            Planned::Fragment {
                position: 1,
                offset: 0,
                len: 1_000
            }
        );
    }

    #[test]
    fn a_tensor_of_empty_slices_is_one_packet() {
        let plan = plan(&[0; 50], 1_200, Coding::default(), false).unwrap();
        assert_eq!(
            plan,
            [Planned::Slices {
                first: 0,
                count: 50
            }]
        );
    }

    #[test]
    fn more_empty_slices_than_a_packet_names_take_packets_of_the_most() {
        let plan = plan(&[0; 65_535], 1_200, Coding::default(), false).unwrap();
        assert_eq!(plan.len(), 5);
    }

    proptest! {
        #[test]
        fn packets_cover_every_byte_once_and_fit(
            lengths in prop::collection::vec(prop_oneof![9 => 0_u32..400, 1 => 0_u32..5_000], 1..400),
            mss in 576_u16..2_000,
            step in 0..Coding::MAX_STEPS,
            notice: bool,
        ) {
            let coding = Coding { delta: false, step };
            let plan = plan(&lengths, mss, coding, notice).unwrap();
            let (mut position, mut inside) = (0_u32, 0_u32);
            for packet in &plan {
                match *packet {
                    Planned::Slices { first, count } => {
                        prop_assert_eq!((u32::from(first), inside), (position, 0));
                        position += u32::from(count);
                    }
                    Planned::Fragment { position: at, offset, len } => {
                        prop_assert_eq!((u32::from(at), offset), (position, inside));
                        inside += len;
                        if inside == lengths[position as usize] {
                            (position, inside) = (position + 1, 0);
                        }
                    }
                }
            }
            prop_assert_eq!(position as usize, lengths.len());
            let most = usize::from(mss) - HEADER_LEN - TRAILER_ROOM
                - DataHead::size(u32::try_from(plan.len()).unwrap(), coding, notice);
            for packet in &plan {
                match *packet {
                    Planned::Slices { first, count } => {
                        let run = &lengths[usize::from(first)..][..usize::from(count)];
                        prop_assert!(sized(run.iter()).fits(most));
                    }
                    Planned::Fragment { len, position, .. } => {
                        let slice = lengths[usize::from(position)];
                        prop_assert!(!fits_alone(slice, most), "fragmented without need");
                        prop_assert!(len as usize + fragment_overhead(slice) <= most);
                    }
                }
            }
        }

        #[test]
        fn packets_are_balanced_and_hardly_more_than_the_fewest(
            lengths in prop::collection::vec(40_u32..=150, 8..600),
        ) {
            let plan = plan(&lengths, 1_200, Coding::default(), false).unwrap();
            let sizes = payloads(&lengths, &plan);
            let spread = sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
            prop_assert!(spread <= *lengths.iter().max().unwrap(), "{:?}", sizes);
            let fewest = fill(&lengths, 1_200 - 9 - 16 - 12).len();
            prop_assert!(plan.len() <= fewest + 1 + fewest / 20, "{} packets, {} would do", plan.len(), fewest);
        }
    }
}

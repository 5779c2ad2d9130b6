//! REPAIR: a repair symbol of a source block (wire-format.md, section 4).

use super::DecodeError;
use super::cursor::Reader;
use crate::fec::{MAX_POINT, MAX_SOURCE};

/// Bytes of a body before the counts of a span and the symbol.
const FIXED: usize = 8;
const MIN_SYMBOL: usize = 4;

/// The longest span of a block.
pub const MAX_SPAN: u8 = 16;
/// Rows of the generator matrix that any block has: 254 − 64.
const ROWS: u8 = MAX_POINT - 64;

/// A REPAIR packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Repair<'a> {
    /// Low bits of the number of the newest tensor of the block.
    pub tensor_id: u16,
    /// Number of consecutive tensors that the block covers, 1 to 16.
    pub span: u8,
    /// Which of the interleaved blocks of the tensor.
    pub block_index: u8,
    /// Number of interleaved blocks, 1 to 256; 1 where the span is more.
    pub block_count: u16,
    /// Source packets of the block, 1 to 64.
    pub k: u8,
    /// Which repair packet of the block, from 0: see [`row`](Self::row).
    pub repair_index: u8,
    /// Number of repair packets of the block that are sent unasked; with k at most 255.
    pub repair_count: u8,
    /// Source packets of each tensor of the span, oldest first; empty where the span is 1.
    pub source_counts: &'a [u8],
    /// The symbol, at least 4 bytes.
    pub symbol: &'a [u8],
}

impl<'a> Repair<'a> {
    /// Bytes of the body of such a packet, the symbol aside.
    pub(crate) const fn overhead(span: u8) -> usize {
        FIXED + if span > 1 { span as usize } else { 0 }
    }

    /// Repair packets that a block with this span and k can have.
    pub(crate) const fn most(span: u8, k: u8) -> u8 {
        if span > 1 {
            ROWS / span
        } else {
            MAX_POINT - k + 1
        }
    }

    /// The row of the generator matrix for repair index 0 of a block with this span whose newest tensor
    /// has this ID: blocks that share packets have no row in common.
    pub(crate) const fn first_row(span: u8, tensor_id: u16) -> u8 {
        if span > 1 {
            #[expect(clippy::cast_possible_truncation, reason = "below the span")]
            let slot = (tensor_id % span as u16) as u8;
            slot * (ROWS / span)
        } else {
            0
        }
    }

    /// The row of the generator matrix that the symbol was made with.
    pub const fn row(&self) -> u8 {
        Self::first_row(self.span, self.tensor_id) + self.repair_index
    }

    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let tensor_id = reader.u16("tensor ID")?;
        let span = reader.u8("span")?;
        let block_index = reader.u8("block index")?;
        let block_count = u16::from(reader.u8("block count")?) + 1;
        let k = reader.u8("k")?;
        let repair_index = reader.u8("repair index")?;
        let repair_count = reader.u8("repair count")?;
        if span == 0 || span > MAX_SPAN {
            return Err(DecodeError::OutOfRange("span"));
        }
        if u16::from(block_index) >= block_count {
            return Err(DecodeError::OutOfRange("block index"));
        }
        if k == 0 || usize::from(k) > MAX_SOURCE {
            return Err(DecodeError::OutOfRange("k"));
        }
        let most = Self::most(span, k);
        if repair_index >= most {
            return Err(DecodeError::OutOfRange("repair index"));
        }
        if repair_count > most {
            return Err(DecodeError::OutOfRange("repair count"));
        }
        let source_counts = if span > 1 {
            if block_count != 1 {
                return Err(DecodeError::Contradiction("block count"));
            }
            let counts = reader.bytes(usize::from(span), "source packet counts")?;
            check_counts(counts, k)?;
            counts
        } else {
            &[]
        };
        let symbol = reader.rest();
        if symbol.len() < MIN_SYMBOL {
            return Err(DecodeError::Truncated("symbol"));
        }
        Ok(Self {
            tensor_id,
            span,
            block_index,
            block_count,
            k,
            repair_index,
            repair_count,
            source_counts,
            symbol,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tensor_id.to_be_bytes());
        let [_, last_block] = (self.block_count - 1).to_be_bytes();
        out.extend_from_slice(&[
            self.span,
            self.block_index,
            last_block,
            self.k,
            self.repair_index,
            self.repair_count,
        ]);
        out.extend_from_slice(self.source_counts);
        out.extend_from_slice(self.symbol);
    }
}

/// The counts of a span are possible, and are those of k packets in all.
fn check_counts(counts: &[u8], k: u8) -> Result<(), DecodeError> {
    if counts.iter().any(|count| usize::from(*count) > MAX_SOURCE) || counts.last() == Some(&0) {
        return Err(DecodeError::OutOfRange("source packet counts"));
    }
    let sum: usize = counts.iter().copied().map(usize::from).sum();
    if sum != usize::from(k) {
        return Err(DecodeError::Contradiction("k"));
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "block indices and spans are below 256"
)]
mod tests {
    use super::*;
    use crate::wire::{ConnectionId, Message, open};
    use proptest::prelude::*;

    fn counts() -> impl Strategy<Value = Vec<u8>> {
        let older = prop::collection::vec(0..4_u8, 1..14);
        (older, 1..12_u8).prop_map(|(mut counts, newest)| {
            counts.push(newest);
            counts
        })
    }

    proptest! {
        #[test]
        fn a_packet_of_one_tensor_survives_the_way(
            tensor_id: u16,
            (block_index, block_count) in (1..=256_u16).prop_flat_map(|n| (0..n, Just(n))),
            (k, repair_index, repair_count) in (1..=64_u8)
                .prop_flat_map(|k| (Just(k), 0..=254 - k, 0..=255 - k)),
            symbol in prop::collection::vec(any::<u8>(), MIN_SYMBOL..200),
        ) {
            let repair = Repair {
                tensor_id,
                span: 1,
                block_index: block_index as u8,
                block_count,
                k,
                repair_index,
                repair_count,
                source_counts: &[],
                symbol: &symbol,
            };
            let mut body = Vec::new();
            repair.encode(&mut body);
            prop_assert_eq!(body.len(), Repair::overhead(1) + symbol.len());
            prop_assert_eq!(Repair::decode(Reader::new(&body)), Ok(repair));
        }

        #[test]
        fn a_packet_of_a_span_survives_the_way(
            tensor_id: u16,
            counts in counts(),
            symbol in prop::collection::vec(any::<u8>(), MIN_SYMBOL..200),
        ) {
            let repair = Repair {
                tensor_id,
                span: counts.len() as u8,
                block_index: 0,
                block_count: 1,
                k: counts.iter().sum(),
                repair_index: 4,
                repair_count: 2,
                source_counts: &counts,
                symbol: &symbol,
            };
            let mut datagram = Vec::new();
            let connection = ConnectionId::new(7);
            Message::Repair(repair).encode(&mut datagram, connection, 1);
            let (header, body) = open(&datagram, Some(connection)).unwrap();
            prop_assert_eq!(body.len(), Repair::overhead(repair.span) + symbol.len());
            prop_assert_eq!(Message::decode(&header, body), Ok(Message::Repair(repair)));
        }
    }
}

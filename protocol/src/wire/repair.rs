//! REPAIR: a parity symbol of a source block (wire-format.md, section 4; reserved).

use super::DecodeError;
use super::cursor::Reader;

const MAX_K: u8 = 64;
const MAX_ROW: u16 = 254;
const MAX_SYMBOL: u16 = 65_000;

/// A REPAIR packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Repair<'a> {
    /// Low bits of the number of the newest tensor of the block.
    pub tensor_id: u16,
    /// Number of consecutive tensors that the block covers, 1 to 255.
    pub span: u8,
    /// Which of the interleaved blocks.
    pub block_index: u8,
    /// Number of interleaved blocks, 1 to 256.
    pub block_count: u16,
    /// Source packets of the block, 1 to 64.
    pub k: u8,
    /// Which repair packet of the block, from 0.
    pub repair_index: u8,
    /// The symbol, 1 to 65,000 bytes.
    pub symbol: &'a [u8],
}

impl<'a> Repair<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let repair = Self {
            tensor_id: reader.u16("tensor ID")?,
            span: reader.u8("span")?,
            block_index: reader.u8("block index")?,
            block_count: u16::from(reader.u8("block count")?) + 1,
            k: reader.u8("k")?,
            repair_index: reader.u8("repair index")?,
            symbol: {
                let length = reader.u16("symbol length")?;
                if length == 0 || length > MAX_SYMBOL {
                    return Err(DecodeError::OutOfRange("symbol length"));
                }
                let symbol = reader.bytes(usize::from(length), "symbol")?;
                reader.end()?;
                symbol
            },
        };
        if repair.span == 0 {
            return Err(DecodeError::OutOfRange("span"));
        }
        if u16::from(repair.block_index) >= repair.block_count {
            return Err(DecodeError::OutOfRange("block index"));
        }
        if repair.k == 0 || repair.k > MAX_K {
            return Err(DecodeError::OutOfRange("k"));
        }
        if u16::from(repair.k) + u16::from(repair.repair_index) > MAX_ROW {
            return Err(DecodeError::OutOfRange("repair index"));
        }
        Ok(repair)
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
        ]);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a decoded symbol has at most 65,000 bytes"
        )]
        let length = self.symbol.len() as u16;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.symbol);
    }
}

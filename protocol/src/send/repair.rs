//! The packets that repair a tensor: REPAIR, and source packets again.

use super::flight::Flight;
use super::sent::Cargo;
use crate::config::Config;
use crate::fec;
use crate::wire::{Message, MessageType, Repair, TRAILER_ROOM, TensorId, put_header};

impl Flight {
    /// Writes a source packet again; none if it is not lost any more.
    pub(super) fn write_source(
        &mut self,
        id: u64,
        index: u32,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u32,
    ) -> Option<(MessageType, Cargo)> {
        let tensor = self.tensor(id)?;
        let source = tensor.sources.get_mut(index as usize)?;
        if !source.is_lost() {
            return None;
        }
        source.copies = source.copies.saturating_add(1);
        let (flags, body) = fec::open_symbol(tensor.symbol(index as usize)).ok()?;
        let remote = config.remote_connection;
        put_header(out, MessageType::Data, flags, remote, packet_number);
        out.extend_from_slice(body);
        Some((MessageType::Data, Cargo::Source { tensor: id, index }))
    }

    /// Writes the next REPAIR packet of a block; none if all its indices are used.
    pub(super) fn write_repair(
        &mut self,
        id: u64,
        block: u16,
        ahead: bool,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u32,
    ) -> Option<(MessageType, Cargo)> {
        let place = self.place(id)?;
        let first = if ahead { self.spanned(place) } else { place };
        let tensor = self.tensors.get(place)?;
        let parity = tensor.parity?;
        let number = usize::from(block);
        let state = *tensor.blocks.get(number)?;
        let all = tensor.sources.len();
        let protected = if ahead { parity.protected } else { all };
        let spans = first < place;
        // Two codes of one block differ in k; those with one k share their indices.
        let one_code = !spans && parity.members(protected, number) == parity.members(all, number);
        let made = if one_code {
            state.made_ahead.checked_add(state.made)?
        } else if ahead {
            state.made_ahead
        } else {
            state.made
        };
        let mut counts = [0; Config::MAX_SPAN as usize];
        let mut symbols = [&[][..]; fec::MAX_SOURCE];
        let mut k = 0;
        let mut span = 1;
        if spans {
            let tensors = self.tensors.iter().take(place + 1).skip(first);
            let oldest = self.tensors.get(first)?.id;
            span = usize::try_from(id - oldest).ok()? + 1;
            for tensor in tensors {
                let count = counts.get_mut(usize::try_from(tensor.id - oldest).ok()?)?;
                *count = u8::try_from(tensor.sources.len()).ok()?;
                for index in 0..tensor.sources.len() {
                    *symbols.get_mut(k)? = tensor.symbol(index);
                    k += 1;
                }
            }
        } else {
            for index in (number..protected).step_by(parity.blocks) {
                *symbols.get_mut(k)? = tensor.symbol(index);
                k += 1;
            }
        }
        let symbols = symbols.get(..k)?;
        let (span, k) = (u8::try_from(span).ok()?, u8::try_from(k).ok()?);
        if made >= Repair::most(span, k) {
            return None;
        }
        let row = Repair::first_row(span, TensorId(id).wire()) + made;
        fec::encode(symbols.iter().copied(), row, &mut self.symbol).ok()?;
        let repair = Repair {
            tensor_id: TensorId(id).wire(),
            span,
            block_index: u8::try_from(block).ok()?,
            block_count: if spans {
                1
            } else {
                u16::try_from(parity.blocks).ok()?
            },
            k,
            repair_index: made,
            repair_count: u8::try_from(parity.ahead(number))
                .ok()?
                .min(Repair::most(span, k)),
            source_counts: if spans {
                counts.get(..usize::from(span))?
            } else {
                &[]
            },
            symbol: &self.symbol,
        };
        Message::Repair(repair).write(out, config.remote_connection, packet_number);
        debug_assert!(
            out.len() + TRAILER_ROOM <= usize::from(config.mss),
            "a source packet leaves room for its repair"
        );
        let state = self.tensors.get_mut(place)?.blocks.get_mut(number)?;
        if ahead {
            state.made_ahead += 1;
            state.alive_ahead += 1;
        } else {
            state.made += 1;
            state.alive += 1;
        }
        let cargo = Cargo::Repair {
            tensor: id,
            block,
            ahead,
        };
        Some((MessageType::Repair, cargo))
    }

    /// The first of the tensors that a block whose newest tensor stands at `place` spans: so many that
    /// all have their symbols at hand, one block each, and together no more than a block holds.
    fn spanned(&self, place: usize) -> usize {
        let Some(newest) = self.tensors.get(place) else {
            return place;
        };
        let mut first = place;
        let mut k = newest.sources.len();
        while let Some(tensor) = first
            .checked_sub(1)
            .and_then(|before| self.tensors.get(before))
        {
            k += tensor.sources.len();
            if newest.id - tensor.id >= u64::from(self.span)
                || tensor.parity.is_none()
                || k > fec::MAX_SOURCE
            {
                break;
            }
            first -= 1;
        }
        first
    }
}

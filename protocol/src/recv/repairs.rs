//! Source blocks that may still be repaired: their REPAIR packets (wire-format.md, section 4).

use std::collections::VecDeque;
use std::mem;

use super::assembly::Assembly;
use super::past::Past;
use crate::config::Config;
use crate::fec;
use crate::wire::Repair;

/// What became of a REPAIR packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    New,
    Duplicate,
    Conflict,
    TooMany,
}

/// Source blocks kept at most: those of four of the largest tensors.
const MOST: usize = 1_024;
/// Source blocks of one newest tensor at most, or twice as many as it is cut into: a sender has a block of
/// all packets and one of the first, for each.
const MOST_OF_ONE: usize = 4;

/// Dropped blocks whose memory is kept for those to come, and the most bytes of each: 1 MiB in all, and as
/// much again in blocks that have such memory and do not count it.
const SPARE: usize = 16;
const SPARE_BYTES: usize = 1 << 16;

/// Which packets a block covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cover {
    /// Number of the newest tensor.
    newest: u64,
    pub(super) span: u8,
    index: u8,
    count: u16,
    k: u8,
    /// Source packets of each tensor where the span is more than one, oldest first.
    counts: [u8; Config::MAX_SPAN as usize],
}

impl Cover {
    /// None if the block spans more tensors than any stream's do, or some before the first.
    fn new(newest: u64, repair: &Repair<'_>) -> Option<Self> {
        let before = u64::from(repair.span).saturating_sub(newest + 1);
        let given = repair.source_counts;
        let (none, given) = given.split_at_checked(usize::try_from(before).ok()?)?;
        if none.iter().any(|count| *count != 0) {
            return None;
        }
        let mut counts = [0; Config::MAX_SPAN as usize];
        counts.get_mut(..given.len())?.copy_from_slice(given);
        Some(Self {
            newest,
            span: repair.span,
            index: repair.block_index,
            count: repair.block_count,
            k: repair.k,
            counts,
        })
    }

    const fn oldest(&self) -> u64 {
        (self.newest + 1).saturating_sub(self.span as u64)
    }

    /// Whether it covers this source packet.
    fn contains(&self, tensor: u64, index: u32) -> bool {
        let Some(back) = tensor.checked_sub(self.oldest()) else {
            return false;
        };
        if self.span > 1 {
            let count = usize::try_from(back)
                .ok()
                .and_then(|at| self.counts.get(at));
            return tensor <= self.newest && count.is_some_and(|count| index < u32::from(*count));
        }
        let (step, first) = (u32::from(self.count), u32::from(self.index));
        tensor == self.newest && index % step == first && index / step < u32::from(self.k)
    }

    /// Tensor and packet index at each position of the block, and where the span says, how many
    /// packets that tensor has.
    pub(super) fn packets(&self) -> impl Iterator<Item = (u64, u32, Option<u32>)> {
        let single = u8::from(self.span == 1) * self.k;
        let (first, step) = (u32::from(self.index), u32::from(self.count));
        let alone = (0..u32::from(single)).map(move |n| (self.newest, first + n * step, None));
        let spanned = (self.oldest()..=self.newest)
            .zip(self.counts)
            .flat_map(|(id, n)| (0..u32::from(n)).map(move |i| (id, i, Some(u32::from(n)))));
        alone.chain(spanned.take(usize::from(self.k - single)))
    }
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) cover: Cover,
    /// Whether a packet of it has come since it was last looked at.
    dirty: bool,
    /// Source packets that are not at hand: no fewer than this.
    missing: usize,
    /// Bytes of each symbol.
    pub(super) length: usize,
    /// Rows of the generator matrix, and their symbols one after another.
    pub(super) rows: Vec<u8>,
    pub(super) symbols: Vec<u8>,
    /// Bytes of room in these that an earlier block left.
    lent: usize,
}

/// A source packet that was computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recovered {
    pub(crate) tensor: u64,
    pub(crate) index: u32,
}

/// A block says otherwise than the tensor it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contradiction;

/// What the receiver has of a tensor that a block covers.
pub(crate) enum Holding<'a> {
    /// Its packets so far.
    Live(&'a Assembly),
    /// The packets it had when it was released.
    Released(&'a Past),
    /// Nothing, and packets are welcome.
    Unseen,
    /// Nothing any more.
    Gone,
}

impl<'a> Holding<'a> {
    fn symbol(&self, index: u32) -> Option<&'a [u8]> {
        match self {
            Self::Live(assembly) => assembly.symbol(index),
            Self::Released(past) => past.symbol(index),
            Self::Unseen | Self::Gone => None,
        }
    }

    fn packets(&self) -> Option<u32> {
        match self {
            Self::Live(assembly) => Some(assembly.packets()),
            Self::Released(past) => Some(past.packets()),
            Self::Unseen | Self::Gone => None,
        }
    }

    /// The symbol of a source packet of a block whose symbols have `length` bytes and which says, where its
    /// span does, how many packets the tensor has.
    pub(super) fn find(
        &self,
        index: u32,
        said: Option<u32>,
        length: usize,
    ) -> Result<Option<&'a [u8]>, Contradiction> {
        let beyond = |count| index >= count || said.is_some_and(|said| said != count);
        let symbol = self.symbol(index);
        if self.packets().is_some_and(beyond) || symbol.is_some_and(|s| s.len() > length) {
            return Err(Contradiction);
        }
        Ok(symbol)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Live(_) | Self::Unseen)
    }
}

/// The blocks of the tensors in progress.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    pub(super) blocks: VecDeque<Block>,
    memory: usize,
    spare: Spare,
}

/// Memory of blocks that were dropped: rows and symbols. A stream then allocates none for its blocks.
#[derive(Debug, Default)]
struct Spare {
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes with blocks that live.
    lent: usize,
}

impl Spare {
    /// Rows and symbols for a block, and how many bytes of room they have.
    fn take(&mut self) -> (Vec<u8>, Vec<u8>, usize) {
        if self.lent > (SPARE - 1) * SPARE_BYTES {
            return (Vec::new(), Vec::new(), 0);
        }
        let (rows, symbols) = self.kept.pop().unwrap_or_default();
        let room = rows.capacity() + symbols.capacity();
        self.lent += room;
        (rows, symbols, room)
    }

    /// Keeps what a block leaves.
    fn keep(&mut self, block: &mut Block) {
        self.lent -= block.lent;
        let mut rows = mem::take(&mut block.rows);
        let mut symbols = mem::take(&mut block.symbols);
        if self.kept.len() < SPARE && rows.capacity() + symbols.capacity() <= SPARE_BYTES {
            rows.clear();
            symbols.clear();
            self.kept.push((rows, symbols));
        }
    }
}

impl Repairs {
    /// Bytes that `repair` would take.
    pub(crate) const fn cost(repair: &Repair<'_>) -> usize {
        size_of::<Block>() + 1 + repair.symbol.len()
    }

    /// Bytes kept.
    pub(crate) const fn memory(&self) -> usize {
        self.memory
    }

    /// Drops a block, and tells how many packets of it were kept.
    fn remove(&mut self, place: usize) -> Option<u64> {
        let mut block = self.blocks.remove(place)?;
        self.memory -= block.memory();
        let packets = block.rows.len() as u64;
        self.spare.keep(&mut block);
        Some(packets)
    }

    /// Keeps a REPAIR packet whose newest tensor has the number `newest`.
    pub(crate) fn add(&mut self, newest: u64, repair: &Repair<'_>) -> Stored {
        let Some(cover) = Cover::new(newest, repair) else {
            return Stored::Conflict;
        };
        let place = self.blocks.iter().position(|block| block.cover == cover);
        if place.is_none() {
            let same = self.blocks.iter().filter(|b| b.cover.newest == newest);
            let most = MOST_OF_ONE.max(2 * usize::from(cover.count));
            if self.blocks.len() == MOST || same.count() >= most {
                return Stored::TooMany;
            }
            self.memory += size_of::<Block>();
            let (rows, symbols, lent) = self.spare.take();
            self.blocks.push_back(Block {
                cover,
                dirty: true,
                missing: 0,
                length: repair.symbol.len(),
                rows,
                symbols,
                lent,
            });
        }
        let place = place.unwrap_or(self.blocks.len() - 1);
        let Some(block) = self.blocks.get_mut(place) else {
            return Stored::Conflict;
        };
        if block.length != repair.symbol.len() {
            return Stored::Conflict;
        }
        if block.rows.contains(&repair.row()) {
            return Stored::Duplicate;
        }
        if block.rows.len() < usize::from(cover.k) {
            block.rows.push(repair.row());
            block.symbols.extend_from_slice(repair.symbol);
            block.dirty = true;
            self.memory += 1 + repair.symbol.len();
        }
        Stored::New
    }

    /// Drops the oldest block, and tells how many packets of it were kept.
    pub(crate) fn drop_oldest(&mut self) -> Option<u64> {
        self.remove(0)
    }

    /// A source packet is at hand.
    pub(crate) fn touch(&mut self, tensor: u64, index: u32) {
        for block in &mut self.blocks {
            if block.cover.contains(tensor, index) {
                block.dirty = true;
                block.missing = block.missing.saturating_sub(1);
            }
        }
    }

    /// Drops the blocks whose tensors have all met their end; `open` tells which have not.
    pub(crate) fn forget(&mut self, open: impl Fn(u64) -> bool) {
        let Self {
            blocks,
            memory,
            spare,
        } = self;
        blocks.retain_mut(|block| {
            let open = (block.cover.oldest()..=block.cover.newest).any(&open);
            if !open {
                *memory -= block.memory();
                spare.keep(block);
            }
            open
        });
    }

    /// Computes what can be computed of one block: symbols of `length` bytes into `out`, in the order of
    /// the result, which is empty if no block is ready. `conflicts` counts blocks that cannot be what
    /// they say; they are dropped.
    pub(crate) fn recover<'a>(
        &mut self,
        holding: impl Fn(u64) -> Holding<'a>,
        out: &mut Vec<u8>,
        found: &mut Vec<Recovered>,
        conflicts: &mut u64,
    ) -> usize {
        found.clear();
        out.clear();
        let (mut place, mut short) = (0, false);
        while let Some(block) = self.blocks.get_mut(place) {
            let dirty = mem::take(&mut block.dirty);
            short |= dirty && block.cover.span > 1;
            // Looking at a block costs its packets, and most have too few of them for long.
            if !dirty || block.missing > block.rows.len() {
                place += 1;
                continue;
            }
            match block.recover(&holding, out, found) {
                Ready::Not(missing) => {
                    block.missing = missing;
                    place += 1;
                }
                Ready::Done => {
                    // What was computed stands in the tensors now; what comes for it is not needed.
                    let length = block.length;
                    self.remove(place);
                    if !found.is_empty() {
                        return length;
                    }
                }
                Ready::Conflict => {
                    found.clear();
                    *conflicts += 1;
                    self.remove(place);
                }
            }
        }
        if short {
            self.recover_jointly(&holding, out, found)
        } else {
            0
        }
    }
}

enum Ready {
    /// So many source packets are not at hand.
    Not(usize),
    Done,
    Conflict,
}

impl Block {
    const fn memory(&self) -> usize {
        size_of::<Self>() + self.rows.len() + self.symbols.len()
    }

    fn recover<'a>(
        &self,
        holding: &impl Fn(u64) -> Holding<'a>,
        out: &mut Vec<u8>,
        found: &mut Vec<Recovered>,
    ) -> Ready {
        let Cover {
            newest, span, k, ..
        } = self.cover;
        let holdings: [Holding<'a>; Config::MAX_SPAN as usize] = std::array::from_fn(|back| {
            if back < usize::from(span) {
                newest
                    .checked_sub(back as u64)
                    .map_or(Holding::Gone, holding)
            } else {
                Holding::Gone
            }
        });
        let of = |id: u64| {
            usize::try_from(newest - id)
                .ok()
                .and_then(|back| holdings.get(back))
        };
        let mut points = [(0, &[][..]); fec::MAX_SOURCE];
        let mut missing = [0; fec::MAX_SOURCE];
        let (mut known, mut wanted) = (0, 0);
        for (position, (id, index, packets)) in (0_u8..).zip(self.cover.packets()) {
            let Some(holding) = of(id) else {
                return Ready::Conflict;
            };
            let Ok(symbol) = holding.find(index, packets, self.length) else {
                return Ready::Conflict;
            };
            if let Some(symbol) = symbol {
                if let Some(point) = points.get_mut(known) {
                    *point = (position, symbol);
                }
                known += 1;
            } else if holding.is_open() {
                if let Some(missing) = missing.get_mut(wanted) {
                    *missing = position;
                }
                wanted += 1;
                found.push(Recovered { tensor: id, index });
            }
        }
        if wanted == 0 {
            return Ready::Done;
        }
        let missing_packets = usize::from(k) - known;
        let repairs = self.rows.iter().zip(self.symbols.chunks_exact(self.length));
        for (row, symbol) in repairs.take(missing_packets) {
            if let Some(point) = points.get_mut(known) {
                *point = (k + row, symbol);
            }
            known += 1;
        }
        if known < usize::from(k) {
            found.clear();
            return Ready::Not(missing_packets);
        }
        let (Some(points), Some(missing)) = (points.get(..known), missing.get(..wanted)) else {
            return Ready::Conflict;
        };
        if fec::recover(points, missing, self.length, out).is_err() {
            return Ready::Conflict;
        }
        Ready::Done
    }
}

//! What a mask says about the losses of a tensor.

/// Counts over the missing entries of a tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) entries: usize,
    pub(crate) missing: usize,
    /// Missing entries in channels of which nothing arrived.
    pub(crate) in_lost_channels: usize,
    /// Missing entries in wholly lost rows of the other channels.
    pub(crate) in_lost_rows: usize,
    /// Entries of the channels of which something arrived.
    pub(crate) entries_elsewhere: usize,
    /// Missing entries of those channels, last column excepted.
    pub(crate) with_right_neighbour: usize,
    /// Those of them whose right neighbour is missing too.
    pub(crate) joined: usize,
}

impl Losses {
    /// Counts; `received` is in C, H, W order.
    pub(crate) fn of(received: &[bool], (_, height, width): (usize, usize, usize)) -> Self {
        let mut losses = Self {
            entries: received.len(),
            ..Self::default()
        };
        let plane = height * width;
        if plane == 0 {
            return losses;
        }
        for channel in received.chunks_exact(plane) {
            let missing = plane - received_count(channel);
            losses.missing += missing;
            if missing == plane {
                losses.in_lost_channels += missing;
                continue;
            }
            losses.entries_elsewhere += plane;
            if missing == 0 {
                continue;
            }
            for row in channel.chunks_exact(width) {
                if row.iter().all(|&received| !received) {
                    losses.in_lost_rows += width;
                }
                let pairs = row.iter().zip(row.iter().skip(1));
                for (&this, &right) in pairs {
                    losses.with_right_neighbour += usize::from(!this);
                    losses.joined += usize::from(!this && !right);
                }
            }
        }
        losses
    }

    /// Missing entries over all.
    pub(crate) fn share(&self) -> f64 {
        if self.entries == 0 {
            0.0
        } else {
            crate::number::count(self.missing) / crate::number::count(self.entries)
        }
    }
}

/// Blocks of which a lane of a count in u8 holds no more than it can.
const COUNT_RUN: usize = 255;

const LANES: usize = 16;

/// Number of received entries. Counting in bytes takes a tenth of the time of the obvious way.
pub(crate) fn received_count(received: &[bool]) -> usize {
    let (blocks, tail) = received.as_chunks::<LANES>();
    let in_blocks = blocks.chunks(COUNT_RUN).map(|run| {
        let mut counts = [0_u8; LANES];
        for block in run {
            counts
                .iter_mut()
                .zip(block)
                .for_each(|(count, &one)| *count += u8::from(one));
        }
        counts.into_iter().map(usize::from).sum::<usize>()
    });
    in_blocks.sum::<usize>() + tail.iter().filter(|&&received| received).count()
}

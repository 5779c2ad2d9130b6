//! A recorded sequence of fates.

use std::fmt;

/// The fates of packets, one after the other, as they were recorded: a bit each.
///
/// There is at least one packet, and at most [`LossTrace::MAX_PACKETS`].
#[derive(Clone, PartialEq, Eq)]
pub struct LossTrace {
    /// Set bits are lost packets; bits beyond the last packet are zero.
    words: Vec<u64>,
    packets: usize,
    lost: usize,
}

/// Why a trace cannot be: whoever recorded or gave it is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// No packet at all.
    #[error("no packets in the trace; at least one is needed")]
    Empty,
    /// More packets than are held.
    #[error(
        "more than {} packets in the trace; cut it, or thin it out",
        LossTrace::MAX_PACKETS
    )]
    TooLong,
}

impl LossTrace {
    /// Packets that a trace has at most: 2 MiB of fates, and over two hours at 20 Mbit/s in packets of
    /// 1,200 bytes.
    pub const MAX_PACKETS: usize = 1 << 24;

    /// Collects fates, `true` being a lost packet. Memory grows with what the iterator gives, a bit a
    /// packet, and ends at the limit.
    ///
    /// # Errors
    /// If there is no packet, or more than [`LossTrace::MAX_PACKETS`].
    pub fn new(fates: impl IntoIterator<Item = bool>) -> Result<Self, TraceError> {
        let mut trace = Self {
            words: vec![],
            packets: 0,
            lost: 0,
        };
        let mut word = 0;
        for lost in fates {
            if trace.packets == Self::MAX_PACKETS {
                return Err(TraceError::TooLong);
            }
            let bit = trace.packets % 64;
            word |= u64::from(lost) << bit;
            if bit == 63 {
                trace.words.push(word);
                word = 0;
            }
            trace.packets += 1;
            trace.lost += usize::from(lost);
        }
        if trace.packets == 0 {
            return Err(TraceError::Empty);
        }
        if !trace.packets.is_multiple_of(64) {
            trace.words.push(word);
        }
        Ok(trace)
    }

    /// Packets recorded, at least one.
    pub const fn packets(&self) -> usize {
        self.packets
    }

    /// Packets lost.
    pub const fn lost(&self) -> usize {
        self.lost
    }

    /// The share of packets lost.
    pub fn rate(&self) -> f64 {
        self.lost as f64 / self.packets as f64
    }

    /// Runs of lost packets, from the first packet to the last: one that the end cuts off counts.
    pub fn bursts(&self) -> usize {
        let first = usize::from(self.is_lost(0));
        first + self.pairs().filter(|pair| *pair == (false, true)).count()
    }

    /// Runs of lost packets that end, the last packet being followed by the first.
    pub(super) fn endings(&self) -> usize {
        let last = self.is_lost(self.packets as u64 - 1);
        let around = usize::from(last && !self.is_lost(0));
        around + self.pairs().filter(|pair| *pair == (true, false)).count()
    }

    /// Whether packet `index` is lost; behind the last comes the first again.
    pub fn is_lost(&self, index: u64) -> bool {
        let index = index % self.packets as u64;
        // A trace of 2^24 packets has 2^18 words.
        let word = usize::try_from(index / 64).ok();
        let word = word.and_then(|word| self.words.get(word));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// The fates from the first packet to the last.
    pub fn fates(&self) -> impl DoubleEndedIterator<Item = bool> + '_ {
        (0..self.packets as u64).map(|index| self.is_lost(index))
    }

    /// Each packet with the one after it.
    fn pairs(&self) -> impl Iterator<Item = (bool, bool)> + '_ {
        self.fates().zip(self.fates().skip(1))
    }

    /// How often a packet of one fate is followed by one of another: `[from][to]`, 1 being lost.
    pub(super) fn transitions(&self) -> [[u64; 2]; 2] {
        let mut counts = [[0; 2]; 2];
        for (from, to) in self.pairs() {
            let [received, lost] = &mut counts;
            let [then_received, then_lost] = if from { lost } else { received };
            *(if to { then_lost } else { then_received }) += 1;
        }
        counts
    }
}

impl fmt::Debug for LossTrace {
    /// Counts alone: a trace may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossTrace")
            .field("packets", &self.packets)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_recorded_comes_back_and_around(
            fates in proptest::collection::vec(any::<bool>(), 1..300),
        ) {
            let trace = LossTrace::new(fates.iter().copied()).unwrap();
            prop_assert_eq!(trace.fates().collect::<Vec<_>>(), fates.clone());
            prop_assert_eq!(trace.packets(), fates.len());
            prop_assert_eq!(trace.lost(), fates.iter().filter(|lost| **lost).count());
            let runs = fates.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
            prop_assert_eq!(trace.bursts(), runs);
            for (index, lost) in (0_u64..).zip(fates.iter().cycle().take(700)) {
                prop_assert_eq!(trace.is_lost(index), *lost);
            }
            let again = LossTrace::new(trace.fates()).unwrap();
            prop_assert_eq!(again, trace.clone());
            let counts = trace.transitions();
            prop_assert_eq!(counts.as_flattened().iter().sum::<u64>() + 1, fates.len() as u64);
            let pairs = fates.windows(2).filter(|pair| *pair == [true, false]).count();
            prop_assert_eq!(counts[1][0], pairs as u64);
        }
    }

    #[test]
    fn no_packet_and_too_many_are_refused() {
        assert_eq!(LossTrace::new([]), Err(TraceError::Empty));
        let most = std::iter::repeat_n(true, LossTrace::MAX_PACKETS);
        assert_eq!(
            LossTrace::new(most.clone().chain([false])),
            Err(TraceError::TooLong)
        );
        assert_eq!(LossTrace::new(most).unwrap().lost(), LossTrace::MAX_PACKETS);
    }
}

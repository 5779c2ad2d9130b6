//! What the loss of one packet looks like in the tensor.

use std::fmt;

use crate::mask::Losses;

/// What a lost packet takes out of the tensor; the element-to-slice map of the codec decides it.
///
/// A stream knows its map and should say so: see
/// [`Concealer::with_kind`](crate::Concealer::with_kind), which also says how the kind is judged from
/// a mask where nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LossKind {
    /// Entries scattered over the whole tensor.
    Elements,
    /// Whole rows of one channel.
    Rows,
    /// Whole channels.
    Channels,
    /// Patches of neighbouring entries, as of JPEG blocks.
    Blocks,
}

impl LossKind {
    /// Every kind, in the order of their codes.
    pub const ALL: &'static [Self] = &[Self::Elements, Self::Rows, Self::Channels, Self::Blocks];

    /// The name by which tables know the kind, as in `elements`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Elements => "elements",
            Self::Rows => "rows",
            Self::Channels => "channels",
            Self::Blocks => "blocks",
        }
    }

    /// The code on file (`spec/bundle-format.md` section 6).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Elements => 0,
            Self::Rows => 1,
            Self::Channels => 2,
            Self::Blocks => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Judges from what is missing.
    ///
    /// `Channels` if at least half of the missing entries lie in wholly lost channels; else `Rows`
    /// if at least half of the others lie in wholly lost rows; else `Blocks` if a missing entry's
    /// right neighbour is missing too with at least twice the odds that chance alone would give
    /// and at least every other time; else `Elements`.
    pub(crate) fn of(losses: &Losses) -> Self {
        if losses.missing == 0 {
            return Self::Elements;
        }
        if 2 * losses.in_lost_channels >= losses.missing {
            return Self::Channels;
        }
        let elsewhere = losses.missing - losses.in_lost_channels;
        if 2 * losses.in_lost_rows >= elsewhere {
            return Self::Rows;
        }
        // Of the missing entries outside wholly lost channels with a right neighbour, those whose
        // neighbour is missing too, against the share that is missing at large.
        let joined = losses.joined * losses.entries_elsewhere;
        if 2 * losses.joined >= losses.with_right_neighbour
            && joined >= 2 * losses.with_right_neighbour * elsewhere
        {
            return Self::Blocks;
        }
        Self::Elements
    }
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

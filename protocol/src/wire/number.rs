//! Numbers that count without bound here and carry their low bits on the wire.

/// Extends the low `bits` of a number to the candidate nearest to `reference` (the larger where two
/// are equally near, never below zero), after RFC 9000 appendix A.3. `bits` is 1 to 63.
pub fn extend(low: u64, bits: u32, reference: u64) -> u64 {
    let window = 1_u64 << bits;
    let half = window / 2;
    let candidate = (reference & !(window - 1)) | (low & (window - 1));
    if candidate.saturating_add(half) <= reference {
        candidate.saturating_add(window)
    } else if candidate > reference.saturating_add(half) && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub u64);

        impl $name {
            /// The low 16 bits, as on the wire.
            #[expect(clippy::cast_possible_truncation, reason = "the wire carries the low bits")]
            pub const fn wire(self) -> u16 {
                self.0 as u16
            }

            /// The number nearest to `reference` whose low 16 bits are `low`.
            pub fn extend(low: u16, reference: Self) -> Self {
                Self(extend(u64::from(low), 16, reference.0))
            }

            /// The next number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of a tensor: 0 for the first of the session, consecutive over sent tensors.
    TensorId
}

number! {
    /// The number of a captured frame, from 0, over all captured frames, sent or not.
    FrameNumber
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extension_crosses_the_wrap_both_ways() {
        assert_eq!(extend(0x0002, 16, 0xFFFF), 0x1_0002);
        assert_eq!(extend(0xFFFE, 16, 0x1_0001), 0xFFFE);
        assert_eq!(extend(0xFFFE, 16, 1), 0xFFFE, "nothing is below zero");
        assert_eq!(extend(0xFFFF_FFFF, 32, 0x1_0000_0000), 0xFFFF_FFFF);
    }

    #[test]
    fn of_two_equally_near_the_larger_is_taken() {
        assert_eq!(extend(0x8000, 16, 0x1_0000), 0x1_8000);
        assert_eq!(extend(0, 16, 0x1_8000), 0x2_0000);
    }

    proptest! {
        #[test]
        fn extension_finds_every_number_within_half_a_window(
            reference in 0_u64..1 << 50,
            bits in prop::sample::select(vec![16_u32, 32]),
            distance in -1_i64..=1,
            share in 0.0_f64..1.0,
        ) {
            let half = 1_i64 << (bits - 1);
            #[expect(clippy::cast_possible_truncation, reason = "below 2^31")]
            let step = (share * (half - 1) as f64) as i64 * distance;
            let number = reference.saturating_add_signed(step);
            prop_assert_eq!(extend(number & ((1 << bits) - 1), bits, reference), number);
        }
    }
}

//! Numbers of a scenario with their units and ranges, checked where they are read.

use serde::{Deserialize, Serialize};

/// Makes a number that is read with its range.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $least:expr, $most:expr, $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, Serialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub(crate) struct $name(pub(crate) f64);

        impl TryFrom<f64> for $name {
            type Error = String;

            fn try_from(value: f64) -> Result<Self, String> {
                if ($least..=$most).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(format!(
                        concat!("{} ", $unit, "; {} to {} can be"),
                        value, $least, $most
                    ))
                }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

quantity! {
    /// A rate in megabits a second.
    Mbps, 0.01, 10_000.0, "Mbit/s"
}
quantity! {
    /// A time on the path, in milliseconds.
    Millis, 0.0, 10_000.0, "ms"
}
quantity! {
    /// A moment of a run, in seconds from its start.
    Seconds, 0.0, 86_400.0, "s"
}
quantity! {
    /// Frames a second.
    Fps, 0.01, 10_000.0, "frames a second"
}
quantity! {
    /// Repair packets for each source packet.
    Parity, 0.0, 2.0, "repair packets for each source packet"
}

impl Mbps {
    /// Bits a second, rounded.
    pub(crate) fn bits(self) -> u64 {
        rounded(self.0 * 1e6)
    }
}

impl Millis {
    /// As `tc` writes it.
    pub(crate) fn tc(self) -> String {
        format!("{}us", rounded(self.0 * 1e3))
    }
}

/// The nearest whole number; 0 for what is negative or none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is checked to be in range before"
)]
pub(crate) fn rounded(value: f64) -> u64 {
    value.round() as u64
}

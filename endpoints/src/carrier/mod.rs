//! Carriers: how tensors and results travel (spec/carriers.md).
//!
//! Two run TSP: over UDP, and in QUIC datagrams (both in [`datapath`](crate::datapath)). Two run on
//! reliable streams, without TSP: QUIC streams and TCP. Applications have the same
//! [`SessionHandle`](crate::datapath::SessionHandle) and the same events with all of them.

mod actor;
mod frame;
mod intake;
mod outbox;
mod session;

pub(crate) mod quic_stream;
pub(crate) mod tcp;

use clap::ValueEnum;

/// What carries a session's tensors and results.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Carrier {
    /// TSP over UDP
    #[default]
    Udp,
    /// TSP in QUIC datagrams, on the control connection
    QuicDatagram,
    /// A QUIC stream for each tensor, on the control connection: no TSP
    QuicStream,
    /// One TCP connection: no TSP
    Tcp,
}

impl Carrier {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Udp, Self::QuicDatagram, Self::QuicStream, Self::Tcp];

    /// Its number in the control protocol.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Udp => 0,
            Self::QuicDatagram => 1,
            Self::QuicStream => 2,
            Self::Tcp => 3,
        }
    }

    /// The carrier with this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|carrier| carrier.code() == code)
    }

    /// Its name, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::QuicDatagram => "quic-datagram",
            Self::QuicStream => "quic-stream",
            Self::Tcp => "tcp",
        }
    }

    /// Whether it travels on the control connection.
    #[must_use]
    pub const fn is_quic(self) -> bool {
        matches!(self, Self::QuicDatagram | Self::QuicStream)
    }
}

/// A set of carriers: what a cloud offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carriers(u8);

impl Carriers {
    /// Every carrier.
    pub const ALL: Self = Self(0b1111);

    /// A bit for each: bit n for the carrier with the number n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Those of which a bit is set, as far as this version knows them.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Carrier::ALL
            .into_iter()
            .filter(|carrier| bits & 1 << carrier.code() != 0)
            .collect()
    }

    /// Whether `carrier` is among them.
    #[must_use]
    pub const fn contains(self, carrier: Carrier) -> bool {
        self.0 & 1 << carrier.code() != 0
    }
}

impl FromIterator<Carrier> for Carriers {
    fn from_iter<I: IntoIterator<Item = Carrier>>(carriers: I) -> Self {
        Self(carriers.into_iter().fold(0, |set, c| set | 1 << c.code()))
    }
}

impl std::fmt::Display for Carriers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Carrier::ALL.into_iter().filter(|c| self.contains(*c));
        let names: Vec<&str> = names.map(Carrier::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// The congestion controller of a carrier that has one of its own: of the edge's direction.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC (RFC 9438)
    Cubic,
    /// BBR: the kernel's for tcp, quinn's experimental one for the QUIC carriers
    Bbr,
}

impl Congestion {
    /// Its name, as on the command line and in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_command_line_and_the_control_protocol() {
        for (code, carrier) in (0..).zip(Carrier::ALL) {
            assert_eq!(carrier.code(), code);
            assert_eq!(Carrier::from_code(code), Some(carrier));
            assert_eq!(Carrier::from_str(carrier.name(), false), Ok(carrier));
        }
        assert_eq!(Carrier::from_code(4), None);
        for congestion in [Congestion::Cubic, Congestion::Bbr] {
            assert_eq!(
                Congestion::from_str(congestion.name(), false),
                Ok(congestion)
            );
        }
    }

    #[test]
    fn a_set_knows_its_own() {
        let some: Carriers = [Carrier::Tcp, Carrier::Udp, Carrier::Tcp]
            .into_iter()
            .collect();
        assert!(some.contains(Carrier::Tcp) && some.contains(Carrier::Udp));
        assert!(!some.contains(Carrier::QuicStream));
        assert_eq!(some.to_string(), "udp, tcp");
        assert_eq!(Carriers::from_bits(some.bits() | 1 << 31), some);
        assert_eq!(
            Carrier::ALL.into_iter().collect::<Carriers>(),
            Carriers::ALL
        );
    }
}

//! One UDP port for QUIC and TSP, told apart datagram by datagram by their first two bits
//! (wire-format.md, section 2.4.2).
//!
//! The driver of the data path reads the socket. TSP stays with it; QUIC goes into a bounded queue, from which
//! quinn takes it; what is neither is counted. Both send by themselves.

mod initials;
mod queue;
mod quic_socket;

pub(crate) use queue::Queue;
pub(crate) use quic_socket::QuicSocket;

/// What became of datagrams on a port that were not TSP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortStats {
    /// Datagrams handed to QUIC.
    pub quic: u64,
    /// Datagrams for QUIC that were dropped: its queue was full, they were longer than any of QUIC's, or
    /// more new connections were asked for than are looked at.
    pub quic_dropped: u64,
    /// Datagrams that were neither TSP nor QUIC.
    pub strays: u64,
}

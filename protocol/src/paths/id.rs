//! The name of a path.

/// The name that the caller gives to an address of the peer: a host and a port.
///
/// A session does not know addresses. It compares paths, says for each datagram on which to send it, and
/// keeps what it knows of delay and rate where only the port differs, as after the rebinding of a NAT.
/// The default names the only path of a caller that tells none apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PathId(u64);

impl PathId {
    /// The path to a port of the host that the caller has numbered `host`, of which the low 48 bits count.
    /// An IPv4 address fits; for others, keep a list.
    #[must_use]
    pub const fn new(host: u64, port: u16) -> Self {
        Self(host << 16 | port as u64)
    }

    /// The number of the host.
    #[must_use]
    pub const fn host(self) -> u64 {
        self.0 >> 16
    }

    /// The port.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are meant")]
    pub const fn port(self) -> u16 {
        self.0 as u16
    }
}

//! The names that a session has for the addresses of its peer.

use std::net::{IpAddr, SocketAddr};

use tensorwire_protocol::PathId;

/// Hosts remembered: more than a peer moves between while one of them still counts.
const MOST: usize = 16;

/// The hosts that a session's accepted datagrams came from, and their numbers, from 1.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Each with an address of it, whose port says nothing; the newest last.
    hosts: Vec<(u64, SocketAddr)>,
    /// Hosts numbered so far.
    numbered: u64,
}

/// Whether two addresses are of one host: for link-local ones the interface counts too.
fn same_host(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    let ip = |address: SocketAddr| -> IpAddr { address.ip().to_canonical() };
    ip(one) == ip(other) && scope(one) == scope(other)
}

impl Addresses {
    /// The path to an address. That of a host not seen before is numbered, but not remembered: its
    /// datagram may be a forgery.
    pub(super) fn path(&self, address: SocketAddr) -> PathId {
        let mut hosts = self.hosts.iter();
        let known = hosts.find(|(_, host)| same_host(*host, address));
        let host = known.map_or(self.numbered + 1, |(number, _)| *number);
        PathId::new(host, address.port())
    }

    /// Remembers the host of an address, and forgets the oldest other than that of `current`.
    pub(super) fn remember(&mut self, address: SocketAddr, current: PathId) {
        if self.hosts.iter().any(|(_, host)| same_host(*host, address)) {
            return;
        }
        if self.hosts.len() == MOST {
            let oldest = self
                .hosts
                .iter()
                .position(|(number, _)| *number != current.host());
            self.hosts.remove(oldest.unwrap_or(0));
        }
        self.numbered += 1;
        self.hosts.push((self.numbered, address));
    }

    /// The address that a path leads to; none if its host was forgotten.
    pub(super) fn address(&self, path: PathId) -> Option<SocketAddr> {
        let mut hosts = self.hosts.iter();
        let (_, host) = hosts.find(|(number, _)| *number == path.host())?;
        let mut address = *host;
        address.set_port(path.port());
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, number], port).into()
    }

    #[test]
    fn a_path_leads_back_to_its_address() {
        let mut addresses = Addresses::default();
        let other: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
        for address in [host(1, 5), host(1, 6), other, host(2, 5)] {
            let path = addresses.path(address);
            assert_ne!(path, PathId::default());
            addresses.remember(address, path);
            assert_eq!(addresses.path(address), path);
            assert_eq!(addresses.address(path), Some(address));
        }
        let (five, six) = (addresses.path(host(1, 5)), addresses.path(host(1, 6)));
        assert_eq!(five.host(), six.host());
        assert_ne!(five, six);
        assert_ne!(five.host(), addresses.path(host(2, 5)).host());
    }

    #[test]
    fn what_is_not_accepted_is_not_remembered() {
        let mut addresses = Addresses::default();
        let path = addresses.path(host(1, 1));
        addresses.remember(host(1, 1), path);
        for forged in 2..200 {
            let path = addresses.path(host(forged, 1));
            assert_eq!(addresses.address(path), None);
        }
        assert_eq!(addresses.address(path), Some(host(1, 1)));
    }

    #[test]
    fn the_host_in_use_is_never_forgotten() {
        let mut addresses = Addresses::default();
        let current = addresses.path(host(1, 1));
        for number in 1..200 {
            addresses.remember(host(number, 1), current);
            assert!(addresses.hosts.len() <= MOST);
        }
        assert_eq!(addresses.address(current), Some(host(1, 1)));
        let newest = addresses.path(host(199, 1));
        assert_eq!(addresses.address(newest), Some(host(199, 1)));
    }
}

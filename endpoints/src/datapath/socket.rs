//! The UDP socket of a data path: several datagrams a system call, with their ECN codepoints.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use tensorwire_protocol::wire::Ecn;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::MAX_UDP;

/// Buffers that one system call fills; each may hold many datagrams that the system has joined (GRO).
const RECEIVES: usize = 8;

/// A UDP socket that does not fragment, and tells and sets ECN codepoints.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Whether one call may send several datagrams.
    gso: bool,
}

/// Where received datagrams lie until the next call.
pub(super) struct Room {
    bytes: Vec<u8>,
    metas: [RecvMeta; RECEIVES],
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVES * MAX_UDP],
            metas: [RecvMeta::default(); RECEIVES],
        }
    }

    /// The datagrams in the first `buffers` buffers, joined ones apart again, with their senders and
    /// ECN codepoints.
    pub(super) fn datagrams(
        &self,
        buffers: usize,
    ) -> impl Iterator<Item = (&[u8], SocketAddr, Ecn)> {
        let filled = self.bytes.chunks(MAX_UDP).zip(&self.metas).take(buffers);
        filled.flat_map(|(bytes, meta)| {
            let bytes = bytes.get(..meta.len).unwrap_or_default();
            let ecn = from_codepoint(meta.ecn);
            // An empty datagram has no stride, and says nothing.
            let datagrams = bytes.chunks(meta.stride.max(1));
            datagrams.map(move |datagram| (datagram, meta.addr, ecn))
        })
    }
}

impl Socket {
    /// Binds `address`. With `gso`, datagrams that are due at once go out in one call, cut apart by the
    /// system or the network card (generic segmentation offload).
    pub(super) async fn bind(address: SocketAddr, gso: bool) -> io::Result<Self> {
        let io = UdpSocket::bind(address).await?;
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state, gso })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Datagrams that one call may send, at least 1: fewer once the system has refused several.
    pub(super) fn segments(&self) -> usize {
        if self.gso {
            self.state.max_gso_segments()
        } else {
            1
        }
    }

    /// Waits for datagrams; says how many buffers of `room` they fill. Cancelling it loses none.
    pub(super) async fn receive(&self, room: &mut Room) -> io::Result<usize> {
        self.io
            .async_io(Interest::READABLE, || self.fill(room))
            .await
    }

    /// The datagrams that have arrived by now; an error if there are none.
    pub(super) fn try_receive(&self, room: &mut Room) -> io::Result<usize> {
        self.io.try_io(Interest::READABLE, || self.fill(room))
    }

    fn fill(&self, room: &mut Room) -> io::Result<usize> {
        let mut parts = room.bytes.chunks_mut(MAX_UDP);
        let mut slices: [_; RECEIVES] =
            std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        self.state
            .recv((&self.io).into(), &mut slices, &mut room.metas)
    }

    /// Waits until there may be room for datagrams to send.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Sends the datagrams in `contents`, each of `segment` bytes but the last, which may be shorter.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room for them; [`writable`](Self::writable)
    /// tells when there may be.
    pub(super) fn try_send(
        &self,
        contents: &[u8],
        segment: usize,
        peer: SocketAddr,
        ecn: Ecn,
    ) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: peer,
            ecn: codepoint(ecn),
            contents,
            segment_size: (segment < contents.len()).then_some(segment),
            src_ip: None,
        };
        let send = || self.state.try_send((&self.io).into(), &transmit);
        match send() {
            // Once more, so that the runtime learns of it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.io.try_io(Interest::WRITABLE, send)
            }
            sent => sent,
        }
    }
}

const fn codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::NotEct => None,
        Ecn::Ect1 => Some(EcnCodepoint::Ect1),
        Ecn::Ect0 => Some(EcnCodepoint::Ect0),
        Ecn::Ce => Some(EcnCodepoint::Ce),
    }
}

const fn from_codepoint(ecn: Option<EcnCodepoint>) -> Ecn {
    match ecn {
        None => Ecn::NotEct,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    }
}

/// Datagrams of one size that are to leave in one call.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    segment: usize,
    ecn: Ecn,
    count: usize,
}

impl Batch {
    /// Adds a datagram, unless it has to leave in another call: the batch ends with the first that is
    /// shorter, and holds at most `most`.
    pub(super) fn add(&mut self, datagram: &[u8], ecn: Ecn, most: usize) -> bool {
        if self.count == 0 {
            (self.segment, self.ecn) = (datagram.len(), ecn);
        }
        let closed = self.bytes.len() < self.segment * self.count;
        let fits = self.count < most.max(1)
            && !closed
            && ecn == self.ecn
            && datagram.len() <= self.segment
            // The length of the whole is that of one UDP datagram, header aside.
            && self.bytes.len() + datagram.len() <= MAX_UDP - 28;
        if fits || self.count == 0 {
            self.bytes.extend_from_slice(datagram);
            self.count += 1;
            return true;
        }
        false
    }

    /// Sends what it holds, and is empty then; how many datagrams could not be sent. None if the socket is
    /// full: then it holds them still.
    pub(super) fn try_flush(&mut self, socket: &Socket, peer: SocketAddr) -> Option<u64> {
        if self.count == 0 {
            return Some(0);
        }
        let failed = match socket.try_send(&self.bytes, self.segment, peer, self.ecn) {
            Ok(()) => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => self.count as u64,
        };
        self.bytes.clear();
        self.count = 0;
        Some(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    async fn received(socket: &Socket, count: usize) -> Vec<(Vec<u8>, Ecn)> {
        let mut room = Room::new();
        let mut all = Vec::new();
        while all.len() < count {
            let buffers = socket.receive(&mut room).await.unwrap();
            all.extend(room.datagrams(buffers).map(|(d, _, ecn)| (d.to_vec(), ecn)));
        }
        all
    }

    #[tokio::test]
    async fn every_codepoint_arrives_as_it_was_sent() {
        let [from, to] = [
            Socket::bind(local(), false).await.unwrap(),
            Socket::bind(local(), false).await.unwrap(),
        ];
        let peer = to.local_addr().unwrap();
        let codepoints = [Ecn::Ect0, Ecn::NotEct, Ecn::Ce, Ecn::Ect1];
        for (i, ecn) in (0_u8..).zip(codepoints) {
            from.try_send(&[i; 20], 20, peer, ecn).unwrap();
        }
        let expected = (0_u8..).zip(codepoints).map(|(i, e)| (vec![i; 20], e));
        assert_eq!(received(&to, 4).await, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_batch_arrives_as_the_datagrams_it_was_made_of() {
        let [from, to] = [
            Socket::bind(local(), true).await.unwrap(),
            Socket::bind(local(), false).await.unwrap(),
        ];
        let peer = to.local_addr().unwrap();
        let datagrams: Vec<Vec<u8>> = (0_u8..20)
            .map(|i| vec![i; if i % 7 == 6 { 300 } else { 1_000 }])
            .collect();
        let (mut batch, mut calls) = (Batch::default(), 0);
        for datagram in &datagrams {
            if !batch.add(datagram, Ecn::Ect0, from.segments()) {
                assert_eq!(batch.try_flush(&from, peer), Some(0));
                calls += 1;
                assert!(batch.add(datagram, Ecn::Ect0, from.segments()));
            }
        }
        assert_eq!(batch.try_flush(&from, peer), Some(0));
        assert_eq!(batch.try_flush(&from, peer), Some(0), "it is empty");
        if from.segments() >= 7 {
            assert_eq!(calls, 2, "each short datagram ends a batch of seven");
        }
        let expected = datagrams.into_iter().map(|d| (d, Ecn::Ect0));
        assert_eq!(received(&to, 20).await, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_is_of_one_size_and_codepoint() {
        let mut batch = Batch::default();
        assert!(batch.add(&[0; 100], Ecn::Ect0, 9));
        assert!(!batch.add(&[0; 101], Ecn::Ect0, 9), "longer");
        assert!(!batch.add(&[0; 100], Ecn::NotEct, 9), "another codepoint");
        assert!(batch.add(&[0; 99], Ecn::Ect0, 9));
        assert!(!batch.add(&[0; 99], Ecn::Ect0, 9), "after the short one");
        let mut batch = Batch::default();
        assert!(batch.add(&[0; 60_000], Ecn::NotEct, 9));
        assert!(!batch.add(&[0; 6_000], Ecn::NotEct, 9), "too long together");
        let mut batch = Batch::default();
        assert!(batch.add(&[0; 65_000], Ecn::NotEct, 1));
        assert!(!batch.add(&[0; 1], Ecn::NotEct, 1));
    }
}

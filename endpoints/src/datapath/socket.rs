//! The UDP socket of a data path: several datagrams a system call, with their ECN codepoints. QUIC may
//! share it ([`port`](crate::port)).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use tensorwire_protocol::wire::{self, Ecn, Form};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::MAX_UDP;
use crate::port::{PortStats, Queue};

/// Buffers that one system call fills; each may hold many datagrams that the system has joined (GRO).
pub(super) const RECEIVES: usize = 8;
/// Bytes that may wait in the system, where it grants them: what a thousand sessions of 3 Mbit/s bring
/// while this program does not run for 10 ms.
const WAITING: usize = 4 << 20;

/// A UDP socket that does not fragment, and tells and sets ECN codepoints.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Whether one call may send several datagrams.
    gso: bool,
    /// Bytes that may wait in the system.
    granted: usize,
    /// Received datagrams that are QUIC's.
    quic: Queue,
    /// Received datagrams that are neither TSP nor QUIC.
    strays: AtomicU64,
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
}

impl Socket {
    /// Binds `address`. With `gso`, datagrams that are due at once go out in one call, cut apart by the
    /// system or the network card (generic segmentation offload).
    pub(super) async fn bind(address: SocketAddr, gso: bool) -> io::Result<Self> {
        let io = UdpSocket::bind(address).await?;
        let state = UdpSocketState::new((&io).into())?;
        let granted = {
            let system = socket2::SockRef::from(&io);
            // Whatever it grants is worked with, and can be asked for.
            let _ = system.set_recv_buffer_size(WAITING);
            let tells = system.recv_buffer_size().unwrap_or(0);
            // Linux counts what it needs itself as well: twice what was asked for.
            if cfg!(target_os = "linux") {
                tells / 2
            } else {
                tells
            }
        };
        Ok(Self {
            io,
            state,
            gso,
            granted,
            quic: Queue::new(),
            strays: AtomicU64::new(0),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// How many bytes may wait in the system, and how many were asked for.
    pub(super) const fn waiting(&self) -> (usize, usize) {
        (self.granted, WAITING)
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
        // The system is asked, whatever the runtime has heard of it: that may be from before a pause, in
        // which more came.
        self.fill(room)
    }

    /// The TSP datagrams in the first `buffers` buffers of `room`, joined ones apart again, with their
    /// senders and ECN codepoints. QUIC's are handed to QUIC meanwhile, and what is neither is counted.
    pub(super) fn datagrams<'a>(
        &self,
        room: &'a Room,
        buffers: usize,
    ) -> impl Iterator<Item = (&'a [u8], SocketAddr, Ecn)> {
        let filled = room.bytes.chunks(MAX_UDP).zip(&room.metas).take(buffers);
        filled.flat_map(move |(bytes, meta)| {
            let bytes = bytes.get(..meta.len).unwrap_or_default();
            let datagrams = wire::datagrams(bytes, meta.stride);
            datagrams.filter_map(move |(form, datagram)| match form {
                Form::Tsp => Some((datagram, meta.addr, from_codepoint(meta.ecn))),
                Form::Quic => {
                    self.quic.push(datagram, meta);
                    None
                }
                Form::Neither => {
                    self.strays.fetch_add(1, Ordering::Relaxed);
                    None
                }
            })
        })
    }

    /// Datagrams that wait for QUIC.
    pub(crate) const fn quic(&self) -> &Queue {
        &self.quic
    }

    /// What became of datagrams that were not TSP.
    pub(super) fn port_stats(&self) -> PortStats {
        let (quic, quic_dropped) = self.quic.counts();
        PortStats {
            quic,
            quic_dropped,
            strays: self.strays.load(Ordering::Relaxed),
        }
    }

    /// Sends QUIC datagrams. What the system refuses is lost, as on the way: QUIC sends it again.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room for them.
    pub(crate) fn try_send_quic(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        let send = || self.state.send((&self.io).into(), transmit);
        self.io.try_io(Interest::WRITABLE, send)
    }

    /// Datagrams that one call could send, whether or not it may.
    pub(crate) fn most_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Whether the system might send a datagram in pieces.
    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Waits until there may be room for datagrams to send.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    fn fill(&self, room: &mut Room) -> io::Result<usize> {
        let mut parts = room.bytes.chunks_mut(MAX_UDP);
        let mut slices: [_; RECEIVES] =
            std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        self.state
            .recv((&self.io).into(), &mut slices, &mut room.metas)
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
    use proptest::prelude::*;

    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    async fn received(socket: &Socket, count: usize) -> Vec<(Vec<u8>, Ecn)> {
        let mut room = Room::new();
        let mut all = Vec::new();
        while all.len() < count {
            let buffers = socket.receive(&mut room).await.unwrap();
            let datagrams = socket.datagrams(&room, buffers);
            all.extend(datagrams.map(|(d, _, ecn)| (d.to_vec(), ecn)));
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
            from.try_send(&[0x90 | i; 20], 20, peer, ecn).unwrap();
        }
        let expected = (0_u8..)
            .zip(codepoints)
            .map(|(i, e)| (vec![0x90 | i; 20], e));
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
            .map(|i| vec![0x80 | i; if i % 7 == 6 { 300 } else { 1_000 }])
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

    /// Everything that waits for QUIC.
    fn quic(socket: &Socket) -> Vec<(Vec<u8>, RecvMeta)> {
        let mut all = Vec::new();
        while let Some(datagram) = socket.quic().take_one() {
            all.push(datagram);
        }
        all
    }

    /// Datagrams of one buffer: all of one size, but the last may be shorter; each of any form.
    fn buffer() -> impl Strategy<Value = (Vec<Vec<u8>>, u16)> {
        let firsts = prop::collection::vec(any::<u8>(), 1..12);
        (firsts, 2_usize..600, 0_usize..600, any::<u16>()).prop_map(|(firsts, size, last, port)| {
            let count = firsts.len();
            let datagrams = (1..).zip(firsts).map(|(i, first)| {
                let size = if usize::from(i) == count {
                    last % size + 1
                } else {
                    size
                };
                // Not what asks for a connection: of that, only so many are let through.
                let first = if first >= 0xC0 { first & 0x7F } else { first };
                let mut datagram = vec![i; size];
                datagram[0] = first;
                datagram
            });
            (datagrams.collect(), port)
        })
    }

    proptest! {
        #[test]
        fn any_mix_of_datagrams_goes_where_it_belongs(
            buffers in prop::collection::vec(buffer(), 0..RECEIVES),
            ecn in prop::sample::select(vec![Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce]),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _entered = runtime.enter();
            let socket = runtime.block_on(Socket::bind(local(), false)).unwrap();
            let mut room = Room::new();
            let rooms = room.bytes.chunks_mut(MAX_UDP).zip(&mut room.metas);
            for ((datagrams, port), (bytes, meta)) in buffers.iter().zip(rooms) {
                let joined = datagrams.concat();
                bytes[..joined.len()].copy_from_slice(&joined);
                *meta = RecvMeta {
                    addr: ([192, 0, 2, 1], *port).into(),
                    len: joined.len(),
                    stride: datagrams[0].len(),
                    ecn: codepoint(ecn),
                    dst_ip: Some([198, 51, 100, 2].into()),
                };
            }
            let tsp: Vec<_> = (socket.datagrams(&room, buffers.len()))
                .map(|(datagram, from, ecn)| (datagram.to_vec(), from.port(), ecn))
                .collect();
            let quic: Vec<_> = (quic(&socket).into_iter())
                .map(|(datagram, meta)| {
                    assert_eq!(meta.dst_ip, Some([198, 51, 100, 2].into()));
                    (datagram, meta.addr.port(), from_codepoint(meta.ecn))
                })
                .collect();
            let all = |form: Form| {
                let all = buffers.iter().flat_map(|(datagrams, port)| {
                    datagrams.iter().map(|datagram| (datagram.clone(), *port, ecn))
                });
                all.filter(move |(datagram, ..)| Form::of(datagram) == form).collect::<Vec<_>>()
            };
            prop_assert_eq!(tsp, all(Form::Tsp));
            prop_assert_eq!(&quic, &all(Form::Quic));
            let stats = socket.port_stats();
            prop_assert_eq!(stats.quic, quic.len() as u64);
            prop_assert_eq!(stats.quic_dropped, 0);
            prop_assert_eq!(stats.strays, all(Form::Neither).len() as u64);
        }
    }

    #[tokio::test]
    async fn what_the_system_joins_is_told_apart() {
        let [from, to] = [
            Socket::bind(local(), true).await.unwrap(),
            Socket::bind(local(), false).await.unwrap(),
        ];
        let peer = to.local_addr().unwrap();
        let mut batch = Batch::default();
        for i in 0..30_u8 {
            let first = [0x90, 0x40, 0x00][usize::from(i) % 3];
            let mut datagram = [i; 500];
            datagram[0] = first | i;
            if !batch.add(&datagram, Ecn::Ect1, from.segments()) {
                assert_eq!(batch.try_flush(&from, peer), Some(0));
                assert!(batch.add(&datagram, Ecn::Ect1, from.segments()));
            }
        }
        assert_eq!(batch.try_flush(&from, peer), Some(0));
        let tsp = received(&to, 10).await;
        let expected: Vec<u8> = (0..30).step_by(3).collect();
        assert_eq!(tsp.iter().map(|(d, _)| d[1]).collect::<Vec<_>>(), expected);
        // The last TSP datagram is followed by two others, which may come by themselves.
        while to.port_stats().strays < 10 {
            let mut room = Room::new();
            let buffers = to.receive(&mut room).await.unwrap();
            assert_eq!(to.datagrams(&room, buffers).count(), 0);
        }
        let quic = quic(&to);
        assert_eq!(quic.len(), 10);
        for (i, (datagram, meta)) in (0..30_u8).skip(1).step_by(3).zip(&quic) {
            assert_eq!((datagram[1], datagram.len()), (i, 500));
            assert_eq!(meta.addr.port(), from.local_addr().unwrap().port());
            assert_eq!(from_codepoint(meta.ecn), Ecn::Ect1);
        }
    }
}

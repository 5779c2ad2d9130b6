//! Datagrams that wait for QUIC.

use std::collections::VecDeque;
use std::io::{IoSliceMut, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use quinn_udp::RecvMeta;

use super::initials::{Initials, asks};
use crate::quic::MAX_DATAGRAM;

/// Bytes that may wait.
const MOST_BYTES: usize = 1 << 20;
/// Datagrams that may wait: short ones take memory, too.
const MOST: usize = 4_096;

/// Datagrams that wait for QUIC, oldest first: at most 1 MiB of them, and 4,096. When it is full, new ones
/// are dropped, as by a socket. Memory is taken when it is needed, and kept: 2.5 MiB at most.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    queued: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    /// The datagrams, one after another.
    bytes: VecDeque<u8>,
    metas: VecDeque<RecvMeta>,
    initials: Initials,
    /// Who takes them, if it has found nothing.
    taker: Option<Waker>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                bytes: VecDeque::new(),
                metas: VecDeque::new(),
                initials: Initials::new(Instant::now()),
                taker: None,
            }),
            queued: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Datagrams that were put in, and those that were dropped instead.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let [queued, dropped] = [&self.queued, &self.dropped].map(|n| n.load(Ordering::Relaxed));
        (queued, dropped)
    }

    /// Puts a datagram in, or drops it. `meta` says where it is from; its lengths do not matter.
    pub(crate) fn push(&self, datagram: &[u8], meta: &RecvMeta) {
        let mut waiting = self.lock();
        if !waiting.takes(datagram) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend(datagram);
        waiting.metas.push_back(RecvMeta {
            len: datagram.len(),
            stride: datagram.len(),
            ..*meta
        });
        let taker = waiting.taker.take();
        drop(waiting);
        self.queued.fetch_add(1, Ordering::Relaxed);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// The oldest datagram.
    #[cfg(test)]
    pub(crate) fn take_one(&self) -> Option<(Vec<u8>, RecvMeta)> {
        let mut room = vec![0; usize::from(MAX_DATAGRAM)];
        let meta = self.lock().take(&mut room)?;
        room.truncate(meta.len);
        Some((room, meta))
    }

    /// Fills buffers with a datagram each, and says how many. Where there is none, the task is woken when
    /// there is.
    pub(super) fn poll_take(
        &self,
        context: &Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut waiting = self.lock();
        let mut taken = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(next) = waiting.take(buffer) else {
                break;
            };
            *meta = next;
            taken += 1;
        }
        if taken > 0 {
            return Poll::Ready(taken);
        }
        match &mut waiting.taker {
            Some(taker) => taker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Waiting {
    /// Whether there is room for a datagram that QUIC wants to see.
    fn takes(&mut self, datagram: &[u8]) -> bool {
        self.metas.len() < MOST
            && self.bytes.len() + datagram.len() <= MOST_BYTES
            && datagram.len() <= usize::from(MAX_DATAGRAM)
            && (!asks(datagram) || self.initials.admit(Instant::now()))
    }

    /// The oldest datagram, cut off where the buffer ends: then QUIC cannot read it.
    fn take(&mut self, buffer: &mut [u8]) -> Option<RecvMeta> {
        let meta = self.metas.pop_front()?;
        let len = meta.len.min(buffer.len());
        let filled = buffer.get_mut(..len)?;
        self.bytes.read_exact(filled).ok()?;
        self.bytes.drain(..(meta.len - len).min(self.bytes.len()));
        Some(RecvMeta {
            len,
            stride: len,
            ..meta
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use quinn_udp::EcnCodepoint;

    use super::*;

    fn meta(port: u16) -> RecvMeta {
        RecvMeta {
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            ecn: Some(EcnCodepoint::Ect0),
            dst_ip: Some([198, 51, 100, 7].into()),
            ..RecvMeta::default()
        }
    }

    /// Everything that waits, as QUIC gets it.
    fn take_all(queue: &Queue) -> Vec<(Vec<u8>, RecvMeta)> {
        let mut all = Vec::new();
        loop {
            let mut rooms = [[0; MAX_DATAGRAM as usize]; 32];
            let mut buffers = rooms.each_mut().map(|room| IoSliceMut::new(room));
            let mut metas = [RecvMeta::default(); 32];
            let context = Context::from_waker(Waker::noop());
            let Poll::Ready(taken) = queue.poll_take(&context, &mut buffers, &mut metas) else {
                return all;
            };
            for (buffer, meta) in buffers.iter().zip(&metas).take(taken) {
                all.push((buffer[..meta.len].to_vec(), *meta));
            }
        }
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_and_whose_they_are() {
        let queue = Queue::new();
        let datagrams: Vec<Vec<u8>> = (0..100_u8)
            .map(|i| vec![0x40 | i; 1 + 13 * usize::from(i)])
            .collect();
        for (port, datagram) in (1..).zip(&datagrams) {
            queue.push(datagram, &meta(port));
        }
        let taken = take_all(&queue);
        assert_eq!(taken.len(), 100);
        for ((port, sent), (datagram, meta)) in (1..).zip(&datagrams).zip(&taken) {
            assert_eq!(datagram, sent);
            assert_eq!((meta.addr.port(), meta.stride), (port, sent.len()));
            assert_eq!(meta.ecn, Some(EcnCodepoint::Ect0));
            assert_eq!(meta.dst_ip, Some([198, 51, 100, 7].into()));
        }
        assert_eq!(queue.counts(), (100, 0));
    }

    #[test]
    fn a_flood_is_bounded_in_bytes_and_in_number_and_counted() {
        for (length, most) in [(1_200, MOST_BYTES / 1_200), (1, MOST)] {
            let queue = Queue::new();
            for _ in 0..100_000 {
                queue.push(&vec![0x55; length], &meta(1));
            }
            let (queued, dropped) = queue.counts();
            assert_eq!(queued, most as u64);
            assert_eq!(queued + dropped, 100_000);
            {
                let waiting = queue.lock();
                assert!(waiting.bytes.capacity() <= 2 * MOST_BYTES);
                assert!(waiting.metas.capacity() <= 2 * MOST);
            }
            assert_eq!(take_all(&queue).len(), most);
            queue.push(&[0x55; 30], &meta(1));
            assert_eq!(take_all(&queue).len(), 1, "there is room again");
        }
    }

    #[test]
    fn a_flood_of_initials_leaves_room_for_connections() {
        let queue = Queue::new();
        let mut initial = vec![0; 1_200];
        initial[..5].copy_from_slice(&[0xC0, 0, 0, 0, 1]);
        for _ in 0..900 {
            queue.push(&initial, &meta(1));
        }
        drop(take_all(&queue));
        for _ in 0..20_000 {
            queue.push(&initial, &meta(1));
        }
        let (_, dropped) = queue.counts();
        assert!(dropped > 0);
        queue.push(&[0x55; 1_200], &meta(2));
        let last = take_all(&queue).pop();
        assert_eq!(last.map(|(_, meta)| meta.addr.port()), Some(2));
    }

    #[test]
    fn what_is_longer_than_any_datagram_of_quic_is_dropped() {
        let queue = Queue::new();
        queue.push(&[0x40; MAX_DATAGRAM as usize + 1], &meta(1));
        queue.push(&[0x41; MAX_DATAGRAM as usize], &meta(1));
        assert_eq!(queue.counts(), (1, 1));
        let mut short = [0; 20];
        let taken = queue.lock().take(&mut short);
        assert_eq!(taken.map(|meta| meta.len), Some(20), "cut off");
        assert!(queue.lock().bytes.is_empty());
    }
}

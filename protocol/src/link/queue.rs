//! The bottleneck of a link: a rate, and the queue before it.

use std::collections::VecDeque;
use std::time::Duration;

use super::codel::{CoDel, CoDelState, Verdict};
use crate::time::Time;
use crate::wire::Ecn;

/// A packet that waits, or is being sent.
#[derive(Debug)]
pub(super) struct Waiting<P> {
    pub(super) packet: P,
    /// Bytes that it takes.
    pub(super) size: usize,
    pub(super) ecn: Ecn,
    /// Whether it is lost behind the bottleneck.
    pub(super) lost: bool,
    pub(super) entered: Time,
}

/// A FIFO with a bound in bytes, a rate behind it and perhaps CoDel on it.
#[derive(Debug)]
pub(super) struct Bottleneck<P> {
    rate: u64,
    most: usize,
    codel: Option<CoDelState>,
    waiting: VecDeque<Waiting<P>>,
    /// Bytes that wait.
    bytes: usize,
    /// The packet that is being sent, and when it has been.
    serving: Option<(Time, Waiting<P>)>,
}

impl<P> Bottleneck<P> {
    pub(super) fn new(rate: u64, most: usize, codel: Option<CoDel>) -> Self {
        Self {
            rate: rate.max(1),
            most,
            codel: codel.map(CoDelState::new),
            waiting: VecDeque::new(),
            bytes: 0,
            serving: None,
        }
    }

    /// Bytes that wait at `now`, what is left of the packet that is being sent included.
    pub(super) fn backlog(&self, now: Time) -> usize {
        let serving = self.serving.as_ref().map_or(0, |(done, _)| {
            let bits = u128::from(self.rate) * (*done - now).as_micros() / 1_000_000;
            usize::try_from(bits / 8).unwrap_or(usize::MAX)
        });
        self.bytes.saturating_add(serving)
    }

    /// When the packet that is being sent has been.
    pub(super) fn next_departure(&self) -> Option<Time> {
        self.serving.as_ref().map(|(done, _)| *done)
    }

    /// Takes a packet; false where it does not fit. Everything due by `now` has been taken out before.
    pub(super) fn push(&mut self, now: Time, packet: Waiting<P>) -> bool {
        if self.backlog(now).saturating_add(packet.size) > self.most {
            return false;
        }
        self.bytes += packet.size;
        self.waiting.push_back(packet);
        if self.serving.is_none() {
            // Nothing waited, so CoDel drops nothing.
            self.serve(now);
        }
        true
    }

    /// The next packet that has left by `now`, and when.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Waiting<P>)> {
        if self.next_departure()? > now {
            return None;
        }
        let (done, packet) = self.serving.take()?;
        self.serve(done);
        Some((done, packet))
    }

    /// Packets that CoDel has marked and dropped since this was asked last.
    pub(super) fn take_managed(&mut self) -> (u64, u64) {
        self.codel.as_mut().map_or((0, 0), CoDelState::take_counts)
    }

    /// The rate changes at `now`; what waits is sent at the new one.
    pub(super) fn set_rate(&mut self, now: Time, rate: u64) {
        let rate = rate.max(1);
        if let Some((done, _)) = &mut self.serving {
            let left = (*done - now).as_micros() * u128::from(self.rate) / u128::from(rate);
            *done = now + Duration::from_micros(u64::try_from(left).unwrap_or(u64::MAX));
        }
        self.rate = rate;
    }

    /// Sends the next packet from `start` on.
    fn serve(&mut self, start: Time) {
        while let Some(mut packet) = self.waiting.pop_front() {
            self.bytes -= packet.size;
            if let Some(codel) = &mut self.codel {
                match codel.dequeue(start, start - packet.entered, self.bytes, packet.ecn) {
                    Verdict::Pass => {}
                    Verdict::Mark => packet.ecn = Ecn::Ce,
                    Verdict::Drop => continue,
                }
            }
            let micros = (packet.size as u64 * 8_000_000).div_ceil(self.rate);
            self.serving = Some((start + Duration::from_micros(micros), packet));
            return;
        }
    }
}

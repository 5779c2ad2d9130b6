//! What a session lets in: the checks of wire-format.md, section 2.6, in their order.

use super::Session;
use crate::event::EndReason;
use crate::paths::{PathId, Seen};
use crate::time::Time;
use crate::wire::{self, Ecn, Header, KEY_PHASE, MAX_DATAGRAM, Message, Refusal};

/// When and how an accepted datagram came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) now: Time,
    pub(super) from: PathId,
    pub(super) ecn: Ecn,
    pub(super) number: u64,
}

impl Session {
    /// Takes a datagram that arrived at `now`, its ECN codepoint not being known. Never fails: a bad one
    /// is counted and leaves no other trace.
    ///
    /// # Errors
    /// Why the datagram was refused, for logs: the refusal has been counted.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8]) -> Result<(), Refusal> {
        self.handle_marked(now, Ecn::NotEct, datagram)
    }

    /// Takes a datagram that arrived at `now` with the ECN codepoint `ecn` in its IP header, which the
    /// next reports tell the peer. It came from the path in use. In protected mode it is copied to be
    /// decrypted, which [`handle_from`](Self::handle_from) spares.
    ///
    /// # Errors
    /// As [`handle_datagram`](Self::handle_datagram).
    pub fn handle_marked(&mut self, now: Time, ecn: Ecn, datagram: &[u8]) -> Result<(), Refusal> {
        let from = self.paths.current();
        if !self.guard.is_protected() {
            let taken = self.take_plain(now, from, ecn, datagram);
            return self.taken(now, datagram.len(), taken);
        }
        let mut copy = std::mem::take(&mut self.scratch);
        copy.clear();
        // A longer one is refused for its length.
        copy.extend(datagram.iter().take(MAX_DATAGRAM + 1));
        let taken = self.take_sealed(now, from, ecn, &mut copy);
        self.scratch = copy;
        self.taken(now, datagram.len(), taken)
    }

    /// Takes a datagram that arrived at `now` from the path `from` with the ECN codepoint `ecn` in its IP
    /// header. In protected mode it is decrypted where it stands: its bytes are of no use afterwards.
    ///
    /// In protected mode the peer may move: a path that its newest datagram came from is probed, and is
    /// used once it has answered. In plain mode nothing proves who sent a datagram, and the first path
    /// that an accepted one came from stays in use.
    ///
    /// # Errors
    /// As [`handle_datagram`](Self::handle_datagram).
    pub fn handle_from(
        &mut self,
        now: Time,
        from: PathId,
        ecn: Ecn,
        datagram: &mut [u8],
    ) -> Result<(), Refusal> {
        let taken = if self.guard.is_protected() {
            self.take_sealed(now, from, ecn, datagram)
        } else {
            self.take_plain(now, from, ecn, datagram)
        };
        self.taken(now, datagram.len(), taken)
    }

    fn taken(
        &mut self,
        now: Time,
        bytes: usize,
        taken: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += bytes as u64;
        self.count_updates();
        if let Err(refusal) = taken {
            self.stats.refused.count(refusal);
            if self.guard.cannot_open() {
                self.end(now, EndReason::FailedOpenings);
            }
        }
        self.after_change(now);
        taken
    }

    fn take_plain(
        &mut self,
        now: Time,
        from: PathId,
        ecn: Ecn,
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let header = self.head(datagram)?;
        if !wire::crc_fits(datagram) {
            return Err(Refusal::Integrity);
        }
        let number = self.arrivals.check(header.packet_number)?;
        let body = wire::body(datagram, self.guard.trailer());
        let message = Message::decode(&header, body)?;
        self.paths.first(from);
        let arrival = Accepted {
            now,
            from,
            ecn,
            number,
        };
        self.take_message(&arrival, &header, body, message);
        Ok(())
    }

    /// The packet number is looked at before the tag: opening needs it, and a replay should cost nothing.
    fn take_sealed(
        &mut self,
        now: Time,
        from: PathId,
        ecn: Ecn,
        datagram: &mut [u8],
    ) -> Result<(), Refusal> {
        let mut header = self.head(datagram)?;
        let number = self.arrivals.check(header.packet_number)?;
        let phase = header.flags & KEY_PHASE != 0;
        let opened = self.guard.open(number, phase, datagram);
        let opened = opened.ok_or(Refusal::Integrity)?;
        header.flags &= !KEY_PHASE;
        let body = wire::body(datagram, self.guard.trailer());
        let message = Message::decode(&header, body)?;
        let oldest = self.arrivals.oldest_after(number);
        self.guard.accept(number, opened, oldest);
        let probing = matches!(
            message,
            Message::PathChallenge(_) | Message::PathResponse(_)
        );
        self.paths.seen(&Seen {
            now,
            from,
            size: datagram.len(),
            leads: number >= self.arrivals.end() && !probing,
            timeout: self.rtt.timeout(),
        });
        let arrival = Accepted {
            now,
            from,
            ecn,
            number,
        };
        self.take_message(&arrival, &header, body, message);
        Ok(())
    }

    fn head(&self, datagram: &[u8]) -> Result<Header, Refusal> {
        let connection = Some(self.config.local_connection);
        let header = wire::head(datagram, self.guard.trailer(), connection)?;
        if self.ending.is_some() {
            return Err(Refusal::Ended);
        }
        Ok(header)
    }

    pub(super) fn count_updates(&mut self) {
        [self.stats.key_updates, self.stats.peer_key_updates] = self.guard.updates();
    }
}

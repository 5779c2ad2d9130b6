//! What a session sends next.

use std::time::Duration;

use super::{PING_FIRST, PING_IDLE, Session};
use crate::paths::PathId;
use crate::recv::feedback::MAX_DELAY;
use crate::send::{Cargo, Newest, Outlook, SentPacket};
use crate::time::Time;
use crate::wire::{HEADER_LEN, Message, MessageType, Ping};

impl Session {
    /// Writes one datagram, header and body, and says where it goes: on another path than that in use only
    /// what validates it.
    pub(super) fn write_anywhere(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Option<(MessageType, Cargo, PathId)> {
        if self.ending.is_some() {
            let (kind, path) = self.write_close(now, out)?;
            return Some((kind, Cargo::Other, path));
        }
        if let Some((kind, path)) = self.write_path(now, out) {
            return Some((kind, Cargo::Other, path));
        }
        if !self.paths.allows(usize::from(self.config.mss)) {
            return None;
        }
        let (kind, cargo) = self.write(now, out)?;
        Some((kind, cargo, self.paths.current()))
    }

    /// Writes one datagram for the path in use: reports first, since they are small and others wait for them.
    fn write(&mut self, now: Time, out: &mut Vec<u8>) -> Option<(MessageType, Cargo)> {
        let (number, low) = (self.sent.next(), self.number());
        if self.feedback.due().is_some_and(|due| due <= now) {
            self.feedback
                .write(now, &self.arrivals, out, &self.config, low);
            self.last_timestamp = Some(now);
            return Some((MessageType::Feedback, Cargo::Other));
        }
        if self
            .results
            .write(now, self.rtt.timeout(), out, &self.config, number)
        {
            return Some((MessageType::Result, Cargo::Other));
        }
        if self.ping_due(now) <= now {
            return Some(self.write_ping(now, out, low));
        }
        let has_room = self.rate.has_room(now, self.sent.in_flight());
        let held = self.rate.next() > now || !has_room;
        if self.probes == 1 || self.probes > 1 && held {
            // What would leave later is of no train.
            self.probes = 0;
            return Some(self.write_ping(now, out, low));
        }
        if held {
            let waits = self.flight.waiting() > 0 || self.queue.waiting(0.0) > 0;
            self.rate.hold(has_room && waits);
            return None;
        }
        let one_way = self.one_way();
        let repair = self
            .flight
            .write(now, out, &self.config, low, one_way, &mut self.stats);
        if let Some((kind, cargo)) = repair {
            self.ask |= !matches!(cargo, Cargo::Repair { ahead: true, .. });
            return Some((kind, cargo));
        }
        let Some(written) = self.queue.write(out, &self.config, low) else {
            self.rate.hold(false);
            if self.probes > 1 {
                self.probes -= 1;
                return Some(self.write_padding(out, low));
            }
            // Nothing follows what was sent again, so nothing would tell that it was lost once more.
            return std::mem::take(&mut self.ask).then(|| self.write_ping(now, out, low));
        };
        (self.ask, self.probes) = (false, 0);
        let outlook = self.outlook();
        self.flight.sent(now, &written, out, outlook);
        let cargo = Cargo::Source {
            tensor: written.tensor,
            index: written.index,
        };
        Some((MessageType::Data, cargo))
    }

    /// The packet number of the next datagram as the wire carries it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the wire carries the low bits"
    )]
    pub(super) const fn number(&self) -> u32 {
        self.sent.next() as u32
    }

    /// Writes a full packet of nothing.
    fn write_padding(&self, out: &mut Vec<u8>, number: u32) -> (MessageType, Cargo) {
        let full = usize::from(self.config.mss);
        let padding = Message::Padding(full - HEADER_LEN - self.guard.trailer());
        padding.write(out, self.config.remote_connection, number);
        (MessageType::Padding, Cargo::Probe)
    }

    fn write_ping(&mut self, now: Time, out: &mut Vec<u8>, number: u32) -> (MessageType, Cargo) {
        let padding = Ping::DATAGRAM - HEADER_LEN - 4 - self.guard.trailer();
        let ping = Message::Ping(Ping {
            report_timestamp: now.wire(),
            padding,
        });
        ping.write(out, self.config.remote_connection, number);
        (self.last_ping, self.last_timestamp) = (Some(now), Some(now));
        (MessageType::Ping, Cargo::Other)
    }

    /// Finds out which packets were lost, from a report that tells of the packets from `begin` on and
    /// of `newest` last, and orders repairs.
    pub(super) fn detect_losses(&mut self, now: Time, begin: u64, newest: Option<Newest>) {
        let Self {
            sent,
            flight,
            losses,
            rate,
            silence,
            stats,
            detection,
            ..
        } = self;
        let overdue = |number: u64, packet: &SentPacket| {
            newest.is_some_and(|newest| silence.tells(now, &newest, number, packet.at))
        };
        sent.detect(begin, overdue, |packet| {
            stats.packets_lost += 1;
            flight.lost(packet.cargo);
            let took = now - packet.at;
            *detection = Some(detection.map_or(took, |mean| (mean * 7 + took) / 8));
        });
        sent.resolve(|lost| losses.add(lost));
        if let Some(time) = rate.settles(now) {
            sent.settle(time, |lost| rate.settled(now, lost));
        }
        let outlook = self.outlook();
        self.flight.repair(now, outlook);
    }

    /// Takes packets for lost of which no report has told: after one was asked for, or before, where a tensor
    /// would then be too late.
    pub(super) fn give_up_unreported(&mut self, now: Time) {
        if self.loss_due().is_none_or(|due| due > now) {
            return;
        }
        let (outlook, waits) = (self.outlook(), self.waits());
        let [timeout, patience] = waits;
        let patience = if self.flight.take_silent(now, outlook, waits) {
            timeout
        } else {
            patience
        };
        let Self {
            sent,
            flight,
            losses,
            stats,
            ..
        } = self;
        let unreported = |_, packet: &SentPacket| packet.at + patience <= now;
        sent.detect(u64::MAX, unreported, |packet| {
            stats.packets_lost += 1;
            flight.unreported(packet.cargo);
        });
        sent.resolve(|lost| losses.add(lost));
        let outlook = self.outlook();
        self.flight.repair(now, outlook);
    }

    /// When a report is overdue, so that a PING should ask for one; like the probe of RFC 9002, section
    /// 6.2, it asks before it takes anything for lost.
    fn probe_due(&self) -> Option<Time> {
        let due = self.oldest_waiting()? + self.rtt.timeout();
        let asked = self.last_ping.is_some_and(|ping| ping >= due);
        (!asked).then_some(due)
    }

    pub(super) fn loss_due(&self) -> Option<Time> {
        if !self.flight.is_waiting() {
            return None;
        }
        let [_, patience] = self.waits();
        let due = self.oldest_waiting()? + patience;
        let silent = self.flight.silent_from(self.outlook(), self.waits());
        Some(silent.map_or(due, |from| from.min(due)))
    }

    /// When the oldest packet was sent that news is waited for.
    fn oldest_waiting(&self) -> Option<Time> {
        let waits = self.flight.is_waiting() || self.rate.is_on() && self.sent.in_flight() > 0;
        waits.then(|| self.sent.oldest_unresolved()).flatten()
    }

    /// Time after which a report of a packet is overdue, and that after which the packet is taken for lost:
    /// the same and that for the answer to a PING.
    fn waits(&self) -> [Duration; 2] {
        let timeout = self.rtt.timeout();
        [timeout, timeout + self.rtt.longest().unwrap_or(timeout)]
    }

    fn one_way(&self) -> Option<Duration> {
        self.rtt.longest().map(|longest| longest / 2)
    }

    fn outlook(&self) -> Outlook {
        let longest = self.rtt.longest();
        Outlook {
            loss: self.losses.loss(),
            one_way: self.one_way(),
            // Before a loss has told: a round trip and the longest wait of a report.
            detection: longest.map(|longest| self.detection.unwrap_or(longest + MAX_DELAY)),
        }
    }

    pub(super) fn ping_due(&self, now: Time) -> Time {
        let Some(last) = self.last_ping else {
            return now;
        };
        if self.rate.is_silent() {
            return last + PING_FIRST;
        }
        if let Some(due) = self
            .oldest_waiting()
            .map(|oldest| oldest + self.rtt.timeout())
            && self.rate.is_on()
            && last >= due
        {
            // A report was asked for in vain.
            return last + PING_FIRST;
        }
        let idle = match (self.rtt.sampled(), self.last_timestamp) {
            (Some(sampled), Some(told)) => (sampled.min(told) + PING_IDLE).max(last + PING_IDLE),
            _ => last + PING_FIRST,
        };
        self.probe_due().map_or(idle, |probe| idle.min(probe))
    }
}

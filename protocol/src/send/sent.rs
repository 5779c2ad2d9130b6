//! Recent packets, and what became of them.

use std::collections::VecDeque;

use crate::time::Time;

/// Packets remembered: a second and more of any stream that is not far beyond its path.
const MOST: usize = 4_096;
/// A packet is lost once one sent so many later has arrived (RFC 9002, section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;

/// What a packet carried, where losing it calls for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cargo {
    /// Nothing that is sent again.
    Other,
    /// Nothing, for the sake of its size.
    Probe,
    /// A source packet of a tensor.
    Source { tensor: u64, index: u32 },
    /// A REPAIR packet of a block of a tensor, sent ahead or on demand.
    Repair {
        tensor: u64,
        block: u16,
        ahead: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Unknown,
    Received,
    Lost,
    /// Every report that covered it was lost.
    Unreported,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SentPacket {
    pub(crate) at: Time,
    pub(crate) cargo: Cargo,
    /// Bytes, IP and UDP headers included.
    pub(crate) size: usize,
    fate: Fate,
}

/// A packet of which a report has told for the first time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) number: u64,
    pub(crate) at: Time,
    pub(crate) cargo: Cargo,
    /// Bytes, IP and UDP headers included.
    pub(crate) size: usize,
    /// Whether it had been taken for lost.
    pub(crate) was_lost: bool,
}

/// The packet numbers of one direction, and the newest packets.
#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    next: u64,
    /// The packets before `next`.
    recent: VecDeque<SentPacket>,
    /// The first packet whose fate is not known.
    unresolved: u64,
    /// One more than the greatest number that was reported received.
    acknowledged: u64,
    /// Bytes of DATA and REPAIR packets of unknown fate.
    in_flight: usize,
    /// The first packet whose fate was not settled.
    unsettled: u64,
}

impl SentPackets {
    /// The number of the next packet.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of DATA and REPAIR packets that are on their way as far as is known, IP and UDP headers
    /// included.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A packet that was in flight is not any more.
    const fn land(&mut self, packet: &SentPacket) {
        if matches!(packet.fate, Fate::Unknown) && !matches!(packet.cargo, Cargo::Other) {
            self.in_flight = self.in_flight.saturating_sub(packet.size);
        }
    }

    /// A packet of `size` bytes was sent at `now`.
    pub(crate) fn push(&mut self, now: Time, cargo: Cargo, size: usize) {
        if self.recent.len() == MOST
            && let Some(oldest) = self.recent.front().copied()
        {
            self.land(&oldest);
            self.recent.pop_front();
        }
        if cargo != Cargo::Other {
            self.in_flight += size;
        }
        self.recent.push_back(SentPacket {
            at: now,
            cargo,
            size,
            fate: Fate::Unknown,
        });
        self.next += 1;
        self.unresolved = self.unresolved.max(self.oldest());
    }

    /// Marks `number` received; the packet if that is news and it is still known.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Option<Acknowledged> {
        let packet = *self.get(number)?;
        self.land(&packet);
        let before = packet.fate;
        self.get(number)?.fate = Fate::Received;
        self.acknowledged = self.acknowledged.max(number + 1);
        (before != Fate::Received).then_some(Acknowledged {
            number,
            at: packet.at,
            cargo: packet.cargo,
            size: packet.size,
            was_lost: before == Fate::Lost,
        })
    }

    /// When the packet with this number was sent, if it is still known.
    pub(crate) fn sent_at(&mut self, number: u64) -> Option<Time> {
        self.get(number).map(|packet| packet.at)
    }

    /// Declares packets lost that `is_lost` holds for, or that a later one has overtaken by three. A
    /// report that began at `begin` says nothing of those before.
    pub(crate) fn detect(
        &mut self,
        begin: u64,
        is_lost: impl Fn(u64, &SentPacket) -> bool,
        mut lost: impl FnMut(SentPacket),
    ) {
        let overtaken = self.acknowledged.saturating_sub(PACKET_THRESHOLD);
        for number in self.unresolved..self.next {
            let Some(packet) = self.get(number) else {
                continue;
            };
            if packet.fate != Fate::Unknown {
                continue;
            }
            if number >= overtaken && !is_lost(number, packet) {
                break;
            }
            let before = *packet;
            packet.fate = if number < begin {
                Fate::Unreported
            } else {
                Fate::Lost
            };
            self.land(&before);
            lost(before);
        }
    }

    /// Tells the fates of packets, each once and in order, up to the first that is not known.
    pub(crate) fn resolve(&mut self, mut fate: impl FnMut(bool)) {
        while let Some(packet) = self.get(self.unresolved) {
            match packet.fate {
                Fate::Unknown => return,
                Fate::Received => fate(false),
                Fate::Lost => fate(true),
                Fate::Unreported => {}
            }
            self.unresolved += 1;
        }
    }

    /// Tells the fates of DATA and REPAIR packets sent before `time` that at least three later ones have
    /// overtaken, each once and in order: what was taken for lost may have come by then.
    pub(crate) fn settle(&mut self, time: Time, mut fate: impl FnMut(bool)) {
        let overtaken = self.acknowledged.saturating_sub(PACKET_THRESHOLD);
        self.unsettled = self.unsettled.max(self.oldest());
        while self.unsettled < overtaken
            && let Some(packet) = self.get(self.unsettled)
            && packet.at < time
        {
            if packet.cargo != Cargo::Other && packet.fate != Fate::Unreported {
                fate(packet.fate != Fate::Received);
            }
            self.unsettled += 1;
        }
    }

    /// When the oldest packet of unknown fate that calls for something was sent.
    pub(crate) fn oldest_unresolved(&self) -> Option<Time> {
        let known = usize::try_from(self.unresolved - self.oldest()).ok()?;
        self.recent
            .iter()
            .skip(known)
            .find(|packet| packet.fate == Fate::Unknown && packet.cargo != Cargo::Other)
            .map(|packet| packet.at)
    }

    fn oldest(&self) -> u64 {
        self.next - self.recent.len() as u64
    }

    fn get(&mut self, number: u64) -> Option<&mut SentPacket> {
        let index = usize::try_from(number.checked_sub(self.oldest())?).ok()?;
        self.recent.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(packets: u64) -> SentPackets {
        let mut sent = SentPackets::default();
        for number in 0..packets {
            let cargo = Cargo::Source {
                tensor: 0,
                index: u32::try_from(number).unwrap(),
            };
            sent.push(Time::from_millis(number), cargo, 100);
        }
        sent
    }

    fn detect(sent: &mut SentPackets, begin: u64, overdue: u64) -> Vec<u64> {
        let mut lost = Vec::new();
        sent.detect(
            begin,
            |number, _| number < overdue,
            |packet| {
                lost.push(packet.at.as_micros() / 1000);
            },
        );
        lost
    }

    fn fates(sent: &mut SentPackets) -> Vec<bool> {
        let mut fates = Vec::new();
        sent.resolve(|lost| fates.push(lost));
        fates
    }

    #[test]
    fn an_acknowledgement_is_news_once() {
        let mut sent = sent(4);
        assert_eq!(
            sent.acknowledge(3).map(|p| p.at),
            Some(Time::from_millis(3))
        );
        assert!(sent.acknowledge(3).is_none());
        assert!(sent.acknowledge(4).is_none(), "never sent");
    }

    #[test]
    fn old_packets_are_forgotten() {
        let mut sent = sent(5_000);
        assert!(sent.acknowledge(903).is_none());
        assert!(sent.acknowledge(904).is_some());
    }

    #[test]
    fn a_packet_is_lost_when_one_three_later_has_arrived() {
        let mut sent = sent(10);
        sent.acknowledge(0);
        sent.acknowledge(5);
        assert_eq!(detect(&mut sent, 0, 0), [1, 2]);
        assert_eq!(detect(&mut sent, 0, 0), [0; 0], "told once");
        assert_eq!(fates(&mut sent), [false, true, true]);
    }

    #[test]
    fn a_packet_is_lost_when_it_is_overdue() {
        let mut sent = sent(10);
        sent.acknowledge(0);
        assert_eq!(detect(&mut sent, 0, 5), [1, 2, 3, 4]);
        assert_eq!(fates(&mut sent), [false, true, true, true, true]);
        assert_eq!(sent.oldest_unresolved(), Some(Time::from_millis(5)));
    }

    #[test]
    fn a_fate_is_settled_late_and_once() {
        let mut sent = SentPackets::default();
        for number in 0..10 {
            let (tensor, index) = (number, 0);
            sent.push(
                Time::from_millis(number),
                Cargo::Source { tensor, index },
                100,
            );
        }
        let settle = |sent: &mut SentPackets, millis| {
            let mut fates = Vec::new();
            sent.settle(Time::from_millis(millis), |lost| fates.push(lost));
            fates
        };
        for number in [0, 2, 8] {
            sent.acknowledge(number);
        }
        assert_eq!(detect(&mut sent, 0, 0), [1, 3, 4, 5]);
        assert_eq!(sent.in_flight(), 300, "6, 7 and 9");
        assert_eq!(settle(&mut sent, 2), [false, true]);
        sent.acknowledge(3);
        assert_eq!(settle(&mut sent, 9), [false, false, true, true]);
        assert_eq!(settle(&mut sent, 9), [false; 0]);
    }

    #[test]
    fn what_no_report_covered_is_no_fate() {
        let mut sent = sent(10);
        sent.acknowledge(6);
        assert_eq!(detect(&mut sent, 2, 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(fates(&mut sent), [true, true, true, true, false]);
    }
}

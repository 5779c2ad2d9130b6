//! What a session does with what arrives.

use std::time::Duration;

use bytes::Bytes;

use super::admit::Accepted;
use super::{NOTICES, Session};
use crate::event::{EndReason, Event, ReceivedResult, ReleaseReason, WHOLE_ON_WIRE};
use crate::fec;
use crate::rate::{Arrived, PeerLoad, Report};
use crate::recv::{Arrival, Filed, Packet, Recovered};
use crate::send::{Acknowledged, Cargo, Newest};
use crate::time::{Time, micros};
use crate::wire::{
    Ecn, Feedback, FrameNumber, Header, Message, MessageType, Notice, PacketReport, Repair,
    Results, TensorId, extend,
};

impl Session {
    pub(super) fn take_message(
        &mut self,
        arrival: &Accepted,
        header: &Header,
        body: &[u8],
        message: Message<'_>,
    ) {
        let (now, number) = (arrival.now, arrival.number);
        let gap = number > self.arrivals.end();
        self.arrivals.record(number, now, arrival.ecn);
        self.passing.arrived(now, number, &self.arrivals);
        if message.kind().elicits_feedback() {
            // A PING that leaves a gap asks what became of the packets before it, which a report at once
            // could not tell.
            let early = gap && self.config.retransmission;
            self.feedback
                .arrived(now, message.kind() == MessageType::Ping && !early);
        }
        match message {
            Message::Data(data) => {
                self.hurry_at(now, gap);
                let packet = Packet {
                    data,
                    flags: header.flags,
                    body,
                    recovered: false,
                };
                let (tensor, filed) = self.take_data(now, &packet);
                let arrival = Arrival {
                    tensor: tensor.0,
                    index: Some(data.packet_index()),
                    number,
                    at: now,
                };
                match filed {
                    Filed::New => {
                        self.passing.of_tensor(arrival);
                        self.recover(now);
                    }
                    Filed::Late => self.passing.too_late(arrival),
                    Filed::Dropped | Filed::Conflict => {}
                }
            }
            Message::Repair(repair) => {
                self.hurry_at(now, gap);
                self.take_repair(now, number, &repair);
            }
            Message::Feedback(feedback) => self.take_feedback(now, &feedback),
            Message::Result(results) => self.take_results(&results),
            Message::Ping(ping) => {
                self.hurry_at(now, gap);
                self.clock.observe(now, ping.report_timestamp);
            }
            Message::Padding(_) => {}
            // In plain mode nothing proves who sent them.
            Message::PathChallenge(_) | Message::PathResponse(_) | Message::Close(_)
                if !self.guard.is_protected() =>
            {
                self.stats.ignored += 1;
            }
            Message::PathChallenge(data) => self.paths.challenged(arrival.from, data),
            Message::PathResponse(data) => self.path_answered(data),
            Message::Close(close) => self.end(now, EndReason::Peer(close.code)),
        }
    }

    /// A gap before a packet that is waited for is reported as soon as it is no reordering.
    fn hurry_at(&mut self, now: Time, gap: bool) {
        if gap && self.config.retransmission {
            self.feedback.hurry(now, self.passing.window(now));
        }
    }

    /// Files a source packet; the tensor it belongs to, and what became of it.
    fn take_data(&mut self, now: Time, packet: &Packet<'_>) -> (TensorId, Filed) {
        let data = &packet.data;
        let (id, frame) = self.tensors.numbers(data);
        if data.is_delta() {
            self.stats.ignored += 1;
            return (id, Filed::Dropped);
        }
        if data.positions().end > u32::from(self.config.slices)
            || data.step() >= self.config.steps
            || !self.orders.has(data.interleaver())
        {
            self.stats.conflicts += 1;
            return (id, Filed::Conflict);
        }
        let timestamp = data.capture_timestamp();
        let captured = self.clock.map(timestamp, now, self.rtt.least(now));
        let (tensors, mut scope) = self.tensors(now);
        // The caller may come late to a deadline, and a packet must not profit from that.
        tensors.expire(&mut scope);
        let filed = tensors.add(packet, captured, &mut scope);
        if filed == Filed::New && !packet.recovered {
            self.clock.observe_capture(now, timestamp);
        }
        if let Some(notice) = data.notice().filter(|_| filed != Filed::Conflict) {
            self.take_notice(notice, id, frame);
        }
        (id, filed)
    }

    fn take_repair(&mut self, now: Time, number: u64, repair: &Repair<'_>) {
        self.stats.repairs_received += 1;
        let (tensors, mut scope) = self.tensors(now);
        tensors.expire(&mut scope);
        let newest = tensors.newest_of(repair);
        let kept = tensors.add_repair(repair, &mut scope);
        // Whether it was needed or not, it tells how many to expect.
        if repair.span <= scope.config.span && tensors.knows(newest) {
            self.passing.of_tensor(Arrival {
                tensor: newest.0,
                index: None,
                number,
                at: now,
            });
            if repair.repair_index < repair.repair_count {
                let all = u32::from(repair.repair_count) * u32::from(repair.block_count);
                self.passing.with_repairs(all);
            }
        }
        if kept {
            self.recover(now);
        }
    }

    /// Computes the lost source packets that can be computed, until no block gives any more.
    fn recover(&mut self, now: Time) {
        let mut symbols = std::mem::take(&mut self.symbols);
        let mut found = std::mem::take(&mut self.found);
        loop {
            let length = self
                .tensors
                .recover(&mut symbols, &mut found, &mut self.stats);
            if length == 0 {
                break;
            }
            for (symbol, expected) in symbols.chunks_exact(length).zip(&found) {
                let Some(packet) = self.recovered(symbol, *expected) else {
                    self.stats.conflicts += 1;
                    continue;
                };
                // Counts for itself what it drops.
                if self.take_data(now, &packet).1 == Filed::New {
                    self.stats.packets_recovered += 1;
                }
            }
        }
        (self.symbols, self.found) = (symbols, found);
    }

    /// The source packet that was computed; none if it is not the one that was expected, so that a
    /// REPAIR packet or a source packet of its block must have lied.
    fn recovered<'a>(&self, symbol: &'a [u8], expected: Recovered) -> Option<Packet<'a>> {
        let (flags, body) = fec::open_symbol(symbol).ok()?;
        let header = Header {
            kind: MessageType::Data as u8,
            flags,
            connection: self.config.local_connection,
            packet_number: 0,
        };
        let Ok(Message::Data(data)) = Message::decode(&header, body) else {
            return None;
        };
        let packet = Packet {
            data,
            flags,
            body,
            recovered: true,
        };
        let expects = TensorId(expected.tensor).wire() == data.tensor_id()
            && u32::from(data.packet_index()) == expected.index;
        expects.then_some(packet)
    }

    fn take_notice(&mut self, notice: Notice, id: TensorId, frame: FrameNumber) {
        let Notice {
            reason,
            first,
            count,
        } = notice;
        let reference = if reason.is_tensor() { id.0 } else { frame.0 };
        let told = (reason, extend(u64::from(first), 16, reference), count);
        if self.notices_seen.contains(&told) {
            return;
        }
        if self.notices_seen.len() == NOTICES {
            self.notices_seen.pop_front();
        }
        self.notices_seen.push_back(told);
        self.push_event(if reason.is_tensor() {
            Event::TensorsAbandoned {
                reason,
                first: TensorId(told.1),
                count,
            }
        } else {
            Event::FramesSkipped {
                reason,
                first: FrameNumber(told.1),
                count,
            }
        });
    }

    fn take_feedback(&mut self, now: Time, feedback: &Feedback<'_>) {
        self.clock.observe(now, feedback.report_timestamp);
        let made = self.rate.peer_time(feedback.report_timestamp);
        // A report may be overtaken by a newer one.
        if let Some(load) = feedback.load
            && self.load_told.is_none_or(|told| told <= made)
        {
            self.load_told = Some(made);
            self.peer_load = Some(PeerLoad { load, at: now });
        }
        let begin = extend(u64::from(feedback.begin), 32, self.sent.next());
        let in_flight = self.sent.in_flight();
        self.arrived.clear();
        let mut before: Option<(Acknowledged, Duration)> = None;
        let mut newest = None;
        let mut was_wrong = false;
        for (number, report) in (begin..).zip(feedback.arrivals.iter()) {
            let PacketReport::Received { age, ecn } = report else {
                continue;
            };
            if number >= self.sent.next() {
                self.stats.conflicts += 1;
                break;
            }
            newest = age.map(|age| (number, age)).or(newest);
            let Some(packet) = self.sent.acknowledge(number) else {
                continue;
            };
            self.guard.arrived(number);
            self.results.acknowledge(number);
            self.flight.arrived(&packet);
            self.stats.packets_marked += u64::from(ecn == Ecn::Ce);
            if packet.cargo != Cargo::Other && number >= self.path_since {
                self.arrived.push(Arrived {
                    number,
                    sent: packet.at,
                    size: packet.size,
                    arrival: age.map(|age| made.saturating_sub_unsigned(micros(age))),
                    ecn,
                });
            }
            was_wrong |= packet.was_lost;
            let Some(age) = age else { continue };
            if let Some(before) = before {
                self.silence.observe([before, (packet, age)]);
            }
            before = Some((packet, age));
        }
        if was_wrong {
            self.silence.was_wrong(now);
        }
        if let Some((packet, age)) = before.filter(|(packet, _)| packet.number >= self.path_since) {
            self.rtt.sample(now, (now - packet.at).saturating_sub(age));
        }
        let newest = newest.and_then(|(number, age)| {
            let sent = self.sent.sent_at(number)?;
            Some(Newest { number, sent, age })
        });
        for report in feedback.releases.iter() {
            let Some(tensor) = self.sent_tensor(report.tensor_id) else {
                continue;
            };
            self.flight.ended(tensor);
            if self.deliveries_seen.insert(tensor.0) {
                let reason = ReleaseReason::from_code(report.reason);
                let missing_share = share(report.missing);
                self.push_event(Event::Delivery {
                    tensor,
                    reason,
                    missing_share,
                });
            }
        }
        self.flight.heard();
        let change = self.rate.reported(&Report {
            now,
            arrived: &self.arrived,
            in_flight,
            least_rtt: self.rtt.least(now),
        });
        self.circuit_changed(change);
        self.detect_losses(now, begin, newest);
    }

    fn take_results(&mut self, results: &Results<'_>) {
        for result in results.iter() {
            let Some(tensor) = self.sent_tensor(result.tensor_id) else {
                continue;
            };
            self.flight.ended(tensor);
            if !self.results_seen.insert(tensor.0) {
                self.stats.results_repeated += 1;
                continue;
            }
            let newest = self.queue.last_frame().unwrap_or_default();
            self.stats.results_received += 1;
            self.push_event(Event::Result(ReceivedResult {
                tensor,
                frame: FrameNumber::extend(result.frame_number, newest),
                reason: ReleaseReason::from_code(result.reason),
                missing_share: share(result.missing),
                status: result.status,
                compute: Duration::from_micros(u64::from(result.compute_micros)),
                payload: Bytes::copy_from_slice(result.payload),
            }));
        }
    }

    /// The tensor of ours that the peer means; none, counted, if we have not sent it.
    fn sent_tensor(&mut self, low: u16) -> Option<TensorId> {
        let next = self.queue.next_id();
        let newest = TensorId(next.0.saturating_sub(1));
        let tensor = TensorId::extend(low, newest);
        if tensor >= next {
            self.stats.conflicts += 1;
            return None;
        }
        Some(tensor)
    }
}

/// A share of the wire as a fraction.
fn share(missing: u16) -> f32 {
    f32::from(missing) / f32::from(WHOLE_ON_WIRE)
}

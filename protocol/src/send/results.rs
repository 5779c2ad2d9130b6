//! Results on their way back: repeated until acknowledged, newest first (wire-format.md, section 6).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::event::TensorInfo;
use crate::stats::Stats;
use crate::time::{Time, micros};
use crate::wire::{
    HEADER_LEN, MAX_RESULT_PAYLOAD, MAX_RESULTS, MessageType, ResultEntry, ResultStatus,
    TRAILER_ROOM, put_header, put_result,
};

/// Times that a result is sent in all.
const MOST_SENDS: usize = 5;

/// A result to send.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct OutgoingResult {
    /// The tensor it answers, as it was released.
    pub tensor: TensorInfo,
    /// How the model fared.
    pub status: ResultStatus,
    /// Time to decode, conceal and run the model.
    pub compute: Duration,
    /// The application's bytes, at most 1,024.
    pub payload: Bytes,
}

/// Why a result was not accepted: the caller is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The session has ended: nobody waits for the result.
    #[error("the session has ended")]
    Ended,
    /// The payload is longer than a RESULT carries, or does not fit into the MSS.
    #[error("a payload of {found} bytes; at most {most} fit")]
    TooLong {
        /// Its length.
        found: usize,
        /// The most that fits.
        most: usize,
    },
}

#[derive(Debug)]
struct Waiting {
    result: OutgoingResult,
    /// Packet numbers of the packets that carried it.
    sent: [u64; MOST_SENDS],
    sends: usize,
    due: Time,
    /// Whether the packet that is being written carries it.
    chosen: bool,
}

impl Waiting {
    const fn size(&self) -> usize {
        ResultEntry::FIXED + self.result.payload.len()
    }
}

/// Results that the edge has not acknowledged, newest first.
#[derive(Debug)]
pub(crate) struct ResultQueue {
    waiting: VecDeque<Waiting>,
    most: usize,
    room: usize,
}

impl ResultQueue {
    pub(crate) fn new(config: &Config) -> Self {
        let room = usize::from(config.mss) - HEADER_LEN - TRAILER_ROOM - 1;
        Self {
            waiting: VecDeque::new(),
            most: config.limits.results,
            room,
        }
    }

    pub(crate) fn push(
        &mut self,
        now: Time,
        result: OutgoingResult,
        stats: &mut Stats,
    ) -> Result<(), ResultError> {
        let most = MAX_RESULT_PAYLOAD.min(self.room - ResultEntry::FIXED);
        if result.payload.len() > most {
            return Err(ResultError::TooLong {
                found: result.payload.len(),
                most,
            });
        }
        if self.waiting.len() == self.most {
            self.waiting.pop_back();
            stats.results_expired += 1;
        }
        let (sent, sends) = ([0; MOST_SENDS], 0);
        self.waiting.push_front(Waiting {
            result,
            sent,
            sends,
            due: now,
            chosen: false,
        });
        Ok(())
    }

    /// When a result has to be sent, or given up, next.
    pub(crate) fn due(&self) -> Option<Time> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    /// Gives up what was sent often enough without an answer.
    pub(crate) fn expire(&mut self, now: Time, stats: &mut Stats) {
        let before = self.waiting.len();
        self.waiting
            .retain(|waiting| waiting.sends < MOST_SENDS || waiting.due > now);
        stats.results_expired += (before - self.waiting.len()) as u64;
    }

    /// Writes a packet of the newest results, header and body, if one is due.
    pub(crate) fn write(
        &mut self,
        now: Time,
        timeout: Duration,
        out: &mut Vec<u8>,
        config: &Config,
        packet_number: u64,
    ) -> bool {
        if !self.choose(now) {
            return false;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire carries the low bits"
        )]
        let number = packet_number as u32;
        put_header(
            out,
            MessageType::Result,
            0,
            config.remote_connection,
            number,
        );
        let count_at = out.len();
        out.push(0);
        let mut count = 0_u8;
        for waiting in self.waiting.iter_mut().filter(|w| w.chosen) {
            waiting.chosen = false;
            let result = &waiting.result;
            put_result(
                out,
                &ResultEntry {
                    tensor_id: result.tensor.id.wire(),
                    frame_number: result.tensor.frame.wire(),
                    reason: result.tensor.reason.code(),
                    missing: result.tensor.missing_on_wire(),
                    status: result.status,
                    compute_micros: u32::try_from(micros(result.compute)).unwrap_or(u32::MAX),
                    payload: &result.payload,
                },
            );
            if let Some(slot) = waiting.sent.get_mut(waiting.sends) {
                *slot = packet_number;
            }
            waiting.sends += 1;
            waiting.due = now + timeout;
            count += 1;
        }
        if let Some(field) = out.get_mut(count_at) {
            *field = count;
        }
        true
    }

    /// Chooses what the next packet carries: results that are due, newest first, then others while
    /// they fit. False if none is due.
    fn choose(&mut self, now: Time) -> bool {
        let (mut count, mut room) = (0, self.room);
        for due in [true, false] {
            let waiting = self.waiting.iter_mut();
            for waiting in waiting.filter(|w| w.sends < MOST_SENDS && (w.due <= now) == due) {
                if count < MAX_RESULTS && waiting.size() <= room {
                    room -= waiting.size();
                    count += 1;
                    waiting.chosen = true;
                }
            }
            if count == 0 {
                return false;
            }
        }
        true
    }

    /// Forgets the results that the packet with this number carried: it has arrived.
    pub(crate) fn acknowledge(&mut self, packet_number: u64) {
        self.waiting.retain(|waiting| {
            !waiting
                .sent
                .iter()
                .take(waiting.sends)
                .any(|n| *n == packet_number)
        });
    }
}

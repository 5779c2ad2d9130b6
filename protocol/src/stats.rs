//! Counters: nothing is dropped silently.

use crate::wire::Refusal;

/// What a session has counted since it began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams made.
    pub datagrams_sent: u64,
    /// Their bytes of UDP payload.
    pub bytes_sent: u64,
    /// Tensors accepted for sending.
    pub tensors_sent: u64,
    /// Tensors whose packets were not all sent: their deadline passed in the queue.
    pub tensors_abandoned: u64,
    /// REPAIR packets sent, ahead of losses and on demand.
    pub repairs_sent: u64,
    /// Source packets sent again.
    pub packets_retransmitted: u64,
    /// Packets of ours that FEEDBACK showed, or its silence suggested, to be lost.
    pub packets_lost: u64,
    /// Packets of ours that arrived with a mark of congestion.
    pub packets_marked: u64,
    /// Times that the circuit breaker opened: the peer was not heard of.
    pub circuit_breaks: u64,
    /// Times that this endpoint went to the next key for what it sends.
    pub key_updates: u64,
    /// Times that the peer did.
    pub peer_key_updates: u64,
    /// PATH_CHALLENGEs sent.
    pub path_challenges: u64,
    /// Paths that the peer was shown to be at.
    pub paths_validated: u64,
    /// Paths that did not answer in time.
    pub paths_abandoned: u64,
    /// Frames that the caller skipped.
    pub frames_skipped: u64,
    /// Notices given up before they were said three times: too many waited.
    pub notices_dropped: u64,
    /// Reports of releases given up before they were told three times: too many waited.
    pub reports_dropped: u64,
    /// Results given up: never acknowledged, or pushed out by newer ones.
    pub results_expired: u64,

    /// Datagrams handed in, whatever became of them.
    pub datagrams_received: u64,
    /// Their bytes of UDP payload.
    pub bytes_received: u64,
    /// Datagrams refused, by reason.
    pub refused: Refused,
    /// Messages that decode but have no function here.
    pub ignored: u64,
    /// Packets that contradict what is known of their tensor, session or peer.
    pub conflicts: u64,
    /// Packets beyond a limit of memory.
    pub over_limit: u64,
    /// DATA and REPAIR packets that arrived twice under different packet numbers.
    pub duplicates: u64,
    /// DATA packets of tensors that had been released or given up.
    pub late: u64,

    /// REPAIR packets received, whatever became of them.
    pub repairs_received: u64,
    /// REPAIR packets of tensors that were whole by then.
    pub repairs_unneeded: u64,
    /// REPAIR packets of tensors that had been released with slices missing or given up.
    pub repairs_late: u64,
    /// Source packets computed from REPAIR packets.
    pub packets_recovered: u64,

    /// Tensors released with every slice, none of them repaired.
    pub tensors_complete: u64,
    /// Tensors released with every slice, some of them repaired.
    pub tensors_recovered: u64,
    /// Tensors released with slices missing before their deadline, as nothing could help them.
    pub tensors_exhausted: u64,
    /// Tensors released at their deadline with slices missing.
    pub tensors_deadline: u64,
    /// Tensors released early by a limit of memory.
    pub tensors_evicted: u64,
    /// Tensors given up for a newer one.
    pub tensors_superseded: u64,
    /// Tensors of which nothing arrived in time.
    pub tensors_lost: u64,
    /// Results received, repetitions aside.
    pub results_received: u64,
    /// Results received again, or too old to tell.
    pub results_repeated: u64,
    /// Events given up because the caller did not poll for them.
    pub events_dropped: u64,
}

/// Refused datagrams by reason, in the order of the checks (wire-format.md, section 2.6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Too short or too long.
    pub length: u64,
    /// Not TSP.
    pub form: u64,
    /// Another version.
    pub version: u64,
    /// Another session.
    pub connection: u64,
    /// The session had ended.
    pub ended: u64,
    /// Damaged or forged: in protected mode whatever the peer did not seal for this direction of this
    /// session, which counts towards the limit of its cipher.
    pub integrity: u64,
    /// A packet number seen before or too old.
    pub replay: u64,
    /// An unassigned type.
    pub unknown_type: u64,
    /// A body that does not decode.
    pub malformed: u64,
}

impl Refused {
    pub(crate) const fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Length => &mut self.length,
            Refusal::Form => &mut self.form,
            Refusal::Version => &mut self.version,
            Refusal::Connection => &mut self.connection,
            Refusal::Ended => &mut self.ended,
            Refusal::Integrity => &mut self.integrity,
            Refusal::Replay => &mut self.replay,
            Refusal::Type => &mut self.unknown_type,
            Refusal::Malformed(_) => &mut self.malformed,
        };
        *counter += 1;
    }

    /// All refused datagrams.
    pub const fn total(&self) -> u64 {
        self.length
            + self.form
            + self.version
            + self.connection
            + self.ended
            + self.integrity
            + self.replay
            + self.unknown_type
            + self.malformed
    }
}

//! The rules by which a frame is dropped, and the reasons they give.

use std::time::Duration;

use super::server::Server;
use super::{carried, drained, slowest, transfer};
use crate::rate::Path;
use crate::time::Time;
use crate::wire::NoticeReason;

/// How an edge decides, before its part of the model runs, whether a frame is worth computing
/// (frame-dropping.md, section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum DropRule {
    /// Every frame is.
    Off,
    /// The rule of the sketch that this protocol started from: not before the server's rate limit lets
    /// the next tensor in, and not while what is under way takes longer to send than the frame to make.
    Published,
    /// A frame is if its tensor can be expected at the cloud, and the cloud to be free for it, by the
    /// deadline.
    #[default]
    Predictive,
}

/// Why a frame was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// What the path still has to carry would have made it late.
    Rate,
    /// It could not have met its deadline, had the path been empty.
    Deadline,
    /// The cloud's model would not have been free for it in time.
    ServerBusy,
    /// A newer frame took its place.
    Superseded,
}

impl DropReason {
    /// Every reason, in the order of their numbers on the wire.
    pub const ALL: [Self; 4] = [
        Self::Rate,
        Self::Deadline,
        Self::ServerBusy,
        Self::Superseded,
    ];

    /// What the cloud is told (wire-format.md, section 3.6).
    pub const fn notice(self) -> NoticeReason {
        match self {
            Self::Rate => NoticeReason::FrameRate,
            Self::Deadline => NoticeReason::FrameDeadline,
            Self::ServerBusy => NoticeReason::FrameBusy,
            Self::Superseded => NoticeReason::FrameSuperseded,
        }
    }

    /// One word for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Deadline => "deadline",
            Self::ServerBusy => "server-busy",
            Self::Superseded => "superseded",
        }
    }
}

/// A frame whose tensor is not computed yet, and what is known that bears on it.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Candidate {
    /// The time.
    pub now: Time,
    /// The end of its deadline.
    pub due: Time,
    /// Expected time from now until its tensor is handed to the session: model, coder, and waiting
    /// between them.
    pub edge_time: Duration,
    /// Time until the next frame; zero where that is not known.
    pub interval: Duration,
    /// Expected bytes of its tensor, parity included.
    pub bytes: usize,
    /// Frames that are being made already and will be handed to the session before it.
    pub ahead: usize,
    /// The path.
    pub path: Path,
    /// The cloud's model.
    pub server: Server,
}

impl DropRule {
    /// One word for people and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Published => "published",
            Self::Predictive => "predictive",
        }
    }

    /// Whether the frame is worth computing.
    ///
    /// A pure function. More of a backlog (bytes waiting or in flight, delay in the queue, load of the
    /// server) never makes it admit what less of it made it drop.
    ///
    /// # Errors
    /// Why the frame should be dropped.
    pub fn decide(self, candidate: &Candidate) -> Result<(), DropReason> {
        match self {
            Self::Off => Ok(()),
            Self::Published => candidate.published(),
            Self::Predictive => candidate.predictive(),
        }
    }
}

impl Candidate {
    /// `client_remain < server_remain or client_remain < bandwidth_remain` drops the frame (Ulhaq,
    /// Shared inference).
    fn published(&self) -> Result<(), DropReason> {
        let last_request = if self.ahead > 0 {
            Some(self.now)
        } else {
            self.server.last_request
        };
        let server_remain =
            last_request.map_or(Duration::ZERO, |at| at + self.server.interval - self.now);
        if self.edge_time < server_remain {
            return Err(DropReason::ServerBusy);
        }
        let unreceived = (self.path.waiting)
            .saturating_add(self.path.in_flight)
            .saturating_add(self.bytes.saturating_mul(self.ahead));
        let bandwidth = self.path.rate.or(self.path.bottleneck);
        if self.edge_time < transfer(unreceived, bandwidth) {
            return Err(DropReason::Rate);
        }
        Ok(())
    }

    fn predictive(&self) -> Result<(), DropReason> {
        let ready = self.now + self.edge_time;
        if ready + self.network(&empty(&self.path)) > self.due {
            return Err(DropReason::Deadline);
        }
        let then = self.path_then();
        let arrival = ready + self.network(&then);
        if arrival > self.due || self.path.silent {
            return Err(DropReason::Rate);
        }
        // It would wait for so long that the next frame, which is newer, could be sent in its place.
        if !self.interval.is_zero() && drained(&then) > self.interval {
            return Err(DropReason::Rate);
        }
        let server = self.server.after(self.now, self.ahead);
        if server.opens() > arrival || server.free > self.due {
            return Err(DropReason::ServerBusy);
        }
        Ok(())
    }

    /// The path when the tensor is handed to the session: the tensors before it wait there, too, and
    /// what has been sent while it was made waits no more.
    fn path_then(&self) -> Path {
        let waiting = self.path.waiting;
        let sent = slowest(&self.path).map_or(0, |rate| carried(self.edge_time, rate));
        let mut then = self.path;
        then.waiting = waiting
            .saturating_add(self.bytes.saturating_mul(self.ahead))
            .saturating_sub(sent);
        then
    }

    /// From handing the tensor to the session until its last packet has arrived: nothing where the path
    /// is not known yet, which is no reason to drop a frame.
    fn network(&self, path: &Path) -> Duration {
        path.completion(self.bytes).unwrap_or_default()
    }
}

/// The path, with nothing on it.
fn empty(path: &Path) -> Path {
    let mut empty = *path;
    (empty.waiting, empty.in_flight, empty.queue_delay) = (0, 0, Duration::ZERO);
    empty
}

#[cfg(test)]
mod tests;

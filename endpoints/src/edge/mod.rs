//! The edge: opens a session, streams the tensors of its frames, and hears what became of each.

mod answers;
mod attempt;
mod change;
mod connector;
mod drive;
mod fleet;
mod frame;
mod gate;
mod leg;
mod link;
mod notice;
mod pipeline;
mod reconnect;
mod route;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::admission::DropRule;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason};
use tensorwire_protocol::{RateControl, ReceivedResult, Redundancy, ReleaseReason, Time};
use tokio::sync::mpsc;

use crate::capture::Recorder;
use crate::clock::Clock;
use crate::datapath::{PathStats, SessionWatch};
use crate::identity::{EdgeIdentity, Verified};
use crate::stream::StreamDescription;

use change::Change;
use connector::Base;
use drive::{Drive, Sessions};
use gate::Gate;
use leg::{Leg, Legs};
use link::Link;
use notice::Notices;
use pipeline::Pipeline;

pub use attempt::Admitted;
pub use change::Changer;
pub use connector::Connector;
pub use fleet::{Fleet, Member};
pub use frame::{Captured, Computed, Encoded, FrameSource};
pub use link::{Blobs, Refused};
pub use notice::EdgeNotice;
pub use pipeline::DISCONNECTED;
pub use reconnect::Reconnect;
pub use route::Route;

/// Events that may wait for the application.
const EVENTS: usize = 1_024;

/// Changes of the stream that may wait.
const CHANGES: usize = 4;
/// What there is to say where there is no session.
const GONE: &str = "the cloud went away";

/// A session as the edge sees it; over time, one after another.
#[derive(Debug)]
pub struct Edge {
    connector: Connector,
    base: Base,
    legs: Legs,
    gate: Gate,
    clock: Clock,
    /// Frames that may wait between two stages of the pipeline.
    queue: usize,
    reconnect: Reconnect,
    changer: Changer,
    changes: mpsc::Receiver<Change>,
    notices: Notices,
    noticed: Option<mpsc::Receiver<EdgeNotice>>,
}

/// How an edge protects its tensors from losses, and the path from its tensors.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Protection {
    /// How much parity it sends ahead; default none.
    pub redundancy: Redundancy,
    /// What losing each slice costs, relative to the others; default none: all are alike.
    pub importance: Option<Arc<[f32]>>,
    /// What bounds the rate at which it sends; default off.
    pub rate: RateControl,
    /// Whether routers may mark its packets instead of dropping them; default not.
    pub ecn: bool,
}

/// How fast an edge streams.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Pace {
    /// Time between captures; zero for as fast as the session takes frames.
    pub interval: Duration,
    /// Frames that may be in the making or unanswered, at least 1; a capture waits while there are as
    /// many.
    pub in_flight: usize,
}

/// A tensor that was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentTensor {
    /// The frame.
    pub frame: FrameNumber,
    /// What the frame is called.
    pub name: String,
    /// Its class, if it is known.
    pub label: Option<u32>,
    /// The step of the stream's ladder that the tensor is coded by.
    pub step: u8,
    /// Bytes of the coded tensor.
    pub bytes: usize,
    /// When its frame was captured.
    pub captured: Time,
    /// When its tensor was handed to the network.
    pub handed: Time,
    /// Time that the model took.
    pub model: Duration,
    /// Time that the coder took.
    pub encode: Duration,
}

/// What became of one frame.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The cloud answered.
    Answered {
        /// What was sent.
        sent: SentTensor,
        /// The answer.
        result: ReceivedResult,
        /// From capture to the arrival of the answer.
        latency: Duration,
    },
    /// The cloud says that nothing usable arrived.
    Dropped {
        /// What was sent.
        sent: SentTensor,
        /// How the tensor ended.
        reason: ReleaseReason,
    },
    /// No answer came.
    Unanswered {
        /// What was sent.
        sent: SentTensor,
    },
    /// The frame was not sent.
    Skipped {
        /// The frame.
        frame: FrameNumber,
        /// Why, as the cloud is told.
        notice: NoticeReason,
        /// Why: the name of a [`DropReason`](tensorwire_protocol::admission::DropReason), or what went
        /// wrong, in words.
        reason: String,
    },
}

impl Edge {
    /// Opens a session with the cloud at `cloud`, if it is the right one by `identity`, whose tensors take
    /// this route.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect(
        cloud: SocketAddr,
        identity: &EdgeIdentity,
        route: Route,
        stream: StreamDescription,
        protection: Protection,
        clock: Clock,
    ) -> Result<Self> {
        Self::connect_recorded(cloud, identity, route, stream, protection, clock, None).await
    }

    /// The same, with the datagrams in a capture, if there is one: of a carrier that has datagrams.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_recorded(
        cloud: SocketAddr,
        identity: &EdgeIdentity,
        route: Route,
        stream: StreamDescription,
        protection: Protection,
        clock: Clock,
        recorder: Option<&Recorder>,
    ) -> Result<Self> {
        let identity = identity.clone();
        Connector::new(vec![cloud], identity, route, stream, protection, clock)
            .connect(recorder)
            .await
    }

    /// An edge with its first session.
    fn new(connector: Connector, base: Base, link: Link, leg: Leg) -> Self {
        let (changes, inbox) = mpsc::channel(CHANGES);
        let (notices, noticed) = Notices::channel();
        let (deadline, clock) = (leg.deadline, leg.session.clock());
        let mut legs = Legs::default();
        legs.add_link(link);
        legs.succeed(leg);
        Self {
            connector,
            base,
            legs,
            gate: Gate::new(DropRule::Off, deadline),
            clock,
            queue: 1,
            reconnect: Reconnect::Never,
            changer: Changer(changes),
            changes: inbox,
            notices,
            noticed: Some(noticed),
        }
    }

    /// Sets whether the edge tries to come back to a cloud that went away; default
    /// [`Reconnect::Never`].
    ///
    /// While [`stream`](Self::stream) is without a cloud, frames that come at their own pace are captured
    /// and skipped ([`DISCONNECTED`]); where frames come as the session takes them, none is captured.
    pub const fn set_reconnect(&mut self, reconnect: Reconnect) {
        self.reconnect = reconnect;
    }

    /// What changes the stream while [`stream`](Self::stream) runs.
    #[must_use]
    pub fn changer(&self) -> Changer {
        self.changer.clone()
    }

    /// What happens to the sessions, for whoever wants to know; to be had once.
    pub const fn notices(&mut self) -> Option<mpsc::Receiver<EdgeNotice>> {
        self.noticed.take()
    }

    /// Sets how it is decided which frames are worth computing, and how many may wait between two stages
    /// of the pipeline; default [`DropRule::Off`] and 1.
    ///
    /// Without a rule every frame is made and sent: capture waits while the pipeline is full. With one, a
    /// frame is captured when its time has come, decided upon when the model is free for it, and dropped
    /// where a newer one comes before its next stage does. Where frames come as fast as the session takes
    /// them, the rule says when the next is captured, and one is dropped only each second in which the
    /// deadline cannot be met at all or the cloud is silent.
    pub fn set_drop_rule(&mut self, rule: DropRule, queue: usize) {
        self.gate.set_rule(rule);
        self.queue = queue;
    }

    /// Streams the frames of `source` until it ends or `stop` is ready, waits for the last answers,
    /// and tells `tell` of every frame once, also of those that are dropped, and of those that are
    /// unanswered when the cloud goes away. Frames are numbered as they are captured, and told as they
    /// meet their end.
    ///
    /// # Errors
    /// If the cloud goes away, and does not come back in the time of [`Reconnect`].
    pub async fn stream(
        &mut self,
        source: Arc<dyn FrameSource>,
        pace: Pace,
        stop: impl Future<Output = ()>,
        mut tell: impl FnMut(Outcome),
    ) -> Result<()> {
        let notices = self.notices.clone();
        let mut pipeline = Pipeline::new(
            (&mut self.legs, &mut self.gate),
            source,
            pace,
            self.queue,
            (self.clock, notices.clone()),
        );
        let sessions = Sessions {
            connector: &mut self.connector,
            base: &self.base,
            reconnect: self.reconnect,
            notices,
            changes: &mut self.changes,
        };
        let streamed = Drive::new(&mut pipeline, sessions)
            .run(stop, &mut tell)
            .await;
        pipeline.end(&mut tell);
        streamed
    }

    /// A view of the present session, for whoever wants to know of its path while it streams.
    ///
    /// # Errors
    /// If there is none at present.
    pub fn watch(&self) -> Result<SessionWatch> {
        Ok(self.current()?.session.watch())
    }

    /// Everything that the present session has counted, or else the last one.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn stats(&self) -> Result<PathStats> {
        match &self.legs.current {
            Some(leg) => Ok(leg.session.stats().await?),
            None => self.past_stats().last().copied().context(GONE),
        }
    }

    /// What sessions counted that have ended, oldest first, the last 64 of them.
    #[must_use]
    pub fn past_stats(&self) -> &[PathStats] {
        self.legs.past()
    }

    /// The cloud of the present session.
    ///
    /// # Errors
    /// If there is none at present.
    pub fn cloud(&self) -> Result<SocketAddr> {
        Ok(self.legs.link().context(GONE)?.cloud)
    }

    /// Why that cloud is taken for the right one.
    ///
    /// # Errors
    /// If there is none at present.
    pub fn verified(&self) -> Result<&Verified> {
        Ok(&self.legs.link().context(GONE)?.verified)
    }

    fn current(&self) -> Result<&Leg> {
        self.legs.current.as_ref().context(GONE)
    }

    /// Ends the sessions in good order.
    pub async fn close(self) {
        self.legs.close().await;
        self.base.endpoint.wait_idle().await;
    }
}

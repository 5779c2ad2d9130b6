//! The edge: opens a session, streams the tensors of its frames, and hears what became of each.

mod answers;
mod attempt;
mod fleet;
mod frame;
mod gate;
mod pipeline;
mod route;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::admission::DropRule;
use tensorwire_protocol::wire::{FrameNumber, NoticeReason};
use tensorwire_protocol::{Event, RateControl, ReceivedResult, Redundancy, ReleaseReason, Time};
use tokio::sync::mpsc;

use crate::capture::Recorder;
use crate::carrier::Carrier;
use crate::clock::Clock;
use crate::control::channel::write;
use crate::control::{Close, ControlError, ControlReader};
use crate::datapath::{DataPath, PathStats, SessionHandle, SessionWatch};
use crate::identity::{EdgeIdentity, Verified, alert};
use crate::quic;
use crate::stream::StreamDescription;

use gate::Gate;
use pipeline::Pipeline;
use route::Opening;

pub use attempt::Admitted;
pub use fleet::{Fleet, Member};
pub use frame::{Captured, Computed, Encoded, FrameSource};
pub use route::Route;

/// Events that may wait for the application.
const EVENTS: usize = 1_024;

/// A session as the edge sees it.
#[derive(Debug)]
pub struct Edge {
    endpoint: quinn::Endpoint,
    verified: Verified,
    connection: quinn::Connection,
    control: quinn::SendStream,
    _replies: ControlReader,
    session: SessionHandle,
    events: mpsc::Receiver<Event>,
    deadline: Duration,
    gate: Gate,
    /// Frames that may wait between two stages of the pipeline.
    queue: usize,
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
    /// If nobody answers, or it is not the right cloud (a [`TrustError`](crate::identity::TrustError)), or
    /// the cloud refuses: the message says why.
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
        let mut config = stream.config().context("the stream cannot be")?;
        config.redundancy = protection.redundancy;
        config.importance = protection.importance;
        config.rate = protection.rate;
        config.ecn = protection.ecn;
        let deadline = config.deadline;
        let any: SocketAddr = match cloud {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        route.validate(recorder.is_some())?;
        // QUIC and TSP share a port.
        let path = if route.carrier == Carrier::Udp {
            let path = DataPath::bind_with(any, clock, route.gso).await;
            Some(path.context("cannot open a UDP socket")?)
        } else {
            None
        };
        let endpoint = match path.as_ref().and_then(DataPath::quic_socket) {
            Some(socket) => quic::client_on(socket, route.tuning(), identity)?,
            None => quic::client(any, route.tuning(), identity)?,
        };
        let (connection, verified) = quic::connect(&endpoint, cloud, identity).await?;
        let (sender, events) = mpsc::channel(EVENTS);
        let opening = Opening {
            route,
            connection: &connection,
            path,
            token: identity.token(),
            local: endpoint.local_addr()?,
            stream,
            config,
            events: sender,
            clock,
            recorder,
        };
        match opening.open().await {
            Ok((session, (control, replies))) => Ok(Self {
                endpoint,
                verified,
                connection,
                control,
                _replies: replies,
                session,
                events,
                deadline,
                gate: Gate::new(DropRule::Off, deadline),
                queue: 1,
            }),
            Err(error) => {
                // A cloud looks at our certificate when the handshake is done for us.
                let closed = connection.close_reason();
                let about_us = closed.as_ref().and_then(alert::from_cloud);
                connection.close(1_u32.into(), b"no session");
                endpoint.wait_idle().await;
                Err(match about_us {
                    Some(words) => anyhow::anyhow!(words),
                    None => error,
                })
            }
        }
    }

    /// Why the cloud is taken for the right one.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.verified
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
    /// If the cloud goes away.
    pub async fn stream(
        &mut self,
        source: Arc<dyn FrameSource>,
        pace: Pace,
        stop: impl Future<Output = ()>,
        mut tell: impl FnMut(Outcome),
    ) -> Result<()> {
        let (session, sizes) = (&self.session, (self.queue, self.deadline));
        let mut pipeline = Pipeline::new(session, &mut self.gate, source, pace, sizes);
        let peer = (&mut self.events, &self.connection);
        let streamed = drive(&mut pipeline, peer, stop, &mut tell).await;
        pipeline.end(&mut tell);
        streamed
    }

    /// A view of the session, for whoever wants to know of its path while it streams.
    #[must_use]
    pub fn watch(&self) -> SessionWatch {
        self.session.watch()
    }

    /// Everything the session has counted.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn stats(&self) -> Result<PathStats> {
        Ok(self.session.stats().await?)
    }

    /// Ends the session in good order.
    pub async fn close(mut self) {
        self.session.close().await;
        // The cloud may have gone first.
        let _ = write(&mut self.control, &Close::done().into()).await;
        let _ = self.control.finish();
        let wait = tokio::time::timeout(Duration::from_secs(1), self.connection.closed());
        let _ = wait.await;
        self.connection.close(0_u32.into(), b"done");
        self.endpoint.wait_idle().await;
    }
}

/// Keeps every stage at work until the stream is done.
async fn drive(
    pipeline: &mut Pipeline<'_>,
    (events, connection): (&mut mpsc::Receiver<Event>, &quinn::Connection),
    stop: impl Future<Output = ()>,
    tell: &mut impl FnMut(Outcome),
) -> Result<()> {
    let clock = pipeline.clock();
    let mut stop = std::pin::pin!(stop);
    loop {
        pipeline.advance(tell).await?;
        if pipeline.is_done() {
            return Ok(());
        }
        let (capture_at, ask_again) = (pipeline.capture_at(), pipeline.ask_again());
        let overdue = pipeline.answers.first_overdue();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => pipeline.answers.take(event, tell),
                None => bail!("{}", pipeline.end_reason()),
            },
            () = clock.sleep_until(capture_at) => pipeline.capture().await?,
            done = pipeline.camera.done() => pipeline.captured(done, tell).await?,
            done = pipeline.model.done() => pipeline.computed(done, tell).await?,
            done = pipeline.encoder.done() => pipeline.encoded(done, tell).await?,
            () = clock.sleep_until(ask_again) => {}
            () = clock.sleep_until(overdue) => pipeline.answers.give_up(tell),
            () = &mut stop, if !pipeline.ended => pipeline.ended = true,
            error = connection.closed() => {
                // Answers that came first are told.
                while let Ok(event) = events.try_recv() {
                    pipeline.answers.take(event, tell);
                }
                return Err(ControlError::ended(&error)).context("the cloud went away");
            }
        }
    }
}

//! The edge: opens a session, streams the tensors of its frames, and hears what became of each.

mod streamer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tensorwire_protocol::wire::{ConnectionId, FrameNumber, NoticeReason};
use tensorwire_protocol::{Event, ReceivedResult, Redundancy, ReleaseReason, Slices, Time};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::control::{self, Close, ControlError, Message, Open};
use crate::datapath::{DataPath, PathStats, SessionHandle};
use crate::quic;
use crate::stream::StreamDescription;

use streamer::Streamer;

/// Events that may wait for the application.
const EVENTS: usize = 1_024;
/// The control exchange may take so long: the cloud may have to load a model.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// A session as the edge sees it.
#[derive(Debug)]
pub struct Edge {
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    control: quinn::SendStream,
    _replies: quinn::RecvStream,
    session: SessionHandle,
    events: mpsc::Receiver<Event>,
    deadline: Duration,
}

/// What an edge makes of one frame.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by sources, field by field")]
pub struct Produced {
    /// What the frame is called.
    pub name: String,
    /// Its class, if it is known.
    pub label: Option<u32>,
    /// The coded tensor.
    pub slices: Slices,
    /// Time that the model took.
    pub model: Duration,
    /// Time that the coder took.
    pub encode: Duration,
}

/// Where frames come from: called in a thread of its own, with frame numbers from 0.
pub trait FrameSource: Send + Sync + 'static {
    /// Captures frame `number` and makes its tensor; none after the last one.
    ///
    /// # Errors
    /// If the frame cannot be read or computed: the frame is skipped, and the stream goes on.
    fn produce(&self, number: u64) -> Result<Option<Produced>>;
}

/// How an edge protects its tensors from losses.
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
}

/// How fast an edge streams.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Pace {
    /// Time between captures; zero for as fast as possible.
    pub interval: Duration,
    /// Tensors that may be unanswered, at least 1; a capture waits while there are as many.
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
        /// Why, in words.
        reason: String,
    },
}

impl Edge {
    /// Opens a session with the cloud at `cloud`. Datagrams go to `data` where it is given (a link
    /// emulator, say), else to where the cloud says.
    ///
    /// # Errors
    /// If nobody answers, or the cloud refuses: the message says why.
    pub async fn connect(
        cloud: SocketAddr,
        data: Option<SocketAddr>,
        stream: StreamDescription,
        protection: Protection,
        clock: Clock,
    ) -> Result<Self> {
        let mut config = stream.config().context("the stream cannot be")?;
        config.redundancy = protection.redundancy;
        config.importance = protection.importance;
        let deadline = config.deadline;
        let any: SocketAddr = match cloud {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let path = DataPath::bind(any, clock)
            .await
            .context("cannot open a UDP socket")?;
        let (sender, events) = mpsc::channel(EVENTS);
        let session = path.open(config, None, sender).await?;
        let endpoint = quic::client(any)?;
        let connection = quic::connect(&endpoint, cloud).await?;
        let open = Open::new(stream, session.connection().value());
        let negotiated = tokio::time::timeout(OPEN_TIMEOUT, negotiate(&connection, open)).await;
        let negotiated = negotiated.context("the cloud does not answer our request for a session");
        let (control, replies, accept) = match negotiated.and_then(|granted| granted) {
            Ok(granted) => granted,
            Err(error) => {
                connection.close(1_u32.into(), b"no session");
                endpoint.wait_idle().await;
                return Err(error);
            }
        };
        let mut peer = cloud;
        peer.set_port(accept.data_port);
        session
            .attach(
                ConnectionId::new(accept.connection),
                Some(data.unwrap_or(peer)),
            )
            .await?;
        Ok(Self {
            endpoint,
            connection,
            control,
            _replies: replies,
            session,
            events,
            deadline,
        })
    }

    /// Streams the frames of `source` until it ends or `stop` is ready, waits for the last answers,
    /// and tells `tell` of every frame once, also of those that are unanswered when the cloud goes away.
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
        let mut streamer = Streamer {
            clock: self.session.clock(),
            deadline: self.deadline,
            next_frame: 0,
            job: None,
            waiting: BTreeMap::new(),
            ended: false,
        };
        let streamed = self
            .drive(&mut streamer, &source, pace, stop, &mut tell)
            .await;
        streamer
            .waiting
            .into_values()
            .for_each(|sent| tell(Outcome::Unanswered { sent }));
        streamed
    }

    async fn drive(
        &mut self,
        streamer: &mut Streamer,
        source: &Arc<dyn FrameSource>,
        pace: Pace,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<()> {
        let clock = self.session.clock();
        let mut stop = std::pin::pin!(stop);
        let mut capture_at = clock.now();
        while !streamer.ended || streamer.job.is_some() || !streamer.waiting.is_empty() {
            let may_capture = streamer.job.is_none()
                && !streamer.ended
                && streamer.waiting.len() < pace.in_flight;
            let overdue = streamer.first_overdue();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => streamer.take(event, tell),
                    None => bail!("the data path has ended"),
                },
                () = clock.sleep_until(Some(capture_at)), if may_capture => {
                    capture_at = (capture_at + pace.interval).max(clock.now());
                    streamer.capture(source);
                }
                (captured, produced) = streamer.produced(), if streamer.job.is_some() => {
                    streamer.send(&self.session, captured, produced, tell).await?;
                }
                () = clock.sleep_until(overdue) => streamer.give_up(tell),
                () = &mut stop, if !streamer.ended => streamer.ended = true,
                error = self.connection.closed() => {
                    return Err(ControlError::ended(&error)).context("the cloud went away");
                }
            }
        }
        Ok(())
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
        let _ = control::send(&mut self.control, &Message::Close(Close::done())).await;
        let _ = self.control.finish();
        let wait = tokio::time::timeout(Duration::from_secs(1), self.connection.closed());
        let _ = wait.await;
        self.connection.close(0_u32.into(), b"done");
        self.endpoint.wait_idle().await;
    }
}

async fn negotiate(
    connection: &quinn::Connection,
    open: Open,
) -> Result<(quinn::SendStream, quinn::RecvStream, control::Accept)> {
    let (mut send, mut receive) = connection.open_bi().await?;
    control::send(&mut send, &Message::Open(open)).await?;
    match control::receive(&mut receive).await? {
        Message::Accept(accept) if accept.data_port == 0 || accept.connection > 0x00FF_FFFF => {
            bail!("the cloud accepts with a port or connection ID that cannot be")
        }
        Message::Accept(accept) => Ok((send, receive, accept)),
        Message::Refuse(refuse) => bail!("the cloud refuses: {}", refuse.shown()),
        _ => Err(ControlError::Unexpected {
            expected: "Accept or Refuse",
        }
        .into()),
    }
}

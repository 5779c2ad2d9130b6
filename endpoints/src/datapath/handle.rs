//! The handle that an application has of a session, whatever carries it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tensorwire_protocol::wire::{ConnectionId, FrameNumber, NoticeReason, TensorId};
use tensorwire_protocol::{
    ConfigError, EndReason, OutgoingResult, OutgoingTensor, ResultError, Secrets, SendError, Time,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;

use super::quic::QuicWay;
use super::seat::{Entry, Seat, Way};
use super::watch::{SessionWatch, View};
use super::{Keeper, Outlook, PathEnded, PathStats};
use crate::clock::Clock;

/// A session, whatever carries it. Dropping it ends the session.
///
/// What it does to a session on a data path it does at once, on the caller's task, and the datagrams that
/// come of it have left when it returns.
#[derive(Debug)]
pub struct SessionHandle {
    connection: ConnectionId,
    pub(super) reach: Reach,
    clock: Clock,
    closed: AtomicBool,
    /// Why the session ended, where its carrier ended it.
    ended: Arc<OnceLock<String>>,
}

/// How a handle gets at its session.
#[derive(Debug)]
pub(super) enum Reach {
    /// It is on a data path, and anybody may enter it.
    Seat(Arc<Keeper>, Arc<Seat>),
    /// A task has it, and takes commands.
    Actor(mpsc::Sender<Command>),
}

/// What handles ask of a task that has their session.
#[derive(Debug)]
pub(crate) enum Command {
    Tensor(OutgoingTensor, oneshot::Sender<Result<TensorId, SendError>>),
    /// A result, and how long the application was occupied with it; none if it was not computed.
    Result(
        OutgoingResult,
        Option<Duration>,
        oneshot::Sender<Result<(), ResultError>>,
    ),
    Skip(NoticeReason, FrameNumber, u64),
    Limit(u32),
    Outlook(oneshot::Sender<Outlook>),
    Stats(oneshot::Sender<PathStats>),
    End(oneshot::Sender<PathStats>),
    Close,
}

impl SessionHandle {
    /// A session on a data path.
    pub(super) fn seated(keeper: Arc<Keeper>, seat: Arc<Seat>) -> Self {
        Self {
            connection: seat.connection,
            clock: keeper.hub().clock,
            reach: Reach::Seat(keeper, seat),
            closed: AtomicBool::new(false),
            ended: Arc::default(),
        }
    }

    /// A session that a task has.
    pub(crate) const fn of_actor(
        connection: ConnectionId,
        commands: mpsc::Sender<Command>,
        clock: Clock,
        ended: Arc<OnceLock<String>>,
    ) -> Self {
        Self {
            connection,
            reach: Reach::Actor(commands),
            clock,
            closed: AtomicBool::new(false),
            ended,
        }
    }

    /// Why the session ended, once its events have.
    #[must_use]
    pub fn end_reason(&self) -> &str {
        if let Some(reason) = self.ended.get() {
            return reason;
        }
        let Reach::Seat(keeper, seat) = &self.reach else {
            return "the session has ended";
        };
        let ended = keeper.hub().look(seat, |entry, _| entry.session.ended());
        match ended {
            Ok(Some(EndReason::Peer(_))) => "the peer has closed the session",
            Ok(Some(EndReason::FailedOpenings)) => {
                "as many datagrams were forged or damaged as the cipher bears"
            }
            Ok(Some(EndReason::KeyUsedUp)) => "the peer did not confirm a key until it was used up",
            _ => "the data path has ended",
        }
    }

    /// The ID that datagrams to this session carry.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The clock that the session counts by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// A view of this session for others, which does not keep it.
    #[must_use]
    pub fn watch(&self) -> SessionWatch {
        SessionWatch::new(match &self.reach {
            Reach::Seat(keeper, seat) => {
                View::Seat(Arc::downgrade(keeper.hub()), Arc::downgrade(seat))
            }
            Reach::Actor(commands) => View::Actor(commands.downgrade()),
        })
    }

    /// Tells the session which ID the peer chose, and where the peer is, if that is known.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn attach(
        &self,
        remote: ConnectionId,
        peer: Option<SocketAddr>,
    ) -> Result<(), PathEnded> {
        self.attach_by(remote, peer.map(Way::Udp))
    }

    /// Tells the session which ID the peer chose, and that its datagrams travel in `connection`, both ways:
    /// it takes none from elsewhere any more.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn attach_quic(
        &self,
        remote: ConnectionId,
        connection: quinn::Connection,
    ) -> Result<(), PathEnded> {
        let Reach::Seat(keeper, seat) = &self.reach else {
            return Ok(());
        };
        let way = QuicWay::start(keeper.hub(), seat, connection);
        self.attach_by(remote, Some(Way::Quic(way)))
    }

    fn attach_by(&self, remote: ConnectionId, way: Option<Way>) -> Result<(), PathEnded> {
        let Reach::Seat(keeper, seat) = &self.reach else {
            return Ok(());
        };
        keeper.hub().enter(seat, |entry, _| {
            entry.session.set_remote_connection(remote);
            if let Some(Way::Udp(peer)) = &way {
                let path = entry.addresses.path(*peer);
                entry.addresses.remember(*peer, path);
                entry.session.set_path(path);
            }
            if way.is_some() {
                entry.way = way;
            }
        })
    }

    /// Protects the session, before its first datagram. `known` is where the handshake has found the
    /// peer, if the data path shares its port: elsewhere the peer has to be validated before it gets more
    /// than it sends.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session has begun, or cannot be protected so.
    pub async fn protect(
        &self,
        secrets: Secrets,
        known: Option<SocketAddr>,
    ) -> Result<Result<(), ConfigError>, PathEnded> {
        let Reach::Seat(keeper, seat) = &self.reach else {
            return Ok(Ok(()));
        };
        keeper.hub().enter(seat, |entry, _| {
            entry.known = known;
            entry.session.protect(secrets)
        })
    }

    /// Sends a tensor.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the tensor.
    pub async fn send_tensor(
        &self,
        tensor: OutgoingTensor,
    ) -> Result<Result<TensorId, SendError>, PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                enter(keeper, seat, |entry, now| {
                    entry.session.send_tensor(now, tensor)
                })
                .await
            }
            Reach::Actor(commands) => ask(commands, |reply| Command::Tensor(tensor, reply)).await,
        }
    }

    /// Sends a result. Its time to compute is the service time in the load that the peer is told.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the result.
    pub async fn send_result(
        &self,
        result: OutgoingResult,
    ) -> Result<Result<(), ResultError>, PathEnded> {
        let occupied = Some(result.compute);
        self.send_answer(result, occupied).await
    }

    /// Sends a result of an application that serves other sessions, too: it was `occupied` with this tensor
    /// from when it had answered the session's tensor before (or had got this one, if that was later),
    /// which is the service time in the load that the peer is told. None if the tensor was not computed,
    /// for which the application was too busy.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the session did not take the result.
    pub async fn send_answer(
        &self,
        result: OutgoingResult,
        occupied: Option<Duration>,
    ) -> Result<Result<(), ResultError>, PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                enter(keeper, seat, |entry, now| {
                    entry.application.answered(occupied);
                    entry.session.send_result(now, result)
                })
                .await
            }
            Reach::Actor(commands) => {
                ask(commands, |reply| Command::Result(result, occupied, reply)).await
            }
        }
    }

    /// Tells the peer that frames were skipped.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn skip_frames(
        &self,
        reason: NoticeReason,
        first: FrameNumber,
        count: u64,
    ) -> Result<(), PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                enter(keeper, seat, |entry, _| {
                    entry.session.skip_frames(reason, first, count);
                })
                .await
            }
            Reach::Actor(commands) => tell(commands, Command::Skip(reason, first, count)).await,
        }
    }

    /// Lets only so many tensors wait for the application, which answers every one, beside the one that it
    /// is at; further ones are answered with `Busy`. Without this only the channel of events bounds them.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn limit_waiting(&self, tensors: u32) -> Result<(), PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                enter(keeper, seat, |entry, _| entry.application.limit(tensors)).await
            }
            Reach::Actor(commands) => tell(commands, Command::Limit(tensors)).await,
        }
    }

    /// What the session knows of path and peer at the moment.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn outlook(&self) -> Result<Outlook, PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                consume_budget().await;
                keeper.hub().look(seat, Entry::outlook)
            }
            Reach::Actor(commands) => ask(commands, Command::Outlook).await,
        }
    }

    /// Everything the session has counted.
    ///
    /// # Errors
    /// If the data path has ended.
    pub async fn stats(&self) -> Result<PathStats, PathEnded> {
        match &self.reach {
            Reach::Seat(keeper, seat) => keeper.hub().look(seat, |entry, _| entry.stats()),
            Reach::Actor(commands) => ask(commands, Command::Stats).await,
        }
    }

    /// Ends the session. What waits to be sent is not sent any more.
    pub async fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                keeper.hub().remove(seat);
            }
            Reach::Actor(commands) => {
                // If the task has ended, so has the session.
                let _ = tell(commands, Command::Close).await;
            }
        }
    }

    /// Ends the session as [`close`](Self::close) does, and says what it had counted by then: nothing
    /// comes between.
    ///
    /// # Errors
    /// If the data path or the session has ended.
    pub async fn end(&self) -> Result<PathStats, PathEnded> {
        let stats = match &self.reach {
            Reach::Seat(keeper, seat) => {
                let entry = keeper.hub().remove(seat);
                entry.map(|entry| entry.stats()).ok_or(PathEnded)
            }
            Reach::Actor(commands) => ask(commands, Command::End).await,
        };
        self.closed.store(true, Ordering::Relaxed);
        stats
    }
}

/// Enters a session, after a while's calls letting others of the runtime have their turn: a caller that
/// never has to wait would starve them.
async fn enter<T>(
    keeper: &Keeper,
    seat: &Arc<Seat>,
    work: impl FnOnce(&mut Entry, Time) -> T,
) -> Result<T, PathEnded> {
    consume_budget().await;
    keeper.hub().enter(seat, work)
}

async fn tell(commands: &mpsc::Sender<Command>, command: Command) -> Result<(), PathEnded> {
    commands.send(command).await.map_err(|_| PathEnded)
}

/// Asks a task for something of its session.
pub(super) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, PathEnded> {
    let (reply, answer) = oneshot::channel();
    tell(commands, command(reply)).await?;
    answer.await.map_err(|_| PathEnded)
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        if *self.closed.get_mut() {
            return;
        }
        match &self.reach {
            Reach::Seat(keeper, seat) => {
                keeper.hub().remove(seat);
            }
            Reach::Actor(commands) => {
                if let Err(mpsc::error::TrySendError::Full(close)) =
                    commands.try_send(Command::Close)
                    && let Ok(runtime) = tokio::runtime::Handle::try_current()
                {
                    let commands = commands.clone();
                    runtime.spawn(async move { commands.send(close).await });
                }
            }
        }
    }
}

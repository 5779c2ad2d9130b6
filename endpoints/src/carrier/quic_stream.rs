//! A QUIC stream for each tensor (spec/carriers.md, section 6).

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt, WriteError};
use tensorwire_protocol::wire::TensorId;
use tensorwire_protocol::{Config, Event};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::actor::{Actor, connection_id};
use super::frame::{Decoder, FrameError};
use super::session::{Begun, Role};
use crate::clock::Clock;
use crate::datapath::SessionHandle;

/// Streams of tensors that an edge may have open, beside that of its messages.
const STREAMS: u32 = 64;
/// Bytes of all streams that an edge may send before the cloud has taken them.
const RECEIVE_WINDOW: u32 = 2 << 20;
/// Bytes handed to QUIC beyond its congestion window: more would wait where no deadline is known.
const UNSENT: u64 = 16 * 1_024;
/// Bytes written, and read, at a time.
const PIECE: usize = 8 * 1_024;
/// Pieces of streams that may wait for the session.
const PIECES: usize = 32;
/// The error code of a stream whose tensor is late.
const LATE: VarInt = VarInt::from_u32(1);

/// Starts an edge's session on the control connection.
pub(crate) fn connect(
    connection: Connection,
    config: Config,
    clock: Clock,
    events: mpsc::Sender<Event>,
) -> SessionHandle {
    // That of the cloud's messages.
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(1));
    let (actor, handle) = Actor::new(Role::Edge, config, clock, events);
    tokio::spawn(drive(actor, connection));
    handle
}

/// Starts a cloud's session on the control connection.
///
/// # Errors
/// If the system gives no random numbers.
pub(crate) fn serve(
    connection: Connection,
    mut config: Config,
    clock: Clock,
    events: mpsc::Sender<Event>,
) -> Result<SessionHandle> {
    config.local_connection = connection_id()?;
    connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(STREAMS + 1));
    let (actor, handle) = Actor::new(Role::Cloud, config, clock, events);
    tokio::spawn(drive(actor, connection));
    Ok(handle)
}

/// A stream that is read.
struct Reading {
    decoder: Decoder,
    /// The tensor whose slices are coming, while they are of use.
    current: Option<TensorId>,
    task: AbortHandle,
}

/// The streams that are read. What arrives comes out of one channel.
struct Readers {
    streams: HashMap<u64, Reading>,
    next: u64,
    tasks: JoinSet<()>,
    pieces: mpsc::Sender<(u64, Option<Bytes>)>,
}

impl Readers {
    fn add(&mut self, stream: RecvStream, decoder: Decoder) {
        let (number, pieces) = (self.next, self.pieces.clone());
        self.next += 1;
        while self.tasks.try_join_next().is_some() {}
        let task = self.tasks.spawn(read(number, stream, pieces));
        let current = None;
        let reading = Reading {
            decoder,
            current,
            task,
        };
        self.streams.insert(number, reading);
    }

    /// Takes a piece of a stream; none for its end.
    fn take(
        &mut self,
        number: u64,
        piece: Option<&Bytes>,
        actor: &mut Actor,
    ) -> Result<(), FrameError> {
        let Some(piece) = piece else {
            self.streams.remove(&number);
            return Ok(());
        };
        let Some(reading) = self.streams.get_mut(&number) else {
            return Ok(());
        };
        let now = actor.clock.now();
        let Reading {
            decoder, current, ..
        } = reading;
        actor.session.take(now, piece, decoder, current)
    }

    /// Stops the streams of tensors that are of no more use: their senders hear of it.
    fn give_up(&mut self, actor: &Actor) {
        self.streams.retain(|_, reading| {
            let wanted = reading.current.is_some_and(|id| actor.session.wants(id));
            let stop = reading.decoder.is_in_slices() && !wanted;
            if stop {
                reading.task.abort();
            }
            !stop
        });
    }
}

/// Reads a stream to its end. A stream that is dropped before is stopped.
async fn read(number: u64, mut stream: RecvStream, pieces: mpsc::Sender<(u64, Option<Bytes>)>) {
    loop {
        // Its order is what makes the first slices of an unfinished tensor whole.
        let piece = match stream.read_chunk(PIECE, true).await {
            Ok(Some(chunk)) => Some(chunk.bytes),
            Ok(None) | Err(_) => None,
        };
        let ended = piece.is_none();
        if pieces.send((number, piece)).await.is_err() || ended {
            return;
        }
    }
}

/// Drives a session on its connection until both have ended.
async fn drive(mut actor: Actor, connection: Connection) {
    if let Some(reason) = run(&mut actor, connection).await {
        actor.end(reason).await;
    }
}

/// Drives a session on its connection until either ends; why, unless the application closed the session.
async fn run(actor: &mut Actor, connection: Connection) -> Option<String> {
    let (pieces, mut arrived) = mpsc::channel(PIECES);
    let mut readers = Readers {
        streams: HashMap::new(),
        next: 0,
        tasks: JoinSet::new(),
        pieces,
    };
    let (messages, to_write) = mpsc::channel(1);
    let (tensors, to_send) = mpsc::channel(1);
    let (abandoned, mut given_up) = mpsc::channel(1);
    let mut writers = JoinSet::new();
    writers.spawn(write_messages(connection.clone(), to_write));
    writers.spawn(send_tensors(
        connection.clone(),
        to_send,
        abandoned,
        actor.clock,
    ));
    loop {
        let due = actor.session.has_messages(actor.clock.now());
        let wake = actor.session.poll_timeout(!due);
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => readers.add(stream, actor.session.decoder()),
                Err(error) => return Some(format!("the QUIC connection ended: {error}")),
            },
            Some((number, piece)) = arrived.recv() => {
                if let Err(error) = readers.take(number, piece.as_ref(), actor) {
                    return Some(format!("the peer sent {error}"));
                }
            }
            Ok(permit) = messages.reserve(), if due => {
                let mut out = Vec::new();
                actor.session.poll_messages(actor.clock.now(), &mut out);
                permit.send(out);
            }
            Ok(permit) = tensors.reserve(), if actor.session.has_tensors() => {
                let mut out = Vec::new();
                if let Some(begun) = actor.session.poll_tensor(actor.clock.now(), &mut out) {
                    permit.send((begun, out));
                }
            }
            Some(id) = given_up.recv() => actor.session.abandoned(id),
            command = actor.commands.recv() => {
                if !actor.obey(command) {
                    return None;
                }
            }
            () = actor.clock.sleep_until(wake) => {}
        }
        actor.session.handle_timeout(actor.clock.now());
        readers.give_up(actor);
        actor.tell();
    }
}

/// Writes messages, all on one stream and before any tensor.
async fn write_messages(connection: Connection, mut messages: mpsc::Receiver<Vec<u8>>) {
    let Ok(mut stream) = connection.open_uni().await else {
        return;
    };
    // The stream is new.
    let _ = stream.set_priority(1);
    while let Some(message) = messages.recv().await {
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Sends each tensor on a stream of its own, older ones first, and resets the streams of those that are
/// late.
async fn send_tensors(
    connection: Connection,
    mut tensors: mpsc::Receiver<(Begun, Vec<u8>)>,
    abandoned: mpsc::Sender<TensorId>,
    clock: Clock,
) {
    let mut unfinished = JoinSet::new();
    while let Some((Begun { id, until }, bytes)) = tensors.recv().await {
        while unfinished.try_join_next().is_some() {}
        let opened = tokio::select! {
            opened = connection.open_uni() => Some(opened),
            () = clock.sleep_until(Some(until)) => None,
        };
        let mut stream = match opened {
            Some(Ok(stream)) => stream,
            Some(Err(_)) => return,
            None => {
                let _ = abandoned.send(id).await;
                continue;
            }
        };
        // The stream is new.
        let _ = stream.set_priority(priority(id));
        let wrote = tokio::select! {
            wrote = write(&connection, &mut stream, &bytes) => Some(wrote),
            () = clock.sleep_until(Some(until)) => None,
        };
        match wrote {
            Some(Ok(())) => {}
            // The cloud gave it up.
            Some(Err(WriteError::Stopped(_))) => continue,
            Some(Err(_)) => return,
            None => {
                let _ = stream.reset(LATE);
                let _ = abandoned.send(id).await;
                continue;
            }
        }
        let _ = stream.finish();
        // What has not arrived by then is not sent again.
        unfinished.spawn(async move {
            tokio::select! {
                _ = stream.stopped() => {}
                () = clock.sleep_until(Some(until)) => {
                    let _ = stream.reset(LATE);
                }
            }
        });
    }
}

/// Older tensors go first, so that they do not share the path with those that have more time; messages
/// and the control protocol go before all.
fn priority(id: TensorId) -> i32 {
    i32::try_from(id.0 & 0x3FFF_FFFF).map_or(i32::MIN, |low| -1 - low)
}

/// Writes a tensor, never far ahead of what QUIC may send.
async fn write(
    connection: &Connection,
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), WriteError> {
    for piece in bytes.chunks(PIECE) {
        connection.set_send_window(connection.stats().path.cwnd + UNSENT);
        stream.write_all(piece).await?;
    }
    Ok(())
}

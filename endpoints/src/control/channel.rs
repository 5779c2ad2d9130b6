//! Messages on a QUIC stream: each after its length in 16 bits.

use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::ControlError;
use super::limits::{MAX_MESSAGE, MESSAGE_BURST, MESSAGE_TIMEOUT, MESSAGES_A_SECOND};
use super::message::{Message, decode, encode};

/// Bytes of the length before each message.
const PREFIX: usize = 2;
/// Bytes read at a time.
const READ: usize = 4 * 1_024;
/// Messages that may wait to be written; those who send more wait.
const OUTBOX: usize = 32;
/// A peer that has not taken our last message after so long does not get it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The messages of the peer.
#[derive(Debug)]
pub struct ControlReader {
    stream: RecvStream,
    /// What has come of the next messages.
    buffer: Vec<u8>,
    /// When the message at the front of the buffer began to come.
    begun: Option<Instant>,
    allowance: Allowance,
}

impl ControlReader {
    /// Reads the messages of `stream`.
    #[must_use]
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            begun: None,
            allowance: Allowance::new(Instant::now()),
        }
    }

    /// Waits for the next message. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the connection ended, or the peer does not keep to the protocol. Nothing more can be read then.
    pub async fn next(&mut self) -> Result<Message, ControlError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let mut piece = [0; READ];
            let room = MAX_MESSAGE + PREFIX - self.buffer.len();
            let room = piece.len().min(room);
            let piece = piece.get_mut(..room).unwrap_or_default();
            let read = self.stream.read(piece);
            let read = match self.begun {
                Some(begun) => tokio::time::timeout_at(begun + MESSAGE_TIMEOUT, read)
                    .await
                    .map_err(|_| ControlError::Slow)?,
                None => read.await,
            };
            match read {
                Ok(Some(read)) => {
                    self.buffer.extend(piece.iter().take(read));
                    self.begun.get_or_insert_with(Instant::now);
                }
                Ok(None) => return Err(ControlError::ended(&"the peer finished the stream")),
                Err(error) => return Err(ControlError::ended(&error)),
            }
        }
    }

    /// The same, if it comes `within` a time.
    ///
    /// # Errors
    /// As [`next`](Self::next), or if nothing came.
    pub async fn next_within(
        &mut self,
        within: Duration,
        expected: &'static str,
    ) -> Result<Message, ControlError> {
        let next = tokio::time::timeout(within, self.next()).await;
        next.unwrap_or(Err(ControlError::Silent { expected, within }))
    }

    /// The message at the front of the buffer, if all of it has come.
    fn take(&mut self) -> Result<Option<Message>, ControlError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len > MAX_MESSAGE {
            return Err(ControlError::TooLong(len));
        }
        let Some(bytes) = rest.get(..len) else {
            return Ok(None);
        };
        let now = Instant::now();
        if !self.allowance.take(now) {
            return Err(ControlError::TooMany);
        }
        let message = decode(bytes)?;
        self.buffer.drain(..PREFIX + len);
        self.begun = (!self.buffer.is_empty()).then_some(now);
        Ok(Some(message))
    }
}

/// How many messages a peer may still send.
#[derive(Debug)]
struct Allowance {
    /// The time by which all messages so far would have come at the allowed rate.
    paid: Instant,
}

impl Allowance {
    /// Between two messages in the long run.
    const EACH: Duration = Duration::from_micros(1_000_000 / MESSAGES_A_SECOND as u64);

    const fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Takes one message; whether it is allowed.
    fn take(&mut self, now: Instant) -> bool {
        self.paid = self.paid.max(now) + Self::EACH;
        self.paid <= now + Self::EACH * MESSAGE_BURST
    }
}

/// Where messages to the peer go. Copies write to the same stream, which ends when all are dropped.
#[derive(Clone, Debug)]
pub struct ControlWriter(mpsc::Sender<Message>);

impl ControlWriter {
    /// Writes messages to `stream` in a task of its own, which ends when all of them are written and the
    /// peer has them, or the connection has ended.
    #[must_use]
    pub fn start(stream: SendStream) -> (Self, JoinHandle<()>) {
        let (sender, messages) = mpsc::channel(OUTBOX);
        (Self(sender), tokio::spawn(write_all(stream, messages)))
    }

    /// Sends a message, once there is room for it.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), ControlError> {
        let sent = self.0.send(message.into()).await;
        sent.map_err(|_| ControlError::ended(&"its writer has ended"))
    }

    /// Sends a message that nobody misses, if there is room for it; whether there was.
    pub fn try_send(&self, message: impl Into<Message>) -> bool {
        self.0.try_send(message.into()).is_ok()
    }
}

async fn write_all(mut stream: SendStream, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if write(&mut stream, &message).await.is_err() {
            return;
        }
    }
    if stream.finish().is_ok() {
        // So that the end of the connection does not overtake the last message.
        let _ = tokio::time::timeout(LAST_WORD, stream.stopped()).await;
    }
}

/// Writes one message: its length in 16 bits, then its CBOR.
///
/// # Errors
/// If the connection ended, or the message is too long.
pub async fn write(stream: &mut SendStream, message: &Message) -> Result<(), ControlError> {
    let body = encode(message)?;
    let len = u16::try_from(body.len()).map_err(|_| ControlError::TooLong(body.len()))?;
    let bytes = [&len.to_be_bytes()[..], &body].concat();
    let written = stream.write_all(&bytes).await;
    written.map_err(|error| ControlError::ended(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_send_a_burst_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for _ in 0..MESSAGE_BURST {
            assert!(allowance.take(start));
        }
        assert!(!allowance.take(start));
        let mut allowance = Allowance::new(start);
        for n in 0..10 * MESSAGES_A_SECOND {
            assert!(allowance.take(start + Duration::from_secs_f64(f64::from(n) / 32.0)));
        }
        // An hour of silence saves up no more than a burst.
        let later = start + Duration::from_secs(3_600);
        let taken = (0..1_000).filter(|_| allowance.take(later)).count();
        assert_eq!(taken, MESSAGE_BURST as usize);
    }
}

//! The control connection of an edge: one reader, and those who ask for sessions on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{Mutex, mpsc};

use crate::control::limits::{HELLO_TIMEOUT, OPEN_TIMEOUT};
use crate::control::{
    Accept, Ciphers, Close, CloseCode, ControlError, ControlReader, ControlWriter, Drain, Hello,
    Message, Missing, Open, Refuse, SessionNumber, Statistics, Want, Welcome,
};
use crate::identity::Verified;

/// News that may wait for the edge; what is lost rather than late is not told beyond.
const NEWS: usize = 64;
/// Answers to an Open that may wait for whoever asked.
const ANSWERS: usize = 16;
/// How long the cloud may take to hear of the end of a connection.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Sends what a cloud lacks. Shared by all connections.
pub trait Blobs: Send + Sync {
    /// Answers `want` in a task of its own: with Offer and the bytes on a unidirectional stream of
    /// `connection`, or with Missing.
    fn answer(&self, want: Want, connection: quinn::Connection, writer: ControlWriter);
}

/// A cloud refused what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the cloud refuses: {}", .0.shown())]
pub struct Refused(pub Refuse);

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum News {
    /// The cloud ended a session.
    Closed(SessionNumber, CloseCode, String),
    /// The cloud will end.
    Drain(Drain),
    /// How the cloud fares.
    Statistics(Statistics),
    /// The connection has ended.
    Ended(CloseCode, String),
}

/// A connection to a cloud that has said welcome.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) cloud: SocketAddr,
    /// Why it is taken for the right one.
    pub(super) verified: Verified,
    pub(super) desk: Arc<Desk>,
    pub(super) news: mpsc::Receiver<News>,
}

/// Where sessions are asked for.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) connection: quinn::Connection,
    /// What the cloud protects datagrams with.
    pub(super) ciphers: Ciphers,
    writer: ControlWriter,
    /// Held from Open to its answer: one at a time.
    answers: Mutex<mpsc::Receiver<Answer>>,
    /// The number of the next session.
    next: AtomicU32,
}

#[derive(Debug)]
enum Answer {
    Accept(Accept),
    Refuse(Refuse),
    /// None yet.
    Wait,
}

impl Link {
    /// Says hello on a connection that has just been made.
    ///
    /// # Errors
    /// If the cloud does not answer, or refuses the edge.
    pub(super) async fn greet(
        id: u64,
        (connection, verified): (quinn::Connection, Verified),
        hello: Hello,
        blobs: Option<Arc<dyn Blobs>>,
    ) -> Result<Self> {
        let (send, receive) = connection.open_bi().await?;
        let (writer, _written) = ControlWriter::start(send);
        let mut reader = ControlReader::new(receive);
        writer.send(hello).await?;
        let welcome: Welcome = match reader.next_within(HELLO_TIMEOUT, "Welcome").await? {
            Message::Welcome(welcome) => *welcome,
            Message::Refuse(refuse) => return Err(Refused(*refuse).into()),
            other => return Err(unexpected("Welcome or Refuse", &other).into()),
        };
        let (news, inbox) = mpsc::channel(NEWS);
        let (answers, answered) = mpsc::channel(ANSWERS);
        let desk = Arc::new(Desk {
            connection: connection.clone(),
            writer: writer.clone(),
            answers: Mutex::new(answered),
            next: AtomicU32::new(1),
            ciphers: welcome.capabilities.ciphers,
        });
        let cloud = connection.remote_address();
        let read = Reading {
            connection,
            writer,
            news,
            answers,
            blobs,
        };
        tokio::spawn(read.run(reader));
        Ok(Self {
            id,
            cloud,
            verified,
            desk,
            news: inbox,
        })
    }

    /// Ends the connection in good order.
    pub(super) async fn close(self) {
        let Desk {
            connection, writer, ..
        } = &*self.desk;
        // The cloud may have gone first.
        let _ = writer.send(Close::done()).await;
        let _ = tokio::time::timeout(LAST_WORD, connection.closed()).await;
        connection.close(0_u32.into(), b"done");
    }
}

impl Desk {
    /// Asks for the session that `open` makes of its number.
    ///
    /// # Errors
    /// [`Refused`], or if the cloud does not answer.
    pub(super) async fn open(&self, open: impl FnOnce(SessionNumber) -> Open) -> Result<Accept> {
        let mut answers = self.answers.lock().await;
        let number = SessionNumber(self.next.fetch_add(1, Ordering::Relaxed));
        self.writer.send(open(number)).await?;
        loop {
            let answer = tokio::time::timeout(OPEN_TIMEOUT, answers.recv()).await;
            let Ok(answer) = answer else {
                let given_up = Close::new(CloseCode::Idle, "the edge has waited long enough");
                let _ = self.writer.send(given_up.of(number)).await;
                bail!("the cloud does not answer our request for a session");
            };
            match answer {
                Some(Answer::Accept(accept)) if accept.session == number => return Ok(accept),
                Some(Answer::Refuse(refuse)) if refuse.session.is_none_or(|of| of == number) => {
                    return Err(Refused(refuse).into());
                }
                // Of this one, or of one that was given up.
                Some(_) => {}
                None => {
                    let reason = self.connection.close_reason();
                    let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
                    return Err(ControlError::ended(&reason).into());
                }
            }
        }
    }

    /// Tells the cloud that a session has done its work.
    pub(super) async fn close(&self, number: SessionNumber) {
        // The cloud may have gone first.
        let _ = self.writer.send(Close::done().of(number)).await;
    }
}

const fn unexpected(expected: &'static str, found: &Message) -> ControlError {
    let found = found.name();
    ControlError::Unexpected { expected, found }
}

/// The reader of a connection.
struct Reading {
    connection: quinn::Connection,
    writer: ControlWriter,
    news: mpsc::Sender<News>,
    answers: mpsc::Sender<Answer>,
    blobs: Option<Arc<dyn Blobs>>,
}

impl Reading {
    /// Hands messages to whom they concern, until the connection ends.
    async fn run(self, mut reader: ControlReader) {
        let (code, reason) = loop {
            let taken = match reader.next().await {
                Ok(message) => self.take(message).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(ended)) => break ended,
                Err(error @ ControlError::Ended(_)) => break self.closed(&error).await,
                Err(error) => {
                    let (code, reason) = (error.close_code(), error.to_string());
                    self.connection
                        .close((code as u32).into(), reason.as_bytes());
                    break (code, reason);
                }
            }
        };
        // The edge may have gone.
        let _ = self.news.send(News::Ended(code, reason)).await;
    }

    /// Why the connection ended.
    async fn closed(&self, error: &ControlError) -> (CloseCode, String) {
        let closed = tokio::time::timeout(LAST_WORD, self.connection.closed()).await;
        match closed {
            Ok(quinn::ConnectionError::ApplicationClosed(closed)) => {
                let code = u32::try_from(closed.error_code.into_inner()).unwrap_or(u32::MAX);
                let words = String::from_utf8_lossy(&closed.reason);
                let reason = ControlError::ended(&words).to_string();
                (CloseCode::from_code(code), reason)
            }
            Ok(other) => (CloseCode::Failed, ControlError::ended(&other).to_string()),
            Err(_) => (CloseCode::Failed, error.to_string()),
        }
    }

    /// Takes a message; why the connection has ended, if it says so.
    async fn take(&self, message: Message) -> Result<Option<(CloseCode, String)>, ControlError> {
        match message {
            // Whoever asked may have given up.
            Message::Accept(accept) => drop(self.answers.try_send(Answer::Accept(*accept))),
            Message::Refuse(refuse) => drop(self.answers.try_send(Answer::Refuse(*refuse))),
            Message::Wait(_) => drop(self.answers.try_send(Answer::Wait)),
            Message::Close(close) => match close.session {
                None => return Ok(Some((close.code(), close.shown()))),
                Some(number) => {
                    let closed = News::Closed(number, close.code(), close.shown());
                    let _ = self.news.send(closed).await;
                }
            },
            Message::Drain(drain) => drop(self.news.send(News::Drain(*drain)).await),
            Message::Statistics(statistics) => {
                drop(self.news.try_send(News::Statistics(*statistics)));
            }
            Message::Want(want) => match &self.blobs {
                Some(blobs) => {
                    blobs.answer(*want, self.connection.clone(), self.writer.clone());
                }
                None => {
                    let missing = Missing::new(want.digest(), "this edge sends no files");
                    self.writer.send(missing).await?;
                }
            },
            Message::Unknown(_) => {}
            other => return Err(unexpected("a message of a cloud", &other)),
        }
        Ok(None)
    }
}

//! One edge at a cloud: the messages of its connection, and the sessions on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::grant::Granted;
use super::peer::{Answered, Peer};
use super::session::{Ended, Running};
use super::{CloudNotice, Opener, Phase, Shared};
use crate::control::channel::write;
use crate::control::limits::{HELLO_TIMEOUT, SESSIONLESS_TIMEOUT, WAIT_INTERVAL};
use crate::control::{
    Accept, Capabilities, Close, CloseCode, ControlError, ControlReader, ControlWriter, Feature,
    Features, Hello, Message, Open, Refuse, RefuseCode, SessionLimits, SessionNumber, Statistics,
    Token, VERSIONS, Wait, Welcome,
};
use crate::identity::{alert, name_of};
use crate::stream::MAX_TENSOR_BYTES;

/// Why a connection ends.
#[derive(Debug)]
pub(super) struct End {
    code: CloseCode,
    /// In words: what the edge hears where the cloud ends it, what the cloud's notices say else.
    reason: String,
    /// Whether the edge ended it.
    by_edge: bool,
}

impl End {
    fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        let by_edge = false;
        Self {
            code,
            reason,
            by_edge,
        }
    }

    fn by_edge(reason: impl Into<String>) -> Self {
        Self {
            code: CloseCode::Done,
            reason: reason.into(),
            by_edge: true,
        }
    }
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Ended(_) => Self::by_edge(error.to_string()),
            _ => Self::new(error.close_code(), error.to_string()),
        }
    }
}

/// An edge that has said hello.
struct Greeted {
    uploads: bool,
    statistics: bool,
    drain: bool,
    name: Option<String>,
}

/// An Open at which the cloud works.
struct Opening {
    number: SessionNumber,
    task: JoinHandle<Result<Granted, Refuse>>,
    answers: mpsc::Sender<Answered>,
    wait: Interval,
}

/// An edge's connection at work.
pub(super) struct EdgeConnection<O> {
    shared: Arc<Shared<O>>,
    quic: quinn::Connection,
    writer: ControlWriter,
    edge: Greeted,
    sessions: BTreeMap<SessionNumber, Running>,
    /// The sessions' tasks.
    tasks: JoinSet<Ended>,
    opening: Option<Opening>,
    /// The number of the last Open.
    last: Option<SessionNumber>,
    /// When a connection without a session ends.
    sessionless_until: Instant,
    draining: bool,
}

/// Serves one edge, from its first message to its last.
pub(super) async fn serve<O: Opener>(shared: Arc<Shared<O>>, quic: quinn::Connection) {
    let peer = quic.remote_address();
    let refused = match tokio::time::timeout(HELLO_TIMEOUT, greet(&shared, &quic)).await {
        Ok(Ok((connection, reader, written))) => return connection.run(reader, written).await,
        Ok(Err(end)) => end,
        Err(_) => End::new(CloseCode::Idle, "it did not say hello in time"),
    };
    quic.close((refused.code as u32).into(), b"no session");
    shared.notify(CloudNotice::Refused {
        peer,
        reason: refused.reason,
        name: name_of(&quic).map(|name| name.to_string()),
    });
}

/// Says that an edge came to no connection, if it was about who one of the two is: it has been told.
pub(super) fn no_handshake<O>(shared: &Shared<O>, peer: SocketAddr, error: &quinn::ConnectionError)
where
    O: Opener,
{
    if let Some(reason) = alert::at_cloud(error) {
        shared.notify(CloudNotice::Refused {
            peer,
            reason: reason.to_owned(),
            name: None,
        });
    }
}

type Greeting<O> = (EdgeConnection<O>, ControlReader, JoinHandle<()>);

/// Exchanges the first messages.
async fn greet<O: Opener>(
    shared: &Arc<Shared<O>>,
    quic: &quinn::Connection,
) -> Result<Greeting<O>, End> {
    let accepted = quic.accept_bi().await;
    let (mut send, receive) = accepted.map_err(|error| ControlError::ended(&error))?;
    let mut reader = ControlReader::new(receive);
    let edge = match hello(shared, quic, &mut reader).await? {
        Ok(edge) => edge,
        Err(refuse) => {
            let reason = refuse.reason.clone();
            if write(&mut send, &refuse.into()).await.is_ok() && send.finish().is_ok() {
                // So that the end of the connection does not overtake the message.
                let _ = send.stopped().await;
            }
            return Err(End::new(CloseCode::Refused, reason));
        }
    };
    let policy = &shared.policy;
    let limits = SessionLimits {
        upload_bytes: policy.upload_bytes,
        statistics_ms: u32::try_from(policy.statistics.as_millis()).unwrap_or(0),
        session_bytes: policy.session_memory,
        ..SessionLimits::new(MAX_TENSOR_BYTES as u64, policy.sessions())
    };
    let features = [Feature::Upload, Feature::Statistics, Feature::Drain];
    let capabilities = Capabilities::new(
        shared.carriers.bits(),
        policy.ciphers,
        Features::from_iter(features),
    );
    let welcome = Welcome::new(VERSIONS.highest, capabilities, limits).to(edge.name.clone());
    write(&mut send, &welcome.into()).await?;
    let (writer, written) = ControlWriter::start(send);
    let connection = EdgeConnection {
        shared: Arc::clone(shared),
        quic: quic.clone(),
        writer,
        edge,
        sessions: BTreeMap::new(),
        tasks: JoinSet::new(),
        opening: None,
        last: None,
        sessionless_until: Instant::now() + HELLO_TIMEOUT,
        draining: false,
    };
    Ok((connection, reader, written))
}

/// Reads Hello, and decides whether the edge may connect.
async fn hello<O: Opener>(
    shared: &Shared<O>,
    quic: &quinn::Connection,
    reader: &mut ControlReader,
) -> Result<Result<Greeted, Refuse>, ControlError> {
    let hello: Hello = match reader.next().await {
        Ok(Message::Hello(hello)) => *hello,
        Ok(other) => return Err(unexpected("Hello", &other)),
        Err(error @ ControlError::Version(_)) => {
            let refuse = Refuse::new(RefuseCode::Version, error.to_string());
            return Ok(Err(refuse));
        }
        Err(error) => return Err(error),
    };
    if !matches!(*shared.phase.borrow(), Phase::Serving) {
        let reason = "this cloud is shutting down";
        return Ok(Err(Refuse::new(RefuseCode::Draining, reason)));
    }
    let token = hello.token.as_ref().map_or(&[][..], Token::as_bytes);
    let admitted = shared.identity.admit(quic, token);
    let admitted =
        admitted.map_err(|denied| Refuse::new(RefuseCode::Unauthenticated, denied.to_string()));
    Ok(admitted.map(|name| {
        let features = hello.capabilities.features;
        Greeted {
            uploads: features.contains(Feature::Upload),
            statistics: features.contains(Feature::Statistics),
            drain: features.contains(Feature::Drain),
            name: name.map(|name| name.to_string()),
        }
    }))
}

const fn unexpected(expected: &'static str, found: &Message) -> ControlError {
    let found = found.name();
    ControlError::Unexpected { expected, found }
}

impl<O: Opener> EdgeConnection<O> {
    /// Serves the edge until its connection ends.
    async fn run(mut self, mut reader: ControlReader, written: JoinHandle<()>) {
        let mut phase = self.shared.phase.clone();
        let mut statistics = self.statistics_interval();
        let end = loop {
            let result = tokio::select! {
                message = reader.next() => match message {
                    Ok(message) => self.take(message).await,
                    Err(ControlError::Ended(_)) => Err(End::by_edge(self.why_ended())),
                    Err(error) => Err(error.into()),
                },
                event = progress(&mut self.opening) => self.progressed(event),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                _ = tick(&mut statistics) => self.tell_statistics().await,
                // The sender lives as long as the cloud.
                _ = phase.changed() => self.changed(&mut phase),
                () = sleep_until(self.sessionless_until), if self.is_sessionless() => {
                    Err(End::new(CloseCode::Idle, "the edge asked for no session in time"))
                }
            };
            if let Err(end) = result {
                break end;
            }
        };
        self.end(end, written).await;
    }

    /// Why the connection has ended, in words.
    fn why_ended(&self) -> String {
        match self.quic.close_reason() {
            Some(quinn::ConnectionError::ApplicationClosed(_)) => "the edge is done".to_owned(),
            Some(reason) => ControlError::ended(&reason).to_string(),
            None => ControlError::ended(&"the edge finished its stream").to_string(),
        }
    }

    fn is_sessionless(&self) -> bool {
        self.sessions.is_empty() && self.opening.is_none()
    }

    fn statistics_interval(&self) -> Option<Interval> {
        let each = self.shared.policy.statistics;
        (self.edge.statistics && !each.is_zero()).then(|| {
            let mut interval = interval_at(Instant::now() + each, each);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        })
    }

    /// Sends a message. An edge that does not read its messages loses its connection.
    fn say(&self, message: impl Into<Message>) -> Result<(), End> {
        if self.writer.try_send(message) {
            return Ok(());
        }
        Err(End::new(
            CloseCode::Limit,
            "the edge does not read its messages",
        ))
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Open(open) => self.open(*open),
            Message::Close(close) => self.close(&close),
            Message::Offer(offer) => self.answered(Answered::Offer(*offer)),
            Message::Missing(missing) => self.answered(Answered::Missing(*missing)),
            Message::Ask(_) => self.tell_statistics().await,
            Message::Unknown(_) => Ok(()),
            other => Err(unexpected("a message of an edge", &other).into()),
        }
    }

    /// Starts to work on a wish for a session.
    fn open(&mut self, open: Open) -> Result<(), End> {
        let number = open.session;
        if self.last.is_some_and(|last| number <= last) {
            let reason = "a session with a number that is not above those before";
            return Err(End::new(CloseCode::Protocol, reason));
        }
        if self.opening.is_some() {
            let reason = "a further Open before the answer to the one before";
            return Err(End::new(CloseCode::Protocol, reason));
        }
        self.last = Some(number);
        if let Err(refuse) = self.has_room(&open) {
            return self.refuse(number, refuse);
        }
        let replaced = open.replaces.and_then(|number| self.sessions.get(&number));
        let permit = match replaced {
            Some(replaced) => replaced.share_permit(),
            None => self.shared.permit(),
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(refuse) => return self.refuse(number, refuse),
        };
        let way = (self.quic.clone(), self.writer.clone());
        let (peer, answers) = Peer::new(number, way, self.edge.uploads, self.edge.name.clone());
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { shared.grant(open, peer, permit).await });
        let wait = interval_at(Instant::now() + WAIT_INTERVAL, WAIT_INTERVAL);
        self.opening = Some(Opening {
            number,
            task,
            answers,
            wait,
        });
        Ok(())
    }

    /// Whether the connection may have this session beside those that it has.
    fn has_room(&self, open: &Open) -> Result<(), Refuse> {
        if self.draining {
            let reason = "this cloud is shutting down";
            return Err(Refuse::new(RefuseCode::Draining, reason));
        }
        let (have, most) = (self.sessions.len(), self.shared.policy.sessions());
        if have >= most as usize {
            let reason = format!("this connection has {have} sessions; it may have {most}");
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        let whole = Granted::takes_connection(open.carrier);
        if self.sessions.values().any(Running::takes_connection) || (whole && have > 0) {
            let reason = "a session in QUIC needs a connection of its own";
            return Err(Refuse::new(RefuseCode::Busy, reason));
        }
        Ok(())
    }

    fn refuse(&self, number: SessionNumber, refuse: Refuse) -> Result<(), End> {
        self.shared.notify(CloudNotice::Refused {
            peer: self.quic.remote_address(),
            reason: refuse.reason.clone(),
            name: self.edge.name.clone(),
        });
        self.say(refuse.of(number))
    }

    /// The cloud has come further with an Open.
    fn progressed(&mut self, event: Progress) -> Result<(), End> {
        let number = match (&self.opening, &event) {
            (Some(opening), Progress::Working) => {
                let wait = Wait::new(opening.number, "the session is being prepared");
                return self.say(wait);
            }
            (Some(opening), Progress::Done(_)) => opening.number,
            (None, _) => return Ok(()),
        };
        self.opening = None;
        self.sessionless_until = Instant::now() + SESSIONLESS_TIMEOUT;
        let granted = match event {
            Progress::Done(Ok(granted)) => *granted,
            Progress::Done(Err(refuse)) => return self.refuse(number, refuse),
            Progress::Working => return Ok(()),
        };
        let (id, carrier) = (granted.id(), granted.carrier());
        self.say(Accept::new(number, id.value()))?;
        self.shared.notify(CloudNotice::Opened {
            connection: id,
            peer: self.quic.remote_address(),
            carrier,
            stream: Box::new(granted.stream().clone()),
            name: self.edge.name.clone(),
        });
        let running = granted.start(number, &mut self.tasks);
        self.sessions.insert(number, running);
        Ok(())
    }

    fn close(&mut self, close: &Close) -> Result<(), End> {
        let reason = match close.code() {
            CloseCode::Done => "the edge is done".to_owned(),
            _ => format!("the edge says: {}", close.shown()),
        };
        let Some(number) = close.session else {
            return Err(End::by_edge(reason));
        };
        if let Some(running) = self.sessions.get_mut(&number) {
            running.stop(reason);
            return Ok(());
        }
        if let Some(opening) = self.opening.take_if(|opening| opening.number == number) {
            opening.task.abort();
            self.sessionless_until = Instant::now() + SESSIONLESS_TIMEOUT;
            return Ok(());
        }
        // It may have ended here meanwhile.
        if self.last.is_some_and(|last| number <= last) {
            return Ok(());
        }
        let reason = "a Close of a session that was never asked for";
        Err(End::new(CloseCode::Protocol, reason))
    }

    /// The edge has answered Want.
    fn answered(&self, answer: Answered) -> Result<(), End> {
        match &self.opening {
            // Its Open may have been given up meanwhile.
            None => Ok(()),
            Some(opening) => opening.answers.try_send(answer).map_err(|_| {
                let reason = "an answer to a question that was not asked";
                End::new(CloseCode::Protocol, reason)
            }),
        }
    }

    /// A session has ended.
    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Result<(), End> {
        let Ok(ended) = ended else {
            return Err(End::new(CloseCode::Failed, "a session's task failed"));
        };
        self.sessions.remove(&ended.number);
        self.sessionless_until = Instant::now() + SESSIONLESS_TIMEOUT;
        if !ended.by_edge {
            let close = Close::new(ended.code, ended.reason.clone()).of(ended.number);
            self.say(close)?;
        }
        self.shared.notify(ended.notice());
        Ok(())
    }

    async fn tell_statistics(&self) -> Result<(), End> {
        if !self.edge.statistics {
            return Ok(());
        }
        for (number, running) in &self.sessions {
            let mut statistics = Statistics::new(*number, self.shared.session_count());
            if let Ok(stats) = running.stats().await {
                (statistics.answered, statistics.busy) = (stats.answered, stats.busy);
                if let Some(load) = stats.load {
                    statistics.queue = u32::from(load.queue_length);
                    statistics.service_us = Some(load.service_micros);
                    statistics.rate_mhz = 1_000_000_000_u32.checked_div(load.admission_micros);
                }
            }
            // An edge that is behind with its messages misses nothing by the next.
            self.writer.try_send(statistics);
        }
        Ok(())
    }

    /// The cloud is told to end, or its patience with edges that do not is over.
    fn changed(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), End> {
        let drain = match &*phase.borrow_and_update() {
            Phase::Serving => return Ok(()),
            Phase::Draining(drain) => drain.clone(),
            Phase::Closing => {
                let reason = "the cloud is shutting down";
                return Err(End::new(CloseCode::ShuttingDown, reason));
            }
        };
        self.draining = true;
        if self.is_sessionless() {
            let reason = "the cloud is shutting down";
            return Err(End::new(CloseCode::ShuttingDown, reason));
        }
        if self.edge.drain {
            self.say(drain)?;
        }
        Ok(())
    }

    /// Ends every session, and the connection.
    async fn end(mut self, end: End, written: JoinHandle<()>) {
        if let Some(opening) = self.opening.take() {
            opening.task.abort();
        }
        for running in self.sessions.values_mut() {
            running.stop(end.reason.clone());
        }
        if self.sessions.is_empty() && !end.by_edge && end.code != CloseCode::ShuttingDown {
            self.shared.notify(CloudNotice::Refused {
                peer: self.quic.remote_address(),
                reason: end.reason.clone(),
                name: self.edge.name.clone(),
            });
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(ended) = ended {
                self.shared.notify(ended.notice());
            }
        }
        if !end.by_edge {
            self.writer
                .try_send(Close::new(end.code, end.reason.clone()));
        }
        let (quic, code) = (self.quic.clone(), end.code as u32);
        drop(self);
        // Until the edge has the last message.
        let _ = written.await;
        quic.close(code.into(), end.reason.as_bytes());
    }
}

/// How far the cloud has come with an Open.
enum Progress {
    /// It is at it.
    Working,
    /// It knows its answer.
    Done(Result<Box<Granted>, Refuse>),
}

/// Waits for progress; for ever where there is nothing to do.
async fn progress(opening: &mut Option<Opening>) -> Progress {
    let Some(opening) = opening else {
        return std::future::pending().await;
    };
    tokio::select! {
        done = &mut opening.task => Progress::Done(match done {
            Ok(granted) => granted.map(Box::new),
            Err(error) => Err(Refuse::new(RefuseCode::Internal, error.to_string())),
        }),
        _ = opening.wait.tick() => Progress::Working,
    }
}

async fn tick(interval: &mut Option<Interval>) -> Instant {
    match interval {
        Some(interval) => interval.tick().await,
        None => std::future::pending().await,
    }
}

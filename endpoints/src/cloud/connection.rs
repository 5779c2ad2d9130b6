//! One edge at a cloud: the messages of its connection, and the sessions on it.

mod end;
mod greeting;
mod opening;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use self::end::End;
use self::greeting::{Greeted, greet};
use self::opening::{Opening, progress};
use super::peer::Answered;
use super::session::{Ended, Running};
use super::{CloudNotice, Opener, Phase, Shared};
use crate::control::limits::{HELLO_TIMEOUT, SESSIONLESS_TIMEOUT};
use crate::control::{
    Close, CloseCode, ControlError, ControlReader, ControlWriter, Message, SessionNumber,
    Statistics,
};
use crate::identity::{alert, name_of};

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

async fn tick(interval: &mut Option<Interval>) -> Instant {
    match interval {
        Some(interval) => interval.tick().await,
        None => std::future::pending().await,
    }
}

//! What keeps a stream going: frames, answers, and sessions that come and go.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use tensorwire_protocol::Time;
use tensorwire_protocol::wire::FrameNumber;
use tokio::sync::{mpsc, oneshot};

use super::change::Change;
use super::connector::{Base, Connector, Succession};
use super::leg::{Happening, Leg, Legs};
use super::link::{Link, News};
use super::notice::{EdgeNotice, Notices};
use super::pipeline::Pipeline;
use super::reconnect::Reconnect;
use super::{FrameSource, Outcome};
use crate::control::CloseCode;

type Making = Pin<Box<dyn Future<Output = Result<(Option<Link>, Leg)>> + Send>>;

/// What a session is being made for.
enum Purpose {
    /// The stream goes on with it. There has been none since then.
    Back(Time),
    /// The stream changes to it, by this description.
    Change {
        connector: Box<Connector>,
        source: Option<Arc<dyn FrameSource>>,
        reply: oneshot::Sender<Result<FrameNumber>>,
    },
}

/// How an edge gets its sessions.
pub(super) struct Sessions<'a> {
    pub(super) connector: &'a mut Connector,
    pub(super) base: &'a Base,
    pub(super) reconnect: Reconnect,
    pub(super) notices: Notices,
    pub(super) changes: &'a mut mpsc::Receiver<Change>,
}

/// A stream at work.
pub(super) struct Drive<'a, 'p> {
    pub(super) pipeline: &'a mut Pipeline<'p>,
    pub(super) sessions: Sessions<'a>,
    /// A session that is being made.
    making: Option<(Purpose, Making)>,
    /// Why the stream ends when the last answers are in.
    ending: Option<anyhow::Error>,
}

impl<'a, 'p> Drive<'a, 'p> {
    pub(super) const fn new(pipeline: &'a mut Pipeline<'p>, sessions: Sessions<'a>) -> Self {
        Self {
            pipeline,
            sessions,
            making: None,
            ending: None,
        }
    }

    /// Keeps every stage at work until the stream is done.
    pub(super) async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<()> {
        let clock = self.pipeline.clock();
        let mut stop = std::pin::pin!(stop);
        loop {
            self.pipeline.advance(tell).await?;
            if self.pipeline.pass_on(tell).await? {
                continue;
            }
            self.pipeline.retire(tell).await;
            if self.pipeline.is_done() {
                return self.ending.take().map_or(Ok(()), Err);
            }
            let pipeline = &mut *self.pipeline;
            let (capture_at, ask_again) = (pipeline.capture_at(), pipeline.ask_again());
            let overdue = pipeline.legs.first_overdue();
            let (may_change, changes) = (self.making.is_none(), &mut self.sessions.changes);
            tokio::select! {
                happening = pipeline.legs.next() => self.happened(happening, tell).await?,
                () = clock.sleep_until(capture_at) => pipeline.capture().await?,
                done = pipeline.camera.done() => pipeline.captured(done, tell).await?,
                done = pipeline.model.done() => pipeline.computed(done, tell).await?,
                done = pipeline.encoder.done() => pipeline.encoded(done, tell).await?,
                () = clock.sleep_until(ask_again) => {}
                () = clock.sleep_until(overdue) => pipeline.legs.give_up(tell),
                () = &mut stop, if !pipeline.ended => pipeline.ended = true,
                made = made(&mut self.making) => self.made(made)?,
                Some(change) = changes.recv(), if may_change => self.change(change),
            }
        }
    }

    /// Something has happened on a session or connection.
    async fn happened(
        &mut self,
        happening: Happening,
        tell: &mut impl FnMut(Outcome),
    ) -> Result<()> {
        let legs: &mut Legs = self.pipeline.legs;
        match happening {
            Happening::Event(link, number, event) => {
                let Some(leg) = legs.find_mut(link, number) else {
                    return Ok(());
                };
                match event {
                    Some(event) => leg.answers.take(event, tell),
                    None => {
                        let reason = leg.session.end_reason().to_owned();
                        if legs.lose(link, number, tell).await {
                            return self.lost(CloseCode::Failed, reason);
                        }
                    }
                }
            }
            Happening::News(link, News::Closed(number, code, reason)) => {
                if legs.lose(link, number, tell).await {
                    return self.lost(code, reason);
                }
            }
            Happening::News(link, News::Ended(code, reason)) => {
                if legs.lose_link(link, tell).await {
                    return self.lost(code, reason);
                }
            }
            Happening::News(link, News::Drain(drain)) => {
                let (grace, reason) = (drain.grace(), drain.shown());
                let avoid = legs.link().filter(|of| of.id == link).map(|of| of.cloud);
                if let Some(avoid) = avoid {
                    legs.drain();
                    let notice = EdgeNotice::Draining { grace, reason };
                    self.sessions.notices.tell(notice);
                    self.come_back(Some(avoid), || {
                        anyhow::anyhow!("the cloud is shutting down")
                    });
                }
            }
            Happening::News(_, News::Statistics(statistics)) => {
                let notice = EdgeNotice::Statistics(statistics);
                self.sessions.notices.tell(notice);
            }
        }
        Ok(())
    }

    /// The current session is lost.
    fn lost(&mut self, code: CloseCode, reason: String) -> Result<()> {
        let for_good = matches!(
            code,
            CloseCode::Protocol | CloseCode::Refused | CloseCode::Limit
        );
        let error = anyhow::anyhow!(reason.clone()).context("the cloud went away");
        if for_good || self.sessions.reconnect == Reconnect::Never {
            return Err(error);
        }
        self.sessions.notices.tell(EdgeNotice::Lost { reason });
        self.come_back(None, || error);
        Ok(())
    }

    /// Starts to look for a session to go on with; without hope of one the stream ends with its last
    /// answers.
    fn come_back(&mut self, avoid: Option<SocketAddr>, why: impl FnOnce() -> anyhow::Error) {
        if let Some((Purpose::Change { reply, .. }, _)) = self.making.take() {
            let gone = anyhow::anyhow!("the cloud went away while the stream changed");
            // Whoever asked may have gone.
            let _ = reply.send(Err(gone));
        }
        if self.sessions.reconnect == Reconnect::Never {
            self.pipeline.ended = true;
            self.ending = Some(why());
            return;
        }
        let Sessions {
            connector,
            base,
            reconnect,
            notices,
            ..
        } = &self.sessions;
        let back = (*connector).clone().back(
            (*base).clone(),
            (self.pipeline.generation(), avoid),
            *reconnect,
            notices.clone(),
        );
        let since = self.pipeline.clock().now();
        self.making = Some((Purpose::Back(since), Box::pin(back)));
    }

    /// A session was made, or could not be.
    fn made(&mut self, made: Result<(Option<Link>, Leg)>) -> Result<()> {
        let Some((purpose, _)) = self.making.take() else {
            return Ok(());
        };
        match (purpose, made) {
            (Purpose::Back(since), Ok((link, leg))) => {
                let away = self.pipeline.clock().now() - since;
                if let Some(link) = link {
                    let cloud = link.cloud;
                    let notice = EdgeNotice::Back { cloud, away };
                    self.sessions.notices.tell(notice);
                    self.pipeline.legs.add_link(link);
                }
                self.pipeline.resume(leg);
            }
            (Purpose::Back(_), Err(error)) => return Err(error).context("the cloud went away"),
            (
                Purpose::Change {
                    connector,
                    source,
                    reply,
                },
                Ok((link, leg)),
            ) => {
                if let Some(link) = link {
                    self.pipeline.legs.add_link(link);
                }
                *self.sessions.connector = *connector;
                let from = self.pipeline.change(leg, source);
                self.sessions.notices.tell(EdgeNotice::Changed { from });
                // Whoever asked may have gone.
                let _ = reply.send(Ok(from));
            }
            (Purpose::Change { reply, .. }, Err(error)) => {
                let _ = reply.send(Err(error));
            }
        }
        Ok(())
    }

    /// Starts to change the stream.
    fn change(&mut self, change: Change) {
        let Change {
            stream,
            protection,
            source,
            reply,
        } = change;
        let Some((link, leg)) = self
            .pipeline
            .legs
            .link()
            .zip(self.pipeline.legs.current.as_ref())
        else {
            let _ = reply.send(Err(anyhow::anyhow!("there is no session to change")));
            return;
        };
        let connector = self.sessions.connector.changed(stream, protection);
        let making = connector.clone().change(
            self.sessions.base.clone(),
            (link.id, link.cloud, Arc::clone(&link.desk)),
            Succession::after(leg),
        );
        let purpose = Purpose::Change {
            connector: Box::new(connector),
            source,
            reply,
        };
        self.making = Some((purpose, Box::pin(making)));
    }
}

/// Waits for the session that is being made; for ever if none is.
async fn made(making: &mut Option<(Purpose, Making)>) -> Result<(Option<Link>, Leg)> {
    match making {
        Some((_, making)) => making.await,
        None => std::future::pending().await,
    }
}

//! The sessions of an edge: the one that takes frames, and those that only wait for their last answers.

use std::task::{Context, Poll};
use std::time::Duration;

use tensorwire_protocol::{Event, Time};
use tokio::sync::mpsc;

use super::Outcome;
use super::answers::Answers;
use super::link::{Link, News};
use crate::control::SessionNumber;
use crate::datapath::{PathStats, SessionHandle};

/// Sessions whose counters are kept after their end, the last ones.
const KEPT: usize = 64;

/// A session of an edge.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) session: SessionHandle,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) answers: Answers,
    pub(super) deadline: Duration,
    /// Which of the edge's streams it carries: 0 for the first, one more after each change.
    pub(super) generation: u64,
    /// The connection on which it was asked for.
    pub(super) link: u64,
    /// Its number there.
    pub(super) number: SessionNumber,
    /// Whether it takes no more frames, not even those of its own stream.
    pub(super) drained: bool,
    /// When it is closed at the latest, where nobody keeps account of its answers.
    pub(super) until: Option<Time>,
}

/// The sessions of an edge, and their connections.
#[derive(Debug, Default)]
pub(super) struct Legs {
    pub(super) current: Option<Leg>,
    /// Oldest first.
    pub(super) retiring: Vec<Leg>,
    links: Vec<Link>,
    past: Vec<PathStats>,
}

/// What happens on one of them.
#[derive(Debug)]
pub(super) enum Happening {
    /// On the session with this number on this connection; none: it has ended.
    Event(u64, SessionNumber, Option<Event>),
    /// On a connection.
    News(u64, News),
}

impl Legs {
    /// Keeps a connection.
    pub(super) fn add_link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// The connection of the current session.
    pub(super) fn link(&self) -> Option<&Link> {
        let id = self.current.as_ref()?.link;
        self.links.iter().find(|link| link.id == id)
    }

    /// The session that takes the tensors of a stream.
    pub(super) fn taking(&self, generation: u64) -> Option<&Leg> {
        let current = self.current.iter();
        let mut taking = current.chain(&self.retiring).filter(|leg| !leg.drained);
        taking.find(|leg| leg.generation == generation)
    }

    /// The same, to be told of what was sent.
    pub(super) fn taking_mut(&mut self, generation: u64) -> Option<&mut Leg> {
        let current = self.current.iter_mut();
        let mut taking = current.chain(&mut self.retiring).filter(|leg| !leg.drained);
        taking.find(|leg| leg.generation == generation)
    }

    /// The session with this number on this connection.
    pub(super) fn find_mut(&mut self, link: u64, number: SessionNumber) -> Option<&mut Leg> {
        let current = self.current.iter_mut();
        let mut all = current.chain(&mut self.retiring);
        all.find(|leg| leg.link == link && leg.number == number)
    }

    fn all(&self) -> impl Iterator<Item = &Leg> {
        self.current.iter().chain(&self.retiring)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.current.iter_mut().chain(&mut self.retiring)
    }

    /// Tensors that wait for their answers.
    pub(super) fn unanswered(&self) -> usize {
        self.all().map(|leg| leg.answers.len()).sum()
    }

    /// When the oldest unanswered tensor is given up.
    pub(super) fn first_overdue(&self) -> Option<Time> {
        self.all()
            .filter_map(|leg| leg.answers.first_overdue())
            .min()
    }

    /// Gives up the tensors that are overdue.
    pub(super) fn give_up(&mut self, tell: &mut impl FnMut(Outcome)) {
        self.all_mut().for_each(|leg| leg.answers.give_up(tell));
    }

    /// Has `leg` take the place of the current session, which waits for its last answers.
    pub(super) fn succeed(&mut self, leg: Leg) {
        let before = self.current.replace(leg);
        self.retiring.extend(before);
    }

    /// Has the current session take no more frames, and wait for its last answers.
    pub(super) fn drain(&mut self) {
        self.retiring.extend(self.current.take().map(|leg| Leg {
            drained: true,
            ..leg
        }));
    }

    /// Waits for what happens next; for ever where there is nothing. Nothing is lost if the wait is given
    /// up.
    pub(super) async fn next(&mut self) -> Happening {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// What has happened.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Happening> {
        // Answers that came before the end of a connection are told first.
        for leg in self.current.iter_mut().chain(&mut self.retiring) {
            if let Poll::Ready(event) = leg.events.poll_recv(context) {
                return Poll::Ready(Happening::Event(leg.link, leg.number, event));
            }
        }
        for link in &mut self.links {
            if let Poll::Ready(Some(news)) = link.news.poll_recv(context) {
                return Poll::Ready(Happening::News(link.id, news));
            }
        }
        Poll::Pending
    }

    /// A session has ended: what was not answered will not be. Whether it was the current one.
    pub(super) async fn lose(
        &mut self,
        link: u64,
        number: SessionNumber,
        tell: &mut impl FnMut(Outcome),
    ) -> bool {
        let is_it = |leg: &mut Leg| leg.link == link && leg.number == number;
        let current = self.current.take_if(is_it);
        let lost = current.is_some();
        let ended = current.or_else(|| {
            let place = self.retiring.iter_mut().position(is_it)?;
            Some(self.retiring.remove(place))
        });
        if let Some(leg) = ended {
            self.end(leg, tell).await;
        }
        self.close_links();
        lost
    }

    /// A connection has ended, and every session on it. Whether the current one was.
    pub(super) async fn lose_link(&mut self, id: u64, tell: &mut impl FnMut(Outcome)) -> bool {
        let current = self.current.take_if(|leg| leg.link == id);
        let lost = current.is_some();
        let retiring: Vec<Leg> = self.retiring.extract_if(.., |leg| leg.link == id).collect();
        for leg in current.into_iter().chain(retiring) {
            self.end(leg, tell).await;
        }
        self.links.retain(|link| link.id != id);
        lost
    }

    /// Closes the retiring sessions that have nothing more to wait for: the stream `holds` no tensor of
    /// theirs, and each is answered. Connections that no session needs any more end with them.
    pub(super) async fn retire(
        &mut self,
        now: Time,
        holds: impl Fn(u64) -> bool,
        tell: &mut impl FnMut(Outcome),
    ) {
        let done = |leg: &mut Leg| match leg.until {
            Some(until) => until <= now,
            None => leg.answers.len() == 0 && (leg.drained || !holds(leg.generation)),
        };
        let done: Vec<Leg> = self.retiring.extract_if(.., done).collect();
        for leg in done {
            let (link, number) = (leg.link, leg.number);
            self.end(leg, tell).await;
            if let Some(link) = self.links.iter().find(|of| of.id == link) {
                link.desk.close(number).await;
            }
            self.close_links();
        }
    }

    /// When a retiring session is to be closed.
    pub(super) fn retire_at(&self) -> Option<Time> {
        self.retiring.iter().filter_map(|leg| leg.until).min()
    }

    /// Ends a session, and keeps what it counted.
    async fn end(&mut self, mut leg: Leg, tell: &mut impl FnMut(Outcome)) {
        while let Ok(event) = leg.events.try_recv() {
            leg.answers.take(event, tell);
        }
        leg.answers.end(tell);
        if let Ok(stats) = leg.session.end().await {
            if self.past.len() == KEPT {
                self.past.remove(0);
            }
            self.past.push(stats);
        }
    }

    /// Closes the connections without a session, in tasks of their own; those that are to have one soon
    /// are not kept here yet.
    fn close_links(&mut self) {
        let used: Vec<u64> = self.all().map(|leg| leg.link).collect();
        let unused = self.links.extract_if(.., |link| !used.contains(&link.id));
        for link in unused {
            tokio::spawn(link.close());
        }
    }

    /// What sessions that have ended counted, the last ones, oldest first.
    pub(super) fn past(&self) -> &[PathStats] {
        &self.past
    }

    /// Ends everything in good order.
    pub(super) async fn close(self) {
        for leg in self.current.iter().chain(&self.retiring) {
            leg.session.close().await;
        }
        for link in self.links {
            link.close().await;
        }
    }
}

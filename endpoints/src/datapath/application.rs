//! The application's end of a session, whatever carries it.

use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::wire::{Load, ResultStatus};
use tensorwire_protocol::{Event, OutgoingResult, Stats};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::PathStats;
use super::load::LoadMeter;

/// Where the events of a session go, and how busy the application is with them.
#[derive(Debug)]
pub(crate) struct Application {
    /// None once it gets no more.
    events: Option<mpsc::Sender<Event>>,
    load: LoadMeter,
    /// Events that found the channel full or gone, answered tensors aside.
    dropped: u64,
    busy: u64,
    /// Tensors that it has answered.
    answered: u64,
}

impl Application {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events: Some(events),
            load: LoadMeter::default(),
            dropped: 0,
            busy: 0,
            answered: 0,
        }
    }

    /// Hands it what happened. A tensor for which it has no room comes back as its answer.
    pub(crate) fn tell(&mut self, event: Event) -> Option<OutgoingResult> {
        let is_tensor = matches!(event, Event::Tensor(_));
        let told = match &self.events {
            None => Err(TrySendError::Closed(event)),
            Some(_) if is_tensor && self.load.is_full() => Err(TrySendError::Full(event)),
            Some(events) => events.try_send(event),
        };
        match told {
            Err(TrySendError::Full(Event::Tensor(tensor))) => {
                self.busy += 1;
                return Some(OutgoingResult {
                    tensor: *tensor.info(),
                    status: ResultStatus::Busy,
                    compute: Duration::ZERO,
                    payload: Bytes::new(),
                });
            }
            Err(_) => self.dropped += 1,
            Ok(()) if is_tensor => self.load.given(),
            Ok(()) => {}
        }
        None
    }

    /// It has answered a tensor, with which it was occupied so long, unless it did not compute it.
    pub(crate) fn answered(&mut self, occupied: Option<Duration>) {
        match occupied {
            Some(_) => self.answered += 1,
            None => self.busy += 1,
        }
        self.load.answered(occupied);
    }

    /// Lets only so many tensors wait for it, beside the one at work.
    pub(crate) const fn limit(&mut self, tensors: u32) {
        self.load.limit(tensors);
    }

    /// Its load, if it has changed; none before the first answer.
    pub(crate) fn load(&mut self) -> Option<Load> {
        self.load.news()
    }

    /// From now on it gets no events.
    pub(crate) fn end(&mut self) {
        self.events = None;
    }

    /// What a session and the way to it have counted.
    pub(crate) fn stats(&self, session: &Stats, send_failed: u64) -> PathStats {
        let mut session = *session;
        session.events_dropped += self.dropped;
        PathStats {
            session,
            busy: self.busy,
            answered: self.answered,
            load: self.load.told(),
            send_failed,
        }
    }
}

//! Watching one direction of a path, and losing packets of choice.

use std::fmt;

use tensorwire_protocol::Time;

use crate::{Packet, packet};

type Fate = Box<dyn FnMut(Time, &Packet) -> bool>;

/// Stands before a link: sees every datagram that is sent, and may lose it there or at the far end.
#[derive(Default)]
pub struct Tap {
    log: Option<Vec<(Time, Packet)>>,
    loses: Option<Fate>,
    loses_behind: Option<Fate>,
}

impl Tap {
    /// From now on keeps what it sees.
    pub fn record(&mut self) {
        self.log = Some(Vec::new());
    }

    /// What was sent since [`record`](Self::record), and when: what was lost here as well.
    pub fn log(&self) -> &[(Time, Packet)] {
        self.log.as_deref().expect("recording")
    }

    /// From now on loses what `fate` says before it takes any time on the link, and nothing else there.
    pub fn lose(&mut self, fate: impl FnMut(Time, &Packet) -> bool + 'static) {
        self.loses = Some(Box::new(fate));
    }

    /// From now on loses what `fate` says when it has passed the link, and nothing else there: those
    /// behind it come no earlier for its loss.
    pub fn lose_behind(&mut self, fate: impl FnMut(Time, &Packet) -> bool + 'static) {
        self.loses_behind = Some(Box::new(fate));
    }

    /// Whether a datagram goes on to the link.
    pub(crate) fn passes(&mut self, now: Time, datagram: &[u8]) -> bool {
        if self.log.is_none() && self.loses.is_none() {
            return true;
        }
        let packet = packet(datagram);
        if let Some(log) = &mut self.log {
            log.push((now, packet));
        }
        !self.loses.as_mut().is_some_and(|lost| lost(now, &packet))
    }

    /// Whether a datagram that has passed the link arrives.
    pub(crate) fn arrives(&mut self, now: Time, datagram: &[u8]) -> bool {
        let lost = self.loses_behind.as_mut();
        !lost.is_some_and(|lost| lost(now, &packet(datagram)))
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("log", &self.log)
            .field("loses", &self.loses.is_some())
            .field("loses_behind", &self.loses_behind.is_some())
            .finish()
    }
}

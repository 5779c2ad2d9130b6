//! Watching one direction of a path, and losing packets of choice.

use std::fmt;

use tensorwire_protocol::Time;

use crate::{Packet, packet};

type Fate = Box<dyn FnMut(Time, &Packet) -> bool>;

/// Stands before a link: sees every datagram that is sent, and may lose it.
#[derive(Default)]
pub struct Tap {
    log: Option<Vec<(Time, Packet)>>,
    loses: Option<Fate>,
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

    /// From now on loses what `fate` says, and nothing else.
    pub fn lose(&mut self, fate: impl FnMut(Time, &Packet) -> bool + 'static) {
        self.loses = Some(Box::new(fate));
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
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("log", &self.log)
            .field("loses", &self.loses.is_some())
            .finish()
    }
}

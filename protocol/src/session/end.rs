//! How a session ends.

use std::time::Duration;

use super::Session;
use crate::event::{EndReason, Event};
use crate::paths::PathId;
use crate::time::Time;
use crate::wire::{Close, CloseCode, Message, MessageType};

/// How often a CLOSE is sent: one of them will arrive.
const COPIES: u8 = 3;

/// The end of a session, and what is left to say about it.
#[derive(Debug)]
pub(super) struct Ending {
    reason: EndReason,
    left: u8,
    due: Time,
}

impl Ending {
    /// When the next CLOSE is due; never if there is none left.
    pub(super) fn due(&self) -> Option<Time> {
        (self.left > 0).then_some(self.due)
    }
}

impl Session {
    /// Ends the session: nothing that waits is sent any more, and nothing is accepted. In protected mode
    /// the peer is told, three times, a probe timeout apart; in plain mode it is not, since anyone could
    /// say so. Does nothing where the session has ended already.
    pub fn close(&mut self, now: Time, code: CloseCode) {
        self.end(now, EndReason::Local(code));
        self.set_timers(now);
    }

    /// Why the session has ended, if it has.
    pub fn ended(&self) -> Option<EndReason> {
        self.ending.as_ref().map(|ending| ending.reason)
    }

    pub(super) fn end(&mut self, now: Time, reason: EndReason) {
        if self.ending.is_some() {
            return;
        }
        let tells = self.guard.is_protected() && !matches!(reason, EndReason::Peer(_));
        self.ending = Some(Ending {
            reason,
            left: if tells { COPIES } else { 0 },
            due: now,
        });
        self.push_event(Event::Ended(reason));
    }

    pub(super) fn write_close(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Option<(MessageType, PathId)> {
        let pause: Duration = self.rtt.timeout();
        let number = self.number();
        let ending = self.ending.as_mut()?;
        if ending.due().is_none_or(|due| due > now) {
            return None;
        }
        (ending.left, ending.due) = (ending.left - 1, now + pause);
        let code = match ending.reason {
            EndReason::Local(code) | EndReason::Peer(code) => code,
            EndReason::FailedOpenings | EndReason::KeyUsedUp => CloseCode::LimitsExceeded,
        };
        let close = Message::Close(Close { code, reason: "" });
        close.write(out, self.config.remote_connection, number);
        let path = self.paths.current();
        Some((MessageType::Close, path))
    }
}

//! A session that moves to another path, or goes on where another was.

use super::Session;
use crate::config::{Config, ConfigError};
use crate::event::Event;
use crate::paths::{PathId, Validated};
use crate::protection::{Guard, Protection, Secrets};
use crate::rate::Controller;
use crate::recv::clock::ClockMap;
use crate::send::{LossEstimator, Rtt, Silence};
use crate::time::Time;
use crate::wire::{Message, MessageType, PathData};

impl Session {
    /// A session of another configuration between the same endpoints, which begins with the round-trip
    /// time, the rate, the losses, the load and the clock that `old` knows: a stream that is set up anew
    /// goes on as it was. Packet and tensor numbers begin at 0.
    ///
    /// # Errors
    /// If a field of the configuration is out of range, or a secret is that of `old`.
    pub fn new_on_path_of(config: Config, now: Time, old: &Self) -> Result<Self, ConfigError> {
        if let (Protection::Protected(new), Protection::Protected(old)) =
            (&config.protection, &old.config.protection)
            && new.shares_with(old)
        {
            return Err(ConfigError::SecretsReused);
        }
        let mut session = Self::new(config, now)?;
        session.paths.follow(&old.paths);
        session.losses = old.losses.clone();
        session.silence = old.silence.clone();
        session.rtt = old.rtt.clone();
        session.rate = old.rate.following(&session.config);
        session.clock = old.clock.clone();
        session.peer_load = old.peer_load;
        session.detection = old.detection;
        session.set_timers(now);
        Ok(session)
    }

    /// Protects a session that was set up in plain mode: whoever has to know both connection IDs to derive
    /// secrets does not know them when the session begins. Only before its first datagram.
    ///
    /// # Errors
    /// If a datagram was sent or accepted, or the secrets cannot be used.
    pub fn protect(&mut self, secrets: Secrets) -> Result<(), ConfigError> {
        if self.sent.next() > 0 || self.arrivals.end() > 0 {
            return Err(ConfigError::Begun);
        }
        let before = std::mem::replace(
            &mut self.config.protection,
            Protection::Protected(secrets.clone()),
        );
        if let Err(error) = self.config.validate() {
            self.config.protection = before;
            return Err(error);
        }
        self.guard = Guard::new(&self.config);
        self.paths.protect(&secrets);
        Ok(())
    }

    /// Says where the peer is, if the caller knows that it is there: from the handshake, say. In protected
    /// mode a path that a first datagram merely comes from gets little until it is validated.
    pub fn set_path(&mut self, path: PathId) {
        self.paths.set(path);
    }

    /// The path in use.
    pub const fn current_path(&self) -> PathId {
        self.paths.current()
    }

    /// Goes to the next key for what is sent, before [`Config::key_packets`] asks for it. False, and
    /// nothing changes, in plain mode and while the peer has confirmed no packet of the current key.
    pub fn update_keys(&mut self) -> bool {
        self.guard.update(self.sent.next())
    }

    /// Writes what validates a path, ours or the peer's.
    pub(super) fn write_path(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Option<(MessageType, PathId)> {
        let (path, message) = if let Some((path, data)) = self.paths.take_answer() {
            (path, Message::PathResponse(data))
        } else {
            let (path, data) = self.paths.take_challenge(now)?;
            self.stats.path_challenges += 1;
            (path, Message::PathChallenge(data))
        };
        let number = self.number();
        message.write(out, self.config.remote_connection, number);
        Some((message.kind(), path))
    }

    pub(super) fn path_answered(&mut self, data: PathData) {
        // One that comes late answers a challenge that was sent twice.
        let Some(validated) = self.paths.answered(data) else {
            return;
        };
        self.stats.paths_validated += 1;
        let Validated::New { same_host } = validated else {
            return;
        };
        if !same_host {
            self.forget_path();
        }
        let path = self.paths.current();
        self.push_event(Event::PathChanged { path, same_host });
    }

    /// Nothing is known of the path (RFC 9000, section 9.4).
    fn forget_path(&mut self) {
        if self.rate.is_silent() {
            self.push_event(Event::CircuitClosed);
        }
        self.path_since = self.sent.next();
        self.rate = Controller::new(&self.config);
        self.rtt = Rtt::default();
        self.losses = LossEstimator::default();
        self.silence = Silence::default();
        self.clock = ClockMap::default();
        self.detection = None;
    }
}

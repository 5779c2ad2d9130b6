//! An edge and a cloud on a virtual clock, joined by two links.

use std::time::Duration;

use tensorwire_protocol::link::{Link, LinkConfig};
use tensorwire_protocol::wire::{ConnectionId, MessageType};
use tensorwire_protocol::{Config, Event, Session, Time};

use crate::{Clock, Tap};

/// Connection ID that the edge has chosen.
pub const EDGE: ConnectionId = ConnectionId::new(0xED_0001);
/// Connection ID that the cloud has chosen.
pub const CLOUD: ConnectionId = ConnectionId::new(0xC1_0002);

/// Steps at one moment after which a session is held to spin.
const MOST_SPINS: u32 = 200;

/// A stream of tensors of so many slices, the defaults changed.
pub fn stream(slices: u16, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::new(slices);
    change(&mut config);
    config
}

/// The same stream as the edge and as the cloud sees it.
pub fn configs(config: Config) -> (Config, Config) {
    let (mut edge, mut cloud) = (config.clone(), config);
    (edge.local_connection, edge.remote_connection) = (EDGE, CLOUD);
    (cloud.local_connection, cloud.remote_connection) = (CLOUD, EDGE);
    (edge, cloud)
}

/// What lies between edge and cloud, and what their clocks show.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// From edge to cloud.
    pub up: LinkConfig,
    /// From cloud to edge.
    pub down: LinkConfig,
    /// The edge's clock.
    pub edge_clock: Clock,
    /// The cloud's clock.
    pub cloud_clock: Clock,
}

impl Path {
    /// The same both ways, with clocks that agree; seeds differ.
    pub fn symmetric(link: LinkConfig) -> Self {
        let down = LinkConfig {
            seed: link.seed ^ 0xD0,
            ..link.clone()
        };
        Self {
            up: link,
            down,
            ..Self::default()
        }
    }

    /// Nothing but delay, the same both ways.
    pub fn delay(millis: u64) -> Self {
        Self::symmetric(LinkConfig {
            delay: Duration::from_millis(millis),
            ..LinkConfig::default()
        })
    }
}

/// Two sessions and the path between them.
#[derive(Debug)]
pub struct Pair {
    /// The one that sends tensors.
    pub edge: Session,
    /// The one that receives them.
    pub cloud: Session,
    /// From edge to cloud.
    pub up: Link<Vec<u8>>,
    /// From cloud to edge.
    pub down: Link<Vec<u8>>,
    /// What watches the way up.
    pub up_tap: Tap,
    /// What watches the way down.
    pub down_tap: Tap,
    /// True time.
    pub now: Time,
    /// How much of it goes by with every datagram that a session makes; default nothing.
    pub tick: Duration,
    /// The edge's clock.
    pub edge_clock: Clock,
    /// The cloud's clock.
    pub cloud_clock: Clock,
    /// What the edge has told, and when by true time.
    pub edge_events: Vec<(Time, Event)>,
    /// What the cloud has told, and when by true time.
    pub cloud_events: Vec<(Time, Event)>,
    /// When the cloud was told what the edge's clock shows, by true time.
    pub cloud_told: Vec<Time>,
    spins: u32,
}

impl Pair {
    /// A stream over a path, at time zero.
    pub fn new(config: Config, path: Path) -> Self {
        let (edge, cloud) = configs(config);
        Self::of(edge, cloud, path)
    }

    /// A stream over a path whose cloud waits for retransmissions that its edge never makes: an
    /// incomplete tensor then ends at its deadline, since something could still arrive.
    pub fn waiting(config: Config, path: Path) -> Self {
        let (edge, mut cloud) = configs(config);
        cloud.retransmission = true;
        Self::of(edge, cloud, path)
    }

    /// An edge and a cloud over a path, at time zero.
    pub fn of(edge: Config, cloud: Config, path: Path) -> Self {
        let session = |config, clock: Clock| Session::new(config, clock.local(Time::ZERO)).unwrap();
        let mut pair = Self {
            edge: session(edge, path.edge_clock),
            cloud: session(cloud, path.cloud_clock),
            up: Link::new(path.up),
            down: Link::new(path.down),
            up_tap: Tap::default(),
            down_tap: Tap::default(),
            now: Time::ZERO,
            tick: Duration::ZERO,
            edge_clock: path.edge_clock,
            cloud_clock: path.cloud_clock,
            edge_events: Vec::new(),
            cloud_events: Vec::new(),
            cloud_told: Vec::new(),
            spins: 0,
        };
        pair.drain();
        pair
    }

    /// What the edge's clock shows.
    pub fn edge_now(&self) -> Time {
        self.edge_clock.local(self.now)
    }

    /// What the cloud's clock shows.
    pub fn cloud_now(&self) -> Time {
        self.cloud_clock.local(self.now)
    }

    /// The earliest arrival or timeout of either side. Sessions ping, so there always is one until both
    /// have ended; then it is never.
    pub fn next_wake(&self) -> Time {
        let timeout = |session: &Session, clock: Clock| {
            session.poll_timeout().map(|(at, _)| clock.global(at))
        };
        let timeouts = [
            timeout(&self.edge, self.edge_clock),
            timeout(&self.cloud, self.cloud_clock),
        ];
        let arrivals = [self.up.next_arrival(), self.down.next_arrival()];
        let earliest = timeouts.into_iter().chain(arrivals).flatten();
        let never = Time::from_micros(u64::MAX);
        earliest.min().unwrap_or(never).max(self.now)
    }

    /// Jumps to the earliest arrival or timeout and does what is due then.
    pub fn step(&mut self) {
        let next = self.next_wake();
        self.spins = if next > self.now { 0 } else { self.spins + 1 };
        assert!(self.spins < MOST_SPINS, "busy loop at {:?}", self.now);
        self.now = next;
        while let Some((_, datagram)) = self.up.receive(self.now) {
            if !self.up_tap.arrives(self.now, &datagram) {
                continue;
            }
            let kind = datagram.first().map(|byte| byte & 0xF);
            if kind == Some(MessageType::Feedback as u8) || kind == Some(MessageType::Ping as u8) {
                self.cloud_told.push(self.now);
            }
            // A refusal is counted by the session; scenarios look there.
            let _ = self.cloud.handle_datagram(self.cloud_now(), &datagram);
        }
        while let Some((_, datagram)) = self.down.receive(self.now) {
            if self.down_tap.arrives(self.now, &datagram) {
                let _ = self.edge.handle_datagram(self.edge_now(), &datagram);
            }
        }
        self.drain();
    }

    /// Steps up to a moment, and waits there.
    pub fn run_until(&mut self, until: Time) {
        self.drain();
        while self.next_wake() <= until {
            self.step();
        }
        if until > self.now {
            (self.now, self.spins) = (until, 0);
        }
    }

    /// Steps for so long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Does what both sides have to do now, as the contract of [`Session`] asks after every call.
    pub fn drain(&mut self) {
        drain(
            (&mut self.edge, self.edge_clock),
            &mut self.edge_events,
            (&mut self.now, self.tick),
            (&mut self.up_tap, &mut self.up),
        );
        drain(
            (&mut self.cloud, self.cloud_clock),
            &mut self.cloud_events,
            (&mut self.now, self.tick),
            (&mut self.down_tap, &mut self.down),
        );
    }
}

fn drain(
    (session, clock): (&mut Session, Clock),
    events: &mut Vec<(Time, Event)>,
    (now, tick): (&mut Time, Duration),
    (tap, link): (&mut Tap, &mut Link<Vec<u8>>),
) {
    let mut buffer = Vec::new();
    for _ in 0..MOST_SPINS {
        while let Some(transmit) = session.poll_transmit(clock.local(*now), &mut buffer) {
            assert_eq!(transmit.size, buffer.len());
            assert!(buffer.len() <= usize::from(session.config().mss));
            if tap.passes(*now, &buffer) {
                link.send(*now, std::mem::take(&mut buffer));
            }
            *now = *now + tick;
        }
        events.extend(std::iter::from_fn(|| session.poll_event()).map(|event| (*now, event)));
        let local = clock.local(*now);
        if session.poll_timeout().is_none_or(|(at, _)| at > local) {
            assert!(
                session.poll_transmit(local, &mut buffer).is_none(),
                "not drained"
            );
            assert!(session.poll_event().is_none(), "not drained");
            return;
        }
        session.handle_timeout(local);
    }
    let timeout = session.poll_timeout();
    panic!("{timeout:?} stays due at {now:?} whatever is done");
}

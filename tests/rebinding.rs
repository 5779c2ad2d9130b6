//! The address of an edge changes in mid-stream: the stream goes on, to the new address once that has
//! answered. Whoever only sends the edge's datagrams from elsewhere gets nothing of it.

use std::time::Duration;

use tensorwire_protocol::link::{Link, LinkConfig};
use tensorwire_protocol::wire::{Ecn, MessageType, ResultStatus};
use tensorwire_protocol::{
    Cipher, Config, Event, OutgoingResult, PathId, Protection, ReceivedTensor, Secrets, Session,
    Time,
};
use tensorwire_tests::{CLOUD_SECRET, EDGE_SECRET, configs, outgoing, protected, slices, stream};

/// Where the edge has the cloud.
const CLOUD: PathId = PathId::new(9, 443);
const HOME: PathId = PathId::new(1, 5_000);
const REBOUND: PathId = PathId::new(1, 6_000);
const ELSEWHERE: PathId = PathId::new(2, 5_000);
const STRANGER: PathId = PathId::new(66, 6_666);

/// An edge behind a NAT, a cloud, and what became of their stream.
struct World {
    edge: Session,
    cloud: Session,
    up: Link<Tagged>,
    down: Link<Tagged>,
    /// Where the NAT shows the edge now: what goes elsewhere is lost.
    address: PathId,
    now: Time,
    frame: u64,
    results: Vec<(Time, u64)>,
    changes: Vec<(Time, PathId, bool)>,
    /// Datagrams that the cloud sent to each path since it was asked last.
    sent_to: Vec<(PathId, MessageType, usize)>,
    /// Copies of what the edge sends, sent from there, and whether they overtake it.
    copies: Option<(PathId, bool)>,
}

/// A datagram with the path it came from or goes to.
struct Tagged(PathId, Vec<u8>);

impl AsRef<[u8]> for Tagged {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl World {
    fn new((edge, cloud): (Config, Config)) -> Self {
        let link = |seed| LinkConfig {
            delay: Duration::from_millis(15),
            seed,
            ..LinkConfig::default()
        };
        let mut world = Self {
            edge: Session::new(edge, Time::ZERO).unwrap(),
            cloud: Session::new(cloud, Time::ZERO).unwrap(),
            up: Link::new(link(1)),
            down: Link::new(link(2)),
            address: HOME,
            now: Time::ZERO,
            frame: 0,
            results: Vec::new(),
            changes: Vec::new(),
            sent_to: Vec::new(),
            copies: None,
        };
        world.edge.set_path(CLOUD);
        world.cloud.set_path(HOME);
        world
    }

    fn drain(&mut self) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.edge.poll_transmit(self.now, &mut buffer) {
            assert_eq!(transmit.path, CLOUD);
            let copy = |path| Tagged(path, buffer.clone());
            let copies = self.copies;
            let (first, second) = match copies {
                Some((stranger, true)) => (copy(stranger), Some(copy(self.address))),
                Some((stranger, false)) => (copy(self.address), Some(copy(stranger))),
                None => (copy(self.address), None),
            };
            self.up.send(self.now, first);
            if let Some(second) = second {
                self.up.send(self.now, second);
            }
        }
        while let Some(transmit) = self.cloud.poll_transmit(self.now, &mut buffer) {
            self.sent_to
                .push((transmit.path, transmit.kind, buffer.len()));
            if transmit.path == self.address {
                self.down.send(self.now, Tagged(CLOUD, buffer.clone()));
            }
        }
        while let Some(event) = self.edge.poll_event() {
            match event {
                Event::Result(result) => self.results.push((self.now, result.tensor.0)),
                Event::PathChanged { .. } | Event::Ended(_) => panic!("{event:?}"),
                _ => {}
            }
        }
        while let Some(event) = self.cloud.poll_event() {
            match event {
                Event::Tensor(tensor) => self.answer(&tensor),
                Event::PathChanged { path, same_host } => {
                    self.changes.push((self.now, path, same_host));
                }
                Event::Ended(_) => panic!("{event:?}"),
                _ => {}
            }
        }
    }

    fn answer(&mut self, tensor: &ReceivedTensor) {
        let result = OutgoingResult {
            tensor: *tensor.info(),
            status: ResultStatus::Done,
            compute: Duration::ZERO,
            payload: bytes::Bytes::from_static(b"a tensor's answer"),
        };
        self.cloud.send_result(self.now, result).unwrap();
        self.drain();
    }

    fn arrive(&mut self) {
        while let Some((_, Tagged(from, mut datagram))) = self.up.receive(self.now) {
            let _ = self
                .cloud
                .handle_from(self.now, from, Ecn::NotEct, &mut datagram);
        }
        while let Some((_, Tagged(from, mut datagram))) = self.down.receive(self.now) {
            let _ = self
                .edge
                .handle_from(self.now, from, Ecn::NotEct, &mut datagram);
        }
    }

    /// Streams a tensor every 33 ms for so long.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            if self.now.as_micros().is_multiple_of(33_000) {
                let tensor = outgoing(self.frame, self.now, slices(&[290; 20], self.frame));
                self.edge.send_tensor(self.now, tensor).unwrap();
                self.frame += 1;
            }
            self.arrive();
            self.edge.handle_timeout(self.now);
            self.cloud.handle_timeout(self.now);
            self.drain();
            self.now = self.now + Duration::from_millis(1);
        }
    }

    /// The longest time between results that came after `from`.
    fn longest_gap(&self, from: Time) -> Duration {
        let times: Vec<_> = self
            .results
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| *at >= from)
            .collect();
        times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap()
    }

    fn bytes_to(&self, path: PathId) -> usize {
        let to = self.sent_to.iter().filter(|(to, ..)| *to == path);
        to.map(|(.., bytes)| bytes).sum()
    }
}

fn world() -> World {
    let config = stream(20, |config| config.retransmission = true);
    World::new(protected(configs(config), Cipher::Aes128Gcm))
}

#[test]
fn a_rebound_port_costs_a_round_trip_of_results_and_nothing_that_was_known() {
    let mut world = world();
    world.run(Duration::from_secs(1));
    let rtt = world.edge.rtt().unwrap();
    let (results, moved) = (world.results.len(), world.now);
    world.address = REBOUND;
    world.run(Duration::from_secs(2));
    let [(at, path, same_host)] = world.changes[..] else {
        panic!("{:?}", world.changes)
    };
    assert_eq!((path, same_host), (REBOUND, true));
    // The next tensor, the way up, and a round trip.
    assert!(
        at - moved <= Duration::from_millis(33 + 15 + 30 + 3),
        "{:?}",
        at - moved
    );
    assert_eq!(world.cloud.current_path(), REBOUND);
    // Results that went to the old address come again after a timeout: none is missing.
    assert!(
        world.results.len() >= results + 59,
        "{}",
        world.results.len() - results
    );
    assert!(world.longest_gap(moved) <= Duration::from_millis(150));
    assert!(world.cloud.rtt().is_some(), "it was kept");
    assert!(world.edge.rtt().unwrap() < rtt * 2);
    assert_eq!(world.cloud.stats().paths_validated, 1);
    assert_eq!(world.cloud.stats().paths_abandoned, 0);
}

#[test]
fn of_another_host_nothing_is_known() {
    let mut world = world();
    world.run(Duration::from_secs(1));
    assert!(world.cloud.rtt().is_some());
    world.address = ELSEWHERE;
    let before = world.now;
    while world.changes.is_empty() {
        world.run(Duration::from_millis(1));
        assert!(world.now - before < Duration::from_secs(1), "no change");
    }
    let (_, path, same_host) = world.changes[0];
    assert_eq!((path, same_host), (ELSEWHERE, false));
    assert_eq!(world.cloud.rtt(), None);
    let results = world.results.len();
    world.run(Duration::from_secs(2));
    assert!(world.cloud.rtt().is_some(), "measured anew");
    assert!(world.results.len() >= results + 58);
}

#[test]
fn many_changes_in_a_row_are_followed() {
    let mut world = world();
    world.run(Duration::from_millis(500));
    for change in 0..20 {
        world.address = PathId::new(1 + change % 3, 5_001 + u16::try_from(change).unwrap());
        world.run(Duration::from_millis(300));
        assert_eq!(world.cloud.current_path(), world.address);
    }
    assert_eq!(world.changes.len(), 20);
    // A result is sent five times; those that none of the addresses got are few.
    assert!(world.results.len() as u64 + 8 >= world.frame);
}

#[test]
fn copies_from_elsewhere_turn_nothing_away() {
    for overtakes in [false, true] {
        let mut world = world();
        world.run(Duration::from_millis(500));
        let results = world.results.len();
        world.copies = Some((STRANGER, overtakes));
        world.run(Duration::from_secs(2));
        // The stranger may look at a challenge, but cannot answer it; what it gets is little.
        assert_eq!(world.cloud.current_path(), HOME);
        assert_eq!(world.changes, []);
        assert!(
            world.results.len() >= results + 58,
            "overtaken: {overtakes}"
        );
        let only_challenges = world
            .sent_to
            .iter()
            .all(|(path, kind, _)| *path != STRANGER || *kind == MessageType::PathChallenge);
        assert!(only_challenges);
        if !overtakes {
            assert_eq!(world.bytes_to(STRANGER), 0, "replays are no sign of life");
        }
        let refused = world.cloud.stats().refused;
        assert_eq!(refused.total(), refused.replay);
        assert!(refused.replay > 300);
    }
}

#[test]
fn a_path_that_does_not_answer_is_given_up() {
    let mut world = world();
    world.run(Duration::from_millis(500));
    // One datagram that a stranger sends first, and nothing after it.
    let mut buffer = Vec::new();
    let later = world.now + Duration::from_secs(2);
    world.edge.handle_timeout(later);
    assert!(world.edge.poll_transmit(later, &mut buffer).is_some());
    let received = buffer.len();
    let taken = world
        .cloud
        .handle_from(later, STRANGER, Ecn::NotEct, &mut buffer);
    assert_eq!(taken, Ok(()));
    world.now = later;
    let given_up = later + Duration::from_secs(3);
    while world.now < given_up + Duration::from_secs(2) {
        world.cloud.handle_timeout(world.now);
        while let Some(transmit) = world.cloud.poll_transmit(world.now, &mut buffer) {
            world
                .sent_to
                .push((transmit.path, transmit.kind, buffer.len()));
        }
        let abandoned = world.cloud.stats().paths_abandoned;
        assert_eq!(abandoned, u64::from(world.now >= given_up));
        world.now = world.now + Duration::from_millis(10);
    }
    assert_eq!(world.cloud.current_path(), HOME);
    let bytes = world.bytes_to(STRANGER);
    assert!(bytes > 0 && bytes <= 3 * received, "{bytes} for {received}");
}

#[test]
fn in_plain_mode_the_first_address_stays() {
    let mut world = World::new(configs(stream(20, |_| ())));
    world.run(Duration::from_millis(500));
    world.address = REBOUND;
    let results = world.results.len();
    world.run(Duration::from_secs(1));
    assert_eq!(world.cloud.current_path(), HOME);
    assert!(world.results.len() <= results + 2);
    assert_eq!(world.bytes_to(REBOUND), 0);
}

#[test]
fn without_random_bytes_of_its_own_a_cloud_follows_nobody() {
    let (edge, mut cloud) = protected(configs(stream(20, |_| ())), Cipher::Aes128Gcm);
    let secrets = Secrets::new(Cipher::Aes128Gcm, CLOUD_SECRET, EDGE_SECRET);
    cloud.protection = Protection::Protected(secrets);
    let mut world = World::new((edge, cloud));
    world.run(Duration::from_millis(300));
    world.address = REBOUND;
    world.run(Duration::from_millis(500));
    assert_eq!(world.cloud.current_path(), HOME);
    assert_eq!(world.bytes_to(REBOUND), 0);
}

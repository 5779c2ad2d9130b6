//! To an address that has not answered go at most three bytes for each that came from it, whatever waits
//! to be sent and however the datagrams come.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tensorwire_protocol::wire::{Ecn, MessageType};
use tensorwire_protocol::{Cipher, PathId, Session, Time};
use tensorwire_tests::{configs, outgoing, protected, slices, stream};

/// Bytes from and to one path.
#[derive(Clone, Copy, Default, Debug)]
struct Balance {
    received: usize,
    sent: usize,
    validated: bool,
}

/// A cloud that has much to send, and an edge whose datagrams come from here and there.
struct World {
    edge: Session,
    cloud: Session,
    now: Time,
    frame: u64,
    paths: BTreeMap<PathId, Balance>,
}

impl World {
    fn new(cipher: Cipher) -> Self {
        let (edge, cloud) = protected(configs(stream(30, |_| ())), cipher);
        Self {
            edge: Session::new(edge, Time::ZERO).unwrap(),
            cloud: Session::new(cloud, Time::ZERO).unwrap(),
            now: Time::ZERO,
            frame: 0,
            paths: BTreeMap::new(),
        }
    }

    /// Both have a tensor to send; what the edge sends comes from `from`, as far as it comes at all.
    fn step(&mut self, from: PathId, arrive: usize, answers: bool, wait: Duration) {
        for session in [&mut self.edge, &mut self.cloud] {
            let tensor = outgoing(self.frame, self.now, slices(&[200; 30], self.frame));
            let _ = session.send_tensor(self.now, tensor);
        }
        self.frame += 1;
        let mut buffer = Vec::new();
        let mut count = 0;
        while self.edge.poll_transmit(self.now, &mut buffer).is_some() {
            if count < arrive {
                let balance = self.paths.entry(from).or_default();
                balance.received += buffer.len();
                let taken = self
                    .cloud
                    .handle_from(self.now, from, Ecn::NotEct, &mut buffer);
                assert_eq!(taken, Ok(()));
            }
            count += 1;
            self.drain(answers);
        }
        self.now = self.now + wait;
        self.edge.handle_timeout(self.now);
        self.cloud.handle_timeout(self.now);
        self.drain(answers);
    }

    fn drain(&mut self, answers: bool) {
        for _ in 0..100 {
            self.transmit(answers);
            let due = self.cloud.poll_timeout().map(|(at, _)| at);
            if due.is_none_or(|at| at > self.now) {
                return;
            }
            self.cloud.handle_timeout(self.now);
        }
        panic!("{:?} stays due", self.cloud.poll_timeout());
    }

    fn transmit(&mut self, answers: bool) {
        let mut buffer = Vec::new();
        while let Some(transmit) = self.cloud.poll_transmit(self.now, &mut buffer) {
            let balance = self.paths.entry(transmit.path).or_default();
            balance.sent += buffer.len();
            let Balance {
                received,
                sent,
                validated,
            } = *balance;
            assert!(validated || sent <= 3 * received, "{sent} for {received}");
            let challenge = transmit.kind == MessageType::PathChallenge;
            if challenge && answers {
                let _ = self.edge.handle_datagram(self.now, &buffer);
                let mut response = Vec::new();
                let sent = self.edge.poll_transmit(self.now, &mut response);
                let kind = sent.map(|transmit| transmit.kind);
                assert_eq!(kind, Some(MessageType::PathResponse));
                let before = self.cloud.stats().paths_validated;
                let taken =
                    self.cloud
                        .handle_from(self.now, transmit.path, Ecn::NotEct, &mut response);
                assert_eq!(taken, Ok(()));
                let validated = self.cloud.stats().paths_validated > before;
                assert!(validated && self.cloud.current_path() == transmit.path);
                self.paths.entry(transmit.path).or_default().validated = true;
            }
        }
        while self.cloud.poll_event().is_some() {}
        while self.edge.poll_event().is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_address_that_has_not_answered_gets_three_times_what_it_sent_at_most(
        steps in prop::collection::vec((0_u64..4, 0_usize..8, prop::bool::weighted(0.1), 1_u64..400), 1..60),
        chacha: bool,
    ) {
        let cipher = if chacha { Cipher::ChaCha20Poly1305 } else { Cipher::Aes128Gcm };
        let mut world = World::new(cipher);
        // Before anything has come, the cloud does not know where to send to.
        for (path, arrive, answers, wait) in steps {
            let from = PathId::new(path / 2, 1 + u16::try_from(path).unwrap());
            let known = !world.paths.is_empty() || arrive > 0;
            if known {
                world.step(from, arrive.max(1), answers, Duration::from_millis(wait));
            }
        }
    }
}

#[test]
fn a_first_address_that_never_answers_gets_no_tensors_for_ever() {
    let mut world = World::new(Cipher::Aes128Gcm);
    let path = PathId::new(7, 7);
    world.step(path, 8, false, Duration::from_millis(10));
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(100);
        world.cloud.handle_timeout(world.now);
        world.drain(false);
    }
    let balance = world.paths[&path];
    assert!(balance.sent <= 3 * balance.received, "{balance:?}");
    assert!(
        balance.sent >= balance.received,
        "the allowance is used: {balance:?}"
    );
}

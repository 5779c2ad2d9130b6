//! Someone on the way reads, flips bits, cuts, drops, replays, reorders, injects and reflects: nothing but
//! loss reaches the application, and each datagram of theirs is counted for what it was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tensorwire_protocol::wire::{
    ConnectionId, Ecn, Message, Refusal, ResultStatus, connection_of, extend,
};
use tensorwire_protocol::{
    Cipher, Config, Event, OutgoingResult, PathId, ReceivedTensor, Session, Slices, Time,
};
use tensorwire_tests::{
    CLOUD, EDGE, assert_exact, configs, outgoing, protected, slices_of, stream,
};

const SLICES: u16 = 12;
/// Where each has the other.
const PATH: PathId = PathId::new(1, 1);
/// What slices and results are full of.
const SECRET: &[u8] = b"features";

/// What becomes of a datagram, or comes along with it.
#[derive(Clone, Debug)]
enum Deed {
    Pass,
    Drop,
    /// It goes on after so many others.
    Hold(u8),
    /// It goes on with this bit flipped, or with another length, the genuine one being lost.
    Flip(u16),
    Cut(u16),
    Extend(u8),
    /// One that went by so many datagrams ago, no more than a key seals, goes on once more behind it.
    Replay(u8),
    /// It goes back to its sender as well.
    Reflect,
    /// So many bytes of something else follow it.
    Inject(Vec<u8>),
    /// A datagram of plain mode follows it, with a right connection ID and packet number.
    InjectPlain,
    /// The header of this one with the body of one that went by before.
    Splice(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => Just(Deed::Pass),
        1 => Just(Deed::Drop),
        2 => (1_u8..6).prop_map(Deed::Hold),
        3 => any::<u16>().prop_map(Deed::Flip),
        1 => any::<u16>().prop_map(Deed::Cut),
        1 => (1_u8..40).prop_map(Deed::Extend),
        2 => (0_u8..100).prop_map(Deed::Replay),
        2 => Just(Deed::Reflect),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Deed::Inject),
        1 => Just(Deed::InjectPlain),
        1 => any::<u8>().prop_map(Deed::Splice),
    ]
}

/// One direction: what its sender made, and what its receiver must have made of everything.
struct Way {
    connection: ConnectionId,
    /// Everything that was sent, in order, and the number of each.
    sent: Vec<Vec<u8>>,
    genuine: HashMap<Vec<u8>, u64>,
    /// What is on its way, and after how many others it goes on.
    held: Vec<(u8, Vec<u8>)>,
    accepted: HashSet<u64>,
    /// One more than the greatest number that was accepted.
    end: u64,
    refused: BTreeMap<String, u64>,
}

impl Way {
    fn new(connection: ConnectionId) -> Self {
        Self {
            connection,
            sent: Vec::new(),
            genuine: HashMap::new(),
            held: Vec::new(),
            accepted: HashSet::new(),
            end: 0,
            refused: BTreeMap::new(),
        }
    }

    /// What has to become of a datagram, by the text of the specification.
    fn verdict(&self, datagram: &[u8]) -> Result<u64, Refusal> {
        if datagram.len() < 25 {
            return Err(Refusal::Length);
        }
        if datagram[0] >> 6 != 0b10 {
            return Err(Refusal::Form);
        }
        if datagram[0] >> 4 & 3 != 0b01 {
            return Err(Refusal::Version);
        }
        if connection_of(datagram) != Some(self.connection) {
            return Err(Refusal::Connection);
        }
        let low = u32::from_be_bytes(*datagram[5..].first_chunk().unwrap());
        let number = extend(u64::from(low), 32, self.end);
        if number + 1_024 < self.end || self.accepted.contains(&number) {
            return Err(Refusal::Replay);
        }
        match self.genuine.get(datagram) {
            Some(right) if *right == number => Ok(number),
            _ => Err(Refusal::Integrity),
        }
    }

    fn deliver(&mut self, now: Time, session: &mut Session, datagram: &[u8]) {
        let verdict = self.verdict(datagram);
        let mut copy = datagram.to_vec();
        let taken = session.handle_from(now, PATH, Ecn::NotEct, &mut copy);
        assert_eq!(taken, verdict.map(|_| ()), "{datagram:02x?}");
        match verdict {
            Ok(number) => {
                self.accepted.insert(number);
                self.end = self.end.max(number + 1);
            }
            Err(refusal) => *self.refused.entry(refusal.to_string()).or_default() += 1,
        }
    }

    /// What goes on, a datagram having come; and what goes back to its sender.
    fn meddle(&mut self, deed: &Deed, datagram: Vec<u8>) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        for (left, _) in &mut self.held {
            *left -= 1;
        }
        let due = self.held.extract_if(.., |(left, _)| *left == 0);
        let mut on: Vec<_> = due.map(|(_, held)| held).collect();
        let mut back = None;
        let earlier = |before: u8| {
            let place = self.sent.len().checked_sub(1 + usize::from(before));
            place.map(|place| self.sent[place].clone())
        };
        match deed {
            Deed::Pass => on.push(datagram),
            Deed::Drop => {}
            Deed::Hold(after) => self.held.push((*after, datagram)),
            Deed::Flip(bit) => {
                let (mut changed, bit) = (datagram, usize::from(*bit));
                let at = bit / 8 % changed.len();
                changed[at] ^= 1 << (bit % 8);
                on.push(changed);
            }
            Deed::Cut(to) => on.push(datagram[..usize::from(*to) % datagram.len()].to_vec()),
            Deed::Extend(by) => {
                on.push([&datagram[..], &vec![0; usize::from(*by)]].concat());
            }
            Deed::Replay(before) => {
                on.push(datagram);
                on.extend(earlier(*before));
            }
            Deed::Reflect => {
                back = Some(datagram.clone());
                on.push(datagram);
            }
            Deed::Inject(bytes) => {
                on.push(datagram.clone());
                on.push([&datagram[..9], bytes].concat());
                on.push(bytes.clone());
            }
            Deed::InjectPlain => {
                let mut forged = Vec::new();
                let number = u32::try_from(self.end + 1).unwrap();
                Message::Padding(30).encode(&mut forged, self.connection, number);
                on.extend([datagram, forged]);
            }
            Deed::Splice(before) => {
                let other = earlier(*before).unwrap_or_else(|| vec![7; 40]);
                on.push([&datagram[..9], &other[9..]].concat());
                on.push(datagram);
            }
        }
        (on, back)
    }
}

/// An edge, a cloud, and what the one between them does with each datagram.
struct World {
    edge: Session,
    cloud: Session,
    up: Way,
    down: Way,
    now: Time,
    deeds: Vec<Deed>,
    done: usize,
}

impl World {
    fn new((edge, cloud): (Config, Config), deeds: Vec<Deed>) -> Self {
        let session = |config| {
            let mut session = Session::new(config, Time::ZERO).unwrap();
            session.set_path(PATH);
            session
        };
        Self {
            edge: session(edge),
            cloud: session(cloud),
            up: Way::new(CLOUD),
            down: Way::new(EDGE),
            now: Time::ZERO,
            deeds,
            done: 0,
        }
    }

    /// One exchange: what each has to send comes to the other, or not.
    fn exchange(&mut self) {
        let mut buffer = Vec::new();
        loop {
            let mut quiet = true;
            for upwards in [true, false] {
                let (from, to, way, other) = if upwards {
                    (
                        &mut self.edge,
                        &mut self.cloud,
                        &mut self.up,
                        &mut self.down,
                    )
                } else {
                    (
                        &mut self.cloud,
                        &mut self.edge,
                        &mut self.down,
                        &mut self.up,
                    )
                };
                while from.poll_transmit(self.now, &mut buffer).is_some() {
                    quiet = false;
                    way.genuine.insert(buffer.clone(), way.sent.len() as u64);
                    way.sent.push(buffer.clone());
                    let deed = self.deeds[self.done % self.deeds.len()].clone();
                    self.done += 1;
                    let (on, back) = way.meddle(&deed, buffer.clone());
                    for datagram in on {
                        way.deliver(self.now, to, &datagram);
                    }
                    if let Some(back) = back {
                        other.deliver(self.now, from, &back);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.edge.handle_timeout(self.now);
        self.cloud.handle_timeout(self.now);
        self.exchange();
    }
}

fn secret(tag: u64, bytes: usize) -> Vec<u8> {
    let mut out = tag.to_be_bytes().to_vec();
    out.extend(SECRET.iter().cycle().take(bytes));
    out
}

/// Streams tensors, answers them, and compares what comes with what was sent.
fn run(world: &mut World, tensors: u64) -> (u64, u64) {
    let mut sent: Vec<Slices> = Vec::new();
    let (mut whole, mut answers) = (0, 0);
    for frame in 0..tensors + 6 {
        if frame < tensors {
            let contents: Vec<_> = (0..SLICES)
                .map(|slice| secret(frame << 16 | u64::from(slice), 200))
                .collect();
            let slices = slices_of(&contents);
            sent.push(slices.clone());
            let tensor = outgoing(frame, world.now, slices);
            world.edge.send_tensor(world.now, tensor).unwrap();
        }
        for _ in 0..4 {
            world.pass(Duration::from_millis(9));
            while let Some(event) = world.cloud.poll_event() {
                assert!(!matches!(
                    event,
                    Event::Ended(_) | Event::PathChanged { .. }
                ));
                let Event::Tensor(tensor) = event else {
                    continue;
                };
                check(&tensor, &sent);
                let info = *tensor.info();
                whole += u64::from(info.slices_received == info.slices);
                let result = OutgoingResult {
                    tensor: info,
                    status: ResultStatus::Done,
                    compute: Duration::ZERO,
                    payload: Bytes::from(secret(info.id.0, 60)),
                };
                world.cloud.send_result(world.now, result).unwrap();
            }
            while let Some(event) = world.edge.poll_event() {
                assert!(!matches!(event, Event::Ended(_)));
                if let Event::Result(result) = event {
                    assert_eq!(result.payload[..], secret(result.tensor.0, 60));
                    answers += 1;
                }
            }
        }
    }
    (whole, answers)
}

fn check(tensor: &ReceivedTensor, sent: &[Slices]) {
    let info = tensor.info();
    let slices = &sent[usize::try_from(info.id.0).unwrap()];
    assert_eq!(info.frame.0, info.id.0);
    assert_exact(tensor, slices, false);
}

/// Whether any datagram shows what slices or results are full of.
fn shows(world: &World) -> bool {
    let mut all = world.up.sent.iter().chain(&world.down.sent);
    all.any(|datagram| datagram.windows(SECRET.len()).any(|bytes| bytes == SECRET))
}

fn config() -> Config {
    stream(SLICES, |config| {
        config.retransmission = true;
        config.key_packets = 150;
        config.redundancy = tensorwire_protocol::Redundancy::Fixed { ratio: 0.4 };
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_but_loss_reaches_the_application_and_everything_is_counted(
        deeds in prop::collection::vec(deed(), 50..300),
        chacha: bool,
    ) {
        let cipher = if chacha { Cipher::ChaCha20Poly1305 } else { Cipher::Aes128Gcm };
        let mut world = World::new(protected(configs(config()), cipher), deeds);
        let (_, answers) = run(&mut world, 60);
        prop_assert!(answers > 30, "{} of 60 answers came", answers);
        for (session, way) in [(&world.cloud, &world.up), (&world.edge, &world.down)] {
            let refused = session.stats().refused;
            let counted = |name: &str| way.refused.get(name).copied().unwrap_or(0);
            prop_assert_eq!(refused.length, counted("length"));
            prop_assert_eq!(refused.form, counted("form"));
            prop_assert_eq!(refused.version, counted("version"));
            prop_assert_eq!(refused.connection, counted("connection"));
            prop_assert_eq!(refused.integrity, counted("integrity"));
            prop_assert_eq!(refused.replay, counted("replay"));
            prop_assert_eq!(refused.total(), way.refused.values().sum::<u64>());
            prop_assert_eq!(session.stats().conflicts + session.stats().ignored, 0);
        }
        prop_assert!(!shows(&world), "payload in the clear");
    }
}

#[test]
fn every_single_bit_of_a_datagram_is_protected() {
    let (edge, cloud) = protected(configs(config()), Cipher::Aes128Gcm);
    let mut edge = Session::new(edge, Time::ZERO).unwrap();
    let mut cloud = Session::new(cloud, Time::ZERO).unwrap();
    let mut datagram = Vec::new();
    let slices = slices_of(&vec![secret(1, 30); SLICES.into()]);
    let _ = edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, slices));
    while edge.poll_transmit(Time::ZERO, &mut datagram).is_some() {
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                cloud.handle_datagram(Time::ZERO, &changed).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..datagram.len() {
            assert!(
                cloud
                    .handle_datagram(Time::ZERO, &datagram[..length])
                    .is_err()
            );
        }
        assert_eq!(cloud.handle_datagram(Time::ZERO, &datagram), Ok(()));
    }
}

#[test]
fn neither_mode_takes_a_datagram_of_the_other() {
    let plain = configs(config());
    let sealed = protected(configs(config()), Cipher::Aes128Gcm);
    for (edge, cloud) in [(&plain.0, &sealed.1), (&sealed.0, &plain.1)] {
        let mut edge = Session::new(edge.clone(), Time::ZERO).unwrap();
        let mut cloud = Session::new(cloud.clone(), Time::ZERO).unwrap();
        let slices = slices_of(&vec![secret(1, 30); SLICES.into()]);
        let _ = edge.send_tensor(Time::ZERO, outgoing(0, Time::ZERO, slices));
        let (mut made, mut datagram) = (0, Vec::new());
        while edge.poll_transmit(Time::ZERO, &mut datagram).is_some() {
            let taken = cloud.handle_datagram(Time::ZERO, &datagram);
            assert_eq!(taken, Err(Refusal::Integrity));
            made += 1;
        }
        assert!(made >= 2);
        assert_eq!(cloud.stats().refused.integrity, made);
    }
}

#[test]
fn plain_mode_shows_what_protected_mode_hides() {
    let mut world = World::new(configs(config()), vec![Deed::Pass]);
    let (whole, answers) = run(&mut world, 5);
    assert_eq!((whole, answers), (5, 5));
    assert!(shows(&world));
    let sealed = protected(configs(config()), Cipher::ChaCha20Poly1305);
    let mut world = World::new(sealed, vec![Deed::Pass]);
    assert_eq!(run(&mut world, 5), (5, 5));
    assert!(!shows(&world));
}

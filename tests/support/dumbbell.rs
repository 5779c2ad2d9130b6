//! Streams and bulk transfers that share one bottleneck, on a virtual clock.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tensorwire_protocol::link::{Link, LinkConfig, LinkStats, LossModel};
use tensorwire_protocol::wire::Ecn;
use tensorwire_protocol::{Config, Event, Session, Slices, TensorInfo, Time};

use crate::{Cubic, configs, outgoing, slices};

/// Bytes of IP and UDP header.
const HEADERS: usize = 28;
/// Slices of a tensor.
pub const SLICES: u16 = 80;
/// A bulk transfer's packets are as long as a stream's.
const PACKET: usize = 1_200;

/// What a stream sends.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A tensor of so many bytes as soon as the session could send it at once.
    Unlimited {
        /// Bytes of a tensor.
        bytes: usize,
    },
    /// A tensor of so many bytes in every interval.
    Periodic {
        /// Bytes of a tensor.
        bytes: usize,
        /// From one to the next.
        interval: Duration,
    },
}

impl Source {
    const fn bytes(&self) -> usize {
        match self {
            Self::Unlimited { bytes } | Self::Periodic { bytes, .. } => *bytes,
        }
    }
}

/// A packet on the shared link.
#[derive(Debug)]
struct Tagged {
    flow: usize,
    entered: Time,
    number: u64,
    bytes: Bytes,
}

impl AsRef<[u8]> for Tagged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A packet that has passed the shared link.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Whose it is.
    pub flow: usize,
    /// When it arrived.
    pub at: Time,
    /// How long it waited before the bottleneck began to send it.
    pub queued: Duration,
    /// Bytes that it took.
    pub size: usize,
}

/// A stream: edge and cloud, and a way back with nothing but delay.
#[derive(Debug)]
pub struct Stream {
    /// The one that sends tensors.
    pub edge: Session,
    /// The one that receives them.
    pub cloud: Session,
    /// What the edge has told, tensors' ends aside, and when.
    pub edge_events: Vec<(Time, Event)>,
    /// Every tensor that was released, in order.
    pub released: Vec<TensorInfo>,
    /// Tensors of which nothing arrived.
    pub lost: u64,
    down: Link<Vec<u8>>,
    source: Source,
    slices: Slices,
    start: Time,
    due: Time,
    frame: u64,
}

/// What shares the bottleneck.
#[derive(Debug)]
enum Flow {
    Stream(Box<Stream>),
    Bulk {
        cubic: Cubic,
        start: Time,
        acks: VecDeque<(Time, u64)>,
    },
}

/// Flows through one bottleneck. The way back has nothing but the same delay.
#[derive(Debug)]
pub struct Dumbbell {
    /// True time, which all clocks show.
    pub now: Time,
    /// Every packet that has passed, in order.
    pub passed: Vec<Passed>,
    link: Link<Tagged>,
    delay: Duration,
    rate: u64,
    flows: Vec<Flow>,
    packet: Bytes,
    buffer: Vec<u8>,
}

impl Dumbbell {
    /// No flows yet. The link needs a rate.
    pub fn new(link: LinkConfig) -> Self {
        Self {
            now: Time::ZERO,
            passed: Vec::new(),
            delay: link.delay,
            rate: link.rate.expect("a bottleneck"),
            link: Link::new(link),
            flows: Vec::new(),
            packet: Bytes::from(vec![0; PACKET]),
            buffer: Vec::new(),
        }
    }

    /// A stream that is set up now and sends from `start` on; its number.
    pub fn stream(&mut self, config: Config, source: Source, start: Time) -> usize {
        let (edge, cloud) = configs(config);
        let session = |config| Session::new(config, self.now).unwrap();
        let delay = self.delay;
        let per_slice = source.bytes() / usize::from(SLICES);
        self.flows.push(Flow::Stream(Box::new(Stream {
            edge: session(edge),
            cloud: session(cloud),
            edge_events: Vec::new(),
            released: Vec::new(),
            lost: 0,
            down: Link::new(LinkConfig {
                delay,
                ..LinkConfig::default()
            }),
            source,
            slices: slices(&[per_slice; SLICES as usize], 1),
            start,
            due: start,
            frame: 0,
        })));
        self.flows.len() - 1
    }

    /// A bulk transfer from `start` on; its number.
    pub fn bulk(&mut self, start: Time) -> usize {
        self.flows.push(Flow::Bulk {
            cubic: Cubic::default(),
            start,
            acks: VecDeque::new(),
        });
        self.flows.len() - 1
    }

    /// A stream by its number.
    pub fn of(&self, flow: usize) -> &Stream {
        match &self.flows[flow] {
            Flow::Stream(stream) => stream,
            Flow::Bulk { .. } => panic!("flow {flow} is no stream"),
        }
    }

    /// A stream by its number, to change.
    pub fn of_mut(&mut self, flow: usize) -> &mut Stream {
        match &mut self.flows[flow] {
            Flow::Stream(stream) => stream,
            Flow::Bulk { .. } => panic!("flow {flow} is no stream"),
        }
    }

    /// What became of the packets.
    pub const fn link_stats(&self) -> &LinkStats {
        self.link.stats()
    }

    /// From now on the bottleneck has another rate.
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
        self.link.set_rate(self.now, Some(rate));
    }

    /// From now on packets have another way to go from the bottleneck; the way back stays as it is.
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
        self.link.set_delay(self.now, delay);
    }

    /// From now on losses are these.
    pub fn set_loss(&mut self, loss: LossModel, seed: u64) {
        self.link.set_loss(loss, seed);
    }

    /// Runs up to a moment, and waits there.
    pub fn run_until(&mut self, until: Time) {
        self.drain();
        while let Some(next) = self.next_wake()
            && next <= until
        {
            self.now = next.max(self.now);
            self.arrive();
            self.drain();
        }
        self.now = until;
    }

    /// Bits a second that a flow got from one moment to another.
    pub fn rate_of(&self, flow: usize, from: Time, to: Time) -> f64 {
        let passed = self.passed.iter().filter(|p| p.flow == flow);
        let bytes: usize = passed
            .filter(|p| p.at > from && p.at <= to)
            .map(|p| p.size)
            .sum();
        bytes as f64 * 8.0 / (to - from).as_secs_f64()
    }

    /// How long packets queued from one moment to another, shortest first, milliseconds.
    pub fn queued(&self, from: Time, to: Time) -> Vec<f64> {
        let passed = self.passed.iter().filter(|p| p.at > from && p.at <= to);
        let mut all: Vec<f64> = passed.map(|p| p.queued.as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn next_wake(&self) -> Option<Time> {
        let of = |flow: &Flow| match flow {
            Flow::Stream(stream) => stream.next_wake(),
            Flow::Bulk { cubic, start, acks } => {
                let begins = (*start > self.now).then_some(*start);
                let ack = acks.front().map(|(at, _)| *at);
                [begins, ack, cubic.poll_timeout()]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        let flows = self.flows.iter().filter_map(of).min();
        self.link.next_arrival().into_iter().chain(flows).min()
    }

    fn arrive(&mut self) {
        let now = self.now;
        while let Some((at, packet, ecn)) = self.link.receive_marked(now) {
            let size = packet.bytes.len() + HEADERS;
            let takes = Duration::from_micros(size as u64 * 8_000_000 / self.rate);
            self.passed.push(Passed {
                flow: packet.flow,
                at,
                queued: (at - packet.entered).saturating_sub(self.delay + takes),
                size,
            });
            match &mut self.flows[packet.flow] {
                Flow::Stream(stream) => {
                    // Refusals are counted by the session.
                    let _ = stream.cloud.handle_marked(now, ecn, &packet.bytes);
                }
                Flow::Bulk { acks, .. } => acks.push_back((at + self.delay, packet.number)),
            }
        }
        for flow in &mut self.flows {
            match flow {
                Flow::Stream(stream) => stream.hear(now),
                Flow::Bulk { cubic, acks, .. } => {
                    while acks.front().is_some_and(|(at, _)| *at <= now) {
                        let (_, number) = acks.pop_front().unwrap();
                        cubic.acknowledged(now, number);
                    }
                    cubic.timeout(now);
                }
            }
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        for (number, flow) in self.flows.iter_mut().enumerate() {
            match flow {
                Flow::Stream(stream) => {
                    let link = &mut self.link;
                    stream.drain(now, &mut self.buffer, |bytes, ecn| {
                        let packet = Tagged {
                            flow: number,
                            entered: now,
                            number: 0,
                            bytes: Bytes::copy_from_slice(bytes),
                        };
                        link.send_marked(now, packet, ecn);
                    });
                }
                Flow::Bulk { cubic, start, .. } => {
                    while *start <= now
                        && let Some(sequence) = cubic.poll_transmit(now)
                    {
                        let packet = Tagged {
                            flow: number,
                            entered: now,
                            number: sequence,
                            bytes: self.packet.clone(),
                        };
                        self.link.send(now, packet);
                    }
                }
            }
        }
    }
}

impl Stream {
    /// From now on the application has something else to send, in tensors as large as before.
    pub const fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    fn next_wake(&self) -> Option<Time> {
        let timeout = |session: &Session| session.poll_timeout().map(|(at, _)| at);
        let offers = match self.source {
            Source::Periodic { .. } => Some(self.due),
            Source::Unlimited { .. } => (self.frame == 0).then_some(self.start),
        };
        let all = [
            timeout(&self.edge),
            timeout(&self.cloud),
            self.down.next_arrival(),
            offers,
        ];
        all.into_iter().flatten().min()
    }

    fn hear(&mut self, now: Time) {
        while let Some((_, datagram)) = self.down.receive(now) {
            let _ = self.edge.handle_datagram(now, &datagram);
        }
    }

    fn drain(&mut self, now: Time, buffer: &mut Vec<u8>, mut send: impl FnMut(&[u8], Ecn)) {
        let due = |session: &Session| session.poll_timeout().is_some_and(|(at, _)| at <= now);
        if due(&self.cloud) {
            self.cloud.handle_timeout(now);
        }
        while self.cloud.poll_transmit(now, buffer).is_some() {
            self.down.send(now, std::mem::take(buffer));
        }
        while let Some(event) = self.cloud.poll_event() {
            match event {
                Event::Tensor(tensor) => self.released.push(*tensor.info()),
                Event::Lost { count, .. } => self.lost += count,
                _ => {}
            }
        }
        if due(&self.edge) {
            self.edge.handle_timeout(now);
        }
        loop {
            while let Some(transmit) = self.edge.poll_transmit(now, buffer) {
                send(buffer, transmit.ecn);
            }
            if !self.offer(now) {
                break;
            }
        }
        while let Some(event) = self.edge.poll_event() {
            if !matches!(event, Event::Delivery { .. }) {
                self.edge_events.push((now, event));
            }
        }
    }

    /// Hands a tensor over if it is time.
    fn offer(&mut self, now: Time) -> bool {
        let ready = match self.source {
            Source::Unlimited { .. } => self.start <= now && self.edge.path(now).ready,
            Source::Periodic { interval, .. } => {
                let ready = self.due <= now;
                if ready {
                    self.due = self.due + interval;
                }
                ready
            }
        };
        if ready {
            let tensor = outgoing(self.frame, now, self.slices.clone());
            self.frame += 1;
            // A full queue is the path's fault, and counted there.
            let _ = self.edge.send_tensor(now, tensor);
        }
        ready
    }
}

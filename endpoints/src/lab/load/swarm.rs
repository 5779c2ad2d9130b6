//! Many edges at a time: their sessions, when each sends, and what became of its tensors.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tensorwire_protocol::wire::{FrameNumber, ResultStatus};
use tensorwire_protocol::{Event, OutgoingTensor, ReleaseReason, Slices, Time};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::edge::{Fleet, Member, Protection};
use crate::identity::EdgeIdentity;
use crate::stand_in;

/// Sessions that are opened at a time.
const OPENING: usize = 16;
/// Tensors of a session whose captures are remembered until they are answered.
const REMEMBERED: usize = 256;
/// How long the last answers are waited for, beyond the deadline.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a swarm is to do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) cloud: SocketAddr,
    pub(super) edges: usize,
    pub(super) sockets: usize,
    pub(super) interval: Duration,
    pub(super) bytes: u32,
    pub(super) deadline: Duration,
    pub(super) time: Duration,
    pub(super) gso: bool,
    pub(super) plain: bool,
}

/// What became of the tensors of a swarm.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    /// Handed to their sessions.
    pub(super) sent: u64,
    /// Not taken by their sessions: earlier ones waited still.
    pub(super) refused: u64,
    /// Answered, every slice having been there.
    pub(super) whole: u64,
    /// Answered with slices missing.
    pub(super) partial: u64,
    /// Answered later than their deadline.
    pub(super) late: u64,
    /// Of which the cloud says that nothing arrived in time, or that they were superseded.
    pub(super) lost: u64,
    /// Answered with a refusal: the cloud was behind.
    pub(super) busy: u64,
    /// Microseconds from capture to answer.
    pub(super) latencies: Vec<f64>,
    /// Microseconds by which captures were late.
    pub(super) lateness: Vec<f64>,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.whole += other.whole;
        self.partial += other.partial;
        self.late += other.late;
        self.lost += other.lost;
        self.busy += other.busy;
        self.latencies.extend(other.latencies);
        self.lateness.extend(other.lateness);
    }

    /// Tensors that were neither answered nor given up.
    pub(super) const fn unanswered(&self) -> u64 {
        self.sent
            .saturating_sub(self.whole + self.partial + self.lost + self.busy)
    }
}

/// When the newest frames of a session were captured, by the low bits of their numbers.
type Captures = Arc<Mutex<Vec<Time>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sessions that are open.
pub(super) struct Swarm {
    plan: Plan,
    clock: Clock,
    fleets: Vec<Arc<Fleet>>,
    /// Those of each fleet.
    members: Vec<Vec<Member>>,
}

impl Swarm {
    /// Opens every session.
    ///
    /// # Errors
    /// If the cloud does not answer or refuses one.
    pub(super) async fn open(plan: Plan, identity: &EdgeIdentity) -> Result<Self> {
        let clock = Clock::start();
        let mut fleets = Vec::new();
        let format = stand_in::format(plan.bytes)?;
        let mut stream = stand_in::describe(&format)?;
        stream.deadline_ms = u32::try_from(plan.deadline.as_millis())?;
        // As tw-edge does unless told otherwise.
        stream.retransmission = true;
        for _ in 0..plan.sockets {
            let protected = (stream.clone(), Protection::default());
            let fleet = Fleet::bind(
                plan.cloud,
                identity.clone(),
                protected,
                (plan.gso, plan.plain),
                clock,
            )
            .await?;
            fleets.push(Arc::new(fleet));
        }
        let mut members: Vec<Vec<Member>> = Vec::new();
        members.resize_with(fleets.len(), Vec::new);
        let mut opening = JoinSet::new();
        let mut put = |opened: (usize, Result<Member>)| -> Result<()> {
            let (place, member) = (opened.0, opened.1?);
            members
                .get_mut(place)
                .context("no such place")?
                .push(member);
            Ok(())
        };
        for ((place, fleet), _) in fleets.iter().enumerate().cycle().zip(0..plan.edges) {
            if opening.len() >= OPENING
                && let Some(opened) = opening.join_next().await
            {
                put(opened?)?;
            }
            let fleet = Arc::clone(fleet);
            let split = stand_in::describe(&format)?.split;
            opening.spawn(async move { (place, fleet.open(split).await) });
        }
        while let Some(opened) = opening.join_next().await {
            put(opened?)?;
        }
        Ok(Self {
            plan,
            clock,
            fleets,
            members,
        })
    }

    /// The ports of its sockets.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        let fleets = self.fleets.iter();
        fleets.map(|fleet| fleet.path().local_addr().port())
    }

    /// Streams for the time of the plan, each session at moments of its own, and waits for the last
    /// answers. The sessions are open still.
    ///
    /// # Errors
    /// If the data path ends.
    pub(super) async fn stream(&mut self) -> Result<Count> {
        let Plan {
            interval, deadline, ..
        } = self.plan;
        let start = self.clock.now() + Duration::from_millis(50);
        let sending = Sending {
            clock: self.clock,
            slices: stand_in::tensor(self.plan.bytes)?,
            interval,
            end: start + self.plan.time,
        };
        let edges = u32::try_from(self.plan.edges.max(1)).context("too many edges")?;
        let (mut senders, mut counts, mut index) = (JoinSet::new(), Vec::new(), 0);
        for members in std::mem::take(&mut self.members) {
            let count = Arc::new(Mutex::new(Count::default()));
            let mut lines = Vec::new();
            for mut member in members {
                let captures = Captures::new(Mutex::new(vec![Time::ZERO; REMEMBERED]));
                if let Some(events) = member.events.take() {
                    let (captures, count) = (Arc::clone(&captures), Arc::clone(&count));
                    tokio::spawn(listen(events, captures, count, (self.clock, deadline)));
                }
                lines.push(Line {
                    member,
                    captures,
                    due: start + interval * index / edges,
                    frame: 0,
                });
                index += 1;
            }
            counts.push(Arc::clone(&count));
            senders.spawn(sending.clone().run(lines, count));
        }
        while let Some(sent) = senders.join_next().await {
            self.members.push(sent??);
        }
        tokio::time::sleep(deadline + LAST_ANSWERS).await;
        let mut total = Count::default();
        for count in counts {
            total.add(std::mem::take(&mut *lock(&count)));
        }
        Ok(total)
    }

    /// Ends every session in good order.
    pub(super) async fn close(self) {
        let mut closing = JoinSet::new();
        for member in self.members.into_iter().flatten() {
            closing.spawn(member.close());
        }
        while closing.join_next().await.is_some() {}
    }
}

/// A session that sends.
struct Line {
    member: Member,
    captures: Captures,
    due: Time,
    frame: u64,
}

/// How sessions send.
#[derive(Clone)]
struct Sending {
    clock: Clock,
    slices: Slices,
    interval: Duration,
    end: Time,
}

impl Sending {
    /// Sends what is due on each session, those of one socket, until the end.
    async fn run(self, mut lines: Vec<Line>, count: Arc<Mutex<Count>>) -> Result<Vec<Member>> {
        let (mut lateness, mut sent, mut refused) = (Vec::new(), 0, 0);
        // Their moments follow each other in the order of the sessions.
        'all: loop {
            for line in &mut lines {
                if line.due >= self.end {
                    break 'all;
                }
                if line.due > self.clock.now() {
                    self.clock.sleep_until(Some(line.due)).await;
                }
                let captured = self.clock.now();
                lateness.push((captured - line.due).as_micros() as f64);
                line.due = line.due + self.interval;
                let frame = FrameNumber(line.frame);
                line.frame += 1;
                remember(&line.captures, frame, captured);
                let tensor = OutgoingTensor {
                    frame,
                    captured,
                    step: 0,
                    slices: self.slices.clone(),
                };
                match line.member.session.send_tensor(tensor).await? {
                    Ok(_) => sent += 1,
                    Err(_) => refused += 1,
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        let part = Count {
            sent,
            refused,
            lateness,
            ..Count::default()
        };
        lock(&count).add(part);
        Ok(lines.into_iter().map(|line| line.member).collect())
    }
}

fn place(frame: FrameNumber) -> usize {
    usize::try_from(frame.0 % REMEMBERED as u64).unwrap_or(0)
}

fn remember(captures: &Captures, frame: FrameNumber, captured: Time) {
    if let Some(kept) = lock(captures).get_mut(place(frame)) {
        *kept = captured;
    }
}

/// Counts what becomes of a session's tensors, until it ends.
async fn listen(
    mut events: mpsc::Receiver<Event>,
    captures: Captures,
    count: Arc<Mutex<Count>>,
    (clock, deadline): (Clock, Duration),
) {
    while let Some(event) = events.recv().await {
        let now = clock.now();
        match event {
            Event::Result(result) => {
                let captured = lock(&captures).get(place(result.frame)).copied();
                let mut count = lock(&count);
                if result.status == ResultStatus::Busy {
                    count.busy += 1;
                } else if result.missing_share > 0.0 {
                    count.partial += 1;
                } else {
                    count.whole += 1;
                }
                if let Some(captured) = captured {
                    let latency = now - captured;
                    count.late += u64::from(latency > deadline);
                    count.latencies.push(latency.as_micros() as f64);
                }
            }
            Event::Delivery {
                reason: ReleaseReason::Lost | ReleaseReason::Superseded,
                ..
            } => lock(&count).lost += 1,
            _ => {}
        }
    }
}

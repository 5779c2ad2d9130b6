//! Which frames are worth computing, and how many bytes a tensor may have (frame-dropping.md).
//!
//! A frame that would come too late costs the edge its compute, the path its bytes and the next frame
//! its time. So it is dropped before the edge's part of the model runs, and the application and the
//! cloud are told why. [`DropRule`] decides, a pure function; [`Admission`] knows what to expect of a
//! frame, from those before it.

mod budget;
mod recent;
mod rule;
mod server;

use std::time::Duration;

use recent::Recent;

use crate::rate::{Path, PeerLoad};
use crate::time::{Time, micros};

pub use budget::byte_budget;
pub use rule::{Candidate, DropReason, DropRule};
pub use server::Server;

/// Time without a tensor after which a frame is made only to see whether edge and path have become
/// faster.
const RETRY: Duration = Duration::from_millis(500);
/// The same where only the path's queue is in the way: it was measured before the path fell idle, and
/// what was ours of it has gone.
const RETRY_QUEUE: Duration = Duration::from_millis(100);

/// Decides which frames an edge computes, and learns from those that it did.
///
/// ```
/// use std::time::Duration;
/// use tensorwire_protocol::admission::{Admission, DropReason, DropRule};
/// use tensorwire_protocol::{Path, Time};
///
/// let mut admission = Admission::new(DropRule::Predictive, Duration::from_millis(35));
/// let mut path = Path::default();
/// (path.rate, path.one_way) = (Some(20_000_000), Some(Duration::from_millis(20)));
/// let captured = Time::from_millis(1_000);
/// assert_eq!(admission.decide(captured, captured, &path, None, 0), Ok(()));
///
/// // It took 5 ms to make, and came to 11,719 bytes: 5 ms on this path, with headers.
/// let handed = Time::from_millis(1_005);
/// admission.sent(handed, Duration::from_millis(5), 11_719, &path);
///
/// // 25,000 bytes wait before the next one, which would take 10 ms, 5 of them while it is made: it
/// // would be there after 5 + 5 + 5 + 20 ms, just in time. With one byte more it is late.
/// let captured = Time::from_millis(1_033);
/// path.waiting = 25_000;
/// assert_eq!(admission.decide(captured, captured, &path, None, 0), Ok(()));
/// path.waiting = 25_003;
/// let late = admission.decide(captured, captured, &path, None, 0);
/// assert_eq!(late, Err(DropReason::Rate));
/// ```
#[derive(Clone, Debug)]
pub struct Admission {
    rule: DropRule,
    deadline: Duration,
    /// Microseconds from the decision to make a frame until its tensor was handed to the session.
    edge_micros: Recent,
    /// Bytes of the tensors, parity included.
    bytes: Recent,
    /// The same of the smallest tensor that the coder can make of a frame, if it has a choice.
    least: Option<usize>,
    /// When the frame before was captured.
    before: Option<Time>,
    /// When a tensor was last made, or tried.
    tried: Option<Time>,
    server: Server,
}

impl Admission {
    /// For a stream with this deadline. Nothing is known yet, so that the first frames are made.
    pub fn new(rule: DropRule, deadline: Duration) -> Self {
        Self {
            rule,
            deadline,
            edge_micros: Recent::default(),
            bytes: Recent::default(),
            least: None,
            before: None,
            tried: None,
            server: Server::default(),
        }
    }

    /// The rule.
    pub const fn rule(&self) -> DropRule {
        self.rule
    }

    /// Expected time from the decision to make a frame until its tensor is handed to the session: the
    /// 90th percentile of the newest 32; zero before the first.
    pub fn edge_time(&self) -> Duration {
        Duration::from_micros(self.edge_micros.estimate())
    }

    /// Expected bytes of a tensor, parity included: the 90th percentile of the newest 32;
    /// zero before the first.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes.estimate()).unwrap_or(usize::MAX)
    }

    /// Says what the smallest tensor takes that the coder can make of a frame, parity included, if it has
    /// a choice of qualities; default: none. A frame is then worth computing if so small a tensor is in
    /// time, however large those before it were: [`byte_budget`] keeps what is coded as small as needed.
    pub const fn set_least(&mut self, bytes: Option<usize>) {
        self.least = bytes;
    }

    /// Bytes to reckon with where a frame is decided about.
    fn needed(&self) -> usize {
        self.least
            .map_or_else(|| self.bytes(), |least| least.min(self.bytes()))
    }

    /// Whether a frame that was captured at `captured` is worth computing now, with `ahead` others in
    /// the making. `path` is [`Session::path`](crate::Session::path) and `load`
    /// [`Session::peer_load`](crate::Session::peer_load). The next frame is taken to come as long after
    /// this one as this came after the one before.
    ///
    /// Frames that are dropped teach nothing: neither how fast the edge has become, nor what the path, on
    /// which nothing is sent, now carries. So while nothing is under way one is made every half second,
    /// every tenth where only the measured queue is in the way, unless the delay of the empty path alone
    /// would make it late.
    ///
    /// # Errors
    /// Why the frame should be dropped.
    pub fn decide(
        &mut self,
        now: Time,
        captured: Time,
        path: &Path,
        load: Option<PeerLoad>,
        ahead: usize,
    ) -> Result<(), DropReason> {
        if let Some(load) = load {
            self.server.heard(load);
        }
        let before = self.before.replace(captured);
        let candidate = Candidate {
            now,
            due: captured + self.deadline,
            edge_time: self.edge_time(),
            interval: before.map_or(Duration::ZERO, |before| captured - before),
            bytes: self.needed(),
            ahead,
            path: *path,
            server: self.server,
        };
        let mut decision = self.rule.decide(&candidate);
        match decision {
            Err(DropReason::Rate) if self.is_stale(&candidate, RETRY_QUEUE) => decision = Ok(()),
            Err(DropReason::Deadline) if self.is_stale(&candidate, RETRY) => {
                decision = Ok(());
                self.edge_micros.forget();
            }
            // One slow tensor must not close the stream for as long as many of its kind would take.
            Err(DropReason::ServerBusy) if self.is_stale(&candidate, RETRY) => {
                decision = Ok(());
                self.server.forget(now);
            }
            _ => {}
        }
        if decision.is_ok() {
            self.tried = Some(now);
        }
        decision
    }

    /// Whether what is expected of a frame is old news, and may have got better.
    fn is_stale(&self, candidate: &Candidate, after: Duration) -> bool {
        let path = &candidate.path;
        let idle = candidate.ahead == 0 && path.waiting == 0 && path.in_flight == 0;
        let one_way = path.one_way.unwrap_or_default();
        idle && !path.silent
            && candidate.now + one_way <= candidate.due
            && self
                .tried
                .is_none_or(|tried| tried + after <= candidate.now)
    }

    /// A tensor of `bytes`, parity included, was handed to the session at `now`, `edge_time`
    /// after the decision to make it. `path` is as it was before.
    pub fn sent(&mut self, now: Time, edge_time: Duration, bytes: usize, path: &Path) {
        self.edge_micros.add(micros(edge_time));
        self.bytes.add(bytes as u64);
        let network = path.completion(bytes).unwrap_or_default();
        self.server.given(now, now + network);
    }

    /// A frame that was decided to be made came to nothing after `edge_time`, superseded or too late.
    pub fn wasted(&mut self, edge_time: Duration) {
        self.edge_micros.add(micros(edge_time));
    }

    /// When the session will be ready for the next frame, with `ahead` in the making, where frames come
    /// only as it takes them: what waits will have been sent by the time that the frame is made, and the
    /// cloud takes its tensor.
    pub fn ready_at(&self, now: Time, path: &Path, ahead: usize) -> Time {
        let edge_time = self.edge_time();
        let mut then = *path;
        then.waiting = (path.waiting).saturating_add(self.bytes().saturating_mul(ahead));
        let network = path.completion(self.bytes()).unwrap_or_default();
        let opens = self.server.after(now, ahead).opens() - edge_time - network;
        let sent = now + drained(&then).saturating_sub(edge_time);
        sent.max(opens)
    }
}

/// Time until everything that waits at the session will have been sent.
pub fn drained(path: &Path) -> Duration {
    transfer(path.waiting, slowest(path))
}

/// The rate at which what waits is sent.
fn slowest(path: &Path) -> Option<u64> {
    let rates = [path.rate, path.bottleneck, path.pace];
    rates.into_iter().flatten().min()
}

/// Bytes that a path of `rate` bits a second carries in `time`.
fn carried(time: Duration, rate: u64) -> usize {
    let bytes = time.as_micros() * u128::from(rate) / 8_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Time that `bytes` take at `rate` bits a second; nothing where there is no limit.
fn transfer(bytes: usize, rate: Option<u64>) -> Duration {
    let Some(rate) = rate else {
        return Duration::ZERO;
    };
    let micros = (bytes as u128 * 8_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

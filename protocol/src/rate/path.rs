//! What a sender knows of its path.

use std::time::Duration;

use crate::time::Time;
use crate::wire::Load;

/// Bytes of IPv4 and UDP header that every datagram takes on the path besides its payload.
pub const IP_UDP_HEADER: usize = 28;

/// What a session knows of the path to its peer, and what that lets it send. All bytes count IPv4 and
/// UDP headers, 28 bytes a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Path {
    /// Bits a second that the session may send on average; none: no limit.
    pub rate: Option<u64>,
    /// Bits a second that the bottleneck takes of a tensor, from the dispersion of packet trains; none
    /// before one has told, or long after the last.
    pub bottleneck: Option<u64>,
    /// Bits a second at which packets leave while they may; none: at once.
    pub pace: Option<u64>,
    /// The standing queue: how much longer than over the empty path packets take now.
    pub queue_delay: Duration,
    /// From sending to arrival over the empty path, half the least round-trip time being taken; none
    /// before the first sample of it.
    pub one_way: Option<Duration>,
    /// Bytes accepted and not sent, the parity that they will have included.
    pub waiting: usize,
    /// Bytes of DATA and REPAIR packets sent and not yet reported, neither received nor lost.
    pub in_flight: usize,
    /// Most bytes that may be in flight; none: no limit.
    pub window: Option<usize>,
    /// Whether a tensor that is handed over now begins to leave at once: nothing waits, the pacer is
    /// ready, the window has room and the circuit breaker is closed.
    pub ready: bool,
    /// Whether others fill the queue of the bottleneck, so that the session holds its own against them.
    pub competing: bool,
    /// Whether the circuit breaker is open: nothing has been heard of the peer for so long that no DATA
    /// is sent until it is heard of.
    pub silent: bool,
}

impl Path {
    /// The predicted time from handing a tensor of so many `bytes` to the session until its last packet
    /// has arrived at the peer. The bytes are those of its slices; headers are added here, parity is the
    /// caller's to add. What waits before it, pacing, window, queue and one-way delay are counted,
    /// losses are not. None while nothing is known of the path, or the circuit breaker is open.
    pub fn completion(&self, bytes: usize) -> Option<Duration> {
        let one_way = self.one_way?;
        if self.silent {
            return None;
        }
        let all = self.waiting.saturating_add(on_the_path(bytes));
        let pace = match (self.pace, self.bottleneck) {
            (Some(pace), Some(bottleneck)) => Some(pace.min(bottleneck)),
            (pace, bottleneck) => pace.or(bottleneck),
        };
        let paced = pace.map_or(Duration::ZERO, |rate| time_of(all, rate));
        // What does not fit into the window goes as fast as reports make room.
        let windowed = match (self.window, self.rate) {
            (Some(window), Some(rate)) => {
                let excess = self.in_flight.saturating_add(all).saturating_sub(window);
                time_of(excess, rate)
            }
            (None, Some(rate)) => time_of(all, rate),
            _ => Duration::ZERO,
        };
        Some(one_way + self.queue_delay + paced.max(windowed))
    }
}

/// Bytes that a tensor of so many takes on the path: full packets of 1,200 bytes of which 4 % are
/// TSP's own, and their IP and UDP headers.
const fn on_the_path(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 15)
}

/// Time that so many bytes take at `rate` bits a second.
pub(super) fn time_of(bytes: usize, rate: u64) -> Duration {
    let micros = (bytes as u128 * 8_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The load of the peer, as its FEEDBACK told it last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what was told, and when")]
pub struct PeerLoad {
    /// Queue, service time and rate limit.
    pub load: Load,
    /// When the report arrived.
    pub at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn path() -> Path {
        Path {
            rate: Some(10_000_000),
            bottleneck: Some(20_000_000),
            pace: Some(25_000_000),
            one_way: Some(20 * MS),
            window: Some(62_500),
            ready: true,
            ..Path::default()
        }
    }

    #[test]
    fn a_tensor_that_fits_the_window_takes_its_bytes_over_the_bottleneck_and_the_delay() {
        let took = path().completion(11_719).unwrap();
        assert_eq!(took, 25 * MS);
    }

    #[test]
    fn what_waits_and_what_queues_comes_first() {
        let path = Path {
            waiting: 12_500,
            queue_delay: 7 * MS,
            ..path()
        };
        assert_eq!(path.completion(11_719), Some(37 * MS));
    }

    #[test]
    fn beyond_the_window_the_mean_rate_counts() {
        let path = Path {
            in_flight: 62_500,
            ..path()
        };
        assert_eq!(path.completion(11_719), Some(30 * MS));
    }

    #[test]
    fn nothing_is_predicted_of_an_unknown_or_silent_path() {
        let unknown = Path {
            one_way: None,
            ..path()
        };
        let silent = Path {
            silent: true,
            ..path()
        };
        assert_eq!(unknown.completion(1), None);
        assert_eq!(silent.completion(1), None);
    }
}

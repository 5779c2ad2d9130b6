//! Which handshakes a cloud takes on.
//!
//! A handshake costs the cloud a signature and some kilobytes before it knows anything of the edge, and
//! anybody can ask for one in somebody else's name. So under load an address has to show that it is there
//! (Retry, RFC 9000, section 8.1.2), which costs the edge a round trip and the cloud nothing to remember;
//! and what remains is bounded, in all and for one source. Whoever is beyond a bound is not refused but not
//! heard: QUIC asks again by itself, and there may be room then.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Handshakes at a time.
const MOST: usize = 256;
/// Handshakes at a time of one source.
const MOST_OF_A_SOURCE: usize = 32;
/// With so many handshakes under way, addresses have to be validated.
const BUSY: usize = 32;
/// With so many asked for within a second, too.
const BUSY_RATE: u32 = 100;
/// A handshake that takes longer is given up, however often the edge says that it is there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The handshakes of a cloud.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<Pending>>);

/// Handshakes under way.
#[derive(Debug, Default)]
struct Pending {
    count: usize,
    by_source: HashMap<Source, usize>,
    rate: Rate,
}

/// Those who share an address: a host, or in IPv6 a network, within which a host can have any address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Source(u64);

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            // No network of IPv6 is 0::/64 to 0:0:0:ffff::/64 but those of special addresses.
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(
                    [a, b, c, d]
                        .into_iter()
                        .fold(0, |all, x| all << 16 | u64::from(x)),
                )
            }
        }
    }
}

/// How many were asked for within the last second or two.
#[derive(Debug, Default)]
struct Rate {
    /// The beginning of the present second; none before the first.
    since: Option<Instant>,
    now: u32,
    before: u32,
}

impl Rate {
    /// Counts one more; how many there were in this second or in the one before, whichever had more.
    fn count(&mut self, now: Instant) -> u32 {
        let second = Duration::from_secs(1);
        match self.since.map(|since| now.saturating_duration_since(since)) {
            Some(elapsed) if elapsed < second => {}
            Some(elapsed) if elapsed < 2 * second => {
                (self.before, self.now) = (self.now, 0);
                self.since = self.since.map(|since| since + second);
            }
            _ => {
                *self = Self {
                    since: Some(now),
                    now: 0,
                    before: 0,
                }
            }
        }
        self.now = self.now.saturating_add(1);
        self.now.max(self.before)
    }
}

/// What becomes of a wish for a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Begin,
    /// The edge has to show that it is where it says.
    Retry,
    /// It may ask again.
    Ignore,
}

impl Pending {
    fn judge(&mut self, now: Instant, source: Source, validated: bool) -> Verdict {
        let rate = self.rate.count(now);
        let of_source = self.by_source.get(&source).copied().unwrap_or(0);
        let full = self.count >= MOST || of_source >= MOST_OF_A_SOURCE;
        if !validated && (full || self.count >= BUSY || rate > BUSY_RATE) {
            // Whose address it is has not been shown, so that it must not count against anybody.
            Verdict::Retry
        } else if full {
            Verdict::Ignore
        } else {
            self.count += 1;
            *self.by_source.entry(source).or_insert(0) += 1;
            Verdict::Begin
        }
    }

    fn end(&mut self, source: Source) {
        self.count -= 1;
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// A handshake under way.
#[derive(Debug)]
pub(super) struct Handshake {
    incoming: quinn::Incoming,
    place: Place,
}

/// A place among the handshakes; given up when dropped.
#[derive(Debug)]
struct Place {
    source: Source,
    handshakes: Handshakes,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.lock().end(self.source);
    }
}

impl Handshakes {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a handshake, if it is to be now; else whoever wants it has been answered as is due.
    pub(super) fn begin(&self, incoming: quinn::Incoming) -> Option<Handshake> {
        let source = Source::of(incoming.remote_address().ip());
        let validated = incoming.remote_address_validated() || !incoming.may_retry();
        let verdict = self.lock().judge(Instant::now(), source, validated);
        match verdict {
            Verdict::Begin => {
                let handshakes = self.clone();
                let place = Place { source, handshakes };
                return Some(Handshake { incoming, place });
            }
            // It may be answered so: just asked.
            Verdict::Retry => drop(incoming.retry()),
            Verdict::Ignore => incoming.ignore(),
        }
        None
    }
}

impl Handshake {
    /// Whoever wants it.
    pub(super) fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// The connection, or why none comes of it.
    pub(super) async fn finish(self) -> Result<quinn::Connection, quinn::ConnectionError> {
        let Self { incoming, place } = self;
        let finished = tokio::time::timeout(TIMEOUT, incoming).await;
        drop(place);
        finished.unwrap_or(Err(quinn::ConnectionError::TimedOut))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::Clock;
    use crate::datapath::DataPath;
    use crate::identity::{CloudIdentity, EdgeIdentity};
    use crate::quic::{self, Tuning};

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    #[test]
    fn without_load_nobody_is_asked_for_more() {
        let mut pending = Pending::default();
        let start = Instant::now();
        for i in 0..1_000_u32 {
            let now = start + Duration::from_millis(20) * i;
            assert_eq!(pending.judge(now, source(1), false), Verdict::Begin);
            pending.end(source(1));
        }
        assert!(pending.by_source.is_empty());
    }

    #[test]
    fn a_flood_has_to_show_its_addresses_and_calm_returns() {
        let mut pending = Pending::default();
        let start = Instant::now();
        let mut begun = 0;
        for i in 0..10_000_u32 {
            let now = start + Duration::from_micros(10) * i;
            let from = Source::of(IpAddr::from(i.to_be_bytes()));
            match pending.judge(now, from, false) {
                Verdict::Begin => begun += 1,
                verdict => assert_eq!(verdict, Verdict::Retry),
            }
        }
        assert_eq!(begun, BUSY);
        // Who has shown it gets in.
        let now = start + Duration::from_millis(100);
        assert_eq!(pending.judge(now, source(9), true), Verdict::Begin);
        let mut pending = Pending {
            count: 0,
            by_source: HashMap::new(),
            ..pending
        };
        assert_eq!(
            pending.judge(now, source(9), false),
            Verdict::Retry,
            "the rate"
        );
        let later = start + Duration::from_secs(3);
        assert_eq!(pending.judge(later, source(9), false), Verdict::Begin);
    }

    #[test]
    fn one_source_does_not_take_all_places() {
        let mut pending = Pending::default();
        let now = Instant::now();
        for _ in 0..MOST_OF_A_SOURCE {
            assert_eq!(pending.judge(now, source(1), true), Verdict::Begin);
        }
        assert_eq!(pending.judge(now, source(1), true), Verdict::Ignore);
        assert_eq!(pending.judge(now, source(2), true), Verdict::Begin);
        // Somebody who uses its name does not keep it out.
        assert_eq!(pending.judge(now, source(1), false), Verdict::Retry);
        pending.end(source(1));
        assert_eq!(pending.judge(now, source(1), true), Verdict::Begin);
        let network = |host: u16| Source::of([0x2001, 0xdb8, 0, 1, 9, 9, 9, host].into());
        assert_eq!(network(1), network(2));
    }

    proptest! {
        #[test]
        fn places_are_bounded_and_given_back(
            steps in prop::collection::vec((any::<u8>(), any::<bool>(), 0_u32..2_000, 0_u8..4), 0..2_000)
        ) {
            let mut pending = Pending::default();
            let mut now = Instant::now();
            let mut begun = Vec::new();
            for (last, validated, micros, step) in steps {
                now += Duration::from_micros(micros.into());
                if step == 0 && !begun.is_empty() {
                    pending.end(begun.swap_remove(usize::from(last) % begun.len()));
                } else if pending.judge(now, source(last % 12), validated) == Verdict::Begin {
                    begun.push(source(last % 12));
                }
                prop_assert_eq!(pending.count, begun.len());
                prop_assert!(pending.count <= MOST);
                prop_assert!(pending.by_source.values().all(|n| (1..=MOST_OF_A_SOURCE).contains(n)));
                prop_assert_eq!(pending.by_source.values().sum::<usize>(), begun.len());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn under_load_edges_show_where_they_are_and_all_get_in() {
        const EDGES: usize = 150;
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let path = DataPath::bind(local, Clock::start()).await.unwrap();
        let identity = CloudIdentity::for_this_run().unwrap();
        let edge = EdgeIdentity::pinned(identity.fingerprint());
        let socket = path.quic_socket().unwrap();
        let server = quic::server(socket, Tuning::default(), &identity).unwrap();
        let counting = tokio::spawn(async move {
            let handshakes = Handshakes::default();
            let (mut connections, mut validated) = (Vec::<quinn::Connection>::new(), 0);
            let mut tasks = JoinSet::<Result<quinn::Connection, quinn::ConnectionError>>::new();
            while connections.len() < EDGES {
                tokio::select! {
                    Some(connection) = tasks.join_next() => connections.extend(connection.unwrap().ok()),
                    Some(incoming) = server.accept() => {
                        let shown = incoming.remote_address_validated();
                        if let Some(handshake) = handshakes.begin(incoming) {
                            validated += usize::from(shown);
                            tasks.spawn(handshake.finish());
                        }
                    }
                }
            }
            assert!(handshakes.lock().by_source.len() <= 1);
            (connections, validated)
        });
        let client = quic::client(local, Tuning::default(), &edge).unwrap();
        let mut connecting = JoinSet::new();
        for _ in 0..EDGES {
            let (client, edge, cloud) = (client.clone(), edge.clone(), path.local_addr());
            connecting.spawn(async move { quic::connect(&client, cloud, &edge).await });
        }
        let connected = connecting.join_all().await;
        assert!(connected.iter().all(Result::is_ok), "{connected:?}");
        let (_connections, validated) = counting.await.unwrap();
        assert!(validated > 0, "all within a second or two");
    }
}

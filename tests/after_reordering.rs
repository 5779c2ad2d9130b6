//! One reordered burst makes both sides patient for ten seconds, and no longer: the sender in taking a
//! packet for lost, the receiver in giving up a tensor.

use std::time::Duration;

use tensorwire_protocol::link::{Link, LinkConfig};
use tensorwire_protocol::{Config, Event, ReceivedTensor, ReleaseReason, Time};
use tensorwire_tests::{Packet, Pair, Path, assert_exact, outgoing, slices, stream};

/// Source packets of a tensor, one slice each.
const PACKETS: u16 = 12;
const FRAME: Duration = Duration::from_millis(33);
/// How long what was seen of the path counts.
const MEMORY: Duration = Duration::from_secs(10);

/// What happens in the ten seconds after the burst.
#[derive(Clone, Copy, Debug)]
enum After {
    /// Tensor after tensor arrives whole.
    Stream,
    /// Nothing is sent.
    Silence,
}

fn link(jitter: u64) -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(jitter),
        rate: Some(20_000_000),
        seed: 7,
        ..LinkConfig::default()
    }
}

/// A stream, the number of its next tensor, and how its earlier ones ended.
struct Stream {
    pair: Pair,
    next: u64,
}

impl Stream {
    /// Both sides know the path.
    fn new(retransmission: bool, change: impl FnOnce(&mut Config)) -> Self {
        let config = stream(PACKETS, |c| {
            c.retransmission = retransmission;
            c.deadline = Duration::from_millis(150);
            change(c);
        });
        let pair = Pair::new(config, Path::symmetric(link(0)));
        let mut stream = Self { pair, next: 0 };
        stream.pair.run_until(Time::from_millis(500));
        stream.send(20);
        stream
    }

    fn send(&mut self, tensors: u64) {
        for _ in 0..tensors {
            let now = self.pair.edge_now();
            let tensor = outgoing(self.next, now, slices(&[1_100; 12], self.next));
            self.pair.edge.send_tensor(now, tensor).unwrap();
            self.pair.run_for(FRAME);
            self.next += 1;
        }
        self.pair.run_for(Duration::from_millis(200));
    }

    /// Ten tensors whose packets come up to 12 ms late each.
    fn reordered_burst(&mut self) {
        self.pair.up = Link::new(link(12));
        self.send(10);
        self.pair.up = Link::new(link(0));
    }

    /// The end of a tensor that loses its last three packets once, and how long after its capture.
    fn lost_tail(&mut self) -> (ReceivedTensor, Duration) {
        // The reports of a stream keep their time; one after silence does not.
        self.send(5);
        let hit = self.next;
        let mut left = 3;
        self.pair.up_tap.lose_behind(move |_, packet| match packet {
            Packet::Data { tensor, index, .. } => {
                let lost = u64::from(*tensor) == hit && *index >= 9 && left > 0;
                left -= u32::from(lost);
                lost
            }
            _ => false,
        });
        self.send(1);
        let end = self.pair.cloud_events.iter().find_map(|(_, e)| match e {
            Event::Tensor(tensor) if tensor.info().id.0 == hit => Some(tensor.clone()),
            _ => None,
        });
        let end = end.unwrap();
        let info = *end.info();
        assert_exact(
            &end,
            &slices(&[1_100; 12], hit),
            info.slices_received == PACKETS,
        );
        (end, info.released - info.captured)
    }

    fn wait(&mut self, after: After) {
        // A burst counts from its last packet on, in parts of the memory.
        let until = self.pair.now + MEMORY + MEMORY / 4;
        match after {
            After::Silence => self.pair.run_until(until),
            After::Stream => {
                while self.pair.now < until {
                    self.send(1);
                }
            }
        }
    }
}

#[test]
fn the_receiver_gives_up_as_early_as_before() {
    for after in [After::Stream, After::Silence] {
        let mut stream = Stream::new(false, |_| ());
        let (tensor, before) = stream.lost_tail();
        assert_eq!(tensor.info().reason, ReleaseReason::Exhausted);
        stream.reordered_burst();
        let (tensor, during) = stream.lost_tail();
        assert_eq!(tensor.info().reason, ReleaseReason::Exhausted);
        assert!(
            during >= before + Duration::from_millis(5),
            "{during:?}: the burst leaves a trace, else nothing is shown"
        );
        stream.wait(after);
        let (tensor, later) = stream.lost_tail();
        assert_eq!(tensor.info().reason, ReleaseReason::Exhausted);
        assert!(
            later <= before + Duration::from_millis(1),
            "{after:?}: {later:?} ten seconds later, {before:?} before"
        );
    }
}

#[test]
fn the_sender_repairs_as_fast_as_before() {
    for after in [After::Stream, After::Silence] {
        let mut stream = Stream::new(true, |_| ());
        let (tensor, before) = stream.lost_tail();
        assert_eq!(tensor.info().reason, ReleaseReason::Complete);
        assert_eq!(stream.pair.edge.stats().packets_retransmitted, 3);
        stream.reordered_burst();
        assert!(
            stream.pair.edge.stats().packets_retransmitted > 3,
            "the burst leaves a trace, else nothing is shown"
        );
        stream.wait(after);
        let again = stream.pair.edge.stats().packets_retransmitted;
        let (tensor, later) = stream.lost_tail();
        assert_eq!(tensor.info().reason, ReleaseReason::Complete);
        // It may just miss a report.
        assert!(
            later <= before + Duration::from_millis(3),
            "{after:?}: {later:?} ten seconds later, {before:?} before"
        );
        let again = stream.pair.edge.stats().packets_retransmitted - again;
        assert_eq!(again, 3, "{after:?}: what was lost, and nothing else");
    }
}

/// Ten seconds are also what a burst is remembered for: a second one meets a receiver that waits.
#[test]
fn a_burst_soon_after_costs_nothing() {
    let mut stream = Stream::new(false, |_| ());
    stream.reordered_burst();
    let exhausted = stream.pair.cloud.stats().tensors_exhausted;
    stream.pair.run_for(Duration::from_secs(5));
    stream.reordered_burst();
    assert_eq!(stream.pair.cloud.stats().tensors_exhausted, exhausted);
    assert_eq!(
        stream.pair.cloud.stats().tensors_complete,
        stream.next - exhausted
    );
}

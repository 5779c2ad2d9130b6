//! Where only one round of retransmission fits before the deadline, what can be done for it is done: its
//! report is repeated, its repairs come in two parts, and a tensor that is lost with all its packets is sent
//! again before another tells of it.

use std::time::Duration;

use tensorwire_protocol::link::{LossModel, LossProcess};
use tensorwire_protocol::{Config, Redundancy, Time};
use tensorwire_tests::{Pair, Path, assert_exact, outgoing, released, slices, stream};

const MS: Duration = Duration::from_millis(1);
/// From capture to capture.
const FRAME: Duration = Duration::from_millis(33);
/// When the first is captured: both sides know the round trip of 40 ms by then.
const START: Time = Time::from_millis(500);
/// The tensor that something happens to.
const HIT: u64 = 90;

fn pair(deadline: u64, change: impl FnOnce(&mut Config)) -> Pair {
    let config = stream(12, |config| {
        config.retransmission = true;
        config.deadline = Duration::from_millis(deadline);
        change(config);
    });
    Pair::new(config, Path::delay(20))
}

fn parity(config: &mut Config) {
    config.redundancy = Redundancy::Fixed { ratio: 0.25 };
}

/// When a tensor is captured.
fn captured(tensor: u64) -> Time {
    START + FRAME * u32::try_from(tensor).unwrap()
}

/// What is sent within this time after the capture of [`HIT`], both ends included.
fn hit(from: u64, to: u64) -> impl Fn(Time) -> bool + Copy {
    let at = |millis| captured(HIT) + Duration::from_millis(millis);
    move |now| (at(from)..=at(to)).contains(&now)
}

/// Sends the tensors up to the one after [`HIT`]; of that one, whether it was released whole, and how many
/// milliseconds after its capture.
fn outcome(pair: &mut Pair) -> Option<(bool, u64)> {
    for id in 0..=HIT + 1 {
        pair.run_until(captured(id));
        let tensor = outgoing(id, pair.now, slices(&[1_100; 12], id));
        pair.edge.send_tensor(pair.now, tensor).unwrap();
    }
    pair.run_for(300 * MS);
    let got = released(pair.cloud_events.drain(..).map(|(_, event)| event));
    let tensor = got.iter().find(|tensor| tensor.info().id.0 == HIT)?;
    let info = tensor.info();
    let whole = info.slices_received == info.slices;
    if whole {
        assert_exact(tensor, &slices(&[1_100; 12], HIT), true);
    }
    let took = info.released - info.captured;
    Some((whole, u64::try_from(took.as_millis()).unwrap()))
}

/// The next tensor comes too late to tell what the first report would have.
#[test]
fn a_lost_report_is_repeated() {
    let mut pair = pair(85, |_| ());
    let (loss, report) = (hit(0, 0), hit(20, 23));
    let mut packets = 0;
    pair.up_tap.lose(move |now, packet| {
        packets += u32::from(packet.is_data() && loss(now));
        packet.is_data() && loss(now) && packets == 6
    });
    pair.down_tap.lose(move |now, _| report(now));
    let (whole, took) = outcome(&mut pair).unwrap();
    assert!(whole && took < 73, "{took}");
}

#[test]
fn a_burst_that_takes_the_last_repairs_is_outlasted() {
    let outcome_of = |change: fn(&mut Config)| {
        let mut pair = pair(100, change);
        let (loss, burst) = (hit(0, 0), hit(38, 60));
        let mut packets = 0;
        pair.up_tap.lose(move |now, packet| {
            packets += u32::from(packet.is_data() && loss(now));
            burst(now) || packet.is_data() && loss(now) && packets <= 6
        });
        (outcome(&mut pair).unwrap(), pair.edge.stats().repairs_sent)
    };
    let ((whole, took), repairs) = outcome_of(parity);
    assert!(whole && (88..=100).contains(&took), "{took}");
    // Three are sent ahead of each tensor. Three source packets were sent again at first.
    assert!(repairs >= 3 * (HIT + 2) + 3, "{repairs}");
    let ((whole, _), repairs) = outcome_of(|_| ());
    assert!(
        !whole && repairs == 0,
        "a stream without parity has no more"
    );
}

#[test]
fn a_tensor_that_is_lost_with_all_its_packets_does_not_wait_for_the_next() {
    let outcome_of = |loss: LossModel| {
        let mut pair = pair(90, parity);
        let (mut process, all) = (LossProcess::new(loss, 5), hit(0, 20));
        pair.up_tap
            .lose(move |now, _| all(now) || now < captured(HIT) && process.next_is_lost());
        outcome(&mut pair)
    };
    let bursts = LossModel::gilbert(0.08, 5.0).unwrap();
    let (whole, took) = outcome_of(bursts).unwrap();
    // A report is overdue after the round trip, ten milliseconds and what is allowed for variation.
    assert!(whole && (70..90).contains(&took), "{took}");
    let independent = LossModel::independent(0.08).unwrap();
    assert_eq!(
        outcome_of(independent),
        None,
        "the silence is a lost report"
    );
}

//! The rules as properties, and by hand.

use proptest::prelude::*;

use super::*;
use crate::rate::PeerLoad;
use crate::wire::Load;

const MS: Duration = Duration::from_millis(1);
/// The time of every decision.
const NOW: Time = Time::from_millis(10_000);

fn idle() -> Path {
    Path {
        rate: Some(20_000_000),
        bottleneck: Some(20_000_000),
        pace: Some(20_000_000),
        one_way: Some(20 * MS),
        ready: true,
        ..Path::default()
    }
}

/// 5 ms to make, 11,719 bytes and thus 5 ms to send, 20 ms on the way; 35 ms for all that.
fn candidate() -> Candidate {
    Candidate {
        now: NOW,
        due: NOW + 35 * MS,
        edge_time: 5 * MS,
        interval: Duration::ZERO,
        bytes: 11_719,
        ahead: 0,
        path: idle(),
        server: Server::default(),
    }
}

fn server(queue_length: u16, service_micros: u32, admission_micros: u32) -> Server {
    let mut server = Server::default();
    let load = Load {
        queue_length,
        service_micros,
        admission_micros,
    };
    server.heard(PeerLoad { load, at: NOW });
    server
}

#[test]
fn predictive_by_hand() {
    let waits = |c: &mut Candidate, millis| {
        (c.due, c.interval, c.path.waiting) = (NOW + 500 * MS, MS * millis, 25_000);
    };
    let decide = |change: &dyn Fn(&mut Candidate)| {
        let mut candidate = candidate();
        change(&mut candidate);
        DropRule::Predictive.decide(&candidate)
    };
    assert_eq!(decide(&|c| c.due = NOW + 30 * MS), Ok(()));
    assert_eq!(
        decide(&|c| c.due = NOW + 29 * MS),
        Err(DropReason::Deadline)
    );
    // Of what waits, 12,500 bytes go while the tensor is made, and as many again in the 5 ms to spare.
    assert_eq!(decide(&|c| c.path.waiting = 25_000), Ok(()));
    assert_eq!(decide(&|c| c.path.waiting = 25_003), Err(DropReason::Rate));
    // However late the deadline: the next frame could be sent instead, if it comes in less than 5 ms.
    assert_eq!(decide(&|c| waits(c, 5)), Ok(()));
    assert_eq!(decide(&|c| waits(c, 4)), Err(DropReason::Rate));
    assert_eq!(decide(&|c| c.path.queue_delay = 5 * MS), Ok(()));
    assert_eq!(
        decide(&|c| c.path.queue_delay = 6 * MS),
        Err(DropReason::Rate)
    );
    assert_eq!(decide(&|c| c.ahead = 2), Ok(()));
    assert_eq!(decide(&|c| c.ahead = 3), Err(DropReason::Rate));
    assert_eq!(decide(&|c| c.path.silent = true), Err(DropReason::Rate));
    let busy = Err(DropReason::ServerBusy);
    assert_eq!(decide(&|c| c.server = server(3, 10_000, 0)), Ok(()));
    assert_eq!(decide(&|c| c.server = server(4, 10_000, 0)), busy);
    // The next tensor may come half of 60 ms after the one before: that came at 5 ms, this at 30.
    let limited = |arrived: Duration| {
        let mut candidate = candidate();
        candidate.server = server(0, 0, 60_000);
        candidate.server.given(NOW, NOW + arrived);
        DropRule::Predictive.decide(&candidate)
    };
    assert_eq!(limited(Duration::ZERO), Ok(()));
    assert_eq!(limited(MS), busy);
}

#[test]
fn published_by_hand() {
    let decide = |change: fn(&mut Candidate)| {
        let mut candidate = candidate();
        change(&mut candidate);
        DropRule::Published.decide(&candidate)
    };
    // 5 ms of client_remain: 12,500 bytes of 20 Mbit/s.
    assert_eq!(decide(|c| c.path.waiting = 12_500), Ok(()));
    assert_eq!(decide(|c| c.path.waiting = 12_501), Err(DropReason::Rate));
    let in_flight = |c: &mut Candidate| (c.path.waiting, c.path.in_flight) = (6_000, 6_501);
    assert_eq!(decide(in_flight), Err(DropReason::Rate));
    let request = |ago: Duration| {
        let mut candidate = candidate();
        candidate.server = server(0, 0, 60_000);
        candidate.server.given(NOW - ago, NOW);
        DropRule::Published.decide(&candidate)
    };
    assert_eq!(request(55 * MS), Ok(()));
    assert_eq!(request(54 * MS), Err(DropReason::ServerBusy));
    // It knows no deadline.
    assert_eq!(decide(|c| c.due = NOW), Ok(()));
}

#[test]
fn every_reason_is_a_notice_of_a_frame() {
    let told: Vec<u8> = DropReason::ALL.map(|reason| reason.notice().code()).into();
    assert_eq!(told, [1, 2, 3, 4]);
}

/// Any state of path, server and edge.
fn any_candidate() -> impl Strategy<Value = Candidate> {
    let rate = || prop::option::of(10_000_u64..10_000_000_000);
    let path = (
        [rate(), rate(), rate()],
        0_u64..500,
        prop::option::of(0_u64..500),
        (0_usize..10_000_000, 0_usize..10_000_000),
        prop::option::of(0_usize..10_000_000),
    );
    let load = (0_u16..100, 0_u32..1_000_000, 0_u32..1_000_000);
    (
        path,
        load,
        0_u64..1_000,
        0_u64..500,
        0_usize..10_000_000,
        0_usize..4,
    )
        .prop_map(|(path, load, deadline, edge, bytes, ahead)| {
            let ([rate, bottleneck, pace], queue, one_way, (waiting, in_flight), window) = path;
            Candidate {
                now: NOW,
                due: NOW + Duration::from_millis(deadline),
                edge_time: Duration::from_millis(edge),
                interval: Duration::from_millis(edge / 4),
                bytes,
                ahead,
                path: Path {
                    rate,
                    bottleneck,
                    pace,
                    queue_delay: Duration::from_millis(queue),
                    one_way: one_way.map(Duration::from_millis),
                    waiting,
                    in_flight,
                    window,
                    ..Path::default()
                },
                server: server(load.0, load.1, load.2),
            }
        })
}

proptest! {
    #[test]
    fn an_idle_fast_path_drops_nothing(
        mut candidate in any_candidate(),
        rule in prop::sample::select(vec![DropRule::Off, DropRule::Published, DropRule::Predictive]),
        spare in 0_u64..1_000,
    ) {
        let Path { rate, bottleneck, pace, one_way, .. } = candidate.path;
        candidate.path = Path { rate, bottleneck, pace, one_way, ..Path::default() };
        (candidate.server, candidate.ahead) = (Server::default(), 0);
        let network = candidate.path.completion(candidate.bytes).unwrap_or_default();
        candidate.due = NOW + candidate.edge_time + network + Duration::from_micros(spare);
        prop_assert_eq!(rule.decide(&candidate), Ok(()));
    }

    /// Whatever could be said for it: a tensor that would come late by the path's own prediction, or
    /// find the model busy at its deadline, is not made.
    #[test]
    fn what_cannot_make_it_is_dropped(mut candidate in any_candidate()) {
        candidate.ahead = 0;
        let made = candidate.now + candidate.edge_time;
        let mut sent = candidate.path;
        sent.waiting = 0;
        let at_best = made + sent.completion(candidate.bytes).unwrap_or_default();
        if at_best > candidate.due || candidate.server.free > candidate.due {
            prop_assert!(DropRule::Predictive.decide(&candidate).is_err());
        }
        prop_assert_eq!(DropRule::Off.decide(&candidate), Ok(()));
    }

    #[test]
    fn more_of_a_backlog_never_admits(
        candidate in any_candidate(),
        rule in prop::sample::select(vec![DropRule::Published, DropRule::Predictive]),
        more in 1_u16..,
    ) {
        prop_assume!(rule.decide(&candidate).is_err());
        let with = |change: &dyn Fn(&mut Candidate)| {
            let mut candidate = candidate;
            change(&mut candidate);
            rule.decide(&candidate)
        };
        let time = MS * u32::from(more);
        let more = usize::from(more);
        prop_assert!(with(&|c| c.path.waiting += more).is_err());
        prop_assert!(with(&|c| c.path.in_flight += more).is_err());
        prop_assert!(with(&|c| c.path.queue_delay += time).is_err());
        prop_assert!(with(&|c| c.ahead += more % 8).is_err());
        prop_assert!(with(&|c| c.server.free = c.server.free + time).is_err());
        prop_assert!(with(&|c| c.server.nominal = c.server.nominal + time).is_err());
    }
}

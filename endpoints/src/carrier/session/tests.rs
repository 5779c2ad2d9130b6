use bytes::Bytes;
use proptest::prelude::*;
use tensorwire_protocol::wire::ResultStatus;
use tensorwire_protocol::{ReceivedTensor, ReleaseReason, Slices};

use super::*;

const ONE_WAY: Duration = Duration::from_millis(20);

/// An edge and a cloud whose clocks are `offset` apart, on a stream that takes 20 ms.
struct Pair {
    edge: StreamSession,
    cloud: StreamSession,
    to_cloud: (Decoder, Option<TensorId>),
    to_edge: (Decoder, Option<TensorId>),
    /// The edge's clock is ahead of the cloud's by this.
    offset: Duration,
    /// What is under way: arrival by the cloud's clock, to the cloud or not, bytes.
    way: Vec<(Time, bool, Vec<u8>)>,
    now: Time,
}

impl Pair {
    fn new(change: fn(&mut Config), offset: Duration) -> Self {
        let mut config = Config::new(2);
        change(&mut config);
        let now = Time::from_millis(1_000);
        let edge = StreamSession::new(Role::Edge, config.clone(), now + offset);
        let cloud = StreamSession::new(Role::Cloud, config, now);
        Self {
            to_cloud: (cloud.decoder(), None),
            to_edge: (edge.decoder(), None),
            edge,
            cloud,
            offset,
            way: Vec::new(),
            now,
        }
    }

    /// Lets `ms` milliseconds pass.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            let (now, edge_now) = (self.now, self.now + self.offset);
            let mut out = Vec::new();
            self.edge.poll_messages(edge_now, &mut out);
            while self.edge.poll_tensor(edge_now, &mut out).is_some() {}
            self.way.push((now + ONE_WAY, true, out));
            let mut out = Vec::new();
            self.cloud.poll_messages(now, &mut out);
            self.way.push((now + ONE_WAY, false, out));
            for (_, forward, bytes) in self.way.extract_if(.., |(at, _, _)| *at <= now) {
                let taken = if forward {
                    let (decoder, current) = &mut self.to_cloud;
                    self.cloud.take(now, &bytes, decoder, current)
                } else {
                    let (decoder, current) = &mut self.to_edge;
                    self.edge.take(edge_now, &bytes, decoder, current)
                };
                taken.unwrap();
            }
            if self.cloud.poll_timeout(true).is_some_and(|at| at <= now) {
                self.cloud.handle_timeout(now);
            }
            self.now = now + Duration::from_millis(1);
        }
    }

    fn tensor(&self, frame: u64, age: Duration) -> OutgoingTensor {
        OutgoingTensor {
            frame: FrameNumber(frame),
            captured: self.now + self.offset - age,
            step: 0,
            slices: Slices::new(Bytes::from_static(b"abcdef"), vec![2, 6]).unwrap(),
        }
    }

    fn send(&mut self, frame: u64) -> TensorId {
        let (tensor, now) = (self.tensor(frame, Duration::ZERO), self.now + self.offset);
        self.edge.send_tensor(now, tensor).unwrap()
    }
}

fn events(session: &mut StreamSession) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn tensors(session: &mut StreamSession) -> Vec<ReceivedTensor> {
    let events = events(session).into_iter();
    events
        .filter_map(|event| match event {
            Event::Tensor(tensor) => Some(tensor),
            _ => None,
        })
        .collect()
}

fn result(tensor: TensorInfo, payload: Vec<u8>) -> OutgoingResult {
    OutgoingResult {
        tensor,
        status: ResultStatus::Done,
        compute: Duration::from_micros(77),
        payload: Bytes::from(payload),
    }
}

proptest! {
    /// The exchange of PINGs maps the moment of capture to half the least round trip or better, here
    /// exactly, whatever the clocks show.
    #[test]
    fn capture_times_are_mapped_whatever_the_clocks_show(offset in 0_u64..86_400_000_000) {
        let mut pair = Pair::new(|_| {}, Duration::from_micros(offset));
        pair.run(200);
        let captured = pair.now;
        pair.send(0);
        pair.run(30);
        let tensors = tensors(&mut pair.cloud);
        prop_assert_eq!(tensors.len(), 1);
        let found = tensors[0].info().captured;
        let error = (found - captured).max(captured - found);
        prop_assert!(error <= Duration::from_millis(2), "{error:?}");
    }
}

#[test]
fn a_tensor_arrives_is_reported_and_answered() {
    let mut pair = Pair::new(|_| {}, Duration::from_secs(5));
    pair.run(100);
    assert_eq!(pair.send(3), TensorId(0));
    pair.run(30);
    let tensor = tensors(&mut pair.cloud).pop().unwrap();
    assert_eq!(
        tensor.slices().collect::<Vec<_>>(),
        [Some(&b"ab"[..]), Some(b"cdef")]
    );
    pair.cloud
        .send_result(result(*tensor.info(), vec![1, 2, 3]))
        .unwrap();
    pair.run(30);
    let events = events(&mut pair.edge);
    let [
        Event::Delivery {
            tensor: delivered,
            reason,
            missing_share,
        },
        Event::Result(result),
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (*delivered, *reason),
        (TensorId(0), ReleaseReason::Complete)
    );
    assert_eq!(*missing_share, 0.0);
    assert_eq!((result.tensor, result.frame), (TensorId(0), FrameNumber(3)));
    assert_eq!(
        (&result.payload[..], result.compute),
        (&[1, 2, 3][..], Duration::from_micros(77))
    );
    assert_eq!(pair.edge.path().one_way, None, "only the cloud asks");
    let one_way = pair.cloud.path().one_way.unwrap();
    assert!(one_way.abs_diff(ONE_WAY) <= Duration::from_millis(2));
}

#[test]
fn what_is_skipped_or_abandoned_is_told() {
    let mut pair = Pair::new(|_| {}, Duration::ZERO);
    pair.run(100);
    pair.edge
        .skip_frames(NoticeReason::FrameRate, FrameNumber(0), 300);
    pair.edge
        .skip_frames(NoticeReason::FrameRate, FrameNumber(300), 2);
    pair.send(400);
    // The network takes nothing until the deadline has passed.
    pair.now = pair.now + Duration::from_millis(100);
    pair.run(30);
    let told = events(&mut pair.cloud);
    let frames = |first, count| Event::FramesSkipped {
        reason: NoticeReason::FrameRate,
        first: FrameNumber(first),
        count,
    };
    let abandoned = Event::TensorsAbandoned {
        reason: NoticeReason::TensorDeadline,
        first: TensorId(0),
        count: 1,
    };
    assert_eq!(told, [frames(0, 255), frames(255, 47), abandoned]);
    let stats = pair.edge.stats();
    assert_eq!(
        (
            stats.frames_skipped,
            stats.tensors_abandoned,
            stats.tensors_sent
        ),
        (302, 1, 1)
    );
}

#[test]
fn the_newest_load_is_told() {
    let mut pair = Pair::new(|_| {}, Duration::ZERO);
    let load = |queue_length| Load {
        queue_length,
        service_micros: 40_000,
        admission_micros: 50_000,
    };
    pair.cloud.set_load(load(1));
    pair.cloud.set_load(load(2));
    pair.run(30);
    assert_eq!(pair.edge.peer_load().unwrap().load, load(2));
}

#[test]
fn results_that_nobody_reads_are_bounded() {
    let mut pair = Pair::new(|config| config.limits.results = 4, Duration::ZERO);
    for id in 0..10 {
        let info = TensorInfo::new(TensorId(id), FrameNumber(id), 2);
        pair.cloud
            .send_result(result(info, vec![0; 1_024]))
            .unwrap();
    }
    assert_eq!(pair.cloud.stats().results_expired, 6);
    let (info, too_long) = (
        TensorInfo::new(TensorId(0), FrameNumber(0), 2),
        vec![0; 1_025],
    );
    assert!(pair.cloud.send_result(result(info, too_long)).is_err());
    let mut out = Vec::new();
    pair.cloud.poll_messages(pair.now, &mut out);
    assert!(out.len() < 5 * 1_100, "{}", out.len());
}

#[test]
fn messages_of_the_other_direction_end_the_session() {
    let mut pair = Pair::new(|_| {}, Duration::ZERO);
    let mut pong = Vec::new();
    Message::Pong(1, 2).encode(&mut pong);
    let (decoder, current) = &mut pair.to_edge;
    assert!(pair.edge.take(pair.now, &pong, decoder, current).is_err());
    let (mut tensor, mut current) = (Vec::new(), None);
    frame::put_tensor(&mut tensor, TensorId(0), &pair.tensor(0, Duration::ZERO));
    let mut decoder = pair.edge.decoder();
    assert!(
        pair.edge
            .take(pair.now, &tensor, &mut decoder, &mut current)
            .is_err()
    );
    let mut ping = Vec::new();
    Message::Ping(1).encode(&mut ping);
    let (decoder, current) = &mut pair.to_cloud;
    assert!(pair.cloud.take(pair.now, &ping, decoder, current).is_err());
}

#[test]
fn answers_to_what_was_never_sent_are_counted_and_not_told() {
    let mut pair = Pair::new(|_| {}, Duration::ZERO);
    let info = TensorInfo::new(TensorId(9), FrameNumber(9), 2);
    pair.cloud.send_result(result(info, vec![])).unwrap();
    pair.run(40);
    assert_eq!(events(&mut pair.edge), []);
    assert_eq!(pair.edge.stats().conflicts, 1);
}

proptest! {
    #[test]
    fn no_bytes_make_a_session_keep_more_than_its_limits(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut pair = Pair::new(|config| config.limits.tensor_bytes = 500, Duration::ZERO);
        let (decoder, current) = &mut pair.to_cloud;
        for piece in pieces {
            if pair.cloud.take(pair.now, &piece, decoder, current).is_err() {
                break;
            }
            prop_assert!(pair.cloud.buffered_bytes() <= 600);
        }
    }
}

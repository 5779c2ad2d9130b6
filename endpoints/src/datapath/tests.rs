//! Sessions on data paths of this machine, entered from everywhere at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tensorwire_protocol::wire::{FrameNumber, ResultStatus};
use tensorwire_protocol::{OutgoingResult, OutgoingTensor, Slices};

use super::*;

const SLICES: u32 = 20;
const BYTES: u32 = SLICES * 500;

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn config() -> Config {
    let mut config = Config::new(20);
    config.deadline = Duration::from_secs(20);
    config
}

fn tensor(frame: u64, clock: Clock) -> OutgoingTensor {
    let ends = (1..=SLICES).map(|i| i * BYTES / SLICES).collect();
    let content = vec![u8::try_from(frame % 251).unwrap(); BYTES as usize];
    OutgoingTensor {
        frame: FrameNumber(frame),
        captured: clock.now(),
        step: 0,
        slices: Slices::new(content.into(), ends).unwrap(),
    }
}

async fn open(path: &DataPath) -> (SessionHandle, mpsc::Receiver<Event>) {
    let (events, inbox) = mpsc::channel(64);
    (path.open(config(), None, events).await.unwrap(), inbox)
}

#[tokio::test]
async fn a_tensor_has_left_when_the_call_returns() {
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let (session, _events) = open(&path).await;
    let peer = std::net::UdpSocket::bind(local()).unwrap();
    peer.set_nonblocking(true).unwrap();
    let remote = ConnectionId::new(7);
    session
        .attach(remote, Some(peer.local_addr().unwrap()))
        .await
        .unwrap();
    let sent = session.send_tensor(tensor(0, path.clock())).await.unwrap();
    sent.unwrap();
    // Nobody else has had a turn: this runtime has one thread, and nothing above had to wait.
    let (mut buffer, mut bytes) = ([0; 2_000], 0);
    while let Ok(count) = peer.recv(&mut buffer) {
        bytes += count;
    }
    assert!(bytes > BYTES as usize, "{bytes} bytes");
}

#[tokio::test]
async fn a_caller_that_never_waits_does_not_starve_others() {
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let (session, _events) = open(&path).await;
    let turns = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&turns);
    tokio::spawn(async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..10_000 {
        session.outlook().await.unwrap();
    }
    assert!(turns.load(Ordering::Relaxed) > 0);
}

/// Answers every tensor until the session ends; how many there were, and how many were not as sent.
async fn answer(session: SessionHandle, mut events: mpsc::Receiver<Event>) -> (u64, u64) {
    let (mut whole, mut damaged) = (0, 0);
    while let Some(event) = events.recv().await {
        let Event::Tensor(tensor) = event else {
            continue;
        };
        let expected = u8::try_from(tensor.info().frame.0 % 251).unwrap();
        let good = tensor
            .slices()
            .all(|slice| slice.is_some_and(|slice| slice.iter().all(|byte| *byte == expected)));
        whole += 1;
        damaged += u64::from(!good);
        let result = OutgoingResult {
            tensor: *tensor.info(),
            status: ResultStatus::Done,
            compute: Duration::ZERO,
            payload: bytes::Bytes::new(),
        };
        if session.send_result(result).await.is_err() {
            break;
        }
    }
    (whole, damaged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_share_a_port_do_not_get_in_each_others_way() {
    const SESSIONS: usize = 24;
    const TENSORS: u64 = 40;
    let clock = Clock::start();
    let cloud = DataPath::bind_with(local(), clock, true).await.unwrap();
    let edge = DataPath::bind_with(local(), clock, true).await.unwrap();
    let (mut edges, mut clouds) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    for _ in 0..SESSIONS {
        let ((sender, mut answers), (receiver, tensors)) = (open(&edge).await, open(&cloud).await);
        let ids = (sender.connection(), receiver.connection());
        receiver
            .attach(ids.0, Some(edge.local_addr()))
            .await
            .unwrap();
        sender
            .attach(ids.1, Some(cloud.local_addr()))
            .await
            .unwrap();
        clouds.spawn(answer(receiver, tensors));
        edges.spawn(async move {
            let mut answered = 0;
            for frame in 0..TENSORS {
                // One at a time, each as soon as the one before is answered: what is lost is a timer's.
                let sent = sender.send_tensor(tensor(frame, clock)).await.unwrap();
                sent.unwrap();
                while let Some(event) = answers.recv().await {
                    if let Event::Result(result) = event {
                        answered += u64::from(result.frame == FrameNumber(frame));
                        break;
                    }
                }
            }
            answered
        });
    }
    while let Some(answered) = edges.join_next().await {
        assert_eq!(answered.unwrap(), TENSORS);
    }
    // The sessions at the cloud end with their data path.
    cloud.keeper.hub().end();
    while let Some(counted) = clouds.join_next().await {
        assert_eq!(counted.unwrap(), (TENSORS, 0));
    }
}

#[tokio::test]
async fn a_session_ends_with_its_handle_and_the_path_with_the_last() {
    let path = DataPath::bind(local(), Clock::start()).await.unwrap();
    let ((first, mut first_events), (second, mut second_events)) =
        (open(&path).await, open(&path).await);
    let watch = first.watch();
    assert!(watch.outlook().await.is_ok());
    drop(first);
    assert!(first_events.recv().await.is_none());
    assert!(watch.outlook().await.is_err());
    assert!(second.outlook().await.is_ok(), "the other goes on");

    let hub = Arc::downgrade(path.keeper.hub());
    drop(path);
    assert!(second.outlook().await.is_ok(), "a handle keeps it");
    assert!(second.end().await.is_ok());
    assert!(second.end().await.is_err(), "it has ended");
    assert!(second_events.recv().await.is_none());
    drop(second);
    while hub.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_path_whose_runtime_has_gone_says_so() {
    let (path, session) = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let path = DataPath::bind(local(), Clock::start()).await.unwrap();
            let (session, _events) = open(&path).await;
            (path, session)
        })
    })
    .join()
    .unwrap();
    assert_eq!(session.stats().await.err(), Some(PathEnded));
    let (events, _inbox) = mpsc::channel(1);
    let opened = path.open(config(), None, events).await;
    assert!(matches!(opened, Err(OpenError::Ended(PathEnded))));
}

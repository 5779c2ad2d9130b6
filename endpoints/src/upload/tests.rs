use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWriteExt as _, DuplexStream, duplex};

use super::fetch::{Reply, Source};
use super::header::Header;
use super::receive::{Patience, ReceiveError};
use super::*;
use crate::control::{BlobKind, ControlError, RefuseCode};
use crate::digest::Digest;
use crate::model::tests::graph::{file, residual};
use crate::store::{Begun, Blob, Store, StoreError, StoreLimits};

/// Short, and long enough for what does not stall.
const PATIENCE: Patience = Patience {
    stall: Duration::from_millis(300),
    least: 1_000,
    others: Duration::from_secs(20),
    pause: Duration::ZERO,
};

type Stream = Box<dyn AsyncRead + Unpin + Send>;

/// An edge in the test's hands: what it answers to each Want, from the offset.
struct Edge<F>(F);

impl<F: FnMut(u64) -> Result<Reply<Stream>, FetchError> + Send> Source for Edge<F> {
    type Stream = Stream;

    async fn want(&mut self, _: Need, offset: u64, _: u64) -> Result<Reply<Stream>, FetchError> {
        (self.0)(offset)
    }
}

fn bytes(bytes: Vec<u8>) -> Stream {
    Box::new(std::io::Cursor::new(bytes))
}

/// What comes on the stream of an edge that keeps to the protocol.
fn stream(blob: &[u8], offset: u64) -> Vec<u8> {
    let header = Header {
        digest: Digest::of(blob),
        offset,
        total: blob.len() as u64,
    };
    let rest = &blob[usize::try_from(offset).unwrap()..];
    [&header.encode()[..], rest].concat()
}

/// The same, as far as `most` bytes of the blob.
fn cut(blob: &[u8], offset: u64, most: usize) -> Result<Reply<Stream>, FetchError> {
    let mut stream = stream(blob, offset);
    stream.truncate(Header::SIZE + most);
    let total = blob.len() as u64;
    Ok(Reply::Coming {
        total,
        stream: bytes(stream),
    })
}

fn need(blob: &[u8]) -> Need {
    Need {
        digest: Digest::of(blob),
        kind: BlobKind::Model,
        required: true,
    }
}

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let limits = StoreLimits {
        blob: 10_000,
        ..StoreLimits::default()
    };
    let store = Store::new(dir.path(), limits);
    (dir, store)
}

async fn get(
    store: &Arc<Store>,
    blob: &[u8],
    edge: impl FnMut(u64) -> Result<Reply<Stream>, FetchError> + Send,
) -> Result<Blob, FetchError> {
    fetch(store, need(blob), &mut Edge(edge), PATIENCE).await
}

fn small_model() -> Vec<u8> {
    file(residual()).encode_to_vec()
}

#[tokio::test]
async fn an_upload_that_stops_at_every_tenth_byte_resumes() {
    let model = small_model();
    // On one connection: the cloud asks again.
    let (_dir, here) = store();
    let mut offsets = Vec::new();
    let edge = |offset| {
        offsets.push(offset);
        cut(&model, offset, 10)
    };
    let blob = get(&here, &model, edge).await.unwrap();
    assert_eq!(blob.read().unwrap(), model);
    let expected: Vec<u64> = (0..model.len() as u64).step_by(10).collect();
    assert_eq!(offsets, expected);
    // On a connection each, to a cloud that is started anew each: the edge asks for its session again.
    let (dir, _) = store();
    let limits = StoreLimits::default();
    for offset in expected {
        let here = Store::new(dir.path(), limits);
        let mut alive = true;
        let edge = |at| {
            if !std::mem::replace(&mut alive, false) {
                return Err(ControlError::ended(&"the edge is gone").into());
            }
            assert_eq!(at, offset);
            cut(&model, at, 10)
        };
        match get(&here, &model, edge).await {
            Ok(blob) => assert_eq!(blob.read().unwrap(), model),
            Err(error) => {
                assert!(matches!(error, FetchError::Control(_)), "{error}");
                assert!(offset + 10 < model.len() as u64);
            }
        }
    }
    assert!(
        Store::new(dir.path(), limits)
            .get(Digest::of(&model))
            .unwrap()
            .is_some()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn an_upload_that_stops_anywhere_resumes(
        cuts in prop::collection::vec(0..2_000_usize, 1..40),
        len in 1..9_000_usize,
    ) {
        let content: Vec<u8> = (0..=250).cycle().take(len).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (_dir, here) = store();
            let mut cuts = cuts.into_iter();
            loop {
                let result = get(&here, &content, |offset| {
                    cut(&content, offset, cuts.next().unwrap_or(usize::MAX >> 1))
                });
                match result.await {
                    Ok(blob) => break assert_eq!(blob.read().unwrap(), content),
                    // Three in a row brought nothing.
                    Err(FetchError::Receive(ReceiveError::Interrupted { .. })) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
}

#[tokio::test]
async fn lies_are_refused_and_leave_nothing() {
    let (_dir, here) = store();
    let content = vec![7; 5_000];
    let total = content.len() as u64;
    let coming = |total, stream| {
        Ok(Reply::Coming {
            total,
            stream: bytes(stream),
        })
    };
    // More than it announced, on the stream and before.
    let longer = [stream(&content, 0), vec![7]].concat();
    let error = get(&here, &content, |_| coming(total, longer.clone()))
        .await
        .unwrap_err();
    let overrun = matches!(
        error,
        FetchError::Receive(ReceiveError::Store(StoreError::Overrun { .. }))
    );
    assert!(overrun, "{error}");
    let error = get(&here, &content, |_| coming(total - 1, stream(&content, 0)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Receive(ReceiveError::Other { .. })),
        "{error}"
    );
    // Too long, and as long as numbers go.
    for total in [10_001, u64::MAX] {
        let error = get(&here, &content, |_| coming(total, vec![]))
            .await
            .unwrap_err();
        assert_eq!(error.refuse().code(), RefuseCode::TooLarge, "{error}");
        assert!(error.to_string().contains("10000"), "{error}");
    }
    // Another blob, another place, no upload at all.
    let other = vec![8; 5_000];
    let error = get(&here, &content, |_| coming(total, stream(&other, 0)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Receive(ReceiveError::Other { .. })),
        "{error}"
    );
    let error = get(&here, &content, |_| coming(total, stream(&content, 10)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Receive(ReceiveError::Other { .. })),
        "{error}"
    );
    let error = get(&here, &content, |_| coming(total, vec![1; 5_000]))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Receive(ReceiveError::Header(_))),
        "{error}"
    );
    // Other bytes under the right name.
    let mut wrong = stream(&content, 0);
    *wrong.last_mut().unwrap() = 0;
    let error = get(&here, &content, |_| coming(total, wrong.clone()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::Mismatch { .. })),
        "{error}"
    );
    assert_eq!(error.refuse().code(), RefuseCode::Upload);
    let error = get(&here, &content, |_| Ok(Reply::Missing("no".to_owned())))
        .await
        .unwrap_err();
    assert!(error.refuse().reason.contains("no"), "{error}");
    assert_eq!(here.used().unwrap(), 0);
    // And the right one still comes.
    get(&here, &content, |offset| {
        coming(total, stream(&content, offset))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stranger_s_wrong_beginning_does_not_spoil_it() {
    let (_dir, here) = store();
    let (right, wrong) = (vec![7; 5_000], vec![9; 5_000]);
    let digest = Digest::of(&right);
    let Begun::Writing(mut partial) = here.begin(digest).unwrap() else {
        panic!("nobody else writes")
    };
    partial.expect(5_000).unwrap();
    partial.write(&wrong[..3_000]).unwrap();
    drop(partial);
    let mut offsets = Vec::new();
    let edge = |offset| {
        offsets.push(offset);
        cut(&right, offset, 5_000)
    };
    let blob = get(&here, &right, edge).await.unwrap();
    assert_eq!(
        (blob.read().unwrap(), offsets),
        (right.clone(), vec![3_000, 0])
    );
    // One that is longer than the whole is no beginning either.
    let short = vec![1; 100];
    let Begun::Writing(mut partial) = here.begin(Digest::of(&short)).unwrap() else {
        panic!("nobody else writes")
    };
    partial.expect(5_000).unwrap();
    partial.write(&wrong[..3_000]).unwrap();
    drop(partial);
    let blob = get(&here, &short, |offset| {
        if offset > 100 {
            let stream = bytes(vec![]);
            return Ok(Reply::Coming { total: 100, stream });
        }
        cut(&short, offset, 100)
    });
    assert_eq!(blob.await.unwrap().read().unwrap(), short);
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up_and_gone_on_from() {
    let (_dir, here) = store();
    let content = vec![7; 5_000];
    let mut kept: Vec<DuplexStream> = Vec::new();
    // Nothing, half a header, half a blob, and then silence.
    for most in [0, 20, Header::SIZE + 2_500] {
        let (mut ours, theirs) = duplex(10_000);
        ours.write_all(&stream(&content, 0)[..most]).await.unwrap();
        kept.push(ours);
        let mut theirs = Some(theirs);
        let error = get(&here, &content, |_| {
            let stream: Stream = Box::new(theirs.take().unwrap());
            Ok(Reply::Coming {
                total: 5_000,
                stream,
            })
        });
        let error = error.await.unwrap_err();
        assert!(
            matches!(error, FetchError::Receive(ReceiveError::Stalled { .. })),
            "{error}"
        );
    }
    // A byte now and then is no progress.
    let (mut ours, theirs) = duplex(10_000);
    let dripping = tokio::spawn({
        let rest = stream(&content, 2_500);
        async move {
            ours.write_all(&rest[..Header::SIZE]).await.unwrap();
            for byte in &rest[Header::SIZE..] {
                if ours.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let (mut theirs, mut from) = (Some(theirs), 0);
    let error = get(&here, &content, |offset| {
        from = offset;
        let stream: Stream = Box::new(theirs.take().unwrap());
        Ok(Reply::Coming {
            total: 5_000,
            stream,
        })
    });
    let error = error.await.unwrap_err();
    assert!(
        matches!(error, FetchError::Receive(ReceiveError::Stalled { .. })),
        "{error}"
    );
    dripping.await.unwrap();
    assert_eq!(from, 2_500);
    let blob = get(&here, &content, |offset| {
        assert!(offset > 2_500);
        cut(&content, offset, 5_000)
    });
    assert_eq!(blob.await.unwrap().read().unwrap(), content);
}

#[tokio::test]
async fn of_two_that_need_the_same_one_fetches() {
    let (_dir, here) = store();
    let content = vec![7; 5_000];
    let wants = AtomicUsize::new(0);
    let (mut ours, theirs) = duplex(100);
    let theirs = std::sync::Mutex::new(Some(theirs));
    let edge = |_| {
        wants.fetch_add(1, Ordering::Relaxed);
        let stream: Stream = Box::new(theirs.lock().unwrap().take().unwrap());
        Ok(Reply::Coming {
            total: 5_000,
            stream,
        })
    };
    let bytes = stream(&content, 0);
    let bring = async {
        for piece in bytes.chunks(500) {
            ours.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(ours);
    };
    let both = tokio::join!(
        get(&here, &content, edge),
        get(&here, &content, edge),
        bring
    );
    assert_eq!(both.0.unwrap().digest(), both.1.unwrap().digest());
    assert_eq!(wants.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn offers_are_sent_from_memory_and_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..=250).cycle().take(200_000).collect();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, &content).unwrap();
    let digest = Digest::of(&content);
    let both = [
        Offers::none().with_file(digest, &path),
        Offers::none().with_bytes(content.clone()),
    ];
    for offers in &both {
        assert_eq!(offers.length(digest).await.unwrap(), Some(200_000));
        assert_eq!(offers.length(Digest::of(b"x")).await.unwrap(), None);
        for offset in [0, 1, 199_999, 200_000] {
            let mut sent = Vec::new();
            let count = offers.send(digest, offset, &mut sent).await.unwrap();
            assert_eq!((sent, count), (stream(&content, offset), 200_000 - offset));
        }
        assert!(offers.send(digest, 200_001, Vec::new()).await.is_err());
        assert!(offers.send(Digest::of(b"x"), 0, Vec::new()).await.is_err());
    }
    std::fs::remove_file(path).unwrap();
    assert!(both[0].length(digest).await.is_err());
}

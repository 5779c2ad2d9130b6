//! How a cloud asks for what it lacks, while it works on an Open.

use std::time::Duration;

use tensorwire_endpoints::cloud::{Opener, Peer, Policy, Preparing, TensorHandler, WantError};
use tensorwire_endpoints::control::{
    BlobKind, Close, Message, Missing, Offer, Refuse, RefuseCode, SessionNumber,
};
use tensorwire_endpoints::digest::Digest;
use tensorwire_endpoints::stream::StreamDescription;

use super::bench::{Naming, PATIENCE, connect, laboratory, serve, stream};
use super::raw::Raw;

/// Wants a model of every edge, and refuses with what it hears.
struct Wanting(Naming);

impl Opener for Wanting {
    fn open(&self, stream: &StreamDescription) -> Result<Box<dyn TensorHandler>, Refuse> {
        self.0.open(stream)
    }

    fn prepare<'a>(&'a self, stream: &'a StreamDescription, edge: &'a Peer) -> Preparing<'a> {
        Box::pin(async move {
            let digest = Digest::from_bytes(stream.model);
            let upload = |error: WantError| Refuse::new(RefuseCode::Upload, error.to_string());
            edge.connection()
                .set_max_concurrent_uni_streams(1_u32.into());
            let wanted = edge.want(digest, BlobKind::Model, 3, 10).await;
            let offer = wanted.map_err(upload)?;
            let stream = edge.connection().accept_uni().await;
            let bytes = stream.unwrap().read_to_end(10).await.unwrap();
            assert_eq!(bytes.len() as u64 + 3, offer.length);
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_offers_or_not_and_the_session_hangs_on_it() {
    let policy = Policy {
        upload_bytes: 10,
        ..laboratory()
    };
    let serving = serve(Wanting(Naming::new(Duration::ZERO)), policy, 4).await;
    // One that has none.
    let error = connect(serving.address, stream(1, "any"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the edge cannot upload"),
        "{error}"
    );

    let mut edge = Raw::greeted(serving.address).await;
    let digest = Digest::of("model");
    let refusals = [
        (
            Message::from(Missing::new(digest, "no such file")),
            "does not send it: no such file",
        ),
        (Offer::new(digest, 11).into(), "11 bytes; at most 10"),
        (Offer::new(Digest::of("other"), 5).into(), "another blob"),
    ];
    for (number, (answer, words)) in (1..).zip(refusals) {
        edge.open(number, &stream(1, "any")).await;
        let Message::Want(want) = edge.next().await else {
            panic!("nothing is wanted");
        };
        assert_eq!(
            (want.digest(), want.session),
            (digest, SessionNumber(number))
        );
        assert_eq!((want.kind, want.offset, want.limit), (0, 3, 10));
        edge.say(answer).await;
        let Message::Refuse(refuse) = edge.next().await else {
            panic!("a session");
        };
        assert_eq!(refuse.code(), RefuseCode::Upload);
        assert!(refuse.shown().contains(words), "{}", refuse.shown());
    }
    // An Open may be withdrawn while the cloud waits.
    edge.open(8, &stream(1, "any")).await;
    assert!(matches!(edge.next().await, Message::Want(_)));
    edge.say(Close::done().of(SessionNumber(8))).await;
    edge.open(9, &stream(1, "any")).await;
    assert!(matches!(edge.next().await, Message::Want(_)));
    edge.say(Offer::new(digest, 8)).await;
    let opened = tokio::time::timeout(PATIENCE, edge.connection.open_uni()).await;
    let mut stream = opened.expect("the cloud takes a stream").unwrap();
    stream.write_all(&[7; 5]).await.unwrap();
    stream.finish().unwrap();
    assert!(matches!(edge.next().await, Message::Accept(_)));
}

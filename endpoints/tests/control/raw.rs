//! An edge that says what a test has it say.

use std::net::SocketAddr;

use tensorwire_endpoints::control::channel::write;
use tensorwire_endpoints::control::{
    Capabilities, Ciphers, CloseCode, ControlReader, Feature, Features, Hello, Message, Open,
    SessionNumber,
};
use tensorwire_endpoints::quic;
use tensorwire_endpoints::stream::StreamDescription;

use super::bench::{PATIENCE, anybody};

pub(crate) struct Raw {
    pub(crate) connection: quinn::Connection,
    pub(crate) send: quinn::SendStream,
    pub(crate) reader: ControlReader,
    _endpoint: quinn::Endpoint,
}

impl Raw {
    /// One that has said nothing yet.
    pub(crate) async fn connected(cloud: SocketAddr) -> Self {
        let identity = anybody();
        let local = ([127, 0, 0, 1], 0).into();
        let endpoint = quic::client(local, quic::Tuning::default(), &identity).unwrap();
        let (connection, _) = quic::connect(&endpoint, cloud, &identity).await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        Self {
            connection,
            send,
            reader: ControlReader::new(receive),
            _endpoint: endpoint,
        }
    }

    /// One that has said hello and is welcome.
    pub(crate) async fn greeted(cloud: SocketAddr) -> Self {
        let mut raw = Self::connected(cloud).await;
        let features = [Feature::Upload, Feature::Statistics, Feature::Drain];
        let features = features.into_iter().collect::<Features>();
        let hello = Hello::new(Capabilities::new(0b1111, Ciphers::ALL, features));
        raw.say(hello).await;
        assert!(matches!(raw.next().await, Message::Welcome(_)));
        raw
    }

    pub(crate) async fn say(&mut self, message: impl Into<Message>) {
        write(&mut self.send, &message.into()).await.unwrap();
    }

    pub(crate) async fn open(&mut self, number: u32, stream: &StreamDescription) {
        let open = Open::new(SessionNumber(number), stream.clone(), number);
        self.say(open).await;
    }

    /// The next message that is no statistics.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.reader.next()).await;
            let next = next.expect("a message").unwrap();
            if !matches!(next, Message::Statistics(_)) {
                return next;
            }
        }
    }

    /// With which code the cloud ends the connection.
    pub(crate) async fn closed(&self) -> CloseCode {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("an end") {
            quinn::ConnectionError::ApplicationClosed(closed) => {
                CloseCode::from_code(closed.error_code.into_inner() as u32)
            }
            other => panic!("{other}"),
        }
    }
}

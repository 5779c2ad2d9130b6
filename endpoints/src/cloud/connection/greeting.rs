//! The first messages of a connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::end::End;
use super::{EdgeConnection, unexpected};
use crate::cloud::{Opener, Phase, Shared};
use crate::control::channel::write;
use crate::control::limits::HELLO_TIMEOUT;
use crate::control::{
    Capabilities, CloseCode, ControlError, ControlReader, ControlWriter, Feature, Features, Hello,
    Message, Refuse, RefuseCode, SessionLimits, Token, VERSIONS, Welcome,
};
use crate::stream::MAX_TENSOR_BYTES;

/// An edge that has said hello.
pub(super) struct Greeted {
    pub(super) uploads: bool,
    pub(super) statistics: bool,
    pub(super) drain: bool,
    pub(super) name: Option<String>,
}

pub(super) type Greeting<O> = (EdgeConnection<O>, ControlReader, JoinHandle<()>);

/// Exchanges the first messages.
pub(super) async fn greet<O: Opener>(
    shared: &Arc<Shared<O>>,
    quic: &quinn::Connection,
) -> Result<Greeting<O>, End> {
    let accepted = quic.accept_bi().await;
    let (mut send, receive) = accepted.map_err(|error| ControlError::ended(&error))?;
    let mut reader = ControlReader::new(receive);
    let edge = match hello(shared, quic, &mut reader).await? {
        Ok(edge) => edge,
        Err(refuse) => {
            let reason = refuse.reason.clone();
            if write(&mut send, &refuse.into()).await.is_ok() && send.finish().is_ok() {
                // So that the end of the connection does not overtake the message.
                let _ = send.stopped().await;
            }
            return Err(End::new(CloseCode::Refused, reason));
        }
    };
    let policy = &shared.policy;
    let limits = SessionLimits {
        upload_bytes: policy.upload_bytes,
        statistics_ms: u32::try_from(policy.statistics.as_millis()).unwrap_or(0),
        session_bytes: policy.session_memory,
        ..SessionLimits::new(MAX_TENSOR_BYTES as u64, policy.sessions())
    };
    let features = [Feature::Upload, Feature::Statistics, Feature::Drain];
    let capabilities = Capabilities::new(
        shared.carriers.bits(),
        policy.ciphers,
        Features::from_iter(features),
    );
    let welcome = Welcome::new(VERSIONS.highest, capabilities, limits).to(edge.name.clone());
    write(&mut send, &welcome.into()).await?;
    let (writer, written) = ControlWriter::start(send);
    let connection = EdgeConnection {
        shared: Arc::clone(shared),
        quic: quic.clone(),
        writer,
        edge,
        sessions: BTreeMap::new(),
        tasks: JoinSet::new(),
        opening: None,
        last: None,
        sessionless_until: Instant::now() + HELLO_TIMEOUT,
        draining: false,
    };
    Ok((connection, reader, written))
}

/// Reads Hello, and decides whether the edge may connect.
async fn hello<O: Opener>(
    shared: &Shared<O>,
    quic: &quinn::Connection,
    reader: &mut ControlReader,
) -> Result<Result<Greeted, Refuse>, ControlError> {
    let hello: Hello = match reader.next().await {
        Ok(Message::Hello(hello)) => *hello,
        Ok(other) => return Err(unexpected("Hello", &other)),
        Err(error @ ControlError::Version(_)) => {
            let refuse = Refuse::new(RefuseCode::Version, error.to_string());
            return Ok(Err(refuse));
        }
        Err(error) => return Err(error),
    };
    if !matches!(*shared.phase.borrow(), Phase::Serving) {
        let reason = "this cloud is shutting down";
        return Ok(Err(Refuse::new(RefuseCode::Draining, reason)));
    }
    let token = hello.token.as_ref().map_or(&[][..], Token::as_bytes);
    let admitted = shared.identity.admit(quic, token);
    let admitted =
        admitted.map_err(|denied| Refuse::new(RefuseCode::Unauthenticated, denied.to_string()));
    Ok(admitted.map(|name| {
        let features = hello.capabilities.features;
        Greeted {
            uploads: features.contains(Feature::Upload),
            statistics: features.contains(Feature::Statistics),
            drain: features.contains(Feature::Drain),
            name: name.map(|name| name.to_string()),
        }
    }))
}

//! The secrets of a session, from the QUIC connection that sets it up (wire-format.md, section 10.1).

use tensorwire_protocol::wire::ConnectionId;
use tensorwire_protocol::{Cipher, Secrets};

use crate::control::SessionNumber;

const LABEL: &[u8] = b"EXPORTER-tensorwire-tsp-1";

/// Which side of a session this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Edge,
    Cloud,
}

/// What tells a session from all others of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionNames {
    /// The connection ID that the cloud chose.
    pub(crate) cloud: ConnectionId,
    /// The connection ID that the edge chose.
    pub(crate) edge: ConnectionId,
    pub(crate) number: SessionNumber,
}

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// TLS does not export them.
    #[error("TLS gives no keys for the session")]
    Tls,
    /// The system gives no random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
}

/// The secrets of a session on one side.
///
/// # Errors
/// If TLS or the system fails.
pub(crate) fn export(
    connection: &quinn::Connection,
    cipher: Cipher,
    names: SessionNames,
    side: Side,
) -> Result<Secrets, ExportError> {
    let mut context = Vec::with_capacity(10);
    for id in [names.cloud, names.edge] {
        context.extend(id.value().to_be_bytes().split_at(1).1);
    }
    context.extend(names.number.0.to_be_bytes());
    let mut both = [0; 64];
    let exported = connection.export_keying_material(&mut both, LABEL, &context);
    exported.map_err(|_| ExportError::Tls)?;
    let (up, down) = both.split_at(32);
    let secret = |half: &[u8]| half.first_chunk::<32>().copied().unwrap_or_default();
    let (send, receive) = match side {
        Side::Edge => (secret(up), secret(down)),
        Side::Cloud => (secret(down), secret(up)),
    };
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    Ok(Secrets::new(cipher, send, receive).with_entropy(entropy))
}

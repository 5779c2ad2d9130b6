//! QUIC for the control connection, and the carriers on it: quinn, with the handshake of
//! [`identity`](crate::identity).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig, VarInt};

use crate::carrier::Congestion;
use crate::identity::{CloudIdentity, EdgeIdentity, Verified, alert, tls};

/// A peer that is silent for so long is gone.
const IDLE: Duration = Duration::from_secs(6);
/// So that an idle connection lives, and a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Datagrams that may wait for the data path, bytes.
const DATAGRAMS_RECEIVED: usize = 128 * 1_024;
/// Datagrams that may wait for the congestion controller, bytes: more wait in the session, which knows
/// their deadlines.
const DATAGRAMS_SENT: usize = 32 * 1_024;
/// What one stream may bring before it is read: a large tensor. What all may bring together is less until
/// a session is granted.
const STREAM_WINDOW: u32 = 1 << 20;

/// How an endpoint sends.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct Tuning {
    /// The congestion controller; quinn's own choice (CUBIC) if none.
    pub congestion: Option<Congestion>,
    /// Whether several packets may leave in one system call (generic segmentation offload): cheaper, but
    /// netem takes them for one packet. Default false.
    pub gso: bool,
    /// Whether packets may grow beyond 1,200 bytes where the path takes them; default true. Without it,
    /// what fits into a datagram stays the same.
    pub larger_packets: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            congestion: None,
            gso: false,
            larger_packets: true,
        }
    }
}

/// A server on `address` that shows and checks what `identity` says.
///
/// # Errors
/// If the address cannot be bound.
pub fn server(address: SocketAddr, tuning: Tuning, identity: &CloudIdentity) -> Result<Endpoint> {
    let mut config = ServerConfig::with_crypto(Arc::new(tls::server(identity)?));
    config.transport_config(Arc::new(transport(tuning)?));
    Endpoint::server(config, address)
        .with_context(|| format!("cannot listen on {address} (UDP); is the port in use?"))
}

/// A client that checks and shows what `identity` says.
///
/// # Errors
/// If no socket can be bound.
pub fn client(address: SocketAddr, tuning: Tuning, identity: &EdgeIdentity) -> Result<Endpoint> {
    let mut config = ClientConfig::new(Arc::new(tls::client(identity)?));
    config.transport_config(Arc::new(transport(tuning)?));
    let mut endpoint = Endpoint::client(address).context("cannot open a UDP socket")?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Connects to the cloud at `address`, and says why it is taken for the right one.
///
/// # Errors
/// If nobody answers, or not with QUIC and our ALPN, or it is not the right cloud (a
/// [`TrustError`](crate::identity::TrustError)).
pub async fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    identity: &EdgeIdentity,
) -> Result<(quinn::Connection, Verified)> {
    let connecting = endpoint.connect(address, identity.trust().server_name())?;
    let connection = connecting.await.map_err(|error| {
        if let Some(refused) = identity.take_refusal() {
            return refused.into();
        }
        let words = match alert::at_edge(&error) {
            Some(words) => format!("no session with {address}: {words}"),
            None => format!(
                "no cloud answers at {address}; is tw-cloud running there, and UDP let through?"
            ),
        };
        anyhow::Error::new(error).context(words)
    })?;
    match identity.confirm(&connection) {
        Ok(verified) => Ok((connection, verified)),
        Err(error) => {
            connection.close(1_u32.into(), b"not the cloud that is meant");
            Err(error.into())
        }
    }
}

fn transport(tuning: Tuning) -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into()?));
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    // The control protocol uses one stream of short messages; before a session is granted, nothing else
    // may take memory.
    transport.stream_receive_window(VarInt::from_u32(STREAM_WINDOW));
    transport.receive_window(VarInt::from_u32(64 * 1024));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(Some(DATAGRAMS_RECEIVED));
    transport.datagram_send_buffer_size(DATAGRAMS_SENT);
    transport.enable_segmentation_offload(tuning.gso);
    if !tuning.larger_packets {
        transport.mtu_discovery_config(None);
    }
    match tuning.congestion {
        Some(Congestion::Cubic) => {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()));
        }
        Some(Congestion::Bbr) => {
            transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
        }
        None => {}
    }
    Ok(transport)
}

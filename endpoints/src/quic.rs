//! QUIC for the control connection, and the carriers on it: how endpoints are made, and what they expect
//! of the path.
//!
//! # Liveness
//!
//! A peer that died has to be noticed within 2 s, and one that lives must not be given up over losses.
//! An edge that has heard nothing for [`KEEP_ALIVE`] asks for a sign of life, which starts QUIC's idle
//! timer (RFC 9000, section 10.1): it gives the cloud up at most 0.25 + 1.5 = 1.75 s after the last
//! packet. (Where three probe timeouts are longer than [`IDLE`], beyond some 400 ms of round-trip time,
//! QUIC waits for those.)
//!
//! Meanwhile the question is repeated at every probe timeout, two packets each time (RFC 9002, section
//! 6.2.4). With 20 ms of round-trip time the timeouts come after some 55, 165, 385 and 825 ms: 9 packets.
//! Each brings an answer with a probability of 0.9 × 0.9 where a tenth is lost each way; that all fail has
//! one of 0.19⁹ ≈ 3·10⁻⁷. The cloud, which hears nothing either, asks likewise after
//! [`CLOUD_KEEP_ALIVE`]; each of its 9 packets need only arrive: 0.1⁹. Both together: 3·10⁻¹⁶, four times a
//! second, is never. With 200 ms of round-trip time there are 5 packets each way: 2.5·10⁻⁹, or once in
//! three years of silence. While nothing is lost the cloud's question is never asked, since the edge's
//! comes first: an idle edge costs 8 small packets a second in all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::{hkdf, hmac};

use crate::carrier::Congestion;
use crate::identity::{CloudIdentity, EdgeIdentity, Verified, alert, label, tls};

/// An edge that has heard nothing for so long asks for a sign of life.
pub const KEEP_ALIVE: Duration = Duration::from_millis(250);
/// A cloud that has heard nothing for so long asks, too: only where the edge's question was lost.
pub const CLOUD_KEEP_ALIVE: Duration = Duration::from_millis(400);
/// A peer that does not answer for so long is gone.
pub const IDLE: Duration = Duration::from_millis(1_500);
/// What a round trip is taken for before the first: a lost packet of a handshake is sent again after three
/// times as long.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// An edge asks for a connection for so long.
const PATIENCE: Duration = Duration::from_secs(6);

/// The largest QUIC datagram that is received, bytes of UDP payload: what Ethernet takes.
pub(crate) const MAX_DATAGRAM: u16 = 1_472;
/// Time between stateless resets: a cloud that was restarted has as many to send as it had edges.
const RESETS: Duration = Duration::from_millis(1);
/// Handshakes that may wait to be looked at.
const INCOMING: usize = 1_024;
/// What one of them may send meanwhile, bytes.
const INCOMING_BYTES: u64 = 16 * 1_024;
/// What all of them may, bytes.
const ALL_INCOMING_BYTES: u64 = 1 << 20;

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

/// A server on a port that it shares ([`DataPath::quic_socket`](crate::datapath::DataPath::quic_socket)),
/// that shows and checks what `identity` says.
///
/// With the same identity, a server that was started again tells edges of the one before that their
/// connections are gone (stateless reset, RFC 9000, section 10.3), and knows the addresses that it had
/// validated.
///
/// # Errors
/// If the identity is of no use in QUIC, or there is no runtime.
pub fn server(
    socket: Arc<dyn AsyncUdpSocket>,
    tuning: Tuning,
    identity: &CloudIdentity,
) -> Result<Endpoint> {
    let secret = |label| identity.identity().secret(label);
    let crypto = Arc::new(tls::server(identity)?);
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
    let tokens = salt.extract(secret(label::ADDRESS_TOKEN).as_ref());
    let mut config = ServerConfig::new(crypto, Arc::new(tokens));
    config.transport_config(Arc::new(transport(tuning, CLOUD_KEEP_ALIVE)?));
    config.migration(true);
    config.max_incoming(INCOMING);
    config.incoming_buffer_size(INCOMING_BYTES);
    config.incoming_buffer_size_total(ALL_INCOMING_BYTES);

    let resets = hmac::Key::new(hmac::HMAC_SHA256, secret(label::RESET).as_ref());
    let mut endpoint = EndpointConfig::new(Arc::new(resets));
    // Only for connection IDs that a server with this identity has made there are resets.
    let [a, b, c, d, e, f, g, h, ..] = *secret(label::CONNECTION_ID);
    let ids = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    endpoint.min_reset_interval(RESETS);
    share(&mut endpoint)?;
    let runtime = Arc::new(TokioRuntime);
    Endpoint::new_with_abstract_socket(endpoint, Some(config), socket, runtime)
        .context("cannot start QUIC")
}

/// A client on a socket of its own, that checks and shows what `identity` says.
///
/// # Errors
/// If the identity is of no use in QUIC, or no socket can be bound.
pub fn client(address: SocketAddr, tuning: Tuning, identity: &EdgeIdentity) -> Result<Endpoint> {
    let mut endpoint = Endpoint::client(address).context("cannot open a UDP socket")?;
    endpoint.set_default_client_config(client_config(tuning, identity)?);
    Ok(endpoint)
}

/// A client on a port that it shares ([`DataPath::quic_socket`](crate::datapath::DataPath::quic_socket)),
/// that checks and shows what `identity` says.
///
/// # Errors
/// If the identity is of no use in QUIC, or there is no runtime.
pub fn client_on(
    socket: Arc<dyn AsyncUdpSocket>,
    tuning: Tuning,
    identity: &EdgeIdentity,
) -> Result<Endpoint> {
    let mut endpoint = EndpointConfig::default();
    share(&mut endpoint)?;
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new_with_abstract_socket(endpoint, None, socket, runtime);
    let mut endpoint = endpoint.context("cannot start QUIC")?;
    endpoint.set_default_client_config(client_config(tuning, identity)?);
    Ok(endpoint)
}

fn client_config(tuning: Tuning, identity: &EdgeIdentity) -> Result<ClientConfig> {
    let mut config = ClientConfig::new(Arc::new(tls::client(identity)?));
    config.transport_config(Arc::new(transport(tuning, KEEP_ALIVE)?));
    Ok(config)
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
    // That of an attempt that was given up.
    drop(identity.take_refusal());
    let last = tokio::time::Instant::now() + PATIENCE;
    let connected = loop {
        let connecting = endpoint.connect(address, identity.trust().server_name())?;
        match connecting.await {
            // A handshake is given up as soon as a connection: losses can end one before it has begun.
            Err(quinn::ConnectionError::TimedOut) if tokio::time::Instant::now() < last => {}
            connected => break connected,
        }
    };
    let connection = connected.map_err(|error| {
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

/// Has QUIC keep to what tells its datagrams from TSP's (wire-format.md, section 2.4.2).
fn share(config: &mut EndpointConfig) -> Result<()> {
    config.grease_quic_bit(false);
    config.max_udp_payload_size(MAX_DATAGRAM)?;
    Ok(())
}

fn transport(tuning: Tuning, keep_alive: Duration) -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into()?));
    transport.keep_alive_interval(Some(keep_alive));
    transport.initial_rtt(FIRST_ROUND_TRIP);
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

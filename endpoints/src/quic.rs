//! QUIC for the control connection, and the carriers on it: quinn with a development certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::carrier::Congestion;
use crate::control::ALPN;
use crate::digest::Digest;

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
/// The name in the development certificate.
const NAME: &str = "tensorwire.invalid";

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

/// A server on `address` with a self-signed certificate made for this run, and its fingerprint.
///
/// # Errors
/// If the address cannot be bound.
pub fn server(address: SocketAddr, tuning: Tuning) -> Result<(Endpoint, Digest)> {
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()])
        .context("cannot make a development certificate")?;
    let certificate = certified.cert.der().clone();
    let fingerprint = Digest::of(&certificate);
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(tuning)?));
    let endpoint = Endpoint::server(config, address)
        .with_context(|| format!("cannot listen on {address} (UDP); is the port in use?"))?;
    Ok((endpoint, fingerprint))
}

/// A client that accepts any certificate: whoever is on the path can read and forge what it says.
///
/// # Errors
/// If no socket can be bound.
pub fn client(address: SocketAddr, tuning: Tuning) -> Result<Endpoint> {
    let verifier = Arc::new(AnyCertificate(provider()));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(tuning)?));
    let mut endpoint = Endpoint::client(address).context("cannot open a UDP socket")?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Connects to the cloud at `address`.
///
/// # Errors
/// If nobody answers, or not with QUIC and our ALPN.
pub async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Result<quinn::Connection> {
    let connecting = endpoint.connect(address, NAME)?;
    connecting.await.with_context(|| {
        format!("no cloud answers at {address}; is tw-cloud running there, and UDP let through?")
    })
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes any certificate, but checks that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

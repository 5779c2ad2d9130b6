//! The TLS 1.3 handshake inside QUIC: the one place where identities meet rustls.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use super::trust::{Trust, TrustError};
use super::{CloudIdentity, EdgeIdentity, IdentityError};
use crate::control::ALPN;

/// The cloud's side of the handshake.
///
/// # Errors
/// If the certificate is of no use in QUIC.
pub fn server(identity: &CloudIdentity) -> Result<QuicServerConfig, IdentityError> {
    let failed = |error: &dyn std::fmt::Display| IdentityError::Tls(error.to_string());
    let builder = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?;
    let builder = if identity.clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(identity.clients.verifier(identity.tokens.is_none()))
    };
    let certified = SingleCertAndKey::from(identity.identity.certified());
    let mut tls = builder.with_cert_resolver(Arc::new(certified));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection shows anew who it is: certificates expire, and lists change.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    QuicServerConfig::try_from(tls).map_err(|error| failed(&error))
}

/// The edge's side of the handshake.
///
/// # Errors
/// If the certificate, if there is one, is of no use in QUIC.
pub fn client(identity: &EdgeIdentity) -> Result<QuicClientConfig, IdentityError> {
    let failed = |error: &dyn std::fmt::Display| IdentityError::Tls(error.to_string());
    let verifier = CloudVerifier {
        trust: identity.trust.clone(),
        refused: Arc::clone(&identity.refused),
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut tls = match &identity.certificate {
        Some(certificate) => {
            let certified = SingleCertAndKey::from(certificate.certified());
            builder.with_client_cert_resolver(Arc::new(certified))
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    QuicClientConfig::try_from(tls).map_err(|error| failed(&error))
}

/// The algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Checks that whoever shows a certificate holds its key.
pub(super) fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let algorithms = provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, &algorithms)
}

pub(super) fn signature_schemes() -> Vec<SignatureScheme> {
    provider()
        .signature_verification_algorithms
        .supported_schemes()
}

/// QUIC has no older version (RFC 9001, section 4.2).
pub(super) fn only_tls13() -> rustls::Error {
    rustls::Error::General("a handshake of TLS 1.2".to_owned())
}

/// Why the last cloud was not the right one, in more words than an alert has.
pub(super) type Refused = Arc<Mutex<Option<TrustError>>>;

/// Asks [`Trust`] in the handshake.
#[derive(Debug)]
struct CloudVerifier {
    trust: Trust,
    refused: Refused,
}

impl ServerCertVerifier for CloudVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.trust.check(end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                *refused = Some(error);
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_schemes()
    }
}

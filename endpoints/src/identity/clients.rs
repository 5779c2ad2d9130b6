//! Which certificates of edges a cloud takes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::trust::roots;
use super::{IdentityError, tls};
use crate::digest::Digest;

const AUTHORITIES: &str = "the list of authorities for edges";

/// Which certificates of edges a cloud takes: those with a fingerprint of the list, and those that one of
/// the authorities vouches for. Default: none, and none is asked for.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    pins: Vec<Digest>,
    authorities: Option<Arc<dyn ClientCertVerifier>>,
}

impl Clients {
    /// Takes the certificate with this fingerprint (SHA-256 of its DER bytes) too.
    #[must_use]
    pub fn with_pin(mut self, fingerprint: Digest) -> Self {
        self.pins.push(fingerprint);
        self
    }

    /// Takes those too that an authority in the PEM file `path` has signed, for the use by clients.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificates.
    pub fn with_authorities(mut self, path: &Path) -> Result<Self, IdentityError> {
        let roots = Arc::new(roots(AUTHORITIES, path)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider()).build();
        let verifier = verifier
            .map_err(|error| IdentityError::content(AUTHORITIES, path, error.to_string()))?;
        self.authorities = Some(verifier);
        Ok(self)
    }

    /// Whether no certificate is taken, and none asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.authorities.is_none()
    }

    /// What checks certificates in the handshake. Where they are `mandatory`, there is no connection
    /// without.
    pub(super) fn verifier(&self, mandatory: bool) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Verifier {
            clients: self.clone(),
            mandatory,
        })
    }
}

impl fmt::Display for Clients {
    /// Whose certificates are taken, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pinned = match self.pins.len() {
            0 => None,
            1 => Some("whoever has the pinned certificate".to_owned()),
            more => Some(format!("whoever has one of {more} pinned certificates")),
        };
        let vouched = self.authorities.as_ref();
        let vouched = vouched.map(|_| "whoever an authority vouches for".to_owned());
        let words: Vec<String> = pinned.into_iter().chain(vouched).collect();
        f.write_str(&words.join("; "))
    }
}

#[derive(Debug)]
struct Verifier {
    clients: Clients,
    mandatory: bool,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // None: who issues the certificates of edges is nobody else's affair, and pins have no issuer.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.clients.pins.contains(&Digest::of(end_entity)) {
            return Ok(ClientCertVerified::assertion());
        }
        match &self.clients.authorities {
            Some(authorities) => authorities.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls::only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls::verify_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::signature_schemes()
    }
}

//! What an edge checks, and what it shows.

use std::sync::PoisonError;

use super::cloud::shown;
use super::tls::Refused;
use super::trust::TrustError;
use super::{Identity, Token, Trust, Verified};

/// Which cloud an edge takes for the right one, and how it shows who it is itself. Copies are cheap.
#[derive(Clone, Debug)]
pub struct EdgeIdentity {
    pub(super) trust: Trust,
    pub(super) certificate: Option<Identity>,
    token: Option<Token>,
    /// Why the last cloud was not the right one.
    pub(super) refused: Refused,
}

impl EdgeIdentity {
    /// An edge that shows nothing.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            certificate: None,
            token: None,
            refused: Refused::default(),
        }
    }

    /// An edge that takes the cloud with this fingerprint for the right one, and no other.
    #[must_use]
    pub fn pinned(fingerprint: crate::digest::Digest) -> Self {
        Self::new(Trust::Pins(vec![fingerprint]))
    }

    /// Shows this certificate to clouds that ask for one.
    #[must_use]
    pub fn with_certificate(mut self, certificate: Identity) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Says this token.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Which cloud is the right one.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What it says to be let in, to a cloud that has shown that it is the right one; empty for nothing, and
    /// with [`Trust::Any`], where whoever is on the path would learn it.
    #[must_use]
    pub fn token(&self) -> &[u8] {
        match (&self.trust, &self.token) {
            (Trust::Any, _) | (_, None) => &[],
            (_, Some(token)) => token.reveal(),
        }
    }

    /// Whether it shows a certificate to clouds that ask for one.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// A handshake is done: why the cloud is taken for the right one. One that was met for the first time is
    /// remembered now.
    ///
    /// # Errors
    /// If it is not the right one after all, since another process met another cloud there in the meantime,
    /// or it cannot be remembered.
    pub fn confirm(&self, connection: &quinn::Connection) -> Result<Verified, TrustError> {
        let certificate = shown(connection).ok_or(TrustError::NoCertificate)?;
        self.trust.confirm(&certificate)
    }

    /// Why the cloud of the last handshake was not the right one, if that is why it failed. Told once.
    #[must_use]
    pub fn take_refusal(&self) -> Option<TrustError> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take()
    }
}

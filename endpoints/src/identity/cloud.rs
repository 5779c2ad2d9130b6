//! Who a cloud is, and whom it lets in.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::{Clients, Identity, IdentityError, Name, Tokens};
use crate::digest::Digest;

/// Who a cloud is, and whom it lets in. Copies are cheap.
///
/// An edge shows a certificate or a token; where the cloud takes both, one is enough. Where it takes
/// neither, anybody may come, and has no name.
#[derive(Clone, Debug)]
pub struct CloudIdentity {
    pub(super) identity: Identity,
    pub(super) clients: Clients,
    pub(super) tokens: Option<Arc<Tokens>>,
}

/// Why an edge is not let in. The words are for the edge, and say nothing that helps to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It shows nothing.
    #[error("this cloud wants to know who connects: give --token-file{}", if *certificates { " or --client-cert" } else { "" })]
    Nothing {
        /// Whether a certificate would do too.
        certificates: bool,
    },
    /// Its token is nobody's.
    #[error("the token is not one that this cloud knows; whoever runs it can add it to its list")]
    Token,
}

impl CloudIdentity {
    /// A cloud that lets anybody in.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            clients: Clients::default(),
            tokens: None,
        }
    }

    /// A cloud whose certificate is gone with the program, and that lets anybody in.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn for_this_run() -> Result<Self, IdentityError> {
        Identity::for_this_run().map(Self::new)
    }

    /// Lets edges in that show one of these certificates.
    #[must_use]
    pub fn with_clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// Lets edges in that know one of these tokens. With an empty list, no token is right.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(Arc::new(tokens));
        self
    }

    /// SHA-256 of the cloud's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.identity.fingerprint()
    }

    /// The certificate and its key.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether anybody may come.
    #[must_use]
    pub fn lets_anybody_in(&self) -> bool {
        self.clients.is_empty() && self.tokens.is_none()
    }

    /// Whom it lets in, for people.
    #[must_use]
    pub fn lets_in(&self) -> String {
        let tokens = self.tokens.as_ref().map(|tokens| match tokens.len() {
            1 => "whoever knows the token".to_owned(),
            more => format!("whoever knows one of {more} tokens"),
        });
        let certificates = (!self.clients.is_empty()).then(|| self.clients.to_string());
        match (certificates, tokens) {
            (None, None) => "anybody".to_owned(),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) => format!("{one}; {other}"),
        }
    }

    /// Whether an edge may come that has made this connection and says this token (empty: none), and what
    /// it is called, if this cloud knows whom it lets in.
    ///
    /// # Errors
    /// If it may not.
    pub fn admit(
        &self,
        connection: &quinn::Connection,
        token: &[u8],
    ) -> Result<Option<Name>, Denied> {
        self.admit_by(name_of(connection), token)
    }

    /// The same with the name in the certificate that it has shown in its handshake, if it has shown one.
    fn admit_by(&self, certificate: Option<Name>, token: &[u8]) -> Result<Option<Name>, Denied> {
        if certificate.is_some() || self.lets_anybody_in() {
            return Ok(certificate);
        }
        let certificates = !self.clients.is_empty();
        match &self.tokens {
            Some(tokens) if !token.is_empty() => tokens.check(token).map(Some).ok_or(Denied::Token),
            _ => Err(Denied::Nothing { certificates }),
        }
    }
}

/// The name in the certificate that a peer has shown, and that was checked in the handshake; none if it
/// has shown none.
#[must_use]
pub fn name_of(connection: &quinn::Connection) -> Option<Name> {
    shown(connection).map(|certificate| Name::of_certificate(&certificate))
}

/// The certificate that a peer has shown.
pub(super) fn shown(connection: &quinn::Connection) -> Option<CertificateDer<'static>> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Token;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn whoever_shows_one_of_what_is_taken_is_let_in() {
        let token = Token::new("correct-horse-battery").unwrap();
        let tokens = Tokens::new().with(name("cam-3"), token.digest());
        let open = CloudIdentity::for_this_run().unwrap();
        let by_token = open.clone().with_tokens(tokens.clone());
        let clients = Clients::default().with_pin(Digest::of("a certificate"));
        let by_certificate = open.clone().with_clients(clients.clone());
        let by_either = by_token.clone().with_clients(clients);
        let (right, wrong) = (token.reveal(), b"battery-horse-correct");
        let nothing = |certificates| Err(Denied::Nothing { certificates });

        assert_eq!(open.admit_by(None, b""), Ok(None));
        assert_eq!(open.admit_by(None, wrong), Ok(None));
        assert_eq!(by_token.admit_by(None, right), Ok(Some(name("cam-3"))));
        assert_eq!(by_token.admit_by(None, wrong), Err(Denied::Token));
        assert_eq!(by_token.admit_by(None, b""), nothing(false));
        assert_eq!(
            by_certificate.admit_by(Some(name("x")), b""),
            Ok(Some(name("x")))
        );
        assert_eq!(by_certificate.admit_by(None, right), nothing(true));
        assert_eq!(
            by_either.admit_by(Some(name("x")), wrong),
            Ok(Some(name("x")))
        );
        assert_eq!(by_either.admit_by(None, right), Ok(Some(name("cam-3"))));
        assert_eq!(by_either.admit_by(None, wrong), Err(Denied::Token));
        assert_eq!(by_either.admit_by(None, b""), nothing(true));

        assert!(open.lets_anybody_in() && !by_token.lets_anybody_in());
        assert_eq!(open.lets_in(), "anybody");
        assert_eq!(by_token.lets_in(), "whoever knows the token");
        let either = "whoever has the pinned certificate; whoever knows the token";
        assert_eq!(by_either.lets_in(), either);
    }

    #[test]
    fn an_empty_list_of_tokens_lets_nobody_in() {
        let cloud = CloudIdentity::for_this_run()
            .unwrap()
            .with_tokens(Tokens::new());
        assert_eq!(
            cloud.admit_by(None, b"correct-horse-battery"),
            Err(Denied::Token)
        );
    }
}

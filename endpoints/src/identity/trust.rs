//! Which cloud an edge takes for the right one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::CertificateError;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::certified::{MADE_NAME, certificates};
use super::known_clouds::{KnownClouds, Knows};
use super::secret_file::{self, Privacy};
use super::{IdentityError, tls};
use crate::digest::Digest;

const AUTHORITIES: &str = "the list of authorities";

/// Which cloud an edge takes for the right one. Whatever it is, the cloud has to prove that it holds the
/// key of its certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// One whose certificate has one of these fingerprints: SHA-256 of its DER bytes.
    Pins(Vec<Digest>),
    /// One whose certificate an authority has signed for its name.
    Authorities(Authorities),
    /// The one that was there when an edge first came, by a file of known clouds.
    FirstUse {
        /// The file.
        clouds: KnownClouds,
        /// What the cloud is called there: `HOST:PORT`.
        cloud: String,
    },
    /// Any: whoever is on the path can pretend to be the cloud, and read and forge all.
    Any,
}

/// Certificates of authorities, and the name that they have to vouch for.
#[derive(Clone)]
pub struct Authorities {
    verifier: Arc<WebPkiServerVerifier>,
    path: PathBuf,
    name: String,
}

/// Why a cloud is taken for the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verified {
    /// Its fingerprint was given.
    Pinned,
    /// An authority vouches for it.
    Authority,
    /// It is the one that was there before.
    Known,
    /// Nobody had come to it before. It is known from now on.
    First {
        /// Its fingerprint.
        fingerprint: Digest,
        /// The file of known clouds that says so.
        file: PathBuf,
    },
    /// Any would have been.
    Unchecked,
}

/// Why a cloud is not taken for the right one: it is another, or somebody is between, or what we check it
/// by is out of date.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Its fingerprint is none of those given.
    #[error(
        "this is not the cloud that --pin names: its fingerprint is {0}. Compare with what the cloud prints \
         at its start (`tw-cloud --print-pin` says it again); if they differ, somebody is between"
    )]
    Pin(Digest),
    /// Its fingerprint is not the one that was there before.
    #[error(
        "the cloud at {cloud} has another certificate than before: its fingerprint was {known} and is {found}. \
         Either it was set up anew, or somebody is between. If the cloud's owner confirms the new one, remove \
         line {line} of {} and connect again; if not, do not connect",
        file.display()
    )]
    Changed {
        /// The cloud: `HOST:PORT`.
        cloud: String,
        /// Its fingerprint before.
        known: Digest,
        /// Its fingerprint now.
        found: Digest,
        /// Where its fingerprint is written.
        file: PathBuf,
        /// The line of the file.
        line: usize,
    },
    /// No authority vouches for it, or not for its name, or not now.
    #[error("the cloud's certificate does not hold: {0}")]
    Authority(String),
    /// The file of known clouds cannot be used: our fault, not the cloud's.
    #[error("{0}")]
    KnownClouds(Arc<IdentityError>),
    /// It has shown no certificate.
    #[error("the cloud shows no certificate")]
    NoCertificate,
}

impl Trust {
    /// A cloud for whose `name` one of the authorities in the PEM file `path` vouches (RFC 5280 and 6125, as
    /// far as WebPKI does it). The name is a DNS name or an address.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificates, or the name is none.
    pub fn authorities(path: &Path, name: &str) -> Result<Self, IdentityError> {
        if ServerName::try_from(name).is_err() {
            let why =
                format!("`{name}` is no name that a certificate can have; give --server-name");
            return Err(IdentityError::Options(why));
        }
        let roots = roots(AUTHORITIES, path)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), tls::provider());
        let verifier = verifier
            .build()
            .map_err(|error| IdentityError::content(AUTHORITIES, path, error.to_string()))?;
        Ok(Self::Authorities(Authorities {
            verifier,
            path: path.to_owned(),
            name: name.to_owned(),
        }))
    }

    /// The cloud that was there when an edge first came to `cloud` (`HOST:PORT`), by a file of known clouds.
    ///
    /// # Errors
    /// If `cloud` is nothing that a line of the file can begin with.
    pub fn first_use(clouds: KnownClouds, cloud: &str) -> Result<Self, IdentityError> {
        if cloud.is_empty()
            || cloud.starts_with('#')
            || !cloud.bytes().all(|b| b.is_ascii_graphic())
        {
            let why = format!("`{}` is no HOST:PORT", cloud.escape_debug());
            return Err(IdentityError::Options(why));
        }
        let cloud = cloud.to_ascii_lowercase();
        Ok(Self::FirstUse { clouds, cloud })
    }

    /// The name that the handshake asks for.
    #[must_use]
    pub fn server_name(&self) -> &str {
        match self {
            Self::Authorities(authorities) => &authorities.name,
            _ => MADE_NAME,
        }
    }

    /// Whether a cloud may show this certificate. Nothing is remembered yet, since it has not proved to be
    /// its.
    pub(super) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TrustError> {
        match self {
            Self::Pins(pins) => {
                let found = Digest::of(end_entity);
                if pins.contains(&found) {
                    Ok(())
                } else {
                    Err(TrustError::Pin(found))
                }
            }
            Self::Authorities(authorities) => authorities.check(end_entity, intermediates, now),
            Self::FirstUse { clouds, cloud } => {
                clouds.look_up(cloud, Digest::of(end_entity))?;
                Ok(())
            }
            Self::Any => Ok(()),
        }
    }

    /// A cloud that passed [`check`](Self::check) has proved that it holds the certificate's key: remembers
    /// it, where it was the first time.
    pub(super) fn confirm(&self, end_entity: &[u8]) -> Result<Verified, TrustError> {
        Ok(match self {
            Self::Pins(_) => Verified::Pinned,
            Self::Authorities(_) => Verified::Authority,
            Self::FirstUse { clouds, cloud } => {
                let fingerprint = Digest::of(end_entity);
                match clouds.meet(cloud, fingerprint)? {
                    Knows::Cloud => Verified::Known,
                    Knows::Nothing => Verified::First {
                        fingerprint,
                        file: clouds.path().to_owned(),
                    },
                }
            }
            Self::Any => Verified::Unchecked,
        })
    }
}

impl Authorities {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TrustError> {
        let name = ServerName::try_from(self.name.as_str());
        let name = name.map_err(|error| TrustError::Authority(error.to_string()))?;
        let verified = self
            .verifier
            .verify_server_cert(end_entity, intermediates, &name, &[], now);
        verified.map(drop).map_err(|error| {
            let why = self.why(&error);
            TrustError::Authority(why.unwrap_or_else(|| error.to_string()))
        })
    }

    /// Whose fault it is, and what to do.
    fn why(&self, error: &rustls::Error) -> Option<String> {
        use CertificateError as E;
        let rustls::Error::InvalidCertificate(error) = error else {
            return None;
        };
        Some(match error {
            E::NotValidForName => format!("it is not for the name {}", self.name),
            E::NotValidForNameContext { presented, .. } => format!(
                "it is not for the name {} but for {}; connect by a name that it has, or give that with \
                 --server-name",
                self.name,
                names(presented)
            ),
            E::Expired | E::ExpiredContext { .. } => {
                "it has expired; whoever runs the cloud has to renew it (or is this machine's clock wrong?)"
                    .to_owned()
            }
            E::NotValidYet | E::NotValidYetContext { .. } => {
                "it is not valid yet; is this machine's clock right?".to_owned()
            }
            E::UnknownIssuer => format!(
                "no authority in {} vouches for it; does the cloud send the certificates of its issuers \
                 too, and is this its authority?",
                self.path.display()
            ),
            E::BadSignature => format!(
                "it says that it is signed by an authority in {}, but that has not signed it",
                self.path.display()
            ),
            E::Other(_) => format!("{error}; a self-signed certificate goes with --pin, not with --ca"),
            _ => return None,
        })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({}, for {})", self.path.display(), self.name)
    }
}

impl From<IdentityError> for TrustError {
    fn from(error: IdentityError) -> Self {
        Self::KnownClouds(Arc::new(error))
    }
}

/// The first few of a certificate's names, which come as `DnsName("cloud.example")`.
fn names(presented: &[String]) -> String {
    const MOST: usize = 8;
    let inner = |name: &String| {
        let inner = name
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        let inner = inner.unwrap_or(name).trim_matches('"');
        inner.chars().take(253).collect::<String>()
    };
    let mut names: Vec<String> = presented.iter().take(MOST).map(inner).collect();
    if presented.len() > MOST {
        names.push("…".to_owned());
    }
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// The certificates of authorities in a PEM file.
pub(super) fn roots(what: &'static str, path: &Path) -> Result<RootCertStore, IdentityError> {
    let text = secret_file::read(what, path, Privacy::Public)?;
    let wrong = |why: String| IdentityError::content(what, path, why);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&text).map_err(wrong)? {
        let added = roots.add(certificate);
        added.map_err(|error| wrong(format!("a certificate cannot be an authority's: {error}")))?;
    }
    Ok(roots)
}

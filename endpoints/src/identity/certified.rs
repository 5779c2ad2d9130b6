//! A certificate with its key: what a cloud, or an edge, shows to say who it is.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use ring::hkdf;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::Parsed;
use super::secret_file::{self, Privacy};
use super::{IdentityError, state, tls};
use crate::digest::Digest;

/// The name in certificates that are made here. It is not looked at: they are known by their fingerprints.
pub const MADE_NAME: &str = "tensorwire.invalid";
/// The longest chain that is read, certificates.
pub const MAX_CHAIN: usize = 10;

const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the key";
const KEPT: &str = "the identity";

/// A certificate with its key. Copies are cheap, and share the key.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    /// The certificate, then those of its issuers.
    chain: Vec<CertificateDer<'static>>,
    certified: Arc<CertifiedKey>,
    /// What secrets are derived from.
    secret: hkdf::Prk,
}

impl Identity {
    /// A self-signed certificate with an ECDSA key on P-256, which nobody else has seen and which is gone
    /// with the program.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn for_this_run() -> Result<Self, IdentityError> {
        let made = Made::new()?;
        let key = PrivatePkcs8KeyDer::from(made.key.serialize_der()).into();
        Self::new(vec![made.certificate.der().clone()], key)
            .map_err(|why| IdentityError::Make("a certificate", why))
    }

    /// The identity kept in the file at `path`: its certificate and key as PEM. Where there is no such
    /// file, it is made, as [`for_this_run`](Self::for_this_run) makes one, for its owner alone (mode
    /// 0600), and whole or not at all.
    ///
    /// # Errors
    /// If it cannot be made, or others than its owner can read it, or it is damaged: it is never replaced.
    pub fn kept(path: &Path) -> Result<Self, IdentityError> {
        let text = match secret_file::open(KEPT, path, Privacy::Owner)? {
            Some(text) => text,
            None => {
                let text = Made::new()?.pem();
                state::make_folder_of(path)
                    .and_then(|()| state::create(path, text.as_bytes()))
                    .map_err(IdentityError::write(KEPT, path))?;
                // Another process may have been faster.
                secret_file::read(KEPT, path, Privacy::Owner)?
            }
        };
        let damaged = |why: String| {
            let why = format!("{why}; remove it to have a new one made, with another fingerprint");
            IdentityError::content(KEPT, path, why)
        };
        let chain = certificates(&text).map_err(damaged)?;
        let key = key(&text).map_err(damaged)?;
        Self::new(chain, key).map_err(damaged)
    }

    /// The certificate in the PEM file `certificate`, followed there by those of its issuers if there are
    /// any, with the key in the PEM file `key`.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged, everybody can read the key, the key is encrypted or not the
    /// certificate's, the chain is in another order, or a certificate is not valid at `now`.
    pub fn from_files(
        certificate: &Path,
        key: &Path,
        now: UnixTime,
    ) -> Result<Self, IdentityError> {
        let wrong = |why: String| IdentityError::content(CERTIFICATE, certificate, why);
        let text = secret_file::read(CERTIFICATE, certificate, Privacy::Public)?;
        let chain = certificates(&text).map_err(wrong)?;
        check_chain(&chain, now).map_err(wrong)?;
        let text = secret_file::read(KEY, key, Privacy::Group)?;
        let private = self::key(&text).map_err(|why| IdentityError::content(KEY, key, why))?;
        Self::new(chain, private).map_err(|why| {
            let why = format!("{why} (the key is {})", key.display());
            IdentityError::content(CERTIFICATE, certificate, why)
        })
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, String> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tensorwire identity");
        let secret = salt.extract(key.secret_der());
        let certified = CertifiedKey::from_der(chain.clone(), key, &tls::provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "its first certificate is for another key; give the certificate that was made for this \
                 key, before those of its issuers"
                    .to_owned()
            }
            error => format!("certificate and key cannot be used: {error}"),
        })?;
        Ok(Self(Arc::new(Parts {
            chain,
            certified: Arc::new(certified),
            secret,
        })))
    }

    /// SHA-256 of the certificate (its DER bytes): what edges pin.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.certificate())
    }

    /// The certificate: its DER bytes.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.0.chain.first().map_or(&[], |first| first.as_ref())
    }

    /// A secret of 32 bytes that follows from the key, the same in every run with it, and another for each
    /// [`label`](super::label). HKDF-SHA256 (RFC 5869).
    #[must_use]
    pub fn secret(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        let info = [label.as_bytes()];
        let filled = self
            .0
            .secret
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(secret.as_mut()));
        // HKDF-SHA256 gives up to 255 times 32 bytes.
        debug_assert!(filled.is_ok());
        secret
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        write!(f, "Identity({})", self.fingerprint())
    }
}

/// A new certificate.
struct Made {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Made {
    fn new() -> Result<Self, IdentityError> {
        let made = || {
            let mut params = CertificateParams::new([MADE_NAME.to_owned()])?;
            params
                .distinguished_name
                .push(DnType::CommonName, MADE_NAME);
            let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
            let certificate = params.self_signed(&key)?;
            Ok(Self { certificate, key })
        };
        made()
            .map_err(|error: rcgen::Error| IdentityError::Make("a certificate", error.to_string()))
    }

    fn pem(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(self.key.serialize_pem());
        Zeroizing::new(format!("{}{}", self.certificate.pem(), *key))
    }
}

/// The certificates of a PEM file, in its order.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for section in CertificateDer::pem_slice_iter(text) {
        chain.push(section.map_err(|error| damaged(&error).to_owned())?);
    }
    match chain.len() {
        0 => {
            Err("there is no certificate in it; give PEM (-----BEGIN CERTIFICATE-----)".to_owned())
        }
        1..=MAX_CHAIN => Ok(chain),
        more => Err(format!(
            "{more} certificates; at most {MAX_CHAIN} are taken"
        )),
    }
}

/// The first key of a PEM file.
fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let contains = |needle: &[u8]| text.windows(needle.len()).any(|part| part == needle);
    if contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED") {
        let advice = "`openssl pkey -in KEY -out PLAIN` decrypts it";
        return Err(format!(
            "the key is encrypted, and nobody is there to ask; {advice}"
        ));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "there is no key in it; give PEM (-----BEGIN PRIVATE KEY-----)".to_owned()
        }
        error => format!("the key is {}", damaged(&error)),
    })
}

/// What is wrong with PEM; never with what was there, which may be a key.
fn damaged(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "damaged PEM: a section has no end",
        _ => "damaged PEM",
    }
}

/// Refuses a chain that peers would refuse.
fn check_chain(chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), String> {
    let mut issuer = None;
    for (number, der) in chain.iter().enumerate() {
        let number = number + 1;
        let parsed = Parsed::read(der).map_err(|error| format!("certificate {number}: {error}"))?;
        if parsed.version != 3 {
            let version = parsed.version;
            return Err(format!(
                "certificate {number} is of version {version} of X.509, which TLS here does not take; have it \
                 signed with extensions (`openssl x509 -req … -extfile FILE`), which makes it version 3"
            ));
        }
        if issuer.is_some_and(|issuer| issuer != parsed.subject) {
            return Err(format!(
                "wrong order: certificate {number} is not that of the issuer of the one before it; put the \
                 certificate for the key first, then its issuer's, and so on"
            ));
        }
        let now = now.as_secs();
        if let Some(days) = now.checked_sub(parsed.not_after).filter(|past| *past > 0) {
            let days = days / 86_400;
            return Err(format!(
                "certificate {number} has expired, {days} days ago; renew it"
            ));
        }
        if parsed.not_before > now {
            return Err(format!(
                "certificate {number} is not valid yet; is this machine's clock right?"
            ));
        }
        issuer = Some(parsed.issuer);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

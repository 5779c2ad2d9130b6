//! An authority, and what it signs.

use std::net::IpAddr;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::UnixTime;
use tensorwire_endpoints::identity::{Identity, state};

/// An authority with a folder for its files.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    /// Between the root and what is signed.
    between: CertifiedIssuer<'static, KeyPair>,
}

/// Files of a certificate and its key.
pub(crate) struct Signed {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What somebody is called, and until when.
pub(crate) fn params(name: &str, address: Option<IpAddr>) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    match address {
        Some(address) => params.subject_alt_names.push(SanType::IpAddress(address)),
        None => params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap())),
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(3000, 1, 1);
    params
}

/// No certificate may be used after this one has expired.
pub(crate) fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2024, 2, 1);
    params
}

/// The certificate may be used for this only.
pub(crate) fn only(
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    params.extended_key_usages = vec![purpose];
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        let ca = |name| {
            let mut params = params(name, None);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let (root, key) = ca("root.example");
        let root = CertifiedIssuer::self_signed(root, key).unwrap();
        let (between, key) = ca("between.example");
        let between = CertifiedIssuer::signed_by(between, key, &root).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            root,
            between,
        }
    }

    /// The file of the root's certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.put("root", &self.root.pem())
    }

    /// Signs a certificate: alone in its file, or followed by that of its issuer.
    pub(crate) fn sign(&self, params: &CertificateParams, with_issuer: bool) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut certificate = params.signed_by(&key, &self.between).unwrap().pem();
        if with_issuer {
            certificate.push_str(&self.between.pem());
        }
        Signed {
            certificate: self.put("certificate", &certificate),
            key: self.put("key", &key.serialize_pem()),
        }
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let count = std::fs::read_dir(self.folder.path()).unwrap().count();
        let path = self.folder.path().join(format!("{name}-{count}"));
        assert!(state::create(&path, text.as_bytes()).unwrap());
        path
    }
}

impl Signed {
    /// The identity, as it could be loaded in January 2024.
    pub(crate) fn identity(&self) -> Identity {
        let then = date_time_ymd(2024, 1, 15).unix_timestamp();
        let then = std::time::Duration::from_secs(then.try_into().unwrap());
        let then = UnixTime::since_unix_epoch(then);
        Identity::from_files(&self.certificate, &self.key, then).unwrap()
    }
}

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, IsCa, Issuer, date_time_ymd};

use super::*;

/// Noon of the first of June 2026.
fn now() -> UnixTime {
    let seconds = date_time_ymd(2026, 6, 1).unix_timestamp() + 43_200;
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

/// An authority's certificate, one that it has signed, and the key of that.
struct Chain {
    root: String,
    leaf: String,
    key: String,
}

impl Chain {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut root = params("authority");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::from_params(&root, &root_key);
        let mut leaf = params("cloud.example");
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        Self {
            root: root_certificate.pem(),
            leaf: leaf.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Files in a folder that is gone when it is dropped.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let _ = fs::remove_file(&path);
        assert!(state::create(&path, text.as_bytes()).unwrap());
        path
    }

    /// What is wrong with this certificate and key.
    fn refused(&self, certificate: &str, key: &str) -> String {
        let (certificate, key) = (self.put("cert", certificate), self.put("key", key));
        Identity::from_files(&certificate, &key, now())
            .unwrap_err()
            .to_string()
    }
}

#[test]
fn a_kept_identity_is_made_once() {
    let files = Files::new();
    let path = files.0.path().join("state/cloud.pem");
    let first = Identity::kept(&path).unwrap();
    let again = Identity::kept(&path).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    let other = Identity::kept(&files.0.path().join("other")).unwrap();
    assert_ne!(first.fingerprint(), other.fingerprint());
}

#[test]
fn processes_that_begin_at_once_have_the_same_identity() {
    let files = Files::new();
    let path = files.0.path().join("state/cloud.pem");
    let made: Vec<Digest> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Identity::kept(&path).unwrap().fingerprint()))
            .collect();
        threads
            .into_iter()
            .map(|made| made.join().unwrap())
            .collect()
    });
    assert!(made.iter().all(|fingerprint| *fingerprint == made[0]));
    let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "temporary files are left");
}

#[cfg(unix)]
#[test]
fn a_kept_identity_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let path = files.0.path().join("cloud.pem");
    Identity::kept(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Identity::kept(&path).unwrap_err().to_string();
    assert!(
        error.contains("can be read by others than its owner (mode 640)")
            && error.contains("run `chmod 600 "),
        "{error}"
    );
}

#[test]
fn a_damaged_identity_is_refused_and_stays() {
    let files = Files::new();
    let whole = {
        let path = files.0.path().join("whole");
        Identity::kept(&path).unwrap();
        fs::read_to_string(path).unwrap()
    };
    let key = whole.find("-----BEGIN PRIVATE").unwrap();
    let of_another = Chain::new(|_| ());
    for (text, words) in [
        (String::new(), "there is no certificate in it"),
        (whole[..key].to_owned(), "there is no key in it"),
        (whole[key..].to_owned(), "there is no certificate in it"),
        (
            whole[..key + 60].to_owned(),
            "damaged PEM: a section has no end",
        ),
        (whole[..80].to_owned(), "damaged PEM"),
        (
            format!("{}{}", &whole[..key], of_another.key),
            "another key",
        ),
    ] {
        let path = files.put("cloud.pem", &text);
        let error = Identity::kept(&path).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("remove it"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_chain_with_its_key_is_taken() {
    let files = Files::new();
    let chain = Chain::new(|_| ());
    let key = files.put("key", &chain.key);
    for text in [
        chain.leaf.clone(),
        format!("{}{}", chain.leaf, chain.root),
        format!("what follows is a certificate\n{}", chain.leaf),
    ] {
        let certificate = files.put("cert", &text);
        let identity = Identity::from_files(&certificate, &key, now()).unwrap();
        assert_eq!(identity.fingerprint(), Digest::of(identity.certificate()));
    }
}

#[test]
fn files_that_do_not_fit_are_refused_with_what_to_do() {
    let files = Files::new();
    let Chain { root, leaf, key } = Chain::new(|_| ());
    let other = Chain::new(|_| ());
    let swapped = files.refused(&format!("{root}{leaf}"), &key);
    assert!(swapped.contains("wrong order"), "{swapped}");
    let strange = files.refused(&format!("{leaf}{leaf}"), &key);
    assert!(strange.contains("wrong order: certificate 2"), "{strange}");
    let mismatch = files.refused(&leaf, &other.key);
    assert!(mismatch.contains("is for another key"), "{mismatch}");
    let exchanged = files.refused(&key, &leaf);
    assert!(
        exchanged.contains("there is no certificate in it"),
        "{exchanged}"
    );
    let keyless = files.refused(&leaf, &leaf);
    assert!(keyless.contains("there is no key in it"), "{keyless}");
    let long = files.refused(&leaf.repeat(MAX_CHAIN + 1), &key);
    assert!(long.contains("at most 10"), "{long}");
    let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let wrong = files.refused(wrong, &key);
    assert!(wrong.contains("no X.509 certificate"), "{wrong}");
}

#[test]
fn certificates_out_of_their_time_are_refused() {
    let files = Files::new();
    let expired = Chain::new(|leaf| leaf.not_after = date_time_ymd(2026, 5, 29));
    let error = files.refused(&expired.leaf, &expired.key);
    assert!(
        error.contains("certificate 1 has expired, 3 days ago; renew it"),
        "{error}"
    );
    let early = Chain::new(|leaf| leaf.not_before = date_time_ymd(2026, 6, 2));
    let error = files.refused(&early.leaf, &early.key);
    assert!(
        error.contains("not valid yet; is this machine's clock right?"),
        "{error}"
    );
}

/// What `openssl x509 -req` makes without extensions.
#[test]
fn a_certificate_without_extensions_is_refused_with_what_to_do() {
    let files = Files::new();
    let old = include_str!("version-1.pem");
    let error = files.refused(old, &Chain::new(|_| ()).key);
    assert!(
        error.contains("version 1 of X.509") && error.contains("-extfile"),
        "{error}"
    );
}

#[test]
fn an_encrypted_key_is_told_from_a_damaged_one_and_never_shown() {
    let files = Files::new();
    let chain = Chain::new(|_| ());
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
               -----END EC PRIVATE KEY-----\n";
    for text in [encrypted, old] {
        let error = files.refused(&chain.leaf, text);
        assert!(
            error.contains("encrypted") && error.contains("openssl pkey"),
            "{error}"
        );
    }
    let damaged = chain.key.replace("\nM", "\n?");
    let error = files.refused(&chain.leaf, &damaged);
    assert!(error.contains("the key is damaged"), "{error}");
    let body: String = chain.key.lines().skip(1).take(1).collect();
    assert!(!error.contains(&body[1..20]), "{error}");
}

#[test]
fn secrets_follow_from_the_key_and_differ_by_label() {
    let files = Files::new();
    let path = files.0.path().join("cloud.pem");
    let (identity, again) = (
        Identity::kept(&path).unwrap(),
        Identity::kept(&path).unwrap(),
    );
    use crate::identity::label::{ADDRESS_TOKEN, RESET};
    assert_eq!(identity.secret(RESET), again.secret(RESET));
    assert_ne!(identity.secret(RESET), identity.secret(ADDRESS_TOKEN));
    let other = Identity::for_this_run().unwrap();
    assert_ne!(identity.secret(RESET), other.secret(RESET));
    let shown = format!("{identity:?}");
    assert_eq!(shown, format!("Identity({})", identity.fingerprint()));
}

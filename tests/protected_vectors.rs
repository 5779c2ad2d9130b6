//! The vectors of spec/vectors/protection were written from the text of the specification: keys seal to
//! the same bytes, and a session takes and refuses what it should.

use serde::Deserialize;
use tensorwire_protocol::protection::Keys;
use tensorwire_protocol::wire::{CloseCode, ConnectionId, Ecn};
use tensorwire_protocol::{Cipher, Config, EndReason, PathId, Protection, Secrets, Session, Time};
use tensorwire_tests::vectors::{protection, unhex};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<Derived>,
}

/// What a secret derives. `key` and `iv` do not leave [`Keys`]: what is sealed with them tells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derived {
    cipher: String,
    updates: u32,
    secret: String,
    key: String,
    iv: String,
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    connection: u32,
    secret: String,
    valid: Vec<Valid>,
    far: Vec<Valid>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Valid {
    name: String,
    cipher: String,
    updates: u32,
    number: u64,
    body: String,
    hex: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    name: String,
    cipher: String,
    hex: String,
    refusal: String,
}

fn cipher(name: &str) -> Cipher {
    let mut all = Cipher::ALL.into_iter();
    all.find(|cipher| cipher.name() == name).expect("a cipher")
}

fn secret(hex: &str) -> [u8; 32] {
    unhex(hex).try_into().expect("32 bytes")
}

fn keys(cipher: Cipher, of: &str, updates: u32) -> Keys {
    let mut keys = Keys::new(cipher, &secret(of));
    (0..updates).for_each(|_| keys = keys.next());
    keys
}

/// A session to which the vectors are sent.
fn receiver(file: &Sealed, cipher: Cipher) -> Session {
    let mut config = Config::new(4);
    config.local_connection = ConnectionId::new(file.connection);
    let secrets = Secrets::new(cipher, [0x5E; 32], secret(&file.secret));
    config.protection = Protection::Protected(secrets);
    Session::new(config, Time::ZERO).unwrap()
}

#[test]
fn secrets_derive_each_other() {
    let sealed: Sealed = protection("sealed.toml");
    let file: KeyFile = protection("keys.toml");
    assert_eq!(file.keys.len(), 6);
    for derived in &file.keys {
        let cipher = cipher(&derived.cipher);
        let lengths = (unhex(&derived.key).len(), unhex(&derived.iv).len());
        let length = if cipher == Cipher::Aes128Gcm { 16 } else { 32 };
        assert_eq!(lengths, (length, 12));
        let mut datagram = vec![0x95; 40];
        assert!(keys(cipher, &sealed.secret, derived.updates).seal(5, &mut datagram));
        let mut same = vec![0x95; 40];
        assert!(Keys::new(cipher, &secret(&derived.secret)).seal(5, &mut same));
        assert_eq!(datagram, same, "secret after {} updates", derived.updates);
        let mut after = vec![0x95; 40];
        assert!(keys(cipher, &sealed.secret, derived.updates + 1).seal(5, &mut after));
        let mut next = vec![0x95; 40];
        assert!(Keys::new(cipher, &secret(&derived.next)).seal(5, &mut next));
        assert_eq!(after, next, "next after {} updates", derived.updates);
    }
}

#[test]
fn a_sealed_vector_is_sealed_and_opened_to_the_same_bytes() {
    let file: Sealed = protection("sealed.toml");
    for vector in file.valid.iter().chain(&file.far) {
        let (datagram, body) = (unhex(&vector.hex), unhex(&vector.body));
        let keys = keys(cipher(&vector.cipher), &file.secret, vector.updates);
        let mut out = [&datagram[..9], &body].concat();
        assert!(keys.seal(vector.number, &mut out));
        assert_eq!(out, datagram, "{} {}", vector.cipher, vector.name);
        let opened = keys.open(vector.number, &mut out).map(|body| &*body);
        assert_eq!(opened, Some(&body[..]), "{} {}", vector.cipher, vector.name);
    }
}

#[test]
fn a_session_takes_the_valid_vectors_in_their_order() {
    let file: Sealed = protection("sealed.toml");
    for cipher in Cipher::ALL {
        let mut session = receiver(&file, cipher);
        let of_cipher = |vector: &&Valid| vector.cipher == cipher.name();
        for vector in file.valid.iter().filter(of_cipher) {
            let mut datagram = unhex(&vector.hex);
            let path = PathId::default();
            let taken = session.handle_from(Time::ZERO, path, Ecn::NotEct, &mut datagram);
            assert_eq!(taken, Ok(()), "{} {}", vector.cipher, vector.name);
            let updates = session.stats().peer_key_updates;
            assert_eq!(updates, u64::from(vector.updates));
        }
        let closed = EndReason::Peer(CloseCode::GoingAway);
        assert_eq!(session.ended(), Some(closed));
        assert_eq!(session.stats().refused.total(), 0);
    }
}

#[test]
fn a_session_refuses_the_invalid_vectors_for_their_reason() {
    let file: Sealed = protection("sealed.toml");
    assert!(file.invalid.len() >= 30);
    for vector in &file.invalid {
        let mut session = receiver(&file, cipher(&vector.cipher));
        let refusal = session
            .handle_datagram(Time::ZERO, &unhex(&vector.hex))
            .expect_err(&vector.name);
        assert_eq!(refusal.to_string(), vector.refusal, "{}", vector.name);
        assert_eq!(session.stats().refused.total(), 1);
        assert_eq!(session.stats().peer_key_updates, 0);
    }
}

//! The key and IV of one secret (wire-format.md, sections 10.1 and 10.2).

use std::fmt;

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::{Cipher, TAG_LEN};
use crate::wire::HEADER_LEN;

const KEY: &[u8] = b"tsp1 key";
const IV: &[u8] = b"tsp1 iv";
const NEXT: &[u8] = b"tsp1 next";
const PATH: &[u8] = b"tsp1 path";

/// The first block of HKDF-Expand with SHA-256 (RFC 5869, section 2.3): nothing here needs more than 32 bytes.
fn expand(secret: &[u8; 32], info: [&[u8]; 2]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    info.iter().for_each(|part| context.update(part));
    context.update(&[1]);
    let mut out = [0; 32];
    for (out, byte) in out.iter_mut().zip(context.sign().as_ref()) {
        *out = *byte;
    }
    out
}

/// The 64 bits of the challenge with this number, of random bytes that the peer does not know.
pub(super) fn challenge(entropy: &[u8; 32], number: u64) -> [u8; 8] {
    let bits = expand(entropy, [PATH, &number.to_be_bytes()]);
    bits.first_chunk().copied().unwrap_or_default()
}

/// What one secret derives: a key and an IV, that seal and open datagrams, and the next secret.
///
/// Sessions do this for themselves. It is for tools that look at datagrams whose secrets they know.
pub struct Keys {
    cipher: Cipher,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    next: [u8; 32],
}

impl Keys {
    /// The keys of a secret.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a key has the length that its cipher asks for"
    )]
    pub fn new(cipher: Cipher, secret: &[u8; 32]) -> Self {
        let code = [cipher.code()];
        let algorithm = cipher.algorithm();
        let key = expand(secret, [KEY, &code]);
        let (key, _) = key.split_at(algorithm.key_len());
        let key = UnboundKey::new(algorithm, key).expect("a key of the right length");
        let iv = expand(secret, [IV, &code]);
        Self {
            cipher,
            key: LessSafeKey::new(key),
            iv: iv.first_chunk().copied().unwrap_or_default(),
            next: expand(secret, [NEXT, &code]),
        }
    }

    /// The keys after these.
    #[must_use]
    pub fn next(&self) -> Self {
        Self::new(self.cipher, &self.next)
    }

    /// The IV xor the packet number (as in RFC 9001, section 5.3).
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts the body of the datagram in `out`, header and body, and appends the tag. The low 32 bits of
    /// `number` are the packet number in the header, and no other datagram may be sealed under it. False,
    /// and nothing is left in `out`, if that is no datagram.
    pub fn seal(&self, number: u64, out: &mut Vec<u8>) -> bool {
        let sealed = out.split_at_mut_checked(HEADER_LEN);
        let tag = sealed.and_then(|(header, body)| {
            let aad = Aad::from(&*header);
            let tag = self
                .key
                .seal_in_place_separate_tag(self.nonce(number), aad, body);
            tag.ok()
        });
        match tag {
            Some(tag) => out.extend_from_slice(tag.as_ref()),
            None => out.clear(),
        }
        tag.is_some()
    }

    /// Decrypts the body of a datagram where it stands, and returns it; none if it was not sealed with this
    /// key under `number`, and the body is then lost.
    pub fn open<'a>(&self, number: u64, datagram: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (header, sealed) = datagram.split_at_mut_checked(HEADER_LEN)?;
        if sealed.len() < TAG_LEN {
            return None;
        }
        let aad = Aad::from(&*header);
        self.key.open_in_place(self.nonce(number), aad, sealed).ok()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

//! The keys of what a session sends.

use super::{Cipher, Keys};
use crate::wire;

/// Datagrams of a key that are kept for a CLOSE.
const RESERVED: u64 = 8;

/// Seals datagrams, and moves to the next key when one has sealed enough.
#[derive(Debug)]
pub(crate) struct Sealer {
    keys: Keys,
    phase: bool,
    /// The first packet number of this key.
    first: u64,
    sealed: u64,
    /// Whether the peer has told that it has opened a packet of this key.
    confirmed: bool,
    /// Datagrams after which the next key is due, and those that a key may seal at most.
    enough: u64,
    most: u64,
    pub(super) updates: u64,
}

impl Sealer {
    pub(super) fn new(cipher: Cipher, secret: &[u8; 32], enough: u64) -> Self {
        Self {
            keys: Keys::new(cipher, secret),
            phase: false,
            first: 0,
            sealed: 0,
            confirmed: false,
            enough,
            most: Cipher::MOST_SEALED,
            updates: 0,
        }
    }

    /// Whether the key is used up, but for a CLOSE, and the peer has not confirmed it, so that there is no
    /// next one.
    pub(super) const fn is_spent(&self) -> bool {
        self.sealed + RESERVED >= self.most
    }

    /// Seals a datagram under the number it will be sent with: greater than all before.
    pub(super) fn seal(&mut self, number: u64, out: &mut Vec<u8>) -> bool {
        if self.sealed >= self.enough {
            self.update(number);
        }
        if self.sealed >= self.most {
            out.clear();
            return false;
        }
        self.sealed += 1;
        wire::set_key_phase(out, self.phase);
        self.keys.seal(number, out)
    }

    /// Goes to the next key, from the packet with this number on, unless the peer could miss that.
    pub(super) fn update(&mut self, next: u64) -> bool {
        if !self.confirmed {
            return false;
        }
        self.keys = self.keys.next();
        self.phase = !self.phase;
        (self.first, self.sealed, self.confirmed) = (next, 0, false);
        self.updates += 1;
        true
    }

    /// A report has told that the packet with this number arrived.
    pub(super) const fn arrived(&mut self, number: u64) {
        if number >= self.first && self.sealed > 0 {
            self.confirmed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(enough: u64, most: u64) -> Sealer {
        let mut sealer = Sealer::new(Cipher::Aes128Gcm, &[1; 32], enough);
        sealer.most = most;
        sealer
    }

    fn seal(sealer: &mut Sealer, number: u64) -> Option<bool> {
        let mut out = vec![0x90; 9];
        sealer.seal(number, &mut out).then(|| out[1] & 0x80 != 0)
    }

    #[test]
    fn a_key_that_the_peer_has_confirmed_is_followed_by_the_next() {
        let mut sealer = sealer(3, 1_000);
        assert!(!sealer.update(0), "nothing was sealed, let alone confirmed");
        let phases: Vec<_> = (0..12)
            .map(|number| {
                let phase = seal(&mut sealer, number).unwrap();
                sealer.arrived(number);
                phase
            })
            .collect();
        let [off, on] = [false, true];
        assert_eq!(
            phases,
            [off, off, off, on, on, on, off, off, off, on, on, on]
        );
        assert_eq!(sealer.updates, 3);
    }

    #[test]
    fn an_unconfirmed_key_is_kept_until_it_is_used_up() {
        let mut sealer = sealer(3, 20);
        for number in 0..20 {
            assert_eq!(sealer.is_spent(), number >= 12, "{number}");
            assert_eq!(seal(&mut sealer, number), Some(false));
        }
        assert_eq!(seal(&mut sealer, 20), None);
        sealer.arrived(19);
        assert_eq!(seal(&mut sealer, 21), Some(true));
        sealer.arrived(20);
        assert!(
            !sealer.update(22),
            "a packet of the key before confirms nothing"
        );
    }
}

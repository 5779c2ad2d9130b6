//! Opening what others have sealed, for tools that know the secrets.

use super::opener::Opener;
use super::{Cipher, TAG_LEN};
use crate::wire::{self, KEY_PHASE, extend};

/// Packet numbers by which a datagram may be behind the newest and still be opened with the key before.
const BEHIND: u64 = 4_096;

/// Opens the datagrams of one direction of a session, as they come: a tool that looks at captures has one for
/// each. Sessions do this for themselves.
#[derive(Debug)]
pub struct Unsealer {
    opener: Opener,
    /// One more than the greatest packet number so far.
    next: u64,
}

impl Unsealer {
    /// For datagrams that are sealed with this secret and those that follow from it.
    #[must_use]
    pub fn new(cipher: Cipher, secret: &[u8; 32]) -> Self {
        Self {
            opener: Opener::new(cipher, secret, u64::MAX),
            next: 0,
        }
    }

    /// The same datagram as plain mode would have it: not encrypted, and with a CRC-32 instead of the tag. None
    /// if it was not sealed with these secrets. Costs a copy and an opening.
    pub fn unseal(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let header = wire::head(datagram, TAG_LEN, None).ok()?;
        let number = extend(u64::from(header.packet_number), 32, self.next);
        let phase = header.flags & KEY_PHASE != 0;
        let mut plain = datagram.to_vec();
        let which = self.opener.open(number, phase, &mut plain)?;
        self.next = self.next.max(number + 1);
        self.opener
            .accept(number, which, self.next.saturating_sub(BEHIND));
        plain.truncate(plain.len() - TAG_LEN);
        wire::set_key_phase(&mut plain, false);
        wire::seal(&mut plain);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protection::Keys;
    use crate::wire::{ConnectionId, Message, Ping};

    const CIPHER: Cipher = Cipher::Aes128Gcm;
    const SECRET: [u8; 32] = [7; 32];

    fn ping(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let ping = Message::Ping(Ping {
            report_timestamp: 99,
            padding: 30,
        });
        let low = u32::try_from(number & u64::from(u32::MAX)).unwrap();
        ping.encode(&mut out, ConnectionId::new(5), low);
        out
    }

    /// The same under the key after so many updates.
    fn sealed(number: u64, updates: u32) -> Vec<u8> {
        let mut keys = Keys::new(CIPHER, &SECRET);
        (0..updates).for_each(|_| keys = keys.next());
        let mut out = ping(number);
        out.truncate(out.len() - wire::CRC_LEN);
        wire::set_key_phase(&mut out, updates % 2 == 1);
        assert!(keys.seal(number, &mut out));
        out
    }

    #[test]
    fn what_is_sealed_is_opened_over_updates_and_overtaking() {
        let mut unsealer = Unsealer::new(CIPHER, &SECRET);
        let wrapped = u64::from(u32::MAX) + 3;
        for (number, updates) in [(0, 0), (2, 0), (1, 0), (5, 1), (4, 0), (7, 2), (6, 1)] {
            let opened = unsealer.unseal(&sealed(number, updates));
            assert_eq!(opened, Some(ping(number)), "{number}");
        }
        for number in (1..=4).map(|nth| nth * wrapped / 4) {
            assert_eq!(unsealer.unseal(&sealed(number, 2)), Some(ping(number)));
        }
    }

    #[test]
    fn what_is_not_sealed_so_stays_closed_and_changes_nothing() {
        let mut unsealer = Unsealer::new(CIPHER, &SECRET);
        let mut forged = sealed(3, 0);
        forged[12] ^= 1;
        for datagram in [&forged[..], &ping(1), b"hello", &[0x90; 20]] {
            assert_eq!(unsealer.unseal(datagram), None);
            assert_eq!(unsealer.next, 0);
        }
        assert_eq!(unsealer.unseal(&sealed(3, 0)), Some(ping(3)));
    }
}

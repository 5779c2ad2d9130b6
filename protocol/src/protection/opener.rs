//! The keys of what a session receives.

use super::{Cipher, Keys};

/// Which key opened a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Previous,
    Current,
    Next,
}

/// Opens datagrams, and follows the peer from key to key.
///
/// The key phase bit and the packet number tell which key to try: each datagram costs one attempt.
#[derive(Debug)]
pub(crate) struct Opener {
    previous: Option<Keys>,
    current: Keys,
    /// Made ahead, so that a datagram that only pretends to a new key costs no more than any other.
    next: Keys,
    phase: bool,
    /// The least packet number that was opened with the current key; 0 with the first.
    first: u64,
    /// Attempts that failed, over all keys, and how many may.
    failed: u64,
    most: u64,
    pub(super) updates: u64,
}

impl Opener {
    pub(super) fn new(cipher: Cipher, secret: &[u8; 32], most: u64) -> Self {
        let current = Keys::new(cipher, secret);
        Self {
            previous: None,
            next: current.next(),
            current,
            phase: false,
            first: 0,
            failed: 0,
            most,
            updates: 0,
        }
    }

    /// Whether so many datagrams have failed to open that no further one may be tried.
    pub(super) const fn is_spent(&self) -> bool {
        self.failed >= self.most
    }

    /// Opens a datagram where it stands. Changes nothing but the count of failures.
    pub(super) fn open(&mut self, number: u64, phase: bool, datagram: &mut [u8]) -> Option<Which> {
        let (which, keys) = if phase == self.phase {
            (Which::Current, Some(&self.current))
        } else if number < self.first {
            (Which::Previous, self.previous.as_ref())
        } else {
            (Which::Next, Some(&self.next))
        };
        if self.is_spent() {
            return None;
        }
        let opened = keys.and_then(|keys| keys.open(number, datagram)).is_some();
        if opened {
            return Some(which);
        }
        self.failed += 1;
        None
    }

    /// The datagram that was opened is accepted: the peer has gone to the next key if that opened it. Of packets
    /// below `oldest` none is accepted any more.
    pub(super) fn accept(&mut self, number: u64, which: Which, oldest: u64) {
        match which {
            Which::Previous => {}
            Which::Current => self.first = self.first.min(number),
            Which::Next => {
                let following = self.next.next();
                let current = std::mem::replace(&mut self.next, following);
                self.previous = Some(std::mem::replace(&mut self.current, current));
                (self.phase, self.first) = (!self.phase, number);
                self.updates += 1;
            }
        }
        if oldest >= self.first {
            self.previous = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    const CIPHER: Cipher = Cipher::ChaCha20Poly1305;
    const SECRET: [u8; 32] = [9; 32];

    fn opener() -> Opener {
        Opener::new(CIPHER, &SECRET, u64::MAX)
    }

    /// A datagram of the key after so many updates.
    fn datagram(updates: u32, number: u64) -> Vec<u8> {
        let mut keys = Keys::new(CIPHER, &SECRET);
        (0..updates).for_each(|_| keys = keys.next());
        let mut out = vec![0x90; 20];
        wire::set_key_phase(&mut out, updates % 2 == 1);
        assert!(keys.seal(number, &mut out));
        out
    }

    fn take(opener: &mut Opener, updates: u32, number: u64) -> Option<Which> {
        let which = opener.open(number, updates % 2 == 1, &mut datagram(updates, number))?;
        opener.accept(number, which, 0);
        Some(which)
    }

    #[test]
    fn packets_may_overtake_an_update() {
        let mut opener = opener();
        let order = [
            (0, 3),
            (1, 7),
            (0, 2),
            (1, 6),
            (0, 4),
            (1, 5),
            (2, 9),
            (1, 8),
            (2, 10),
        ];
        let took = order.map(|(updates, number)| take(&mut opener, updates, number).unwrap());
        use Which::{Current, Next, Previous};
        assert_eq!(
            took,
            [
                Current, Next, Previous, Current, Previous, Current, Next, Previous, Current
            ]
        );
        assert_eq!((opener.updates, opener.failed), (2, 0));
    }

    #[test]
    fn an_update_is_not_followed_past_another() {
        let mut opener = opener();
        assert_eq!(take(&mut opener, 0, 0), Some(Which::Current));
        assert_eq!(take(&mut opener, 2, 5), None);
        assert_eq!(take(&mut opener, 3, 6), None);
        assert_eq!(take(&mut opener, 1, 7), Some(Which::Next));
        assert_eq!(opener.failed, 2);
    }

    #[test]
    fn what_only_pretends_to_be_new_changes_no_key() {
        let mut opener = opener();
        let mut forged = datagram(1, 50);
        forged[12] ^= 1;
        assert_eq!(opener.open(50, true, &mut forged), None);
        assert_eq!(take(&mut opener, 0, 51), Some(Which::Current));
        assert_eq!((opener.updates, opener.failed), (0, 1));
    }

    #[test]
    fn the_previous_key_goes_with_the_window() {
        let mut opener = opener();
        take(&mut opener, 1, 10);
        assert!(opener.previous.is_some());
        let which = opener.open(2_000, true, &mut datagram(1, 2_000)).unwrap();
        opener.accept(2_000, which, 977);
        assert!(opener.previous.is_none());
    }

    #[test]
    fn after_the_last_failure_that_is_allowed_nothing_is_tried() {
        let mut opener = Opener::new(CIPHER, &SECRET, 3);
        for number in 0..3 {
            assert!(!opener.is_spent());
            assert_eq!(opener.open(number, false, &mut [0x90; 40]), None);
        }
        assert!(opener.is_spent());
        assert_eq!(take(&mut opener, 0, 4), None);
        assert_eq!(opener.failed, 3);
    }
}

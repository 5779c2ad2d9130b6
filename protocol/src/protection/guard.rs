//! What seals and opens the datagrams of a session, in either mode.

use super::opener::{Opener, Which};
use super::sealer::Sealer;
use super::{Protection, TAG_LEN};
use crate::config::Config;
use crate::wire::{self, CRC_LEN};

/// How a datagram was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opened(Which);

/// The trailers of a session's datagrams.
#[derive(Debug)]
pub(crate) enum Guard {
    /// CRC-32.
    Plain,
    /// AEAD tags.
    Protected(Box<(Sealer, Opener)>),
}

impl Guard {
    pub(crate) fn new(config: &Config) -> Self {
        let Protection::Protected(secrets) = &config.protection else {
            return Self::Plain;
        };
        let cipher = secrets.cipher;
        let most = cipher.most_failed_openings();
        let most = config.failed_openings.map_or(most, |asked| asked.min(most));
        Self::Protected(Box::new((
            Sealer::new(cipher, &secrets.send, config.key_packets),
            Opener::new(cipher, &secrets.receive, most),
        )))
    }

    pub(crate) const fn is_protected(&self) -> bool {
        matches!(self, Self::Protected(_))
    }

    /// Bytes of a trailer.
    pub(crate) const fn trailer(&self) -> usize {
        match self {
            Self::Plain => CRC_LEN,
            Self::Protected(_) => TAG_LEN,
        }
    }

    /// Ends the datagram in `out`, which will be sent under this number; false if no key may seal it.
    pub(crate) fn seal(&mut self, number: u64, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Plain => {
                wire::seal(out);
                true
            }
            Self::Protected(both) => both.0.seal(number, out),
        }
    }

    /// Decrypts the body of a datagram of protected mode where it stands; of one that is refused nothing is
    /// left. Changes nothing but the count of failures.
    pub(crate) fn open(&mut self, number: u64, phase: bool, datagram: &mut [u8]) -> Option<Opened> {
        match self {
            Self::Plain => None,
            Self::Protected(both) => both.1.open(number, phase, datagram).map(Opened),
        }
    }

    /// A datagram that was opened is accepted; those below `oldest` are not any more.
    pub(crate) fn accept(&mut self, number: u64, opened: Opened, oldest: u64) {
        if let Self::Protected(both) = self {
            both.1.accept(number, opened.0, oldest);
        }
    }

    /// The peer has received our packet with this number.
    pub(crate) fn arrived(&mut self, number: u64) {
        if let Self::Protected(both) = self {
            both.0.arrived(number);
        }
    }

    /// Goes to the next key before it is due, from the packet with this number on.
    pub(crate) fn update(&mut self, next: u64) -> bool {
        match self {
            Self::Plain => false,
            Self::Protected(both) => both.0.update(next),
        }
    }

    /// Whether the sending key is used up and may not be followed.
    pub(crate) fn cannot_seal(&self) -> bool {
        matches!(self, Self::Protected(both) if both.0.is_spent())
    }

    /// Whether no further datagram may be tried.
    pub(crate) fn cannot_open(&self) -> bool {
        matches!(self, Self::Protected(both) if both.1.is_spent())
    }

    /// Key updates of what is sent, and of what is received.
    pub(crate) fn updates(&self) -> [u64; 2] {
        match self {
            Self::Plain => [0; 2],
            Self::Protected(both) => [both.0.updates, both.1.updates],
        }
    }
}

//! Datagrams of sealed sessions whose secrets the capture has, as plain mode would have them.

use std::collections::HashMap;

use tensorwire_protocol::Cipher;
use tensorwire_protocol::protection::Unsealer;

use super::{Interface, Packet};
use crate::capture::{Direction, SecretsNote, ip, udp};

/// Opens what sessions sealed, each direction of each interface by itself.
#[derive(Debug, Default)]
pub(super) struct Unsealers(HashMap<usize, Option<Both>>);

#[derive(Debug)]
struct Both {
    sent: Unsealer,
    received: Unsealer,
}

impl Both {
    /// None for a cipher that a later version may have.
    fn new(secrets: &SecretsNote) -> Option<Self> {
        let cipher = Cipher::from_code(secrets.cipher)?;
        Some(Self {
            sent: Unsealer::new(cipher, &secrets.sent),
            received: Unsealer::new(cipher, &secrets.received),
        })
    }
}

impl Unsealers {
    /// Opens the datagram in a packet, where the interface says how: the packet is then shorter, and its
    /// checksums are right. What does not open stays as it is.
    pub(super) fn open(&mut self, interface: &Interface, packet: &mut Packet) {
        let session = interface
            .note
            .as_ref()
            .and_then(|note| note.session.as_ref());
        let Some(secrets) = session.and_then(|session| session.secrets.as_ref()) else {
            return;
        };
        let both = self.0.entry(packet.interface);
        let Some(both) = both.or_insert_with(|| Both::new(secrets)) else {
            return;
        };
        let unsealer = match packet.direction {
            Some(Direction::Sent) => &mut both.sent,
            Some(Direction::Received) => &mut both.received,
            None => return,
        };
        let Ok(found) = udp(interface.link, &packet.bytes) else {
            return;
        };
        let Some(plain) = unsealer.unseal(found.payload) else {
            return;
        };
        let mut bytes = Vec::with_capacity(packet.bytes.len());
        let (from, to) = (found.source, found.destination);
        if ip::packet(&mut bytes, from, to, found.ecn, &plain).is_ok() {
            packet.bytes = bytes;
        }
    }
}

//! Sequences of operations on protected sessions, with and without knowledge of their keys.

use super::Input;
use super::ops::World;
use crate::protection::Keys;
use crate::wire::{self, CloseCode, Ecn, Refusal};
use crate::{Cipher, Config, PathId, Protection, Secrets};

const EDGE: [u8; 32] = [0xED; 32];
const CLOUD: [u8; 32] = [0xC1; 32];

/// What the fuzzer may do to protected sessions.
pub(super) struct Guarded {
    cipher: Cipher,
    /// Whether forged datagrams are sealed with the right key, the first of their direction.
    knows: bool,
    /// Where the edge's datagrams come from.
    port: u16,
}

/// Lets the bytes choose how a stream is protected, and then does as [`session_ops`](super::session_ops)
/// does, with operations besides: another address, the next key, datagrams sent back, CLOSE.
///
/// # Panics
/// If something holds not that must hold of plain sessions, or a datagram that was changed on the way is
/// accepted.
pub fn protected_ops(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let guarded = Guarded {
        cipher: if choice & 1 == 0 {
            Cipher::Aes128Gcm
        } else {
            Cipher::ChaCha20Poly1305
        },
        knows: choice & 2 != 0,
        port: 0,
    };
    World::run(&mut input, Some((guarded, choice)));
}

impl Guarded {
    /// The configurations of edge and cloud.
    pub(super) fn protect(&self, config: &Config, choice: u8) -> (Config, Config) {
        let mut config = config.clone();
        if !self.knows {
            config.key_packets = 1 + 7 * u64::from(choice >> 4);
        }
        if choice & 4 != 0 {
            config.failed_openings = Some(5);
        }
        let side = |send, receive, entropy| {
            let secrets = Secrets::new(self.cipher, send, receive);
            let secrets = secrets.with_entropy([entropy; 32]);
            Config {
                protection: Protection::Protected(secrets),
                ..config.clone()
            }
        };
        (side(EDGE, CLOUD, 3), side(CLOUD, EDGE, 4))
    }

    /// The path that the edge's datagrams come from.
    pub(super) fn path(&self, upwards: bool) -> PathId {
        // Two hosts with two ports each; the first is that of a caller that tells none apart.
        let port = if upwards { self.port } else { 0 };
        PathId::new(u64::from(port / 2), port % 2)
    }

    /// A datagram changed, and sealed again as if nothing had happened; none without the keys.
    pub(super) fn reseal(
        &self,
        datagram: &[u8],
        upwards: bool,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Vec<u8>> {
        if !self.knows {
            return None;
        }
        let keys = Keys::new(self.cipher, if upwards { &EDGE } else { &CLOUD });
        let mut out = datagram.to_vec();
        let number = wire::head(datagram, 16, None).ok()?.packet_number;
        let length = keys.open(u64::from(number), &mut out)?.len();
        out.truncate(wire::HEADER_LEN + length);
        change(&mut out);
        wire::set_key_phase(&mut out, false);
        let number = wire::head(&out, 0, None).ok()?.packet_number;
        keys.seal(u64::from(number), &mut out).then_some(out)
    }
}

impl World {
    /// One of the operations that only protected sessions know.
    pub(super) fn guarded_step(&mut self, input: &mut Input<'_>, operation: u8) {
        let upwards = input.byte() & 1 == 0;
        let session = if upwards {
            &mut self.edge
        } else {
            &mut self.cloud
        };
        match operation {
            0 => {
                session.update_keys();
            }
            1 => {
                if let Some((guarded, _)) = &mut self.guarded {
                    guarded.port = u16::from(input.byte() % 4);
                }
            }
            2 => {
                // Back to its sender.
                let own = if upwards { &self.up } else { &self.down };
                if let Some(mut datagram) = own.get(input.below(own.len())).cloned() {
                    let path = session.current_path();
                    let taken = session.handle_from(self.now, path, Ecn::NotEct, &mut datagram);
                    assert!(taken.is_err(), "a datagram of its own");
                }
            }
            _ => {
                if input.byte() & 7 == 0 {
                    session.close(self.now, CloseCode::from_code(input.byte().into()));
                }
            }
        }
    }

    /// Hands a datagram over; in protected mode where it stands.
    pub(super) fn hand(&mut self, upwards: bool, ecn: Ecn, datagram: &[u8]) -> Result<(), Refusal> {
        let session = if upwards {
            &mut self.cloud
        } else {
            &mut self.edge
        };
        let Some((guarded, _)) = &self.guarded else {
            return session.handle_marked(self.now, ecn, datagram);
        };
        let mut copy = datagram.to_vec();
        session.handle_from(self.now, guarded.path(upwards), ecn, &mut copy)
    }
}

//! Bodies of the fuzz targets. They compile with the crate, and unit tests replay the corpora.

mod datagram;
mod demultiplex;
mod fec;
mod ops;
mod protected;

pub use datagram::datagram;
pub use demultiplex::demultiplex;
pub use fec::fec_roundtrip;
pub use ops::session_ops;
pub use protected::protected_ops;

use bytes::Bytes;

use crate::{Session, Slices, Time};

/// Takes values from the fuzzer's bytes; zeros once they are used up.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// A number below `bound`, which is at most 65,536.
    fn below(&mut self, bound: usize) -> usize {
        let value = u16::from_be_bytes([self.byte(), self.byte()]);
        usize::from(value) % bound.max(1)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Slices of these lengths, with bytes that tell their places apart.
fn slices(lengths: impl Iterator<Item = usize>, tag: u64) -> Option<Slices> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (length, i) in lengths.zip(tag..) {
        bytes.extend((i..).map(|b| b.to_le_bytes()[0]).take(length));
        ends.push(u32::try_from(bytes.len()).ok()?);
    }
    Slices::new(Bytes::from(bytes), ends).ok()
}

/// Asserts that a session keeps to its limits.
fn assert_bounded(session: &Session) {
    let limits = session.config().limits;
    assert!(session.buffered_bytes() <= limits.bytes_in_progress);
    assert!(session.tensors_in_progress() <= limits.tensors_in_progress);
}

/// Does what is due at `now` and hands out the datagrams.
fn drain(session: &mut Session, now: Time, mut send: impl FnMut(Vec<u8>)) {
    // A full queue of tensors of some hundred packets each; beyond, the session spins.
    let mut left = 20_000;
    let mut buffer = Vec::new();
    loop {
        while let Some(transmit) = session.poll_transmit(now, &mut buffer) {
            assert_eq!(transmit.size, buffer.len());
            assert!(transmit.size <= usize::from(session.config().mss));
            send(buffer.clone());
            left -= 1;
            assert!(left > 0, "datagrams without end");
        }
        if session.poll_timeout().is_none_or(|(at, _)| at > now) {
            break;
        }
        session.handle_timeout(now);
        left -= 1;
        assert!(left > 0, "a timeout that stays due");
    }
    assert_bounded(session);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replay(target: &str, body: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut replayed = 0;
        for entry in entries {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 10, "{replayed} files in {folder:?}");
    }

    #[test]
    fn corpus_of_datagrams() {
        replay("datagram", datagram);
    }

    #[test]
    fn corpus_of_joined_datagrams() {
        replay("demultiplex", demultiplex);
    }

    #[test]
    fn corpus_of_session_operations() {
        replay("session_ops", session_ops);
    }

    #[test]
    fn corpus_of_protected_operations() {
        replay("protected_ops", protected_ops);
    }

    #[test]
    fn corpus_of_blocks() {
        replay("fec_roundtrip", fec_roundtrip);
    }

    proptest! {
        #[test]
        fn any_datagram(data in prop::collection::vec(any::<u8>(), 0..200)) {
            datagram(&data);
        }

        #[test]
        fn any_joined_datagrams(data in prop::collection::vec(any::<u8>(), 0..400)) {
            demultiplex(&data);
        }

        #[test]
        fn any_operations(data in prop::collection::vec(any::<u8>(), 0..600)) {
            session_ops(&data);
        }

        #[test]
        fn any_protected_operations(data in prop::collection::vec(any::<u8>(), 0..600)) {
            protected_ops(&data);
        }

        #[test]
        fn any_block(data in prop::collection::vec(any::<u8>(), 0..2_000)) {
            fec_roundtrip(&data);
        }
    }
}

//! Every vector, cut at every length and with every bit flipped, is refused or decodes: nothing
//! panics, and what is refused leaves no trace in a session but a count.

use tensorwire_protocol::wire::{Message, Refusal, open, seal};
use tensorwire_protocol::{Config, Session, Stats, Time};
use tensorwire_tests::vectors;

const NOW: Time = Time::from_millis(5_000);
const CRC_LEN: usize = 4;

/// Takes datagrams, and watches that refused ones change nothing.
struct Probe {
    config: Config,
    /// Is handed what should be refused only.
    untouched: Session,
    touched: Session,
    refused: u64,
}

impl Probe {
    fn new(file: &vectors::File) -> Self {
        let mut config = Config::new(u16::MAX);
        config.local_connection = file.connection();
        let session = || Session::new(config.clone(), NOW).unwrap();
        let (untouched, touched) = (session(), session());
        Self {
            config,
            untouched,
            touched,
            refused: 0,
        }
    }

    /// Hands a datagram to a decoder and to a session, and compares what they say.
    fn take(&mut self, datagram: &[u8]) -> Result<(), Refusal> {
        let opened = open(datagram, Some(self.config.local_connection));
        let decoded = opened.and_then(|(header, body)| {
            let message = Message::decode(&header, body)?;
            let mut again = Vec::new();
            message.encode(&mut again, header.connection, header.packet_number);
            assert_eq!(again, datagram, "{message}");
            Ok(())
        });
        match decoded {
            Ok(()) => {
                // May be refused as a replay: the variants share their packet numbers.
                let _ = self.touched.handle_datagram(NOW, datagram);
                while self.touched.poll_event().is_some() {}
            }
            Err(_) => {
                self.refused += 1;
                assert_eq!(self.untouched.handle_datagram(NOW, datagram), decoded);
            }
        }
        decoded
    }

    /// The same with a trailer that fits, as a sender might have made it.
    fn take_sealed(&mut self, datagram: &[u8]) {
        let mut sealed = datagram[..datagram.len().saturating_sub(CRC_LEN)].to_vec();
        seal(&mut sealed);
        let _ = self.take(&sealed);
    }

    fn finish(self) {
        let stats = *self.untouched.stats();
        assert_eq!(stats.refused.total(), self.refused);
        let counted = format!("{stats:?}");
        let blank = format!("{:?}", Stats::default());
        let now = format!("{:?}", self.untouched).replace(&counted, &blank);
        let fresh = format!("{:?}", Session::new(self.config, NOW).unwrap());
        assert_eq!(now, fresh, "a refused datagram left a trace");
    }
}

fn for_every_vector(test: impl Fn(&mut Probe, &[u8])) {
    for file in vectors::all() {
        let mut probe = Probe::new(&file);
        let valid = file.valid.iter().map(vectors::Valid::datagram);
        let invalid = file.invalid.iter().map(vectors::Invalid::datagram);
        valid
            .chain(invalid)
            .for_each(|datagram| test(&mut probe, &datagram));
        probe.finish();
    }
}

#[test]
fn cut_at_every_length() {
    for_every_vector(|probe, datagram| {
        for len in 0..datagram.len() {
            let cut = &datagram[..len];
            let refusal = probe.take(cut).expect_err("the trailer is gone");
            assert!(!matches!(refusal, Refusal::Malformed(_)), "{refusal}");
            probe.take_sealed(cut);
        }
    });
}

#[test]
fn with_every_bit_flipped() {
    for_every_vector(|probe, datagram| {
        let intact = open(datagram, Some(probe.config.local_connection)).is_ok();
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.to_vec();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let taken = probe.take(&flipped);
            assert!(!intact || taken.is_err(), "CRC-32 finds every flipped bit");
            probe.take_sealed(&flipped);
        }
    });
}

#[test]
fn with_every_byte_set_to_each_extreme() {
    for_every_vector(|probe, datagram| {
        for at in 0..datagram.len() {
            for value in [0, 0x3F, 0x40, 0x7F, 0x80, 0xFF] {
                let mut changed = datagram.to_vec();
                changed[at] = value;
                probe.take_sealed(&changed);
            }
        }
    });
}

//! How many requests for QUIC connections are looked at.

use std::time::{Duration, Instant};

/// Requests looked at in a second: each, with the Retry that answers it, costs some 20 µs, whoever sent it,
/// so that a flood of them takes a tenth of a core. (Other packets of no connection cost 0.5 µs.)
const RATE: u32 = 5_000;
/// As many may come at once.
const BURST: u32 = 1_000;
/// What a second's rate leaves for each.
const EACH: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// A bound on the rate of datagrams that ask for a new QUIC connection (a token bucket), so that a flood of
/// them takes neither the processor nor the queue from the connections that there are.
#[derive(Debug)]
pub(super) struct Initials {
    /// How many may come at `at`.
    left: u32,
    at: Instant,
}

impl Initials {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    /// Whether one more is looked at.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        let earned = elapsed.as_nanos() / EACH.as_nanos();
        match u32::try_from(earned) {
            Ok(earned) if earned < BURST - self.left => {
                self.left += earned;
                self.at += EACH * earned;
            }
            _ => (self.left, self.at) = (BURST, now),
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Whether a QUIC datagram may ask for a connection: it begins with an Initial packet (RFC 9000, section
/// 17.2.2), or with one of an unknown version, which is answered by version negotiation.
pub(super) fn asks(datagram: &[u8]) -> bool {
    let [first, rest @ ..] = datagram else {
        return false;
    };
    let long_header = first & 0x80 != 0;
    let version_1 = rest.starts_with(&[0, 0, 0, 1]);
    long_header && (!version_1 || first & 0x30 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_admitted_as_the_rate_and_the_burst_say() {
        let start = Instant::now();
        let mut initials = Initials::new(start);
        let mut admitted = 0;
        // 100,000 a second for two seconds.
        for i in 0..200_000 {
            admitted += u32::from(initials.admit(start + Duration::from_micros(10) * i));
        }
        assert!(
            (2 * RATE..=2 * RATE + BURST).contains(&admitted),
            "{admitted}"
        );
        // After a pause a burst, and not what the pause has left.
        let later = start + Duration::from_secs(3_600);
        let burst = (0..10_000).filter(|_| initials.admit(later)).count();
        assert_eq!(burst, BURST as usize);
    }

    #[test]
    fn initials_and_unknown_versions_ask_and_others_do_not() {
        for (datagram, expected) in [
            (&[0xC3, 0, 0, 0, 1, 8][..], true),
            (&[0xD3, 0, 0, 0, 1, 8], false),
            (&[0xE3, 0, 0, 0, 1, 8], false),
            (&[0xF3, 0, 0, 0, 1, 8], false),
            (&[0xE3, 0, 0, 0, 2, 8], true),
            (&[0xC3, 0, 0], true),
            (&[0x43, 0, 0, 0, 1, 8], false),
            (&[], false),
        ] {
            assert_eq!(asks(datagram), expected, "{datagram:?}");
        }
    }
}

//! What a session is set up with, and the memory that a peer can make it use.

use std::sync::Arc;
use std::time::Duration;

use crate::interleave::Interleaving;
use crate::protection::{Cipher, Protection};
use crate::rate::RateControl;
use crate::redundancy::Redundancy;
use crate::wire::{self, ConnectionId, InterleaverKind, MAX_DATAGRAM};

/// The parameters of a session, equal on both sides but for the connection IDs and limits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The ID that incoming datagrams must carry: this endpoint's choice.
    pub local_connection: ConnectionId,
    /// The ID that outgoing datagrams carry: the peer's choice.
    pub remote_connection: ConnectionId,
    /// Largest UDP payload this endpoint makes, bytes: 576 to 65,000, default 1,200.
    ///
    /// 1,200 passes every path that QUIC passes (RFC 9000, section 14) without fragmentation.
    pub mss: u16,
    /// Slices of each tensor, 1 to 65,535.
    pub slices: u16,
    /// Steps of the ladder by which tensors can be coded, 1 to 128; default 1. A tensor names its step,
    /// and one of a step beyond is refused.
    pub steps: u8,
    /// How this endpoint orders the slices of the tensors it sends, and the parameters by which
    /// it undoes the peer's order.
    pub interleaving: Interleaving,
    /// The permutation of the priority interleaver: every slice index once, the most important first.
    /// Needed on both sides where that interleaver is used; default none.
    pub priority: Option<Arc<[u16]>>,
    /// What losing each slice costs, relative to the others: one finite number of at least 0 for each.
    /// Only this endpoint's choice of parity depends on it; default none, all being alike.
    pub importance: Option<Arc<[f32]>>,
    /// Longest time from capture to release; default 100 ms. At most one minute.
    pub deadline: Duration,
    /// Whether the release of a tensor gives up every older one; default false.
    pub latest_only: bool,
    /// How much this endpoint repairs ahead of losses; default off.
    pub redundancy: Redundancy,
    /// Whether this endpoint sends again what was lost while it can still arrive before the deadline,
    /// and expects the same of its peer; default false.
    ///
    /// A receiver whose peer does not retransmit releases incomplete tensors earlier.
    pub retransmission: bool,
    /// Tensors that one source block of the FEC spans, 1 to 16; default 1. More make parity stronger
    /// against bursts, but what it repairs comes up to so many frames later. Both sides keep the bytes
    /// of so many tensors.
    pub span: u8,
    /// What bounds the rate of this endpoint's DATA and REPAIR packets; default off.
    pub rate: RateControl,
    /// Whether this endpoint's DATA and REPAIR packets ask routers to mark them rather than to drop them,
    /// ECT(0) of RFC 3168; default false. The caller has to send them with the codepoint of
    /// [`Transmit::ecn`](crate::Transmit::ecn).
    pub ecn: bool,
    /// Tensors that may wait to be sent, 1 to 1,024; default 8. Each keeps its coded bytes.
    pub send_queue: usize,
    /// What protects datagrams; default plain.
    pub protection: Protection,
    /// Datagrams that a key seals before this endpoint goes to the next, 1 to 2^23 − 2^16; default
    /// 2^23 − 2^20. It waits until the peer has confirmed the key, and a session that comes to 2^23 ends.
    pub key_packets: u64,
    /// Datagrams that may fail to open, over all keys, before the session ends; default what the
    /// [`Cipher`] allows, which is also the most.
    pub failed_openings: Option<u64>,
    /// Bounds on what the peer can make this endpoint keep.
    pub limits: Limits,
}

/// Bounds on memory that the peer's datagrams can make a session use (wire-format.md, section 9).
///
/// The worst case of one session is twice `bytes_in_progress` (vectors grow by doubling) and a quarter
/// (room made ahead for tensors like the last), 16 KiB for each tensor in progress (the sets of packets
/// and slices already seen), 6 bytes for each of the stream's slices (the permutations), 2 MiB (memory of
/// tensors and blocks that ended, for those to come), and 128 KiB. A released tensor, which the next
/// [`poll_event`](crate::Session::poll_event) hands over, has 12 bytes for each slice besides; they are
/// the caller's as soon as it polls, which it does after every call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Tensors in progress, 1 to 1,024; default 64.
    pub tensors_in_progress: usize,
    /// Bytes kept of one tensor, slices and their book-keeping; default 4 MiB.
    pub tensor_bytes: usize,
    /// The same over all tensors in progress; default 16 MiB.
    pub bytes_in_progress: usize,
    /// Results that wait for acknowledgement, 1 to 1,024; default 64. The oldest is given up first.
    pub results: usize,
    /// Events that wait for the caller; default 1,024. The oldest is given up first.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tensors_in_progress: 64,
            tensor_bytes: 4 << 20,
            bytes_in_progress: 16 << 20,
            results: 64,
            events: 1_024,
        }
    }
}

/// Why a configuration cannot be used: the caller is at fault.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The MSS is out of range.
    #[error("MSS of {0} bytes; it must be 576 to 65,000")]
    Mss(u16),
    /// A tensor must have at least one slice.
    #[error("a tensor of no slices; the map must give at least one")]
    NoSlices,
    /// The number of steps of the ladder is out of range.
    #[error("a ladder of {0} steps; it must have 1 to 128")]
    Steps(u8),
    /// The stride of the interleaver is out of range.
    #[error("stride {stride} with {slices} slices; it must be 1 to the number of slices")]
    Stride {
        /// The stride asked for.
        stride: u16,
        /// Slices of a tensor.
        slices: u16,
    },
    /// The priority interleaver is used without a permutation, or with what is none.
    #[error("the priority interleaver needs a permutation with every slice index once")]
    Priority,
    /// The importance of slices is not one number for each.
    #[error("importance must be one finite number of at least 0 for each slice")]
    Importance,
    /// The deadline is out of range.
    #[error("deadline of {0:?}; it must be 1 ms to 60 s")]
    Deadline(Duration),
    /// The ratio of REPAIR packets is out of range.
    #[error("redundancy of {0} repair packets for each source packet; it must be 0 to 2")]
    Ratio(f64),
    /// The accuracy that may be lost is out of range.
    #[error("a target of {0} points of accuracy; it must be 0 to 100")]
    Target(f64),
    /// The accuracy curve has no points, too many, or one that is out of range or order.
    #[error(
        "an accuracy curve needs 1 to 64 points, missing shares ascending above 0 up to 1, drops 0 to 100"
    )]
    Curve,
    /// The span of source blocks is out of range.
    #[error("blocks that span {0} tensors; it must be 1 to 16")]
    Span(u8),
    /// A rate is out of range, or the bounds of an adaptive one are out of order.
    #[error("rate of {0} bit/s; it must be 10 kbit/s to 100 Gbit/s, and least <= start <= most")]
    Rate(u64),
    /// The number of datagrams that a key seals is out of range.
    #[error("{0} datagrams of one key; it must be 1 to 2^23 - 2^16")]
    KeyPackets(u64),
    /// No datagram may fail to open.
    #[error("at least one datagram must be allowed to fail to open")]
    FailedOpenings,
    /// Both directions have the same secret, so that what is sent could be sent back.
    #[error("the secrets of both directions are the same; export one for each")]
    SymmetricSecrets,
    /// A session has a secret of another: packet numbers begin anew, so that keys would be used twice.
    #[error("a secret of the session before; export new ones for each session")]
    SecretsReused,
    /// Datagrams were exchanged before the session was to be protected.
    #[error("a session that has begun cannot be protected any more")]
    Begun,
    /// A limit is out of range.
    #[error("limit `{name}` of {value}; it must be 1 to {most}")]
    Limit {
        /// The field of [`Config`] or [`Limits`].
        name: &'static str,
        /// Its value.
        value: usize,
        /// The most it may be.
        most: usize,
    },
}

impl Config {
    /// The least MSS: what every IPv4 host accepts (RFC 1122, section 3.3.2).
    pub const MIN_MSS: u16 = 576;
    /// The default MSS.
    pub const DEFAULT_MSS: u16 = 1_200;

    /// The most steps of a ladder.
    pub const MAX_STEPS: u8 = wire::Coding::MAX_STEPS;
    /// The most datagrams that a key seals before the next is due.
    pub const MOST_KEY_PACKETS: u64 = Cipher::MOST_SEALED - (1 << 16);
    /// The most tensors that a source block spans.
    pub const MAX_SPAN: u8 = wire::MAX_SPAN;

    /// A configuration with defaults for tensors of `slices` slices.
    pub fn new(slices: u16) -> Self {
        Self {
            local_connection: ConnectionId::default(),
            remote_connection: ConnectionId::default(),
            mss: Self::DEFAULT_MSS,
            slices,
            steps: 1,
            interleaving: Interleaving::default(),
            priority: None,
            importance: None,
            deadline: Duration::from_millis(100),
            latest_only: false,
            redundancy: Redundancy::Off,
            retransmission: false,
            span: 1,
            rate: RateControl::Off,
            ecn: false,
            send_queue: 8,
            protection: Protection::Plain,
            key_packets: Self::MOST_KEY_PACKETS - (1 << 20) + (1 << 16),
            failed_openings: None,
            limits: Limits::default(),
        }
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.mss < Self::MIN_MSS || usize::from(self.mss) > MAX_DATAGRAM {
            return Err(ConfigError::Mss(self.mss));
        }
        if self.slices == 0 {
            return Err(ConfigError::NoSlices);
        }
        if self.steps == 0 || self.steps > Self::MAX_STEPS {
            return Err(ConfigError::Steps(self.steps));
        }
        let stride = self.interleaving.stride;
        if stride == 0 || stride > self.slices {
            return Err(ConfigError::Stride {
                stride,
                slices: self.slices,
            });
        }
        self.validate_priority()?;
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&self.deadline) {
            return Err(ConfigError::Deadline(self.deadline));
        }
        self.redundancy.validate()?;
        if self.span == 0 || self.span > Self::MAX_SPAN {
            return Err(ConfigError::Span(self.span));
        }
        if let Some(rate) = self.rate.invalid() {
            return Err(ConfigError::Rate(rate));
        }
        self.validate_protection()?;
        let limits = &self.limits;
        for (name, value, most) in [
            ("send_queue", self.send_queue, 1_024),
            ("tensors_in_progress", limits.tensors_in_progress, 1_024),
            ("tensor_bytes", limits.tensor_bytes, 1 << 30),
            ("bytes_in_progress", limits.bytes_in_progress, 1 << 31),
            ("results", limits.results, 1_024),
            ("events", limits.events, 1 << 20),
        ] {
            if value == 0 || value > most {
                return Err(ConfigError::Limit { name, value, most });
            }
        }
        Ok(())
    }
}

impl Config {
    fn validate_protection(&self) -> Result<(), ConfigError> {
        if self.key_packets == 0 || self.key_packets > Self::MOST_KEY_PACKETS {
            return Err(ConfigError::KeyPackets(self.key_packets));
        }
        if self.failed_openings == Some(0) {
            return Err(ConfigError::FailedOpenings);
        }
        match &self.protection {
            Protection::Protected(secrets) if secrets.is_symmetric() => {
                Err(ConfigError::SymmetricSecrets)
            }
            _ => Ok(()),
        }
    }

    fn validate_priority(&self) -> Result<(), ConfigError> {
        let slices = usize::from(self.slices);
        if let Some(importance) = &self.importance
            && (importance.len() != slices
                || importance.iter().any(|x| !(x.is_finite() && *x >= 0.0)))
        {
            return Err(ConfigError::Importance);
        }
        let Some(priority) = &self.priority else {
            let needed = self.interleaving.kind == InterleaverKind::Priority;
            return if needed {
                Err(ConfigError::Priority)
            } else {
                Ok(())
            };
        };
        let mut seen = vec![false; slices];
        for slice in priority.iter() {
            match seen.get_mut(usize::from(*slice)) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(ConfigError::Priority),
            }
        }
        if priority.len() == slices {
            Ok(())
        } else {
            Err(ConfigError::Priority)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::AdaptiveRate;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Config::new(1).validate(), Ok(()));
        assert_eq!(Config::new(u16::MAX).validate(), Ok(()));
    }

    #[test]
    fn each_range_is_checked() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::new(10);
            change(&mut config);
            config.validate()
        };
        assert_eq!(with(|c| c.mss = 575), Err(ConfigError::Mss(575)));
        assert_eq!(with(|c| c.mss = 65_001), Err(ConfigError::Mss(65_001)));
        assert_eq!(with(|c| c.slices = 0), Err(ConfigError::NoSlices));
        let stride = ConfigError::Stride {
            stride: 11,
            slices: 10,
        };
        assert_eq!(with(|c| c.interleaving.stride = 11), Err(stride));
        assert!(with(|c| c.deadline = Duration::ZERO).is_err());
        assert!(with(|c| c.limits.results = 0).is_err());
        assert!(with(|c| c.send_queue = 2_000).is_err());
        assert_eq!(with(|c| c.steps = 0), Err(ConfigError::Steps(0)));
        assert_eq!(with(|c| c.steps = 129), Err(ConfigError::Steps(129)));
        assert_eq!(with(|c| c.span = 0), Err(ConfigError::Span(0)));
        let rates = |start, least, most| {
            let mut config = Config::new(10);
            config.rate = RateControl::Adaptive(AdaptiveRate { start, least, most });
            config.validate()
        };
        assert_eq!(rates(20_000, 10_000, 20_000), Ok(()));
        for (start, least, most) in [(20_000, 9_999, 30_000), (20_000, 30_000, 40_000)] {
            assert!(rates(start, least, most).is_err());
        }
        assert!(with(|c| c.rate = RateControl::Fixed { bits_per_second: 0 }).is_err());
        assert!(with(|c| c.redundancy = Redundancy::Fixed { ratio: 2.1 }).is_err());
    }
}

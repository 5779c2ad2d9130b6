//! The latency model: I = I_c + E_c + D/B + RTT + E_s + I_s.

use serde::{Deserialize, Serialize};

/// What a way to answer takes: the whole model here, all of it there, or a split between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::lab) struct Terms {
    /// What the way is called: `client`, or the split and the coder.
    pub(in crate::lab) name: String,
    /// D: bytes of a tensor, or of the input's JPEG; none where nothing is sent.
    pub(in crate::lab) bytes: Option<f64>,
    /// I_c, E_c, E_s and I_s, milliseconds: the edge's part of the model, coding, decoding, and the
    /// cloud's part.
    pub(in crate::lab) client_ms: f64,
    pub(in crate::lab) encode_ms: f64,
    pub(in crate::lab) decode_ms: f64,
    pub(in crate::lab) server_ms: f64,
}

/// What the path is like, and how fast both ends are next to the machine that was measured on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::lab) struct Circumstances {
    /// Round-trip time, milliseconds.
    pub(in crate::lab) rtt_ms: f64,
    /// How many times as long everything takes at the edge.
    pub(in crate::lab) edge_slowdown: f64,
    /// By how much what the cloud does is faster.
    pub(in crate::lab) server_speedup: f64,
}

impl Terms {
    /// All that does not depend on the bandwidth, milliseconds.
    pub(in crate::lab) fn fixed_ms(&self, at: Circumstances) -> f64 {
        let edge = (self.client_ms + self.encode_ms) * at.edge_slowdown;
        match self.bytes {
            None => edge,
            Some(_) => edge + at.rtt_ms + (self.decode_ms + self.server_ms) / at.server_speedup,
        }
    }

    /// The whole time from picture to answer, milliseconds, at so many bits a second.
    pub(in crate::lab) fn total_ms(&self, rate: f64, at: Circumstances) -> f64 {
        self.fixed_ms(at) + self.bytes.unwrap_or_default() * 8e3 / rate
    }

    /// The bandwidth, bits a second, at which two ways take as long: the one that sends more is faster
    /// above it. None where one is faster at every bandwidth.
    pub(in crate::lab) fn crossover(&self, other: &Self, at: Circumstances) -> Option<f64> {
        let more = self.bytes.unwrap_or_default() - other.bytes.unwrap_or_default();
        let saved = other.fixed_ms(at) - self.fixed_ms(at);
        let rate = more * 8e3 / saved;
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

/// The fastest way from each bandwidth on (bits a second, the first 0), by its number in `ways`.
pub(in crate::lab) fn regions(ways: &[Terms], at: Circumstances) -> Vec<(f64, usize)> {
    let mut rates = vec![];
    for (number, one) in ways.iter().enumerate() {
        let others = ways.iter().skip(number + 1);
        rates.extend(others.filter_map(|other| one.crossover(other, at)));
    }
    rates.sort_by(f64::total_cmp);
    let mut regions: Vec<(f64, usize)> = vec![];
    for (number, from) in std::iter::once(&0.0).chain(&rates).enumerate() {
        let inside = match (*from, rates.get(number)) {
            (0.0, None) => 1e6,
            (from, None) => 2.0 * from,
            (from, Some(to)) => f64::midpoint(from, *to),
        };
        if let Some(best) = fastest(ways, inside, at)
            && regions.last().is_none_or(|(_, before)| *before != best)
        {
            regions.push((*from, best));
        }
    }
    regions
}

/// The fastest way at a bandwidth, by its number; of equal ones the first.
pub(in crate::lab) fn fastest(ways: &[Terms], rate: f64, at: Circumstances) -> Option<usize> {
    let times = ways.iter().map(|way| way.total_ms(rate, at)).enumerate();
    let first = times.min_by(|(_, a), (_, b)| a.total_cmp(b));
    first.map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Circumstances = Circumstances {
        rtt_ms: 10.0,
        edge_slowdown: 1.0,
        server_speedup: 1.0,
    };

    fn way(name: &str, bytes: Option<f64>, client_ms: f64, server_ms: f64) -> Terms {
        Terms {
            name: name.into(),
            bytes,
            client_ms,
            encode_ms: 0.0,
            decode_ms: 0.0,
            server_ms,
        }
    }

    #[test]
    fn the_model_by_hand() {
        let split = Terms {
            encode_ms: 2.0,
            decode_ms: 1.0,
            ..way("split", Some(10_000.0), 20.0, 8.0)
        };
        // 20 + 2 + 80,000 bits at 10 Mbit/s + 10 + 1 + 8.
        assert!((split.total_ms(10e6, AT) - 49.0).abs() < 1e-9);
        let slow = Circumstances {
            edge_slowdown: 2.0,
            server_speedup: 3.0,
            ..AT
        };
        assert!((split.total_ms(10e6, slow) - (44.0 + 8.0 + 10.0 + 3.0)).abs() < 1e-9);
        let client = way("client", None, 100.0, 0.0);
        assert_eq!(client.total_ms(1.0, AT), 100.0);
        // Faster above D / (b_c − b): 80,000 bits in 100 − 41 ms.
        let crossover = split.crossover(&client, AT).unwrap();
        assert!((crossover - 80_000.0 / 0.059).abs() < 1e-3);
        assert_eq!(Some(crossover), client.crossover(&split, AT));
    }

    #[test]
    fn regions_go_from_client_to_server() {
        let ways = [
            way("client", None, 100.0, 0.0),
            way("split", Some(5_000.0), 30.0, 10.0),
            way("worse", Some(6_000.0), 30.0, 11.0),
            way("server", Some(20_000.0), 0.0, 20.0),
        ];
        let found = regions(&ways, AT);
        let names: Vec<_> = found.iter().map(|(_, way)| &*ways[*way].name).collect();
        assert_eq!(names, ["client", "split", "server"]);
        assert_eq!(found[0].0, 0.0);
        assert!((found[1].0 - 5_000.0 * 8e3 / 50.0).abs() < 1e-6);
        assert!((found[2].0 - 15_000.0 * 8e3 / 20.0).abs() < 1e-6);
        for (number, (from, way)) in found.iter().enumerate() {
            let to = found
                .get(number + 1)
                .map_or(2.0 * from + 1.0, |next| next.0);
            assert_eq!(fastest(&ways, (from + to) / 2.0, AT), Some(*way));
        }
        assert_eq!(regions(&ways[..1], AT), [(0.0, 0)]);
        assert_eq!(regions(&[], AT), []);
    }
}

//! The bytes that a tensor may have.

use std::time::Duration;

use super::carried;
use crate::rate::Path;

/// The most bytes that the slices of a tensor may have, so that it arrives in time and the path keeps
/// up: what a coder with a choice of qualities aims at (frame-dropping.md, section 4).
///
/// They are the most for which [`Path::completion`] predicts, parity included, that all have arrived
/// within `time_left`, the time from handing the tensor to the session to its deadline; and no more
/// than the path carries in `interval`, the time between frames, so that none waits for the one before.
/// `interval` is zero where frames come only as the path takes them. `parity` is that of
/// [`Session::parity`](crate::Session::parity): REPAIR packets for each source packet.
///
/// `None` where neither the session's rate is limited nor that of the bottleneck known: nothing limits
/// the tensor. `Some(0)` where none could arrive in time. Costs some forty predictions.
pub fn byte_budget(
    path: &Path,
    parity: f64,
    time_left: Duration,
    interval: Duration,
) -> Option<usize> {
    let rate = match (path.rate, path.bottleneck) {
        // A window that the application does not fill says what it used, not what the path takes.
        (Some(rate), Some(bottleneck)) if is_roomy(path) => rate.max(bottleneck),
        (rate, bottleneck) => rate.or(bottleneck)?,
    };
    if path.silent {
        return Some(0);
    }
    let parity = 1.0 + parity.max(0.0);
    let longest = if interval.is_zero() {
        time_left
    } else {
        time_left.min(interval)
    };
    // Not as the bottleneck was measured to take: tensors of a single packet make no train that could
    // tell that it has become faster, and a budget below two packets would be one for good. The rate's
    // headroom lets a larger one try.
    // A sixteenth of what a path carries are headers, as in its predictions.
    let (mut low, mut high) = (0, carried(longest, rate) / 16 * 15);
    while low < high {
        let bytes = low + (high - low).div_ceil(2);
        if path.completion(bytes).is_none_or(|took| took <= time_left) {
            low = bytes;
        } else {
            high = bytes - 1;
        }
    }
    let in_time = path.completion(low).is_none_or(|took| took <= time_left);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never below zero, and no more than before"
    )]
    Some(if in_time {
        (low as f64 / parity) as usize
    } else {
        0
    })
}

/// Whether at most two thirds of the window are in flight, and nothing waits.
const fn is_roomy(path: &Path) -> bool {
    match path.window {
        Some(window) => {
            path.waiting == 0 && path.in_flight.saturating_mul(3) <= window.saturating_mul(2)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(rate: Option<u64>, waiting: usize) -> Path {
        Path {
            rate,
            pace: rate,
            one_way: Some(Duration::from_millis(20)),
            waiting,
            ..Path::default()
        }
    }

    #[test]
    fn by_hand() {
        let ms = Duration::from_millis;
        // 15 of 35 ms are left for 20 Mbit/s: 37,500 bytes, a sixteenth of them headers.
        let fast = path(Some(20_000_000), 0);
        assert_eq!(byte_budget(&fast, 0.0, ms(35), ms(100)), Some(35_157));
        // The frame interval is shorter: 10 ms, 25,000 bytes, 23,430 of slices and their parity.
        assert_eq!(byte_budget(&fast, 0.25, ms(100), ms(10)), Some(18_744));
        // As fast as the path takes them: the deadline alone.
        let alone = byte_budget(&fast, 0.0, ms(35), Duration::ZERO);
        assert_eq!(alone, Some(35_157));
        // 12,500 bytes wait, which take 5 ms.
        let behind = path(Some(20_000_000), 12_500);
        assert_eq!(byte_budget(&behind, 0.0, ms(40), ms(100)), Some(35_157));
        assert_eq!(byte_budget(&fast, 0.0, ms(19), ms(100)), Some(0));
        assert_eq!(byte_budget(&path(None, 0), 0.0, ms(35), ms(100)), None);
        let mut measured = path(None, 0);
        measured.bottleneck = Some(20_000_000);
        assert_eq!(byte_budget(&measured, 0.0, ms(35), ms(100)), Some(35_157));
        // A bottleneck that was measured while it was slow leaves room to measure it again.
        let mut slow = fast;
        slow.bottleneck = Some(1_000_000);
        assert_eq!(byte_budget(&slow, 0.0, ms(100), ms(2)), Some(4_680));
        // One that was measured to be faster than the window that is used lets on.
        let mut roomy = path(Some(2_000_000), 0);
        roomy.pace = Some(25_000_000);
        roomy.bottleneck = Some(20_000_000);
        assert_eq!(byte_budget(&roomy, 0.0, ms(100), ms(5)), Some(1_170));
        (roomy.window, roomy.in_flight) = (Some(15_000), 10_000);
        assert_eq!(byte_budget(&roomy, 0.0, ms(100), ms(5)), Some(11_715));
        roomy.in_flight = 10_001;
        assert_eq!(byte_budget(&roomy, 0.0, ms(100), ms(5)), Some(1_170));
        let mut silent = fast;
        silent.silent = true;
        assert_eq!(byte_budget(&silent, 0.0, ms(35), ms(100)), Some(0));
    }

    proptest! {
        /// More time or rate never gives less, more parity or backlog never more.
        #[test]
        fn monotone(
            rate in 0_u64..1_000_000_000,
            waiting in 0_usize..1_000_000,
            parity in 0.0..2.0,
            left in 0_u64..1_000,
            interval in 1_u64..1_000,
            more in 0_u16..1_000,
        ) {
            let ms = Duration::from_millis;
            let budget = |rate, waiting, parity, left, interval| {
                byte_budget(&path(Some(rate), waiting), parity, ms(left), ms(interval)).unwrap()
            };
            let base = budget(rate, waiting, parity, left, interval);
            prop_assert!(budget(rate + u64::from(more) * 1_000, waiting, parity, left, interval) >= base);
            prop_assert!(budget(rate, waiting, parity, left + u64::from(more), interval) >= base);
            prop_assert!(budget(rate, waiting, parity, left, interval + u64::from(more)) >= base);
            prop_assert!(budget(rate, waiting, parity + f64::from(more), left, interval) <= base);
            prop_assert!(budget(rate, waiting + usize::from(more), parity, left, interval) <= base);
        }
    }
}

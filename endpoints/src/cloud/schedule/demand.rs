//! How much of the workers each session asks for, and whether another fits in.

use std::collections::VecDeque;
use std::time::Duration;

use tensorwire_protocol::Time;

/// Arrivals over which a rate is measured.
const ARRIVALS: usize = 16;
/// After so long, the rate that is measured counts alone; before, no less than the one that was announced.
const SETTLING: Duration = Duration::from_secs(2);

/// How often the tensors of a session come.
#[derive(Debug)]
pub(super) struct Demand {
    opened: Time,
    /// The interval that its edge announced.
    announced: Option<Duration>,
    /// The newest arrivals.
    arrivals: VecDeque<Time>,
}

impl Demand {
    pub(super) const fn new(now: Time, announced: Option<Duration>) -> Self {
        Self {
            opened: now,
            announced,
            arrivals: VecDeque::new(),
        }
    }

    /// A tensor came.
    pub(super) fn arrived(&mut self, now: Time) {
        if self.arrivals.len() == ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
    }

    /// Tensors a second. Falls while none comes.
    pub(super) fn rate(&self, now: Time) -> f64 {
        let measured = self.measured(now);
        if now - self.opened < SETTLING {
            measured.max(self.announced.map_or(0.0, per_second))
        } else {
            measured
        }
    }

    fn measured(&self, now: Time) -> f64 {
        let (Some(first), Some(last)) = (self.arrivals.front(), self.arrivals.back()) else {
            return 0.0;
        };
        let intervals = self.arrivals.len() - 1;
        let mean = (*last - *first).as_secs_f64() / intervals.max(1) as f64;
        // What has not come for longer than the mean interval comes less often.
        let span = (*last - *first).as_secs_f64() + ((now - *last).as_secs_f64() - mean).max(0.0);
        if intervals == 0 || span <= 0.0 {
            return 0.0;
        }
        intervals as f64 / span
    }
}

fn per_second(interval: Duration) -> f64 {
    if interval.is_zero() {
        f64::INFINITY
    } else {
        interval.as_secs_f64().recip()
    }
}

/// A session would ask for more than the workers can do.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Overloaded {
    /// The sessions that there are ask for too much already.
    #[error(
        "this cloud is {:.0} % busy with the sessions that it has, and takes new ones below {:.0} %",
        100.0 * load, 100.0 * most
    )]
    Full {
        /// What they ask for, as a share of all workers.
        load: f64,
        /// The share from which on no session is taken.
        most: f64,
    },
    /// They would, with the new one.
    #[error(
        "{rate:.1} tensors a second of {:.1} ms each would make this cloud {:.0} % busy, which is {:.0} % \
         busy now and takes sessions up to {:.0} %",
        service.as_secs_f64() * 1e3, 100.0 * with, 100.0 * load, 100.0 * most
    )]
    Rate {
        /// Tensors a second that the edge announced.
        rate: f64,
        /// Mean time of such a tensor.
        service: Duration,
        /// What all would ask for with it, as a share of all workers.
        with: f64,
        /// What they ask for without it.
        load: f64,
        /// The share up to which sessions are taken.
        most: f64,
    },
}

/// What is known of a session before it begins.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Newcomer {
    /// The interval of its frames, if its edge announced one.
    pub(super) interval: Option<Duration>,
    /// The mean time of tensors like its own, if there have been any.
    pub(super) service: Option<Duration>,
}

/// Whether `workers` that are asked for a share `load` of their time can serve another session, keeping to
/// `most`.
///
/// A session keeps one worker busy at most, however fast its frames come. One that comes first is always
/// taken: its edge drops the frames that nobody can serve, and a refusal would leave the cloud idle.
pub(super) fn admit(
    workers: usize,
    load: f64,
    most: f64,
    newcomer: Newcomer,
) -> Result<(), Overloaded> {
    if load <= 0.0 {
        return Ok(());
    }
    if load >= most {
        return Err(Overloaded::Full { load, most });
    }
    let (Some(interval), Some(service)) = (newcomer.interval, newcomer.service) else {
        return Ok(());
    };
    let rate = per_second(interval);
    let with = load + (rate * service.as_secs_f64()).min(1.0) / workers.max(1) as f64;
    if with > most {
        return Err(Overloaded::Rate {
            rate,
            service,
            with,
            load,
            most,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_rate_is_that_of_the_newest_arrivals() {
        let start = Time::from_millis(1_000);
        let mut demand = Demand::new(start, None);
        assert_eq!(demand.rate(start), 0.0);
        for i in 0..40_u32 {
            demand.arrived(start + 100 * MS * i);
        }
        let last = start + 3_900 * MS;
        assert!((demand.rate(last) - 10.0).abs() < 1e-9);
        assert!((demand.rate(last + 100 * MS) - 10.0).abs() < 1e-9);
        for i in 1..20_u32 {
            demand.arrived(last + 50 * MS * i);
        }
        assert!((demand.rate(last + 950 * MS) - 20.0).abs() < 1e-9);
        // 15 intervals in 750 ms, and then nothing for 10 s more than an interval.
        let rate = demand.rate(last + 11_000 * MS);
        assert!((rate - 15.0 / 10.75).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn what_was_announced_counts_until_the_session_has_settled() {
        let start = Time::from_millis(5);
        let mut demand = Demand::new(start, Some(20 * MS));
        demand.arrived(start);
        assert_eq!(demand.rate(start + MS), 50.0);
        assert_eq!(demand.rate(start + SETTLING), 0.0);
    }

    #[test]
    fn who_fits_in_is_taken_and_who_does_not_is_told_why() {
        let newcomer = |interval, service| Newcomer { interval, service };
        let camera = newcomer(Some(20 * MS), Some(10 * MS));
        // Half of one of two workers.
        assert_eq!(admit(2, 0.6, 0.9, camera), Ok(()));
        let refused = admit(2, 0.7, 0.9, camera).unwrap_err();
        assert!(matches!(refused, Overloaded::Rate { .. }));
        let words = refused.to_string();
        assert!(
            words.contains("50.0 tensors a second of 10.0 ms each")
                && words
                    .contains("95 % busy, which is 70 % busy now and takes sessions up to 90 %"),
            "{words}"
        );
        assert!(matches!(
            admit(2, 0.9, 0.9, newcomer(None, None)),
            Err(Overloaded::Full { .. })
        ));
        assert_eq!(admit(2, 0.89, 0.9, newcomer(None, Some(MS))), Ok(()));
        // The first is taken whatever it asks for, and none keeps more than a worker busy.
        let greedy = newcomer(Some(Duration::ZERO), Some(10 * MS));
        assert_eq!(admit(2, 0.0, 0.9, greedy), Ok(()));
        assert_eq!(admit(2, 0.4, 0.9, greedy), Ok(()));
        assert!(admit(2, 0.41, 0.9, greedy).is_err());
    }
}

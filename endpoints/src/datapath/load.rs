//! How busy the application is with the tensors of a session.

use std::time::Duration;

use tensorwire_protocol::wire::Load;

/// The share of a new sample in the mean service time, as one in so many (RFC 6298 takes the same for
/// round trips). Of the first samples it is the plain mean: a model is slow the first time.
const GAIN: u32 = 8;
/// Tensors within which what waits is to be worked off: while as many wait, the admission interval is
/// twice the service time.
const WORK_OFF: u32 = 8;

/// Measures the load that FEEDBACK tells the edge (frame-dropping.md, section 3): tensors that were given
/// to the application, and the results that it made of them. Where the application serves other sessions,
/// too, its time for a tensor includes what those took of it, so that what the edge is told is its share.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct LoadMeter {
    /// Tensors given and not answered, the one at work included.
    unanswered: u32,
    /// Smoothed time that one takes; none before the first.
    service: Option<Duration>,
    /// Samples in it, up to [`GAIN`].
    samples: u32,
    /// What was told last.
    told: Option<Load>,
    /// Tensors that may wait, beside the one at work; none: any number.
    most: Option<u32>,
}

impl LoadMeter {
    /// Lets only so many tensors wait.
    pub(super) const fn limit(&mut self, most: u32) {
        self.most = Some(most);
    }

    /// Whether as many wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.most.is_some_and(|most| self.unanswered > most)
    }

    /// The application was given a tensor.
    pub(super) const fn given(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// The application has answered a tensor, with which it was occupied so long; none if it did not
    /// compute it, which says nothing of how long that takes.
    pub(super) fn answered(&mut self, occupied: Option<Duration>) {
        self.unanswered = self.unanswered.saturating_sub(1);
        let Some(occupied) = occupied else { return };
        let before = self.samples.min(GAIN - 1);
        let mean = self.service.unwrap_or_default();
        self.service = Some(mean.saturating_mul(before).saturating_add(occupied) / (before + 1));
        self.samples = before + 1;
    }

    /// What was told last; none before the first answer.
    pub(super) const fn told(&self) -> Option<Load> {
        self.told
    }

    /// The load, if it has changed; none before the first answer.
    pub(super) fn news(&mut self) -> Option<Load> {
        let service = self.service?;
        let waiting = self.unanswered.saturating_sub(1);
        let load = Load {
            queue_length: u16::try_from(waiting).unwrap_or(u16::MAX),
            service_micros: micros(service),
            admission_micros: micros(service.saturating_mul(WORK_OFF + waiting) / WORK_OFF),
        };
        (self.told.replace(load) != Some(load)).then_some(load)
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_tells_what_waits_and_how_long_each_takes() {
        let mut meter = LoadMeter::default();
        meter.given();
        assert_eq!(
            meter.news(),
            None,
            "nothing is known before the first answer"
        );
        meter.answered(Some(40 * MS));
        let load = |queue_length, service_micros, admission_micros| Load {
            queue_length,
            service_micros,
            admission_micros,
        };
        assert_eq!(meter.news(), Some(load(0, 40_000, 40_000)));
        assert_eq!(meter.news(), None, "told already");
        // One is at work, two wait.
        (0..3).for_each(|_| meter.given());
        assert_eq!(meter.news(), Some(load(2, 40_000, 50_000)));
        // The mean of the first eight, then an eighth for each.
        meter.answered(Some(48 * MS));
        assert_eq!(meter.news(), Some(load(1, 44_000, 49_500)));
        (0..6).for_each(|_| meter.answered(Some(44 * MS)));
        assert_eq!(meter.news(), Some(load(0, 44_000, 44_000)));
        meter.answered(Some(52 * MS));
        assert_eq!(meter.news(), Some(load(0, 45_000, 45_000)));
    }

    #[test]
    fn so_many_wait_beside_the_one_at_work() {
        let mut meter = LoadMeter::default();
        assert!(!meter.is_full());
        meter.limit(2);
        for full in [false, false, true] {
            meter.given();
            assert_eq!(meter.is_full(), full);
        }
        meter.answered(Some(MS));
        assert!(!meter.is_full());
    }

    #[test]
    fn an_application_that_never_answers_overflows_nothing() {
        let mut meter = LoadMeter::default();
        meter.answered(Some(Duration::MAX / 16));
        (0..100_000).for_each(|_| meter.given());
        let load = meter.news().unwrap();
        assert_eq!(load.queue_length, u16::MAX);
        assert_eq!(load.admission_micros, u32::MAX);
    }
}

//! What an edge expects of the cloud's model.

use std::time::Duration;

use crate::rate::PeerLoad;
use crate::time::Time;

/// The cloud's model as an edge expects it: a queue that it fills itself, tensor by tensor, corrected by
/// the load that FEEDBACK tells.
///
/// The load of a report is half a round trip old and knows nothing of the tensors on their way, so the
/// edge keeps count of them: each takes one service time after the one before, or after its arrival.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Server {
    /// Time that the model takes for a tensor, as last told; zero before.
    pub service: Duration,
    /// Least time between tensors that the cloud takes, as last told ("server rate limit"); zero: no
    /// limit.
    pub interval: Duration,
    /// When a tensor was last handed to the session.
    pub last_request: Option<Time>,
    /// When the model has done what it was given.
    pub free: Time,
    /// When the load was last told.
    told: Option<Time>,
    /// When the next tensor would arrive if all came at the limit.
    pub(super) nominal: Time,
}

impl Server {
    /// Takes what the newest FEEDBACK told; older or repeated news changes nothing.
    pub fn heard(&mut self, news: PeerLoad) {
        if self.told.is_some_and(|told| news.at <= told) {
            return;
        }
        self.told = Some(news.at);
        let load = news.load;
        self.service = Duration::from_micros(u64::from(load.service_micros));
        self.interval = Duration::from_micros(u64::from(load.admission_micros));
        self.free = (self.free).max(news.at + self.service * u32::from(load.queue_length));
    }

    /// Nothing is known any more of what it has to do: it is taken to be free at `now`.
    pub(super) fn forget(&mut self, now: Time) {
        self.free = self.free.min(now);
        self.nominal = self.nominal.min(now);
    }

    /// When the next tensor may arrive, at the earliest.
    ///
    /// This is the virtual scheduling algorithm (ITU-T I.371, generic cell rate algorithm): tensors
    /// conform on average, and one may come half an interval early, to wait as long. Without that
    /// tolerance a limit just above a multiple of the frame interval would cost a whole one each time;
    /// with it, at most 5 % of the tensors that the limit would let in.
    pub fn opens(&self) -> Time {
        self.nominal - self.interval / 2
    }

    /// A tensor was handed to the session at `now` and is expected to arrive at `arrival`.
    pub fn given(&mut self, now: Time, arrival: Time) {
        self.last_request = Some(now);
        *self = self.with(arrival);
    }

    /// What it will be once it was given `tensors` more that are being made at `now`, one right after
    /// another.
    pub(super) fn after(&self, now: Time, tensors: usize) -> Self {
        let Ok(tensors @ 1..) = u32::try_from(tensors) else {
            return *self;
        };
        let mut then = self.with(now);
        then.free = then.free + self.service.saturating_mul(tensors - 1);
        then.nominal = then.nominal + self.interval.saturating_mul(tensors - 1);
        then
    }

    fn with(&self, arrival: Time) -> Self {
        let mut then = *self;
        then.free = self.free.max(arrival) + self.service;
        then.nominal = self.nominal.max(arrival) + self.interval;
        then
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Load;

    fn told(at: u64, queue_length: u16, millis: u32) -> PeerLoad {
        PeerLoad {
            load: Load {
                queue_length,
                service_micros: millis * 1_000,
                admission_micros: millis * 1_000,
            },
            at: Time::from_millis(at),
        }
    }

    /// Frames come every 20 ms for ten seconds; those that arrive when the server lets them are given.
    fn given(millis: u32) -> u64 {
        let mut server = Server::default();
        server.heard(told(0, 0, millis));
        let arrivals = (0..500).map(|frame| Time::from_millis(1_000 + 20 * frame));
        let taken = arrivals.filter(|arrival| {
            let opens = server.opens() <= *arrival;
            if opens {
                server.given(*arrival, *arrival);
            }
            opens
        });
        taken.count() as u64
    }

    #[test]
    fn the_limit_holds_on_average_whatever_the_frame_interval() {
        for millis in [21_u32, 30, 39, 40, 41, 50, 100, 333] {
            let most = 10_000 / u64::from(millis) + 1;
            let got = given(millis);
            assert!(
                got <= most && got * 100 >= most * 95,
                "{millis} ms: {got} of {most}"
            );
        }
        assert_eq!([given(0), given(20), given(3)], [500; 3]);
    }

    #[test]
    fn it_is_free_when_it_has_done_what_it_was_given() {
        let mut server = Server::default();
        server.heard(told(0, 0, 50));
        for _ in 0..3 {
            server.given(Time::from_millis(10), Time::from_millis(40));
        }
        assert_eq!(server.free, Time::from_millis(40 + 150));
        assert_eq!(
            server.after(Time::from_millis(10), 2).free,
            Time::from_millis(40 + 250)
        );
        // A longer queue than it knew of, by a newer report; and an older one.
        server.heard(told(100, 4, 50));
        assert_eq!(server.free, Time::from_millis(300));
        server.heard(told(90, 9, 50));
        assert_eq!(server.free, Time::from_millis(300));
    }
}

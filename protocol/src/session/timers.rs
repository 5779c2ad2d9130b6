//! When a session has something to do.

use super::Session;
use super::end::Ending;
use crate::time::Time;
use crate::timer::Timer;

impl Session {
    pub(super) fn set_timers(&mut self, now: Time) {
        let (tensors, scope) = self.tensors(now);
        let end = tensors.next_end(now, scope.config, &scope.prospect);
        let passing = tensors.next_passing(now, scope.config, &scope.prospect);
        let loss = [self.loss_due(), self.flight.second_due()];
        let over = self.ending.is_some();
        let mute = over || !self.paths.allows(usize::from(self.config.mss));
        self.timers.set(Timer::Release, end);
        self.timers.set(Timer::Tail, passing);
        self.timers.set(
            Timer::Loss,
            loss.into_iter().flatten().min().filter(|_| !over),
        );
        let report = self.feedback.due().filter(|_| !mute);
        self.timers.set(Timer::Feedback, report);
        let pace = self.rate.next();
        self.timers
            .set(Timer::Pace, (pace > now && !mute).then_some(pace));
        let circuit = self.rate.circuit_due(self.rtt.timeout());
        self.timers.set(Timer::Circuit, circuit.filter(|_| !over));
        let result = self.results.due().filter(|_| !mute);
        self.timers.set(Timer::Result, result);
        let ping = self.ping_due(now);
        self.timers.set(Timer::Ping, (!mute).then_some(ping));
        let path = self.paths.due().filter(|_| !over);
        self.timers.set(Timer::Path, path);
        let close = self.ending.as_ref().and_then(Ending::due);
        self.timers.set(Timer::Close, close);
    }
}

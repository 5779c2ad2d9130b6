//! What wakes the loop when something is due: to the microsecond where the system can, since a packet
//! that leaves a millisecond late makes its tensor a millisecond later.

use std::io;
use std::time::Duration;

use tensorwire_protocol::Time;

use crate::clock::Clock;

/// An alarm that can be set again and again.
#[derive(Debug)]
pub(super) struct Alarm {
    clock: Clock,
    /// None where the system has no such timers: then those of the runtime serve, which count whole
    /// milliseconds.
    timer: Option<Timer>,
}

impl Alarm {
    pub(super) fn new(clock: Clock) -> Self {
        let timer = Timer::new().ok();
        Self { clock, timer }
    }

    /// Ready when the clock shows `time`; never where there is none. Giving up the wait does no harm.
    pub(super) async fn wait_until(&mut self, time: Option<Time>) {
        let (Some(time), Some(timer)) = (time, &mut self.timer) else {
            return self.clock.sleep_until(time).await;
        };
        let left = time - self.clock.now();
        if left > Duration::ZERO && timer.wait(time, left).await.is_err() {
            self.clock.sleep_until(Some(time)).await;
        }
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Timer {
    file: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
    /// For when it is set; none once that has come.
    set: Option<Time>,
}

#[cfg(target_os = "linux")]
impl Timer {
    #[expect(
        deprecated,
        reason = "what replaces it is not safe; an OwnedFd keeps the rule that it is about"
    )]
    fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let file = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let file = tokio::io::unix::AsyncFd::with_interest(file, tokio::io::Interest::READABLE)?;
        Ok(Self { file, set: None })
    }

    /// Waits for `time`, which is `left` away.
    async fn wait(&mut self, time: Time, left: Duration) -> io::Result<()> {
        if self.set != Some(time) {
            self.start(left)?;
            self.set = Some(time);
        }
        // What came of an earlier time is looked at like the rest: nothing is due then.
        self.file.readable().await?.clear_ready();
        self.set = None;
        Ok(())
    }

    fn start(&self, left: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec::try_from(left).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.file, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

/// No such timer.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn wait(&mut self, _time: Time, _left: Duration) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_comes_when_it_is_due_and_not_before_however_often_it_is_set() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        alarm.wait_until(Some(clock.now())).await;
        let late = clock.now() + Duration::from_secs(3_600);
        let given_up = tokio::time::timeout(Duration::ZERO, alarm.wait_until(Some(late))).await;
        assert!(given_up.is_err());
        for micros in [300, 2_500, 700] {
            let due = clock.now() + Duration::from_micros(micros);
            while clock.now() < due {
                // One that was given up may still come.
                alarm.wait_until(Some(due)).await;
            }
        }
        let never = tokio::time::timeout(Duration::from_millis(1), alarm.wait_until(None)).await;
        assert!(never.is_err());
    }
}

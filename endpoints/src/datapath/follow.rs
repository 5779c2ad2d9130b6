//! A session that goes on where another is: a stream that was set up anew does not begin with a path of
//! which nothing is known.

use std::sync::Arc;

use tensorwire_protocol::{ConfigError, Session};

use super::PathEnded;
use super::handle::{Reach, SessionHandle};
use super::hub::Hub;
use super::seat::Seat;
use super::watch::SessionWatch;

impl SessionHandle {
    /// Has the session, before its first datagram, know what `old` knows of the path to the same peer:
    /// round-trip time, rate and losses. Whether it does: not if `old` has ended, or one of the two is on no
    /// data path, or on another.
    ///
    /// # Errors
    /// If the data path has ended; inside, if the two have a secret in common.
    pub(crate) async fn follow(
        &self,
        old: &SessionWatch,
    ) -> Result<Result<bool, ConfigError>, PathEnded> {
        let Reach::Seat(keeper, seat) = &self.reach else {
            return Ok(Ok(false));
        };
        match old.seat_on(keeper.hub()) {
            Some(old) => keeper.hub().follow(seat, &old),
            None => Ok(Ok(false)),
        }
    }
}

impl Hub {
    fn follow(
        &self,
        seat: &Arc<Seat>,
        old: &Arc<Seat>,
    ) -> Result<Result<bool, ConfigError>, PathEnded> {
        if Arc::ptr_eq(seat, old) {
            return Ok(Ok(false));
        }
        self.enter(seat, |entry, now| {
            // Nobody holds two seats but a session that follows an older one.
            let mut guard = old.lock();
            let Some(before) = guard.as_mut() else {
                return Ok(false);
            };
            // The old one may have been told a later time.
            let now = entry.tell_time(before.tell_time(now));
            let config = entry.session.config().clone();
            entry.session = Session::new_on_path_of(config, now, &before.session)?;
            Ok(true)
        })
    }
}

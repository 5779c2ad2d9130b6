//! What the user hears of the sessions: a line on standard error for each change, and counts at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tensorwire_endpoints::clock::millis;
use tensorwire_endpoints::control::Statistics;
use tensorwire_endpoints::edge::EdgeNotice;
use tokio::sync::mpsc;

/// What became of the sessions.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Sessions {
    /// Times that the edge came back to a cloud.
    reconnections: usize,
    /// Milliseconds without a session, as far as one came again.
    away_ms: f64,
    /// Changes of the stream.
    changes: usize,
    /// What the cloud told last.
    #[serde(skip)]
    statistics: Option<Statistics>,
}

/// What became of the sessions so far; copies are of the same.
#[derive(Clone, Default)]
pub(crate) struct News(Arc<Mutex<Sessions>>);

impl News {
    /// Tells what happens, until nothing more can.
    pub(crate) async fn follow(self, mut notices: mpsc::Receiver<EdgeNotice>) {
        while let Some(notice) = notices.recv().await {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .count(&notice);
            tell(&notice);
        }
    }

    pub(crate) fn sessions(&self) -> Sessions {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    const fn count(&mut self, notice: &EdgeNotice) {
        match notice {
            EdgeNotice::Back { away, .. } => {
                self.reconnections += 1;
                self.away_ms += 1e3 * away.as_secs_f64();
            }
            EdgeNotice::Changed { .. } => self.changes += 1,
            EdgeNotice::Statistics(statistics) => self.statistics = Some(*statistics),
            _ => {}
        }
    }

    /// What there is to say at the end.
    pub(crate) fn summary(&self) {
        if self.reconnections > 0 {
            eprintln!(
                "{} reconnection{}, {:.1} s without a cloud",
                self.reconnections,
                if self.reconnections == 1 { "" } else { "s" },
                self.away_ms / 1e3
            );
        }
        if self.changes > 0 {
            let ending = if self.changes == 1 { "" } else { "s" };
            eprintln!("{} change{ending} of the stream", self.changes);
        }
        if let Some(statistics) = self.statistics
            && let Some(service) = statistics.service()
        {
            eprintln!(
                "the cloud said last: {:.2} ms a tensor, {} waiting, {} sessions",
                millis(service),
                statistics.queue,
                statistics.sessions
            );
        }
    }
}

fn tell(notice: &EdgeNotice) {
    match notice {
        EdgeNotice::Silent => eprintln!("nothing comes from the cloud"),
        EdgeNotice::Heard => eprintln!("the cloud is heard again"),
        EdgeNotice::Lost { reason } => {
            eprintln!("the cloud went away: {reason}; frames are skipped until it is back");
        }
        EdgeNotice::Draining { grace, reason } => eprintln!(
            "the cloud will end in {:.1} s: {reason}; frames are skipped until there is one again",
            grace.as_secs_f64()
        ),
        EdgeNotice::Retried { attempts: 1, error } => eprintln!("not back yet: {error}"),
        EdgeNotice::Retried { attempts, error } if attempts % 8 == 0 => {
            eprintln!("not back yet after {attempts} attempts: {error}");
        }
        EdgeNotice::Back { cloud, away } => {
            eprintln!("a session again with {cloud}, after {}", seconds(*away))
        }
        EdgeNotice::Changed { from } => eprintln!("the stream has changed from frame {}", from.0),
        _ => {}
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

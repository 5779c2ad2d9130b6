//! What the edge knew of its path during a stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::report::Spread;
use crate::clock::millis;
use crate::datapath::SessionWatch;

/// Time between looks.
const EVERY: Duration = Duration::from_millis(100);
/// Looks that are kept: more than a day of them.
const MAX_LOOKS: usize = 1 << 20;

/// Looks at a session's path, ten a second, as long as it lives.
#[derive(Clone, Debug, Default)]
pub struct PathLog(Arc<Mutex<Looks>>);

#[derive(Debug, Default)]
struct Looks {
    rates: Vec<f64>,
    bottlenecks: Vec<f64>,
    queue_delays: Vec<f64>,
}

/// Those looks in figures.
#[derive(Serialize, Debug, Default)]
#[non_exhaustive]
pub struct PathReport {
    /// Megabits a second that the session let itself send, while there was a limit.
    pub rate_mbps: Spread,
    /// Megabits a second that it took the bottleneck for.
    pub bottleneck_mbps: Spread,
    /// The standing queue as it saw it.
    pub queue_delay_ms: Spread,
}

impl PathLog {
    /// Looks at a session until it ends, or the future is dropped.
    pub async fn follow(self, watch: SessionWatch) {
        while let Ok(outlook) = watch.outlook().await {
            let path = outlook.path;
            {
                let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if looks.queue_delays.len() >= MAX_LOOKS {
                    return;
                }
                looks.queue_delays.push(millis(path.queue_delay));
                looks.rates.extend(path.rate.map(mbps));
                looks.bottlenecks.extend(path.bottleneck.map(mbps));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> PathReport {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        PathReport {
            rate_mbps: Spread::of(looks.rates.clone()),
            bottleneck_mbps: Spread::of(looks.bottlenecks.clone()),
            queue_delay_ms: Spread::of(looks.queue_delays.clone()),
        }
    }
}

fn mbps(bits: u64) -> f64 {
    bits as f64 / 1e6
}

//! A session that measures its path before there is anything to send.

use std::time::Duration;

use super::handle::{Reach, SessionHandle};
use super::{Outlook, PathEnded};

/// How often it is looked whether the path is known.
const GLANCE: Duration = Duration::from_millis(2);

impl SessionHandle {
    /// Measures the path again, if its rate has not been told for a second: the application would send more if
    /// it could. Whether it is measured.
    ///
    /// # Errors
    /// If the session or its data path has ended.
    pub(crate) fn measure_again(&self) -> Result<bool, PathEnded> {
        let Reach::Seat(keeper, seat) = &self.reach else {
            return Ok(false);
        };
        let hub = keeper.hub();
        hub.enter(seat, |entry, now| entry.session.probe(now))
    }

    /// Sends a train of packets of nothing, and waits until it has told the rate of the path, `patience` at
    /// most: the first tensor is then as fast as those after it. Does nothing where the rate is known, or
    /// nobody wants to know it.
    ///
    /// # Errors
    /// If the session or its data path has ended.
    pub(crate) async fn measure(&self, patience: Duration) -> Result<(), PathEnded> {
        if !self.measure_again()? {
            return Ok(());
        }
        let watch = self.watch();
        let measured = async {
            loop {
                let Outlook { path, .. } = watch.outlook().await?;
                if path.bottleneck.is_some() {
                    return Ok(());
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        // A path of which nothing is heard for so long is measured by the tensors.
        tokio::time::timeout(patience, measured)
            .await
            .unwrap_or(Ok(()))
    }
}

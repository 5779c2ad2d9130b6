//! What an edge tells whoever runs it, beside what becomes of each frame.

use std::net::SocketAddr;
use std::time::Duration;

use tensorwire_protocol::wire::FrameNumber;
use tokio::sync::mpsc;

use crate::control::Statistics;

/// Notices that may wait; further ones are not told.
const NOTICES: usize = 64;

/// What happens to an edge's sessions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EdgeNotice {
    /// Nothing comes from the cloud on the data path, though tensors were sent.
    Silent,
    /// Something came again.
    Heard,
    /// The cloud went away. Frames are skipped from here on.
    Lost {
        /// Why, in words.
        reason: String,
    },
    /// The cloud will end. Frames are skipped from here on; answers to those sent still come.
    Draining {
        /// How long the cloud waits for them.
        grace: Duration,
        /// Why, in the cloud's words.
        reason: String,
    },
    /// An attempt to come back failed.
    Retried {
        /// How many have failed since the loss.
        attempts: u32,
        /// Why, in words.
        error: String,
    },
    /// There is a session again.
    Back {
        /// With this cloud.
        cloud: SocketAddr,
        /// Time without one.
        away: Duration,
    },
    /// The stream has changed.
    Changed {
        /// The first frame that is streamed by the new description.
        from: FrameNumber,
    },
    /// How the cloud fares with the session.
    Statistics(Statistics),
}

/// Where notices go; nobody has to listen.
#[derive(Clone, Debug)]
pub(super) struct Notices(mpsc::Sender<EdgeNotice>);

impl Notices {
    pub(super) fn channel() -> (Self, mpsc::Receiver<EdgeNotice>) {
        let (sender, receiver) = mpsc::channel(NOTICES);
        (Self(sender), receiver)
    }

    pub(super) fn tell(&self, notice: EdgeNotice) {
        // Whoever listens may be slow or gone.
        let _ = self.0.try_send(notice);
    }
}

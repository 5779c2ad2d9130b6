//! The loop that drives sessions: it takes what arrives, and does what is due.

use std::io;
use std::sync::Arc;

use super::alarm::Alarm;
use super::hub::Hub;
use super::socket::{RECEIVES, Room, Socket};

/// Calls that take datagrams from the socket before other work gets its turn.
const CALLS: usize = 8;

/// The loop of a data path. Its sessions end when it does.
pub(super) struct Driver {
    hub: Arc<Hub>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.hub.end();
    }
}

/// Waits for datagrams; for ever where there is no socket.
async fn receive(socket: Option<&Socket>, room: &mut Option<Room>) -> io::Result<usize> {
    match (socket, room) {
        (Some(socket), Some(room)) => socket.receive(room).await,
        _ => std::future::pending().await,
    }
}

/// Waits for room in the socket; for ever where there is no socket.
async fn writable(socket: Option<&Socket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.writable().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    pub(super) const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Drives the sessions until every handle is gone.
    pub(super) async fn run(self) {
        let hub = &*self.hub;
        let socket = hub.socket.as_deref();
        let mut room = socket.map(|_| Room::new());
        let mut alarm = Alarm::new(hub.clock);
        let (mut touched, mut due) = (Vec::new(), Vec::new());
        while !hub.has_ended() {
            let until = hub.sleep();
            let buffers = tokio::select! {
                // An error here is the echo of an ICMP message about a datagram of ours: the network's
                // doing, and no more than a loss.
                received = receive(socket, &mut room) => received.unwrap_or(0),
                _ = writable(socket), if hub.is_blocked() => {
                    hub.unblock();
                    0
                }
                () = hub.wake.notified() => 0,
                () = alarm.wait_until(until) => 0,
            };
            hub.awake();
            // What has arrived counts before any timeout: a machine that was slow must not take for lost
            // what lies in its own socket. So what is due is judged by the time before that was read,
            // however long the rest takes.
            let now = hub.clock.now();
            if let (Some(socket), Some(room)) = (socket, &mut room) {
                hub.receive(
                    hub.clock.now(),
                    socket.datagrams(room, buffers),
                    &mut touched,
                );
                // What fills less than the room was all there was.
                let mut more = buffers == 0 || buffers == RECEIVES;
                for _ in 1..CALLS {
                    if !more {
                        break;
                    }
                    let Ok(buffers) = socket.try_receive(room) else {
                        break;
                    };
                    more = buffers == RECEIVES;
                    hub.receive(
                        hub.clock.now(),
                        socket.datagrams(room, buffers),
                        &mut touched,
                    );
                }
            }
            hub.settle_all(&mut touched);
            hub.expire(now, &mut due);
        }
    }
}

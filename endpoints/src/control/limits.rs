//! How much of anything one side of the control protocol may send to the other (spec/control.md,
//! section 7). Whatever a peer makes the other side keep or do is bounded here.

use std::time::Duration;

/// The longest message, bytes of CBOR.
pub const MAX_MESSAGE: usize = 16_384;
/// The longest words for people, bytes of UTF-8.
pub const MAX_WORDS: usize = 512;
/// The longest name of an implementation, bytes of UTF-8.
pub const MAX_SOFTWARE: usize = 64;
/// The longest token, bytes.
pub const MAX_TOKEN: usize = 256;
/// The longest name of a split, bytes of UTF-8.
pub const MAX_SPLIT: usize = 1_024;
/// The most sessions that a cloud lets one connection have.
pub const MAX_SESSIONS: u32 = 16;
/// Messages that a peer may send at once, beyond [`MESSAGES_A_SECOND`].
pub const MESSAGE_BURST: u32 = 64;
/// Messages that a peer may send a second in the long run.
pub const MESSAGES_A_SECOND: u32 = 32;
/// The longest time from the first byte of a message to its last.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time from the connection to Hello, and from Welcome to the first Open.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that a connection without a session may last between one and the next.
pub const SESSIONLESS_TIMEOUT: Duration = Duration::from_secs(10);
/// While a cloud works on an Open, it says so with Wait this often.
pub const WAIT_INTERVAL: Duration = Duration::from_secs(5);
/// An edge that has heard nothing about its Open for so long gives it up.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest grace of a drain.
pub const MAX_GRACE: Duration = Duration::from_secs(600);
/// The longest interval of statistics.
pub const MAX_STATISTICS_INTERVAL: Duration = Duration::from_secs(60);

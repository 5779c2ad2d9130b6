//! Captures: the datagrams of a data path in files that every network analyser reads.
//!
//! A [`Recorder`] writes pcapng in a thread of its own; [`Tap`]s, one for each socket, hand it what is
//! sent and received and never wait. A [`Reader`] reads these captures and foreign ones, pcapng and
//! pcap, and [`udp`] finds the datagram in a packet. [`flow`] says which session a datagram is of, and
//! in which direction. `spec/captures.md` defines what our captures say beyond pcapng.

mod file;
pub mod flow;
pub mod ip;
mod link;
mod note;
mod read;
mod recorder;
mod tap;

pub use link::{NotUdp, Udp, udp};
pub use note::{NOTE_VERSION, Note, Role, SecretsNote, SessionNote};
pub use read::{Interface, Packet, ReadError, Reader, Record, is_capture};
pub use recorder::{Recorder, Summary};
pub use tap::Tap;

/// Ends a capture, if there is one, and tells on standard error what it came to.
///
/// # Errors
/// If not all of it could be written.
pub fn finish(recorder: Option<Recorder>) -> anyhow::Result<()> {
    let Some(recorder) = recorder else {
        return Ok(());
    };
    let path = recorder.path().to_owned();
    let Summary { packets, missed } = recorder.finish()?;
    eprint!("{packets} datagrams in {}", path.display());
    match missed {
        0 => eprintln!(),
        missed => eprintln!("; {missed} missing, as the file was not written fast enough"),
    }
    Ok(())
}

/// What a capture has of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever refuses one must look at each"
)]
pub enum Recording {
    /// Nothing: there is none.
    Off,
    /// Its datagrams, as they are.
    Datagrams,
    /// Also the secrets that open them.
    WithSecrets,
}

/// The way of a datagram, as the endpoint saw it that captured it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Direction {
    /// It came in.
    Received,
    /// It went out.
    Sent,
}

/// The type of the blocks that say when a session's timeouts were handled: one for local use, which
/// other programs skip.
const TICK_BLOCK: u32 = 0x8054_5350;

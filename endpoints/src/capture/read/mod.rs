//! Reading captures: pcapng and pcap, ours and foreign ones.

mod input;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;
mod unsealed;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;

use super::{Direction, Note};

use input::Input;
use unsealed::Unsealers;

/// The most bytes that a packet may have, with what its link adds.
const MAX_PACKET: usize = 1 << 18;
/// Interfaces of a file.
const MAX_INTERFACES: usize = 1 << 16;

/// Why a capture cannot be read further: the file is at fault, or the system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system does not give the bytes.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The file begins like no capture.
    #[error("this is no capture: neither pcapng nor pcap")]
    NoCapture,
    /// The file ends within something: it was cut off, or its writer was.
    #[error("the file ends within {what}, at byte {at}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where the file ends.
        at: u64,
    },
    /// Something is not as its format says.
    #[error("{what}, at byte {at}: the file is damaged")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where it was noticed.
        at: u64,
    },
}

/// A capture that is read from front to back, in bounded memory. Datagrams of sealed sessions whose secrets it
/// has are read as plain mode would have them.
///
/// The first error ends it: what was read before stands.
#[derive(Debug)]
pub struct Reader<R> {
    input: Input<R>,
    format: Format,
    interfaces: Vec<Interface>,
    unsealers: Unsealers,
    ended: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::State),
    Pcapng(pcapng::State),
}

/// Where packets were captured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Interface {
    /// The link type, by its number in the tcpdump registry.
    pub link: u32,
    /// Its name, if it says.
    pub name: Option<String>,
    /// What a capture of ours says about it.
    pub note: Option<Note>,
    /// How time stamps count.
    resolution: Resolution,
    /// Most bytes of a packet that were kept; 0 for all.
    snap: u32,
}

/// What a file holds.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever reads must look at each")]
pub enum Record {
    /// A packet.
    Packet(Packet),
    /// A session handled a timeout (in captures of ours).
    Tick {
        /// The number of the session's interface.
        interface: usize,
        /// When, nanoseconds since 1970 in UTC.
        time_ns: u64,
    },
    /// The statistics of an interface, at the end of a capture.
    Statistics {
        /// The number of the interface.
        interface: usize,
        /// Packets that the capture missed there.
        missed: u64,
    },
}

/// A captured packet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Packet {
    /// The number of its interface.
    pub interface: usize,
    /// When it was captured, nanoseconds since 1970 in UTC.
    pub time_ns: u64,
    /// Its way, if the capture says.
    pub direction: Option<Direction>,
    /// Packets of this interface that the capture missed since the one before.
    pub missed: u64,
    /// Its bytes, with the headers of its link.
    pub bytes: Vec<u8>,
}

/// Whether a file that begins with these four bytes is a capture, damaged or not.
#[must_use]
pub fn is_capture(magic: [u8; 4]) -> bool {
    u32::from_be_bytes(magic) == pcapng::SECTION || pcap::order(magic).is_some()
}

/// How time stamps count, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Resolution {
    /// Units a second.
    units: u128,
    /// Seconds that are added.
    offset: i64,
}

impl Resolution {
    const MICROSECONDS: Self = Self {
        units: 1_000_000,
        offset: 0,
    };
    const NANOSECONDS: Self = Self {
        units: 1_000_000_000,
        offset: 0,
    };

    /// A time stamp in nanoseconds since 1970; within what 64 bits hold.
    fn nanoseconds(self, timestamp: u64) -> u64 {
        let since = u128::from(timestamp) * 1_000_000_000 / self.units;
        let since = i128::try_from(since).unwrap_or(i128::MAX);
        let time = since.saturating_add(i128::from(self.offset) * 1_000_000_000);
        u64::try_from(time.max(0)).unwrap_or(u64::MAX)
    }
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it is missing, or no capture.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(what)?;
        Self::new(BufReader::new(file)).with_context(what)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a capture, by which its format is known.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(source: R) -> Result<Self, ReadError> {
        let mut input = Input::new(source);
        let mut magic = [0; 4];
        if !input.fill(&mut magic, "its first four bytes")? {
            return Err(ReadError::NoCapture);
        }
        let mut interfaces = Vec::new();
        let format = match pcap::State::new(magic, &mut input, &mut interfaces)? {
            Some(pcap) => Format::Pcap(pcap),
            None if u32::from_be_bytes(magic) == pcapng::SECTION => {
                Format::Pcapng(pcapng::State::new(&mut input)?)
            }
            None => return Err(ReadError::NoCapture),
        };
        Ok(Self {
            input,
            format,
            interfaces,
            unsealers: Unsealers::default(),
            ended: false,
        })
    }

    /// The interface with this number, as a record names it.
    #[must_use]
    pub fn interface(&self, number: usize) -> Option<&Interface> {
        self.interfaces.get(number)
    }

    /// Every interface so far, in order of its number.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn read(&mut self) -> Result<Option<Record>, ReadError> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.read(&mut self.input, &self.interfaces),
            Format::Pcapng(pcapng) => pcapng.read(&mut self.input, &mut self.interfaces),
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut read = self.read().transpose();
        if let Some(Ok(Record::Packet(packet))) = &mut read
            && let Some(interface) = self.interfaces.get(packet.interface)
        {
            self.unsealers.open(interface, packet);
        }
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

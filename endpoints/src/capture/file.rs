//! The file of a capture, as it is written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::{DataLink, Endianness, PcapError};
use tensorwire_protocol::Time;
use tensorwire_protocol::wire::{ConnectionId, connection_of};

use super::tap::{Entry, Queue};
use super::{Direction, Note, Summary, TICK_BLOCK, ip};

/// Peers whose way is remembered; beyond, it is looked up again.
const MAX_ROUTES: usize = 1_024;
/// The longest option of pcapng.
const MAX_OPTION: usize = 65_535;
/// Time stamps count in 10^-9 s.
const NANOSECONDS: u8 = 9;

/// An interface: a tap, or a session on one.
type Key = (u32, Option<ConnectionId>);

/// What is known of an interface that has been written.
struct Port {
    number: u32,
    local: SocketAddr,
    origin_ns: u64,
    packets: u64,
    missed: u64,
    last_ns: u64,
}

/// A capture, as far as it is written.
pub(super) struct Written<W: Write> {
    writer: PcapNgWriter<W>,
    ports: Vec<Port>,
    /// Where the newest interface of each tap and session is among them.
    places: HashMap<Key, usize>,
    routes: HashMap<IpAddr, IpAddr>,
    frame: Vec<u8>,
}

impl<W: Write> Written<W> {
    pub(super) fn new(file: W) -> Result<Self> {
        let application = concat!("tensorwire ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(application.into())],
            ..SectionHeaderBlock::default()
        };
        Ok(Self {
            writer: PcapNgWriter::with_section_header(file, section).map_err(cause)?,
            ports: Vec::new(),
            places: HashMap::new(),
            routes: HashMap::new(),
            frame: Vec::new(),
        })
    }

    /// Writes what comes until the end of it.
    pub(super) fn write_all(
        mut self,
        inbox: &mpsc::Receiver<Entry>,
        queue: &Queue,
    ) -> Result<Summary> {
        loop {
            let entry = match inbox.try_recv() {
                Ok(entry) => entry,
                Err(_) => {
                    // Whoever looks at the file now, or ends this program by force, has it all.
                    self.flush()?;
                    inbox.recv().unwrap_or(Entry::End)
                }
            };
            match entry {
                Entry::Interface { tap, note } => self.interface(tap, &note)?,
                Entry::Packet {
                    tap,
                    session,
                    at,
                    direction,
                    peer,
                    ecn,
                    missed,
                    datagram,
                } => {
                    queue.written(datagram.len());
                    let named = session.or_else(|| connection_of(&datagram));
                    let Some(port) = find(&mut self.ports, &self.places, (tap, named)) else {
                        continue;
                    };
                    let local = local_address(&mut self.routes, port.local, peer);
                    let (source, destination) = match direction {
                        Direction::Received => (peer, local),
                        Direction::Sent => (local, peer),
                    };
                    port.missed += missed;
                    let made = ip::packet(&mut self.frame, source, destination, ecn, &datagram);
                    if made.is_err() {
                        // What no IP packet holds has not been on the network.
                        port.missed += 1;
                        continue;
                    }
                    port.packets += 1;
                    let timestamp = port.time(at);
                    let flags = match direction {
                        Direction::Received => 1,
                        Direction::Sent => 2,
                    };
                    let mut options = vec![EnhancedPacketOption::Flags(flags)];
                    if missed > 0 {
                        options.push(EnhancedPacketOption::DropCount(missed));
                    }
                    let block = EnhancedPacketBlock {
                        interface_id: port.number,
                        timestamp: Duration::from_nanos(timestamp),
                        original_len: u32::try_from(self.frame.len())?,
                        data: Cow::Borrowed(&self.frame),
                        options,
                    };
                    self.writer.write_pcapng_block(block).map_err(cause)?;
                }
                Entry::Tick { tap, session, at } => {
                    queue.written(0);
                    let key = (tap, Some(session));
                    if let Some(port) = find(&mut self.ports, &self.places, key) {
                        let mut body = port.number.to_le_bytes().to_vec();
                        body.extend(halves(port.time(at)).to_le_bytes());
                        let length = u32::try_from(body.len() + 12)?;
                        let block = UnknownBlock::new(TICK_BLOCK, length, &body);
                        self.writer.write_pcapng_block(block).map_err(cause)?;
                    }
                }
                Entry::Ended { tap, session } => {
                    self.places.remove(&(tap, Some(session)));
                }
                Entry::End => return self.end(queue.missed()),
            }
        }
    }

    fn interface(&mut self, tap: u32, note: &Note) -> Result<()> {
        let number = u32::try_from(self.ports.len())?;
        let session = note.session.as_ref();
        let name = match session {
            Some(session) => format!("{}-{:06x}", note.role.name(), session.local),
            None => note.role.name().to_owned(),
        };
        let mut options = vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let comment = serde_json::to_string(note)?;
        if comment.len() <= MAX_OPTION {
            options.insert(0, InterfaceDescriptionOption::Comment(comment.into()));
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options,
        };
        self.writer.write_pcapng_block(block).map_err(cause)?;
        let session = session.map(|session| ConnectionId::new(session.local));
        let port = Port {
            number,
            local: note.local,
            origin_ns: note.origin_ns,
            packets: 0,
            missed: 0,
            last_ns: note.origin_ns,
        };
        self.places.insert((tap, session), self.ports.len());
        self.ports.push(port);
        Ok(())
    }

    /// Writes how many datagrams each interface had, and missed.
    fn end(mut self, missed: u64) -> Result<Summary> {
        for port in &self.ports {
            let block = InterfaceStatisticsBlock {
                interface_id: port.number,
                timestamp: halves(port.last_ns),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(port.packets + port.missed),
                    InterfaceStatisticsOption::IsbIfDrop(port.missed),
                ],
            };
            self.writer.write_pcapng_block(block).map_err(cause)?;
        }
        self.flush()?;
        let packets = self.ports.iter().map(|port| port.packets).sum();
        Ok(Summary { packets, missed })
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.writer.get_mut().flush()?)
    }
}

impl Port {
    /// A time of the session's clock as a time stamp, nanoseconds since 1970.
    fn time(&mut self, at: Time) -> u64 {
        let time = self
            .origin_ns
            .saturating_add(at.as_micros().saturating_mul(1_000));
        self.last_ns = self.last_ns.max(time);
        time
    }
}

/// The interface of a session, or else of its socket.
fn find<'a>(
    ports: &'a mut [Port],
    places: &HashMap<Key, usize>,
    (tap, session): Key,
) -> Option<&'a mut Port> {
    let place = places
        .get(&(tap, session))
        .or_else(|| places.get(&(tap, None)))?;
    ports.get_mut(*place)
}

/// A time stamp with its halves exchanged: pcapng puts the high one first whatever the byte order.
const fn halves(timestamp: u64) -> u64 {
    timestamp.rotate_left(32)
}

/// The address from which `peer` is reached, where the socket is bound to all.
fn local_address(
    routes: &mut HashMap<IpAddr, IpAddr>,
    local: SocketAddr,
    peer: SocketAddr,
) -> SocketAddr {
    if !local.ip().to_canonical().is_unspecified() {
        return local;
    }
    let peer = peer.ip().to_canonical();
    if routes.len() >= MAX_ROUTES {
        routes.clear();
    }
    let ip = *routes.entry(peer).or_insert_with(|| route(peer));
    SocketAddr::new(ip, local.port())
}

/// The address from which the system would send to `peer`: nothing is sent.
fn route(peer: IpAddr) -> IpAddr {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let found = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((peer, 9))?;
        socket.local_addr()
    });
    found.map_or(any, |address| address.ip())
}

/// What went wrong, without the library's words where the system has its own.
fn cause(error: PcapError) -> anyhow::Error {
    match error {
        PcapError::IoError(error) => error.into(),
        error => error.into(),
    }
}

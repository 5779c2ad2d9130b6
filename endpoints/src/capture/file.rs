//! The thread that writes a capture.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
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
use super::{Direction, Note, Recording, Role, TICK_BLOCK, Tap, ip};
use crate::clock::Clock;

/// Peers whose way is remembered; beyond, it is looked up again.
const MAX_ROUTES: usize = 1_024;
/// The longest option of pcapng.
const MAX_OPTION: usize = 65_535;
/// Time stamps count in 10^-9 s.
const NANOSECONDS: u8 = 9;

/// A capture that is being written. It ends, with a valid file, when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    queue: Arc<Queue>,
    origin_ns: u64,
    path: PathBuf,
    secrets: bool,
    thread: Option<JoinHandle<Result<Summary>>>,
}

/// What a capture came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Datagrams written.
    pub packets: u64,
    /// Datagrams and ticks missed, because the file was not written fast enough.
    pub missed: u64,
}

impl Recorder {
    /// Creates the file, replacing one that is there already, for sessions on this clock.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub fn create(path: &Path, clock: Clock) -> Result<Self> {
        Self::begin(path, clock, false)
    }

    /// The same, with the secrets of the sessions, so that [`Reader`](super::Reader) opens what they seal. Only
    /// the user may read the file.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with_secrets(path: &Path, clock: Clock) -> Result<Self> {
        Self::begin(path, clock, true)
    }

    fn begin(path: &Path, clock: Clock, secrets: bool) -> Result<Self> {
        let what = || format!("cannot write the capture {}", path.display());
        let file = create(path, secrets).with_context(what)?;
        let (queue, inbox) = Queue::new();
        let mut written = Written::new(BufWriter::new(file)).with_context(what)?;
        written.flush().with_context(what)?;
        let (shared, name) = (Arc::clone(&queue), path.to_owned());
        let thread = thread::Builder::new().name("capture".to_owned());
        let thread = thread.spawn(move || {
            let ended = written.write_all(&inbox, &shared);
            ended.with_context(|| format!("the capture {} ends early", name.display()))
        });
        Ok(Self {
            queue,
            origin_ns: clock.origin_ns(),
            path: path.to_owned(),
            secrets,
            thread: Some(thread.with_context(what)?),
        })
    }

    /// The same, if a file is asked for.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_if(path: Option<&Path>, clock: Clock) -> Result<Option<Self>> {
        path.map(|path| Self::create(path, clock)).transpose()
    }

    /// A tap for the socket bound to `local`.
    #[must_use]
    pub fn tap(&self, role: Role, local: SocketAddr) -> Tap {
        let (origin, secrets) = (self.origin_ns, self.secrets);
        self.queue.tap(role, local, origin, secrets)
    }

    /// What is written.
    #[must_use]
    pub const fn recording(&self) -> Recording {
        if self.secrets {
            Recording::WithSecrets
        } else {
            Recording::Datagrams
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what waits and ends the file. What taps still hand over is not written any more.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub fn finish(mut self) -> Result<Summary> {
        self.join().unwrap_or_else(|| Ok(Summary::default()))
    }

    fn join(&mut self) -> Option<Result<Summary>> {
        let thread = self.thread.take()?;
        self.queue.end();
        let ended = thread.join();
        Some(ended.unwrap_or_else(|_| Err(anyhow!("the thread that writes the capture failed"))))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know how it went calls `finish`.
        let _ = self.join();
    }
}

/// Creates the file, or empties it; for the user alone, where it is to have secrets.
fn create(path: &Path, secrets: bool) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if secrets {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        // It may have been there, for others to read.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        return Ok(file);
    }
    options.open(path)
}

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
struct Written<W: Write> {
    writer: PcapNgWriter<W>,
    ports: Vec<Port>,
    /// Where the newest interface of each tap and session is among them.
    places: HashMap<Key, usize>,
    routes: HashMap<IpAddr, IpAddr>,
    frame: Vec<u8>,
}

impl<W: Write> Written<W> {
    fn new(file: W) -> Result<Self> {
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
    fn write_all(mut self, inbox: &mpsc::Receiver<Entry>, queue: &Queue) -> Result<Summary> {
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

    fn flush(&mut self) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};
    use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
    use tensorwire_protocol::wire::{Ecn, Message, Ping};

    use super::*;
    use crate::capture::{Packet, Reader, Record, udp};
    use crate::digest::Digest;
    use crate::stream::StreamDescription;

    fn stream() -> StreamDescription {
        let shape = Shape::new(4, 8, 8).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(-1.0, 1.0).unwrap(), 256).unwrap();
        let map = Map::Mosaic {
            columns: 2,
            blocks: 1,
        };
        let format = Format::new(shape, quantiser, map, Coder::Jpeg { quality: 60 }).unwrap();
        let bundle = Some(Digest::of("bundle"));
        let mut stream = StreamDescription::new(&format, "add_3", Digest::of("m"), bundle).unwrap();
        stream.priority = Some(vec![0, 1, 0, 0]);
        stream
    }

    fn ping(connection: ConnectionId, number: u32) -> Vec<u8> {
        let mut datagram = vec![];
        let message = Message::Ping(Ping {
            report_timestamp: 7,
            padding: 3,
        });
        message.encode(&mut datagram, connection, number);
        datagram
    }

    /// A capture at a cloud: a stranger's datagram, a session, two datagrams and a tick.
    fn capture(path: &Path, local: SocketAddr) -> (Summary, u64) {
        let recorder = Recorder::create(path, Clock::start()).unwrap();
        let tap = recorder.tap(Role::Cloud, local);
        let peer = ([127, 0, 0, 1], 40_000).into();
        let [own, other] = [5, 9].map(ConnectionId::new);
        let at = Time::from_micros;
        tap.received(at(1_000), peer, Ecn::NotEct, b"strange");
        tap.session(at(2_000), own, other, &stream(), None);
        tap.received(at(2_500), peer, Ecn::Ce, &ping(own, 0));
        tap.ticked(at(2_600), own);
        tap.sent(at(2_601), Some(own), peer, Ecn::Ect0, &ping(other, 4));
        let origin = recorder.origin_ns;
        let summary = recorder.finish().unwrap();
        // Too late, and without harm.
        tap.received(at(3_000), peer, Ecn::NotEct, b"late");
        (summary, origin)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud.pcapng");
        let local: SocketAddr = ([127, 0, 0, 1], 4_434).into();
        let (summary, origin) = capture(&path, local);
        assert_eq!((summary.packets, summary.missed), (3, 0));

        let mut reader = Reader::open(&path).unwrap();
        let records: Vec<Record> = reader.by_ref().map(Result::unwrap).collect();
        let [
            Record::Packet(strange),
            Record::Packet(came),
            tick,
            Record::Packet(went),
            ..,
        ] = records.as_slice()
        else {
            panic!("{records:?}")
        };
        let stamp = |micros: u64| origin + 1_000 * micros;
        let seen = |packet: &Packet| (packet.interface, packet.time_ns, packet.direction);
        assert_eq!(seen(strange), (0, stamp(1_000), Some(Direction::Received)));
        assert_eq!(seen(came), (1, stamp(2_500), Some(Direction::Received)));
        assert_eq!(seen(went), (1, stamp(2_601), Some(Direction::Sent)));
        let (interface, time_ns) = (1, stamp(2_600));
        assert_eq!(*tick, Record::Tick { interface, time_ns });
        assert_eq!(
            records[4..],
            [0, 1].map(|interface| Record::Statistics {
                interface,
                missed: 0
            })
        );

        let [socket, session] = [0, 1].map(|i| reader.interface(i).unwrap().clone());
        assert_eq!(socket.name.as_deref(), Some("cloud"));
        assert_eq!(session.name.as_deref(), Some("cloud-000005"));
        let note = socket.note.unwrap();
        assert_eq!(
            (note.role, note.origin_ns, note.local),
            (Role::Cloud, origin, local)
        );
        assert_eq!(note.session, None);
        let note = session.note.unwrap().session.unwrap();
        assert_eq!((note.local, note.remote, note.opened_us), (5, 9, 2_000));
        assert_eq!(note.stream, stream());

        let datagram = udp(session.link, &came.bytes).unwrap();
        assert_eq!(
            (datagram.source.port(), datagram.destination),
            (40_000, local)
        );
        assert_eq!(datagram.ecn, Ecn::Ce);
        assert_eq!(datagram.payload, ping(ConnectionId::new(5), 0));
        let datagram = udp(session.link, &went.bytes).unwrap();
        assert_eq!(
            (datagram.source, datagram.destination.port()),
            (local, 40_000)
        );
        assert_eq!(datagram.ecn, Ecn::Ect0);
    }

    #[test]
    fn another_library_reads_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud.pcapng");
        // Bound to every address: the one that reaches the peer is shown.
        let (_, origin) = capture(&path, ([0, 0, 0, 0], 4_434).into());
        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let (mut packets, mut statistics) = (vec![], 0);
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::EnhancedPacket(packet) => packets.push(packet.into_owned()),
                Block::InterfaceStatistics(of) => {
                    let last = [1_000_000, 2_601_000][statistics];
                    assert_eq!(of.timestamp.rotate_left(32), origin + last);
                    statistics += 1;
                }
                _ => {}
            }
        }
        assert_eq!((packets.len(), statistics), (3, 2));
        let timestamp = Duration::from_nanos(origin + 2_601_000);
        assert_eq!(packets[2].timestamp, timestamp);
        assert_eq!(packets[2].options, [EnhancedPacketOption::Flags(2)]);
        assert_eq!(packets[2].data[12..20], [127, 0, 0, 1, 127, 0, 0, 1]);
        let link = reader.interfaces().iter().map(|i| i.linktype);
        assert!(link.eq([DataLink::RAW; 2]));
    }

    #[test]
    fn a_session_is_an_interface_from_its_beginning_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.pcapng");
        let recorder = Recorder::create(&path, Clock::start()).unwrap();
        let peer = ([0xFD00, 0, 0, 0, 0, 0, 0, 1], 9).into();
        let tap = recorder.tap(Role::Edge, peer);
        let [own, other] = [5, 9].map(ConnectionId::new);
        let receive = || tap.received(Time::ZERO, peer, Ecn::NotEct, &ping(own, 0));
        receive();
        tap.session(Time::ZERO, own, other, &stream(), None);
        receive();
        tap.ended(own);
        receive();
        // The same ID, and another session.
        tap.session(Time::ZERO, own, other, &stream(), None);
        receive();
        recorder.finish().unwrap();
        let records = Reader::open(&path).unwrap().map(Result::unwrap);
        let interfaces = records.filter_map(|record| match record {
            Record::Packet(packet) => Some(packet.interface),
            _ => None,
        });
        assert_eq!(interfaces.collect::<Vec<_>>(), [0, 1, 0, 2]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_at_once() {
        let path = Path::new("/nowhere/x.pcapng");
        let error = Recorder::create(path, Clock::start()).unwrap_err();
        assert!(
            format!("{error:#}").contains("/nowhere/x.pcapng"),
            "{error:#}"
        );
        assert!(Recorder::create_if(None, Clock::start()).unwrap().is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_ends_the_capture_and_not_the_stream() {
        let path = Path::new("/dev/full");
        let Err(error) = Recorder::create(path, Clock::start()) else {
            panic!("nothing fits there")
        };
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
    }
}

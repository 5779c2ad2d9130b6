//! The thread that writes a capture, and its end in the program.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};

use super::file::Written;
use super::tap::Queue;
use super::{Recording, Role, Tap};
use crate::clock::Clock;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::DataLink;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use tensorwire_codec::{ClipRange, Coder, Format, Map, Quantiser, Shape};
    use tensorwire_protocol::Time;
    use tensorwire_protocol::wire::{ConnectionId, Ecn, Message, Ping};

    use super::*;
    use crate::capture::{Direction, Packet, Reader, Record, udp};
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

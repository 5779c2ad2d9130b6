//! The sessions in a capture, and which datagram is of which.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;

use tensorwire_protocol::wire::{self, ConnectionId, MessageType};

use super::{Direction, Interface, Packet, ReadError, Reader, Record, Role, SessionNote, Udp, udp};

/// Connection IDs that are told apart: what a file has beyond is nobody's.
const MAX_CONNECTIONS: usize = 1 << 16;

/// The way of a datagram between the two endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Heading {
    /// Tensors and their parity.
    ToCloud,
    /// Results and reports.
    ToEdge,
}

/// On which side of the path's losses a datagram was seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a datagram goes in and comes out")]
pub enum Point {
    /// Before them.
    Sent,
    /// Behind them; also where the capture does not say.
    Arrived,
}

/// A session in a capture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flow {
    /// The connection ID of datagrams to the cloud.
    pub to_cloud: ConnectionId,
    /// That of datagrams to the edge, if there are any.
    pub to_edge: Option<ConnectionId>,
    /// Where it was captured; none in foreign captures.
    pub role: Option<Role>,
    /// What the endpoint says that captured it.
    pub session: Option<SessionNote>,
    /// The session's own interface.
    pub interface: Option<usize>,
    /// When its clock showed zero, nanoseconds since 1970.
    pub origin_ns: Option<u64>,
    /// Its datagrams.
    pub datagrams: u64,
    /// When the first of them was captured, nanoseconds since 1970.
    pub first_ns: u64,
    /// Whether the capture says when timeouts were handled.
    pub ticks: bool,
    /// Packets and ticks that the capture missed.
    pub missed: u64,
}

/// What a first look at a capture finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Survey {
    /// The sessions that have datagrams with tensors, or a note and any, in the order of their beginnings.
    pub flows: Vec<Flow>,
    /// Why the file could not be read to its end.
    pub failed: Option<ReadError>,
}

/// What was seen of a connection ID that no note explains.
struct Seen {
    role: Option<Role>,
    origin_ns: Option<u64>,
    ways: Vec<(SocketAddr, SocketAddr)>,
    datagrams: u64,
    first_ns: u64,
    tensors: bool,
}

/// Ways of one connection ID that are remembered: both sides of a link, and some changes of address.
const MAX_WAYS: usize = 8;

impl Flow {
    /// Which way a datagram of this session goes, and where it was seen; none if it is of another.
    /// `connection` is the ID that it carries.
    #[must_use]
    pub fn sight(
        &self,
        interface: &Interface,
        packet: &Packet,
        connection: Option<ConnectionId>,
    ) -> Option<(Heading, Point)> {
        let note = interface.note.as_ref();
        let role = note.map(|note| note.role);
        let heading = if note.is_some_and(|note| note.session.is_some()) {
            if self.interface != Some(packet.interface) {
                return None;
            }
            match (role?, packet.direction?) {
                (Role::Edge | Role::LinkEdge, Direction::Sent)
                | (Role::Cloud | Role::LinkCloud, Direction::Received) => Heading::ToCloud,
                _ => Heading::ToEdge,
            }
        } else if self.interface.is_some() {
            return None;
        } else if connection == Some(self.to_cloud) {
            Heading::ToCloud
        } else if connection.is_some() && connection == self.to_edge {
            Heading::ToEdge
        } else {
            return None;
        };
        let point = match (role, heading) {
            (Some(Role::Edge | Role::LinkEdge), Heading::ToCloud)
            | (Some(Role::Cloud | Role::LinkCloud), Heading::ToEdge) => Point::Sent,
            _ => Point::Arrived,
        };
        Some((heading, point))
    }

    /// Whether the session's datagrams carry this connection ID, either way.
    #[must_use]
    pub fn has(&self, connection: ConnectionId) -> bool {
        self.to_cloud == connection || self.to_edge == Some(connection)
    }
}

/// Reads a capture to its end and says which sessions it has.
pub fn survey<R: Read>(reader: &mut Reader<R>) -> Survey {
    let mut flows: BTreeMap<usize, Flow> = BTreeMap::new();
    let mut seen: BTreeMap<ConnectionId, Seen> = BTreeMap::new();
    let mut failed = None;
    while let Some(record) = reader.next() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let (number, packet) = match record {
            Record::Packet(packet) => (packet.interface, packet),
            Record::Tick { interface, .. } => {
                if let Some(flow) = flows.get_mut(&interface) {
                    flow.ticks = true;
                }
                continue;
            }
            Record::Statistics { interface, missed } => {
                if let Some(flow) = flows.get_mut(&interface) {
                    flow.missed = flow.missed.max(missed);
                }
                continue;
            }
        };
        let Some(interface) = reader.interface(number) else {
            continue;
        };
        if let Some(flow) = noted(interface, number) {
            let flow = flows.entry(number).or_insert(flow);
            flow.first_ns = flow.first_ns.min(packet.time_ns);
            flow.datagrams += 1;
            flow.missed = flow.missed.saturating_add(packet.missed);
        } else {
            look(&mut seen, interface, &packet);
        }
    }
    let mut flows: Vec<Flow> = flows.into_values().collect();
    flows.extend(unnoted(&seen));
    flows.sort_by_key(|flow| flow.first_ns);
    Survey { flows, failed }
}

/// The session that an interface is, by its note.
fn noted(interface: &Interface, number: usize) -> Option<Flow> {
    let note = interface.note.as_ref()?;
    let session = note.session.clone()?;
    let [to_cloud, to_edge] = session.connections(note.role);
    Some(Flow {
        to_cloud,
        to_edge: Some(to_edge),
        role: Some(note.role),
        session: Some(session),
        interface: Some(number),
        origin_ns: Some(note.origin_ns),
        datagrams: 0,
        first_ns: u64::MAX,
        ticks: false,
        missed: 0,
    })
}

fn look(seen: &mut BTreeMap<ConnectionId, Seen>, interface: &Interface, packet: &Packet) {
    let Ok(Udp {
        source,
        destination,
        payload,
        ..
    }) = udp(interface.link, &packet.bytes)
    else {
        return;
    };
    let Ok((header, _)) = wire::open(payload, None) else {
        return;
    };
    let known = seen.contains_key(&header.connection);
    if !known && seen.len() >= MAX_CONNECTIONS {
        return;
    }
    let note = interface.note.as_ref();
    let seen = seen.entry(header.connection).or_insert_with(|| Seen {
        role: note.map(|note| note.role),
        origin_ns: note.map(|note| note.origin_ns),
        ways: Vec::new(),
        datagrams: 0,
        first_ns: packet.time_ns,
        tensors: false,
    });
    seen.datagrams += 1;
    seen.tensors |= [MessageType::Data, MessageType::Repair]
        .map(|t| t as u8)
        .contains(&header.kind);
    let way = (source, destination);
    if !seen.ways.contains(&way) && seen.ways.len() < MAX_WAYS {
        seen.ways.push(way);
    }
}

/// The sessions of which only datagrams tell: whoever gets tensors is a cloud, and what goes back
/// between the same addresses goes to its edge.
fn unnoted(seen: &BTreeMap<ConnectionId, Seen>) -> impl Iterator<Item = Flow> + '_ {
    let clouds = seen.iter().filter(|(_, seen)| seen.tensors);
    clouds.map(|(&to_cloud, cloud)| {
        let back = seen
            .iter()
            .filter(|(_, other)| !other.tensors)
            .find(|(_, edge)| {
                let mut ways = edge.ways.iter();
                ways.any(|&(from, to)| cloud.ways.contains(&(to, from)))
            });
        let role = match cloud.role {
            // Both sides of a link are in one capture.
            Some(Role::LinkEdge) => Some(Role::LinkCloud),
            role => role,
        };
        Flow {
            to_cloud,
            to_edge: back.map(|(&connection, _)| connection),
            role,
            session: None,
            interface: None,
            origin_ns: cloud.origin_ns,
            datagrams: cloud.datagrams + back.map_or(0, |(_, edge)| edge.datagrams),
            first_ns: back.map_or(cloud.first_ns, |(_, edge)| {
                edge.first_ns.min(cloud.first_ns)
            }),
            ticks: false,
            missed: 0,
        }
    })
}

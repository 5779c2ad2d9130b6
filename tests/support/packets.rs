//! What a datagram is, seen from outside.

use tensorwire_protocol::wire::{Message, MessageType, open};
use tensorwire_protocol::{Session, Time};

/// The fields of a datagram that tell what it is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// A source packet.
    Data {
        /// Low bits of its tensor's number.
        tensor: u16,
        /// Its place in the tensor.
        index: u16,
        /// Source packets of the tensor.
        count: u32,
    },
    /// A REPAIR packet.
    Repair {
        /// Low bits of the number of the newest tensor of the block.
        tensor: u16,
        /// Tensors of the block.
        span: u8,
        /// Which of the interleaved blocks.
        block: u8,
        /// Source packets of the block.
        k: u8,
        /// Which repair packet.
        index: u8,
        /// How many are sent ahead.
        count: u8,
    },
    /// Anything else.
    Other(MessageType),
}

impl Packet {
    /// The tensor that a source or REPAIR packet is of.
    pub const fn tensor(&self) -> Option<u16> {
        match self {
            Self::Data { tensor, .. } | Self::Repair { tensor, .. } => Some(*tensor),
            Self::Other(_) => None,
        }
    }

    /// Whether it is a source packet.
    pub const fn is_data(&self) -> bool {
        matches!(self, Self::Data { .. })
    }

    /// Whether it is a REPAIR packet.
    pub const fn is_repair(&self) -> bool {
        matches!(self, Self::Repair { .. })
    }

    /// Whether it is a report.
    pub const fn is_feedback(&self) -> bool {
        matches!(self, Self::Other(MessageType::Feedback))
    }
}

/// What a datagram that a session has made is.
pub fn packet(datagram: &[u8]) -> Packet {
    let (header, body) = open(datagram, None).unwrap();
    match Message::decode(&header, body).unwrap() {
        Message::Data(data) => Packet::Data {
            tensor: data.tensor_id(),
            index: data.packet_index(),
            count: data.packet_count(),
        },
        Message::Repair(repair) => Packet::Repair {
            tensor: repair.tensor_id,
            span: repair.span,
            block: repair.block_index,
            k: repair.k,
            index: repair.repair_index,
            count: repair.repair_count,
        },
        other => Packet::Other(other.kind()),
    }
}

/// The DATA and REPAIR packets that a session has to send now. Everything else is thrown away.
pub fn everything(session: &mut Session, now: Time) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = session.poll_transmit(now, &mut buffer) {
        assert!(buffer.len() <= usize::from(session.config().mss));
        if matches!(transmit.kind, MessageType::Data | MessageType::Repair) {
            packets.push(buffer.clone());
        }
    }
    packets
}

/// The same message under another packet number, and changed.
pub fn numbered(
    datagram: &[u8],
    number: u32,
    change: impl for<'a> Fn(Message<'a>) -> Message<'a>,
) -> Vec<u8> {
    let (header, body) = open(datagram, None).unwrap();
    let message = change(Message::decode(&header, body).unwrap());
    let mut out = Vec::new();
    message.encode(&mut out, header.connection, number);
    out
}

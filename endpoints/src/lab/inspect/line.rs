//! One packet as a line.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use tensorwire_protocol::wire::{Message, connection_of};

use super::decode;
use super::filter::Kind;
use crate::capture::{Direction, Interface, Packet, Udp};

/// What is told of a packet.
#[derive(Serialize)]
pub(super) struct Line {
    /// When it was captured, nanoseconds since 1970.
    time_ns: u64,
    /// Since the first packet, nanoseconds.
    #[serde(skip)]
    since_ns: u64,
    /// in or out; absent if the capture does not say.
    direction: Option<&'static str>,
    source: SocketAddr,
    destination: SocketAddr,
    /// The session's ID at the endpoint that captured it; else the ID in the datagram. Six hexadecimal
    /// digits.
    session: Option<String>,
    #[serde(skip)]
    pub(super) connection: Option<u32>,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// The packet number, as far as it is on the wire.
    number: Option<u32>,
    /// Codepoint of ECN, 0 to 3.
    ecn: u8,
    /// Bytes of UDP payload.
    bytes: usize,
    /// The message in words; absent if it is refused.
    message: Option<String>,
    /// Why it is refused.
    refused: Option<String>,
    /// Low 16 bits of the tensors that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tensors: Vec<u16>,
}

impl Line {
    pub(super) fn new(
        interface: &Interface,
        packet: &Packet,
        since_ns: u64,
        udp: &Udp<'_>,
    ) -> Self {
        let connection = connection_of(udp.payload).map(|id| id.value());
        let session = interface
            .note
            .as_ref()
            .and_then(|note| note.session.as_ref());
        let shown = session.map(|session| session.local).or(connection);
        let mut line = Self {
            time_ns: packet.time_ns,
            since_ns,
            direction: packet.direction.map(|direction| match direction {
                Direction::Received => "in",
                Direction::Sent => "out",
            }),
            source: udp.source,
            destination: udp.destination,
            session: shown.map(|id| format!("{id:06x}")),
            connection,
            kind: Kind::Refused,
            number: None,
            ecn: udp.ecn as u8,
            bytes: udp.payload.len(),
            message: None,
            refused: None,
            tensors: vec![],
        };
        match decode(udp.payload) {
            Ok((header, message)) => {
                line.number = Some(header.packet_number);
                line.kind = Kind::of(message.kind());
                line.tensors = tensors(&message);
                line.message = Some(message.to_string());
            }
            Err((header, refusal)) => {
                line.number = header.map(|header| header.packet_number);
                line.refused = Some(refusal.to_string());
            }
        }
        line
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (
            self.since_ns / 1_000_000_000,
            self.since_ns / 1_000 % 1_000_000,
        );
        write!(
            f,
            "{seconds:>5}.{micros:06} {:<3} ",
            self.direction.unwrap_or("-")
        )?;
        write!(f, "{} ", self.session.as_deref().unwrap_or("------"))?;
        match self.number {
            Some(number) => write!(f, "{number:>6} ")?,
            None => write!(f, "{:>6} ", "-")?,
        }
        if self.ecn == 3 {
            f.write_str("CE ")?;
        }
        match (&self.message, &self.refused) {
            (Some(message), _) => f.write_str(message),
            (None, Some(refusal)) => write!(f, "refused: {refusal} ({} bytes)", self.bytes),
            (None, None) => Ok(()),
        }
    }
}

/// The tensors that a message is about.
fn tensors(message: &Message<'_>) -> Vec<u16> {
    match message {
        Message::Data(data) => vec![data.tensor_id()],
        // The block ends with this tensor.
        Message::Repair(repair) => {
            let span = u16::from(repair.span);
            (0..span)
                .map(|before| repair.tensor_id.wrapping_sub(before))
                .collect()
        }
        Message::Feedback(feedback) => feedback.releases.iter().map(|r| r.tensor_id).collect(),
        Message::Result(results) => results.iter().map(|r| r.tensor_id).collect(),
        _ => vec![],
    }
}

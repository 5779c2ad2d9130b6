//! The control protocol: CBOR messages on one QUIC stream (spec/control.md).

use minicbor::{Decode, Encode};
use quinn::{RecvStream, SendStream};

use crate::carrier::Carrier;
use crate::stream::StreamDescription;

/// The version of the control protocol.
pub const VERSION: u32 = 1;
/// The ALPN token of the control connection.
pub const ALPN: &[u8] = b"tensorwire/1";
/// The longest message, bytes of CBOR.
pub const MAX_MESSAGE: usize = 16_384;
/// The longest reason in words, bytes of UTF-8.
const MAX_REASON: usize = 512;

/// A control message.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub enum Message {
    /// Edge to cloud: asks for a session.
    #[n(0)]
    Open(#[n(0)] Open),
    /// Cloud to edge: the session exists.
    #[n(1)]
    Accept(#[n(0)] Accept),
    /// Cloud to edge: there will be no session.
    #[n(2)]
    Refuse(#[n(0)] Refuse),
    /// Either way: the session ends.
    #[n(3)]
    Close(#[n(0)] Close),
}

/// Asks for a session.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Open {
    /// Version of the control protocol.
    #[n(0)]
    pub version: u32,
    /// What will be streamed, and how.
    #[n(1)]
    pub stream: StreamDescription,
    /// Connection ID that datagrams to the edge must carry, below 2^24; 0 with carriers that have none.
    #[n(2)]
    pub connection: u32,
    /// The number of the carrier; none is UDP.
    #[n(3)]
    pub carrier: Option<u32>,
}

/// Grants a session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Accept {
    /// Connection ID that datagrams to the cloud must carry, below 2^24; the name of the session here with
    /// carriers that have no datagrams.
    #[n(0)]
    pub connection: u32,
    /// Port of the data path, at the address of the control connection: the TCP port where TCP carries
    /// it, else the UDP port.
    #[n(1)]
    pub data_port: u16,
}

/// Refuses a session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Refuse {
    /// Why, for programs.
    #[n(0)]
    pub code: u32,
    /// Why, for people; at most 512 bytes are sent.
    #[n(1)]
    pub reason: String,
}

/// Ends a session.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Close {
    /// 0: done, 1: an error.
    #[n(0)]
    pub code: u32,
    /// Why, for people.
    #[n(1)]
    pub reason: String,
}

/// Why a session was refused (spec/control.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefuseCode {
    /// The cloud speaks another version.
    Version = 1,
    /// The cloud does not have that model, or the model has no such split.
    Model = 2,
    /// The cloud's method of concealment needs the bundle that the edge uses, and has another or none, or
    /// one without what the method needs.
    Bundle = 3,
    /// The description is out of range or contradicts the model.
    Description = 4,
    /// The cloud holds as many sessions as it can.
    Busy = 5,
    /// The cloud failed.
    Internal = 6,
    /// The cloud does not offer that carrier.
    Carrier = 7,
    /// The cloud wants to know who connects, and the edge has not shown it.
    Unauthenticated = 8,
}

impl ControlError {
    /// The connection ended for this reason, in words that may be the peer's.
    pub fn ended(reason: &dyn std::fmt::Display) -> Self {
        Self::Ended(shown(&reason.to_string()))
    }
}

impl Refuse {
    /// The reason, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.reason)
    }
}

impl Close {
    /// The reason, fit to be shown.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.reason)
    }
}

impl Open {
    /// Asks for a session of `stream`.
    #[must_use]
    pub const fn new(stream: StreamDescription, connection: u32) -> Self {
        Self {
            version: VERSION,
            stream,
            connection,
            carrier: None,
        }
    }

    /// Asks for it to be carried so.
    #[must_use]
    pub const fn over(mut self, carrier: Carrier) -> Self {
        self.carrier = Some(carrier.code());
        self
    }
}

impl Accept {
    /// Grants a session.
    #[must_use]
    pub const fn new(connection: u32, data_port: u16) -> Self {
        Self {
            connection,
            data_port,
        }
    }
}

impl Refuse {
    /// Refuses a session. A reason that is too long is cut.
    #[must_use]
    pub fn new(code: RefuseCode, reason: impl Into<String>) -> Self {
        Self {
            code: code as u32,
            reason: cut(reason.into()),
        }
    }
}

impl Close {
    /// Ends a session that has done its work.
    #[must_use]
    pub fn done() -> Self {
        Self {
            code: 0,
            reason: String::new(),
        }
    }

    /// Ends a session because of an error. A reason that is too long is cut.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self {
            code: 1,
            reason: cut(reason.into()),
        }
    }
}

fn cut(mut reason: String) -> String {
    let end = (0..=MAX_REASON.min(reason.len()))
        .rev()
        .find(|end| reason.is_char_boundary(*end));
    reason.truncate(end.unwrap_or(0));
    reason
}

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The stream or connection ended first: the peer's doing, or the network's.
    #[error("the control connection ended: {0}")]
    Ended(String),
    /// Our own message does not encode: a fault of this program.
    #[error("a control message does not encode: {0}")]
    Unencodable(String),
    /// The peer's message is longer than any.
    #[error("a control message of {0} bytes; at most {MAX_MESSAGE} are allowed")]
    TooLong(usize),
    /// The peer's bytes are no message.
    #[error("a control message does not decode: {0}")]
    Malformed(minicbor::decode::Error),
    /// The peer speaks another version.
    #[error("the peer speaks version {0} of the control protocol, not {VERSION}")]
    Version(u32),
    /// The peer sent a message that is not expected now.
    #[error("expected {expected}, but the peer sent another message")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
    },
}

/// Sends one message: its length in 16 bits, then its CBOR.
///
/// # Errors
/// If the connection ended.
pub async fn send(stream: &mut SendStream, message: &Message) -> Result<(), ControlError> {
    let mut bytes = vec![0; 2];
    minicbor::encode(message, &mut bytes)
        .map_err(|error| ControlError::Unencodable(error.to_string()))?;
    let len = bytes.len() - 2;
    if len > MAX_MESSAGE {
        return Err(ControlError::TooLong(len));
    }
    let prefix = u16::try_from(len).map_err(|_| ControlError::TooLong(len))?;
    if let Some(field) = bytes.first_chunk_mut() {
        *field = prefix.to_be_bytes();
    }
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| ControlError::ended(&error))
}

/// Receives one message.
///
/// # Errors
/// If the connection ended, or the peer sent something else.
pub async fn receive(stream: &mut RecvStream) -> Result<Message, ControlError> {
    let ended = |error: quinn::ReadExactError| ControlError::ended(&error);
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix).await.map_err(ended)?;
    let len = usize::from(u16::from_be_bytes(prefix));
    if len > MAX_MESSAGE {
        return Err(ControlError::TooLong(len));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.map_err(ended)?;
    decode(&bytes)
}

/// Decodes the CBOR of one message; nothing may be left over.
fn decode(bytes: &[u8]) -> Result<Message, ControlError> {
    // A later version may say what this one cannot decode, and shall hear why it gets no session.
    if let Some(version) = open_version(bytes).filter(|version| *version != VERSION) {
        return Err(ControlError::Version(version));
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let message = decoder.decode().map_err(ControlError::Malformed)?;
    if decoder.position() != bytes.len() {
        let error = minicbor::decode::Error::message("bytes are left over");
        return Err(ControlError::Malformed(error));
    }
    Ok(message)
}

/// The version of an Open message: its key 0, which every version writes first.
fn open_version(bytes: &[u8]) -> Option<u32> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let is_open = decoder.array().ok()? == Some(2) && decoder.u32().ok()? == 0;
    let has_map = decoder.array().ok()?.is_some() && decoder.map().ok()?.is_some();
    let first = is_open && has_map && decoder.u32().ok()? == 0;
    if first { decoder.u32().ok() } else { None }
}

/// What a peer says, fit to be shown: no control characters, and not too long.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use proptest::prelude::*;
    use tensorwire_codec::{ClipRange, Coder, Format, Ladder, Map, Quantiser, Shape};

    fn open() -> Open {
        let shape = Shape::new(48, 14, 14).unwrap();
        let quantiser = Quantiser::new(ClipRange::new(-4.0, 4.0).unwrap(), 256).unwrap();
        let format =
            Format::new(shape, quantiser, Map::ChannelRows { rows: 7 }, Coder::Raw).unwrap();
        let (model, bundle) = (
            Digest::from_bytes([1; 32]),
            Some(Digest::from_bytes([2; 32])),
        );
        Open::new(
            StreamDescription::new(&format, "add_3", model, bundle).unwrap(),
            0x0000_ABCD,
        )
    }

    fn samples() -> Vec<Message> {
        let mut jpeg = open();
        jpeg.stream.bundle = None;
        jpeg.stream.coder = crate::stream::CoderDescription::Jpeg { quality: 60 };
        jpeg.stream.map = crate::stream::MapDescription::Mosaic {
            columns: 7,
            blocks: 14,
        };
        let mut ladder = open();
        let range = ClipRange::new(-4.0, 4.0).unwrap();
        let best = ladder.stream.format().unwrap();
        let further = [64, 4].map(|levels| {
            let coarser = Quantiser::new(range, levels).unwrap();
            let format = Format::new(best.shape(), coarser, best.map(), Coder::Raw);
            format.unwrap().step()
        });
        let steps = Ladder::new(best, &further).unwrap();
        let digest = Digest::from_bytes([1; 32]);
        ladder.stream = StreamDescription::with_ladder(&steps, "add_3", digest, None).unwrap();
        vec![
            Message::Open(open()),
            Message::Open(open().over(Carrier::Tcp)),
            Message::Open(jpeg),
            Message::Open(ladder),
            Message::Accept(Accept::new(0x00FF_FFFF, 4_434)),
            Message::Refuse(Refuse::new(RefuseCode::Model, "no such model")),
            Message::Close(Close::done()),
            Message::Close(Close::error("it broke")),
        ]
    }

    #[test]
    fn every_message_survives_the_way() {
        for message in samples() {
            assert_eq!(
                decode(&minicbor::to_vec(&message).unwrap()).unwrap(),
                message
            );
        }
    }

    #[test]
    fn the_encoding_is_that_of_the_schema() {
        let accept = Message::Accept(Accept::new(5, 4_434));
        // [1, [{0: 5, 1: 4434}]]
        let expected = [0x82, 0x01, 0x81, 0xA2, 0x00, 0x05, 0x01, 0x19, 0x11, 0x52];
        assert_eq!(minicbor::to_vec(&accept).unwrap(), expected);
        let raw = crate::stream::CoderDescription::Raw;
        assert_eq!(minicbor::to_vec(raw).unwrap(), [0x82, 0x00, 0x80]);
        let rows = crate::stream::MapDescription::ChannelRows { rows: 7 };
        assert_eq!(minicbor::to_vec(rows).unwrap(), [0x82, 0x00, 0x81, 0x07]);
    }

    #[test]
    fn unknown_keys_are_ignored_and_missing_ones_refused() {
        // [1, [{0: 5, 1: 4434, 9: "new"}]]
        let more = [
            0x82, 0x01, 0x81, 0xA3, 0x00, 0x05, 0x01, 0x19, 0x11, 0x52, 0x09, 0x63, b'n', b'e',
            b'w',
        ];
        assert_eq!(
            decode(&more).unwrap(),
            Message::Accept(Accept::new(5, 4_434))
        );
        assert!(decode(&[0x82, 0x01, 0x81, 0xA1, 0x00, 0x05]).is_err());
    }

    #[test]
    fn truncated_and_trailing_bytes_are_refused() {
        for message in samples() {
            let mut bytes = minicbor::to_vec(&message).unwrap();
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{message:?} cut at {end}");
            }
            bytes.push(0);
            assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let refuse = Refuse::new(RefuseCode::Internal, "ü".repeat(400));
        assert_eq!(refuse.reason.len(), 512);
        let refuse = Refuse::new(RefuseCode::Internal, format!("a{}", "ü".repeat(400)));
        assert_eq!(refuse.reason.len(), 511);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}

//! The envelope: the number of a message's type, and its body.

use minicbor::{Decoder, Encoder};

use super::close::Close;
use super::drain::Drain;
use super::error::ControlError;
use super::hello::{Hello, Welcome};
use super::limits::MAX_MESSAGE;
use super::open::{Accept, Open, Wait};
use super::refuse::Refuse;
use super::statistics::{Ask, Statistics};
use super::upload::{Missing, Offer, Want};
use super::version::{VERSIONS, Versions};

/// Declares the messages, and how each is encoded, decoded and checked.
macro_rules! messages {
    ($($number:literal $name:ident($body:ident) $doc:literal, $check:expr;)*) => {
        /// A control message.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Message {
            $(#[doc = $doc] $name(Box<$body>),)*
            /// One of a type that this version does not know, with its number. It is ignored.
            Unknown(u32),
        }

        impl Message {
            /// The name of its type, for people.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Unknown(_) => "a message of an unknown type",
                }
            }

            fn encode_body(&self, encoder: &mut Encoder<&mut Vec<u8>>) -> EncodeResult {
                match self {
                    $(Self::$name(body) => {
                        encoder.array(2)?.u32($number)?.encode(body)?;
                    })*
                    Self::Unknown(number) => {
                        encoder.array(2)?.u32(*number)?.map(0)?;
                    }
                }
                Ok(())
            }

            fn decode_body(number: u32, decoder: &mut Decoder<'_>) -> Result<Self, ControlError> {
                Ok(match number {
                    $($number => {
                        let body: $body = decoder.decode().map_err(ControlError::Malformed)?;
                        let check: fn(&$body) -> Result<(), &'static str> = $check;
                        check(&body).map_err(ControlError::OutOfRange)?;
                        Self::$name(Box::new(body))
                    })*
                    unknown => {
                        decoder.skip().map_err(ControlError::Malformed)?;
                        Self::Unknown(unknown)
                    }
                })
            }
        }

        $(impl From<$body> for Message {
            fn from(body: $body) -> Self {
                Self::$name(Box::new(body))
            }
        })*
    };
}

type EncodeResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

messages! {
    0 Hello(Hello) "Edge to cloud, first: who it is and what it can do.", Hello::check;
    1 Welcome(Welcome) "Cloud to edge, in answer to Hello.", Welcome::check;
    2 Open(Open) "Edge to cloud: asks for a session.", Open::check;
    3 Accept(Accept) "Cloud to edge: the session exists.", Accept::check;
    4 Refuse(Refuse) "Cloud to edge: there will be no session.", Refuse::check;
    5 Close(Close) "Either way: a session ends, or all.", Close::check;
    6 Wait(Wait) "Cloud to edge: the answer to Open takes longer.", Wait::check;
    7 Want(Want) "Cloud to edge: asks for a blob.", |_| Ok(());
    8 Offer(Offer) "Edge to cloud: the blob comes.", |_| Ok(());
    9 Missing(Missing) "Edge to cloud: the blob does not come.", Missing::check;
    10 Ask(Ask) "Edge to cloud: asks for statistics.", |_| Ok(());
    11 Statistics(Statistics) "Cloud to edge: how it fares.", |_| Ok(());
    12 Drain(Drain) "Cloud to edge: it will end.", Drain::check;
}

/// The number of Hello, in every version.
const HELLO: u32 = 0;

/// The CBOR of a message.
///
/// # Errors
/// If it is longer than a message may be: our caller's fault.
pub fn encode(message: &Message) -> Result<Vec<u8>, ControlError> {
    let mut bytes = Vec::new();
    message
        .encode_body(&mut Encoder::new(&mut bytes))
        .map_err(|error| ControlError::Unencodable(error.to_string()))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(ControlError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The message of this CBOR; nothing may be left over.
///
/// # Errors
/// If the peer sent something else: its fault. [`ControlError::Version`] if it is a Hello of versions
/// that this side does not speak, whatever else is in it.
pub fn decode(bytes: &[u8]) -> Result<Message, ControlError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ControlError::TooLong(bytes.len()));
    }
    // A later version may say what this one cannot decode, and shall hear why it gets no session.
    if let Some(theirs) = hello_versions(bytes).filter(|theirs| VERSIONS.common(*theirs).is_none())
    {
        return Err(ControlError::Version(theirs));
    }
    let malformed = ControlError::Malformed;
    let mut decoder = Decoder::new(bytes);
    if decoder.array().map_err(malformed)? != Some(2) {
        let error = minicbor::decode::Error::message("not an array of two");
        return Err(ControlError::Malformed(error));
    }
    let number = decoder.u32().map_err(ControlError::Malformed)?;
    let message = Message::decode_body(number, &mut decoder)?;
    if decoder.position() != bytes.len() {
        let error = minicbor::decode::Error::message("bytes are left over");
        return Err(ControlError::Malformed(error));
    }
    Ok(message)
}

/// The versions of a Hello: its keys 0 and 1, which mean the same in every version.
fn hello_versions(bytes: &[u8]) -> Option<Versions> {
    let mut decoder = Decoder::new(bytes);
    let is_hello = decoder.array().ok()? == Some(2) && decoder.u32().ok()? == HELLO;
    if is_hello {
        decoder.decode().ok()
    } else {
        None
    }
}

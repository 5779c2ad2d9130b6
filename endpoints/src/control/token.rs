//! The bearer token by which an edge says who it is.

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{Encoder, Write};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::limits::MAX_TOKEN;

/// A bearer token, at most 256 bytes. It is never shown, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<Vec<u8>>);

impl Token {
    /// A token of these bytes; none if they are too many.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() <= MAX_TOKEN).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(not shown)")
    }
}

impl<C> Encode<C> for Token {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Token {
    fn decode(decoder: &mut Decoder<'b>, _context: &mut C) -> Result<Self, Error> {
        let bytes = decoder.bytes()?;
        if bytes.len() > MAX_TOKEN {
            return Err(Error::message("a token of more than 256 bytes"));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_not_too_long() {
        let token = Token::new(b"secret".to_vec()).unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert!(Token::new(vec![0; MAX_TOKEN]).is_some());
        assert!(Token::new(vec![0; MAX_TOKEN + 1]).is_none());
        let long = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![0; MAX_TOKEN + 1]));
        assert!(minicbor::decode::<Token>(&long.unwrap()).is_err());
    }
}

//! Notices: what a sender skipped or abandoned (wire-format.md, section 3.6).

use super::DecodeError;
use super::cursor::Reader;

/// Why frames were skipped or tensors abandoned.
///
/// Unknown reasons are kept: a number whose top bit is set is about tensors, others about frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NoticeReason {
    /// Frames: the path could not carry them in time.
    FrameRate,
    /// Frames: they could not have met their deadline.
    FrameDeadline,
    /// Frames: the cloud was busy.
    FrameBusy,
    /// Frames: superseded by a newer one.
    FrameSuperseded,
    /// Frames: the application decided so.
    FrameApplication,
    /// Tensors: the deadline passed while packets waited at the sender.
    TensorDeadline,
    /// Tensors: superseded by a newer one.
    TensorSuperseded,
    /// Tensors: the application decided so.
    TensorApplication,
    /// A reason that this version does not know.
    Other(u8),
}

impl NoticeReason {
    const KNOWN: [(u8, Self); 8] = [
        (0x01, Self::FrameRate),
        (0x02, Self::FrameDeadline),
        (0x03, Self::FrameBusy),
        (0x04, Self::FrameSuperseded),
        (0x05, Self::FrameApplication),
        (0x81, Self::TensorDeadline),
        (0x82, Self::TensorSuperseded),
        (0x83, Self::TensorApplication),
    ];

    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Other(code) => code,
            known => Self::KNOWN
                .iter()
                .find(|(_, r)| *r == known)
                .map_or(0, |(code, _)| *code),
        }
    }

    /// The reason with this number.
    pub fn from_code(code: u8) -> Self {
        Self::KNOWN
            .iter()
            .find(|(c, _)| *c == code)
            .map_or(Self::Other(code), |(_, r)| *r)
    }

    /// Whether it is about abandoned tensors rather than skipped frames.
    pub fn is_tensor(self) -> bool {
        self.code() & 0x80 != 0
    }
}

/// Consecutive frames that were skipped, or tensors that were abandoned, for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Why.
    pub reason: NoticeReason,
    /// Low bits of the first frame number or tensor ID.
    pub first: u16,
    /// How many, 1 to 255.
    pub count: u8,
}

impl Notice {
    /// Bytes on the wire.
    pub const SIZE: usize = 4;

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let notice = Self {
            reason: NoticeReason::from_code(reader.u8("notice reason")?),
            first: reader.u16("notice first")?,
            count: reader.u8("notice count")?,
        };
        if notice.count == 0 {
            return Err(DecodeError::OutOfRange("notice count"));
        }
        Ok(notice)
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.push(self.reason.code());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.push(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_reason_and_back() {
        for code in 0..=255 {
            assert_eq!(NoticeReason::from_code(code).code(), code);
        }
        assert!(NoticeReason::TensorDeadline.is_tensor());
        assert!(!NoticeReason::FrameRate.is_tensor());
        assert!(NoticeReason::from_code(0xFE).is_tensor());
    }
}

//! How frames are found in a stream of bytes.

use tensorwire_protocol::wire::{FrameNumber, TensorId};

use super::{
    Fields, FrameError, HEADER, KIND_LOAD, KIND_RESULT, KIND_TENSOR, MAX_BODY, MAX_WIDTH, Message,
    TENSOR, TensorHead,
};

/// What a decoder found.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Item<'a> {
    Message(Message),
    /// A tensor begins.
    Tensor(TensorHead),
    /// More bytes of the slices of the tensor that began last.
    Bytes(&'a [u8]),
}

/// Where a decoder is.
#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Message { kind: u8, length: usize },
    Tensor { length: usize },
    Lengths { fixed: Fixed, rest: usize },
    Slices { left: usize },
}

/// The fixed fields of a tensor.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    id: u64,
    frame: u64,
    captured: u32,
    step: u8,
    width: u8,
    count: u16,
}

/// Finds the frames in one stream of bytes, however they are cut. Keeps at most the head of one tensor,
/// or one message.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    pub(super) held: Vec<u8>,
    /// Slices of a tensor.
    slices: u16,
    /// Steps of the ladder by which it can be coded.
    steps: u8,
    /// Most bytes of a tensor's slices.
    most: usize,
}

impl Decoder {
    /// For tensors of `slices` slices, of `most` bytes in all, coded by one of so many steps.
    pub(crate) const fn new(slices: u16, steps: u8, most: usize) -> Self {
        Self {
            state: State::Header,
            held: Vec::new(),
            slices,
            steps,
            most,
        }
    }

    /// Whether the stream is within the slices of a tensor.
    pub(crate) const fn is_in_slices(&self) -> bool {
        matches!(self.state, State::Slices { left: 1.. })
    }

    /// The next thing in `input`, which loses the bytes of it; none where more bytes are needed.
    ///
    /// # Errors
    /// If the bytes are no frames. The decoder is of no more use then.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Item<'a>>, FrameError> {
        loop {
            let need = match self.state {
                State::Header => HEADER,
                State::Message { length, .. } => length,
                State::Tensor { .. } => TENSOR,
                State::Lengths { fixed, .. } => usize::from(fixed.count) * usize::from(fixed.width),
                State::Slices { left: 0 } => {
                    self.state = State::Header;
                    continue;
                }
                State::Slices { left } => {
                    let (bytes, rest) = input.split_at(left.min(input.len()));
                    *input = rest;
                    self.state = State::Slices {
                        left: left - bytes.len(),
                    };
                    return Ok((!bytes.is_empty()).then_some(Item::Bytes(bytes)));
                }
            };
            let wanted = need.saturating_sub(self.held.len()).min(input.len());
            let (bytes, rest) = input.split_at(wanted);
            *input = rest;
            self.held.extend_from_slice(bytes);
            if self.held.len() < need {
                return Ok(None);
            }
            let item = self.advance();
            self.held.clear();
            if let Some(item) = item? {
                return Ok(Some(item));
            }
        }
    }

    /// Takes what is held, which is complete.
    fn advance(&mut self) -> Result<Option<Item<'static>>, FrameError> {
        let mut fields = Fields(&self.held);
        match self.state {
            State::Header => {
                let (kind, length) = (fields.u8().unwrap_or(0), fields.u32().unwrap_or(0) as usize);
                self.state = self.begin(kind, length)?;
                Ok(None)
            }
            State::Message { kind, .. } => {
                let message = Message::decode(kind, &self.held)?;
                self.state = State::Header;
                Ok(Some(Item::Message(message)))
            }
            State::Tensor { length } => {
                let fixed = Fixed {
                    id: fields.u64().unwrap_or(0),
                    frame: fields.u64().unwrap_or(0),
                    captured: fields.u32().unwrap_or(0),
                    step: fields.u8().unwrap_or(0),
                    width: fields.u8().unwrap_or(0),
                    count: fields.u16().unwrap_or(0),
                };
                if fixed.count != self.slices {
                    return Err(FrameError::Slices(fixed.count));
                }
                if fixed.step >= self.steps {
                    return Err(FrameError::OutOfRange("step"));
                }
                if fixed.width == 0 || fixed.width > MAX_WIDTH {
                    return Err(FrameError::OutOfRange("slice length width"));
                }
                self.state = State::Lengths {
                    fixed,
                    rest: length - TENSOR,
                };
                Ok(None)
            }
            State::Lengths { fixed, rest } => {
                let head = self.head(fixed)?;
                let bytes = head.bytes();
                if self.held.len() + bytes != rest {
                    return Err(FrameError::Length {
                        kind: KIND_TENSOR,
                        length: rest + TENSOR,
                    });
                }
                self.state = State::Slices { left: bytes };
                Ok(Some(Item::Tensor(head)))
            }
            State::Slices { .. } => Ok(None),
        }
    }

    /// What a frame with this header begins with.
    fn begin(&self, kind: u8, length: usize) -> Result<State, FrameError> {
        match kind {
            KIND_TENSOR => {
                let table = usize::from(self.slices) * usize::from(MAX_WIDTH);
                if length < TENSOR + usize::from(self.slices) {
                    return Err(FrameError::Length { kind, length });
                }
                if length > TENSOR + table + self.most {
                    return Err(FrameError::TooLarge(length));
                }
                Ok(State::Tensor { length })
            }
            KIND_RESULT..=KIND_LOAD if length <= MAX_BODY => Ok(State::Message { kind, length }),
            KIND_RESULT..=KIND_LOAD => Err(FrameError::Length { kind, length }),
            other => Err(FrameError::Kind(other)),
        }
    }

    /// The head whose slice lengths are held.
    fn head(&self, fixed: Fixed) -> Result<TensorHead, FrameError> {
        let mut end = 0_u32;
        let mut ends = Vec::with_capacity(usize::from(fixed.count));
        for length in self.held.chunks_exact(usize::from(fixed.width).max(1)) {
            let length = length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            // At most 65,535 lengths of 24 bits; the sum of the first that are too many is found at once.
            end = end
                .checked_add(length)
                .filter(|end| *end as usize <= self.most)
                .ok_or_else(|| FrameError::TooLarge(self.most.saturating_add(1)))?;
            ends.push(end);
        }
        Ok(TensorHead {
            id: TensorId(fixed.id),
            frame: FrameNumber(fixed.frame),
            captured: fixed.captured,
            step: fixed.step,
            ends,
        })
    }
}

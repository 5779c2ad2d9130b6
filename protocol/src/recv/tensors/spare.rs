//! Memory of tensors that have met their end, for those to come.

use crate::config::Limits;
use crate::recv::assembly::{Assembly, Books};

/// Ended tensors whose memory is kept, and the most bytes of each: 1 MiB in all.
const MOST: usize = 16;
const MOST_BYTES: usize = 1 << 16;

/// What a stream whose tensors are alike need not allocate again for each of them.
#[derive(Debug, Default)]
pub(super) struct Spare {
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    ended: Vec<Box<Assembly>>,
    /// Bytes of the last tensor that was released.
    last: usize,
}

impl Spare {
    /// A tensor made by `new`, of books and of how many bytes to make room for at once: as many as the last
    /// one had, but no more than a quarter of each tensor's share of the limit.
    pub(super) fn tensor(
        &mut self,
        limits: &Limits,
        new: impl FnOnce(Books, usize) -> Assembly,
    ) -> Box<Assembly> {
        let room = limits.bytes_in_progress / limits.tensors_in_progress / 4;
        let room = self.last.min(room);
        match self.ended.pop() {
            Some(mut ended) => {
                *ended = new(ended.take_books(), room);
                ended
            }
            None => Box::new(new(Books::default(), room)),
        }
    }

    /// A tensor of so many bytes was released.
    pub(super) const fn released(&mut self, bytes: usize) {
        self.last = bytes;
    }

    /// Keeps the memory of a tensor that has ended, but for its bytes.
    pub(super) fn keep(&mut self, mut ended: Box<Assembly>) {
        if self.ended.len() < MOST && ended.capacity() <= MOST_BYTES {
            ended.drop_bytes();
            self.ended.push(ended);
        }
    }
}

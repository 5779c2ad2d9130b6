//! Bytes from a file, counted.

use std::io::{ErrorKind, Read};

use super::ReadError;

/// Bytes from a file, counted.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    at: u64,
}

impl<R: Read> Input<R> {
    pub(super) const fn new(source: R) -> Self {
        Self { source, at: 0 }
    }

    /// Something is wrong here.
    pub(super) const fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::Damaged { what, at: self.at }
    }

    /// Fills `out`; false if the file has ended before. It must not end within.
    pub(super) fn fill(&mut self, out: &mut [u8], what: &'static str) -> Result<bool, ReadError> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ReadError::Truncated { what, at: self.at }),
                Ok(count) => {
                    filled += count;
                    self.at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// So many bytes as an array.
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        if self.fill(&mut array, what)? || N == 0 {
            Ok(array)
        } else {
            Err(ReadError::Truncated { what, at: self.at })
        }
    }

    /// So many bytes, of which the caller has bounded the number. What is allocated grows with what the
    /// file has.
    pub(super) fn bytes(&mut self, count: usize, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let read = self
            .source
            .by_ref()
            .take(count as u64)
            .read_to_end(&mut bytes)?;
        self.at += read as u64;
        if read < count {
            return Err(ReadError::Truncated { what, at: self.at });
        }
        Ok(bytes)
    }

    /// Passes over so many bytes.
    pub(super) fn skip(&mut self, count: u64, what: &'static str) -> Result<(), ReadError> {
        let skipped = std::io::copy(&mut self.source.by_ref().take(count), &mut std::io::sink())?;
        self.at += skipped;
        if skipped < count {
            return Err(ReadError::Truncated { what, at: self.at });
        }
        Ok(())
    }
}

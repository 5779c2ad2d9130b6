//! Captured messages as files, for fuzzing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tensorwire_protocol::wire::HEADER_LEN;

use super::line::Line;
use crate::digest::Digest;

/// Bytes of the trailer, which follow from the others.
const CRC_LEN: usize = 4;

/// A folder of datagrams, as the fuzz target `datagram` takes them: header to trailer, a file each.
pub(super) struct Corpus {
    folder: PathBuf,
    seen: HashSet<Digest>,
    datagrams: u64,
}

impl Corpus {
    /// Makes the folder if there is none.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let what = || format!("cannot make the folder {}", folder.display());
        fs::create_dir_all(folder).with_context(what)?;
        Ok(Self {
            folder: folder.to_owned(),
            seen: HashSet::new(),
            datagrams: 0,
        })
    }

    /// Writes a datagram, unless one with the same type, flags and body was: neither session nor packet
    /// number leads the decoder another way. The name follows from those, too.
    pub(super) fn add(&mut self, line: &Line, datagram: &[u8]) -> Result<()> {
        self.datagrams += 1;
        let (head, rest) = datagram.split_at(HEADER_LEN.min(datagram.len()));
        let body = rest
            .get(..rest.len().saturating_sub(CRC_LEN))
            .unwrap_or_default();
        let digest = Digest::of([head.get(..2).unwrap_or(head), body].concat());
        if !self.seen.insert(digest) {
            return Ok(());
        }
        let name = format!("{}-{:.16}", line.kind.name(), digest.to_string());
        let path = self.folder.join(name);
        fs::write(&path, datagram).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What it came to.
    pub(super) fn summary(&self) -> String {
        let (files, folder) = (self.seen.len(), self.folder.display());
        format!("{folder}: {files} files of {} datagrams", self.datagrams)
    }
}

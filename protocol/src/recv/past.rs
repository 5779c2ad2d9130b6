//! Tensors that have been released, for source blocks that span them.

use bytes::Bytes;

use super::assembly::{Assembly, Places};

/// The source packets that a released tensor had. They share their bytes with what was handed over.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) id: u64,
    packets: u32,
    places: Places,
    bytes: Bytes,
}

impl Past {
    /// What `assembly` has, whose arena is to become `bytes`.
    pub(crate) fn new(id: u64, assembly: &Assembly) -> Self {
        Self {
            id,
            packets: assembly.packets(),
            places: assembly.places(),
            bytes: Bytes::new(),
        }
    }

    /// The bytes, once the tensor is released: the arena, which its symbols still lie in.
    pub(crate) fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }

    /// Bytes kept.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.places.memory()
    }

    /// Source packets that the tensor has.
    pub(crate) const fn packets(&self) -> u32 {
        self.packets
    }

    /// The symbol of the source packet with this index, if it had arrived.
    pub(crate) fn symbol(&self, index: u32) -> Option<&[u8]> {
        self.places.symbol(&self.bytes, index)
    }
}

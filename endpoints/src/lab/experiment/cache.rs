//! Tensors of images, kept on disk from run to run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ndarray::Array3;

use crate::digest::Digest;
use crate::lab::output::write_file;

/// What a file begins with.
const MAGIC: &[u8; 8] = b"TWtensor";

/// A folder of tensors by the digest of what they were made from: a file each, of four bytes an entry
/// and 52 more. Any number of processes may use it at once. A file that is damaged counts as missing; it
/// may be emptied whenever nobody runs.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Uses this folder, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The tensor of this digest, or what `make` makes of it, which is then kept.
    ///
    /// # Errors
    /// If it cannot be made, or not be written.
    pub fn get_or(
        &self,
        digest: &Digest,
        shape: (usize, usize, usize),
        make: impl FnOnce() -> Result<Array3<f32>>,
    ) -> Result<Array3<f32>> {
        let path = self.folder.join(digest.to_string());
        let kept = fs::read(&path).ok();
        if let Some(tensor) = kept.and_then(|file| decode(&file, shape)) {
            return Ok(tensor);
        }
        let tensor = make()?;
        write_file(&path, &encode(&tensor)?)?;
        Ok(tensor)
    }
}

/// Magic, channels, rows, columns (32 bits each), entries, and the digest of all that.
fn encode(tensor: &Array3<f32>) -> Result<Vec<u8>> {
    let (channels, height, width) = tensor.dim();
    let mut file = MAGIC.to_vec();
    for side in [channels, height, width] {
        file.extend(u32::try_from(side)?.to_le_bytes());
    }
    file.extend(tensor.iter().flat_map(|entry| entry.to_le_bytes()));
    let digest = Digest::of(&file);
    file.extend(digest.as_bytes());
    Ok(file)
}

/// None for a file that is damaged, or holds another shape.
fn decode(file: &[u8], shape: (usize, usize, usize)) -> Option<Array3<f32>> {
    let (content, digest) = file.split_last_chunk::<{ Digest::SIZE }>()?;
    if Digest::of(content) != Digest::from_bytes(*digest) {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?;
    let (sides, entries) = rest.split_first_chunk::<12>()?;
    let mut found = sides
        .as_chunks::<4>()
        .0
        .iter()
        .map(|side| u32::from_le_bytes(*side));
    for side in [shape.0, shape.1, shape.2] {
        if usize::try_from(found.next()?).ok()? != side {
            return None;
        }
    }
    let (entries, []) = entries.as_chunks::<4>() else {
        return None;
    };
    let entries = entries.iter().map(|entry| f32::from_le_bytes(*entry));
    Array3::from_shape_vec(shape, entries.collect()).ok()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn tensors_are_made_once_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("tensors")).unwrap();
        let key = Digest::of(b"an image");
        let made = Array3::from_shape_fn((2, 3, 1), |(c, y, _)| c as f32 - y as f32 / 3.0);
        let get = |make: bool| {
            cache.get_or(&key, (2, 3, 1), || {
                if make {
                    Ok(made.clone())
                } else {
                    bail!("made again")
                }
            })
        };
        assert!(get(false).is_err());
        assert_eq!(get(true).unwrap(), made);
        assert_eq!(get(false).unwrap(), made);
        let other = cache.get_or(&key, (3, 2, 1), || bail!("another shape"));
        assert!(other.is_err());
        let path = folder.path().join("tensors").join(key.to_string());
        let whole = fs::read(&path).unwrap();
        for length in [0, 20, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(get(false).is_err(), "{length}");
        }
        let mut flipped = whole;
        flipped[25] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(get(true).unwrap(), made);
    }
}

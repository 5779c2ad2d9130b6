//! Sets of images with labels, whatever they are stored in.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::folder::Folder;
use super::idx::Idx;
use super::npy::Npy;
use super::{DatasetError, Image, Rows};
use crate::digest::Digest;

/// A set of images, in a fixed order.
///
/// Kinds: a folder of JPEG and PNG files, with or without `labels.csv`; a pair of IDX files, as
/// Fashion-MNIST has; a pair of npy files. A folder's images are read when they are asked for, the
/// others are held in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    source: Source,
    /// Row of each image.
    rows: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Source {
    Folder(Folder),
    Records(Records),
}

/// One image of a set.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The file's name; the row number where there are no files.
    pub name: String,
    /// The picture, before any preprocessing.
    pub image: Image,
    /// Index of its class, if it is known.
    pub label: Option<u32>,
    /// SHA-256 of the image file; of the image's raw pixel bytes where there are no files. Tells
    /// whether an image was among those that something was calibrated on.
    pub digest: Digest,
}

impl Dataset {
    /// Opens what `path` is: a folder, `*.npy` (see [`npy`](Self::npy)), or else IDX (see
    /// [`idx`](Self::idx)).
    ///
    /// `labels` is the second file of a pair; `class_names` are a model's labels in the order of
    /// their classes (see [`folder`](Self::folder)).
    pub fn open(
        path: impl AsRef<Path>,
        labels: Option<&Path>,
        class_names: &[String],
    ) -> Result<Self, DatasetError> {
        let path = path.as_ref();
        let kind = fs::metadata(path);
        let kind = kind.map_err(|source| DatasetError::Read {
            path: path.to_owned(),
            source,
        })?;
        if kind.is_dir() {
            Self::folder(path, class_names)
        } else if path.extension() == Some(OsStr::new("npy")) {
            Self::npy(path, labels)
        } else {
            Self::idx(path, labels)
        }
    }

    /// A folder of images.
    ///
    /// With a `labels.csv` in it, the images and their order are its records: the column `file` names
    /// the image relative to the folder, `class_index` its class. Without that column, `label` is
    /// looked up in `class_names`. Other columns are ignored. Without `labels.csv`, all `.jpg`,
    /// `.jpeg` and `.png` files of the folder itself are taken in the order of their names, unlabelled.
    pub fn folder(path: impl AsRef<Path>, class_names: &[String]) -> Result<Self, DatasetError> {
        let folder = Folder::open(path.as_ref(), class_names)?;
        let len = folder.len();
        Self::new(Source::Folder(folder), len, path.as_ref())
    }

    /// IDX files, plain or gzipped: unsigned bytes `[n, height, width]` as grey images, and unsigned
    /// bytes `[n]` as labels.
    pub fn idx(images: impl AsRef<Path>, labels: Option<&Path>) -> Result<Self, DatasetError> {
        let records = Idx::open(images.as_ref(), labels)?;
        let len = records.len;
        Self::new(Source::Records(records), len, images.as_ref())
    }

    /// IDX files, plain or gzipped, from memory. `name` is for messages.
    pub fn idx_from_bytes(
        name: &str,
        images: &[u8],
        labels: Option<&[u8]>,
    ) -> Result<Self, DatasetError> {
        let records = Idx::from_bytes(name, images, labels)?;
        let len = records.len;
        Self::new(Source::Records(records), len, name.as_ref())
    }

    /// npy files: uint8 `[n, height, width]` as grey or `[n, height, width, 3]` as RGB images, and
    /// uint8, int32 or int64 `[n]` as labels.
    pub fn npy(images: impl AsRef<Path>, labels: Option<&Path>) -> Result<Self, DatasetError> {
        let records = Npy::open(images.as_ref(), labels)?;
        let len = records.len;
        Self::new(Source::Records(records), len, images.as_ref())
    }

    /// The images among these that `rows` chooses, in the same order. Rows keep their numbers, so
    /// choosing from a choice gives what both hold.
    ///
    /// Fails if that leaves none.
    pub fn select(mut self, rows: &Rows) -> Result<Self, DatasetError> {
        self.rows.retain(|row| rows.contains(*row));
        if self.rows.is_empty() {
            return Err(DatasetError::Empty(format!("the choice of rows `{rows}`")));
        }
        Ok(self)
    }

    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Reads image `index` of 0..[`len`](Self::len).
    pub fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        let len = self.rows.len();
        let row = self
            .rows
            .get(index)
            .ok_or(DatasetError::Index { index, len })?;
        let sample = match &self.source {
            Source::Folder(folder) => folder.get(*row),
            Source::Records(records) => records.get(*row),
        };
        sample.unwrap_or(Err(DatasetError::Index { index, len }))
    }

    /// Reads the images one after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Sample, DatasetError>> {
        (0..self.rows.len()).map(|index| self.get(index))
    }

    fn new(source: Source, len: usize, path: &Path) -> Result<Self, DatasetError> {
        if len == 0 {
            return Err(DatasetError::Empty(path.display().to_string()));
        }
        Ok(Self {
            source,
            rows: (0..len).collect(),
        })
    }
}

/// Images of one size, held in memory.
#[derive(Clone, Debug)]
pub(super) struct Records {
    /// Number of images.
    pub(super) len: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) colour: super::Colour,
    /// `len` × height × width × channels bytes.
    pub(super) pixels: Vec<u8>,
    /// One for each image.
    pub(super) labels: Option<Vec<u32>>,
}

impl Records {
    fn get(&self, row: usize) -> Option<Result<Sample, DatasetError>> {
        let size = self.height * self.width * self.colour.channels();
        let start = row.checked_mul(size)?;
        let pixels = self.pixels.get(start..start.checked_add(size)?)?;
        let name = row.to_string();
        let image = Image::new(self.height, self.width, self.colour, pixels.to_vec());
        let label = self
            .labels
            .as_ref()
            .and_then(|labels| labels.get(row).copied());
        let digest = Digest::of(pixels);
        Some(match image {
            Ok(image) => Ok(Sample {
                name,
                image,
                label,
                digest,
            }),
            Err(source) => Err(DatasetError::Image { name, source }),
        })
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, DatasetError> {
    let failed = |source| DatasetError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = vec![];
    let mut limited = File::open(path)
        .map_err(failed)?
        .take(limit.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(DatasetError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Colour;

    /// A grey JPEG of one brightness.
    fn write_jpeg(path: &Path, brightness: u8) -> Vec<u8> {
        let mut file = vec![];
        let encoder = jpeg_encoder::Encoder::new(&mut file, 90);
        encoder
            .encode(&[brightness; 64], 8, 8, jpeg_encoder::ColorType::Luma)
            .unwrap();
        fs::write(path, &file).unwrap();
        file
    }

    fn folder(table: Option<&str>) -> (tempfile::TempDir, Vec<Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let files = ["b.jpg", "a.JPEG", "c.jpg"].iter().zip([10, 100, 200]);
        let files = files
            .map(|(name, grey)| write_jpeg(&folder.path().join(name), grey))
            .collect();
        fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        if let Some(table) = table {
            fs::write(folder.path().join("labels.csv"), table).unwrap();
        }
        (folder, files)
    }

    fn names(set: &Dataset) -> Vec<String> {
        set.iter().map(|sample| sample.unwrap().name).collect()
    }

    #[test]
    fn a_folder_with_a_table() {
        let table = "synset,class_index,file\nn1,5, b.jpg\nn2,7,\"c.jpg\"\nn3,9,a.JPEG\n";
        let (path, files) = folder(Some(table));
        let set = Dataset::open(path.path(), None, &[]).unwrap();
        assert_eq!(
            (set.len(), names(&set)),
            (3, ["b.jpg", "c.jpg", "a.JPEG"].map(String::from).to_vec())
        );
        let sample = set.get(1).unwrap();
        assert_eq!(
            (sample.label, sample.digest),
            (Some(7), Digest::of(&files[2]))
        );
        assert_eq!(
            (sample.image.height(), sample.image.colour()),
            (8, Colour::Grey)
        );
        assert!(matches!(
            set.get(3),
            Err(DatasetError::Index { index: 3, len: 3 })
        ));
    }

    #[test]
    fn labels_by_name() {
        let classes = ["bag", "boot"].map(String::from);
        let (path, _) = folder(Some("file,label\nb.jpg,boot\n"));
        let set = Dataset::folder(path.path(), &classes).unwrap();
        assert_eq!(set.get(0).unwrap().label, Some(1));
        let unknown = Dataset::folder(path.path(), &classes[..1])
            .unwrap_err()
            .to_string();
        assert!(
            unknown.contains("line 2") && unknown.contains("boot"),
            "{unknown}"
        );
    }

    #[test]
    fn a_folder_without_a_table() {
        let (path, _) = folder(None);
        let set = Dataset::folder(path.path(), &[]).unwrap();
        assert_eq!(names(&set), ["a.JPEG", "b.jpg", "c.jpg"]);
        assert_eq!(set.get(0).unwrap().label, None);
    }

    #[test]
    fn tables_that_make_no_sense() {
        let reason = |table: &str| {
            let (path, _) = folder(Some(table));
            Dataset::folder(path.path(), &[]).unwrap_err().to_string()
        };
        assert!(reason("name,class_index\nb.jpg,1\n").contains("`file`"));
        assert!(reason("file,synset\nb.jpg,1\n").contains("`class_index`"));
        assert!(reason("file,class_index\nb.jpg,-1\n").contains("line 2: `-1`"));
        assert!(reason("file,class_index\n,1\n").contains("no name"));
        assert!(reason("file,class_index\nb.jpg\n").contains("labels.csv"));
        assert!(reason("file,class_index\n").contains("no image"));
        let (path, _) = folder(Some(
            "file,class_index\nb.jpg,1\nmissing.jpg,2\nnotes.txt,3\n",
        ));
        let set = Dataset::folder(path.path(), &[]).unwrap();
        assert!(set.get(1).unwrap_err().to_string().contains("missing.jpg"));
        assert!(
            set.get(2)
                .unwrap_err()
                .to_string()
                .contains("notes.txt: neither")
        );
    }

    #[test]
    fn choosing_rows_keeps_their_numbers() {
        let images: Vec<u8> = [0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 1]
            .into_iter()
            .chain(10..16)
            .collect();
        let set = Dataset::idx_from_bytes("test", &images, None).unwrap();
        let odd = set.clone().select(&Rows::Odd).unwrap();
        assert_eq!(names(&odd), ["1", "3", "5"]);
        assert_eq!(odd.get(1).unwrap().image.pixels(), [13]);
        assert_eq!(odd.get(1).unwrap().digest, Digest::of([13]));
        assert_eq!(
            names(&odd.clone().select(&Rows::Range(2..9)).unwrap()),
            ["3", "5"]
        );
        let none = odd.select(&Rows::Even);
        assert!(matches!(none, Err(DatasetError::Empty(_))));
        assert!(set.select(&Rows::Range(6..7)).is_err());
    }

    #[test]
    fn missing_files_are_named() {
        let error = Dataset::open("no/such/set", None, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("no/such/set"), "{error}");
        let (path, _) = folder(None);
        let labels = path.path().join("labels.idx");
        let error = Dataset::idx(path.path().join("b.jpg"), Some(&labels)).unwrap_err();
        assert!(error.to_string().contains("labels.idx"), "{error}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let (path, files) = folder(None);
        let limit = files[0].len() as u64;
        let file = path.path().join("b.jpg");
        assert_eq!(read_file(&file, limit).unwrap(), files[0]);
        assert!(matches!(
            read_file(&file, limit - 1),
            Err(DatasetError::TooLarge { .. })
        ));
    }
}

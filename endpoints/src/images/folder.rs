//! A folder of image files, with or without `labels.csv`.

use std::fs;
use std::path::{Path, PathBuf};

use super::dataset::read_file;
use super::{DatasetError, Image, MAX_FILE_BYTES, Sample};
use crate::digest::Digest;

/// The table of a folder's images.
const TABLE: &str = "labels.csv";
/// Largest table that is read, in bytes.
const MAX_TABLE_BYTES: u64 = 1 << 28;

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Relative to the folder.
    file: String,
    label: Option<u32>,
}

impl Folder {
    pub(super) fn open(path: &Path, class_names: &[String]) -> Result<Self, DatasetError> {
        let table = path.join(TABLE);
        let entries = if table.exists() {
            read_table(&read_file(&table, MAX_TABLE_BYTES)?, class_names).map_err(|reason| {
                DatasetError::Table {
                    path: table,
                    reason,
                }
            })?
        } else {
            list_images(path)?
        };
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, row: usize) -> Option<Result<Sample, DatasetError>> {
        self.entries.get(row).map(|entry| self.read(entry))
    }

    fn read(&self, entry: &Entry) -> Result<Sample, DatasetError> {
        let file = read_file(&self.path.join(&entry.file), MAX_FILE_BYTES)?;
        let name = entry.file.clone();
        match Image::decode(&file) {
            Ok(image) => Ok(Sample {
                name,
                image,
                label: entry.label,
                digest: Digest::of(file),
            }),
            Err(source) => Err(DatasetError::Image { name, source }),
        }
    }
}

fn read_table(table: &[u8], class_names: &[String]) -> Result<Vec<Entry>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(table);
    let header = reader.headers().map_err(|error| error.to_string())?;
    let column = |name: &str| header.iter().position(|column| column == name);
    let file = column("file").ok_or("its header names no column `file`")?;
    let (class, label) = (column("class_index"), column("label"));
    if class.is_none() && label.is_none() {
        return Err("its header names neither `class_index` nor `label`".to_owned());
    }

    let mut entries = vec![];
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |index: usize| record.get(index).unwrap_or_default();
        let label = match (class, label) {
            (Some(class), _) => field(class)
                .parse()
                .map_err(|_| format!("line {line}: `{}` is no class index", field(class)))?,
            (None, Some(label)) => class_names
                .iter()
                .position(|name| name == field(label))
                .and_then(|class| u32::try_from(class).ok())
                .ok_or_else(|| format!("line {line}: the model has no label `{}`", field(label)))?,
            (None, None) => return Err("no column for labels".to_owned()),
        };
        if field(file).is_empty() {
            return Err(format!("line {line}: the file has no name"));
        }
        entries.push(Entry {
            file: field(file).to_owned(),
            label: Some(label),
        });
    }
    Ok(entries)
}

fn list_images(folder: &Path) -> Result<Vec<Entry>, DatasetError> {
    let failed = |source| DatasetError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut entries = vec![];
    for file in fs::read_dir(folder).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        let extension = path
            .extension()
            .map(|extension| extension.to_ascii_lowercase());
        let is_image =
            extension.is_some_and(|kind| kind == "jpg" || kind == "jpeg" || kind == "png");
        let name = path.file_name().and_then(|name| name.to_str());
        if let (true, Some(name)) = (is_image, name) {
            entries.push(Entry {
                file: name.to_owned(),
                label: None,
            });
        }
    }
    entries.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(entries)
}

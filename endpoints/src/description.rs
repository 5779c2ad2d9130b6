//! Model descriptions: what a model's images have to look like, and what its classes are called.
//!
//! A description is a small TOML file beside the model:
//!
//! ```toml
//! name = "CIFAR-10 ResNet-20"
//! default_split = "relu_3"            # optional
//! labels = ["airplane", "automobile"] # or labels_file = "labels.txt", or neither
//!
//! [input]
//! height = 32
//! width = 32
//! channels = "rgb"                    # or "bgr", "grey"
//! mean = [0.485, 0.456, 0.406]        # one per channel, in the order of `channels`
//! std = [0.229, 0.224, 0.225]
//! shorter_side = 40                   # optional
//! ```
//!
//! `mean` and `std` are in units of 0..1: a byte x becomes (x / 255 − mean) / std. A model that
//! wants (x − 127) / 128 has the mean 127/255 and the std 128/255.
//!
//! An image that already has `height` × `width` is taken as it is. Any other is scaled, keeping its
//! proportions, until its shorter side has `shorter_side` pixels, and the middle is cut out;
//! without `shorter_side` it is scaled until it just covers `height` × `width`.
//!
//! `labels_file` holds one label a line in UTF-8 and is found relative to the description. Without
//! labels a class is called by its index. Unknown keys are errors.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::Model;

/// Largest height, width and shorter side, in pixels.
pub const MAX_SIDE: usize = 4096;
/// Most labels of a description.
pub const MAX_LABELS: usize = 65_536;
/// Longest label, in bytes of UTF-8.
pub const MAX_LABEL_BYTES: usize = 256;
/// Largest description or label file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 24;

/// What a model's images have to look like, and what its classes are called. See the
/// [module](self) for the file format.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Description {
    /// What people call the model.
    pub name: String,
    /// Name of the tensor to split at where nothing else is asked for.
    pub default_split: Option<String>,
    /// How an image becomes the model's input.
    pub input: Input,
    /// Label by class index; empty if the classes have no names.
    pub labels: Vec<String>,
}

/// How an image becomes a model's input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Input {
    /// Rows, 1..=[`MAX_SIDE`].
    pub height: usize,
    /// Columns, 1..=[`MAX_SIDE`].
    pub width: usize,
    /// Which channels, in which order.
    pub channels: ChannelOrder,
    /// Mean of each channel, in units of 0..1.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel, in units of 0..1; above 0.
    pub std: Vec<f64>,
    /// Pixels of the shorter side before the middle is cut out, at least height and width. `None`:
    /// as few as cover the input.
    pub shorter_side: Option<usize>,
}

/// Which channels a model takes, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no other order that a model takes"
)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Brightness alone.
    Grey,
}

impl ChannelOrder {
    /// Number of channels.
    pub const fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Grey => 1,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescriptionFile {
    name: String,
    default_split: Option<String>,
    labels: Option<Vec<String>>,
    labels_file: Option<PathBuf>,
    input: Input,
}

impl Description {
    /// Reads a description, and the label file that it names.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DescriptionError> {
        let path = path.as_ref();
        let text = read(path)?;
        Self::parse(&text, path.parent())
    }

    /// Reads a description that comes without files beside it: `labels_file` is an error.
    pub fn from_toml(text: &str) -> Result<Self, DescriptionError> {
        Self::parse(text, None)
    }

    /// A description that says no more than the model does: bytes become 0..1, classes have no names, and there
    /// is no default split.
    pub fn plain(name: impl Into<String>, model: &Model) -> Self {
        let (channels, height, width) = model.input().as_tuple();
        Self {
            name: name.into(),
            default_split: None,
            input: Input {
                height,
                width,
                channels: if channels == 1 {
                    ChannelOrder::Grey
                } else {
                    ChannelOrder::Rgb
                },
                mean: vec![0.0; channels],
                std: vec![1.0; channels],
                shorter_side: None,
            },
            labels: vec![],
        }
    }

    /// What class `index` is called: its label, or else its index.
    pub fn label(&self, index: usize) -> Cow<'_, str> {
        match self.labels.get(index) {
            Some(label) => Cow::Borrowed(label),
            None => Cow::Owned(index.to_string()),
        }
    }

    /// The class that is called `label`.
    pub fn class(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|known| known == label)
    }

    /// Checks that the description is about this model: same input, a label for each class or none,
    /// a default split that exists.
    pub fn check(&self, model: &Model) -> Result<(), DescriptionError> {
        let input = model.input();
        let Input {
            height,
            width,
            channels,
            ..
        } = self.input;
        if input.as_tuple() != (channels.count(), height, width) {
            let described = format!("{}×{height}×{width}", channels.count());
            let found = input.to_string();
            return Err(DescriptionError::OtherModel {
                what: "an input of",
                described,
                found,
            });
        }
        if !self.labels.is_empty() && self.labels.len() != model.classes() {
            let described = self.labels.len().to_string();
            let found = model.classes().to_string();
            return Err(DescriptionError::OtherModel {
                what: "classes:",
                described,
                found,
            });
        }
        if let Some(split) = &self.default_split
            && let Err(error) = model.split_point(split)
        {
            return Err(DescriptionError::DefaultSplit {
                reason: error.to_string(),
            });
        }
        Ok(())
    }

    fn parse(text: &str, folder: Option<&Path>) -> Result<Self, DescriptionError> {
        let file: DescriptionFile =
            toml::from_str(text).map_err(|error| DescriptionError::Syntax {
                reason: error.to_string(),
            })?;
        let DescriptionFile {
            name,
            default_split,
            labels,
            labels_file,
            input,
        } = file;
        check_input(&input)?;
        let labels = match (labels, labels_file, folder) {
            (Some(labels), None, _) => labels,
            (None, None, _) => vec![],
            (None, Some(file), Some(folder)) => read(&folder.join(file))?
                .lines()
                .map(str::to_owned)
                .collect(),
            (None, Some(_), None) => {
                return Err(invalid("labels_file", "there is no file beside it"));
            }
            (Some(_), Some(_), _) => return Err(invalid("labels_file", "`labels` is given too")),
        };
        check_labels(&labels)?;
        if name.trim().is_empty() {
            return Err(invalid("name", "it is empty"));
        }
        Ok(Self {
            name,
            default_split,
            input,
            labels,
        })
    }
}

fn check_input(input: &Input) -> Result<(), DescriptionError> {
    let sides = 1..=MAX_SIDE;
    let size = format!("it has to be 1..={MAX_SIDE}");
    let Input {
        height,
        width,
        channels,
        mean,
        std,
        shorter_side,
    } = input;
    if !sides.contains(height) {
        return Err(invalid("input.height", size));
    }
    if !sides.contains(width) {
        return Err(invalid("input.width", size));
    }
    let covering = *height.max(width)..=MAX_SIDE;
    if shorter_side.is_some_and(|side| !covering.contains(&side)) {
        let reason = format!("it has to cover height and width and be at most {MAX_SIDE}");
        return Err(invalid("input.shorter_side", reason));
    }
    let count = format!("{channels:?} takes {} numbers", channels.count());
    if mean.len() != channels.count() {
        return Err(invalid("input.mean", count));
    }
    if std.len() != channels.count() {
        return Err(invalid("input.std", count));
    }
    if !mean.iter().all(|mean| (-255.0..=255.0).contains(mean)) {
        return Err(invalid(
            "input.mean",
            "it has to be finite, in units of 0..1",
        ));
    }
    // Below, f32 could not hold the result.
    if !std.iter().all(|std| (1e-6..=255.0).contains(std)) {
        return Err(invalid(
            "input.std",
            "it has to be above 0, in units of 0..1",
        ));
    }
    Ok(())
}

fn check_labels(labels: &[String]) -> Result<(), DescriptionError> {
    if labels.len() > MAX_LABELS {
        let reason = format!("there are {}, at most {MAX_LABELS} are read", labels.len());
        return Err(invalid("labels", reason));
    }
    for (index, label) in labels.iter().enumerate() {
        if label.trim().is_empty() || label.len() > MAX_LABEL_BYTES {
            let reason = format!("number {index} is empty or longer than {MAX_LABEL_BYTES} bytes");
            return Err(invalid("labels", reason));
        }
    }
    Ok(())
}

fn invalid(key: &'static str, reason: impl Into<String>) -> DescriptionError {
    DescriptionError::Invalid {
        key,
        reason: reason.into(),
    }
}

fn read(path: &Path) -> Result<String, DescriptionError> {
    let failed = |source| DescriptionError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Why a description cannot be used. The file is at fault unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// The system could not read the file, or it is no UTF-8, or too large.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The description, or the label file that it names.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML, or with keys missing, unknown, or of a wrong type.
    #[error("the model description is wrong: {reason}")]
    Syntax {
        /// Where, and what was expected.
        reason: String,
    },
    /// A value that makes no sense.
    #[error("`{key}` of the model description is wrong: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What it has to be.
        reason: String,
    },
    /// The caller's model and description do not belong together.
    #[error("the description speaks of {what} {described}, the model has {found}")]
    OtherModel {
        /// What differs.
        what: &'static str,
        /// By the description.
        described: String,
        /// By the model.
        found: String,
    },
    /// The model has no such split point as `default_split`.
    #[error("`default_split` of the model description is wrong: {reason}")]
    DefaultSplit {
        /// What the model has instead.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: &str = include_str!("../models/cifar10-resnet20.toml");
    const FASHION: &str = include_str!("../assets/fashion/description.toml");
    const LITE: &str = include_str!("../models/efficientnet-lite0.toml");

    fn refusal(from: &str, to: &str) -> String {
        assert!(CIFAR.contains(from), "the test looks for `{from}`");
        Description::from_toml(&CIFAR.replace(from, to))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_shipped_descriptions() {
        let cifar = Description::from_toml(CIFAR).unwrap();
        assert_eq!(cifar.label(3), "cat");
        assert_eq!(cifar.label(10), "10");
        assert_eq!(cifar.class("truck"), Some(9));
        assert_eq!(cifar.class("lorry"), None);
        let lite = Description::from_toml(LITE).unwrap();
        assert_eq!(lite.label(417), "417");
        assert_eq!(lite.default_split.as_deref(), Some("add_4"));
        let fashion = Description::from_toml(FASHION).unwrap();
        assert_eq!(fashion.input.channels, ChannelOrder::Grey);
        assert_eq!(fashion.labels.len(), 10);
    }

    #[test]
    fn refusals_name_the_key() {
        assert!(refusal("height = 32", "height = 0").contains("input.height"));
        assert!(refusal("width = 32", "width = 4097").contains("input.width"));
        assert!(refusal("width = 32", "width = 32\nshorter_side = 31").contains("shorter_side"));
        assert!(refusal("0.229", "0.0").contains("input.std"));
        assert!(refusal("0.229", "nan").contains("input.std"));
        assert!(refusal("0.485", "inf").contains("input.mean"));
        assert!(refusal("0.485, ", "").contains("input.mean"));
        assert!(refusal("\"rgb\"", "\"xyz\"").contains("xyz"));
        assert!(refusal("\"rgb\"", "\"grey\"").contains("Grey takes 1 numbers"));
        assert!(refusal("height", "heigth").contains("heigth"));
        assert!(refusal("\"cat\"", "\"\"").contains("number 3"));
        assert!(refusal("name = ", "title = ").contains("title"));
        assert!(refusal("default_split", "labels_file = \"x\"\ndefault_split").contains("labels"));
    }

    #[test]
    fn labels_from_a_file_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.toml");
        let text = FASHION.split_once("labels = [").unwrap().0.to_owned();
        let input = FASHION.split_once(']').unwrap().1;
        fs::write(&path, format!("{text}labels_file = \"names.txt\"\n{input}")).unwrap();
        let missing = Description::from_file(&path).unwrap_err().to_string();
        assert!(missing.contains("names.txt"), "{missing}");
        fs::write(folder.path().join("names.txt"), "boot\r\nbag\n").unwrap();
        assert_eq!(
            Description::from_file(&path).unwrap().labels,
            ["boot", "bag"]
        );
        assert!(Description::from_toml(&fs::read_to_string(&path).unwrap()).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Description::from_file("no/such/description.toml")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no/such/description.toml"), "{error}");
    }
}

//! A loss model as an option names it: the figures, or a file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use tensorwire_protocol::link::{LossModel, LossSpecError};

use super::read::read_trace;

/// A loss model, or the file of a recorded one.
///
/// In text what [`LossModel`] parses, or `trace:FILE`, in which 1 is a lost packet, or `received:FILE`,
/// in which 1 is a received one. A file may be a capture, which says itself what was lost.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum LossSource {
    /// A model by its figures.
    Model(LossModel),
    /// A recorded trace.
    File {
        /// CSV, npy, or a capture.
        path: PathBuf,
        /// Whether 1 is a lost packet; else it is a received one.
        one_is_lost: bool,
    },
}

impl LossSource {
    /// The model; a trace is read.
    ///
    /// # Errors
    /// If the file cannot be read, or is no trace.
    pub fn load(&self) -> Result<LossModel> {
        Ok(match self {
            Self::Model(model) => model.clone(),
            Self::File { path, one_is_lost } => {
                LossModel::Trace(Arc::new(read_trace(path, *one_is_lost)?))
            }
        })
    }
}

impl FromStr for LossSource {
    type Err = LossSpecError;

    fn from_str(text: &str) -> Result<Self, LossSpecError> {
        let file = |path: &str, one_is_lost| Self::File {
            path: path.into(),
            one_is_lost,
        };
        Ok(match text.split_once(':') {
            Some(("trace", path)) if !path.is_empty() => file(path, true),
            Some(("received", path)) if !path.is_empty() => file(path, false),
            _ => Self::Model(text.parse()?),
        })
    }
}

impl fmt::Display for LossSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(model) => model.fmt(f),
            Self::File { path, one_is_lost } => {
                let kind = if *one_is_lost { "trace" } else { "received" };
                write!(f, "{kind}:{}", path.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_files_are_told_apart() {
        for (text, is_file) in [
            ("none", false),
            ("iid:0.05", false),
            ("gilbert:0.1,3", false),
            ("trace:a,b:c.csv", true),
            ("received:x.npy", true),
        ] {
            let source: LossSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            assert_eq!(matches!(source, LossSource::File { .. }), is_file, "{text}");
        }
        for text in ["trace:", "received", "losses.csv", "iid:2"] {
            assert!(text.parse::<LossSource>().is_err(), "{text}");
        }
    }
}

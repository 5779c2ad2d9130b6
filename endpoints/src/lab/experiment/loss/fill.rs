//! How what is missing is filled.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use tensorwire_concealment::{Method, UnknownMethod};

use crate::lab::experiment::values::by_name;

/// How what is missing is filled: as a cloud does, or as a published simulator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::lab) enum Fill {
    /// A method of concealment.
    Method(Method),
    /// The lower end of the clip range, which is what level 0 stands for: the "no concealment" of DFTS2.
    /// For signed tensors it is about the worst value there is.
    Minimum,
}

by_name!(Fill);

impl Fill {
    const MINIMUM: &str = "minimum";

    /// Whether it looks at the previous tensor of the stream, or may choose to.
    pub(super) fn looks_back(self) -> bool {
        matches!(self, Self::Method(method) if method.uses_previous() || method == Method::Auto)
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Method(method) => method.name(),
            Self::Minimum => Self::MINIMUM,
        })
    }
}

impl FromStr for Fill {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::MINIMUM {
            Ok(Self::Minimum)
        } else {
            text.parse().map(Self::Method)
        }
    }
}

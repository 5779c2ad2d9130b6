//! How tensors cross the network, and what paces them there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A carrier with its congestion control: `udp`, `udp/adaptive`, `tcp/bbr`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Carrier {
    /// The name that `tw-edge --carrier` takes.
    pub(crate) name: String,
    /// The name that `tw-edge --congestion` takes; none for the carrier's own default.
    pub(crate) congestion: Option<String>,
}

/// What `tw-edge --carrier` takes.
const NAMES: [&str; 4] = ["udp", "quic-datagram", "quic-stream", "tcp"];

impl Carrier {
    /// Whether it delivers everything, however late.
    pub(crate) fn is_reliable(&self) -> bool {
        matches!(self.name.as_str(), "tcp" | "quic-stream")
    }
}

impl Default for Carrier {
    fn default() -> Self {
        Self {
            name: "udp".to_owned(),
            congestion: None,
        }
    }
}

impl FromStr for Carrier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, congestion) = match text.split_once('/') {
            Some((name, congestion)) => (name, Some(congestion)),
            None => (text, None),
        };
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
            return Err(format!(
                "no carrier `{name}`; write udp, quic-datagram, quic-stream or tcp, and its congestion \
                 control after a slash where it is not the default: tcp/bbr"
            ));
        };
        let wrong = |c: &str| {
            c.is_empty()
                || !c
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if congestion.is_some_and(wrong) {
            return Err(format!(
                "no congestion control after the slash of `{text}`; write udp/adaptive or tcp/bbr, say"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            congestion: congestion.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for Carrier {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Carrier> for String {
    fn from(carrier: Carrier) -> Self {
        carrier.to_string()
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.congestion {
            Some(congestion) => write!(f, "/{congestion}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_are_read_and_written() {
        for text in [
            "udp",
            "udp/adaptive",
            "tcp/bbr",
            "quic-stream/cubic",
            "quic-datagram",
        ] {
            assert_eq!(text.parse::<Carrier>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("sctp", "no carrier `sctp`"),
            ("", "no carrier ``"),
            ("tcp/", "after the slash"),
            ("tcp/a b", "after the slash"),
        ] {
            let error = text.parse::<Carrier>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

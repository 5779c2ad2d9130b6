//! What an edge is called, once it has shown who it is.

use std::fmt;
use std::sync::Arc;

use super::certificate::Parsed;
use crate::digest::Digest;

/// The longest name, characters.
pub const MAX_NAME: usize = 64;

/// What an edge is called by the cloud that it has shown its token or certificate: 1 to 64 visible
/// characters, fit to be written in logs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name by which the one who runs a cloud knows an edge; none if it is empty, too long, or has a
    /// character that is no visible ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_NAME).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && visible).then(|| Self(text.into()))
    }

    /// What the holder of a certificate is called: by its common name, as far as that can be shown, else
    /// by the beginning of its fingerprint.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Self {
        let parsed = Parsed::read(der).ok();
        let common = parsed.as_ref().and_then(|parsed| parsed.common_name());
        let shown: String = (common.unwrap_or_default().chars())
            .map(|c| if c.is_ascii_graphic() { c } else { '_' })
            .take(MAX_NAME)
            .collect();
        Self::new(&shown).unwrap_or_else(|| {
            let fingerprint = Digest::of(der).to_string();
            let start: String = fingerprint.chars().take(16).collect();
            Self(format!("certificate-{start}").into())
        })
    }

    pub(super) fn of_line(line: usize) -> Self {
        Self(format!("line-{line}").into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_visible() {
        assert_eq!(Name::new("cam-3").unwrap().as_str(), "cam-3");
        for wrong in ["", "two words", "line\nbreak", "\u{1b}[31m", "größe"] {
            assert_eq!(Name::new(wrong), None, "{wrong:?}");
        }
        assert_eq!(Name::new(&"x".repeat(MAX_NAME + 1)), None);
        assert!(Name::new(&"x".repeat(MAX_NAME)).is_some());
    }

    #[test]
    fn what_is_no_certificate_still_has_a_name() {
        let name = Name::of_certificate(b"no certificate");
        assert!(name.as_str().starts_with("certificate-"), "{name}");
    }
}

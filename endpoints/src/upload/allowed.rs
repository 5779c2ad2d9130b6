//! Which models and bundles a cloud takes and runs.

use std::collections::BTreeSet;

use crate::control::{Refuse, RefuseCode};
use crate::digest::{Digest, DigestParseError};

/// How an allow-list names the model and bundle that are built in.
const BUILT_IN: &str = "built-in";

/// Which models and bundles a cloud takes and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// None: all are.
    allowed: Option<BTreeSet<Digest>>,
}

/// Why an allow-list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllowListError {
    /// A line is neither a digest nor `built-in`.
    #[error("line {line} of the allow-list is neither a SHA-256 digest nor `built-in`: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: DigestParseError,
    },
}

impl Allowed {
    /// Everything may run.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Only what a list names: a SHA-256 digest in hexadecimal a line, or `built-in` for what
    /// is `built_in`. What follows after white space or `#`, and empty lines, are comments.
    ///
    /// # Errors
    /// If a line is something else.
    pub fn list(text: &str, built_in: [Digest; 2]) -> Result<Self, AllowListError> {
        let mut allowed = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            match line.split_whitespace().next() {
                None => {}
                Some(BUILT_IN) => allowed.extend(built_in),
                Some(word) => {
                    let line = index + 1;
                    let digest = word.parse();
                    allowed.insert(digest.map_err(|reason| AllowListError::Line { line, reason })?);
                }
            }
        }
        Ok(Self {
            allowed: Some(allowed),
        })
    }

    /// Lets this run, too.
    #[must_use]
    pub fn with(mut self, digest: Digest) -> Self {
        if let Some(allowed) = &mut self.allowed {
            allowed.insert(digest);
        }
        self
    }

    /// Whether only listed files may run.
    #[must_use]
    pub const fn is_list(&self) -> bool {
        self.allowed.is_some()
    }

    /// Whether this may run.
    #[must_use]
    pub fn allows(&self, digest: Digest) -> bool {
        let allowed = self.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.contains(&digest))
    }

    /// Refuses what may not run.
    ///
    /// # Errors
    /// If it may not run.
    pub fn check(&self, what: &str, digest: Digest) -> Result<(), Refuse> {
        if self.allows(digest) {
            return Ok(());
        }
        let words = format!(
            "this cloud runs listed files only, and the {what} {digest} is not on its list"
        );
        Err(Refuse::new(RefuseCode::NotAllowed, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_digests() {
        let [own, bundle, a, b, c] = [1, 2, 3, 4, 5].map(|byte| Digest::from_bytes([byte; 32]));
        let text = format!("# ours\n\n{a}  lite0.onnx\n  {b}# the other\n");
        let allowed = Allowed::list(&text, [own, bundle]).unwrap();
        assert!(allowed.is_list() && allowed.allows(a) && allowed.allows(b));
        assert!(!allowed.allows(own) && !allowed.allows(c));
        let refuse = allowed.check("model", c).unwrap_err();
        assert_eq!(refuse.code(), RefuseCode::NotAllowed);
        assert!(refuse.reason.contains(&c.to_string()));
        assert!(allowed.with(c).allows(c));
        let allowed = Allowed::list("built-in", [own, bundle]).unwrap();
        assert!(allowed.allows(own) && allowed.allows(bundle) && !allowed.allows(a));
        let error = Allowed::list("# x\nbuiltin", [own, bundle]).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        let everything = Allowed::everything().with(a);
        assert!(!everything.is_list() && everything.allows(c));
    }
}

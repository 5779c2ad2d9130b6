//! Why an identity cannot be used. All of these are about what we were given: files, options, the system.

use std::io;
use std::path::{Path, PathBuf};

/// Why an identity, or what others are checked against, cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read: it is not there, or not for us.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, by the system.
        source: io::Error,
    },
    /// A file cannot be written, or its folder not be made.
    #[error("cannot write {what} {}: {source}", path.display())]
    Write {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, by the system.
        source: io::Error,
    },
    /// A file is open to people that it must not be open to: whoever made it has to change that.
    #[error("{what} {} {open_to} (mode {mode:03o}); run `chmod {advice} {}`", path.display(), path.display())]
    Exposed {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What others can do.
        open_to: &'static str,
        /// Its permission bits.
        mode: u32,
        /// The permissions to give it.
        advice: &'static str,
    },
    /// A file is larger than any of its kind.
    #[error("{what} {} is larger than {most} bytes", path.display())]
    TooLarge {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The largest allowed.
        most: u64,
    },
    /// A file does not hold what it should: whoever wrote it has to repair it.
    #[error("{what} {}: {why}", path.display())]
    Content {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// There is no place for a state file.
    #[error(
        "there is no folder for state: neither XDG_STATE_HOME nor HOME is set to an absolute path; {0}"
    )]
    NoHome(&'static str),
    /// The system, or a library, does not make keys, certificates or random bytes.
    #[error("cannot make {0}: {1}")]
    Make(&'static str, String),
    /// A certificate and its key do not go into a handshake.
    #[error("the certificate cannot be used for TLS 1.3: {0}")]
    Tls(String),
    /// Options that cannot be used together, or not like this.
    #[error("{0}")]
    Options(String),
}

impl IdentityError {
    pub(super) fn content(what: &'static str, path: &Path, why: impl Into<String>) -> Self {
        Self::Content {
            what,
            path: path.to_owned(),
            why: why.into(),
        }
    }

    pub(super) fn write(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { what, path, source }
    }
}

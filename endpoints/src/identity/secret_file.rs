//! Reading files that hold secrets, or that decide whom to trust: of bounded size, and only if no stranger
//! has had the chance to read or change them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::IdentityError;

/// The largest file of certificates, keys or tokens that is read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Who else may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Privacy {
    /// Everybody may read it, but not change it.
    Public,
    /// Only its owner and group may read it: a secret that somebody else placed, maybe for a group.
    Group,
    /// Only its owner may read it: a secret that we have made ourselves.
    Owner,
}

impl Privacy {
    /// Permission bits that must not be set, what they let others do, and better permissions.
    const fn forbids(self) -> (u32, &'static str, &'static str) {
        match self {
            Self::Public => (0o002, "can be changed by everybody", "o-w"),
            Self::Group => (0o007, "can be read by everybody", "o-rwx"),
            Self::Owner => (0o077, "can be read by others than its owner", "600"),
        }
    }
}

/// Reads a file of at most [`MAX_FILE`] bytes. `what` says what it should hold.
///
/// # Errors
/// If it cannot be read, is too large, or is not as private as it must be. Permissions are checked on Unix
/// only.
pub fn read(
    what: &'static str,
    path: &Path,
    privacy: Privacy,
) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    open(what, path, privacy)?.ok_or_else(|| IdentityError::Read {
        what,
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// The same, but a file that does not exist is none.
///
/// # Errors
/// As [`read`].
pub fn open(
    what: &'static str,
    path: &Path,
    privacy: Privacy,
) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let failed = |source| IdentityError::Read {
        what,
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check(what, path, &file, privacy)?;
    contents(what, path, &mut file).map(Some)
}

/// Reads what an open file holds.
pub(super) fn contents(
    what: &'static str,
    path: &Path,
    file: &mut File,
) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    // As large at once as it may become: growing would leave copies of secrets behind.
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let capacity = usize::try_from(size.min(MAX_FILE) + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|source| IdentityError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(IdentityError::TooLarge {
            what,
            path: path.to_owned(),
            most: MAX_FILE,
        });
    }
    Ok(bytes)
}

/// Refuses an open file that is less private than it must be.
pub(super) fn check(
    what: &'static str,
    path: &Path,
    file: &File,
    privacy: Privacy,
) -> Result<(), IdentityError> {
    let mode = mode(file).map_err(|source| IdentityError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    let (forbidden, open_to, advice) = privacy.forbids();
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(IdentityError::Exposed {
        what,
        path: path.to_owned(),
        open_to,
        mode,
        advice,
    })
}

#[cfg(unix)]
fn mode(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = file.metadata()?;
    // A pipe or terminal belongs to whoever handed it over (`--token-file <(…)`).
    Ok(if metadata.is_file() {
        metadata.permissions().mode() & 0o777
    } else {
        0
    })
}

#[cfg(not(unix))]
fn mode(_file: &File) -> io::Result<u32> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_must_be_as_private_as_its_kind() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "content").unwrap();
        // For each kind, the most open permissions that it may have, and one bit more.
        for (privacy, may, more, words) in [
            (Privacy::Public, 0o664, 0o666, "can be changed by everybody"),
            (Privacy::Group, 0o660, 0o664, "can be read by everybody"),
            (Privacy::Owner, 0o600, 0o640, "can be read by others"),
        ] {
            let permit = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
            permit(may).unwrap();
            assert_eq!(*read("it", &path, privacy).unwrap(), b"content");
            permit(more).unwrap();
            let error = read("it", &path, privacy).unwrap_err().to_string();
            assert!(
                error.contains(words) && error.contains("run `chmod"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_from_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(open("it", &path, Privacy::Owner).unwrap().is_none());
        let error = read("it", &path, Privacy::Owner).unwrap_err().to_string();
        assert!(error.starts_with("cannot read it "), "{error}");
        assert!(state_file(&path, 0).is_empty());
    }

    #[test]
    fn no_file_is_read_beyond_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let most = usize::try_from(MAX_FILE).unwrap();
        assert_eq!(state_file(&path, most).len(), most);
        fs::write(&path, vec![b'x'; most + 1]).unwrap();
        let error = read("it", &path, Privacy::Owner).unwrap_err();
        assert!(matches!(error, IdentityError::TooLarge { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn no_device_is_read_beyond_the_limit_either() {
        let error = read("it", Path::new("/dev/zero"), Privacy::Owner).unwrap_err();
        assert!(matches!(error, IdentityError::TooLarge { .. }), "{error}");
    }

    fn state_file(path: &Path, len: usize) -> Zeroizing<Vec<u8>> {
        crate::identity::state::create(path, &vec![b'x'; len]).unwrap();
        read("it", path, Privacy::Owner).unwrap()
    }
}

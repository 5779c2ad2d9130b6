//! Where state is kept between runs, and how a file of it comes to be.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The folder of our state, by the XDG base directory specification: `tensorwire` in `$XDG_STATE_HOME`, or
/// else in `~/.local/state`; none where neither is set to an absolute path.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    folder_in(|name| env::var_os(name).map(PathBuf::from))
}

fn folder_in(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("tensorwire"))
}

/// Makes the folder of `path`, for us alone, where it does not exist.
///
/// # Errors
/// If the system does not make it.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Options to make files that only their owner can read.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Writes a file that only its owner can read, whole or not at all: false where another process was
/// faster, whose file stays.
///
/// # Errors
/// If the system does not write it.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidFilename)?
        .to_owned();
    // Unlike numbers of processes, it is nobody else's where several machines share the folder.
    let number = getrandom::u64().map_err(io::Error::other)?;
    name.push(format!(".{number:016x}.tmp"));
    let temporary = path.with_file_name(name);
    let made = write_new(&temporary, bytes).and_then(|()| {
        // Unlike a renamed file, a linked one replaces none.
        match fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    });
    let _ = fs::remove_file(&temporary);
    made
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = private().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_specification_says() {
        let with = |state: Option<&str>, home: Option<&str>| {
            let (state, home) = (state.map(PathBuf::from), home.map(PathBuf::from));
            folder_in(|name| match name {
                "XDG_STATE_HOME" => state.clone(),
                "HOME" => home.clone(),
                _ => None,
            })
        };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(with(Some("/s"), Some("/h")), at("/s/tensorwire"));
        assert_eq!(with(None, Some("/h")), at("/h/.local/state/tensorwire"));
        let relative = with(Some("s"), Some("/h"));
        assert_eq!(relative, at("/h/.local/state/tensorwire"));
        assert_eq!(with(Some(""), None), None);
        assert_eq!(with(None, Some("h")), None);
    }

    #[test]
    fn a_file_is_made_once_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        make_folder_of(&path).unwrap();
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_made_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/file");
        make_folder_of(&path).unwrap();
        create(&path, b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

//! Files and standard output.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

/// Prints `text` and a line break on standard output. That whoever reads has gone (`| head`) is no
/// failure.
///
/// # Errors
/// If standard output cannot be written.
pub fn print(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, in the place of one that is there already. Pipes and devices are
/// written as they are.
///
/// # Errors
/// If the folder is missing or cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one: what it points to is replaced.
    let path = match fs::canonicalize(path) {
        Ok(found) if !fs::metadata(&found)?.is_file() => return fs::write(found, bytes),
        Ok(found) => found,
        Err(_) => path.to_owned(),
    };
    let mut temporary = path
        .file_name()
        .ok_or(ErrorKind::InvalidFilename)?
        .to_owned();
    temporary.push(format!(".{}.tmp", process::id()));
    let temporary = path.with_file_name(temporary);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Refuses a file that could not be written once everything is computed.
///
/// # Errors
/// If the folder of one of the files is missing.
pub fn check_folders<'a>(files: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Result<()> {
    for file in files.into_iter().flatten() {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || file.is_dir() {
            bail!(
                "cannot write {}: its folder is missing, or it is one itself",
                file.display()
            );
        }
    }
    Ok(())
}

/// Writes `{"rows": [...]}`.
///
/// # Errors
/// As [`write_file`].
pub fn write_rows(path: &Path, rows: &impl Serialize) -> Result<()> {
    #[derive(Serialize)]
    struct File<'a, R> {
        rows: &'a R,
    }
    let mut text = serde_json::to_string_pretty(&File { rows })?;
    text.push('\n');
    write_file(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_leave_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        write_file(&path, b"old").unwrap();
        write_rows(&path, &[1, 2]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, serde_json::json!({"rows": [1, 2]}));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_file(&null, b"gone").unwrap();
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
        assert!(!fs::metadata(&null).unwrap().is_file());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/rows.json");
        let error = write_file(&path, b"").unwrap_err().to_string();
        assert!(error.contains("no/rows.json"), "{error}");
        let error = check_folders([&None, &Some(path)]).unwrap_err().to_string();
        assert!(error.contains("no/rows.json"), "{error}");
        check_folders([&Some("rows.json".into()), &Some(folder.path().join("x"))]).unwrap();
        assert!(check_folders([&Some(folder.path().to_owned())]).is_err());
    }
}

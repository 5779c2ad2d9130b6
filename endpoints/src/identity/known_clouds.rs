//! The clouds that edges here have met: a file of their fingerprints.
//!
//! A line for each: `HOST:PORT SHA256`. Empty lines, and lines that begin with `#`, mean nothing. A cloud
//! may have several lines: it is known by any of its fingerprints.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::secret_file::{self, Privacy};
use super::trust::TrustError;
use super::{IdentityError, state};
use crate::digest::Digest;

const WHAT: &str = "the list of known clouds";
/// The header of a new file.
const HEADER: &str = "# Clouds that edges have met: HOST:PORT, and SHA-256 of the certificate.\n";

/// A file of known clouds. Opened anew for each use, so that processes can share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownClouds(PathBuf);

/// What the file knows of a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Knows {
    /// That it has this certificate.
    Cloud,
    /// Nothing.
    Nothing,
}

impl KnownClouds {
    /// The clouds in the file at `path`, which need not exist yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is known of `cloud` (`HOST:PORT`), which shows a certificate with this fingerprint.
    ///
    /// # Errors
    /// If it is known by others, or the file cannot be used.
    pub fn look_up(&self, cloud: &str, found: Digest) -> Result<Knows, TrustError> {
        match OpenOptions::new().read(true).open(&self.0) {
            Ok(mut file) => {
                // Not while another process writes.
                file.lock_shared()
                    .map_err(|source| self.unreadable(source))?;
                self.search(&mut file, cloud, found).map(|(knows, _)| knows)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Knows::Nothing),
            Err(error) => Err(self.unreadable(error).into()),
        }
    }

    /// The same, but a cloud of which nothing was known is known from now on. Of processes that meet it at
    /// the same time, one is the first.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up), or if the file cannot be written.
    pub fn meet(&self, cloud: &str, found: Digest) -> Result<Knows, TrustError> {
        if self.look_up(cloud, found)? == Knows::Cloud {
            return Ok(Knows::Cloud);
        }
        state::make_folder_of(&self.0).map_err(IdentityError::write(WHAT, &self.0))?;
        let file = state::private()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.0);
        let mut file = file.map_err(IdentityError::write(WHAT, &self.0))?;
        file.lock().map_err(IdentityError::write(WHAT, &self.0))?;
        let (knows, text) = self.search(&mut file, cloud, found)?;
        if knows == Knows::Nothing {
            let start = match text.last() {
                None => HEADER,
                Some(b'\n') => "",
                // Whoever edited it left out the end of the last line.
                Some(_) => "\n",
            };
            // In one piece, so that a crash leaves no half of a line.
            let line = format!("{start}{cloud} {found}\n");
            file.write_all(line.as_bytes())
                .and_then(|()| file.sync_data())
                .map_err(IdentityError::write(WHAT, &self.0))?;
        }
        Ok(knows)
    }

    fn search(
        &self,
        file: &mut File,
        cloud: &str,
        found: Digest,
    ) -> Result<(Knows, Vec<u8>), TrustError> {
        secret_file::check(WHAT, &self.0, file, Privacy::Public)?;
        let bytes = secret_file::contents(WHAT, &self.0, file)?;
        let wrong = |why: String| IdentityError::content(WHAT, &self.0, why);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text".to_owned()))?;
        let mut known = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = number + 1;
            let entry = line.split_once(|c: char| c.is_ascii_whitespace());
            let entry = entry.and_then(|(name, digest)| {
                let digest: Digest = digest.trim_ascii().parse().ok()?;
                Some((name, digest))
            });
            let Some((name, digest)) = entry else {
                let why = format!("line {number} is not `HOST:PORT SHA256`; repair or remove it");
                return Err(wrong(why).into());
            };
            if !name.eq_ignore_ascii_case(cloud) {
                continue;
            }
            if digest == found {
                return Ok((Knows::Cloud, bytes.to_vec()));
            }
            known = Some((number, digest));
        }
        match known {
            None => Ok((Knows::Nothing, bytes.to_vec())),
            Some((line, known)) => Err(TrustError::Changed {
                cloud: cloud.to_owned(),
                known,
                found,
                file: self.0.clone(),
                line,
            }),
        }
    }

    fn unreadable(&self, source: io::Error) -> IdentityError {
        IdentityError::Read {
            what: WHAT,
            path: self.0.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CLOUD: &str = "cloud.example:4433";

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn clouds(&self) -> KnownClouds {
            KnownClouds::at(self.0.path().join("state/known-clouds"))
        }

        fn with(&self, text: &str) -> KnownClouds {
            let path = self.0.path().join("known-clouds");
            let _ = fs::remove_file(&path);
            state::create(&path, text.as_bytes()).unwrap();
            KnownClouds::at(path)
        }
    }

    #[test]
    fn a_cloud_is_known_from_the_first_time_on() {
        let folder = Folder::new();
        let clouds = folder.clouds();
        let (one, other) = (Digest::of("one"), Digest::of("other"));
        assert_eq!(clouds.look_up(CLOUD, one).unwrap(), Knows::Nothing);
        assert_eq!(clouds.meet(CLOUD, one).unwrap(), Knows::Nothing);
        assert_eq!(clouds.meet(CLOUD, one).unwrap(), Knows::Cloud);
        assert_eq!(clouds.look_up(CLOUD, one).unwrap(), Knows::Cloud);
        assert_eq!(
            clouds.look_up("Cloud.Example:4433", one).unwrap(),
            Knows::Cloud
        );
        // Another port is another cloud.
        assert_eq!(
            clouds.meet("cloud.example:4434", other).unwrap(),
            Knows::Nothing
        );
        let text = fs::read_to_string(clouds.path()).unwrap();
        assert_eq!(
            text,
            format!("{HEADER}{CLOUD} {one}\ncloud.example:4434 {other}\n")
        );
    }

    #[test]
    fn another_certificate_is_refused_and_not_written() {
        let folder = Folder::new();
        let clouds = folder.clouds();
        let (known, found) = (Digest::of("one"), Digest::of("other"));
        clouds.meet(CLOUD, known).unwrap();
        let before = fs::read(clouds.path()).unwrap();
        for error in [clouds.look_up(CLOUD, found), clouds.meet(CLOUD, found)] {
            let error = error.unwrap_err();
            assert!(
                matches!(error, TrustError::Changed { line: 2, .. }),
                "{error:?}"
            );
            let text = error.to_string();
            for part in [
                &known.to_string(),
                &found.to_string(),
                "remove line 2 of ",
                "somebody is between",
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!(fs::read(clouds.path()).unwrap(), before);
    }

    #[test]
    fn a_cloud_may_have_several_fingerprints() {
        let folder = Folder::new();
        let (old, new) = (Digest::of("old"), Digest::of("new"));
        let clouds = folder.with(&format!("{CLOUD} {old}\n# since June\n\n{CLOUD}\t{new}"));
        assert_eq!(clouds.look_up(CLOUD, old).unwrap(), Knows::Cloud);
        assert_eq!(clouds.look_up(CLOUD, new).unwrap(), Knows::Cloud);
        assert!(clouds.look_up(CLOUD, Digest::of("third")).is_err());
        // The last line has no end.
        assert_eq!(clouds.meet("b:1", new).unwrap(), Knows::Nothing);
        assert_eq!(clouds.look_up(CLOUD, new).unwrap(), Knows::Cloud);
        assert_eq!(clouds.look_up("b:1", new).unwrap(), Knows::Cloud);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        let folder = Folder::new();
        let digest = Digest::of("x").to_string();
        for line in [CLOUD, "b:1 123", &format!("b:1 {digest} more"), &digest] {
            let clouds = folder.with(&format!("# comment\n{line}\n"));
            let error = clouds
                .look_up(CLOUD, Digest::of("x"))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("line 2 is not `HOST:PORT SHA256`"),
                "{error}"
            );
            assert!(clouds.meet(CLOUD, Digest::of("x")).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_can_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        let clouds = folder.clouds();
        clouds.meet(CLOUD, Digest::of("x")).unwrap();
        fs::set_permissions(clouds.path(), fs::Permissions::from_mode(0o666)).unwrap();
        let error = clouds
            .look_up(CLOUD, Digest::of("x"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("can be changed by everybody"), "{error}");
    }

    #[test]
    fn of_many_that_meet_a_cloud_at_once_one_is_the_first_and_no_line_is_lost() {
        let folder = Folder::new();
        let clouds = folder.clouds();
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let clouds = &clouds;
                    scope.spawn(move || {
                        let own = format!("host-{thread}:1");
                        assert_eq!(clouds.meet(&own, Digest::of(&own)).unwrap(), Knows::Nothing);
                        let shared = clouds.meet(CLOUD, Digest::of("x")).unwrap();
                        usize::from(shared == Knows::Nothing)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(firsts, 1);
        let text = fs::read_to_string(clouds.path()).unwrap();
        assert_eq!(text.lines().count(), 1 + 8 + 1, "{text}");
        for thread in 0..8 {
            let own = format!("host-{thread}:1");
            assert_eq!(
                clouds.look_up(&own, Digest::of(&own)).unwrap(),
                Knows::Cloud
            );
        }
    }
}

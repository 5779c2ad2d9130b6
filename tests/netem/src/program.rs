//! A program at work.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to start, or to end when it is asked to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A program at work.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program whose standard error goes to a file.
    pub(crate) fn start(name: &str, folder: &Path, command: Command) -> Result<Self> {
        Self::start_with(name, folder, command, Stdio::null())
    }

    /// The same, with its standard output elsewhere than nowhere.
    pub(crate) fn start_with(
        name: &str,
        folder: &Path,
        mut command: Command,
        to: Stdio,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let child = command
            .stdin(Stdio::null())
            .stdout(to)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<()> {
        let start = Instant::now();
        while !self.said().contains(text) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ends with {status}: {}", self.name, self.said().trim());
            }
            if start.elapsed() > PATIENCE {
                bail!("{} does not begin: {}", self.name, self.said().trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end at most so long, then kills it.
    pub(crate) fn end(&mut self, patience: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                self.signal(Signal::KILL);
                return Ok(self.child.wait()?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for an end that has to be a good one.
    pub(crate) fn end_well(&mut self, patience: Duration) -> Result<()> {
        let status = self.end(patience)?;
        if !status.success() {
            bail!("{} ends with {status}: {}", self.name, self.said().trim());
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

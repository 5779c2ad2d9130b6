//! A child process, from its start to its end.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::verdict::{MAX_REPORT, shown};
use super::{Report, VetError, VetLimits};

/// The argument that makes a program a child.
pub(super) const CHILD: &str = "vet-model";
/// The argument after it for a child that tries no model, but its walls.
pub(super) const PROBE: &str = "probe";
/// The argument after it for a child that tries a model.
pub(super) const TRY: &str = "try";
/// The most that is read of what a child says in words.
const MAX_WORDS: u64 = 8 * 1_024;
/// How often it is looked whether a child has ended.
const LOOK: Duration = Duration::from_millis(4);

/// A child that is to be started.
pub(super) struct Job<'a> {
    command: Command,
    program: &'a Path,
    limits: VetLimits,
}

impl<'a> Job<'a> {
    /// A child that tries a model at a split, or its walls if there is none.
    pub(super) fn new(
        program: &'a Path,
        limits: VetLimits,
        split: Option<&str>,
    ) -> Result<Self, VetError> {
        let mut command = Command::new(program);
        let (memory, seconds) = (limits.memory.to_string(), limits.time.as_secs().to_string());
        let mode = if split.is_some() { TRY } else { PROBE };
        command.args([CHILD, mode, &memory, &seconds]);
        if let Some(split) = split {
            if split.contains('\0') {
                return Err(VetError::Failed {
                    reason: "no tensor has such a name".to_owned(),
                });
            }
            command.arg(split);
        }
        command
            .env_clear()
            // Else each thread of the C library's allocator takes 64 MiB of address space.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Self {
            command,
            program,
            limits,
        })
    }

    /// Runs the child with this as its standard input, until it has spoken or its time is over.
    pub(super) fn run(mut self, input: Stdio) -> Result<Report, VetError> {
        let mut child = self.command.stdin(input).spawn().map_err(|error| {
            let program = self.program.display();
            system(&format!("{program} cannot be started: {error}"))
        })?;
        let report = read(child.stdout.take(), MAX_REPORT);
        let words = read(child.stderr.take(), MAX_WORDS);
        let ended = wait(&mut child, self.limits.wall);
        let (report, words) = (joined(report), joined(words));
        let Some(status) = ended.map_err(|error| system(&error.to_string()))? else {
            let seconds = self.limits.wall.as_secs();
            return Err(VetError::Slow { seconds });
        };
        match Report::decode(&report).filter(|_| status.success()) {
            Some(report) => Ok(report),
            None => Err(self.explain(status, &String::from_utf8_lossy(&words))),
        }
    }

    /// Why a child ended without a report.
    fn explain(&self, status: ExitStatus, words: &str) -> VetError {
        let VetLimits { memory, time, .. } = self.limits;
        let (limit, seconds) = (memory, time.as_secs());
        // In the words of the language's runtime.
        if words.contains("memory allocation of") {
            return VetError::Memory { limit };
        }
        if words.contains("has overflowed its stack") {
            return VetError::TooDeep;
        }
        match signal(status) {
            Some(number) if number == SIGXCPU => VetError::Time { seconds },
            // We have not killed it: the system's memory is out, or somebody is at work.
            Some(number) if number == SIGKILL => system("the child was killed"),
            Some(number) => VetError::Crashed {
                how: format!("signal {number}"),
            },
            None => VetError::Crashed {
                how: format!("{status} {}", shown(words)),
            },
        }
    }
}

fn system(reason: &str) -> VetError {
    VetError::System {
        reason: reason.to_owned(),
    }
}

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

/// Waits for the end of a child; one that takes too long is killed, and none comes back.
fn wait(child: &mut Child, longest: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + longest;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Reads what a child says while it runs, so that it never waits for us; what is too much is dropped.
fn read(pipe: Option<impl Read + Send + 'static>, most: u64) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A pipe that breaks has brought what it could.
            let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        bytes
    })
}

fn joined(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

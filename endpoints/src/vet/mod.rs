//! Trying a stranger's model where it can do no harm.
//!
//! A model that an edge uploads is first loaded, split and run in a child process: the same program, started
//! with a hidden argument ([`child_process`]). There it gets so much memory and time and no more, and cannot
//! open files, reach the network, or start anything (`sandbox.rs`). What it cost is its [`Verdict`], which is
//! kept beside the model; a model that fails never comes near this process, and whoever sent it is told why.
//!
//! This process parses a model only after the child has passed it, from the same bytes ([`Verdict::digest`]),
//! with the same split, on a larger stack. A model that passed once can still cost what it cost then, again
//! and again: but not more, as it may have no tensor of a size that depends on its input
//! ([`Model::from_upload`](crate::model::Model::from_upload)).
//!
//! What this cannot keep out is a model that makes the inference engine itself err in memory: the engine runs
//! in this process, too.

mod child;
mod error;
mod process;
mod sandbox;
mod syscalls;
mod trial;
mod verdict;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::store::{Blob, Store};

pub(crate) use child::LOADER_STACK;
pub use child::child_process;
pub use error::VetError;
pub use sandbox::Sandbox;
pub(crate) use sandbox::step_aside;
pub use verdict::Verdict;

use process::Job;
use verdict::Report;

/// Models that are vetted at a time: each may take all the memory that it is allowed.
const AT_ONCE: usize = 2;
/// Failures that are remembered, so that a model that failed costs nothing when it comes again.
const FAILURES: usize = 64;
/// How long a child may take by the clock, relative to the time that it may compute: others compute, too.
const WALL: u32 = 4;

/// What a model may take while it is vetted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by the caller, field by field"
)]
pub struct VetLimits {
    /// Bytes of address space, the program's own included (some 100 MiB); default 1 GiB.
    pub memory: u64,
    /// Time to load, split and run it, whole seconds of one core; default 15.
    pub time: Duration,
    /// The same by the clock, with what others compute meanwhile; default four times as long, 60 s.
    pub wall: Duration,
}

impl Default for VetLimits {
    fn default() -> Self {
        Self::new(1 << 30, Duration::from_secs(15))
    }
}

impl VetLimits {
    /// So many bytes, and so much time of one core; by the clock four times as long.
    #[must_use]
    pub const fn new(memory: u64, time: Duration) -> Self {
        Self {
            memory,
            time,
            wall: time.saturating_mul(WALL),
        }
    }
}

/// Starts children that try models, few at a time, and remembers what they found.
#[derive(Debug)]
pub struct Vetter {
    program: PathBuf,
    limits: VetLimits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is being vetted, by key.
    at_work: Vec<Digest>,
    failed: VecDeque<(Digest, VetError)>,
}

impl Vetter {
    /// Vets by starting this program again, whose `main` has to call [`child_process`] first.
    #[must_use]
    pub fn new(limits: VetLimits) -> Self {
        // Unlike the path that it was started by, this is there when the program has been replaced.
        let own = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Self::with_program(own, limits)
    }

    /// Vets by starting another program that calls [`child_process`] first.
    #[must_use]
    pub fn with_program(program: impl Into<PathBuf>, limits: VetLimits) -> Self {
        Self {
            program: program.into(),
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// What a model may take.
    #[must_use]
    pub const fn limits(&self) -> VetLimits {
        self.limits
    }

    /// Starts a child that tries to do what a model must not, and tells what keeps it from that here.
    ///
    /// # Errors
    /// If no child can be started.
    pub fn probe(&self) -> Result<Sandbox, VetError> {
        match self.job(None)?.run(Stdio::null())? {
            Report::Probed(sandbox) => Ok(sandbox),
            _ => Err(VetError::Crashed {
                how: "it gave another answer".to_owned(),
            }),
        }
    }

    /// Tries a model at a split, unless that has been done: verdicts are kept in `store`. Blocks; waits while
    /// others are vetted, for at most as long as one may take.
    ///
    /// # Errors
    /// If the model fails or needs too much, or no child can be started.
    pub fn vet(&self, store: &Store, blob: &Blob, split: &str) -> Result<Verdict, VetError> {
        let key = self.key(blob.digest(), split);
        let known = || {
            let bytes = store.note(blob.digest(), key)?;
            Verdict::decode(&bytes).filter(|verdict| verdict.digest() == blob.digest())
        };
        if let Some(verdict) = known() {
            return Ok(verdict);
        }
        let _turn = self.turn(key)?;
        // Somebody may have been faster.
        if let Some(verdict) = known() {
            return Ok(verdict);
        }
        let vetted = self.try_out(blob, split);
        match &vetted {
            Ok(verdict) => store.set_note(blob.digest(), key, &verdict.encode()),
            Err(error) if error.is_the_models() => self.remember(key, error.clone()),
            Err(_) => {}
        }
        vetted
    }

    fn try_out(&self, blob: &Blob, split: &str) -> Result<Verdict, VetError> {
        let file = blob.reader().map_err(|error| VetError::System {
            reason: error.to_string(),
        })?;
        match self.job(Some(split))?.run(Stdio::from(file))? {
            Report::Passed(verdict) if verdict.digest() == blob.digest() => Ok(verdict),
            // The file changed after it was checked.
            Report::Passed(_) | Report::Probed(_) => Err(VetError::System {
                reason: "the child was given another model".to_owned(),
            }),
            Report::Failed(reason) => Err(VetError::Failed { reason }),
            Report::Memory => Err(VetError::Memory {
                limit: self.limits.memory,
            }),
        }
    }

    fn job(&self, split: Option<&str>) -> Result<Job<'_>, VetError> {
        let (program, limits) = (self.program.as_path(), self.limits);
        Job::new(program, limits, split)
    }

    /// What a verdict holds for: this model, split and program, and these limits.
    fn key(&self, model: Digest, split: &str) -> Digest {
        let VetLimits { memory, time, .. } = self.limits;
        let of = format!(
            "{} {model} {memory} {} {split}",
            env!("CARGO_PKG_VERSION"),
            time.as_secs()
        );
        Digest::of(of)
    }

    /// Waits until there is room for one more child, and nobody vets the same.
    fn turn(&self, key: Digest) -> Result<Turn<'_>, VetError> {
        let until = Instant::now() + self.limits.wall;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let failed = state.failed.iter().find(|(failed, _)| *failed == key);
            if let Some((_, error)) = failed {
                return Err(error.clone());
            }
            if state.at_work.len() < AT_ONCE && !state.at_work.contains(&key) {
                state.at_work.push(key);
                return Ok(Turn { vetter: self, key });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(VetError::Busy);
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn remember(&self, key: Digest, error: VetError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed.len() >= FAILURES {
            state.failed.pop_front();
        }
        state.failed.push_back((key, error));
    }
}

/// One of the children that there may be at a time.
struct Turn<'a> {
    vetter: &'a Vetter,
    key: Digest,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let state = self.vetter.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.at_work.retain(|key| *key != self.key);
        self.vetter.changed.notify_all();
    }
}

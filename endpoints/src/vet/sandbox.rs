//! The walls around a child: limits of the kernel on memory, time and files, Landlock, seccomp.
//!
//! Landlock and seccomp depend on the kernel and on what this process runs in; each is put up as far as it
//! goes, and a probe ([`Vetter::probe`](super::Vetter::probe)) tells how far that is.

use minicbor::{Decode, Encode};

/// What keeps a model from harm on this system, as a child found it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[non_exhaustive]
pub struct Sandbox {
    /// Whether Landlock is enforced: "full", "partial" (an older kernel, which knows fewer kinds of access) or
    /// "none".
    #[n(0)]
    pub landlock: String,
    /// Whether seccomp lets only the system calls through that computing takes.
    #[n(1)]
    pub seccomp: bool,
    /// What a model could do nevertheless, in words; best empty.
    #[n(2)]
    pub open: Vec<String>,
}

/// How much this gives way to others: a child, and the thread that loads what has passed, once more.
pub(super) const NICE: i32 = 5;

/// Lets this thread compute after others. On systems where that concerns the whole process, nothing changes.
pub(crate) fn step_aside() {
    #[cfg(target_os = "linux")]
    linux::step_aside();
}

#[cfg(target_os = "linux")]
pub(super) use linux::{landlock, limit, seccomp, step_back};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;

    use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _};
    use landlock::{RulesetStatus, Scope};
    use rustix::process::{self, Resource, Rlimit, Signal};

    use crate::vet::syscalls;

    /// Linux counts niceness by thread.
    pub(super) fn step_aside() {
        let _ = process::nice(super::NICE);
    }

    /// Lets others go first, and ends with the parent.
    pub(in crate::vet) fn step_back(oom_score: &str) {
        // Courtesies: a child that may not is tried nevertheless.
        let _ = process::set_parent_process_death_signal(Some(Signal::KILL));
        let _ = process::nice(super::NICE);
        let _ = fs::write("/proc/self/oom_score_adj", oom_score);
    }

    /// Bounds memory and time, and takes away what has to do with files. What is open stays open.
    pub(in crate::vet) fn limit(memory: u64, seconds: u64) -> io::Result<()> {
        let limits = [
            // Beyond the soft limit the process is sent SIGXCPU, beyond the hard one SIGKILL.
            (Resource::Cpu, seconds, seconds + 1),
            (Resource::Fsize, 0, 0),
            (Resource::Core, 0, 0),
            (Resource::Nofile, 0, 0),
            (Resource::As, memory, memory),
        ];
        for (resource, current, maximum) in limits {
            let limit = Rlimit {
                current: Some(current),
                maximum: Some(maximum),
            };
            process::setrlimit(resource, limit)?;
        }
        Ok(())
    }

    /// Forbids this thread, and those that it starts, all files, TCP, and signals to others.
    pub(in crate::vet) fn landlock() -> String {
        let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
            let ruleset = Ruleset::default()
                .handle_access(AccessFs::from_all(ABI::V6))?
                .handle_access(AccessNet::from_all(ABI::V6))?
                .scope(Scope::from_all(ABI::V6))?
                .create()?;
            Ok(ruleset.restrict_self()?.ruleset)
        };
        let name = match restrict() {
            Ok(RulesetStatus::FullyEnforced) => "full",
            Ok(RulesetStatus::PartiallyEnforced) => "partial",
            Ok(RulesetStatus::NotEnforced) | Err(_) => "none",
        };
        name.to_owned()
    }

    /// Lets all threads make only the system calls that computing takes. Says whether that works here.
    pub(in crate::vet) fn seccomp() -> bool {
        let filter = syscalls::filter();
        filter.is_some_and(|filter| seccompiler::apply_filter_all_threads(&filter).is_ok())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{landlock, limit, seccomp, step_back};

/// There are no walls: nothing is vetted.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    pub(in crate::vet) fn step_back(_oom_score: &str) {}

    pub(in crate::vet) fn limit(_memory: u64, _seconds: u64) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub(in crate::vet) fn landlock() -> String {
        "none".to_owned()
    }

    pub(in crate::vet) fn seccomp() -> bool {
        false
    }
}

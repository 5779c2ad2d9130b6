//! Which kernel spoils the network: this one, where it has netem and lets us, or user-mode Linux.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};

use crate::inside::Plan;
use crate::interrupt::Interrupt;
use crate::processor::first;

/// Lines of a failed run's console that are shown.
const SHOWN_LINES: usize = 15;
/// Beyond what a run should take, it is given so long.
const GRACE: Duration = Duration::from_secs(180);
/// The longest that a kernel may take to start and try its netem.
const ATTEMPT: Duration = Duration::from_secs(60);
/// Modules of user-mode Linux, below `/usr/lib/uml/modules/VERSION/kernel`.
const MODULES: [&str; 6] = [
    "drivers/net/veth",
    "net/sched/sch_netem",
    "net/sched/sch_tbf",
    "net/sched/sch_codel",
    "net/sched/sch_fq",
    "net/ipv4/tcp_bbr",
];
/// Memory of user-mode Linux.
const MEMORY: &str = "512M";
const USER_MODE: &str = "linux.uml";
/// Programs of a run, and the Debian packages that have them.
const TOOLS: [(&str, &str); 3] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ethtool", "ethtool"),
];

/// What is asked for.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// This kernel where it has netem and we are root, else user-mode Linux
    Auto,
    /// This kernel, in namespaces of its own: needs root
    Host,
    /// User-mode Linux: needs no privileges
    Uml,
}

/// A kernel that can run a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kernel {
    /// This one.
    Host,
    /// User-mode Linux.
    Uml,
}

/// A run, to the kernel.
struct Run<'a> {
    /// Where its files are.
    folder: &'a Path,
    /// The file that it leaves once all went well.
    done: &'a Path,
    /// Which of those that run at the same time.
    lane: usize,
}

impl Kernel {
    /// Finds one, or says what is missing.
    pub(crate) fn find(choice: Choice) -> Result<Self> {
        for (tool, package) in TOOLS {
            if !is_installed(tool) {
                bail!("there is no `{tool}`; install it: apt-get install {package}");
            }
        }
        let host = match choice {
            Choice::Uml => Err("user-mode Linux was asked for".to_owned()),
            Choice::Auto | Choice::Host => host(),
        };
        let why = match host {
            Ok(()) => return Ok(Self::Host),
            Err(why) if choice == Choice::Host => bail!("this kernel cannot be used: {why}"),
            Err(why) => why,
        };
        for (tool, package) in [(USER_MODE, "user-mode-linux"), ("insmod", "kmod")] {
            if !is_installed(tool) {
                bail!(
                    "this kernel cannot be used ({why}), and there is no `{tool}`; install it: apt-get install \
                     {package}"
                );
            }
        }
        Ok(Self::Uml)
    }

    /// Finds one and tries it: a kernel that is installed may still not start, or lack a module.
    pub(crate) fn check(choice: Choice) -> Result<Self> {
        let kernel = Self::find(choice)?;
        let folder = tempfile::Builder::new().prefix("tw-netem-").tempdir()?;
        let done = folder.path().join("done");
        let attempt = format!(
            "{{ ip netns add attempt && tc qdisc add dev lo root netem delay 1ms && : >{}; }}",
            quoted(&done)
        );
        let interrupt = Interrupt::listen()?;
        let run = Run {
            folder: folder.path(),
            done: &done,
            lane: 0,
        };
        kernel.obey(&attempt, &run, ATTEMPT, &interrupt)?;
        Ok(kernel)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Host => "this kernel",
            Self::Uml => "user-mode Linux",
        }
    }

    /// Runs a plan, which takes about so many seconds, and leaves its record in the plan's folder. Plans of
    /// different lanes may run at the same time.
    pub(crate) fn run(
        self,
        plan: &Plan,
        lane: usize,
        seconds: f64,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let file = plan.folder.join("plan.json");
        fs::write(&file, serde_json::to_vec(plan)?)?;
        let inside = format!("{} inside {}", quoted(&plan.programs.netem), quoted(&file));
        let patience = Duration::from_secs_f64(seconds) + GRACE;
        let run = Run {
            folder: &plan.folder,
            done: &plan.record(),
            lane,
        };
        self.obey(&inside, &run, patience, interrupt)
    }

    /// Has a command of the shell done in the kernel.
    fn obey(
        self,
        inside: &str,
        run: &Run<'_>,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let init = run.folder.join("init");
        fs::write(&init, self.script(inside))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o700))?;
        let console = run.folder.join("console.log");
        let mut command = self.command(&init, run.lane)?;
        command.stdin(Stdio::null());
        command.stdout(File::create(&console)?);
        command.stderr(File::options().append(true).open(&console)?);
        // So that Ctrl-C reaches this program alone, which then ends everything below.
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        let ended = wait(&mut child, patience, interrupt);
        end_group(&mut child);
        match ended? {
            End::Interrupted => bail!("interrupted"),
            End::TooLong => bail!("the run does not end; {}", last_words(&console)),
            End::Done if !run.done.is_file() => {
                bail!("the run fails: {}", last_words(&console))
            }
            End::Done => Ok(()),
        }
    }

    fn command(self, init: &Path, lane: usize) -> Result<Command> {
        let shown = init.display().to_string();
        match self {
            Self::Host => {
                // Namespaces, mounts and processes of the run are gone with this process.
                let mut command = Command::new("unshare");
                command.args(["--mount", "--net", "--pid", "--fork", "--kill-child"]);
                command.args(["--mount-proc", &shown]);
                Ok(command)
            }
            Self::Uml => {
                if shown.contains(char::is_whitespace) {
                    bail!("a kernel's command line takes no spaces, as in {shown}; set TMPDIR");
                }
                let mut command = first(USER_MODE, lane);
                command.args([
                    &format!("mem={MEMORY}"),
                    "rootfstype=hostfs",
                    "rootflags=/",
                    "rw",
                    &format!("init={shown}"),
                    "con=null",
                    "con0=fd:0,fd:1",
                    "quiet",
                ]);
                Ok(command)
            }
        }
    }

    /// The first program of a run: prepares the network, and obeys `inside`.
    fn script(self, inside: &str) -> String {
        match self {
            Self::Host => format!(
                "#!/bin/sh\nmount -t tmpfs tmp /run\nfor m in veth sch_netem sch_tbf sch_codel tcp_bbr; do \
                 modprobe -q $m; done\n{inside}\n"
            ),
            Self::Uml => format!(
                "#!/bin/sh\nexport PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
                 mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t tmpfs tmp /run\n\
                 for m in {}; do insmod /usr/lib/uml/modules/$(uname -r)/kernel/$m.ko; done\n\
                 {inside}\nhalt -f || echo o >/proc/sysrq-trigger\n",
                MODULES.join(" ")
            ),
        }
    }
}

/// Whether this kernel can be used, and if not, why.
fn host() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("this is not root".to_owned());
    }
    // The only way to know is to try, in a network of its own.
    let attempt = "modprobe -q sch_netem; tc qdisc add dev lo root netem delay 1ms";
    let tried = Command::new("unshare")
        .args(["--net", "sh", "-c", attempt])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("it has no netem: {}", said.trim()))
        }
        Err(error) => Err(format!("cannot run unshare: {error}")),
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.iter().any(|folder| folder.join(program).is_file())
}

/// A word of a shell script.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// How waiting for a run ended.
enum End {
    Done,
    Interrupted,
    TooLong,
}

fn wait(child: &mut Child, patience: Duration, interrupt: &Interrupt) -> Result<End> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            // User-mode Linux ends as its kernel does, whatever became of the run.
            return match status.signal() {
                Some(signal) => bail!("the kernel of the run ends with signal {signal}"),
                None => Ok(End::Done),
            };
        }
        if interrupt.is_requested() {
            return Ok(End::Interrupted);
        }
        if start.elapsed() > patience {
            return Ok(End::TooLong);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends a run with everything that it has started.
fn end_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended already, and all its processes with it.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// The end of what a run said.
fn last_words(console: &Path) -> String {
    let said = fs::read(console).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let noise = ["SELinux", "mmapper", "ubd device", "reboot", "Halting"];
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !noise.iter().any(|word| line.contains(word)) && !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    match lines.get(from..) {
        Some(last) if !last.is_empty() => last.join("\n"),
        _ => "it says nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert!(Kernel::Uml.script("'/x' 1").contains("\n'/x' 1\nhalt -f"));
        assert!(Kernel::Host.script("'/x' 1").ends_with("\n'/x' 1\n"));
    }

    #[test]
    fn programs_are_found_in_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-of-ours"));
    }

    #[test]
    fn the_last_words_leave_out_what_every_kernel_says() {
        let folder = tempfile::tempdir().unwrap();
        let console = folder.path().join("console");
        fs::write(
            &console,
            "SELinux: no\n\nerror: `tc` fails\nreboot: System halted\n",
        )
        .unwrap();
        assert_eq!(last_words(&console), "error: `tc` fails");
        assert_eq!(last_words(&folder.path().join("none")), "it says nothing");
    }
}
